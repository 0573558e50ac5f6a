/*-------------------------------------------------------------------------
 *
 * unseen_command.c
 *	  Commands that change what queries return and fire no event trigger.
 *
 * The utility hook tells of them once they are done, in sessions that have the
 * library loaded:
 *
 *	  roles				GRANT and REVOKE of roles, ALTER ROLE and the like: row
 *						security shows other rows
 *	  REASSIGN OWNED	other owners, whom row security may not concern
 *	  DROP OWNED		takes roles out of policies, and rights away
 *	  TRUNCATE			of a foreign table, which has no such trigger before 16
 *	  any command		while event triggers are switched off: event_triggers (17),
 *						or single-user mode
 *
 * Roles belong to all databases.  What is changed in another one is not seen.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"
#include "ddl/ddl.h"

static void
visit_member(HeapTuple tuple, TupleDesc desc, void *arg)
{
	*(bool *) arg = true;
}

static void
visit_role(HeapTuple tuple, TupleDesc desc, void *arg)
{
	Oid			role = ((Form_pg_authid) GETSTRUCT(tuple))->oid;

	/* One that is gone had no members any more. */
	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)) &&
		catalog_role_changed(role))
		*(bool *) arg = true;
}

/*
 * Has the transaction changed which roles belong to which, or what one is
 * allowed?  A new role, without members, has not.
 */
static bool
roles_written(void)
{
	bool		found = false;

	visit_written_rows(AuthMemRelationId, visit_member, &found);
	if (!found)
		visit_written_rows(AuthIdRelationId, visit_role, &found);
	return found;
}

/* Foreign tables and partitions of what was truncated. */
static void
foreign_truncated(SchemaEvent *event, TruncateStmt *stmt)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, stmt->relations)
	{
		Oid			relid = command_relation(lfirst(lc));

		if (!OidIsValid(relid))
			continue;
		foreach(lc2, find_all_inheritors(relid, NoLock, NULL))
		{
			if (get_rel_relkind(lfirst_oid(lc2)) == RELKIND_FOREIGN_TABLE)
				relation_changed(event, lfirst_oid(lc2));
		}
	}
}

/* Does the server call no event triggers in this session? */
static bool
event_triggers_off(void)
{
	const char *setting;

	if (!IsUnderPostmaster)
		return true;
	setting = GetConfigOption("event_triggers", true, false);
	return setting != NULL && strcmp(setting, "off") == 0;
}

/* Is it a command of which an event trigger would have been told? */
static bool
is_definition(Node *command)
{
	return GetCommandLogLevel(command) == LOGSTMT_DDL ||
		IsA(command, RefreshMatViewStmt);
}

static void
command_effect(SchemaEvent *event, Node *command)
{
	switch (nodeTag(command))
	{
		case T_GrantRoleStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_DropRoleStmt:
			if (roles_written())
				roles_changed(event);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) command)->renameType == OBJECT_ROLE)
				roles_changed(event);
			break;
		case T_ReassignOwnedStmt:
		case T_DropOwnedStmt:
			roles_changed(event);
			written_rows_changed(event);
			break;
		case T_TruncateStmt:
			if (!compat_foreign_truncate_trigger)
				foreign_truncated(event, (TruncateStmt *) command);
			break;
		default:
			break;
	}
}

/*
 * A command is done.  complete: it is no part of another one.  To be called by
 * the roof's hook, in a transaction.
 */
void
unseen_command_done(Node *command, bool complete)
{
	SchemaEvent event = {0};

	if (!IsTransactionState() ||
		!OidIsValid(extension_relation(INTERNAL_SCHEMA, "version_counter")))
		return;
	command_effect(&event, command);
	if (complete && is_definition(command) && event_triggers_off())
		written_rows_changed(&event);
	bump_event(&event);
}

/* Can a command, by its kind, be one of these?  Cheap, for all commands. */
bool
may_be_unseen(Node *command)
{
	switch (nodeTag(command))
	{
		case T_GrantRoleStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_DropRoleStmt:
		case T_RenameStmt:
		case T_ReassignOwnedStmt:
		case T_DropOwnedStmt:
			return true;
		case T_TruncateStmt:
			return !compat_foreign_truncate_trigger;
		default:
			return is_definition(command) && event_triggers_off();
	}
}
