/*-------------------------------------------------------------------------
 *
 * stored.c
 *	  Configuration that no watched table carries: cascade rules, the listeners
 *	  of the schema, and which views were set up.
 *
 * It must be in every dump, also one of the schema only and one by the
 * database's owner, and in no publication.  A table cannot be both.  So each
 * entry is a trigger, which the server never fires, on the view
 * cache_notify.configuration: its arguments ("name=value") are the entry.  The
 * view is created with the first entry and is no member of the extension, or
 * pg_dump would leave its triggers out.  store() in SQL writes entries.
 *
 * The table cascade_rules is a copy of the rules among them that people edit.
 * It is unlogged, so no publication takes it either, and empty after a crash;
 * refill_rules() fills it again, which the worker calls.
 *
 * Locks: AccessShareLock on pg_trigger while it is read; none on the view, so
 * nobody waits for those who change the configuration.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_notify_cascade_rule);
PG_FUNCTION_INFO_V1(cache_notify_schema_listener);
PG_FUNCTION_INFO_V1(cache_notify_watched_view);

/* The view with the entries.  It counts only if it is a superuser's. */
Oid
configuration_view(void)
{
	Oid			oid = extension_relation(EXTENSION_SCHEMA, CONFIGURATION_VIEW);
	HeapTuple	tuple;
	Form_pg_class form;
	bool		valid;

	if (!OidIsValid(oid))
		return InvalidOid;		/* most often; to look for 0 takes a scan */
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_class) GETSTRUCT(tuple);
	valid = form->relkind == RELKIND_VIEW && superuser_arg(form->relowner);
	ReleaseSysCache(tuple);
	return valid ? oid : InvalidOid;
}

/* Somebody's arguments or label: not so long that reading it is a burden? */
bool
arguments_may_be_read(Datum value)
{
	return toast_raw_datum_size(value) <= MAX_ARGUMENTS_LEN;
}

/* Split pg_trigger.tgargs: each argument ends with a zero byte. */
static char **
split_arguments(bytea *tgargs, int nargs)
{
	char	  **args = palloc(Max(nargs, 1) * sizeof(char *));
	char	   *p = VARDATA_ANY(tgargs);

	for (int i = 0; i < nargs; i++)
	{
		args[i] = p;
		p += strlen(p) + 1;
	}
	return args;
}

/*
 * The arguments in a row of pg_trigger, and how many there are: none, if they are
 * too long.
 */
char	  **
trigger_tuple_arguments(HeapTuple tuple, TupleDesc desc, int *nargs)
{
	bool		isnull;
	Datum		tgargs = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);

	*nargs = arguments_may_be_read(tgargs) ?
		((Form_pg_trigger) GETSTRUCT(tuple))->tgnargs : 0;
	return *nargs > 0 ? split_arguments(DatumGetByteaPCopy(tgargs), *nargs) : NULL;
}

static List *
read_entries(Oid view, Oid function)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	List	   *entries = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(view));
	scan = systable_beginscan(pg_trigger, TriggerRelidNameIndexId, true, NULL,
							  1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		StoredEntry *entry;

		if (form->tgfoid != function)
			continue;
		entry = palloc(sizeof(StoredEntry));
		entry->args = trigger_tuple_arguments(tuple, RelationGetDescr(pg_trigger),
											  &entry->nargs);
		entry->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		entries = lappend(entries, entry);
		FAULT_POINT("load_rules");
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return entries;
}

/*
 * The StoredEntries of a kind, which is the name of a function, as committed now
 * and as changed by this transaction, whatever its isolation level.  Without the
 * extension there are none.  The user's lock_timeout is for his own locks: no
 * write fails of one of ours.
 */
List *
stored_entries(const char *kind)
{
	Oid			view = configuration_view();
	Oid			function = OidIsValid(view) ?
		extension_function(EXTENSION_SCHEMA, kind) : InvalidOid;
	int			lock_timeout = LockTimeout;
	List	   *entries = NIL;

	if (!OidIsValid(function))
		return NIL;
	LockTimeout = 0;
	PG_TRY();
	{
		entries = read_entries(view, function);
	}
	PG_FINALLY();
	{
		LockTimeout = lock_timeout;
	}
	PG_END_TRY();
	return entries;
}

/* The value of the first "name=value" in an entry, or NULL. */
const char *
stored_value(const StoredEntry *entry, const char *name)
{
	size_t		len = strlen(name);

	for (int i = 0; i < entry->nargs; i++)
		if (strncmp(entry->args[i], name, len) == 0 && entry->args[i][len] == '=')
			return entry->args[i] + len + 1;
	return NULL;
}

/* Trigger that is never fired: an entry. */
Datum
cache_notify_cascade_rule(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}

/* The same. */
Datum
cache_notify_schema_listener(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}

/* The same. */
Datum
cache_notify_watched_view(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}

/*
 * Tell every backend, once this transaction has committed, to read the rules
 * and the triggers again: a relcache invalidation of cascade_rules, which is
 * what rules_changes counts.  New backends find no facts of before.
 */
void
announce_configuration(void)
{
	Oid			rules = extension_relation(EXTENSION_SCHEMA, "cascade_rules");

	if (OidIsValid(rules))
		CacheInvalidateRelcacheByRelid(rules);
	common_fact_change();
}
