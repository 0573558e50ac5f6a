/*-------------------------------------------------------------------------
 *
 * base.h
 *	  The door of base: what every room stands on.
 *
 *	  compat.h			what differs between PostgreSQL versions
 *	  fault.h			points at which a test can make something go wrong
 *	  extension.c		the extension's own tables, indexes and functions
 *	  state.c			how those that hold state are stored
 *	  invalidation.c	has something changed in the catalogs since?
 *	  shared_memory.c	pieces of shared memory, each of one room
 *	  common_fact.c		what one backend has found in the catalogs, for others
 *
 * Base knows nothing of domains, counters or deliveries, and keeps no state of
 * theirs.
 *
 * Locks: extension_open() takes the one that it is asked for; nothing else here
 * takes any.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_BASE_H
#define CACHE_NOTIFY_BASE_H

#include "postgres.h"

#include "access/htup.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "storage/lwlock.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/fault.h"

#define EXTENSION_NAME		"cache_notify"
#define EXTENSION_SCHEMA	"cache_notify"	/* what people call and name */
#define INTERNAL_SCHEMA		"_cache_notify" /* what only we do, and our state */

/* Two strings, either of which may be NULL. */
static inline bool
same_string(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* extension.c */
extern Oid	extension_relation(const char *schema, const char *name);
extern bool extension_has_schema(Oid schema);
extern Relation extension_open(const char *schema, const char *name,
							   LOCKMODE lockmode);
extern Oid	extension_function(const char *schema, const char *name);
extern bool extension_is_function(Oid function, const char *name);
extern Oid	owner_of_relation(Oid relid);
extern Datum oid_array(List *oids);
extern char *text_attribute(HeapTuple tuple, TupleDesc desc, AttrNumber column);
extern void check_column(TupleDesc desc, int natts, int n, const char *name,
						 Oid type);

/* state.c */
extern bool is_state_relation(Oid relid);
extern bool state_is_called(Relation rel, const char *name);
extern void state_refuse_refresh(Oid relid);
extern bool state_is_hidden(void);
extern void hide_state(void);

/*
 * Counts invalidations.  Whatever is made from the catalogs remembers the count
 * from before it looked, and is out of date once the count has moved: so an
 * invalidation that arrives meanwhile is not lost.  Lives as long as the backend.
 */
typedef struct InvalidationCount
{
	uint64		count;			/* starts at 1, so that 0 is never current */
	Oid			relid;			/* of this relation; InvalidOid: of any */
	bool		(*concerns) (Oid relid);	/* of these only; NULL: of all */
	struct InvalidationCount *next; /* invalidation.c */
} InvalidationCount;

/* invalidation.c */
extern void invalidation_count_relations(InvalidationCount *count);
extern void invalidation_count_catalog(InvalidationCount *count, int cacheid);

/*
 * A piece of shared memory.  *address is set when the memory is there: NULL if
 * the library was not preloaded.
 */
typedef struct SharedPiece
{
	const char *name;
	Size		(*size) (void);
	void		(*initialize) (void *address);
	void	  **address;
	bool		has_lock;		/* shared_memory_lock() of this name */
	struct SharedPiece *next;	/* shared_memory.c */
} SharedPiece;

/* shared_memory.c */
extern void shared_memory_add(SharedPiece *piece);
extern LWLock *shared_memory_lock(const char *name);
extern void shared_memory_init(void);

/* A kind of facts about a database; common_fact.c says when they hold. */
typedef struct CommonFact
{
	Size		size;
	int			number;			/* common_fact.c */
} CommonFact;

/* common_fact.c */
extern void common_fact_init(void);
extern void common_fact_add(CommonFact *fact);
extern bool common_fact_take(const CommonFact *fact, void *value);
extern uint64 common_fact_begin(void);
extern void common_fact_leave(const CommonFact *fact, const void *value, uint64 begun);
extern void common_fact_hold_back(void);
extern void common_fact_change(void);
extern void common_fact_change_now(void);

#endif							/* CACHE_NOTIFY_BASE_H */
