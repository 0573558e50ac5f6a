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
 * The configuration is in the triggers' arguments and nowhere else.  Every
 * watched table has a statement trigger, and pg_depend finds the triggers of
 * a function by index.  The result is cached with the cascade rules.
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
add_trigger_route(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	bool		isnull;
	Datum		tgargs = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);
	char	  **args = split_arguments(DatumGetByteaPP(tgargs), form->tgnargs);
	const char *domain = trigger_argument(args, form->tgnargs, "domain");
	const PayloadFormat *format;

	if (domain == NULL || strlen(domain) >= NAMEDATALEN)
		return;
	format = payload_format(trigger_argument(args, form->tgnargs, "payload"));
	add_route(domain_lookup(domain),
			  trigger_argument(args, form->tgnargs, "channel"),
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
		add_trigger_route(tuple, RelationGetDescr(pg_trigger));
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

	if (loaded_generation == reading)
		return;
	channels = NIL;				/* it went with the rules */
	function = LookupFuncName(list_make2(makeString(EXTENSION_SCHEMA),
										 makeString("statement_change")),
							  0, NULL, true);
	if (OidIsValid(function))
		read_triggers(function);
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
static void
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
