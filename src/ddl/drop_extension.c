/*-------------------------------------------------------------------------
 *
 * drop_extension.c
 *	  What comes before the extension is dropped.
 *
 * Listeners are told to drop what they hold, as they will hear nothing more, and
 * where versions have been stays in the database as a setting: they go on above
 * that if the extension is created once more.
 *
 * CASCADE makes no deadlock with writers.
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
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/user.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* Who the extension belongs to; InvalidOid: there is none. */
static Oid
extension_owner(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(EXTENSION_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* May the current user drop the extension?  If not, it will be refused. */
static bool
may_drop(void)
{
	Oid			owner = extension_owner();

	return OidIsValid(owner) && has_privs_of_role(GetUserId(), owner);
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

/* In the database, which stays: nothing of the extension does. */
static void
leave_origin_behind(Oid function)
{
	int64		origin = epoch_to_leave_behind();
	Oid			user;
	int			sec_context;

	if (origin == 0)
		return;
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(owner_of_function(function),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(psprintf("ALTER DATABASE %s SET " FORMER_ORIGIN " = '" INT64_FORMAT "'",
							 quote_identifier(get_database_name(MyDatabaseId)),
							 origin), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not leave the origin behind");
	SPI_finish();
	SetUserIdAndSecContext(user, sec_context);
}

/* Before DROP OWNED: does the extension belong to one of these roles? */
void
extension_drop_owned_starts(DropOwnedStmt *stmt, Oid function)
{
	ListCell   *lc;

	foreach(lc, roleSpecsToIds(stmt->roles))
	{
		if (lfirst_oid(lc) != extension_owner())
			continue;
		take_configuration_along();
		leave_origin_behind(function);
		notify_drop();
		return;
	}
}

/*
 * Before a DROP.  If it fails, what is written and told here is rolled back with
 * it.
 */
void
extension_drop_starts(DropStmt *stmt, Oid function)
{
	List	   *relations = NIL;
	ListCell   *lc;

	if (!names_extension(stmt) || !may_drop())
		return;
	take_configuration_along();
	leave_origin_behind(function);
	notify_drop();
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
