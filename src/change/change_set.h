/*-------------------------------------------------------------------------
 *
 * change_set.h
 *	  The change set from inside: for change_set.c and key_change.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_CHANGE_SET_H
#define CACHE_NOTIFY_CHANGE_SET_H

#include "base/cache_notify.h"

/* Stands for a statement's index where no statement makes the change. */
#define NO_STATEMENT	(-1)

/* change_set.c */
extern int	depth_index(int depth);
extern uint64 current_statement_no(int i);
extern void journal_scope(ScopeChange *scope);
extern bool change_set_admit_bucket(void);
extern List *change_set_scopes(void);

/* key_change.c */
extern void bump_scope(ScopeChange *scope, int i, bool keyed);
extern void cascade_scope(ScopeChange *scope, List *targets, int i, bool keyed);

#endif							/* CACHE_NOTIFY_CHANGE_SET_H */
