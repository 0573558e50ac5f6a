/*-------------------------------------------------------------------------
 *
 * worker_inside.h
 *	  The worker from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WORKER_INSIDE_H
#define CACHE_NOTIFY_WORKER_INSIDE_H

#include "worker/worker.h"

#include "change/change.h"

/* whole_base.c */
extern long bases_wait(void);
extern void find_bases(TimestampTz delivered_at);

#endif							/* CACHE_NOTIFY_WORKER_INSIDE_H */
