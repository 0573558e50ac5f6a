/*-------------------------------------------------------------------------
 *
 * delivery.c
 *	  Choose the lanes by which listeners hear of a transaction's changes.
 *
 *	  commit	NOTIFY from the committing transaction (notify.c)
 *	  worker	a background worker sends it after the commit (worker.c)
 *	  wal		a logical message in the WAL (notify.c)
 *	  auto		worker where it can run, else commit
 *
 * Two lanes at the same time.  The commit lane's versions are exact only
 * among transactions of that lane, and a session may use it while others use
 * the worker: the setting has just been changed, or no worker could be
 * started.  Then the listeners' last word must come from someone who sees
 * both, so a transaction of the commit lane leaves its scopes to a worker that
 * is there as well.
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/delivery.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "delivery/message.h"
#include "delivery/notify.h"
#include "delivery/owed.h"

PG_FUNCTION_INFO_V1(cache_notify_delivery_problem);
PG_FUNCTION_INFO_V1(cache_notify_lane_in_effect);

#define LANE_COMMIT	0x01
#define LANE_WORKER	0x02
#define LANE_WAL	0x04
#define LANE_AUTO	0x08		/* the worker's need not be */

/* Setting, and what it says. */
static char *delivery_setting;
static int	delivery_lanes;

/*
 * What this transaction does once it has committed: of the transaction, from
 * delivery_pre_commit() to delivery_end_transaction().  By then there are no
 * savepoints any more.  owed_at_commit is also set by COMMIT PREPARED.
 */
static bool post_commit = false;
static WaitingDatabase *pinned_database = NULL;
static List *committed_requests = NIL;
static bool owed_at_commit = false; /* the worker, or we, are to look for it */

/* The transaction whose events the worker has already, if it commits; the same. */
static TransactionId added_events = InvalidTransactionId;

static const struct
{
	const char *name;
	int			lane;
}			lanes[] = {
	{"auto", LANE_WORKER | LANE_AUTO},
	{"commit", LANE_COMMIT},
	{"worker", LANE_WORKER},
	{"wal", LANE_WAL},
	{"off", 0}
};

static bool
check_delivery(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	ListCell   *lc;
	int			chosen = 0;
	int		   *result;

	if (!SplitIdentifierString(copy, ',', &names) || names == NIL)
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	foreach(lc, names)
	{
		const char *name = lfirst(lc);
		int			i;

		for (i = 0; i < lengthof(lanes); i++)
			if (strcmp(name, lanes[i].name) == 0)
				break;
		if (i == lengthof(lanes))
		{
			GUC_check_errdetail("Unrecognized delivery lane: \"%s\".", name);
			GUC_check_errhint("Available lanes are auto, commit, worker, wal, off.");
			return false;
		}
		if (lanes[i].lane == 0 && list_length(names) > 1)
		{
			GUC_check_errdetail("\"off\" cannot be combined with a lane.");
			return false;
		}
		chosen |= lanes[i].lane;
	}
	result = compat_guc_alloc(sizeof(int));
	*result = chosen;
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
							   "How listeners are told of changes: a list of commit, worker and wal, or auto, or off.",
							   "All sessions of a server use the same lanes.",
							   &delivery_setting,
							   "auto",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_delivery, assign_delivery, NULL);
}

/* Is delivering up to the worker, by the setting? */
bool
delivery_by_worker(void)
{
	return (delivery_lanes & LANE_WORKER) != 0;
}

/* A worker to leave the scopes to, if it is to deliver them and can be had. */
static void
pin_worker(void)
{
	bool		refused = false;

	Assert(pinned_database == NULL);
	if (delivery_by_worker())
		pinned_database = waiting_begin_commit(&refused);
	if (refused)
		ereport(LOG,
				(errmsg("could not start the cache_notify worker, transactions deliver by themselves"),
				 errhint("Increase max_worker_processes, or cache_notify.max_workers.")));
}

static bool
commit_lane_needed(void)
{
	return (delivery_lanes & LANE_COMMIT) ||
		((delivery_lanes & LANE_WORKER) && pinned_database == NULL);
}

/* The tables' events are not told: their domains' change stands for them. */
static void
mark_events_incomplete(List *requests)
{
	ListCell   *lc;

	foreach(lc, requests)
		((DeliveryRequest *) lfirst(lc))->extra->events_incomplete = true;
}

/* Before the commit: leave the tables' events to the worker. */
static void
leave_events(List *requests)
{
	List	   *events = table_events();
	TransactionId xid = GetTopTransactionIdIfAny();

	if (events == NIL)
		return;
	if (waiting_add_events(pinned_database, events, xid))
		added_events = xid;
	else
		mark_events_incomplete(requests);
}

/* The same for messages, which the worker finds in a table. */
static void
leave_messages(List *messages)
{
	if (messages == NIL)
		return;
	owed_add_messages(messages);
	owed_at_commit = true;
}

/*
 * The requests for what these ScopeChanges changed and anybody is told of:
 * definitions, and what is not ours.
 */
static List *
requests_of(List *changes)
{
	DeliveryRequest *request = palloc(list_length(changes) *
									  sizeof(DeliveryRequest));
	List	   *requests = NIL;
	ListCell   *lc;

	foreach(lc, changes)
	{
		ScopeChange *change = lfirst(lc);

		if (is_internal_domain(change->domain->name) &&
			!is_definition_domain(change->domain->name))
			continue;
		request->domain = change->domain;
		request->counter = change->counter;
		request->bumps = change->bumps;
		request->xid = 0;
		request->extra = &change->extra;
		request->former = NULL;
		requests = lappend(requests, request++);
	}
	return requests;
}

/* Scopes for the channels that this transaction takes away. */
static List *
former_requests(void)
{
	return delivery_lanes & (LANE_COMMIT | LANE_WORKER) ?
		route_former_requests() : NIL;
}

/*
 * Before the commit: deliver what the transaction changed; its counters are
 * written.  changes is what change_set_pending() returned.
 */
void
delivery_pre_commit(CounterTable *table, List *changes)
{
	List	   *former = former_requests();
	List	   *messages = schema_messages();
	List	   *requests = requests_of(changes);

	pin_worker();
	if (former != NIL)
	{
		owed_add(former);
		owed_at_commit = true;
		CommandCounterIncrement();	/* for taking it at once */
	}
	FAULT_POINT("pinned");
	if (commit_lane_needed())
	{
		if (requests != NIL || messages != NIL || owed_at_commit)
			notify_at_commit(table, table_events(), requests, messages);
	}
	else if (pinned_database != NULL)
	{
		leave_events(requests);
		leave_messages(messages);
	}
	if (delivery_lanes & LANE_WAL)
	{
		if (requests != NIL)
			wal_write_requests(table, requests);
		wal_write_messages(messages);
	}
	committed_requests = requests;
	post_commit = true;
}

/*
 * Before PREPARE TRANSACTION.  NOTIFY cannot be prepared, and at COMMIT
 * PREPARED this backend may be gone: owe it.  A WAL message can be prepared.
 */
void
delivery_pre_prepare(CounterTable *table, List *changes)
{
	List	   *messages = schema_messages();
	List	   *requests = requests_of(changes);

	if (delivery_lanes & (LANE_COMMIT | LANE_WORKER))
	{
		owed_add(list_concat_copy(requests, former_requests()));
		owed_add_messages(messages);
	}
	if (delivery_lanes & LANE_WAL)
	{
		wal_write_requests(table, requests);
		wal_write_messages(messages);
	}
}

/* This transaction committed a prepared one, and delivers what that owed. */
void
delivery_owed_at_commit(void)
{
	if (delivery_lanes & (LANE_COMMIT | LANE_WORKER))
		owed_at_commit = true;
}

/* Is there something to deliver though nothing has changed? */
bool
delivery_due(void)
{
	return owed_at_commit;
}

/* Count for the statistics what has been committed, but not definitions. */
static void
count_changes(void)
{
	int64		bumps = 0;
	int64		scopes = 0;
	ListCell   *lc;

	foreach(lc, committed_requests)
	{
		DeliveryRequest *request = lfirst(lc);

		if (!is_internal_domain(request->domain->name))
		{
			bumps += request->bumps;
			scopes++;
		}
	}
	waiting_count(pinned_database, bumps, change_set_rows_seen,
				  commit_lane_needed() ? scopes : 0);
}

/* After the commit, where nothing may fail. */
void
delivery_post_commit(void)
{
	if (post_commit)
		FAULT_POINT("post_commit");
	if (post_commit && waiting_available())
	{
		if (delivery_lanes & (LANE_COMMIT | LANE_WORKER))
			waiting_add_scopes(pinned_database, committed_requests,
							   U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
		if (owed_at_commit && pinned_database != NULL)
			waiting_add_owed(pinned_database);
		count_changes();
	}
	added_events = InvalidTransactionId;
	delivery_end_transaction();
}

/* The transaction has ended, however it did. */
void
delivery_end_transaction(void)
{
	if (TransactionIdIsValid(added_events))
		waiting_drop_events(pinned_database, added_events);
	added_events = InvalidTransactionId;
	if (pinned_database != NULL)
		waiting_end_commit(pinned_database);
	pinned_database = NULL;
	post_commit = false;
	owed_at_commit = false;
	committed_requests = NIL;
	route_end_transaction();
}

/*
 * delivery_problem() returns text: why the lanes cannot do what the setting
 * says; NULL: they can, or nobody has tried since the server started.
 */
Datum
cache_notify_delivery_problem(PG_FUNCTION_ARGS)
{
	const char *worker = delivery_by_worker() ? waiting_worker_problem() : NULL;

	if (RecoveryInProgress())
		PG_RETURN_NULL();		/* nothing is delivered here */
	if (worker != NULL && (waiting_available() || !(delivery_lanes & LANE_AUTO)))
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("cache_notify.delivery is %s, and there is no worker: %s",
												  delivery_setting, worker)));
	if ((delivery_lanes & LANE_WAL) && !XLogLogicalInfoActive())
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("cache_notify.delivery is %s, and wal_level is not logical: nobody can read the messages",
												  delivery_setting)));
	PG_RETURN_NULL();
}

/*
 * lane_in_effect(OUT lane text, OUT reason text) returns record: what the next
 * commit will do, as far as anybody can say, and why if that is not what is set.
 */
Datum
cache_notify_lane_in_effect(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {false, true};
	const char *reason = NULL;
	int			effective = delivery_lanes;
	StringInfoData lane;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (delivery_by_worker() && waiting_refused())
	{
		effective = (effective & ~LANE_WORKER) | LANE_COMMIT;
		reason = waiting_available() ? "no worker could be started"
			: "the library is not preloaded";
	}

	initStringInfo(&lane);
	/* but for the first name, which stands for another one */
	for (int i = 1; i < lengthof(lanes); i++)
		if (effective & lanes[i].lane)
			appendStringInfo(&lane, "%s%s", lane.len > 0 ? ", " : "", lanes[i].name);
	values[0] = CStringGetTextDatum(lane.len > 0 ? lane.data : "off");
	if (reason != NULL)
	{
		values[1] = CStringGetTextDatum(reason);
		nulls[1] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
