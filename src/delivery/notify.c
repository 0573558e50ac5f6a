/*-------------------------------------------------------------------------
 *
 * notify.c
 *	  Send notifications, or WAL messages.
 *
 * PostgreSQL lets only one transaction of the cluster at a time go through
 * the end of its commit with notifications: PreCommit_Notify() takes an
 * exclusive lock on "database 0" and keeps it.  A committing transaction of
 * the commit lane takes the same lock a moment earlier, before the sums are
 * read.  So whoever notified before it has committed and is in its snapshot,
 * whoever comes after it is not, and the versions that listeners hear are
 * exact and in commit order.  The worker, which reports commits of others,
 * needs the lock only to send.
 *
 * A full notification queue would fail the user's commit, so nothing is sent
 * into it beyond a reserve.  A committing transaction then sends a reset
 * instead of the single payloads, and when there is no room for that either,
 * owes the reset (owed.c); the worker waits.
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/notify.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "commands/async.h"
#include "common/string.h"
#include "mb/pg_wchar.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "delivery/message.h"
#include "delivery/owed.h"
#include "delivery/json_text.h"

/* Bytes of queue that one notification takes beside channel and payload. */
#define NOTIFICATION_OVERHEAD 24

/* This part of the notification queue is left to others. */
#define QUEUE_RESERVE	(1.0 / 32)

/* Listeners are told to drop everything rather than fill so much of it. */
#define MAX_QUEUE_SHARE	0.5

/* The longest payload that the server takes, as async.c computes it. */
#define MAX_NOTIFY_LEN	(BLCKSZ - NAMEDATALEN - 128 - 1)

/* How often a backend says that it does not send something. */
#define REFUSED_LOG_MS	60000

#define WAL_PREFIX		"cache_notify"

static void
log_refused(const char *what, const char *channel)
{
	static TimestampTz last_log = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(last_log, now, REFUSED_LOG_MS))
		return;
	last_log = now;
	ereport(LOG,
			(errmsg("%s", what),
			 errdetail("The channel is \"%s\".",
					   pnstrdup(channel, pg_mbcliplen(channel, strlen(channel),
													  NAMEDATALEN - 1))),
			 errhint("See cache_notify.v_invalidation_status.")));
}

/*
 * The messages that the server will take.  One that it refused would fail a
 * user's commit, or end the worker and the next one as well.  This is the last
 * look at what others wrote into arguments, labels, settings and tables, so it
 * relies on no check that was made there.
 */
static List *
sendable(List *messages)
{
	ListCell   *lc;

	foreach(lc, messages)
	{
		Message    *message = lfirst(lc);
		size_t		len = strlen(message->channel);

		if (len == 0 || len >= NAMEDATALEN)
		{
			log_refused("did not send to a channel that cannot be", message->channel);
			messages = foreach_delete_current(messages, lc);
		}
		else if (strlen(message->payload) > MAX_NOTIFY_LEN)
		{
			log_refused("sent a reset in the place of a payload that is too long",
						message->channel);
			message->payload = RESET_PAYLOAD;
			message->event = NULL;
		}
		else if (!pg_is_ascii(message->payload))
		{
			/* It would end the connection of who lacks a letter of it. */
			log_refused("sent a reset in the place of a payload that is not ASCII",
						message->channel);
			message->payload = RESET_PAYLOAD;
			message->event = NULL;
		}
	}
	return messages;
}

/* How much of the queue these messages may take, from 0 to 1 and beyond. */
static double
queue_share(List *messages)
{
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
	return (double) bytes / compat_notify_queue_bytes();
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

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	usage = DatumGetFloat8(pg_notification_queue_usage(fcinfo));
	return queue_share(messages) < 1.0 - usage - QUEUE_RESERVE;
}

/*
 * Take the lock that PreCommit_Notify() takes; see above.  False if wait is
 * false and somebody else has it.
 */
static bool
lock_queue(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, InvalidOid, 0);
	return LockAcquire(&tag, AccessExclusiveLock, false, !wait) !=
		LOCKACQUIRE_NOT_AVAIL;
}

static void
send_messages(List *messages)
{
	ListCell   *lc;

	foreach(lc, messages)
	{
		Message    *message = lfirst(lc);

		if (message->event != NULL)
			stamp_message(message);
		Async_Notify(message->channel, message->payload);
	}
}

/*
 * The extension is being dropped by this transaction.  Nobody will tell listeners
 * anything afterwards, so they are told to drop everything, unless there is no
 * room for that: a DROP must not fail of it.
 */
void
notify_drop(void)
{
	CounterTable *table = counter_open(AccessShareLock);
	List	   *messages;

	if (table == NULL)
		return;
	route_load();
	messages = reset_messages(table, NIL);
	if (queue_has_room(messages))
		send_messages(messages);
	counter_close(table, AccessShareLock);
}

/*
 * What a snapshot of now says about these scopes.  The snapshot sees the
 * transaction's own counters.
 */
static List *
current_messages(CounterTable *table, List *events, List *requests, bool reset,
				 XLogRecPtr lsn)
{
	List	   *messages;

	if (reset)
		return sendable(reset_messages(table, requests));
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	messages = messages_of(table, events, requests, lsn);
	PopActiveSnapshot();
	return sendable(messages);
}

/* Those of the scopes that go to a channel that their domain has left. */
static List *
requests_to_former(List *requests)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, requests)
	{
		if (((DeliveryRequest *) lfirst(lc))->former != NULL)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

/*
 * The commit lane: queue the notifications of what this transaction changed,
 * its messages, and what others owe.  They go out when it commits.
 *
 * From the lock on, no other lock is waited for: whoever has that may be
 * waiting for ours.  So the routes are read before, and used as they are.
 */
void
notify_at_commit(CounterTable *table, List *events, List *requests, List *ready)
{
	Owed		owed;
	List	   *messages;
	ListCell   *lc;

	/* Just for what others owe, nobody waits: the next one will see to it. */
	if (requests == NIL && ready == NIL && !lock_queue(false))
		return;
	foreach(lc, requests)
	{
		((DeliveryRequest *) lfirst(lc))->xid =
			U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	}
	owed = owed_take();
	requests = list_concat_copy(requests, owed.requests);
	ready = list_concat_copy(ready, owed.messages);
	route_load();
	(void) lock_queue(true);
	FAULT_POINT("queue_locked");

	ready = sendable(ready);
	messages = list_concat(current_messages(table, events, requests, owed.reset, 0),
						   ready);
	if (!queue_has_room(messages))
	{
		messages = list_concat(sendable(reset_messages(table, requests)), ready);
		if (!queue_has_room(messages))
		{
			messages = NIL;
			owed_add_reset();
			owed_add(requests_to_former(requests));
			owed_add_messages(ready);
		}
	}
	send_messages(messages);
	FAULT_POINT("queued");
}

/*
 * The worker: queue the notifications of what others have committed, or a
 * reset, and with take_owed of what they owe.  NOTIFY_NO_ROOM
 * if the queue is full: then the transaction must be aborted.
 */
NotifyResult
notify_committed(CounterTable *table, List *events, List *requests, bool reset,
				 bool take_owed)
{
	Owed		owed = {0};
	List	   *messages;

	if (take_owed)
		owed = owed_take();
	requests = list_concat_copy(requests, owed.requests);
	route_load();
	reset |= owed.reset;
	messages = current_messages(table, events, requests, reset,
								GetXLogInsertRecPtr());
	owed.messages = sendable(owed.messages);
	messages = list_concat(messages, owed.messages);
	(void) lock_queue(true);
	if (!queue_has_room(messages))
	{
		/* Do not wait for room that there may never be. */
		if (queue_share(messages) < MAX_QUEUE_SHARE)
			return NOTIFY_NO_ROOM;
		reset = true;
		messages = list_concat(sendable(reset_messages(table, requests)),
							   owed.messages);
		if (!queue_has_room(messages))
			return NOTIFY_NO_ROOM;
	}
	send_messages(messages);
	return reset ? NOTIFY_RESET : NOTIFY_DONE;
}

/* Queue a reset on the default channel, whatever the tables say. */
NotifyResult
notify_default_reset(void)
{
	Message		message = {.channel = default_channel,.payload = RESET_PAYLOAD};
	List	   *messages = sendable(list_make1(&message));

	(void) lock_queue(true);
	if (!queue_has_room(messages))
		return NOTIFY_NO_ROOM;
	send_messages(messages);
	return NOTIFY_RESET;
}

/* What the version of a scope is to this snapshot. */
static int64
version_of(CounterTable *table, const DeliveryRequest *request, Snapshot snapshot)
{
	CounterKey	shared = counter_key(request->domain->name, NULL);
	int64		version = epoch_origin(table, snapshot);

	version += counter_sum(table, &shared, snapshot);
	if (request->counter.tenant != NULL)
		version += counter_sum(table, &request->counter, snapshot);
	return version;
}

/*
 * The WAL lane: one transactional logical message per scope, which logical
 * decoding hands out in commit order, without any lock.  The version is what
 * this transaction sees, its own bumps included; concurrent transactions may
 * report the same one.  Hence xid and bumps: a consumer that drops every
 * entry whose snapshot did not include xid is never wrong, and one that adds
 * up the bumps in the order of arrival has the exact version.
 */
void
wal_write_requests(CounterTable *table, List *requests)
{
	Snapshot	snapshot;
	ListCell   *lc;
	uint64		xid = U64FromFullTransactionId(GetTopFullTransactionId());

	json_text_prepare();
	CommandCounterIncrement();
	snapshot = GetLatestSnapshot();
	PushActiveSnapshot(snapshot);
	foreach(lc, requests)
	{
		DeliveryRequest *request = lfirst(lc);
		Delivery	delivery = {
			.domain = request->domain->name,
			.tenant = request->counter.tenant,
			.version = version_of(table, request, snapshot),
			.bumps = request->bumps,
			.xid = xid,
			.extra = request->extra
		};
		StringInfoData buf;

		initStringInfo(&buf);
		payload_format(NULL)->write(&buf, &delivery, FIELD_XID);
		compat_log_message(WAL_PREFIX, buf.data, buf.len);
	}
	PopActiveSnapshot();
}

/*
 * The same for messages to the listeners of one channel: as they are, with the
 * channel in the prefix, so that who reads scopes does not meet them.
 */
void
wal_write_messages(List *messages)
{
	ListCell   *lc;

	foreach(lc, sendable(messages))
	{
		Message    *message = lfirst(lc);

		compat_log_message(psprintf(WAL_PREFIX ":%s", message->channel),
						   message->payload, strlen(message->payload));
	}
}
