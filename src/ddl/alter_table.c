/*-------------------------------------------------------------------------
 *
 * alter_table.c
 *	  What ALTER TABLE has changed for those who read the table.
 *
 * A subcommand that is not known to leave every result as it was counts as a
 * change, so that a new version's inventions are seen.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "tcop/deparse_utility.h"
#include "utils/lsyscache.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"

/* A table has become a child of others, or ceased to be. */
void
parents_changed(SchemaEvent *event, Oid relid)
{
	if (OidIsValid(relid) && !inherit_triggers(relid, event->function))
		relation_changed(event, relid);
}

Oid
command_relation(RangeVar *name)
{
	return RangeVarGetRelid(name, NoLock, true);
}

/* Does this kind of subcommand leave every result as it was? */
static bool
is_harmless(AlterTableType subtype)
{
	switch (subtype)
	{
		case AT_ColumnDefault:
		case AT_CookedColumnDefault:
		case AT_DropNotNull:
		case AT_SetNotNull:
		case AT_SetStatistics:
		case AT_SetOptions:
		case AT_ResetOptions:
		case AT_SetStorage:
		case AT_SetCompression:
		case AT_DropColumn:		/* is seen as a dropped object */
		case AT_AddIndex:
		case AT_ReAddIndex:
		case AT_AddConstraint:
		case AT_ReAddConstraint:
		case AT_AlterConstraint:
		case AT_ValidateConstraint:
		case AT_AddIndexConstraint:
		case AT_DropConstraint:
		case AT_ReAddComment:
		case AT_ReAddStatistics:
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_SetLogged:
		case AT_SetTableSpace:
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
		case AT_ReplaceRelOptions:
		case AT_EnableTrig:		/* see firing_changed() */
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_DisableTrig:
		case AT_EnableTrigAll:
		case AT_DisableTrigAll:
		case AT_EnableTrigUser:
		case AT_DisableTrigUser:
		case AT_EnableRule:
		case AT_EnableAlwaysRule:
		case AT_EnableReplicaRule:
		case AT_DisableRule:
		case AT_ReplicaIdentity:
		case AT_AddIdentity:
		case AT_SetIdentity:
		case AT_DropIdentity:
			return true;
		default:
			return compat_is_harmless_subcommand(subtype);
	}
}

/* Has a subcommand left its relation as it was, though its kind can change it? */
static bool
changed_nothing(Oid relid, CollectedATSubcmd *subcmd)
{
	AlterTableType subtype = ((AlterTableCmd *) subcmd->parsetree)->subtype;

	if (compat_sets_access_method(subtype))
		return !catalog_relation_changed(relid, Anum_pg_class_relam);
	if (compat_adds_column(subtype))	/* not IF NOT EXISTS, if it did */
		return !OidIsValid(subcmd->address.objectId);
	switch (subtype)
	{
		case AT_ChangeOwner:
			return !catalog_relation_changed(relid, Anum_pg_class_relowner);
		case AT_SetUnLogged:	/* a crash would empty it, unseen */
			return !catalog_relation_changed(relid, Anum_pg_class_relpersistence);
		case AT_EnableRowSecurity:
		case AT_DisableRowSecurity:
		case AT_ForceRowSecurity:
		case AT_NoForceRowSecurity:
			return !catalog_row_security_changed(relid);
		case AT_AlterColumnType:
			return !has_subclass(relid) &&
				get_rel_relkind(relid) == RELKIND_RELATION &&
				!catalog_column_types_changed(relid);
		default:
			return false;
	}
}

static bool
arranges_firing(AlterTableType subtype)
{
	return subtype == AT_EnableTrig || subtype == AT_EnableAlwaysTrig ||
		subtype == AT_EnableReplicaTrig || subtype == AT_EnableTrigAll ||
		subtype == AT_EnableTrigUser || subtype == AT_DisableTrig ||
		subtype == AT_DisableTrigAll || subtype == AT_DisableTrigUser;
}

/*
 * A trigger of ours that is disabled no longer sees changes, and what changed
 * before one was enabled it has not seen.
 */
void
firing_changed(SchemaEvent *event, Oid relid)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		foreach(lc2, watches_of_relation(lfirst_oid(lc), WATCH_NOW))
		{
			Watch	   *watch = lfirst(lc2);

			if (!OidIsValid(watch->trigger) || !trigger_firing_changed(watch))
				continue;
			announce_configuration();	/* now another domain may be known */
			add_domain(event, watch->domain);
		}
	}
}

static void
alter_table_subcommand(SchemaEvent *event, Oid relid, CollectedATSubcmd *subcmd)
{
	AlterTableCmd *cmd = (AlterTableCmd *) subcmd->parsetree;

	switch (cmd->subtype)
	{
		case AT_AttachPartition:
		case AT_DetachPartition:
			relation_changed(event, relid);
			parents_changed(event,
							command_relation(((PartitionCmd *) cmd->def)->name));
			break;
		case AT_DetachPartitionFinalize:	/* no query has read it since */
			parents_changed(event,
							command_relation(((PartitionCmd *) cmd->def)->name));
			break;
		case AT_AddInherit:
		case AT_DropInherit:
			relation_changed(event, command_relation((RangeVar *) cmd->def));
			parents_changed(event, relid);
			break;
		default:
			if (cmd->subtype == AT_ChangeOwner)
				announce_configuration();	/* delivery counts by owners */
			if (arranges_firing(cmd->subtype))
				firing_changed(event, relid);
			else if (!is_harmless(cmd->subtype) && !changed_nothing(relid, subcmd))
				tree_changed(event, relid);
			break;
	}
}

/* What ALTER TABLE, VIEW, TYPE and so on have done. */
void
alter_table_effect(SchemaEvent *event, CollectedCommand *command)
{
	Oid			relid = command->d.alterTable.objectId;
	char		relkind = get_rel_relkind(relid);
	ListCell   *lc;

	if (relkind == RELKIND_VIEW)
	{
		if (catalog_view_changed(relid))
			tree_changed(event, relid);
	}
	else if (relkind == RELKIND_COMPOSITE_TYPE)
		tree_changed(event, relid);
	else if (relkind != RELKIND_INDEX && relkind != RELKIND_PARTITIONED_INDEX)
	{
		foreach(lc, command->d.alterTable.subcmds)
		{
			CollectedATSubcmd *subcmd = lfirst(lc);

			if (IsA(subcmd->parsetree, AlterTableCmd))
				alter_table_subcommand(event, relid, subcmd);
		}
	}
}
