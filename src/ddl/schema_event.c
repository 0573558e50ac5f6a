/*-------------------------------------------------------------------------
 *
 * schema_event.c
 *	  The event triggers: DDL that changes what queries return.
 *
 * A row trigger does not see ALTER TABLE, ATTACH PARTITION, REFRESH
 * MATERIALIZED VIEW or DROP.  Each becomes a shared bump of the domains that
 * the relation feeds, one per command and domain.  Redefining a view or a
 * function bumps the "definition" domain that its OID falls into, which
 * domains_of() names for every query that uses it.
 *
 * The extension owns three event triggers, all of which call schema_event():
 *
 *	  ddl_command_start	makes way for what ALTER TABLE and DROP are about to
 *						do, and bumps before DETACH ... CONCURRENTLY, whose
 *						first transaction ends before the command does
 *	  sql_drop			what was watched, and is no more
 *	  ddl_command_end	everything else
 *
 * table_rewrite is not needed: what rewrites a table, ALTER TABLE or ALTER
 * TYPE, is seen at its end, and what only moves rows changes nothing.
 *
 * A command that leaves everything as it was, as those of idempotent migrations
 * do, moves nothing: catalog_change.c compares the catalogs with what was there.
 *
 * alter_table.c does the same for the subcommands of ALTER TABLE, and
 * schema_effect.c knows which domains a change concerns.
 *
 * Nothing here may fail the user's command (but for REFRESH of our own state,
 * and for a new name of what is ours: own_object.c).
 * Only making the triggers of a
 * new child table runs SQL; it does so in a subtransaction, and what goes
 * wrong there becomes a warning, which v_invalidation_status repeats.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_ts_parser.h"
#include "catalog/pg_ts_template.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "storage/lmgr.h"
#include "tcop/deparse_utility.h"
#include "utils/aclchk_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"

PG_FUNCTION_INFO_V1(cache_notify_schema_event);

/* Bump what a command has changed. */
void
bump_event(SchemaEvent *event)
{
	ListCell   *lc;

	foreach(lc, event->domains)
		change_set_bump(change_set_scope(lfirst(lc), NULL, 0));
	foreach(lc, event->former)
	{
		const Watch *watch = lfirst(lc);

		route_remember(watch);
		whole_number_left(watch->domain, watch->options->whole_counter);
		if (layout_was_left(watch))
			layout_leave(domain_lookup(watch->domain),
						 watch->options->bucket_layout);
	}
}

/* --------------------------------------------------------- other commands */

/* A column's name is part of what its table returns. */
static void
rename_column(SchemaEvent *event, Oid relid, RenameStmt *stmt)
{
	ListCell   *lc;

	tree_changed(event, relid);
	if (get_rel_relkind(relid) != RELKIND_VIEW)
		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
			watches_rename_column(lfirst_oid(lc), stmt->subname, stmt->newname);
}

/* Tables made OF a type have its attributes for columns. */
static void
rename_attribute(SchemaEvent *event, Oid relid, RenameStmt *stmt)
{
	List	   *seen = NIL;
	List	   *domains = event->domains;
	ListCell   *lc;
	Relation	pg_class;
	SysScanDesc scan;
	HeapTuple	tuple;
	ScanKeyData key;

	type_changed(event, get_rel_type_id(relid), &seen);
	if (event->domains == domains)
		return;					/* no watched table has to do with it */
	pg_class = table_open(RelationRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_class_reloftype, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(get_rel_type_id(relid)));
	scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		foreach(lc, find_all_inheritors(((Form_pg_class) GETSTRUCT(tuple))->oid,
										NoLock, NULL))
			watches_rename_column(lfirst_oid(lc), stmt->subname, stmt->newname);
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
}

static bool
is_text_search(Oid class)
{
	return class == TSConfigRelationId || class == TSDictionaryRelationId ||
		class == TSParserRelationId || class == TSTemplateRelationId;
}

/* What an object returns, whatever its kind, has changed. */
static void
object_effect(SchemaEvent *event, ObjectAddress address)
{
	if (address.classId == RelationRelationId)
		tree_changed(event, address.objectId);
	else if (is_text_search(address.classId))
		text_search_changed(event);
	else if (address.classId == ProcedureRelationId ||
			 address.classId == TypeRelationId ||
			 address.classId == OperatorRelationId ||
			 address.classId == CollationRelationId)
		definition_changed(event, address.classId, address.objectId);
}

/* What something was called before; NULL: whoever depends on it is not named. */
static const char *
name_before(RenameStmt *stmt)
{
	if (stmt->relation != NULL)
		return stmt->relation->relname;
	if (stmt->object != NULL && IsA(stmt->object, ObjectWithArgs))
		return strVal(llast(((ObjectWithArgs *) stmt->object)->objname));
	if (stmt->object != NULL && IsA(stmt->object, List))
		return strVal(llast((List *) stmt->object));
	return NULL;
}

/* Those who depend on a definition know it by its name. */
static void
definition_has_name(SchemaEvent *event, RenameStmt *stmt)
{
	const char *old = name_before(stmt);

	if (old == NULL)
		return;
	definition_of_name_changed(event, old);
	definition_renamed(old, stmt->newname);
}

static void
rename_object(SchemaEvent *event, ObjectAddress address, RenameStmt *stmt)
{
	if (stmt->renameType == OBJECT_SCHEMA)
		schema_renamed(event, address.objectId);
	else if (stmt->renameType == OBJECT_COLUMN)
		rename_column(event, address.objectId, stmt);
	else if (stmt->renameType == OBJECT_ATTRIBUTE)
		rename_attribute(event, address.objectId, stmt);
	else
	{
		object_effect(event, address);
		if (address.classId == RelationRelationId ||
			address.classId == ProcedureRelationId ||
			address.classId == TypeRelationId)
			definition_has_name(event, stmt);
		name_taken(event, address.classId, address.objectId);
	}
}

static void
table_created(SchemaEvent *event, Oid relid, CreateStmt *stmt)
{
	ListCell   *lc;

	name_taken(event, RelationRelationId, relid);
	if (stmt->inhRelations == NIL)
		return;
	parents_changed(event, relid);
	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		foreach(lc, parents_of(relid))
			relation_changed(event, lfirst_oid(lc));	/* has rows already */
}

/* Has a command really changed the object that it was given? */
static bool
object_changed(ObjectAddress address, AttrNumber class_column)
{
	switch (address.classId)
	{
		case RelationRelationId:
			return catalog_relation_changed(address.objectId, class_column);
		case ProcedureRelationId:
			return catalog_function_changed(address.objectId);
		case TypeRelationId:
			return catalog_type_changed(address.objectId);
		case OperatorRelationId:
		case CollationRelationId:
			return catalog_other_changed(address.classId, address.objectId);
		default:
			return true;
	}
}

static void
set_schema(SchemaEvent *event, ObjectAddress address)
{
	if (address.classId == ExtensionRelationId)
		written_rows_changed(event);	/* all that belongs to it */
	else if (object_changed(address, Anum_pg_class_relnamespace))
	{
		object_effect(event, address);
		name_taken(event, address.classId, address.objectId);
	}
}

/* A new value has a place in the order, but no row has it yet. */
static void
alter_enum(SchemaEvent *event, ObjectAddress address, AlterEnumStmt *stmt)
{
	List	   *seen = NIL;

	if (stmt->oldVal != NULL)
		type_changed(event, address.objectId, &seen);
	else if (catalog_enum_grew(address.objectId))
		definition_changed(event, TypeRelationId, address.objectId);
}

/* A view by another name. */
static void
select_rule(SchemaEvent *event, RuleStmt *stmt)
{
	Oid			relid = command_relation(stmt->relation);

	if (stmt->event == CMD_SELECT && catalog_view_changed(relid))
		tree_changed(event, relid);
}

/*
 * Who may read no longer gets answers, so caches should have none.  What is
 * taken away from roles by way of others is not seen.
 */
static void
rights_revoked(SchemaEvent *event, InternalGrant *grant)
{
	ListCell   *lc;

	if (grant->is_grant)
		return;
	foreach(lc, grant->objects)
	{
		Oid			objid = lfirst_oid(lc);

		if (grant->objtype == OBJECT_TABLE && catalog_rights_changed(objid))
			tree_changed(event, objid);
		else if ((grant->objtype == OBJECT_FUNCTION ||
				  grant->objtype == OBJECT_PROCEDURE ||
				  grant->objtype == OBJECT_ROUTINE) &&
				 catalog_function_changed(objid))
			definition_changed(event, ProcedureRelationId, objid);
		else if (grant->objtype == OBJECT_SCHEMA &&
				 catalog_schema_rights_changed(objid))
			schema_renamed(event, objid);
	}
}

static void
simple_command(SchemaEvent *event, ObjectAddress address, Node *parsetree)
{
	if (!OidIsValid(address.objectId))
		return;					/* IF NOT EXISTS, and it did */
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			table_created(event, address.objectId, (CreateStmt *) parsetree);
			break;
		case T_RenameStmt:
			refuse_to_move_own(&address, parsetree);
			rename_object(event, address, (RenameStmt *) parsetree);
			break;
		case T_AlterObjectSchemaStmt:
			refuse_to_move_own(&address, parsetree);
			set_schema(event, address);
			break;
		case T_AlterOwnerStmt:
		case T_AlterFunctionStmt:
			if ((address.classId == RelationRelationId ||
				 address.classId == ProcedureRelationId ||
				 address.classId == TypeRelationId) &&
				object_changed(address, Anum_pg_class_relowner))
				object_effect(event, address);
			break;
		case T_RefreshMatViewStmt:
			state_refuse_refresh(address.objectId);
			tree_changed(event, address.objectId);
			break;
		case T_CreatePolicyStmt:
			relation_changed(event, table_of_policy(address.objectId, NULL));
			break;
		case T_AlterPolicyStmt:
			if (catalog_policy_changed(address.objectId))
				relation_changed(event, table_of_policy(address.objectId, NULL));
			break;
		case T_ViewStmt:
			if (catalog_view_changed(address.objectId))
				view_changed(event, address.objectId);
			object_created(event, address);
			break;
		case T_CreateTableAsStmt:
		case T_CompositeTypeStmt:
		case T_CreateEnumStmt:
		case T_CreateRangeStmt:
		case T_CreateDomainStmt:
			object_created(event, address);
			break;
		case T_CreateFunctionStmt:
		case T_DefineStmt:
			if (address.classId == ProcedureRelationId &&
				catalog_function_changed(address.objectId))
				definition_changed(event, address.classId, address.objectId);
			object_created(event, address);
			break;
		case T_CreateCastStmt:
			cast_changed(event, address.objectId, NULL);
			break;
		case T_AlterDomainStmt:
		case T_AlterTypeStmt:
			definition_changed(event, TypeRelationId, address.objectId);
			break;
		case T_RuleStmt:
			select_rule(event, (RuleStmt *) parsetree);
			break;
		case T_AlterTSConfigurationStmt:
		case T_AlterTSDictionaryStmt:
			text_search_changed(event);
			break;
		case T_AlterForeignServerStmt:
			if (catalog_server_changed(address.objectId))
				server_changed(event, address.objectId);
			break;
		case T_AlterFdwStmt:
		case T_CreateUserMappingStmt:
		case T_AlterUserMappingStmt:
			server_changed(event, InvalidOid);
			break;
		case T_AlterEnumStmt:
			alter_enum(event, address, (AlterEnumStmt *) parsetree);
			break;
		case T_CreateTrigStmt:
			trigger_created(event, address.objectId);
			break;
		case T_SecLabelStmt:
			label_set(event, address);
			break;
		default:
			break;
	}
}

/* ------------------------------------------------------------- the events */

/* Visit the rows that one of the server's event trigger functions returns. */
void
visit_event_rows(Oid function, EventRowVisitor visit, void *arg)
{
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo	flinfo;
	ReturnSetInfo result = {.type = T_ReturnSetInfo};
	TupleTableSlot *slot;

	fmgr_info(function, &flinfo);
	result.econtext = CreateStandaloneExprContext();
	result.allowedModes = SFRM_Materialize;
	result.returnMode = SFRM_ValuePerCall;
	InitFunctionCallInfoData(*fcinfo, &flinfo, 0, InvalidOid, NULL,
							 (Node *) &result);
	(void) FunctionCallInvoke(fcinfo);

	slot = MakeSingleTupleTableSlot(result.setDesc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(result.setResult, true, false, slot))
		visit(slot, arg);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(result.setResult);
	FreeExprContext(result.econtext, true);
}

static void
visit_command(TupleTableSlot *slot, void *arg)
{
	SchemaEvent *event = arg;
	bool		isnull;
	CollectedCommand *command = (CollectedCommand *)
		DatumGetPointer(slot_getattr(slot, Anum_ddl_command, &isnull));

	if (command->type == SCT_AlterTable)
		alter_table_effect(event, command);
	else if (command->type == SCT_Simple)
		simple_command(event, command->d.simple.address, command->parsetree);
	else if (command->type == SCT_Grant)
		rights_revoked(event, command->d.grant.istmt);
	else if (command->type == SCT_AlterTSConfig)
		text_search_changed(event);
	else if (command->type == SCT_AlterOpFamily)
		definition_changed(event, OperatorFamilyRelationId,
						   command->d.opfam.address.objectId);
	else if (command->type == SCT_CreateOpClass)
		operator_class_changed(event, command->d.createopc.address.objectId, NULL);
}

/* The last part of a dropped object's address, of which there is one at least. */
static const char *
dropped_name(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		names = slot_getattr(slot, Anum_dropped_address_names, &isnull);
	Datum	   *elements;
	int			n;

	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &n);
	return n > 0 ? TextDatumGetCString(elements[n - 1]) : NULL;
}

static void
visit_dropped(TupleTableSlot *slot, void *arg)
{
	SchemaEvent *event = arg;
	bool		isnull;
	Oid			class = DatumGetObjectId(slot_getattr(slot, Anum_dropped_classid, &isnull));
	Oid			objid = DatumGetObjectId(slot_getattr(slot, Anum_dropped_objid, &isnull));
	int			subid = DatumGetInt32(slot_getattr(slot, Anum_dropped_objsubid, &isnull));
	ListCell   *lc;

	if (DatumGetBool(slot_getattr(slot, Anum_dropped_temporary, &isnull)))
		return;
	if (class == RelationRelationId || class == ProcedureRelationId ||
		class == TypeRelationId || class == OperatorRelationId ||
		class == CollationRelationId)
		definition_of_name_changed(event, dropped_name(slot));
	if (class == RelationRelationId && subid != 0)
		tree_changed(event, objid);
	else if (class == RelationRelationId)
	{
		foreach(lc, watches_of_relation(objid, WATCH_REMOVED))
		{
			announce_configuration();
			add_former(event, lfirst(lc));
		}
		if (view_was_replaced(objid))
			definition_changed(event, class, objid);
	}
	else if (is_text_search(class))
		text_search_changed(event);
	else if (class == UserMappingRelationId)
		server_changed(event, InvalidOid);
	else if (class != TriggerRelationId)
		definition_dropped(event, class, objid, SnapshotAny);
	else
	{
		trigger_dropped(event, objid);
		if (strstr(TextDatumGetCString(slot_getattr(slot, Anum_dropped_identity, &isnull)),
				   " on " EXTENSION_SCHEMA "." CONFIGURATION_VIEW) != NULL)
			announce_configuration();
	}
}

static void
attach_starts(Oid parent, RangeVar *child)
{
	Oid			relid;

	if (watches_of_relation(parent, WATCH_NOW) == NIL)
		return;
	relid = command_relation(child);
	if (!OidIsValid(relid) || watches_of_relation(relid, WATCH_NOW) == NIL ||
		!compat_owns_relation(parent) || !compat_owns_relation(relid))
		return;					/* nothing to do, or it will be refused */
	/* The locks that ATTACH takes, in its order. */
	LockRelationOid(parent, ShareUpdateExclusiveLock);
	LockRelationOid(relid, AccessExclusiveLock);
	if (relid == command_relation(child))
		make_way_for_clones(parent, relid);
}

static void
command_starts(SchemaEvent *event, Node *parsetree)
{
	AlterTableStmt *stmt = (AlterTableStmt *) parsetree;
	ListCell   *lc;

	if (IsA(parsetree, DropStmt))
		extension_drop_starts((DropStmt *) parsetree, event->function);
	if (IsA(parsetree, DropOwnedStmt))
		extension_drop_owned_starts((DropOwnedStmt *) parsetree, event->function);
	if (!IsA(parsetree, AlterTableStmt))
		return;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (!IsA(cmd, AlterTableCmd))
			continue;
		if (cmd->subtype == AT_DetachPartition &&
			((PartitionCmd *) cmd->def)->concurrent)
			relation_changed(event, command_relation(stmt->relation));
		else if (cmd->subtype == AT_AttachPartition)
			attach_starts(command_relation(stmt->relation),
						  ((PartitionCmd *) cmd->def)->name);
	}
}

/* Event trigger of all three events. */
Datum
cache_notify_schema_event(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigdata = (EventTriggerData *) fcinfo->context;
	SchemaEvent event = {0};

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("schema_event() must be called as an event trigger")));
	event.function = fcinfo->flinfo->fn_oid;
	if (trigdata->tag == CMDTAG_ALTER_INDEX &&
		!IsA(trigdata->parsetree, RenameStmt))
		PG_RETURN_NULL();		/* only the names of our own concern us */
	if (strcmp(trigdata->event, "ddl_command_start") == 0)
		command_starts(&event, trigdata->parsetree);
	else if (strcmp(trigdata->event, "sql_drop") == 0)
		visit_event_rows(F_PG_EVENT_TRIGGER_DROPPED_OBJECTS, visit_dropped, &event);
	else
	{
		visit_event_rows(F_PG_EVENT_TRIGGER_DDL_COMMANDS, visit_command, &event);
		follow_names(trigdata->parsetree, event.function);
	}
	bump_event(&event);
	PG_RETURN_NULL();
}
