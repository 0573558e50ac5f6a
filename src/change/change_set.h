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

/* Stands for a frame's index where no statement makes the change. */
#define NO_FRAME	(-1)

/* change_set.c */
extern int	frame_index(int depth);
extern uint64 current_frame(int i);
extern void journal_key(ChangeKey *key);
extern bool change_set_count_bucket(void);

/* key_change.c */
extern void count_bump(ChangeKey *key, int i, bool keyed);
extern void cascade_key(ChangeKey *key, List *targets, int i, bool keyed);

#endif							/* CACHE_NOTIFY_CHANGE_SET_H */
