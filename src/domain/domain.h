/*-------------------------------------------------------------------------
 *
 * domain.h
 *	  The door of domain: names, and what is set up.
 *
 *	  cascade.c			the domains that this backend knows, and the rules
 *	  key.c				keys of a domain: their names and buckets
 *	  canonical.c		the one text of each value that may name something
 *	  naming.c			the same from what a caller writes
 *	  option.h			the options that a relation is watched with
 *	  stored.c			configuration that no watched table carries
 *	  watched.c			what a relation is watched with
 *	  watch_before.c	what this transaction has removed or replaced of that
 *	  watch_load.c		what all relations are watched with
 *	  known.c			which domains something feeds
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
 * What may not happen here: anything that writes, but for watches_rename_column()
 * and forget_name().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_DOMAIN_H
#define CACHE_NOTIFY_DOMAIN_H

#include "counter/counter.h"
#include "domain/option.h"

/*
 * A domain as this backend knows it.  Domains are interned: within one
 * transaction a name has one Domain, so pointers may be compared and kept
 * until the transaction ends.
 */
typedef struct Domain
{
	char		name[NAMEDATALEN];	/* hash key */
	uint32		hash;			/* of the name */

	/* cascade.c */
	List	   *rules;			/* CascadeTarget * */
	uint64		targets_generation; /* graph that targets was made from */
	List	   *targets;		/* CascadeTarget *, the closure */
	bool		carries_keys;	/* one of them has same_key */
	bool		reaches_itself; /* with all its keys */
	uint64		mark;			/* both used while a closure is computed */
	struct Domain *reached_from;

	/* known.c */
	List	   *sources;		/* Domain *, whose rules bump this one */
	List	   *watching;		/* OIDs of the relations watched for it */
	List	   *names;			/* WatchedName *, that they were set up by */
	int			nrow_triggers;	/* of these */
	int			nrow_wanted;	/* how many there should be */
	bool		incomplete;		/* one of its triggers does not fire */
	bool		has_listener;	/* of the schema */
	TransactionId since;		/* the newest that set up what feeds it */
	bool		found_known;	/* until the configuration changes ... */
	uint64		names_checked;	/* or this watched_name_changes() */
	uint64		walk;			/* both used while that is worked out */
	bool		fed;

	/* watch_load.c */
	bool		watched;		/* something feeds it */
	int64		bucket_layout;	/* of its keys, see key.c; 0: has none */
	Oid			layout_trigger; /* that it is from */

	/* naming.c */
	struct Naming *naming;		/* NULL: names are texts that nothing reads */

	/*
	 * Delivery's own, in cascade_context(); NULL when the rules are read
	 * anew.
	 */
	void	   *routes;
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
	const char *key;			/* escaped as it is in payloads; NULL: none */
	const char *tenant;			/* NULL: none, or none that could be told */
	uint32		naming_code;	/* see naming.c */
	uint32		hash;			/* of the key */
	int64		bucket_layout;	/* 0: the version is the domain's */
	const char *bucket;			/* name of the bucket's counter, if not */
} VersionName;

/* Between the columns of a key whose bytes are hashed. */
#define KEY_SEPARATOR	'\0'

#define bucket_count(bucket_layout) (UINT32_C(1) << ((bucket_layout) & 31))

/* The provider of the security labels that configure views. */
#define LABEL_PROVIDER	"cache_notify"

/* What a relation is watched with: a trigger of ours, or a label. */
typedef struct Watch
{
	Oid			relation;
	Oid			trigger;		/* InvalidOid: a label */
	const char *name;			/* of the trigger */
	const char *domain;			/* there is always one */
	bool		is_row;			/* row trigger, else statement trigger */
	bool		is_clone;		/* the server made it from a parent's */
	bool		inherited;		/* we made it from a parent's */
	char		enabled;		/* pg_trigger.tgenabled */
	TransactionId xmin;			/* that made it what it is */
	char	  **args;			/* as somebody wrote them */
	int			nargs;
	const WatchOptions *options;	/* what of them can be used */
	const char *relation_name;	/* if the relation may be gone, else NULL */
} Watch;

typedef enum WatchTime
{
	WATCH_NOW,
	WATCH_REMOVED				/* what this transaction replaced or deleted */
} WatchTime;

/* cascade.c */
extern void cascade_init(void);
extern void check_domain_name(const char *name);
extern uint64 cascade_generation(void);
extern uint64 cascade_load(void);
extern void domains_visit(void (*visit) (Domain *domain));
extern Domain *domain_lookup(const char *name);
extern Domain *domain_find(const char *name);
extern List *cascade_targets(Domain *domain);
extern MemoryContext cascade_context(void);
extern uint64 cascade_domains_forgotten(void);
extern void cascade_end_transaction(void);
extern void announce_configuration(void);

#define CONFIGURATION_VIEW	"configuration"

/* An entry of the configuration: what a trigger's arguments say. */
typedef struct StoredEntry
{
	char	  **args;			/* "name=value" */
	int			nargs;
	TransactionId xmin;			/* that made it what it is */
} StoredEntry;

/* stored.c */
extern Oid	configuration_view(void);
extern List *stored_entries(const char *kind);
extern const char *stored_value(const StoredEntry *entry, const char *name);

/* key.c */
extern int64 domain_bucket_layout(Domain *domain);
extern uint32 bucket_of_hash(int64 bucket_layout, uint32 hash);
extern const char *bucket_name(const char *domain, int64 bucket_layout,
							   uint32 bucket);
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

/* watched.c */
extern void watched_init(void);
extern const char *definition_domain(Oid objid);
extern List *watches_of_relation(Oid relid, WatchTime when);
extern bool relation_feeds(Oid relid, const char *domain);
extern List *watches_by_label(void);
extern Watch *watch_without_options(const char *domain);
extern Watch *watch_from_text(const char *string, const char *domain,
							  Oid relation, const char *relation_name);
extern char *watch_as_text(const Watch *watch);
extern List *watches_by_trigger(bool of_rows);
extern Watch *watch_of_trigger(Oid trigger, WatchTime when);
extern Watch *watch_of_trigger_tuple(HeapTuple tuple, TupleDesc desc);
extern char **trigger_tuple_arguments(HeapTuple tuple, TupleDesc desc,
									  int *nargs);
extern void watches_rename_column(Oid relid, const char *old, const char *new);
extern bool same_domain(const Watch *a, const Watch *b);
extern bool same_watch(const Watch *a, const Watch *b);

/* watch_before.c */
extern const char *former_name(Oid relid);
extern bool function_was_replaced(Oid function);
extern bool view_was_replaced(Oid view);
extern bool trigger_firing_changed(const Watch *watch);

/* watch_load.c */
extern uint64 watch_load(void);
extern List *watch_all(void);

/* known.c */
typedef bool (*FedByHand) (const char *domain, void *arg);
extern char *by_hand_name(const char *domain);
extern void known_read_listeners(void);
extern void known_forget_watches(Domain *domain);
extern void known_since(Domain *domain, TransactionId xid);
extern void known_add_watch(const Watch *watch);
extern bool domain_is_watched(const char *name);
extern bool domain_is_known(const char *name, Snapshot snapshot,
							FedByHand by_hand, void *arg);

/* watched_name.c */
extern void watched_name_init(void);
extern void watched_name_load(void);
extern uint64 watched_name_changes(void);
extern bool watched_name_taken_over(const Domain *domain);
extern bool watched_name_to_follow(void);

/* family.c */
extern List *parents_of(Oid relid);
extern bool is_asked_for(const Watch *watch);
extern Oid	watched_ancestor(Oid relid, const char *domain);

#endif							/* CACHE_NOTIFY_DOMAIN_H */
