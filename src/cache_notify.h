/*-------------------------------------------------------------------------
 *
 * cache_notify.h
 *	  The private header: what the files of this extension share.
 *
 * Data goes one way:
 *
 *	  trigger.c -> change_set.c -> (pre-commit, commit.c) -> counter.c
 *				-> delivery.c -> payload.c -> lane
 *
 * with cascade.c telling change_set.c which other domains a change reaches.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_H
#define CACHE_NOTIFY_H

#include "postgres.h"

#include "access/htup.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

#include "compat.h"

#define EXTENSION_SCHEMA	"cache_notify"

/* A tenant longer than this, in bytes, becomes a shared change. */
#define MAX_TENANT_LEN		255

/* Statements nested in triggers deeper than this share one frame. */
#define MAX_FRAME_DEPTH		4

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
	List	   *rules;			/* CascadeTarget *, as in cascade_rules */
	uint64		targets_generation; /* graph that targets was made from */
	List	   *targets;		/* CascadeTarget *, the closure */
	int			mark;			/* used while the closure is computed */

	/* delivery.c */
	List	   *routes;			/* Route *; none means the default */
} Domain;

typedef struct CascadeTarget
{
	Domain	   *domain;
	bool		bump;			/* false: rule_type 'notify', deliver only */
} CascadeTarget;

/*
 * What this transaction did to one (domain, tenant).  Lives until the end of
 * the transaction, also when a savepoint rollback has emptied it.
 */
typedef struct ChangeKey
{
	Domain	   *domain;
	const char *tenant;			/* NULL for the shared key; zero-terminated */
	int			tenant_len;
	uint32		hash;

	int64		bumps;			/* statements that changed it */
	int64		notices;		/* statements that only have it delivered */
	int64		direct;			/* those of bumps that no cascade caused */
	uint64		stamp[MAX_FRAME_DEPTH]; /* frame that counted it last */
	CommandId	command;		/* statement that bumped it as a whole */
	int			journal;		/* newest journal record, or -1 */
} ChangeKey;

#define key_is_pending(key) ((key)->bumps > 0 || (key)->notices > 0)

/* The counter table, opened. */
typedef struct CounterTable
{
	Relation	heap;
	Relation	index;
	struct TupleTableSlot *slot;
	MemoryContext context;		/* where it was opened */
	IndexScanDesc scan;			/* of counter_visit(), kept for the next key */
} CounterTable;

typedef void (*CounterVisitor) (HeapTuple tuple, void *arg);

/* Which history the counters are in. */
typedef struct History
{
	int64		origin;			/* versions start here */
	uint64		fingerprint;	/* no other history has it */
} History;

typedef struct SumCache SumCache;

/* Reads an encoded string. */
typedef struct Decoder
{
	const char *next;
	const char *end;
	bool		failed;
} Decoder;

/* One delivery: which key reached which version. */
typedef struct Delivery
{
	const char *domain;
	const char *tenant;			/* NULL: shared */
	int64		version;
} Delivery;

/* Where the deliveries of a domain go, and in which format. */
typedef struct Route
{
	const char *channel;		/* NULL: cache_notify.channel */
	const struct PayloadFormat *format;
} Route;

typedef struct PayloadFormat
{
	const char *name;
	void		(*write) (StringInfo buf, const Delivery *delivery);
} PayloadFormat;

/* The provider of the security labels that configure views. */
#define LABEL_PROVIDER	"cache_notify"

/* What a relation is watched with: a trigger of ours, or a label. */
typedef struct Watch
{
	Oid			relation;
	Oid			trigger;		/* InvalidOid: a label */
	const char *name;			/* of the trigger */
	const char *domain;			/* NULL: none, or none that is possible */
	bool		is_row;			/* row trigger, else statement trigger */
	bool		is_clone;		/* the server made it from a parent's */
	bool		inherited;		/* we made it from a parent's */
	char		enabled;		/* pg_trigger.tgenabled */
	char	  **args;
	int			nargs;
} Watch;

/* What one command did. */
typedef struct SchemaEvent
{
	Oid			function;		/* the event trigger's */
	List	   *domains;		/* Domain *: to be bumped, each once */
} SchemaEvent;

typedef enum WatchTime
{
	WATCH_NOW,
	WATCH_REMOVED				/* what this transaction replaced or deleted */
} WatchTime;

/* cache_notify.c */
extern int	max_keys;
extern char *default_channel;
extern int	delivery_lanes;
extern Oid	extension_relation(const char *name);
extern void check_domain_name(const char *name);

/* trigger.c */
extern const char *trigger_argument(char **args, int nargs, const char *name);

/* change_set.c */
extern ChangeKey *change_set_key(Domain *domain, const char *tenant,
								 int tenant_len);
extern void change_set_touch(ChangeKey *key, int depth);
extern void change_set_bump(ChangeKey *key);
extern void change_set_bump_statement(ChangeKey *key, CommandId command);
extern bool change_set_touched(const ChangeKey *key, int depth);
extern bool change_set_full(void);
extern void change_set_close_statement(int depth);
extern bool change_set_active(void);
extern List *change_set_pending(void);
extern int64 change_set_pending_bumps(const char *domain, const char *tenant);
extern void change_set_recascade(void);
extern void change_set_reset(void);
extern void change_set_subcommit(int level);
extern void change_set_subabort(int level);

/* commit.c */
extern void commit_init(void);

/* cascade.c */
extern void cascade_init(void);
extern uint64 cascade_generation(void);
extern uint64 cascade_load(void);
extern Domain *domain_lookup(const char *name);
extern List *cascade_targets(Domain *domain);
extern MemoryContext cascade_context(void);
extern void cascade_end_transaction(void);

/* counter.c */
extern bool counter_open(CounterTable *table, LOCKMODE lockmode);
extern void counter_close(CounterTable *table, LOCKMODE lockmode);
extern void counter_bump(CounterTable *table, const ChangeKey *key);
extern int64 counter_sum(CounterTable *table, const char *domain,
						 const char *tenant, Snapshot snapshot);
extern bool counter_domain_exists(CounterTable *table, const char *domain);
extern int64 counter_version(CounterTable *table, const char *domain,
							 const char *tenant, Snapshot snapshot);

extern void counter_visit(CounterTable *table, const char *domain,
						  const char *tenant, Snapshot snapshot,
						  CounterVisitor visit, void *arg);

extern void counter_key(HeapTuple tuple, TupleDesc desc, char **domain,
						char **tenant);

/* epoch.c */
extern void epoch_init(void);
extern void epoch_read(CounterTable *table, Snapshot snapshot,
					   History *history);
extern int64 epoch_origin(CounterTable *table, Snapshot snapshot);
extern void epoch_before_bump(CounterTable *table, Snapshot snapshot,
							  bool prepare);

/* encoding.c */
extern void encode_begin(StringInfo buf, uint8 kind);
extern void encode_integer(StringInfo buf, uint64 value);
extern void encode_fixed64(StringInfo buf, uint64 value);
extern void encode_string(StringInfo buf, const char *string);
extern text *encode_end(StringInfo buf);
extern text *encode_base64url(const char *bytes, int len);
extern bool decode_begin(Decoder *decoder, const text *string, uint8 *kind);
extern uint64 decode_integer(Decoder *decoder);
extern uint64 decode_fixed64(Decoder *decoder);
extern char *decode_string(Decoder *decoder);
extern bool decode_end(Decoder *decoder);

/* sum_cache.c */
extern SumCache *sum_cache_create(CounterTable *table, Snapshot snapshot);
extern int64 sum_cache_read(SumCache *cache, const char *domain,
							const char *tenant);
extern bool sum_cache_first_report(SumCache *cache, const char *domain,
								   const char *tenant);

/* token.c */
#define KIND_TOKEN		0x11
#define KIND_POSITION	0x21
extern List *domain_arguments(FunctionCallInfo fcinfo, int n);
extern char *tenant_argument(FunctionCallInfo fcinfo, int n);

/* route.c */
extern List *route_domain(Domain *domain);
extern List *route_channels(void);
extern void announce_configuration(void);

/* watched.c */
extern void watched_init(void);
extern const char *definition_domain(Oid objid);
extern List *watches_of_relation(Oid relid, WatchTime when);
extern List *watches_by_label(void);
extern Watch *watch_of_trigger(Oid trigger, WatchTime when);
extern Watch *watch_of_trigger_tuple(HeapTuple tuple, TupleDesc desc);
extern void watches_rename_column(Oid relid, const char *old, const char *new);
extern bool function_was_replaced(Oid function);
extern bool view_was_replaced(Oid view);
extern bool trigger_was_disabled(Oid trigger);

/* owed.c */
extern void owed_add(List *keys);
extern void owed_add_reset(void);
extern List *owed_take(bool *reset);

/* delivery.c */
extern void delivery_init(void);
extern void delivery_pre_commit(CounterTable *table, List *keys);
extern void delivery_pre_prepare(List *keys);

/* payload.c */
#define RESET_PAYLOAD "{\"reset\": true}"
extern const PayloadFormat *payload_format(const char *name);

/* schema_effect.c */
extern void add_domain(SchemaEvent *event, const char *name);
extern void add_watches(SchemaEvent *event, List *watches);
extern void relation_changed(SchemaEvent *event, Oid relid);
extern void definition_changed(SchemaEvent *event, Oid objid);
extern void view_changed(SchemaEvent *event, Oid view);
extern void type_changed(SchemaEvent *event, Oid type, List **seen);
extern void tree_changed(SchemaEvent *event, Oid relid);
extern void schema_renamed(SchemaEvent *event, Oid schema);
extern Oid	table_of_policy(Oid policy, Snapshot snapshot);

/* inheritance.c */
extern bool inherit_triggers(Oid relid, Oid function);
extern void make_way_for_clones(Oid parent, Oid child);

#endif							/* CACHE_NOTIFY_H */
