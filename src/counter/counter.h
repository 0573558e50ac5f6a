/*-------------------------------------------------------------------------
 *
 * counter.h
 *	  The counter table from inside: for counter*.c and heap_hint.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COUNTER_H
#define CACHE_NOTIFY_COUNTER_H

#include "base/cache_notify.h"

#include "access/htup_details.h"

/* Columns of cache_notify.version_counter. */
#define Anum_counter_n				1
#define Anum_counter_last_modified	2
#define Anum_counter_row_id			3
#define Anum_counter_bucket_layout			4
#define Anum_counter_keyed			5
#define Anum_counter_moves			6
#define Anum_counter_domain			7
#define Anum_counter_tenant_id		8
#define Natts_counter				8

/* The columns of fixed width come first, so they can be changed in place. */
typedef struct CounterForm
{
	int64		n;
	TimestampTz last_modified;
	int64		row_id;			/* the key has no other row with it */
	int64		bucket_layout;	/* of keyed, see key.c */
	int64		keyed;			/* the part of n whose keys have buckets */
	int32		moves;			/* to other pages */
} CounterForm;

#define counter_form(row) ((CounterForm *) GETSTRUCT(row))

/* What is added to a counter. */
typedef struct Addend
{
	int64		n;
	TimestampTz modified;
	int64		bucket_layout;
	int64		keyed;
} Addend;

/* More index entries of a key are not remembered. */
#define MAX_INDEX_PLACE_ENTRIES	256

/* With more dead ones among them, they are marked so in the index. */
#define MAX_DEAD_ENTRIES	8

/* A key that is not remembered is tried again when asked for so often. */
#define INDEX_PLACE_SKIP		16

/* An index entry, and the buffer that its page was in last. */
typedef struct IndexPlaceEntry
{
	ItemPointerData tid;
	Buffer		buffer;
} IndexPlaceEntry;

/* Where the rows of a key are; index_place.c. */
typedef struct IndexPlace
{
	uint32		hash;
	char	   *domain;			/* NULL: unused */
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

/* Where a row probably is; heap_hint.c. */
typedef struct HeapHint
{
	uint32		hash;			/* of the key */
	BlockNumber block;
	OffsetNumber root;			/* of its HOT chain */
	OffsetNumber newest;		/* version in that, or InvalidOffsetNumber */
	Buffer		buffer;			/* that held the block, or InvalidBuffer */
} HeapHint;

/* counter.c */
extern void counter_open_index(CounterTable *table);
extern void counter_add_keyed(int64 *bucket_layout, int64 *keyed, int64 new_bucket_layout,
							  int64 new_keyed);
extern bool counter_add_to_row(CounterTable *table, HeapTuple old, Buffer buffer,
							   const Addend *addend, ItemPointer tid);
extern void counter_insert_row(CounterTable *table, const char *domain,
							   const char *tenant, const Addend *addend,
							   ItemPointer tid);

/* index_place.c */
extern Buffer index_place_read_block(Relation rel, BlockNumber block, Buffer last);
extern IndexPlace *index_place_of(CounterTable *table, const char *domain,
								  const char *tenant);
extern void index_place_searched(IndexPlace *index_place);
extern IndexPlace *index_place_now(CounterTable *table, const char *domain,
								   const char *tenant, KnownIndexPlace *known);

/* heap_hint.c */
extern void heap_hint_init(void);
extern void heap_hints_use(Oid file);
extern bool heap_hint_find(uint32 hash, HeapHint *found);
extern void heap_hint_set(const HeapHint *hint);

/* counter_read.c */
extern void search_begin(CounterTable *table, const char *domain,
						 const char *tenant, Snapshot snapshot);
extern void search_all(CounterTable *table, Snapshot snapshot);
extern bool search_next(CounterTable *table, HeapTuple row);
extern bool search_chain(CounterTable *table, Buffer buffer, OffsetNumber root,
						 Snapshot snapshot, HeapTuple row);
extern void search_end(CounterTable *table);
extern void counter_prune(CounterTable *table, Buffer buffer);

#endif							/* CACHE_NOTIFY_COUNTER_H */
