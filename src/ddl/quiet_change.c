/*-------------------------------------------------------------------------
 *
 * quiet_change.c
 *	  Changes of tables that no command tells of.
 *
 * Functions in C of other extensions drop children, attach partitions and swap
 * the files of tables by the server's own functions: no event trigger fires, and
 * no trigger either.  What they cannot avoid are
 *
 *	  object_access_hook	for a dropped table or trigger, and for a child that
 *							joins or leaves its parent
 *	  relcache invalidations	of each relation whose definition or file changes
 *
 * Both only remember whom it may concern.  Later, when the query that called the
 * function is through, somebody asks, or the transaction is about to commit, the
 * catalogs say whether this transaction has written what matters: a row of
 * pg_inherits, or another file in pg_class.  Invalidations that come from other
 * sessions end there.
 *
 * What commands do is known from their event triggers, so nothing is remembered
 * while one runs, except for those that call functions.
 *
 * The state here is the transaction's, and survives a rollback to a savepoint:
 * then the catalogs say that nothing was written, or what is dropped no longer is
 * bumped for nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"
#include "ddl/ddl.h"

/* More relations than this are looked for in the catalogs. */
#define MAX_SUSPECTS	64

/* The hook before ours; of the process, set once. */
static object_access_hook_type previous_access_hook = NULL;

/*
 * The transaction's; a rollback to a savepoint leaves them, and then a domain moves
 * without need.  The callback must not allocate, so this is an array.
 */
static Oid	suspects[MAX_SUSPECTS];
static int	nsuspects = 0;
static bool too_many = false;
static List *dropped = NIL;		/* Domain *: fed by what was dropped */
static List *children = NIL;	/* OIDs: to be given triggers */

/* How many commands are running that tell of what they do; the backend's. */
static int	commands = 0;

static void
add_suspect(Oid relid)
{
	if (nsuspects > 0 && suspects[nsuspects - 1] == relid)
		return;
	if (nsuspects < MAX_SUSPECTS)
		suspects[nsuspects++] = relid;
	else
		too_many = true;
}

static void
relation_invalidated(Datum arg, Oid relid)
{
	if (commands == 0 && OidIsValid(relid))
		add_suspect(relid);
}

static void
add_dropped(List *watches)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ListCell   *lc;

	foreach(lc, watches)
	{
		Watch	   *watch = lfirst(lc);

		if (watch->domain != NULL)
			dropped = list_append_unique_ptr(dropped, domain_lookup(watch->domain));
	}
	MemoryContextSwitchTo(old);
}

/*
 * About to be dropped.  A table's triggers go before it does; a child that has
 * none yet is part of what its ancestors return.
 */
static void
object_goes(Oid class, Oid objid)
{
	Watch	   *watch;
	ListCell   *lc;

	if (class == TriggerRelationId)
	{
		watch = watch_of_trigger(objid, WATCH_NOW);
		if (watch != NULL)
			add_dropped(list_make1(watch));
	}
	else if (class == RelationRelationId)
	{
		add_dropped(watches_of_relation(objid, WATCH_NOW));
		foreach(lc, parents_of(objid))
			object_goes(class, lfirst_oid(lc));
	}
}

static void
object_accessed(ObjectAccessType access, Oid class, Oid objid, int subid,
				void *arg)
{
	if (previous_access_hook)
		previous_access_hook(access, class, objid, subid, arg);
	if (commands > 0 || (access != OAT_DROP && access != OAT_POST_ALTER))
		return;
	if (access == OAT_DROP && subid == 0)
		object_goes(class, objid);
	else if (access == OAT_POST_ALTER && class == InheritsRelationId)
	{
		add_suspect(objid);
		add_suspect(((ObjectAccessPostAlter *) arg)->auxiliary_id);
	}
}

/* --------------------------------------------------- what has been written */

/* Has this transaction given a relation children, or taken some away? */
static bool
children_changed(Oid parent)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		changed = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(parent));
	scan = systable_beginscan(rel, InheritsParentIndexId, true, SnapshotAny, 1,
							  &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (catalog_row_deleted(tuple))
			changed = true;
		else if (catalog_row_written(tuple))
		{
			changed = true;
			children = list_append_unique_oid(children,
											  ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	MemoryContextSwitchTo(old);
	return changed;
}

static void
look_at_suspect(SchemaEvent *event, Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	ListCell   *lc;

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_MATVIEW && relkind != RELKIND_FOREIGN_TABLE)
		return;
	if (!children_changed(relid) &&
		!catalog_relation_changed(relid, Anum_pg_class_relfilenode))
		return;
	relation_changed(event, relid);
	foreach(lc, parents_of(relid))
		relation_changed(event, lfirst_oid(lc));
}

/* Is there anything to look at?  Cheap. */
bool
quiet_changes_any(void)
{
	return nsuspects > 0 || too_many || dropped != NIL || children != NIL;
}

static void
equip_children(void)
{
	Oid			function = extension_function(INTERNAL_SCHEMA, "schema_event");
	List	   *relations = children;
	ListCell   *lc;

	children = NIL;
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, relations)
	{
		if (get_rel_relkind(lfirst_oid(lc)) != '\0')
			(void) inherit_triggers(lfirst_oid(lc), function);
	}
	PopActiveSnapshot();
}

/*
 * Bump what was changed.  equip: give new children their triggers, which only
 * the end of a query may do.
 */
void
quiet_changes_resolve(bool equip)
{
	SchemaEvent event = {0};
	Oid			relids[MAX_SUSPECTS];
	int			nrelids = nsuspects;
	bool		all = too_many;
	ListCell   *lc;

	if (commands > 0 || IsInParallelMode())
		return;
	memcpy(relids, suspects, nrelids * sizeof(Oid));
	nsuspects = 0;
	too_many = false;
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		!OidIsValid(extension_relation(INTERNAL_SCHEMA, "version_counter")))
		return;

	commands++;					/* what we do ourselves is known */
	foreach(lc, dropped)
		event.domains = list_append_unique_ptr(event.domains, lfirst(lc));
	dropped = NIL;
	for (int i = 0; i < nrelids; i++)
		look_at_suspect(&event, relids[i]);
	if (all)
		written_rows_changed(&event);
	bump_event(&event);
	if (equip && children != NIL)
		equip_children();
	commands--;
}

static void
resolve_for_question(void)
{
	if (quiet_changes_any())
		quiet_changes_resolve(false);
}

/* ---------------------------------------------------------------- commands */

/* Does a command of this kind tell of all that it does? */
bool
command_tells(Node *command)
{
	switch (nodeTag(command))
	{
		case T_TransactionStmt:
		case T_CallStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
		case T_ExplainStmt:
		case T_CreateTableAsStmt:
		case T_CopyStmt:
		case T_FetchStmt:
		case T_DeclareCursorStmt:
		case T_PrepareStmt:
		case T_DeallocateStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
			return false;
		default:
			return true;
	}
}

/* A command that tells begins, and ends, whether it fails or not. */
void
quiet_command_begin(void)
{
	if (commands == 0 && quiet_changes_any())
		quiet_changes_resolve(true);
	commands++;
}

void
quiet_command_end(bool succeeded)
{
	/* What it has invalidated is heard of at the latest now. */
	if (succeeded && IsTransactionState() && !IsInParallelMode())
		CommandCounterIncrement();
	commands--;
}

void
quiet_changes_pre_commit(void)
{
	/* What the last command has written is invalidated by this. */
	if (quiet_changes_any())
	{
		CommandCounterIncrement();
		quiet_changes_resolve(false);
	}
}

void
quiet_changes_end_transaction(void)
{
	nsuspects = 0;
	too_many = false;
	dropped = NIL;
	children = NIL;
}

void
quiet_change_init(void)
{
	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
	previous_access_hook = object_access_hook;
	object_access_hook = object_accessed;
	resolve_quiet_changes = resolve_for_question;
}
