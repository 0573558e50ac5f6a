/*-------------------------------------------------------------------------
 *
 * trigger_config.h
 *	  What a trigger is to do, and what it has seen: for trigger_config.c,
 *	  column_text.c, trigger.c, inline_trigger.c and row_key.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_TRIGGER_CONFIG_H
#define CACHE_NOTIFY_TRIGGER_CONFIG_H

#include "trigger/trigger.h"
#include "delivery/delivery.h"

#include "access/attnum.h"
#include "commands/trigger.h"
#include "fmgr.h"

/* How to write a column's values as text. */
typedef struct ColumnText
{
	AttrNumber	attnum;
	bool		byval;
	int16		len;
	CanonicalType type;
} ColumnText;

/* What a trigger is to do. */
typedef struct TriggerConfig
{
	struct TriggerConfig *next; /* in all_configs */
	struct TriggerConfig *previous;
	MemoryContext context;		/* that all of it lives in */
	int			users;			/* states of triggers that have it */
	bool		dropped;		/* not in all_configs, goes with its last user */
	Oid			relid;
	bool		valid;			/* false: to be prepared anew */

	Domain	   *domain;
	uint64		domains_forgotten;	/* when domain was looked up */
	bool		per_statement;	/* granularity */

	/* where the tenant comes from; without either, changes are shared */
	const char *tenant_setting;
	bool		has_tenant_column;	/* of a type that can name tenants */
	ColumnText	tenant;

	/* where the key comes from */
	int64		bucket_layout;	/* of the buckets; 0: there are no keys */
	int			nkey_texts;
	ColumnText	key_texts[INDEX_MAX_KEYS];

	AttrNumber *columns;		/* those that count */
	int			ncolumns;		/* 0: all */
	bool		has_dropped;	/* the table has columns that were dropped */

	/* operations and keys, if payloads are to tell them */
	int			fields;
	AttrNumber	pk_columns[INDEX_MAX_KEYS]; /* of the primary key */
	int			npk_columns;	/* 0: there is none */

	/* if the payload format tells of tables: what table_event.c is to be told */
	const PayloadFormat *event_format;	/* else NULL */
	Oid			event_table;
} TriggerConfig;

/* One execution of a trigger: by a statement, for all its rows. */
typedef struct TriggerState
{
	TriggerConfig *config;
	int			depth;			/* trigger depth, see change_set.c */

	/* the tenant seen last */
	ScopeChange *last_scope;
	Datum		last_tenant;
	Size		last_size;		/* allocated for it, if by reference */
	MemoryContext context;		/* the state's own */
	MemoryContextCallback callback; /* lets go of config */

	/* set once tenants of the statement do not fit into the change set */
	ScopeChange *overflow_scope;

	int			told_operations;	/* operations that table_event.c knows of */

	/* the key seen last, if it is passed by value: see row_key.c */
	ScopeChange *bumped_scope;	/* which it has bumped */
	Datum		bumped_value;
	StringInfoData bytes;		/* of the key */
} TriggerState;

/* trigger_config.c */
extern void trigger_config_use(TriggerState *state, Relation rel,
							   Trigger *trigger);

/* trigger.c */
extern ScopeChange *scope_of_row(TriggerState *state, HeapTuple tuple,
								 TupleDesc desc);

/* row_compare.c */
extern bool same_content(TriggerState *state, HeapTuple old, HeapTuple new,
						 TupleDesc desc);

/* column_text.c */
extern bool column_text_prepare(ColumnText *column, Relation rel,
								const char *name);
extern bool column_text_names(const ColumnText *column);
extern const char *column_text(const ColumnText *column, Datum value,
							   int *len);
extern bool value_too_long(const ColumnText *column, Datum value);

/* row_key.c */
extern bool row_key_hash(TriggerState *state, HeapTuple tuple, TupleDesc desc,
						 uint32 *hash);
extern void bump_row_key(TriggerState *state, ScopeChange *scope, HeapTuple tuple,
						 TupleDesc desc);
extern bool same_row_key(TriggerState *state, HeapTuple old, HeapTuple new,
						 TupleDesc desc);
extern char *row_key_as_json(TriggerState *state, HeapTuple tuple,
							 TupleDesc desc);

#endif							/* CACHE_NOTIFY_TRIGGER_CONFIG_H */
