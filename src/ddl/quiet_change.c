/*-------------------------------------------------------------------------
 *
 * quiet_change.c
 *	  Changes that no command tells of.
 *
 * Functions in C of other extensions drop children, attach partitions, swap the
 * files of tables and redefine views by the server's own functions: no event
 * trigger fires, and no trigger either.  What they cannot avoid are
 *
 *	  object_access_hook	for what is dropped, for a child that joins or leaves
 *							its parent, for a function, type or policy
 *	  relcache invalidations	of each relation whose definition or file changes
 *
 * Both only remember whom it may concern; what is about to be dropped is looked at
 * at once.  Later, when the query that called the function is through, somebody
 * asks, or the transaction is about to commit, the catalogs say whether this
 * transaction has written what matters.  Invalidations that come from other
 * sessions end there.
 *
 * What commands do is known from their event triggers, so nothing is remembered
 * while one runs, except for those that call functions; and while a query runs
 * within one, as that of REFRESH MATERIALIZED VIEW or those of an extension's
 * script.
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
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"
#include "ddl/ddl.h"

PG_FUNCTION_INFO_V1(cache_notify_equip_simple_members);

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
static ObjectAddress altered[MAX_SUSPECTS]; /* functions, types, policies */
static int	naltered = 0;
static List *dropped = NIL;		/* Domain *: fed by what was dropped */
static List *children = NIL;	/* OIDs: have a parent, or no longer */

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
add_altered(Oid class, Oid objid)
{
	if (naltered > 0 && altered[naltered - 1].objectId == objid)
		return;
	if (naltered < MAX_SUSPECTS)
	{
		ObjectAddressSet(altered[naltered], class, objid);
		naltered++;
	}
	else
		too_many = true;
}

/* Temporary objects are nobody else's, and go with each session. */
static bool
is_temporary(Oid class, Oid objid)
{
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	switch (class)
	{
		case RelationRelationId:
			return get_rel_persistence(objid) == RELPERSISTENCE_TEMP;
		case ProcedureRelationId:
			schema = get_func_namespace(objid);
			break;
		case TypeRelationId:
			tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(objid));
			if (HeapTupleIsValid(tuple))
			{
				schema = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
				ReleaseSysCache(tuple);
			}
			break;
	}
	return OidIsValid(schema) && isAnyTempNamespace(schema);
}

static void
relation_goes(SchemaEvent *event, Oid relid, int column)
{
	ListCell   *lc;

	if (column != 0 || get_rel_relkind(relid) == RELKIND_VIEW)
		tree_changed(event, relid);
	else
		relation_changed(event, relid);
	foreach(lc, parents_of(relid))
		relation_goes(event, lfirst_oid(lc), 0);
}

/*
 * About to be dropped.  A table's triggers go before it does; a child that has
 * none yet is part of what its ancestors return.
 */
static void
object_goes(Oid class, Oid objid, int subid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	SchemaEvent event = {.domains = dropped};
	Watch	   *watch;

	if (class == TriggerRelationId)
	{
		watch = watch_of_trigger(objid, WATCH_NOW);
		if (watch != NULL)
			add_domain(&event, watch->domain);
	}
	else if (is_temporary(class, objid))
		 /* nothing */ ;
	else if (class == RelationRelationId)
		relation_goes(&event, objid, subid);
	else
		definition_dropped(&event, class, objid, NULL);
	dropped = event.domains;
	MemoryContextSwitchTo(old);
}

static void
object_altered(Oid class, Oid objid, void *arg)
{
	switch (class)
	{
		case InheritsRelationId:
			add_suspect(objid);
			if (arg != NULL)
				add_suspect(((ObjectAccessPostAlter *) arg)->auxiliary_id);
			break;
		case ProcedureRelationId:
		case TypeRelationId:
		case PolicyRelationId:
			add_altered(class, objid);
			break;
	}
}

static void
object_accessed(ObjectAccessType access, Oid class, Oid objid, int subid,
				void *arg)
{
	if (previous_access_hook)
		previous_access_hook(access, class, objid, subid, arg);
	if (access == OAT_DROP || access == OAT_POST_ALTER || access == OAT_POST_CREATE)
	{
		common_fact_hold_back();
		if (class == TriggerRelationId || class == ExtensionRelationId ||
			class == NamespaceRelationId || class == DatabaseRelationId)
			common_fact_change();
	}
	if (commands > 0)
		return;
	if (access == OAT_DROP)
		object_goes(class, objid, subid);
	else if (access == OAT_POST_ALTER)
		object_altered(class, objid, arg);
	else if (access == OAT_POST_CREATE)
		object_altered(class, objid, NULL); /* or replaced */
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
		Oid			child = ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid;
		bool		left = catalog_row_deleted(tuple);

		if (!left && !catalog_row_written(tuple))
			continue;
		changed = true;
		/* One that left by a command has lost its triggers already. */
		if (!left || watches_of_relation(child, WATCH_NOW) != NIL)
			children = list_append_unique_oid(children, child);
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

	if (relkind == RELKIND_VIEW)
	{
		if (catalog_view_changed(relid) || catalog_relation_redefined(relid))
			view_changed(event, relid);
		return;
	}
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_MATVIEW && relkind != RELKIND_FOREIGN_TABLE)
		return;
	firing_changed(event, relid);
	if (catalog_relation_redefined(relid))
		tree_changed(event, relid);
	else if (children_changed(relid) ||
			 catalog_relation_changed(relid, Anum_pg_class_relfilenode))
		relation_changed(event, relid);
	else
		return;
	foreach(lc, parents_of(relid))
		relation_changed(event, lfirst_oid(lc));
}

static void
look_at_altered(SchemaEvent *event, const ObjectAddress *object)
{
	List	   *seen = NIL;

	if (object->classId == PolicyRelationId)
		relation_changed(event, table_of_policy(object->objectId, NULL));
	else if (object->classId == ProcedureRelationId)
	{
		if (catalog_function_changed(object->objectId))
			definition_changed(event, object->classId, object->objectId);
	}
	else if (catalog_type_changed(object->objectId) ||
			 catalog_enum_changed(object->objectId))
		type_changed(event, object->objectId, &seen);
	else if (catalog_enum_grew(object->objectId))
		definition_changed(event, object->classId, object->objectId);
}

/* Is there anything to look at?  Cheap. */
bool
quiet_changes_any(void)
{
	return nsuspects > 0 || naltered > 0 || too_many || dropped != NIL ||
		children != NIL;
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

/* Empty what is remembered, and bump what was changed. */
static void
bump_remembered(void)
{
	SchemaEvent event = {0};
	Oid			relids[MAX_SUSPECTS];
	int			nrelids = nsuspects;
	ObjectAddress objects[MAX_SUSPECTS];
	int			nobjects = naltered;
	bool		all = too_many;
	ListCell   *lc;

	memcpy(relids, suspects, nrelids * sizeof(Oid));
	memcpy(objects, altered, nobjects * sizeof(ObjectAddress));
	nsuspects = naltered = 0;
	too_many = false;
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		!OidIsValid(extension_relation(INTERNAL_SCHEMA, "version_counter")))
		return;

	foreach(lc, dropped)
		event.domains = list_append_unique_ptr(event.domains, lfirst(lc));
	dropped = NIL;
	for (int i = 0; i < nrelids; i++)
		look_at_suspect(&event, relids[i]);
	for (int i = 0; i < nobjects; i++)
		look_at_altered(&event, &objects[i]);
	if (all)
		written_rows_changed(&event);
	bump_event(&event);
}

/*
 * Bump what was changed.  equip: give new children their triggers, and take them
 * from those that left, which only the end of a query may do.
 */
void
quiet_changes_resolve(bool equip)
{
	if (commands > 0 || is_inheriting_triggers() || IsInParallelMode())
		return;
	commands++;					/* what we do ourselves is known */
	PG_TRY();
	{
		bump_remembered();
		if (equip && children != NIL)
			equip_children();
	}
	PG_FINALLY();
	{
		commands--;
	}
	PG_END_TRY();
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
		case T_ConstraintsSetStmt:	/* fires triggers */
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

/*
 * A query begins; the functions that it calls may do anything, even if a command
 * runs it that tells of what it does itself.  Returns what is to be handed to
 * quiet_query_end(), unless it is 0.
 */
int
quiet_query_begin(void)
{
	int			outer = commands;

	if (is_inheriting_triggers())
		return 0;				/* what we do ourselves is known */
	commands = 0;
	return outer;
}

void
quiet_query_end(int outer)
{
	commands = outer;
}

/*
 * equip_simple_members(relation regclass) returns oid[]: a function in C of our own, and
 * what it does is known.
 */
Datum
cache_notify_equip_simple_members(PG_FUNCTION_ARGS)
{
	volatile bool succeeded = false;
	List	   *volatile others = NIL;

	quiet_command_begin();
	PG_TRY();
	{
		others = equip_simple_members(PG_GETARG_OID(0));
		succeeded = true;
	}
	PG_FINALLY();
	{
		quiet_command_end(succeeded);
	}
	PG_END_TRY();
	PG_RETURN_DATUM(oid_array(others));
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
	nsuspects = naltered = 0;
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
