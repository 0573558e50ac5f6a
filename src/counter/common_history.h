/*-------------------------------------------------------------------------
 *
 * common_history.h
 *	  The history that another backend has read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COMMON_HISTORY_H
#define CACHE_NOTIFY_COMMON_HISTORY_H

#include "counter/history.h"

typedef struct CommonHistory
{
	Oid			relid;			/* of the history table */
	Facts		facts;
	Reading		reading;		/* matches the facts, and is settled */
} CommonHistory;

extern void common_history_init(void);
extern bool common_history_take(CommonHistory *history);
extern void common_history_leave(const CommonHistory *history, uint64 begun);

#endif							/* CACHE_NOTIFY_COMMON_HISTORY_H */
