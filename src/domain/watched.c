/*-------------------------------------------------------------------------
 *
 * watched.c
 *	  What a relation is watched with: the configuration in the catalogs.
 *
 * A table is watched by triggers, whose arguments are its configuration.
 * A materialized view has no triggers, and neither has a view whose domain
 * setup_view_invalidation() created; these carry a security label of the
 * provider "cache_notify" instead, which is the same arguments as a text[].
 * pg_dump carries a label, DROP removes it, and it follows its object through
 * every RENAME, so like a trigger it cannot disagree with reality.
 *
 * What a command has removed can be asked for, too: the dead row versions
 * that this transaction has deleted are still in the catalogs.  They are
 * found whatever snapshot the command ran with.
 *
 * Locking: AccessShareLock on the catalogs that are read, kept no longer than
 * the reading.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_seclabel.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/seclabel.h"
#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

/* Columns of pg_seclabel, all of which are in its index but the last. */
#define NUM_LABEL_KEYS 4

/*
 * Does the SECURITY LABEL that runs name our provider?  Of the command:
 * watched_label_starts() sets it each time.
 */
static bool provider_named = false;

static Snapshot
snapshot_for(WatchTime when)
{
	return when == WATCH_REMOVED ? SnapshotAny : NULL;
}

static bool
wanted(HeapTuple tuple, WatchTime when)
{
	return when == WATCH_NOW || deleted_by_us(tuple);
}

static Watch *
make_watch(char **args, int nargs, Oid relation)
{
	Watch	   *watch = palloc0(sizeof(Watch));
	WatchOptions *options = watch_options(args, nargs);

	watch->relation = relation;
	watch->domain = options->domain != NULL ? options->domain :
		usable_domain(options, former_name(relation));
	watch->inherited = options->inherited;
	watch->options = options;
	watch->args = args;
	watch->nargs = nargs;
	return watch;
}

/*
 * The Watch that a row of pg_trigger stands for, which is one of ours.  It shares
 * what follows from the arguments with another one that has the same; NULL: there is
 * none.
 */
Watch *
watch_of_own_trigger(HeapTuple tuple, TupleDesc desc, bool is_row,
					 const Watch *other)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	Watch	   *watch;

	if (other != NULL && other->options->domain != NULL)
	{
		watch = palloc(sizeof(Watch));
		*watch = *other;
		watch->relation = form->tgrelid;
	}
	else
	{
		int			nargs;
		char	  **args = trigger_tuple_arguments(tuple, desc, &nargs);

		watch = make_watch(args, nargs, form->tgrelid);
	}
	watch->trigger = form->oid;
	watch->name = other != NULL && strcmp(other->name, NameStr(form->tgname)) == 0 ?
		other->name : pstrdup(NameStr(form->tgname));
	watch->is_row = is_row;
	watch->is_clone = OidIsValid(form->tgparentid);
	watch->enabled = form->tgenabled;
	watch->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	return watch;
}

/* The Watch that a row of pg_trigger stands for, or NULL if it is not ours. */
Watch *
watch_of_trigger_tuple(HeapTuple tuple, TupleDesc desc)
{
	Oid			function = ((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid;
	bool		is_row = function == extension_function(EXTENSION_SCHEMA, "row_change");

	if (!is_row && function != extension_function(EXTENSION_SCHEMA, "statement_change"))
		return NULL;
	return watch_of_own_trigger(tuple, desc, is_row, NULL);
}

static List *
add_triggers(List *watches, Oid relid, WatchTime when)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(pg_trigger, TriggerRelidNameIndexId, true,
							  snapshot_for(when), 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Watch	   *watch = wanted(tuple, when) ?
			watch_of_trigger_tuple(tuple, RelationGetDescr(pg_trigger)) : NULL;

		if (watch != NULL)
			watches = lappend(watches, watch);
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return watches;
}

/* A former Watch as watch_as_text() has written it, for the same domain. */
Watch *
watch_from_text(const char *string, const char *domain, Oid relation,
				const char *relation_name)
{
	int			nargs;
	char	  **args = split_label(string, &nargs);
	Watch	   *watch = make_watch(args, nargs, InvalidOid);

	watch->domain = domain;
	watch->relation = relation;
	watch->relation_name = relation_name;
	return watch;
}

/* The arguments of a Watch. */
char *
watch_as_text(const Watch *watch)
{
	Datum	   *elements = palloc(Max(watch->nargs, 1) * sizeof(Datum));

	for (int i = 0; i < watch->nargs; i++)
		elements[i] = CStringGetTextDatum(watch->args[i]);
	return OidOutputFunctionCall(F_ARRAY_OUT,
								 PointerGetDatum(construct_array(elements, watch->nargs,
																 TEXTOID, -1, false,
																 TYPALIGN_INT)));
}

/* The Watch that a label stands for.  The label hook has checked its form. */
static Watch *
watch_of_label_tuple(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		label = heap_getattr(tuple, Anum_pg_seclabel_label, desc, &isnull);
	char	  **args = NULL;
	int			nargs = 0;
	Watch	   *watch;

	if (arguments_may_be_read(label))
		args = split_label(TextDatumGetCString(label), &nargs);
	watch = make_watch(args, nargs,
					   DatumGetObjectId(heap_getattr(tuple, Anum_pg_seclabel_objoid,
													 desc, &isnull)));
	watch->enabled = TRIGGER_FIRES_ON_ORIGIN;
	watch->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	return watch;
}

/* The label of a relation, or with InvalidOid those of all relations. */
static List *
add_labels(List *watches, Oid relid, WatchTime when)
{
	Relation	pg_seclabel = table_open(SecLabelRelationId, AccessShareLock);
	ScanKeyData keys[NUM_LABEL_KEYS];
	int			nkeys = 0;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (OidIsValid(relid))
		ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_objoid,
					BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_classoid,
				BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_objsubid,
				BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(0));
	ScanKeyInit(&keys[nkeys++], Anum_pg_seclabel_provider,
				BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(LABEL_PROVIDER));
	scan = systable_beginscan(pg_seclabel, SecLabelObjectIndexId,
							  OidIsValid(relid), snapshot_for(when),
							  nkeys, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (wanted(tuple, when))
			watches = lappend(watches,
							  watch_of_label_tuple(tuple,
												   RelationGetDescr(pg_seclabel)));
	systable_endscan(scan);
	table_close(pg_seclabel, AccessShareLock);
	return watches;
}

/* What a domain that nothing feeds is delivered by. */
Watch *
watch_without_options(const char *domain)
{
	char	  **args = palloc(sizeof(char *));

	args[0] = psprintf("domain=%s", domain);
	return make_watch(args, 1, InvalidOid);
}

/* The Watches of a relation, as they are or as this transaction found them. */
List *
watches_of_relation(Oid relid, WatchTime when)
{
	return add_labels(add_triggers(NIL, relid, when), relid, when);
}

/* Is a relation watched for this domain? */
bool
relation_feeds(Oid relid, const char *domain)
{
	Watch		wanted = {.domain = domain};
	ListCell   *lc;

	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		if (same_domain(lfirst(lc), &wanted))
			return true;
	}
	return false;
}

/* The Watches of all labelled relations. */
List *
watches_by_label(void)
{
	return add_labels(NIL, InvalidOid, WATCH_NOW);
}

/* The Watch of this trigger, or NULL if it is not ours (or not there). */
Watch *
watch_of_trigger(Oid trigger, WatchTime when)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Watch	   *watch = NULL;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true,
							  snapshot_for(when), 1, &key);
	while (watch == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (wanted(tuple, when))
			watch = watch_of_trigger_tuple(tuple, RelationGetDescr(pg_trigger));
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return watch;
}

bool
same_domain(const Watch *a, const Watch *b)
{
	return a->domain != NULL && b->domain != NULL &&
		strcmp(a->domain, b->domain) == 0;
}

/* The first argument from the n-th on that is no note of a rule. */
static int
next_argument(const Watch *watch, int n)
{
	while (n < watch->nargs && is_rule_note(watch->args[n]))
		n++;
	return n;
}

/* Do two Watches of one relation see the same, for the same channel? */
bool
same_watch(const Watch *a, const Watch *b)
{
	int			i = next_argument(a, 0);
	int			j = next_argument(b, 0);

	if (a->is_row != b->is_row || a->enabled != b->enabled)
		return false;
	for (; i < a->nargs && j < b->nargs; i = next_argument(a, i + 1), j = next_argument(b, j + 1))
		if (strcmp(a->args[i], b->args[j]) != 0)
			return false;
	return i == a->nargs && j == b->nargs;
}

/* "name=old" among the arguments becomes "name=new". */
static bool
replace_value(Watch *watch, const char *name, const char *old, const char *new)
{
	char	   *from = psprintf("%s=%s", name, old);
	bool		replaced = false;

	for (int i = 0; i < watch->nargs; i++)
		if (strcmp(watch->args[i], from) == 0)
		{
			watch->args[i] = psprintf("%s=%s", name, new);
			replaced = true;
		}
	return replaced;
}

static Datum
join_arguments(Watch *watch)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < watch->nargs; i++)
		appendBinaryStringInfo(&buf, watch->args[i],
							   strlen(watch->args[i]) + 1);
	return PointerGetDatum(cstring_to_text_with_len(buf.data, buf.len));
}

/*
 * Write a trigger's arguments; the caller has the relcache read again what it needs
 * of them.  Its identity, its clones and whether it is
 * enabled stay as they are, which CREATE OR REPLACE TRIGGER could not do.
 */
void
watch_write_arguments(Watch *watch)
{
	Relation	pg_trigger = table_open(TriggerRelationId, RowExclusiveLock);
	TupleDesc	desc = RelationGetDescr(pg_trigger);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Datum		values[Natts_pg_trigger] = {0};
	bool		nulls[Natts_pg_trigger] = {0};
	bool		replace[Natts_pg_trigger] = {0};

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(watch->trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, NULL,
							  1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		values[Anum_pg_trigger_tgargs - 1] = join_arguments(watch);
		replace[Anum_pg_trigger_tgargs - 1] = true;
		values[Anum_pg_trigger_tgnargs - 1] = Int16GetDatum(watch->nargs);
		replace[Anum_pg_trigger_tgnargs - 1] = true;
		tuple = heap_modify_tuple(tuple, desc, values, nulls, replace);
		CatalogTupleUpdate(pg_trigger, &tuple->t_self, tuple);
	}
	systable_endscan(scan);
	table_close(pg_trigger, RowExclusiveLock);
}

/* A column of a table has a new name: the triggers go on with that. */
void
watches_rename_column(Oid relid, const char *old, const char *new)
{
	ListCell   *lc;

	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		Watch	   *watch = lfirst(lc);
		bool		tenant,
					counted,
					keyed;

		if (!OidIsValid(watch->trigger))
			continue;
		tenant = replace_value(watch, "tenant_column", old, new);
		counted = replace_value(watch, "column", old, new);
		keyed = replace_value(watch, "key", old, new);
		if (tenant || counted || keyed)
		{
			watch_write_arguments(watch);
			CacheInvalidateRelcacheByRelid(relid);
			announce_configuration();
		}
	}
}

/*
 * Somebody sets a label of ours, by hand or from a dump.  Restoring a dump
 * must not fail, so only what could not be read back is refused.
 */
static void
check_label(const ObjectAddress *object, const char *label)
{
	char		relkind = object->classId == RelationRelationId &&
		object->objectSubId == 0 ? get_rel_relkind(object->objectId) : '\0';

	/* Nobody meant us: as the server has it when we are not there. */
	if (!provider_named)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no security label providers have been loaded")));
	if (relkind != RELKIND_MATVIEW && relkind != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("only views and materialized views have labels of provider \"%s\"",
						LABEL_PROVIDER),
				 errhint("Use %s.setup_table_invalidation() to watch a table.",
						 EXTENSION_SCHEMA)));
	if (label != NULL)
		(void) OidFunctionCall3(F_ARRAY_IN, CStringGetDatum(label),
								ObjectIdGetDatum(TEXTOID), Int32GetDatum(-1));
	announce_configuration();
}

/*
 * SECURITY LABEL is about to run.  Our provider is there once a command of the session has
 * named it, not before: without FOR it means the one provider that there is.
 */
void
watched_label_starts(const char *provider)
{
	static bool registered = false;

	provider_named = provider != NULL && strcmp(provider, LABEL_PROVIDER) == 0;
	if (provider_named && !registered)
	{
		register_label_provider(LABEL_PROVIDER, check_label);
		registered = true;
	}
}
