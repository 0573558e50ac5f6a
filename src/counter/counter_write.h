/*-------------------------------------------------------------------------
 *
 * counter_write.h
 *	  Writing the rows of counters, for those who merge them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COUNTER_WRITE_H
#define CACHE_NOTIFY_COUNTER_WRITE_H

#include "counter/counter_table.h"

extern bool counter_add_to_row(CounterTable *table, HeapTuple old, Buffer buffer,
							   const CounterBump *bump, TimestampTz modified,
							   ItemPointer tid);
extern void counter_insert_row(CounterTable *table, const char *name,
							   const char *tenant, const CounterBump *bump,
							   TimestampTz modified, ItemPointer tid);

#endif							/* CACHE_NOTIFY_COUNTER_WRITE_H */
