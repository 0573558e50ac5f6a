/*-------------------------------------------------------------------------
 *
 * counter_search.h
 *	  A search for the rows of one counter, or of many.
 *
 * search_begin() or another of its kind, search_next() until it says no, and
 * search_end().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COUNTER_SEARCH_H
#define CACHE_NOTIFY_COUNTER_SEARCH_H

#include "counter/counter_table.h"
#include "counter/index_place.h"

typedef struct CounterSearch
{
	CounterTable *table;
	Snapshot	snapshot;
	Buffer		buffer;			/* where it is */
	OffsetNumber root;			/* of the chain that it has found a row in */

	/* by the place, if that is known */
	IndexPlace *index_place;	/* or NULL */
	int			next_entry;		/* of these */

	/* else by the index */
	IndexScanDesc scan;
	IndexScanDesc skipping;		/* the scan that leaves rows out, or NULL */
	bool		many_counters;	/* it goes over more than one */
	bool		found;			/* a row, with this id */
	int64		row_id;
	Datum		name;			/* what is looked for */
	Datum		tenant;
} CounterSearch;

extern void search_begin(CounterSearch *search, CounterTable *table,
						 const CounterKey *key, Snapshot snapshot);
extern void search_all(CounterSearch *search, CounterTable *table,
					   Snapshot snapshot);
extern void search_names(CounterSearch *search, CounterTable *table,
						 StrategyNumber strategy, RegProcedure function,
						 const char *name, Snapshot snapshot);
extern bool search_next(CounterSearch *search, HeapTuple row);
extern void search_end(CounterSearch *search);
extern bool search_chain(CounterTable *table, Buffer buffer, OffsetNumber root,
						 Snapshot snapshot, HeapTuple row);
extern void counter_prune(CounterTable *table, Buffer buffer);

#endif							/* CACHE_NOTIFY_COUNTER_SEARCH_H */
