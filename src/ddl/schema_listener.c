/*-------------------------------------------------------------------------
 *
 * schema_listener.c
 *	  The event triggers for those who keep a copy of the schema: PostgREST,
 *	  PostGraphile and their like.
 *
 * setup_schema_invalidation() creates two event triggers that call
 * schema_change(), one for the end of a command and one for what it drops.
 * Whatever a preset of schema_payload.c counts is remembered until the transaction
 * ends (change/schema_change.c).
 *
 * What is not counted: temporary objects, what the script of an extension does
 * (CREATE EXTENSION itself is), and the triggers of watched tables.
 *
 * The event triggers are no members of the extension.  So they cost nothing
 * unless somebody listens, and pg_dump carries them and has them created when
 * everything else has been restored.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "executor/tuptable.h"
#include "tcop/deparse_utility.h"
#include "utils/aclchk_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cache_notify_schema_change);

/* The server's name for the schema of temporary objects, whoever's they are. */
#define TEMPORARY_SCHEMA	"pg_temp"

/* Part of what dropping a table drops, and nobody's business. */
#define TOAST_SCHEMA		"pg_toast"

/* One command, while its rows are visited. */
typedef struct CommandVisit
{
	const char *statement;		/* its tag */
	bool		counts;			/* for any preset */
} CommandVisit;

/* ------------------------------------------------------------- what counts */

/* Objects that have no schema of their own, but a table that has one. */
static bool
is_part_of_relation(Oid class)
{
	return class == TriggerRelationId || class == PolicyRelationId ||
		class == RewriteRelationId || class == AttrDefaultRelationId;
}

static bool
is_part_of_temporary(ObjectAddress address)
{
	List	   *names = NIL;
	List	   *args = NIL;

	if (!is_part_of_relation(address.classId))
		return false;
	(void) getObjectIdentityParts(&address, &names, &args, true);
	return names != NIL && strcmp(linitial(names), TEMPORARY_SCHEMA) == 0;
}

static bool
grants_on_temporary(const InternalGrant *grant)
{
	ListCell   *lc;

	if (grant->objtype != OBJECT_TABLE && grant->objtype != OBJECT_SEQUENCE)
		return false;
	foreach(lc, grant->objects)
	{
		if (get_rel_persistence(lfirst_oid(lc)) != RELPERSISTENCE_TEMP)
			return false;
	}
	return true;
}

/* Does ALTER TABLE do nothing but enable or disable triggers of ours? */
static bool
alters_own_triggers(Oid relid, List *subcommands)
{
	List	   *watches = watches_of_relation(relid, WATCH_NOW);
	ListCell   *lc,
			   *lc2;

	foreach(lc, subcommands)
	{
		AlterTableCmd *cmd = (AlterTableCmd *)
			((CollectedATSubcmd *) lfirst(lc))->parsetree;
		bool		own = false;

		if (!IsA(cmd, AlterTableCmd) ||
			(cmd->subtype != AT_EnableTrig && cmd->subtype != AT_DisableTrig &&
			 cmd->subtype != AT_EnableAlwaysTrig &&
			 cmd->subtype != AT_EnableReplicaTrig))
			return false;
		foreach(lc2, watches)
			own |= same_string(((Watch *) lfirst(lc2))->name, cmd->name);
		if (!own)
			return false;
	}
	return true;
}

static bool
is_housekeeping(const CollectedCommand *command)
{
	switch (command->type)
	{
		case SCT_AlterTable:
			return alters_own_triggers(command->d.alterTable.objectId,
									   command->d.alterTable.subcmds);
		case SCT_Simple:
			return command->d.simple.address.classId == TriggerRelationId &&
				watch_of_trigger(command->d.simple.address.objectId,
								 WATCH_NOW) != NULL;
		default:
			return false;
	}
}

static bool
is_temporary(const CollectedCommand *command, const char *schema)
{
	if (same_string(schema, TEMPORARY_SCHEMA))
		return true;
	switch (command->type)
	{
		case SCT_Simple:
			return is_part_of_temporary(command->d.simple.address);
		case SCT_Grant:
			return grants_on_temporary(command->d.grant.istmt);
		default:
			return false;
	}
}

/* ---------------------------------------------------------- what has happened */

static char *
text_column(TupleTableSlot *slot, AttrNumber column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Rules and listeners are in triggers of a view of ours, and concern nobody. */
static bool
is_configuration(const char *identity)
{
	return identity != NULL &&
		strstr(identity, EXTENSION_SCHEMA "." CONFIGURATION_VIEW) != NULL;
}

static void
visit_command(TupleTableSlot *slot, void *arg)
{
	CommandVisit *visit = arg;
	bool		isnull;
	CollectedCommand *command = (CollectedCommand *)
		DatumGetPointer(slot_getattr(slot, Anum_ddl_command, &isnull));
	SchemaChange change = {
		.schema = text_column(slot, Anum_ddl_schema),
		.command = text_column(slot, Anum_ddl_tag)
	};

	change.presets = schema_presets_of_command(visit->statement,
											   change.command);
	if (change.presets == 0 || is_temporary(command, change.schema) ||
		is_housekeeping(command) ||
		is_configuration(text_column(slot, Anum_ddl_identity)))
		return;
	schema_change_add(change);
	visit->counts = true;
}

/* The schema that a dropped object was in, itself included; NULL if none. */
static char *
schema_of_dropped(TupleTableSlot *slot, Oid class)
{
	bool		isnull;
	Datum		names;
	Datum	   *elements;
	int			n;

	if (class == NamespaceRelationId)
		return text_column(slot, Anum_dropped_name);
	if (!is_part_of_relation(class))
		return text_column(slot, Anum_dropped_schema);
	names = slot_getattr(slot, Anum_dropped_address_names, &isnull);
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &n);
	return n > 0 ? TextDatumGetCString(elements[0]) : NULL;
}

static void
visit_dropped(TupleTableSlot *slot, void *arg)
{
	CommandVisit *visit = arg;
	bool		isnull;
	Oid			class = DatumGetObjectId(slot_getattr(slot, Anum_dropped_classid, &isnull));
	Oid			objid = DatumGetObjectId(slot_getattr(slot, Anum_dropped_objid, &isnull));
	SchemaChange change = {.schema = schema_of_dropped(slot, class)};

	if (DatumGetBool(slot_getattr(slot, Anum_dropped_temporary, &isnull)) ||
		same_string(change.schema, TEMPORARY_SCHEMA) ||
		same_string(change.schema, TOAST_SCHEMA))
		return;
	change.presets = schema_presets_of_drop(text_column(slot, Anum_dropped_type));
	if (change.presets == 0 ||
		is_configuration(text_column(slot, Anum_dropped_identity)) ||
		(class == TriggerRelationId &&
		 watch_of_trigger(objid, WATCH_REMOVED) != NULL))
		return;
	schema_change_add(change);
	visit->counts = true;
}

/* Event trigger of ddl_command_end and sql_drop. */
Datum
cache_notify_schema_change(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigdata = (EventTriggerData *) fcinfo->context;
	CommandVisit visit = {0};
	bool		drop;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("schema_change() must be called as an event trigger")));
	if (creating_extension)
		PG_RETURN_NULL();		/* a command of its script */
	visit.statement = GetCommandTagName(trigdata->tag);
	drop = strcmp(trigdata->event, "sql_drop") == 0;
	if (drop)
		visit_event_rows(F_PG_EVENT_TRIGGER_DROPPED_OBJECTS, visit_dropped,
						 &visit);
	else
		visit_event_rows(F_PG_EVENT_TRIGGER_DDL_COMMANDS, visit_command,
						 &visit);
	schema_change_bump(trigdata->parsetree, drop, visit.counts);
	PG_RETURN_NULL();
}
