/*-------------------------------------------------------------------------
 *
 * schema_event.h
 *	  What commands do to the schema, as the event triggers see it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_SCHEMA_EVENT_H
#define CACHE_NOTIFY_SCHEMA_EVENT_H

#include "change/change.h"
#include "delivery/delivery.h"

/* What one command did. */
typedef struct SchemaEvent
{
	Oid			function;		/* the event trigger's */
	List	   *domains;		/* Domain *: to be bumped, each once */
	List	   *former;			/* Watch *: removed or replaced */
} SchemaEvent;

/* Columns of pg_event_trigger_ddl_commands(). */
#define Anum_ddl_tag			4
#define Anum_ddl_schema			6
#define Anum_ddl_identity		7
#define Anum_ddl_command		9

/* Columns of pg_event_trigger_dropped_objects(). */
#define Anum_dropped_classid	1
#define Anum_dropped_objid		2
#define Anum_dropped_objsubid	3
#define Anum_dropped_temporary	6
#define Anum_dropped_type		7
#define Anum_dropped_schema		8
#define Anum_dropped_identity	10
#define Anum_dropped_name		9
#define Anum_dropped_address_names 11

typedef void (*EventRowVisitor) (struct TupleTableSlot *slot, void *arg);

/* schema_event.c */
extern void visit_event_rows(Oid function, EventRowVisitor visit, void *arg);

/* schema_effect.c */
extern void add_domain(SchemaEvent *event, const char *name);
extern void add_watches(SchemaEvent *event, List *watches);
extern void add_former(SchemaEvent *event, Watch *watch);
extern void relation_changed(SchemaEvent *event, Oid relid);
extern void definition_of_name_changed(SchemaEvent *event, const char *name);
extern void definition_changed(SchemaEvent *event, Oid class, Oid objid);
extern void view_changed(SchemaEvent *event, Oid view);
extern void type_changed(SchemaEvent *event, Oid type, List **seen);
extern void tree_changed(SchemaEvent *event, Oid relid);
extern void cast_changed(SchemaEvent *event, Oid cast, Snapshot snapshot);
extern void operator_class_changed(SchemaEvent *event, Oid opclass,
								   Snapshot snapshot);
extern void definition_dropped(SchemaEvent *event, Oid class, Oid objid,
							   Snapshot snapshot);
extern Oid	table_of_policy(Oid policy, Snapshot snapshot);

/* inheritance.c */
extern bool inherit_triggers(Oid relid, Oid function);
extern bool is_inheriting_triggers(void);
extern Oid	owner_of_function(Oid function);
extern void make_way_for_clones(Oid parent, Oid child);
extern void follow_names(Node *parsetree, Oid function);

/* family_triggers.c */
extern List *equip_simple_members(Oid relid);

/* restored.c */
extern bool restored_trigger_created(void);
extern void configuration_trigger_created(Oid trigger);

/* drop_extension.c */
struct DropStmt;
struct DropOwnedStmt;
extern void extension_drop_starts(struct DropStmt *stmt, Oid function);
extern void extension_drop_owned_starts(struct DropOwnedStmt *stmt, Oid function);

/* own_object.c */
extern void refuse_to_move_own(const ObjectAddress *object, Node *parsetree);

#endif							/* CACHE_NOTIFY_SCHEMA_EVENT_H */
