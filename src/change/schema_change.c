/*-------------------------------------------------------------------------
 *
 * schema_change.c
 *	  What this transaction has done to the schema, for those who keep a copy
 *	  of it: PostgREST, PostGraphile and their like.
 *
 * Each fact is remembered once, with the nest level it was found at: what a
 * savepoint rollback undoes is forgotten.  The domain "schema" is bumped once for
 * each command.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change.h"

#include "utils/memutils.h"

/*
 * More facts than this are remembered as "anything may have changed".  No
 * payload could hold so many.
 */
#define MAX_CHANGES			2048

/* SchemaChange *, of the transaction and in its memory. */
static List *changes = NIL;

/*
 * The command that has been counted for what it dropped; see schema_change_bump().
 * Of the transaction; a rollback to a savepoint forgets it.
 */
static const void *counted_drop = NULL;

static bool
is_known(const SchemaChange *change)
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		SchemaChange *known = lfirst(lc);

		if (known->anything ||
			(known->presets == change->presets &&
			 same_string(known->command, change->command) &&
			 same_string(known->schema, change->schema)))
			return true;
	}
	return false;
}

static const char *
copy_name(const char *name)
{
	return name != NULL ? pstrdup(name) : NULL;
}

/* A command has done this. */
void
schema_change_add(SchemaChange change)
{
	MemoryContext old;
	SchemaChange *copy;

	if (is_known(&change))
		return;
	change.level = GetCurrentTransactionNestLevel();
	change.anything = list_length(changes) >= MAX_CHANGES;
	old = MemoryContextSwitchTo(TopTransactionContext);
	copy = palloc(sizeof(SchemaChange));
	*copy = change;
	copy->schema = copy_name(change.schema);
	copy->command = copy_name(change.command);
	changes = lappend(changes, copy);
	MemoryContextSwitchTo(old);
}

/* What the transaction has done: SchemaChanges. */
List *
schema_changes(void)
{
	return changes;
}

void
schema_changes_end_transaction(void)
{
	changes = NIL;
	counted_drop = NULL;
}

void
schema_changes_subcommit(int level)
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		SchemaChange *change = lfirst(lc);

		if (change->level >= level)
			change->level = level - 1;
	}
}

void
schema_changes_subabort(int level)
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		if (((SchemaChange *) lfirst(lc))->level >= level)
			changes = foreach_delete_current(changes, lc);
	}
	counted_drop = NULL;
}

/*
 * An event trigger has seen a command.  Bump the domain once for it, if anything
 * counts: the command comes here twice, for what it dropped and right afterwards
 * for what else it did.
 */
void
schema_change_bump(const void *command, bool drop, bool counts)
{
	if (counts && (drop || counted_drop != command))
		change_set_bump(change_set_scope(domain_lookup(SCHEMA_DOMAIN), NULL, 0));
	if (!drop)
		counted_drop = NULL;
	else if (counts)
		counted_drop = command;
}
