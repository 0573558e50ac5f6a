/*-------------------------------------------------------------------------
 *
 * delivery.c
 *	  Tell listeners what changed, through the configured lanes.
 *
 * The commit lane sends NOTIFY from the committing transaction.  PostgreSQL
 * lets only one transaction of the cluster at a time go through the end of
 * its commit with notifications: PreCommit_Notify() takes an exclusive lock
 * on "database 0" and keeps it.  We take the same lock a moment earlier,
 * before the sums are read.  So whoever notified before us has committed and
 * is in our snapshot, whoever comes after us is not, and the versions that
 * listeners hear are exact and in commit order.  This needs every session of
 * the database to use the same lanes: cache_notify.delivery is not a
 * session's setting.
 *
 * A full notification queue would fail the user's commit, so nothing is sent
 * into it beyond a reserve: first a reset instead of the single payloads, and
 * when there is no room for that either, the reset is owed (owed.c).
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#define LANE_COMMIT	0x01

/* Bytes of queue that one notification takes beside channel and payload. */
#define NOTIFICATION_OVERHEAD 24

/* This part of the notification queue is left to others. */
#define QUEUE_RESERVE	(1.0 / 32)

typedef struct Message
{
	const char *channel;
	const char *payload;
} Message;

int			delivery_lanes = LANE_COMMIT;

static char *delivery_setting;

static bool
check_delivery(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	ListCell   *lc;
	int			lanes = 0;
	int		   *result;

	if (!SplitIdentifierString(copy, ',', &names) || names == NIL)
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	foreach(lc, names)
	{
		const char *name = lfirst(lc);

		if (strcmp(name, "auto") == 0 || strcmp(name, "commit") == 0)
			lanes |= LANE_COMMIT;
		else if (strcmp(name, "off") != 0)
		{
			GUC_check_errdetail("Unrecognized delivery lane: \"%s\".", name);
			GUC_check_errhint("Available lanes are auto, commit, off.");
			return false;
		}
		else if (list_length(names) > 1)
		{
			GUC_check_errdetail("\"off\" cannot be combined with a lane.");
			return false;
		}
	}
	result = compat_guc_alloc(sizeof(int));
	*result = lanes;
	*extra = result;
	return true;
}

static void
assign_delivery(const char *newval, void *extra)
{
	delivery_lanes = *(int *) extra;
}

void
delivery_init(void)
{
	DefineCustomStringVariable("cache_notify.delivery",
							   "How listeners are told of changes: auto, commit or off.",
							   "All sessions of a server use the same lanes.",
							   &delivery_setting,
							   "auto",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_delivery, assign_delivery, NULL);
}

static List *
add_message(List *messages, const char *channel, const char *payload)
{
	Message    *message = palloc(sizeof(Message));

	message->channel = channel ? channel : default_channel;
	message->payload = payload;
	return lappend(messages, message);
}

/* One message for each route of each key, with the version it has reached. */
static List *
key_messages(CounterTable *table, List *keys)
{
	static const Route default_route = {NULL, NULL};
	Snapshot	snapshot = GetActiveSnapshot();
	List	   *messages = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, keys)
	{
		ChangeKey  *key = lfirst(lc);
		List	   *routes = route_domain(key->domain);
		Delivery	delivery;

		if (routes == NIL)
			routes = list_make1((void *) &default_route);
		delivery.domain = key->domain->name;
		delivery.tenant = key->tenant;
		delivery.version = counter_version(table, delivery.domain,
										   delivery.tenant, snapshot);
		foreach(lc2, routes)
		{
			const Route *route = lfirst(lc2);
			const PayloadFormat *format = route->format;
			StringInfoData buf;

			if (format == NULL)
				format = payload_format(NULL);
			initStringInfo(&buf);
			format->write(&buf, &delivery);
			messages = add_message(messages, route->channel, buf.data);
		}
	}
	return messages;
}

/* A reset on every channel that anybody may listen on. */
static List *
reset_messages(void)
{
	List	   *messages = add_message(NIL, NULL, RESET_PAYLOAD);
	ListCell   *lc;

	foreach(lc, route_channels())
		messages = add_message(messages, lfirst(lc), RESET_PAYLOAD);
	return messages;
}

/*
 * Is there room in the notification queue?  The lock on "database 0" must be
 * held: then nobody else can add to the queue, and the answer stays true.
 */
static bool
queue_has_room(List *messages)
{
	LOCAL_FCINFO(fcinfo, 0);
	double		usage;
	Size		bytes = 0;
	ListCell   *lc;

	foreach(lc, messages)
	{
		Message    *message = lfirst(lc);

		bytes += strlen(message->channel) + strlen(message->payload) +
			NOTIFICATION_OVERHEAD;
	}

	/* A notification does not cross a page, so up to half may be lost. */
	bytes = 2 * bytes + 2 * BLCKSZ;
	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	usage = DatumGetFloat8(pg_notification_queue_usage(fcinfo));
	return (1.0 - usage - QUEUE_RESERVE) * compat_notify_queue_bytes() > bytes;
}

static void
send_messages(List *messages)
{
	ListCell   *lc;

	foreach(lc, messages)
	{
		Message    *message = lfirst(lc);

		Async_Notify(message->channel, message->payload);
	}
}

/* The commit lane. */
static void
notify_keys(CounterTable *table, List *keys)
{
	List	   *messages;
	bool		reset;

	/* The lock that PreCommit_Notify() takes; see above. */
	LockSharedObject(DatabaseRelationId, InvalidOid, 0, AccessExclusiveLock);

	/* Take in what others owe, and let the snapshot see our own counters. */
	keys = list_concat_copy(keys, owed_take(&reset));
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());

	messages = reset ? reset_messages() : key_messages(table, keys);
	if (!queue_has_room(messages))
	{
		messages = reset_messages();
		if (!queue_has_room(messages))
		{
			messages = NIL;
			owed_add_reset();
		}
	}
	send_messages(messages);
	PopActiveSnapshot();
}

/* Deliver what the transaction changed; its counters are written. */
void
delivery_pre_commit(CounterTable *table, List *keys)
{
	if (delivery_lanes & LANE_COMMIT)
		notify_keys(table, keys);
}

/* NOTIFY cannot be prepared: owe it until COMMIT PREPARED. */
void
delivery_pre_prepare(List *keys)
{
	if (delivery_lanes & LANE_COMMIT)
		owed_add(keys);
}
