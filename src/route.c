/*-------------------------------------------------------------------------
 *
 * route.c
 *	  Which channels a domain's deliveries go to, in which format.
 *
 * A domain goes to the channel of each watched table that feeds it, because
 * whoever listens there caches the domain and must hear of every bump, also
 * of one that came by a cascade or by hand.  A domain that no table feeds
 * goes to the default channel.
 *
 * The configuration is in the triggers' arguments, or for views in labels,
 * and nowhere else (watched.c).  Every watched table has a statement trigger,
 * and pg_depend finds the triggers of a function by index.  The result is
 * cached with the cascade rules.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cache_notify_trigger_arguments);
PG_FUNCTION_INFO_V1(cache_notify_configuration_changed);
PG_FUNCTION_INFO_V1(cache_notify_rules_changed);

static uint64 loaded_generation = 0;	/* of the routes in memory */
static List *routes = NIL;		/* every Route */

/* The payload fields that a trigger asks for. */
int
route_fields(char **args, int nargs)
{
	static const struct
	{
		const char *argument;
		int			field;
	}			fields[] = {
		{"field=lsn", FIELD_LSN},
		{"field=xid", FIELD_XID},
		{"field=operations", FIELD_OPERATIONS},
		{"field=keys", FIELD_KEYS}
	};
	int			result = 0;

	for (int i = 0; i < nargs; i++)
		for (int f = 0; f < lengthof(fields); f++)
			if (strcmp(args[i], fields[f].argument) == 0)
				result |= fields[f].field;
	return result;
}

static bool
same_route(const Route *a, const Route *b)
{
	return a->format == b->format && a->fields == b->fields &&
		strcmp(a->channel ? a->channel : "", b->channel ? b->channel : "") == 0;
}

static void
add_watch_route(const Watch *watch)
{
	Domain	   *domain;
	Route		route = {0};
	Route	   *copy;
	ListCell   *lc;
	MemoryContext old;

	if (watch == NULL || watch->domain == NULL)
		return;
	domain = domain_lookup(watch->domain);
	route.domain = domain->name;
	route.channel = trigger_argument(watch->args, watch->nargs, "channel");
	route.format = payload_format(trigger_argument(watch->args, watch->nargs,
												   "payload"));
	if (route.format == NULL)
		route.format = payload_format(NULL);
	route.fields = route_fields(watch->args, watch->nargs);
	domain->layout = Max(domain->layout,
						 trigger_layout(watch->args, watch->nargs));
	foreach(lc, domain->routes)
		if (same_route(lfirst(lc), &route))
			return;

	old = MemoryContextSwitchTo(cascade_context());
	copy = palloc(sizeof(Route));
	*copy = route;
	if (route.channel != NULL)
		copy->channel = pstrdup(route.channel);
	domain->routes = lappend(domain->routes, copy);
	routes = lappend(routes, copy);
	MemoryContextSwitchTo(old);
}

static void
add_route_of_trigger(Relation pg_trigger, Oid trigger)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, NULL,
							  1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		add_watch_route(watch_of_trigger_tuple(tuple,
											   RelationGetDescr(pg_trigger)));
	systable_endscan(scan);
}

/* Visit the statement triggers of all watched tables. */
static void
read_triggers(Oid function)
{
	Relation	pg_depend = table_open(DependRelationId, AccessShareLock);
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(function));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true, NULL,
							  2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == TriggerRelationId)
			add_route_of_trigger(pg_trigger, depend->objid);
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	table_close(pg_depend, AccessShareLock);
}

/*
 * Bring Domain.routes, Domain.layout and route_all() up to date.  May read the catalogs, and
 * wait for a lock on them; what it leaves stays valid until the next call of
 * this or of cascade_load().
 */
void
route_load(void)
{
	uint64		reading = cascade_load();
	Oid			function;
	ListCell   *lc;

	if (loaded_generation == reading)
		return;
	routes = NIL;				/* they went with the rules */
	function = LookupFuncName(list_make2(makeString(EXTENSION_SCHEMA),
										 makeString("statement_change")),
							  0, NULL, true);
	if (OidIsValid(function))
		read_triggers(function);
	foreach(lc, watches_by_label())
		add_watch_route(lfirst(lc));
	loaded_generation = reading;
}

/* Every Route. */
List *
route_all(void)
{
	return routes;
}

/* trigger_arguments(tgargs bytea) returns text[] */
Datum
cache_notify_trigger_arguments(PG_FUNCTION_ARGS)
{
	bytea	   *tgargs = PG_GETARG_BYTEA_PP(0);
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	char	   *p = VARDATA_ANY(tgargs);
	char	   *end = p + VARSIZE_ANY_EXHDR(tgargs);

	while (p < end)
	{
		size_t		len = strnlen(p, end - p);

		state = accumArrayResult(state,
								 PointerGetDatum(cstring_to_text_with_len(p, len)),
								 false, TEXTOID, CurrentMemoryContext);
		p += len + 1;
	}
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}

/*
 * Tell every backend, once this transaction has committed, to read the rules
 * and the triggers again: a relcache invalidation of cascade_rules, which is
 * what cascade.c watches.
 */
void
announce_configuration(void)
{
	Oid			rules = extension_relation("cascade_rules");

	if (OidIsValid(rules))
		CacheInvalidateRelcacheByRelid(rules);
}

/* configuration_changed() returns void: after (un)watching a table */
Datum
cache_notify_configuration_changed(PG_FUNCTION_ARGS)
{
	announce_configuration();
	PG_RETURN_VOID();
}

/* Trigger on cascade_rules. */
Datum
cache_notify_rules_changed(PG_FUNCTION_ARGS)
{
	announce_configuration();
	return PointerGetDatum(NULL);
}
