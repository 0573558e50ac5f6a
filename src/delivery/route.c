/*-------------------------------------------------------------------------
 *
 * route.c
 *	  Which channels a domain's deliveries go to, in which format.
 *
 * A domain goes to the channel of each watched table that feeds it, because
 * whoever listens there caches the domain and must hear of every bump, also
 * of one that came by a cascade or by hand.  A domain that no table feeds
 * goes to the default channel.  A format that tells of tables has a route for
 * each table.
 *
 * The configuration is in the triggers' arguments, or for views in labels,
 * and nowhere else (watched.c).  Every watched table has a statement trigger,
 * and pg_depend finds the triggers of a function by index.  The result is
 * cached with the cascade rules.
 *
 * Nobody owns a domain, and each channel of it is one more message for whoever
 * changes it.  So a role can have a domain told on so many channels, in the order
 * in which its relations came to feed it; for more it has to be a superuser.
 *
 * When a table is dropped, watched no longer or given another channel, whoever
 * listens on the channel that it had is told once more that the domain has
 * moved.  The catalogs do not know that channel any more, so the transaction
 * remembers the watches that it takes away, and owes the deliveries (owed.c).
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/message.h"

#include "access/detoast.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "delivery/json_text.h"

PG_FUNCTION_INFO_V1(cache_notify_route_is_told);

#define DEFAULT_CHANNEL		"cache_invalidation"

/* What one owner can add to a commit of others; see sql/cache_notify/watch.sql. */
#define MAX_ROUTES_OF_OWNER	32

/* Setting: where domains go that no watched table names a channel for. */
char	   *default_channel;

/*
 * Of the backend, in cascade_context(), and made anew when the rules are; what a
 * savepoint undoes comes with an invalidation as well.
 */
static uint64 begun_generation = 0; /* of the routes in memory */
static uint64 loaded_generation = 0;	/* the same, once they are all there */
static InvalidationCount name_changes;	/* a table may have been renamed */
static uint64 names_read = 0;	/* the names in memory are as of this change */
static List *routes = NIL;		/* every Route */

/*
 * Watch *, of the transaction and in its memory.  A rollback to a savepoint leaves
 * them: a channel then hears of a domain without need.
 */
static List *former_watches = NIL;

static bool
same_route(const Route *a, const Route *b)
{
	return a->format == b->format && a->fields == b->fields &&
		a->table == b->table &&
		strcmp(a->channel ? a->channel : "", b->channel ? b->channel : "") == 0 &&
		strcmp(a->suffix ? a->suffix : "", b->suffix ? b->suffix : "") == 0;
}

Route
route_of_watch(const Watch *watch)
{
	const WatchOptions *options = watch->options;
	Route		route = {0};

	route.domain = watch->domain;
	route.channel = options->channel;
	route.format = payload_format(options->payload);
	if (route.channel == NULL)
		route.channel = route.format->channel;
	route.fields = payload_fields(options->fields);
	route.suffix = options->payload_suffix;
	if (route.format->write_event != NULL)
		route.table = watch->relation;
	if (watch->relation_name != NULL)
		strlcpy(route.table_name, watch->relation_name, NAMEDATALEN);
	return route;
}

/* The owner of a relation, if there is a limit for him. */
static Oid
limited_owner(Oid relid)
{
	Oid			owner = owner_of_relation(relid);

	return !OidIsValid(owner) || superuser_arg(owner) ? InvalidOid : owner;
}

static bool
has_too_many(const Domain *domain, Oid owner)
{
	int			n = 0;
	ListCell   *lc;

	if (!OidIsValid(owner) || list_length(domain->routes) < MAX_ROUTES_OF_OWNER)
		return false;
	foreach(lc, domain->routes)
		n += ((Route *) lfirst(lc))->owner == owner;
	return n >= MAX_ROUTES_OF_OWNER;
}

static bool
has_route(const Domain *domain, const Route *route)
{
	ListCell   *lc;

	foreach(lc, domain->routes)
	{
		if (same_route(lfirst(lc), route))
			return true;
	}
	return false;
}

static void
add_watch_route(const Watch *watch)
{
	Domain	   *domain;
	Route		route;
	Route	   *copy;
	MemoryContext old;

	domain = domain_lookup(watch->domain);
	route = route_of_watch(watch);
	route.domain = domain->name;
	if (OidIsValid(route.table) && watch->inherited)
		return;					/* the parent is the table to tell of */
	if (has_route(domain, &route))
		return;
	route.owner = limited_owner(watch->relation);
	if (has_too_many(domain, route.owner))
		return;

	old = MemoryContextSwitchTo(cascade_context());
	copy = palloc(sizeof(Route));
	*copy = route;
	if (route.channel != NULL)
		copy->channel = pstrdup(route.channel);
	if (route.suffix != NULL)
		copy->suffix = pstrdup(route.suffix);
	/* In this order: one that is in the second list is never added again. */
	routes = lappend(routes, copy);
	domain->routes = lappend(domain->routes, copy);
	MemoryContextSwitchTo(old);
}

static bool
check_channel(char **newval, void **extra, GucSource source)
{
	size_t		len = strlen(*newval);

	if (len > 0 && len < NAMEDATALEN)
		return true;
	GUC_check_errdetail("A channel name has 1 to %d bytes.", NAMEDATALEN - 1);
	return false;
}

void
route_init(void)
{
	option_set_values("payload", payload_format_name);
	option_set_values("fields", payload_field_name);
	DefineCustomStringVariable("cache_notify.channel",
							   "Channel of domains that no watched table names a channel for.",
							   NULL,
							   &default_channel,
							   DEFAULT_CHANNEL,
							   PGC_SIGHUP, 0,
							   check_channel, NULL, NULL);
	invalidation_count_relations(&name_changes);
}

/* Payloads name tables as they are called now. */
static void
read_names(void)
{
	uint64		change = name_changes.count;
	ListCell   *lc;

	foreach(lc, routes)
	{
		Route	   *route = lfirst(lc);
		char	   *name = OidIsValid(route->table) ?
			get_rel_name(route->table) : NULL;

		if (name != NULL)
			strlcpy(route->table_name, name, NAMEDATALEN);
	}
	names_read = change;
}

/* Triggers and relations have their OIDs from one counter. */
static Oid
birth(const Watch *watch)
{
	return OidIsValid(watch->trigger) ? watch->trigger : watch->relation;
}

static int
compare_births(const ListCell *a, const ListCell *b)
{
	Oid			x = birth(lfirst(a));
	Oid			y = birth(lfirst(b));

	return x < y ? -1 : x > y;
}

/*
 * Bring routes_of_domain() and route_all() up to date.  May read the catalogs, and
 * wait for a lock on them; what it leaves stays valid until the next call of this
 * or of cascade_load().
 */
void
route_load(void)
{
	uint64		reading = watch_load();
	List	   *oldest_first;
	ListCell   *lc;

	json_text_prepare();
	if (loaded_generation == reading)
	{
		if (names_read != name_changes.count)
			read_names();
		return;
	}
	if (begun_generation != reading)
		routes = NIL;			/* they went with the rules */
	begun_generation = reading; /* else go on where an error stopped us */
	oldest_first = list_copy(watch_all());
	list_sort(oldest_first, compare_births);
	foreach(lc, oldest_first)
	{
		add_watch_route(lfirst(lc));
		FAULT_POINT("load_routes");
	}
	read_names();
	loaded_generation = reading;
}

/* Where the deliveries of a domain go: Routes; NIL: the default channel. */
List *
routes_of_domain(const Domain *domain)
{
	return domain->routes;
}

/* Every Route. */
List *
route_all(void)
{
	return routes;
}

/*
 * This transaction removes or replaces a watch.  If a savepoint is rolled
 * back, its channel hears of the domain without need, which does no harm.
 */
void
route_remember(const Watch *watch)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	former_watches = lappend(former_watches,
							 watch_from_text(watch_as_text(watch),
											 pstrdup(watch->domain),
											 watch->relation,
											 former_name(watch->relation)));
	MemoryContextSwitchTo(old);
}

static const char *
channel_of(const Route *route)
{
	return route->channel != NULL ? route->channel : default_channel;
}

static bool
same_destination(const Route *a, const Route *b)
{
	return strcmp(channel_of(a), channel_of(b)) == 0 &&
		(a->format->write_event == NULL ? InvalidOid : a->table) ==
		(b->format->write_event == NULL ? InvalidOid : b->table);
}

/* Do deliveries of this domain go to the channel of this route? */
static bool
goes_there(const Domain *domain, const Route *route)
{
	ListCell   *lc;

	foreach(lc, domain->routes)
	{
		if (same_destination(lfirst(lc), route))
			return true;
	}
	return domain->routes == NIL &&
		strcmp(channel_of(route), default_channel) == 0;
}

static bool
has_former(List *requests, const Domain *domain, const Route *route)
{
	ListCell   *lc;

	foreach(lc, requests)
	{
		DeliveryRequest *request = lfirst(lc);
		Route		other = route_of_watch(request->former);

		if (request->domain == domain &&
			same_destination(&other, route))
			return true;
	}
	return false;
}

/*
 * Before the commit: a shared DeliveryRequest for each channel that a domain no
 * longer goes to because of this transaction.  Its shared change concerns
 * whatever the channel's listeners hold of the domain, so that one will do.
 */
List *
route_former_requests(void)
{
	List	   *requests = NIL;
	ListCell   *lc;

	if (former_watches != NIL)
		route_load();
	foreach(lc, former_watches)
	{
		const Watch *watch = lfirst(lc);
		Domain	   *domain = domain_lookup(watch->domain);
		Route		route = route_of_watch(watch);
		DeliveryRequest *request;

		if (goes_there(domain, &route) || has_former(requests, domain, &route))
			continue;
		request = palloc0(sizeof(DeliveryRequest));
		request->domain = domain;
		request->extra = palloc0(sizeof(ExtraFields));
		request->counter = counter_key(domain->name, NULL);
		request->former = watch;
		requests = lappend(requests, request);
	}
	return requests;
}

void
route_end_transaction(void)
{
	former_watches = NIL;
}

/*
 * route_is_told(relation oid, domain text) returns boolean, strict: is the domain
 * told as the relation asks for, or has its owner too many channels?
 */
Datum
cache_notify_route_is_told(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const Domain *domain;
	ListCell   *lc;

	route_load();
	domain = domain_find(name);
	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		const Watch *watch = lfirst(lc);
		Route		route = route_of_watch(watch);

		if (watch->is_row || strcmp(watch->domain, name) != 0 ||
			(OidIsValid(route.table) && watch->inherited))
			continue;
		if (domain == NULL || !has_route(domain, &route))
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(true);
}
