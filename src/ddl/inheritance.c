/*-------------------------------------------------------------------------
 *
 * inheritance.c
 *	  The triggers of partitions and other child tables.
 *
 * The rows of a child are the parent's as well.  The server clones a row
 * trigger of a partitioned table to its partitions, and nothing else: not a
 * statement trigger, which TRUNCATE of a partition needs, and nothing to a
 * child that INHERITS.  These get copies whose arguments have
 * "inherited=true", and lose them when they leave the family.  Where a child
 * asks for something else itself, or its parents differ, it has a trigger for
 * each: what any of them asks for counts, and a statement bumps a scope once.
 *
 * The same goes for what takes over the name of a table that was set up to be
 * followed by whatever does: follow_names().
 *
 * What a table should have is worked out by inherit_triggers(), in C for the many
 * that only have what their parent asks for (family_triggers.c), else in SQL;
 * setup_table_invalidation() calls it as well.  Here is what calls it when DDL
 * changes a family.
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
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

/* Is there anything to do for a table whose parents have changed? */
static bool
has_family(Oid relid)
{
	ListCell   *lc;

	if (watches_of_relation(relid, WATCH_NOW) != NIL)
		return true;
	foreach(lc, parents_of(relid))
	{
		if (watches_of_relation(lfirst_oid(lc), WATCH_NOW) != NIL)
			return true;
	}
	return false;
}

/* Run a statement of ours, with a relation as its parameter if there is one. */
static void
run(const char *sql, Oid relid)
{
	Oid			types[1] = {REGCLASSOID};
	Datum		values[1] = {ObjectIdGetDatum(relid)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, OidIsValid(relid) ? 1 : 0, types, values,
							  NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", sql);
	SPI_finish();
}

Oid
owner_of_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner = GetUserId();

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* Is inherit_triggers() at work?  The backend's; it ends with the call. */
static bool inheriting = false;

bool
is_inheriting_triggers(void)
{
	return inheriting;
}

/*
 * Run a statement in a subtransaction, as the owner of the function: whoever may
 * make a table a child of another, or rename one, need not know of us.  False, and
 * a warning, if it failed; what: what could not be done.
 */
static bool
try_to_run(const char *sql, Oid relid, Oid function, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resowner = CurrentResourceOwner;
	Oid			user;
	int			sec_context;
	volatile bool done = true;

	GetUserIdAndSecContext(&user, &sec_context);
	BeginInternalSubTransaction(NULL);
	inheriting = true;
	PG_TRY();
	{
		SetUserIdAndSecContext(owner_of_function(function),
							   sec_context | SECURITY_LOCAL_USERID_CHANGE);
		run(sql, relid);
		SetUserIdAndSecContext(user, sec_context);
		inheriting = false;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = resowner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		inheriting = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = resowner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not set up the triggers of %s: %s", what,
						error->message),
				 errhint("See cache_notify.v_invalidation_status.")));
		done = false;
	}
	PG_END_TRY();
	return done;
}

/*
 * Give a child table the triggers that its parents' watches ask for, and take
 * away what they no longer do.
 */
bool
inherit_triggers(Oid relid, Oid function)
{
	if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP || !has_family(relid))
		return true;
	return try_to_run("SELECT " EXTENSION_SCHEMA ".inherit_triggers($1)", relid,
					  function, psprintf("\"%s\"", get_rel_name(relid)));
}

/* Could a relation have got a name by this command that it did not have? */
static bool
may_take_names(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
		case T_CreateTableAsStmt:
		case T_SelectStmt:
		case T_ImportForeignSchemaStmt:
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
		case T_CreateSchemaStmt:
			return true;
		default:
			return false;
	}
}

/* Watch what has taken over the name of a relation whose set-up asks for that. */
void
follow_names(Node *parsetree, Oid function)
{
	if (!may_take_names(parsetree))
		return;
	(void) watch_load();
	if (watched_name_followed())
		(void) try_to_run("SELECT " INTERNAL_SCHEMA ".follow_names()", InvalidOid,
						  function, "what took a name over");
}

/*
 * The server is about to clone the parent's row trigger to a table that is
 * watched for the same domain by itself, and would find the name taken.
 */
void
make_way_for_clones(Oid parent, Oid child)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, watches_of_relation(parent, WATCH_NOW))
	{
		foreach(lc2, watches_of_relation(child, WATCH_NOW))
		{
			Watch	   *theirs = lfirst(lc);
			Watch	   *own = lfirst(lc2);
			ObjectAddress address = {TriggerRelationId, own->trigger, 0};

			if (theirs->is_row && own->is_row && !own->is_clone &&
				strcmp(theirs->name, own->name) == 0)
				performDeletion(&address, DROP_RESTRICT,
								PERFORM_DELETION_INTERNAL);
		}
	}
}
