/*-------------------------------------------------------------------------
 *
 * family_triggers.c
 *	  Give the members of a family, partitions and other child tables, the
 *	  triggers that their parents' being watched asks for.
 *
 * Here are the many that are asked for things by one parent, and by nobody else.
 * Those that are watched by themselves as well, or have several parents, are left to
 * equip_members() in SQL.
 *
 * The server's own functions create and drop them, not commands: with thousands
 * of partitions, a command for each, with its event triggers, takes many times as
 * long.  Event triggers hear of none of them, as they hear of none of the row
 * triggers that the server clones itself.
 *
 * Locking: ShareRowExclusiveLock on what gets a trigger, AccessExclusiveLock on
 * what loses one, until the end of the transaction.  Writers lock a parent before
 * its children, so lock_family() takes the whole tree from the top down, in the
 * mode that is needed at last, before anything else is done: no writer who comes
 * by way of the parent can be in a deadlock with that.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cache_notify_lock_family);

#define INHERITED	"inherited=true"

/* What one pass over a family needs and finds; of the call. */
typedef struct Family
{
	Oid			parent;			/* whose Watches were read last */
	List	   *watches_of_parent;
	MemoryContext context;		/* that they are in */
	bool		changed;		/* a trigger was created or dropped */
	List	   *others;			/* OIDs: not done here */
} Family;

static const char *
kind_of(const Watch *watch)
{
	return watch->is_row ? "row" : "statement";
}

/* The same as trigger_name() in SQL. */
static char *
name_of_trigger(const Watch *watch)
{
	char	   *name = psprintf("%s_%s_%s", EXTENSION_NAME, kind_of(watch),
								watch->domain);
	Datum		md5;

	if (strlen(name) < NAMEDATALEN)
		return name;
	md5 = DirectFunctionCall1(md5_text, CStringGetTextDatum(watch->domain));
	return psprintf("%s_%s_%s", EXTENSION_NAME, kind_of(watch),
					TextDatumGetCString(md5));
}

/* What the row trigger sees, the statement trigger need not. */
static int16
events_of(const Watch *watch, char relkind)
{
	int16		rows = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;

	if (watch->is_row || !compat_can_be_truncated(relkind))
		return rows;
	return is_per_statement(watch->options) ? rows | TRIGGER_TYPE_TRUNCATE :
		TRIGGER_TYPE_TRUNCATE;
}

/* The arguments that a Watch has as an inherited one, as String nodes. */
static List *
inherited_arguments(const Watch *watch)
{
	List	   *arguments = NIL;

	for (int i = 0; i < watch->nargs; i++)
		if (strcmp(watch->args[i], INHERITED) != 0 && !is_rule_note(watch->args[i]))
			arguments = lappend(arguments, makeString(watch->args[i]));
	return lappend(arguments, makeString(INHERITED));
}

static bool
same_arguments(const Watch *watch, List *arguments)
{
	ListCell   *lc;
	int			n = 0;

	if (watch->nargs != list_length(arguments))
		return false;
	foreach(lc, arguments)
	{
		if (strcmp(watch->args[n++], strVal(lfirst(lc))) != 0)
			return false;
	}
	return true;
}

/* Create a trigger like this one, or replace it. */
static void
create_trigger(Family *family, Oid relid, const Watch *watch, List *arguments)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);

	stmt->replace = true;
	stmt->trigname = name_of_trigger(watch);
	stmt->args = arguments;
	stmt->row = watch->is_row;
	stmt->timing = TRIGGER_TYPE_AFTER;
	stmt->events = events_of(watch, get_rel_relkind(relid));
	compat_create_trigger(stmt, relid,
						  extension_function(EXTENSION_SCHEMA,
											 watch->is_row ? "row_change" :
											 "statement_change"),
						  watch->enabled);
	CommandCounterIncrement();
	family->changed = true;
}

static void
drop_trigger(Family *family, const Watch *watch)
{
	ObjectAddress address = {TriggerRelationId, watch->trigger, 0};

	if (!compat_owns_relation(watch->relation))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE,
					   get_rel_name(watch->relation));
	performDeletion(&address, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
	family->changed = true;
}

static Watch *
find_watch(List *watches, const char *domain, bool is_row)
{
	ListCell   *lc;

	foreach(lc, watches)
	{
		Watch	   *watch = lfirst(lc);

		if (OidIsValid(watch->trigger) && watch->is_row == is_row &&
			strcmp(watch->domain, domain) == 0)
			return watch;
	}
	return NULL;
}

/* The Watches of a parent; most members of a family have the same. */
static List *
watches_of_parent(Family *family, Oid parent)
{
	/* One that was equipped just now has others than before. */
	if (family->parent != parent)
	{
		MemoryContext old;

		family->parent = InvalidOid;
		MemoryContextReset(family->context);
		old = MemoryContextSwitchTo(family->context);
		family->watches_of_parent = watches_of_relation(parent, WATCH_NOW);
		MemoryContextSwitchTo(old);
		family->parent = parent;
	}
	return family->watches_of_parent;
}

/* Drop what the parent does not ask for any more. */
static void
drop_unasked(Family *family, List *own, List *parents)
{
	ListCell   *lc;

	foreach(lc, own)
	{
		Watch	   *watch = lfirst(lc);

		if (OidIsValid(watch->trigger) && watch->inherited && !watch->is_clone &&
			find_watch(parents, watch->domain, watch->is_row) == NULL)
			drop_trigger(family, watch);
	}
}

/* The server clones row triggers to partitions; all else is for us. */
static void
copy_from_parent(Family *family, Oid relid, List *own, List *parents)
{
	bool		is_partition = get_rel_relispartition(relid);
	ListCell   *lc;

	foreach(lc, parents)
	{
		Watch	   *theirs = lfirst(lc);
		Watch	   *present;
		List	   *arguments;

		if (!OidIsValid(theirs->trigger) || (theirs->is_row && is_partition))
			continue;
		present = find_watch(own, theirs->domain, theirs->is_row);
		arguments = inherited_arguments(theirs);
		if (present == NULL || !same_arguments(present, arguments) ||
			present->enabled != theirs->enabled)
			create_trigger(family, relid, theirs, arguments);
	}
}

/* Is there one trigger of each kind for a domain at most?  Clones apart, if asked to. */
static bool
are_single(List *watches, bool but_clones)
{
	ListCell   *lc;

	foreach(lc, watches)
	{
		Watch	   *watch = lfirst(lc);

		if (OidIsValid(watch->trigger) && !(but_clones && watch->is_clone) &&
			find_watch(watches, watch->domain, watch->is_row) != watch)
			return false;
	}
	return true;
}

static bool
has_own_watch(List *own)
{
	ListCell   *lc;

	foreach(lc, own)
	{
		Watch	   *watch = lfirst(lc);

		if (OidIsValid(watch->trigger) && !watch->inherited && !watch->is_clone)
			return true;
	}
	return false;
}

/*
 * Equip a member that is asked for things by one parent, and by nobody else.  False
 * if it is not one of these, or comes after one that is not.
 */
static bool
equip_member(Family *family, Oid relid)
{
	List	   *own;
	List	   *parents = attached_parents_of(relid);

	if (list_length(parents) > 1)
		return false;
	own = watches_of_relation(relid, WATCH_NOW);
	if (list_length(parents) == 1)
	{
		if (list_member_oid(family->others, linitial_oid(parents)))
			return false;
		parents = watches_of_parent(family, linitial_oid(parents));
	}
	if (has_own_watch(own) || !are_single(own, true) || !are_single(parents, false))
		return false;
	drop_unasked(family, own, parents);
	copy_from_parent(family, relid, own, parents);
	return true;
}

/*
 * Go over a family from the top down, without the table itself.  Returns those that
 * are not equipped.
 */
List *
equip_simple_members(Oid relid)
{
	Family		family = {0};
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext member = AllocSetContextCreate(CurrentMemoryContext,
												 "cache_notify family member",
												 ALLOCSET_DEFAULT_SIZES);
	List	   *members = find_all_inheritors(relid, NoLock, NULL);
	ListCell   *lc;

	family.context = AllocSetContextCreate(CurrentMemoryContext,
										   "cache_notify family parent",
										   ALLOCSET_SMALL_SIZES);
	for_each_from(lc, members, 1)
	{
		bool		done;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(member);
		done = get_rel_persistence(lfirst_oid(lc)) == RELPERSISTENCE_TEMP ||
			equip_member(&family, lfirst_oid(lc));
		MemoryContextReset(member);
		MemoryContextSwitchTo(outer);
		if (!done)
			family.others = lappend_oid(family.others, lfirst_oid(lc));
	}
	if (family.changed)
		announce_configuration();
	MemoryContextDelete(member);
	MemoryContextDelete(family.context);
	return family.others;
}

/* May the current user do what the lock is for?  If not, that will be refused. */
static bool
may_lock(Oid relid, bool exclusive)
{
	return !RecoveryInProgress() &&
		(exclusive ? compat_owns_relation(relid) :
		 pg_class_aclcheck(relid, GetUserId(), ACL_TRIGGER) == ACLCHECK_OK);
}

/* lock_family(table_name regclass, exclusive boolean) returns void */
Datum
cache_notify_lock_family(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	bool		exclusive = PG_GETARG_BOOL(1);
	LOCKMODE	mode = exclusive ? AccessExclusiveLock : ShareRowExclusiveLock;

	if (may_lock(relid, exclusive))
	{
		LockRelationOid(relid, mode);
		(void) find_all_inheritors(relid, mode, NULL);
	}
	PG_RETURN_VOID();
}
