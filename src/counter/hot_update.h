/*-------------------------------------------------------------------------
 *
 * hot_update.h
 *	  Add to a row of a counter on the page that it is on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_HOT_UPDATE_H
#define CACHE_NOTIFY_HOT_UPDATE_H

#include "counter/counter_table.h"

#include "storage/buf.h"

typedef enum HotUpdateResult
{
	HOT_UPDATE_DONE,
	HOT_UPDATE_OTHER_ROW,		/* that is no row of the counter, or not free */
	HOT_UPDATE_IMPOSSIBLE		/* it may be, but heap_update() must do it */
} HotUpdateResult;

extern HotUpdateResult hot_update(CounterTable *table, const CounterKey *key,
								  const CounterBump *bump, Buffer buffer,
								  ItemPointer tid);

#endif							/* CACHE_NOTIFY_HOT_UPDATE_H */
