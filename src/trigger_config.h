/*-------------------------------------------------------------------------
 *
 * trigger_config.h
 *	  What a trigger is to do: for trigger_config.c and trigger.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_TRIGGER_CONFIG_H
#define CACHE_NOTIFY_TRIGGER_CONFIG_H

#include "access/attnum.h"
#include "commands/trigger.h"
#include "fmgr.h"

/* What a trigger is to do. */
typedef struct TriggerConfig
{
	struct TriggerConfig *next; /* in all_configs */
	MemoryContext context;		/* that all of it lives in */
	Oid			relid;
	bool		valid;			/* false: to be prepared anew */

	Domain	   *domain;
	uint64		domains_forgotten;	/* when domain was looked up */
	bool		per_statement;	/* granularity */

	/* where the tenant comes from; without either, changes are shared */
	const char *tenant_setting;
	AttrNumber	tenant_column;	/* 0: none */
	bool		tenant_is_text;
	bool		tenant_cast;	/* its type has a cast function to text */
	FmgrInfo	tenant_function;	/* that one, or else its output function */
	bool		tenant_needs_settings;	/* the text depends on settings */
	bool		tenant_byval;
	int16		tenant_len;

	AttrNumber *columns;		/* those that count */
	int			ncolumns;		/* 0: all */

	/* operations and keys, if payloads are to tell them */
	int			fields;
	AttrNumber	key_columns[INDEX_MAX_KEYS];	/* of the primary key */
	int			nkey_columns;	/* 0: there is none */

	/* if the payload format tells of tables: what table_event.c is to note */
	const PayloadFormat *event_format;	/* else NULL */
	Oid			event_table;
} TriggerConfig;

extern TriggerConfig *trigger_config(TriggerData *trigdata);

#endif							/* CACHE_NOTIFY_TRIGGER_CONFIG_H */
