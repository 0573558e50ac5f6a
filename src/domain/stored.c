/*-------------------------------------------------------------------------
 *
 * stored.c
 *	  Configuration that no watched table carries: cascade rules and the
 *	  listeners of the schema.
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
#include "domain/domain.h"

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

/* The view with the entries.  It counts only if it is a superuser's. */
Oid
configuration_view(void)
{
	Oid			oid = extension_relation(EXTENSION_SCHEMA, CONFIGURATION_VIEW);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	Form_pg_class form;
	bool		valid;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_class) GETSTRUCT(tuple);
	valid = form->relkind == RELKIND_VIEW && superuser_arg(form->relowner);
	ReleaseSysCache(tuple);
	return valid ? oid : InvalidOid;
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
	Oid			function = extension_function(EXTENSION_SCHEMA, kind);
	int			lock_timeout = LockTimeout;
	List	   *entries = NIL;

	if (!OidIsValid(view) || !OidIsValid(function))
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
