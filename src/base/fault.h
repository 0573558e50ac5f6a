/*-------------------------------------------------------------------------
 *
 * fault.h
 *	  Named points at which a test can make something go wrong.
 *
 * They exist in builds with assertions only; in all others FAULT_POINT() is
 * nothing.  A point must be where the server could fail as well, so never in
 * a critical section, and never with an LWLock or a buffer lock held.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_FAULT_H
#define CACHE_NOTIFY_FAULT_H

#ifdef USE_ASSERT_CHECKING
extern void fault_init(void);
extern void fault_point(const char *name);
#define FAULT_POINT(name) fault_point(name)
#else
#define fault_init() ((void) 0)
#define FAULT_POINT(name) ((void) 0)
#endif

#endif							/* CACHE_NOTIFY_FAULT_H */
