/*-------------------------------------------------------------------------
 *
 * message.c
 *	  From requests and table events to messages: a channel and a payload each.
 *
 * A domain's routes say what its deliveries look like (route.c).  A route
 * whose format tells of scopes gets one message for each scope, with the version
 * that it has reached.  A route whose format tells of a table gets the table's
 * events in order, and of its domain only what was no event of the table: a
 * change by hand, by a cascade, or one whose events did not fit.  Such a
 * coarse change, and a reset, is told as TRUNCATE: anything may have changed.
 *
 * The server drops a notification that its transaction has sent before.  So
 * of equal messages only the last is kept: it comes after whatever came
 * between.  A format that tells the order also tells the time, to the
 * microsecond, and no two of its messages are equal.
 *
 * Nothing here waits for a lock: the routes must have been loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/message.h"

#include "common/md5.h"
#include "common/string.h"
#include "utils/snapmgr.h"

/* Where it is told that views and functions were redefined: for the packages. */
#define DEFINITION_CHANNEL	"cache_notify_definition"

/* Bytes of payload_suffix; see check_payload() in sql/_cache_notify/setup.sql. */
#define MAX_SUFFIX_LEN	63

/* Stands for the tenant of a shared change in a channel's name. */
#define SHARED_CHANNEL_TENANT "*"

/* ---------------------------------------------------------------- channels */

static const char *
md5_of(const char *string)
{
	char	   *hex = palloc(MD5_PASSWD_LEN);

	return compat_md5(string, strlen(string), hex) ? hex : "";
}

static void
expand_template(StringInfo buf, const char *template, const char *domain,
				const char *tenant)
{
	for (const char *p = template; *p != '\0';)
	{
		if (strncmp(p, "{domain}", 8) == 0)
		{
			appendStringInfoString(buf, domain);
			p += 8;
		}
		else if (strncmp(p, "{tenant}", 8) == 0)
		{
			appendStringInfoString(buf, tenant);
			p += 8;
		}
		else
			appendStringInfoChar(buf, *p++);
	}
}

/*
 * The channel of a delivery.  A name that gets too long for a channel has the
 * tenant, and if need be the whole, replaced by its MD5.
 */
static const char *
channel_name(const char *template, const char *domain, const char *tenant)
{
	StringInfoData buf;

	if (template == NULL)
		template = default_channel;
	if (strchr(template, '{') == NULL)
		return template;
	if (tenant == NULL)
		tenant = SHARED_CHANNEL_TENANT;
	initStringInfo(&buf);
	expand_template(&buf, template, domain, tenant);
	if (buf.len >= NAMEDATALEN)
	{
		resetStringInfo(&buf);
		expand_template(&buf, template, domain, md5_of(tenant));
	}
	return buf.len >= NAMEDATALEN ? md5_of(buf.data) :
		buf.len == 0 ? default_channel : buf.data;
}

/* ------------------------------------------------------------ one message */

/*
 * A suffix that a client might not be able to read ends that client's
 * connection, and one that is too long gets nothing sent.  Set-up lets neither
 * pass, but a trigger made by hand may have one.
 */
static void
append_suffix(StringInfo payload, const char *suffix)
{
	if (suffix != NULL && strlen(suffix) <= MAX_SUFFIX_LEN && pg_is_ascii(suffix))
		appendStringInfoString(payload, suffix);
}

static Message *
make_message(const char *channel, StringInfo payload, const char *suffix)
{
	Message    *message = palloc0(sizeof(Message));

	append_suffix(payload, suffix);
	message->channel = channel;
	message->payload = pnstrdup(payload->data, payload->len);
	return message;
}

static Message *
reset_message(const char *channel, const char *suffix)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, RESET_PAYLOAD);
	return make_message(channel, &buf, suffix);
}

/* Write the payload of a message that tells of a table, with the time of now. */
void
stamp_message(Message *message)
{
	static TimestampTz last = 0;	/* of the backend, and only grows */
	StringInfoData buf;

	last = Max(GetCurrentTimestamp(), last + 1);
	message->event->sent_at = last;
	initStringInfo(&buf);
	message->route->format->write_event(&buf, message->event);
	append_suffix(&buf, message->route->suffix);
	message->payload = pnstrdup(buf.data, buf.len);
	pfree(buf.data);
}

/* ---------------------------------------------------------------- of tables */

/* Is this what the channel's listeners hear last so far? */
static bool
repeats_last(List *messages, const char *channel, const Route *route,
			 int operation)
{
	for (int i = list_length(messages) - 1; i >= 0; i--)
	{
		Message    *message = list_nth(messages, i);

		if (strcmp(message->channel, channel) == 0)
			return message->event != NULL &&
				message->event->table == route->table &&
				message->event->operation == operation;
	}
	return false;
}

static List *
add_event(List *messages, const Route *route, int operation, const char *row)
{
	Message    *message;
	const char *channel = channel_name(route->channel, route->domain, NULL);

	if (route->format->tells_order &&
		repeats_last(messages, channel, route, operation))
		return messages;
	message = palloc0(sizeof(Message));
	message->channel = channel;
	message->route = route;
	message->event = palloc0(sizeof(TableDelivery));
	message->event->table = route->table;
	message->event->table_name = route->table_name;
	message->event->operation = operation;
	message->event->row = row;
	stamp_message(message);
	return lappend(messages, message);
}

static bool
tells_of_table(const Route *route)
{
	return route->format->write_event != NULL;
}

static bool
tells_event(const Route *route, const TableEvent *event)
{
	return tells_of_table(route) && route->table == event->table &&
		(route->format->write_pk_column != NULL) == event->of_rows;
}

static List *
add_operation(List *messages, const TableEvent *event, int operation)
{
	ListCell   *lc;

	foreach(lc, route_all())
	{
		Route	   *route = lfirst(lc);

		if (tells_event(route, event))
			messages = add_event(messages, route, operation, event->row);
	}
	return messages;
}

/* An event may be of several operations, if one statement did them all. */
static List *
event_messages(List *messages, List *events)
{
	ListCell   *lc;

	foreach(lc, events)
	{
		TableEvent *event = lfirst(lc);

		for (int i = OPERATION_INSERT; i <= OPERATION_TRUNCATE; i <<= 1)
			if (event->operations & i)
				messages = add_operation(messages, event, i);
	}
	return messages;
}

static int
compare_messages(const ListCell *a, const ListCell *b)
{
	const Message *m = lfirst(a);
	const Message *n = lfirst(b);
	int			order = strcmp(m->channel, n->channel);

	if (order == 0)
		order = strcmp(m->payload, n->payload);
	return order != 0 ? order : m->position - n->position;
}

/* Of equal messages keep the last. */
static List *
without_repetitions(List *messages)
{
	List	   *sorted = list_copy(messages);
	List	   *kept = NIL;
	Message    *previous = NULL;
	ListCell   *lc;

	foreach(lc, messages)
		((Message *) lfirst(lc))->position = foreach_current_index(lc);
	list_sort(sorted, compare_messages);
	foreach(lc, sorted)
	{
		Message    *message = lfirst(lc);

		if (previous != NULL &&
			strcmp(previous->channel, message->channel) == 0 &&
			strcmp(previous->payload, message->payload) == 0)
			previous->repeated = true;
		previous = message;
	}
	foreach(lc, messages)
	{
		if (!((Message *) lfirst(lc))->repeated)
			kept = lappend(kept, lfirst(lc));
	}
	return kept;
}

/* ------------------------------------------------------------------ of scopes */

/* The one that a scope's domain no longer takes, but is to take once more. */
static Route *
former_route(const DeliveryRequest *request)
{
	Route	   *route = palloc(sizeof(Route));

	*route = route_of_watch(request->former);
	route->domain = request->domain->name;	/* the watch may name none */
	return route;
}

/*
 * The routes that a scope takes: those of its domain, the default one if it has
 * none of its own, or a former one.  What listeners of the default channel know
 * nothing of, that a view or function was redefined, has a channel of its own.
 */
static List *
routes_of(const DeliveryRequest *request)
{
	static Route default_route = {0};
	static Route definition_route = {.channel = DEFINITION_CHANNEL};
	List	   *routes = routes_of_domain(request->domain);

	if (request->former != NULL)
		return list_make1(former_route(request));
	if (is_definition_domain(request->domain->name))
	{
		definition_route.format = payload_format(NULL);
		return list_make1(&definition_route);
	}
	default_route.format = payload_format(NULL);
	return routes != NIL ? routes : list_make1(&default_route);
}

/* One message for each route of the domain that a scope has changed in. */
static List *
add_request(List *messages, const DeliveryRequest *request, const Delivery *delivery)
{
	ListCell   *lc;

	foreach(lc, routes_of(request))
	{
		const Route *route = lfirst(lc);
		StringInfoData buf;

		if (tells_of_table(route))
		{
			if (request->extra->events_incomplete)
				messages = add_event(messages, route, OPERATION_TRUNCATE, NULL);
			continue;
		}
		initStringInfo(&buf);
		route->format->write(&buf, delivery, route->fields);
		messages = lappend(messages,
						   make_message(channel_name(route->channel,
													 delivery->domain,
													 delivery->tenant),
										&buf, route->suffix));
	}
	return messages;
}

/*
 * The messages of each scope, with the version it has reached.  Tenants of one
 * domain have its shared counter in common, which is read once.
 */
static List *
request_messages(List *messages, CounterTable *table, List *requests, uint64 lsn)
{
	Snapshot	snapshot = GetActiveSnapshot();
	SumCache   *shared = sum_cache_create(table, snapshot);
	int64		origin = epoch_origin(table, snapshot);
	ListCell   *lc;

	foreach(lc, requests)
	{
		DeliveryRequest *request = lfirst(lc);
		Delivery	delivery = {
			.domain = request->domain->name,
			.tenant = request->counter.tenant,
			.version = origin + sum_cache_read(shared, request->domain->name, NULL),
			.lsn = lsn,
			.xid = request->xid,
			.extra = request->extra
		};

		if (request->counter.tenant != NULL)
			delivery.version += counter_sum(table, &request->counter, snapshot);
		messages = add_request(messages, request, &delivery);
	}
	return messages;
}

/* What the active snapshot says about these TableEvents and ChangeKeys. */
List *
messages_of(CounterTable *table, List *events, List *requests, uint64 lsn)
{
	List	   *messages = event_messages(NIL, events);

	messages = request_messages(messages, table, requests, lsn);
	return events != NIL ? without_repetitions(messages) : messages;
}

static List *
add_reset(List *messages, const Route *route)
{
	if (tells_of_table(route))
		return add_event(messages, route, OPERATION_TRUNCATE, NULL);
	return lappend(messages,
				   reset_message(channel_name(route->channel, route->domain,
											  NULL), route->suffix));
}

/*
 * A reset on every channel that anybody may listen on.  The channels of a
 * template cannot be listed: there it goes to the one of the shared changes,
 * which every listener of the template has to listen on as well.  If
 * cache_notify.channel is a template, domains that no table feeds have such a
 * channel as well.  Former channels are those of the scopes.
 */
List *
reset_messages(CounterTable *table, List *requests)
{
	List	   *messages;
	ListCell   *lc;

	messages = list_make1(reset_message(channel_name(NULL, "*", NULL), NULL));
	foreach(lc, route_all())
		messages = add_reset(messages, lfirst(lc));
	foreach(lc, requests)
	{
		if (((DeliveryRequest *) lfirst(lc))->former != NULL)
			messages = add_reset(messages, former_route(lfirst(lc)));
	}
	if (strchr(default_channel, '{') != NULL)
		foreach(lc, counter_domains(table))
			messages = lappend(messages,
							   reset_message(channel_name(NULL, lfirst(lc), NULL),
											 NULL));
	return messages;
}
