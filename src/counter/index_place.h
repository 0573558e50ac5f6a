/*-------------------------------------------------------------------------
 *
 * index_place.h
 *	  Where the index has the rows of a counter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_INDEX_PLACE_H
#define CACHE_NOTIFY_INDEX_PLACE_H

#include "counter/counter.h"

#include "storage/block.h"
#include "storage/buf.h"

/* An index entry, and the buffer that its page was in last. */
typedef struct IndexPlaceEntry
{
	ItemPointerData tid;
	Buffer		buffer;
} IndexPlaceEntry;

typedef struct IndexPlace
{
	uint32		hash;
	char	   *name;			/* NULL: unused */
	char	   *tenant;
	BlockNumber leaf;			/* of the index */
	XLogRecPtr	lsn;			/* of that page; invalid: nothing is known */
	Buffer		leaf_buffer;	/* where the page was last */
	int			skip;			/* do not try to find it so many times */
	int			dead;			/* entries that led to nothing, last time */
	int			nentries;
	int			capacity;		/* of entries */
	IndexPlaceEntry *entries;
} IndexPlace;

extern Buffer index_place_read_block(Relation rel, BlockNumber block, Buffer last);
extern IndexPlace *index_place_of(CounterTable *table, const CounterKey *key);
extern void index_place_searched(IndexPlace *index_place);
extern IndexPlace *index_place_now(CounterTable *table, CounterKey *key);

#endif							/* CACHE_NOTIFY_INDEX_PLACE_H */
