/*-------------------------------------------------------------------------
 *
 * cache_notify.h
 *	  The private header: what the files of this extension share.
 *
 * Data goes one way:
 *
 *	  trigger.c -> change_set.c -> (pre-commit, commit.c) -> counter.c
 *				-> delivery.c -> lane -> notify.c -> payload.c
 *
 * with cascade.c telling change_set.c which other domains a change reaches.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_H
#define CACHE_NOTIFY_H

#include "domain/domain.h"

#include "access/xlogdefs.h"
#include "storage/buf.h"
#include "storage/itemptr.h"

/* Statements nested in triggers deeper than this share one statement. */
#define MAX_STATEMENT_DEPTH		4

/* What a payload can say beside the version, if a watched table asks for it. */
#define FIELD_LSN			0x01
#define FIELD_XID			0x02
#define FIELD_OPERATIONS	0x04
#define FIELD_KEYS			0x08

#define OPERATION_INSERT	0x01
#define OPERATION_UPDATE	0x02
#define OPERATION_DELETE	0x04
#define OPERATION_TRUNCATE	0x08

/* Bytes of JSON that the keys of one payload may take. */
#define MAX_KEYS_LEN		240

/* Bytes that a row's primary key may take in a table event. */
#define MAX_ROW_LEN		239

typedef struct ExtraFields
{
	bool		wanted;			/* a trigger asks for operations or keys */
	bool		events_incomplete;	/* its tables' events do not tell all of
									 * it */
	bool		all_keys;		/* some are unknown, or they are too long */
	uint8		operations;
	uint16		keys_len;
	uint64		xid;			/* of the last transaction, 0 if unknown */
	char		keys[MAX_KEYS_LEN]; /* JSON values separated by commas */
} ExtraFields;

/*
 * What this transaction did to one (domain, tenant).  Lives until the end of
 * the transaction, also when a savepoint rollback has emptied it.
 */
typedef struct ScopeChange
{
	Domain	   *domain;
	CounterKey	counter;		/* the scope's, or that of a bucket */

	int64		bumps;			/* statements that changed it */
	int64		notices;		/* statements that only have it delivered */
	bool		by_hand;		/* invalidate() feeds what nothing watches */
	int64		keyed;			/* bumps whose keys the buckets tell */
	uint64		stamp[MAX_STATEMENT_DEPTH]; /* statement that counted it last */
	uint64		keyed_stamp[MAX_STATEMENT_DEPTH];	/* the same, if keyed */

	/* inline_trigger.c */
	uint64		noted_by;		/* the statement that has noted all its rows */
	uint64		buckets_noted_by;	/* the trigger that has noted ... */
	uint32		nbuckets_noted; /* ... so many of its buckets */

	int			journal;		/* newest journal record, or -1 */

	/* key_change.c */
	int64		bucket_layout;	/* that keyed is meant in; 0: none so far */
	struct KeyChanges *keys;	/* NULL: none so far */

	/* Not undone by a savepoint rollback: it may say too much. */
	ExtraFields extra;


	/* Deliver it where this one did; NULL: where the domain goes. */
	const struct Watch *former;
} ScopeChange;

/* What happened to a table; see table_event.c. */
typedef struct TableEvent
{
	Oid			table;			/* the watched one, not its partition */
	int			operations;		/* OPERATION_* */
	bool		of_rows;		/* for formats that tell of each row */
	const char *row;			/* its primary key; NULL: not known */
	uint64		statement_no;	/* of the statement; see table_event.c */
	int			level;			/* of the subtransaction */
} TableEvent;

/* A statement interrupted by one at the same depth; see change_set.c. */
typedef struct Statement
{
	int			index;
	uint64		statement_no;
	bool		in_statement;
} Statement;

#define scope_is_pending(scope) ((scope)->bumps > 0 || (scope)->notices > 0)

/* One delivery: which key reached which version. */
typedef struct Delivery
{
	const char *domain;
	const char *tenant;			/* NULL: shared */
	int64		version;
	int64		bumps;			/* 0: not told */
	uint64		lsn;			/* 0: unknown */
	const ExtraFields *extra;
} Delivery;

/* What committed transactions owe, taken over. */
typedef struct Owed
{
	List	   *scopes;			/* ScopeChange * */
	List	   *messages;		/* Message * */
	bool		reset;			/* listeners must drop everything */
} Owed;

/* Where the deliveries of a domain go, and in which format. */
typedef struct Route
{
	const char *domain;
	const char *channel;		/* or a template; NULL: default_channel */
	const struct PayloadFormat *format;
	int			fields;			/* FIELD_* */
	const char *suffix;			/* at the end of each payload */

	/* if the format tells of tables */
	Oid			table;
	char		table_name[NAMEDATALEN];
} Route;

/* One notification of a format that tells of tables. */
typedef struct TableDelivery
{
	Oid			table;
	const char *table_name;
	int			operation;		/* one of OPERATION_*; TRUNCATE: anything */
	const char *row;			/* or NULL */
	TimestampTz sent_at;		/* no two are the same */
} TableDelivery;

/* A format tells either of keys or of tables. */
typedef struct PayloadFormat
{
	const char *name;
	void		(*write) (StringInfo buf, const Delivery *delivery, int fields);
	void		(*write_event) (StringInfo buf, const TableDelivery *delivery);
	void		(*write_pk_column) (StringInfo buf, const char *column,
									const char *value); /* tells of each row */
	bool		tells_order;	/* only equal neighbours are one event */
	const char *channel;		/* if setup names none; NULL: the default */
} PayloadFormat;

/* A notification, ready to be sent. */
typedef struct Message
{
	const char *channel;
	const char *payload;
	const Route *route;			/* both NULL unless it tells of a table */
	TableDelivery *event;
	int			position;		/* both used in message.c only */
	bool		repeated;
} Message;

/* What is counted, for each database: the columns of statistics(), in order. */
typedef enum Statistic
{
	STAT_BUMPS,
	STAT_ROWS,
	STAT_DELIVERED,
	STAT_COALESCED,
	STAT_CYCLES,
	STAT_OVERFLOWS,
	STAT_WORKER_RESTARTS,
	STAT_LAST_LAG_US,
	STAT_MAX_LAG_US,
	STAT_CLEARED_AT,
	NUM_STATS
} Statistic;

typedef struct WaitingDatabase WaitingDatabase;

/* table_event.c */
extern bool table_event_add(const TableEvent *event);
extern bool table_event_full(void);
extern List *table_events(void);
extern void table_event_end_transaction(void);
extern void table_event_subcommit(int level);
extern void table_event_subabort(int level);

/* inline_trigger.c */
struct QueryDesc;
extern void inline_trigger_init(void);
extern void inline_trigger_finish(struct QueryDesc *query, int depth);

/* trigger.c */
extern int64 trigger_rows_seen;
extern void trigger_init(void);
extern int	trigger_depth(void);

/* change_set.c */
extern void change_set_init(void);
extern ScopeChange *change_set_scope(Domain *domain, const char *tenant,
									 int tenant_len);
extern void change_set_bump_once(ScopeChange *scope, int depth);
extern void change_set_bump(ScopeChange *scope);
extern void change_set_bump_key_once(ScopeChange *scope, int64 bucket_layout, uint32 hash,
									 int depth);
extern void change_set_bump_key(ScopeChange *scope, const VersionName *name);
extern void change_set_tell_key(ScopeChange *scope, const char *json);
extern Statement change_set_begin_statement(int depth);
extern void change_set_end_statement(Statement outer);
extern uint64 change_set_statement_no(int depth);
extern bool change_set_is_bumped(const ScopeChange *scope, int depth);
extern bool change_set_is_keyed(const ScopeChange *scope, int depth);
extern bool change_set_full(void);
extern bool change_set_active(void);
extern List *change_set_pending(void);
extern ScopeChange *change_set_find(const char *name, const char *tenant);
extern void change_set_recascade(void);
extern void change_set_end_transaction(void);
extern void change_set_subcommit(int level);
extern void change_set_subabort(int level);

/* key_change.c */
extern uint32 bucket_limit(int64 bucket_layout);
extern void change_set_write(CounterTable *table, ScopeChange *scope);
extern int64 pending_bumps(const VersionName *name, const char *tenant);

/* by_hand.c */
extern void by_hand_note(ScopeChange *scope);
extern bool by_hand_pending(const char *domain);
extern bool by_hand_seen(CounterTable *table, const char *domain,
						 Snapshot snapshot);
extern void by_hand_write(CounterTable *table, List *scopes);

/* commit.c */
extern void commit_init(void);

/* route.c */
extern char *default_channel;
extern int	route_fields(char **args, int nargs);
extern void route_load(void);
extern List *route_all(void);
extern List *routes_of_domain(const Domain *domain);
extern Route route_of_watch(const Watch *watch);
extern void route_remember(const Watch *watch);
extern List *route_former_scopes(void);
extern void route_end_transaction(void);
extern void route_init(void);

/* owed.c */
extern void owed_add(List *scopes);
extern void owed_add_messages(List *messages);
extern void owed_add_reset(void);
extern Owed owed_take(void);
extern void owed_discard(void);

/* delivery.c */
extern void delivery_init(void);
extern bool delivery_by_worker(void);
extern void delivery_pre_commit(CounterTable *table, List *scopes);
extern void delivery_pre_prepare(CounterTable *table, List *scopes);
extern void delivery_owed_at_commit(void);
extern bool delivery_due(void);
extern void delivery_post_commit(void);
extern void delivery_end_transaction(void);

/* message.c */
extern List *messages_of(CounterTable *table, List *events, List *scopes,
						 uint64 lsn);
extern List *reset_messages(CounterTable *table, List *scopes);
extern void stamp_message(Message *message);

/* notify.c */
extern void notify_at_commit(CounterTable *table, List *events, List *scopes,
							 List *messages);
extern bool notify_committed(CounterTable *table, List *events, List *scopes,
							 bool reset, bool take_owed);
extern bool notify_default_reset(void);
extern void wal_write_scopes(CounterTable *table, List *scopes);
extern void wal_write_messages(List *messages);

/* waiting.c */
extern void waiting_init(void);
extern bool waiting_available(void);
extern WaitingDatabase *waiting_database(Oid database);
extern WaitingDatabase *waiting_begin_commit(bool (*start) (Oid), bool *refused);
extern void waiting_end_commit(WaitingDatabase *db);
extern void waiting_add_scopes(WaitingDatabase *db, List *scopes, uint64 xid);
extern void waiting_add_owed(WaitingDatabase *db);
extern void waiting_count(WaitingDatabase *db, int64 bumps, int64 rows);
extern bool waiting_stop_worker(Oid database);
extern void waiting_resume_worker(Oid database, bool (*start) (Oid));
extern void waiting_forget_database(Oid database);

/* waiting_event.c */
extern bool waiting_add_events(WaitingDatabase *db, List *events,
							   TransactionId xid);
extern void waiting_drop_events(WaitingDatabase *db, TransactionId xid);

/* worker.c */
extern void worker_init(void);
extern WaitingDatabase *worker_begin_commit(void);
extern bool worker_register(Oid database);

/* utility.c */
extern void utility_init(void);

/* payload.c */
extern void extra_add_key(ExtraFields *extra, const char *json);
extern void extra_merge(ExtraFields *into, const ExtraFields *from);
#define RESET_PAYLOAD "{\"reset\": true}"
extern const PayloadFormat *payload_format(const char *name);

/* inheritance.c */
extern bool inherit_triggers(Oid relid, Oid function);
extern void make_way_for_clones(Oid parent, Oid child);

/* restored.c */
extern void restored_trigger_created(void);

/* drop_extension.c */
struct DropStmt;
extern void extension_drop_starts(struct DropStmt *stmt);

#endif							/* CACHE_NOTIFY_H */
