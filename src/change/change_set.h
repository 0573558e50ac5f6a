/*-------------------------------------------------------------------------
 *
 * change_set.h
 *	  The change set from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_CHANGE_SET_H
#define CACHE_NOTIFY_CHANGE_SET_H

#include "change/change.h"

/* statement_no.c */
extern int	depth_index(int depth);
extern uint64 current_statement_no(int i);

/* change_set.c */
extern void journal_scope(ScopeChange *scope);
extern bool change_set_admit_bucket(void);

#endif							/* CACHE_NOTIFY_CHANGE_SET_H */
