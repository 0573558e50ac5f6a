/*-------------------------------------------------------------------------
 *
 * drop_extension.c
 *	  DROP EXTENSION cache_notify CASCADE, without a deadlock with writers.
 *
 * A writer has a watched table locked and then, when it commits, locks the
 * counters.  The server's DROP would lock the counters first and then, to
 * drop its triggers, each watched table, and the one of the two that waits
 * longer would fail: often the writer's commit.  So the watched tables are
 * locked before the server begins, parents before their children, as writers
 * do.
 *
 * Whoever writes several watched tables in one transaction can still meet the
 * DROP half-way, as with any command that locks several tables.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"

/* May the current user drop the extension?  If not, it will be refused. */
static bool
may_drop(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(EXTENSION_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = has_privs_of_role(GetUserId(),
								   ((Form_pg_extension) GETSTRUCT(tuple))->extowner);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static bool
is_among(const char *name, List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		if (strcmp(strVal(lfirst(lc)), name) == 0)
			return true;
	}
	return false;
}

static bool
names_extension(DropStmt *stmt)
{
	return (stmt->removeType == OBJECT_EXTENSION &&
			is_among(EXTENSION_NAME, stmt->objects)) ||
		(stmt->removeType == OBJECT_SCHEMA &&
		 is_among(EXTENSION_SCHEMA, stmt->objects));
}

static void
lock_family(Oid relid)
{
	LockRelationOid(relid, AccessExclusiveLock);
	(void) find_all_inheritors(relid, AccessExclusiveLock, NULL);
}

/*
 * The view of the configuration is no member of the extension, so that dumps
 * contain its triggers, but it goes with it, also without CASCADE.
 */
static void
take_configuration_along(void)
{
	ObjectAddress view = {RelationRelationId, configuration_view(), 0};
	ObjectAddress extension = {
		ExtensionRelationId, get_extension_oid(EXTENSION_NAME, true), 0
	};

	if (!OidIsValid(view.objectId) || !OidIsValid(extension.objectId))
		return;
	recordDependencyOn(&view, &extension, DEPENDENCY_AUTO_EXTENSION);
	CommandCounterIncrement();
}

/* Before a DROP. */
void
extension_drop_starts(DropStmt *stmt)
{
	List	   *relations = NIL;
	ListCell   *lc;

	if (!names_extension(stmt) || !may_drop())
		return;
	take_configuration_along();
	if (stmt->behavior != DROP_CASCADE)
		return;
	foreach(lc, watches_by_trigger(false))
		relations = list_append_unique_oid(relations,
										   ((Watch *) lfirst(lc))->relation);
	list_sort(relations, list_oid_cmp);

	/* Whole families, from their tops; then what is watched in the middle. */
	foreach(lc, relations)
	{
		if (!has_superclass(lfirst_oid(lc)))
			lock_family(lfirst_oid(lc));
	}
	foreach(lc, relations)
	{
		if (has_superclass(lfirst_oid(lc)))
			lock_family(lfirst_oid(lc));
	}
}
