/*-------------------------------------------------------------------------
 *
 * change.h
 *	  The door of change: what this transaction has changed.
 *
 *	  statement_no.c	the numbers of statements
 *	  change_set.c		the scopes that it has changed; savepoints
 *	  bump.c			bump a scope, or keys of it, and what the rules reach
 *	  extra_fields.c	what payloads can say beside the version
 *	  table_event.c		what it did to which table, in order
 *	  schema_change.c	what it did to the schema
 *	  running_statement.c	which statements are changing watched tables now
 *	  invalidate.c		bump by hand; by_hand.c: which domains are fed so
 *	  whole_count.c		count in the counters of whole domains
 *	  layout_left.c		which bucket layouts domains leave
 *
 * Promise: one bump for each statement and scope, however many rows; a rollback
 * to a savepoint undoes what came after it, but for ExtraFields, which may say too
 * much; every limit leads to something coarser, never to an error.
 *
 * All is in this backend's memory and goes with the transaction; the roof tells its
 * end, and that of subtransactions, to the ..._end_transaction() and the like.
 *
 * Locks: none, but those of domain when rules or watches have to be read.
 *
 * running_statement.h is a part of the door.
 *
 * What may not happen here: reading or writing tables, but for change_set_write(),
 * which the roof calls before the commit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_CHANGE_H
#define CACHE_NOTIFY_CHANGE_H

#include "domain/domain.h"
#include "change/running_statement.h"

/* Statements nested in triggers deeper than this share one statement. */
#define MAX_STATEMENT_DEPTH		4

#define OPERATION_INSERT	0x01
#define OPERATION_UPDATE	0x02
#define OPERATION_DELETE	0x04
#define OPERATION_TRUNCATE	0x08

#define MAX_KEYS_LEN		240 /* bytes of JSON, for the keys of a payload */
#define MAX_ROW_LEN			239 /* bytes, for a row's primary key in an event */

typedef struct ExtraFields
{
	bool		wanted;			/* a trigger asks for operations or keys */
	bool		events_incomplete;	/* its tables' events do not tell all */
	bool		all_keys;		/* some are unknown, or they are too long */
	uint8		operations;
	uint16		keys_len;
	char		keys[MAX_KEYS_LEN]; /* JSON values separated by commas */
} ExtraFields;

/*
 * What this transaction did to one scope, a (domain, tenant), or to a bucket of its
 * keys.  Lives as long as that, also when a rollback to a savepoint has emptied it.
 */
typedef struct ScopeChange
{
	Domain	   *domain;
	CounterKey	counter;		/* the scope's, or that of a bucket */

	int64		bumps;			/* statements that changed it */
	int64		notices;		/* statements that only have it delivered */
	bool		by_hand;		/* invalidate() feeds what nothing watches */
	int64		layout_floor;	/* see layout_left.c; 0: as it was */
	int64		keyed;			/* bumps whose keys the buckets tell */
	uint64		stamp[MAX_STATEMENT_DEPTH]; /* statement that counted it last */
	uint64		keyed_stamp[MAX_STATEMENT_DEPTH];	/* the same, if keyed */

	/* for inline triggers only */
	uint64		noted_by;		/* the statement that has noted all its rows */
	uint64		buckets_noted_by;	/* the trigger that has noted ... */
	uint32		nbuckets_noted; /* ... so many of its buckets */

	int			journal;		/* newest journal record, or -1 */

	/* bump.c */
	int64		bucket_layout;	/* that keyed is meant in; 0: none so far */
	struct KeyChanges *keys;	/* NULL: none so far */

	/* Not undone by a savepoint rollback: it may say too much. */
	ExtraFields extra;
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

/* A statement interrupted by one at the same depth; see statement_no.c. */
typedef struct Statement
{
	int			index;
	uint64		statement_no;
	bool		in_statement;
} Statement;

#define scope_is_pending(scope) ((scope)->bumps > 0 || (scope)->notices > 0)

/* One fact about what a transaction did to the schema. */
typedef struct SchemaChange
{
	int			level;			/* nest level of the transaction */
	int			presets;		/* which of them count it, as bits */
	const char *schema;			/* NULL: the object is in none */
	const char *command;		/* its tag; NULL: something was dropped */
	bool		anything;		/* and more, which is not told apart */
} SchemaChange;

/* statement_no.c */
extern Statement change_set_begin_statement(int depth);
extern void change_set_end_statement(Statement outer);
extern uint64 change_set_statement_no(int depth);
extern bool change_set_is_bumped(const ScopeChange *scope, int depth);
extern bool change_set_is_keyed(const ScopeChange *scope, int depth);

/* Rows that this transaction's triggers have looked at; see change_set_see_row(). */
extern int64 change_set_rows_seen;

#define change_set_see_row() (change_set_rows_seen++)

/* change_set.c */
extern void change_set_init(void);
extern ScopeChange *change_set_scope(Domain *domain, const char *tenant,
									 int tenant_len);
extern bool change_set_full(void);
extern bool change_set_active(void);
extern List *change_set_pending(void);
extern void change_set_recascade(void);
extern void change_set_end_transaction(void);
extern void change_set_subcommit(int level);
extern void change_set_subabort(int level);

/* bump.c */
extern void change_set_bump_once(ScopeChange *scope, int depth);
extern void change_set_bump(ScopeChange *scope);
extern void change_set_bump_key_once(ScopeChange *scope, int64 bucket_layout, uint32 hash,
									 int depth);
extern void change_set_tell_key(ScopeChange *scope, const char *json);
extern uint32 bucket_limit(int64 bucket_layout);
extern void change_set_write(CounterTable *table, ScopeChange *scope);
extern int64 pending_bumps(const VersionName *name, const char *tenant);

/* extra_fields.c */
extern void extra_add_key(ExtraFields *extra, const char *json);
extern void extra_merge(ExtraFields *into, const ExtraFields *from);

/* table_event.c */
extern bool table_event_add(const TableEvent *event);
extern bool table_event_full(void);
extern List *table_events(void);
extern void table_event_end_transaction(void);
extern void table_event_subcommit(int level);
extern void table_event_subabort(int level);

/* schema_change.c */
extern void schema_change_add(SchemaChange change);
extern void schema_change_bump(const void *command, bool drop, bool counts);
extern List *schema_changes(void);
extern void schema_changes_end_transaction(void);
extern void schema_changes_subcommit(int level);
extern void schema_changes_subabort(int level);

/* layout_left.c */
extern void layout_leave(Domain *domain, int64 bucket_layout);
extern void layout_left_write(CounterTable *table, ScopeChange *scope);

/* whole_count.c */
extern void whole_count_write(CounterTable *table, List *scopes);
extern void whole_number_left(const char *domain_name, int64 number);
extern void whole_count_end(CounterTable *table);
extern void whole_count_end_transaction(void);
extern bool whole_count_wants_base(void);
extern void whole_count_find_bases(void);

/* by_hand.c */
extern bool by_hand_pending(const char *domain);
extern bool by_hand_seen(CounterTable *table, const char *domain,
						 Snapshot snapshot);
extern void by_hand_write(CounterTable *table, List *scopes);

/* Set by ddl: bump what it has not looked at so far.  See quiet_change.c. */
extern void (*resolve_quiet_changes) (void);

#endif							/* CACHE_NOTIFY_CHANGE_H */
