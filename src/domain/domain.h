/*-------------------------------------------------------------------------
 *
 * domain.h
 *	  The door of domain: names, and what is set up.
 *
 *	  cascade.c			the domains that this backend knows, and the rules
 *	  bucket.c			the buckets that keys fall into
 *	  key.c				names of keys, and what they stand for
 *	  canonical.c		the one text of each value that may name something
 *	  naming.c			the same from what a caller writes
 *	  option.h			the options that a relation is watched with
 *	  definition.c		the domains of what can be redefined
 *	  stored.c			configuration that no watched table carries
 *	  watched.c			what a relation is watched with
 *	  watch_before.c	what this transaction has removed or replaced of that
 *	  watch_load.c		what all relations are watched with
 *	  layout_floor.c	bucket layouts that a domain has left
 *	  rule_note.c		the rules that what is watched says there are
 *	  known.c			which domains something feeds
 *	  whole_counter.c	the counter of a domain as a whole
 *	  watched_name.c	by which names relations were set up
 *	  family.c			what partitions and child tables inherit
 *
 * Promise: within a transaction a name has one Domain, whose address does not
 * change; what is derived from rules and watches is of the present generation.
 * What somebody wrote by hand and makes no sense is left out, see option.h; it
 * is no error.
 *
 * Locks: AccessShareLock on the catalogs while they are read.  "May read the
 * catalogs" is said where it may happen: then what depends on the rules,
 * cascade_targets() above all, may be made again.
 *
 * watch.h and option.h are parts of the door.
 *
 * What may not happen here: anything that writes, but for watches_rename_column(),
 * definition_renamed(), rule_notes_write() and forget_name().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_DOMAIN_H
#define CACHE_NOTIFY_DOMAIN_H

#include "counter/counter.h"
#include "domain/watch.h"

/*
 * A domain as this backend knows it.  Domains are interned: within one
 * transaction a name has one Domain, so pointers may be compared and kept
 * until the transaction ends.  There is more to it inside this room.
 */
typedef struct Domain
{
	char		name[NAMEDATALEN];	/* hash key */
	uint32		hash;			/* of the name */

	bool		carries_keys;	/* cascade_targets() have one with same_key */
	bool		reaches_itself; /* by the rules, with all its keys */
	/* watch_load.c */
	bool		watched;		/* something feeds it */
	int64		bucket_layout;	/* of its keys, see key.c; 0: has none */
	Oid			layout_trigger; /* that it is from */
	int64		whole_no;		/* of its counter as a whole; 0: has none */

	void	   *routes;			/* delivery's, in cascade_context(), or NULL */
} Domain;

typedef struct CascadeTarget
{
	Domain	   *domain;
	bool		bump;			/* false: rule_type 'notify', deliver only */
	bool		same_key;		/* a key reaches only the same key there */
	bool		shared;			/* a tenant's change is one for all there */
} CascadeTarget;

/* How the values of a type are told apart by texts; see canonical.c. */
typedef struct CanonicalType
{
	uint8		kind;			/* 0: not at all */
	uint8		element;		/* of an array's elements */
	Oid			type;			/* below its domains; of an array the
								 * elements' */
} CanonicalType;

/*
 * What a name such as 'contract/123' stands for: the bucket that the key falls
 * into, or the whole domain.  See key.c.
 */
typedef struct VersionName
{
	const char *domain;
	Domain	   *found;			/* that one; NULL: nothing is set up for it */
	const char *key;			/* escaped as it is in payloads; NULL: none */
	const char *tenant;			/* NULL: none, or none that could be told */
	uint32		naming_code;	/* see naming.c */
	uint32		hash;			/* of the key */
	int64		bucket_layout;	/* 0: the version is the domain's */
	const char *bucket;			/* name of the bucket's counter, if not */
} VersionName;

/* Between the columns of a key whose bytes are hashed. */
#define KEY_SEPARATOR	'\0'

/* The part of a layout that only grows; see layout_floor.c. */
#define layout_generation(bucket_layout) ((bucket_layout) >> 5)
#define bucket_count(bucket_layout) (UINT32_C(1) << ((bucket_layout) & 31))

/* The domain that changes of the schema move, if anybody listens to them. */
#define SCHEMA_DOMAIN	"schema"

/* cascade.c */
extern void cascade_init(void);
extern uint64 cascade_generation(void);
extern Domain *domain_lookup(const char *name);
extern Domain *domain_find(const char *name);
extern List *cascade_targets(Domain *domain);
extern MemoryContext cascade_context(void);
extern uint64 cascade_domains_forgotten(void);
extern void cascade_end_transaction(void);

/* bucket.c, key.c */
extern uint32 bucket_of_hash(int64 bucket_layout, uint32 hash);
extern const char *bucket_name(const char *domain, int64 bucket_layout,
							   uint32 bucket);
extern int64 domain_bucket_layout(Domain *domain);
extern uint32 hash_key_bytes(const char *bytes, int len);
extern void append_escaped_bytes(StringInfo buf, const char *bytes, int len);
extern int64 name_sum_cached(SumCache *cache, const VersionName *name,
							 const char *tenant);
extern int64 name_sum(CounterTable *table, const VersionName *name,
					  const char *tenant, Snapshot snapshot);
extern VersionName *parse_name(const char *written, const char *tenant);
extern List *name_arguments(FunctionCallInfo fcinfo, int tenant, int n);
extern char *name_as_told(const VersionName *name);

/* canonical.c */
extern CanonicalType canonical_type(Oid type, Oid collation);
extern const char *canonical_text(const CanonicalType *type, Datum value,
								  int *len);
extern bool canonical_append(StringInfo buf, const CanonicalType *type,
							 Datum value);

/* naming.c */
extern void naming_init(void);
extern void naming_load(void);
extern uint32 naming_code(const Domain *domain);
extern const char *naming_tenant(const Domain *domain, const char *written);
extern const char *naming_carried(const Domain *source, const Domain *target,
								  const char *tenant);
extern bool naming_carries_key(const Domain *source, const Domain *target);

/* layout_floor.c */
extern char *layout_floor_name(const char *domain);
extern int64 layout_floor(const char *domain);
extern bool layout_was_left(const Watch *former);

/* whole_counter.c */
typedef enum WholeCounter
{
	WHOLE_COUNT,				/* what has been counted in it */
	WHOLE_BASE,					/* what had been before, and 1; 0: not known */
	WHOLE_END,					/* not 0: it counts no longer */
	WHOLE_ANY					/* not 0: some domain may have such a counter */
} WholeCounter;

typedef int64 (*ReadCounter) (const char *name, void *arg);
extern const char *whole_counter_name(WholeCounter which, const char *domain,
									  int64 number);
extern bool whole_counter_read(const char *domain, int64 number,
							   ReadCounter read, void *arg, int64 *sum);
extern void whole_counter_init(void);
extern bool whole_counters_exist(void);
extern void whole_counters_look_again(void);
extern bool whole_counter_ended(const char *domain, int64 number);
extern TransactionId whole_counter_since(const Domain *domain);

/* watch_load.c */
extern List *whole_counter_numbers(const Domain *domain);

/* known.c */
typedef bool (*FedByHand) (const char *domain, void *arg);
extern char *by_hand_name(const char *domain);
extern bool domain_is_watched(const char *name);
extern bool name_is_of_known(const VersionName *name, Snapshot snapshot,
							 FedByHand by_hand, void *arg);

#endif							/* CACHE_NOTIFY_DOMAIN_H */
