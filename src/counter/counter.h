/*-------------------------------------------------------------------------
 *
 * counter.h
 *	  The door of counter: counters that many transactions move at once, and
 *	  the history that they are in.
 *
 *	  counter_table.c	the counter table, opened
 *	  counter_search.c	find the rows of a counter
 *	  counter_read.c	add them up
 *	  counter_write.c	add to one
 *	  hot_update.c		the usual way to do that, on one page
 *	  heap_hint.c		where a row probably is in the heap
 *	  index_place.c		where the index has the rows of a counter
 *	  compact.c			merge rows that are not needed any more
 *	  sum_cache.c		each sum read once within a call
 *	  epoch.c			which history this is
 *
 * Promise: each committed bump is in exactly one row, so a snapshot's sum is
 * exact; sums only grow within a history; nobody waits for a counter.
 *
 * Counter knows names and tenants, as byte strings.  What a domain is, and what
 * a bucket, it does not; of a bucket layout it only knows that a newer one is
 * greater.
 *
 * Locks: AccessShareLock or RowExclusiveLock on the counter table, as the caller
 * says; a buffer while one chain is looked at or one row updated; a page lock of
 * the history table while a history is written.  No predicate locks, no row lock.
 *
 * What may not happen here: waiting for another transaction, or an error where
 * the counter could have been found in a slower way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COUNTER_H
#define CACHE_NOTIFY_COUNTER_H

#include "base/base.h"

#include "access/xlogdefs.h"
#include "common/hashfn.h"
#include "storage/itemptr.h"

/*
 * Counters whose name begins with this are the extension's own.  Tokens contain
 * them and cascade rules start from them, but they are never listed; delivered
 * are those of definitions, on a channel of their own.
 */
#define INTERNAL_PREFIX		"cache_notify/"
#define is_internal_domain(name) \
	(strncmp(name, INTERNAL_PREFIX, sizeof(INTERNAL_PREFIX) - 1) == 0)

/*
 * Stands for a tenant where all counters of a name are meant, the shared one and
 * those of all tenants.  Told apart by its address; for reading only.
 */
extern const char all_tenants[];
#define ALL_TENANTS			all_tenants

/* A longer tenant, in bytes, has no counter of its own. */
#define MAX_TENANT_LEN		255

/*
 * The one index entry that a counter had when its leaf page had this LSN, and has
 * as long as that is so; see index_place.c.
 */
typedef struct KnownIndexPlace
{
	XLogRecPtr	lsn;			/* invalid: nothing is known */
	Oid			file;			/* of the index */
	BlockNumber leaf;
	ItemPointerData tid;
} KnownIndexPlace;

/* Which counter: that of a scope, or of a bucket of its keys. */
typedef struct CounterKey
{
	const char *name;			/* the domain's, or a bucket's */
	const char *tenant;			/* NULL: shared; else zero-terminated */
	int			tenant_len;
	uint32		hash;			/* counter_hash() of a scope; a bucket's is
								 * its own */
	KnownIndexPlace index_place;	/* found when it was written, or invalid */
} CounterKey;

/* What is added to a counter. */
typedef struct CounterBump
{
	int64		n;
	int64		bucket_layout;	/* that keyed is meant in */
	int64		keyed;			/* the part of n whose keys have buckets */
} CounterBump;

/* The counter table, opened. */
typedef struct CounterTable CounterTable;

typedef void (*CounterVisitor) (HeapTuple row, void *arg);
typedef void (*CounterManyRows) (const char *name, const char *tenant);

/* Which history the counters are in. */
typedef struct History
{
	int64		origin;			/* versions start here */
	uint64		fingerprint;	/* no other history has it */
} History;

typedef struct SumCache SumCache;

/* The hash of a scope, from that of its domain's name. */
static inline uint32
counter_hash(uint32 name_hash, const char *tenant, int tenant_len)
{
	return tenant == NULL ? name_hash :
		hash_combine(name_hash, hash_bytes((const unsigned char *) tenant,
										   tenant_len));
}

/* counter_table.c */
extern void counter_init(void);
extern CounterTable *counter_open(LOCKMODE lockmode);
extern void counter_close(CounterTable *table, LOCKMODE lockmode);
extern Relation counter_heap(CounterTable *table);
extern void counter_tell_many_rows(CounterTable *table, CounterManyRows tell);
extern CounterKey counter_key(const char *name, const char *tenant);
extern void counter_key_of_row(HeapTuple row, TupleDesc desc, char **name,
							   char **tenant);

/* counter_write.c */
extern void counter_bump(CounterTable *table, CounterKey *key,
						 const CounterBump *bump);

/* counter_read.c */
extern int64 counter_sum(CounterTable *table, const CounterKey *key,
						 Snapshot snapshot);
extern int64 counter_sum_whole(CounterTable *table, const CounterKey *key,
							   int64 bucket_layout, Snapshot snapshot);
extern bool counter_sum_few(CounterTable *table, const CounterKey *key,
							Snapshot snapshot, int max_rows, int64 *sum);
extern void counter_visit(CounterTable *table, const CounterKey *key,
						  Snapshot snapshot, CounterVisitor visit, void *arg);
extern List *counter_domains(CounterTable *table);
extern bool counter_domain_exists(CounterTable *table, const char *domain);

/* sum_cache.c */
extern SumCache *sum_cache_create(CounterTable *table, Snapshot snapshot);
extern int64 sum_cache_read(SumCache *cache, const char *name,
							const char *tenant);
extern int64 sum_cache_read_whole(SumCache *cache, const char *name,
								  const char *tenant, int64 bucket_layout);
extern bool sum_cache_first_report(SumCache *cache, const char *name,
								   const char *tenant);

/* compact.c */
extern void compact_remember(const char *name, const char *tenant);
extern long compact_wait(void);
extern void compact_cooled(void);

/* A setting that the dropped extension leaves in the database. */
#define FORMER_ORIGIN	"cache_notify.former_origin"

/* epoch.c */
extern void epoch_init(void);
extern void epoch_read(CounterTable *table, Snapshot snapshot,
					   History *history);
extern int64 epoch_origin(CounterTable *table, Snapshot snapshot);
extern void epoch_before_bump(CounterTable *table, bool prepare);
extern void epoch_leave_zero(void);
extern int64 epoch_to_leave_behind(void);

#endif							/* CACHE_NOTIFY_COUNTER_H */
