/*-------------------------------------------------------------------------
 *
 * state.c
 *	  The storage of our state.
 *
 * What the extension remembers by itself (counters, histories, deliveries that
 * are owed) is in materialized views.  It belongs to this server alone, and
 * no publication takes a materialized view; yet its storage is a table's, with
 * WAL, MVCC, vacuum and indexes, and pg_upgrade carries it.  Nobody can write
 * it by SQL: our own code calls heap_insert(), heap_update() and
 * heap_delete().  REFRESH would empty it, so the query of each fails unless the
 * extension is being created.
 *
 * Output plugins of logical decoding would still see the rows, since these
 * filter by relation, if at all.  The server passes no plugin the changes of a
 * relation whose pg_class.relrewrite is set: it takes them for those of a
 * table that ALTER TABLE is rewriting.  So we set it, to the relation's own
 * OID.  Nothing else in the server reads it.  pg_upgrade does not carry it;
 * the worker sets it once more.
 *
 * Whoever opens a relation for the first time reads its rules, if relhasrules says
 * that there are some, and to make a tree of what a materialized view was made
 * from takes more than all else.  Only REFRESH uses it.  So relhasrules is taken
 * back: each new connection pays 190,000 instructions less, and REFRESH is an error
 * of the server's own where this library is not there to say why.  VACUUM clears
 * relhasrules and never sets it.
 *
 * Locking: RowExclusiveLock on pg_class while these are set.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_notify_only_when_created);
PG_FUNCTION_INFO_V1(cache_notify_hide_state);

static const char *const state_relations[] = {
	"version_counter", "owed_delivery", "history", "watched_name"
};

static void
refuse_refresh(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot refresh the state of extension %s", EXTENSION_NAME),
			 errhint("It is written by the extension only. Leave out schema %s.",
					 INTERNAL_SCHEMA)));
}

/* only_when_created() returns boolean */
Datum
cache_notify_only_when_created(PG_FUNCTION_ARGS)
{
	if (!creating_extension)
		refuse_refresh();
	PG_RETURN_BOOL(false);
}

/* Is this relation one that only our own code may write? */
bool
is_state_relation(Oid relid)
{
	for (int i = 0; i < lengthof(state_relations); i++)
		if (OidIsValid(relid) &&
			relid == extension_relation(INTERNAL_SCHEMA, state_relations[i]))
			return true;
	return false;
}

/*
 * Is this the relation of this name that we have hidden?  Nobody else sets
 * relrewrite for good.
 */
bool
state_is_called(Relation rel, const char *name)
{
	return rel->rd_rel->relkind == RELKIND_MATVIEW &&
		rel->rd_rel->relrewrite == RelationGetRelid(rel) &&
		strcmp(RelationGetRelationName(rel), name) == 0;
}

/*
 * The one command that we refuse: it would empty our own state.  Whoever is not the
 * owner is left to the server, which refuses as well.
 */
void
state_refuse_refresh(Oid relid)
{
	if (is_state_relation(relid) && compat_owns_relation(relid))
		refuse_refresh();
}

/* Returns the TOAST table, or InvalidOid. */
static Oid
hide_relation(Relation pg_class, Oid relid)
{
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	Oid			toast;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_class) GETSTRUCT(tuple);
	toast = form->reltoastrelid;
	if (form->relrewrite != relid || form->relhasrules)
	{
		form->relrewrite = relid;
		form->relhasrules = false;
		CatalogTupleUpdate(pg_class, &tuple->t_self, tuple);
	}
	heap_freetuple(tuple);
	return toast;
}

/* True also if the extension is not there. */
bool
state_is_hidden(void)
{
	Oid			relid = extension_relation(INTERNAL_SCHEMA, state_relations[0]);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		hidden;

	if (!HeapTupleIsValid(tuple))
		return true;
	hidden = ((Form_pg_class) GETSTRUCT(tuple))->relrewrite == relid &&
		!((Form_pg_class) GETSTRUCT(tuple))->relhasrules;
	ReleaseSysCache(tuple);
	return hidden;
}

/* Keep the state out of what logical decoding shows, and quick to open. */
void
hide_state(void)
{
	Relation	pg_class = table_open(RelationRelationId, RowExclusiveLock);

	for (int i = 0; i < lengthof(state_relations); i++)
	{
		Oid			toast = hide_relation(pg_class,
										  extension_relation(INTERNAL_SCHEMA,
															 state_relations[i]));

		if (OidIsValid(toast))
			(void) hide_relation(pg_class, toast);
	}
	table_close(pg_class, RowExclusiveLock);
	CommandCounterIncrement();
}

/* hide_state() returns void */
Datum
cache_notify_hide_state(PG_FUNCTION_ARGS)
{
	hide_state();
	PG_RETURN_VOID();
}
