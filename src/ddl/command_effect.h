/*-------------------------------------------------------------------------
 *
 * command_effect.h
 *	  What commands do: for the files of ddl.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COMMAND_EFFECT_H
#define CACHE_NOTIFY_COMMAND_EFFECT_H

#include "ddl/schema_event.h"

struct CollectedCommand;

/* schema_effect.c */
extern void roles_changed(SchemaEvent *event);
extern void server_changed(SchemaEvent *event, Oid server);
extern void text_search_changed(SchemaEvent *event);

/* alter_table.c */
extern void parents_changed(SchemaEvent *event, Oid relid);
extern Oid	command_relation(RangeVar *name);
extern void firing_changed(SchemaEvent *event, Oid relid);
extern void alter_table_effect(SchemaEvent *event,
							   struct CollectedCommand *command);

/* written_effect.c */
extern void written_rows_changed(SchemaEvent *event);

/* name_taken.c */
extern void name_taken(SchemaEvent *event, Oid class, Oid objid);
extern void schema_renamed(SchemaEvent *event, Oid schema);
extern void object_created(SchemaEvent *event, ObjectAddress address);

/* watch_effect.c */
extern void trigger_created(SchemaEvent *event, Oid trigger);
extern void label_set(SchemaEvent *event, ObjectAddress address);
extern void trigger_dropped(SchemaEvent *event, Oid trigger);

/* schema_event.c */
extern void bump_event(SchemaEvent *event);

#endif							/* CACHE_NOTIFY_COMMAND_EFFECT_H */
