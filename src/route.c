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
static List *channels = NIL;	/* char *: every channel but the default */

static void
add_channel(const char *channel)
{
	ListCell   *lc;

	foreach(lc, channels)
		if (strcmp(lfirst(lc), channel) == 0)
			return;
	channels = lappend(channels, (char *) channel);
}

static void
add_route(Domain *domain, const char *channel, const PayloadFormat *format)
{
	MemoryContext old = MemoryContextSwitchTo(cascade_context());
	Route	   *route;
	ListCell   *lc;

	foreach(lc, domain->routes)
	{
		route = lfirst(lc);
		if (route->format == format &&
			strcmp(route->channel ? route->channel : "",
				   channel ? channel : "") == 0)
		{
			MemoryContextSwitchTo(old);
			return;
		}
	}
	route = palloc(sizeof(Route));
	route->channel = channel ? pstrdup(channel) : NULL;
	route->format = format;
	domain->routes = lappend(domain->routes, route);
	if (channel)
		add_channel(route->channel);
	MemoryContextSwitchTo(old);
}

static void
add_watch_route(const Watch *watch)
{
	const PayloadFormat *format;

	if (watch == NULL || watch->domain == NULL)
		return;
	format = payload_format(trigger_argument(watch->args, watch->nargs,
											 "payload"));
	add_route(domain_lookup(watch->domain),
			  trigger_argument(watch->args, watch->nargs, "channel"),
			  format ? format : payload_format(NULL));
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

static void
load_routes(void)
{
	uint64		reading = cascade_load();
	Oid			function;
	ListCell   *lc;

	if (loaded_generation == reading)
		return;
	channels = NIL;				/* it went with the rules */
	function = LookupFuncName(list_make2(makeString(EXTENSION_SCHEMA),
										 makeString("statement_change")),
							  0, NULL, true);
	if (OidIsValid(function))
		read_triggers(function);
	foreach(lc, watches_by_label())
		add_watch_route(lfirst(lc));
	loaded_generation = reading;
}

/* The Routes of a domain; NIL stands for the default one. */
List *
route_domain(Domain *domain)
{
	load_routes();
	return domain->routes;
}

/* Every channel that a watched table names. */
List *
route_channels(void)
{
	load_routes();
	return channels;
}

/* trigger_arguments(tgargs bytea, tgnargs int) returns text[] */
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
