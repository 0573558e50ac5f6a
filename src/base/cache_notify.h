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

#include "change/change.h"

#include "access/xlogdefs.h"
#include "storage/buf.h"
#include "storage/itemptr.h"

/* What a payload can say beside the version, if a watched table asks for it. */
#define FIELD_LSN			0x01
#define FIELD_XID			0x02
#define FIELD_OPERATIONS	0x04
#define FIELD_KEYS			0x08

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

/* inline_trigger.c */
struct QueryDesc;
extern void inline_trigger_init(void);
extern void inline_trigger_finish(struct QueryDesc *query, int depth);

/* trigger.c */
extern void trigger_init(void);
extern int	trigger_depth(void);

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
#define RESET_PAYLOAD "{\"reset\": true}"
extern const PayloadFormat *payload_format(const char *name);

/* schema_payload.c */
extern int	schema_presets_of_command(const char *statement,
									  const char *command);
extern int	schema_presets_of_drop(const char *object_type);
extern List *schema_messages(void);

#endif							/* CACHE_NOTIFY_H */
