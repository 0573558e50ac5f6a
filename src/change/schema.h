/*-------------------------------------------------------------------------
 *
 * schema.h
 *	  What commands do to the schema: for schema*.c, and for those who carry
 *	  that to its end, commit.c and delivery.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_SCHEMA_H
#define CACHE_NOTIFY_SCHEMA_H

#include "base/cache_notify.h"

/* What one command did. */
typedef struct SchemaEvent
{
	Oid			function;		/* the event trigger's */
	List	   *domains;		/* Domain *: to be bumped, each once */
	List	   *former;			/* Watch *: removed or replaced */
} SchemaEvent;

/* The domain that moves with the schema; see schema_change.c. */
#define SCHEMA_DOMAIN	"schema"

/* One fact about what a transaction did to the schema. */
typedef struct SchemaChange
{
	int			level;			/* nest level of the transaction */
	int			presets;		/* which of them count it, as bits */
	const char *schema;			/* NULL: the object is in none */
	const char *command;		/* its tag; NULL: something was dropped */
	bool		anything;		/* and more, which is not told apart */
} SchemaChange;

/* Columns of pg_event_trigger_ddl_commands(). */
#define Anum_ddl_tag			4
#define Anum_ddl_schema			6
#define Anum_ddl_command		9

/* Columns of pg_event_trigger_dropped_objects(). */
#define Anum_dropped_classid	1
#define Anum_dropped_objid		2
#define Anum_dropped_objsubid	3
#define Anum_dropped_temporary	6
#define Anum_dropped_type		7
#define Anum_dropped_schema		8
#define Anum_dropped_name		9
#define Anum_dropped_address_names 11

typedef void (*EventRowVisitor) (struct TupleTableSlot *slot, void *arg);

/* schema_event.c */
extern void visit_event_rows(Oid function, EventRowVisitor visit, void *arg);

/* schema_change.c */
extern List *schema_changes(void);
extern void schema_changes_end_transaction(void);
extern void schema_changes_subcommit(int level);
extern void schema_changes_subabort(int level);

/* schema_payload.c */
extern int	schema_presets_of_command(const char *statement,
									  const char *command);
extern int	schema_presets_of_drop(const char *object_type);
extern List *schema_messages(void);

/* schema_effect.c */
extern void add_domain(SchemaEvent *event, const char *name);
extern void add_watches(SchemaEvent *event, List *watches);
extern void add_former(SchemaEvent *event, Watch *watch);
extern void relation_changed(SchemaEvent *event, Oid relid);
extern void definition_changed(SchemaEvent *event, Oid objid);
extern void view_changed(SchemaEvent *event, Oid view);
extern void type_changed(SchemaEvent *event, Oid type, List **seen);
extern void tree_changed(SchemaEvent *event, Oid relid);
extern void schema_renamed(SchemaEvent *event, Oid schema);
extern Oid	table_of_policy(Oid policy, Snapshot snapshot);

#endif							/* CACHE_NOTIFY_SCHEMA_H */
