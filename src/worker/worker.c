/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The background worker that delivers, so that no commit waits for it.
 *
 * One worker per database that has something to deliver.  A transaction that
 * is about to commit starts it if need be; it goes when it has been idle for
 * a while, and when somebody wants to drop the database.
 *
 * A cycle: take the pending keys, take a snapshot, read the counters, queue
 * one NOTIFY per key, commit.  The snapshot is later than every commit whose
 * keys were taken, so a thousand commits on one key are one notification with
 * the version they led to.  The only writes are deletions of owed deliveries
 * (owed.c), so losing the commit in a crash does no harm; the snapshot lasts
 * as long as the cycle, so vacuum is not held back.
 *
 * Pacing.  The first change after a quiet time goes out at once.  While
 * changes keep coming, cycles begin at least MIN_CYCLE_MS apart: a cycle
 * costs about as much as a small transaction, and on a busy machine it takes
 * that time from a writer.
 *
 * Vacuum.  NOTIFY gives each cycle a transaction ID.  While a commit is not on
 * disk, the server sets no hint bits for the 32 IDs around it, and a VACUUM
 * after a load would find no page all-visible.  So a cycle waits for its flush.
 * Under load it does not: the commits of writers flush ours with their own, and
 * the last one is flushed as soon as nobody else does.
 *
 * Counters that it found hot and that have cooled down are merged in between
 * (compact.c), each in a transaction of its own.
 *
 * If the worker dies, whenever and of whatever, the postmaster starts it
 * again in the same slot, so its keys do not depend on a slot being free.  It
 * goes for good with exit code 0: when it is idle, asked to, or nobody waits
 * for it (the database has been dropped).
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/fault.h"
#include "worker/waiting.h"

/* Least time between the beginnings of two cycles, in ms. */
#define MIN_CYCLE_MS	4

/* Under load: so many cycles in a row, with no more than so many ms between. */
#define LOAD_CYCLES		10
#define LOAD_GAP_MS		MIN_CYCLE_MS

/* Under load, the worker's last commit may not be on disk for so many ms. */
#define FLUSH_WAIT_MS	10

/* The worker goes after this long without work. */
#define IDLE_EXIT_MS	60000

/* How long to wait while the notification queue is full. */
#define QUEUE_FULL_WAIT_MS	200

/* How often to say so. */
#define QUEUE_FULL_LOG_MS	10000

/* When asked to go: how often to look whether a transaction relies on us. */
#define STOP_POLL_MS		10

/*
 * A worker that is started again is not delayed, but each time after that it
 * waits so much longer, up to a limit, and gives up if it cannot even connect.
 */
#define FAILURE_WAIT_MS		500
#define MAX_FAILURE_WAIT_MS 5000
#define MAX_FAILURES		20

/*
 * What has killed this many workers in a row is given up: a reset stands for
 * it.  After twice as many, not even the tables that say where to send it are
 * read.
 */
#define MAX_DELIVERY_FAILURES	3

PGDLLEXPORT void cache_notify_worker_main(Datum database);

static int	coalesce_ms = 0;

static WaitingDatabase *my_database = NULL;
static MemoryContext cycle_context;
static TimestampTz last_begin = 0;	/* of a cycle */
static TimestampTz last_end = 0;
static int	load_cycles = 0;	/* in a row with hardly a gap */

void
worker_init(void)
{
	DefineCustomIntVariable("cache_notify.coalesce",
							"How long the worker waits for further changes of the same scopes.",
							"Fewer notifications, each as much later.",
							&coalesce_ms,
							0, 0, 60000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* False if there is no free slot.  Raises no errors, and may hold our lock. */
bool
worker_register(Oid database)
{
	BackgroundWorker worker = {0};

	snprintf(worker.bgw_name, BGW_MAXLEN, "cache_notify worker for database %u",
			 database);
	snprintf(worker.bgw_type, BGW_MAXLEN, "cache_notify worker");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 0;	/* at once, unless it exits with 0 */
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "cache_notify");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "cache_notify_worker_main");
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * Before a commit: see that the worker is there or on its way.  Returns the
 * pinned database, or NULL if this transaction must deliver by itself.
 */
WaitingDatabase *
worker_begin_commit(void)
{
	bool		refused;
	WaitingDatabase *db = waiting_begin_commit(worker_register, &refused);

	if (refused)
		ereport(LOG,
				(errmsg("could not start the cache_notify worker, transactions deliver by themselves"),
				 errhint("Increase max_worker_processes.")));
	return db;
}

/*
 * Exit callback, after an open transaction was aborted: what was taken goes
 * back, for the worker that the postmaster starts next.
 */
static void
die_gracefully(int code, Datum database)
{
	if (code == 0)
		return;					/* it goes for good, and nothing is taken */
	if (my_database != NULL)
		waiting_finish(my_database, true);
	waiting_worker_died(DatumGetObjectId(database), my_database != NULL);
	my_database = NULL;
}

/* Sleep until the latch is set or the time is over. */
static void
wait_ms(long timeout)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * Wait until this time, whatever the latch says (a process begins with one that
 * is set), but for a stop.
 */
static void
wait_until(TimestampTz time)
{
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   time);

		if (left <= 0 || (my_database != NULL && my_database->stop))
			return;
		wait_ms(left);
	}
}

/* A taken key in the form that notify.c reads. */
static ScopeChange *
change_of_waiting_scope(WaitingScope *k)
{
	ScopeChange *scope = palloc0(sizeof(ScopeChange));

	scope->domain = domain_lookup(k->domain);
	scope->counter.name = scope->domain->name;
	scope->counter.tenant = k->shared ? NULL : k->tenant;
	scope->counter.tenant_len = k->tenant_len;
	scope->counter.hash = k->hash;
	scope->bumps = 1;
	scope->extra = k->taken_extra;
	scope->counter.index_place = k->taken_index_place;
	return scope;
}

/*
 * The table events that can be delivered, in the form that message.c reads.
 * Their transactions are committed, but one may not have told us yet that a
 * table has a new name: it does before it gives up the lock on its ID, so
 * waiting for that lock is short, and what reads the catalogs next knows.
 */
static List *
take_events(void)
{
	List	   *events = NIL;
	TransactionId ended = InvalidTransactionId;
	ListCell   *lc;

	foreach(lc, waiting_take_events(my_database, GetLatestSnapshot()))
	{
		WaitingEvent *e = lfirst(lc);
		TableEvent *event = palloc0(sizeof(TableEvent));

		if (e->xid != ended)
			XactLockTableWait(e->xid, NULL, NULL, XLTW_None);
		ended = e->xid;
		event->table = e->table;
		event->operations = e->operations;
		event->of_rows = e->of_rows;
		event->row = e->has_row ? e->row : NULL;
		events = lappend(events, event);
	}
	return events;
}

/*
 * Say which backend keeps the notification queue full.  The server does not
 * tell, but a listener falls behind in one of two ways: it sits in a
 * transaction, or its client does not read.
 */
static void
log_full_queue(void)
{
	int			pid = 0;

	if (SPI_connect() == SPI_OK_CONNECT)
	{
		if (SPI_execute("SELECT pid FROM pg_catalog.pg_stat_activity"
						" WHERE backend_type = 'client backend'"
						" AND (state LIKE 'idle in transaction%' OR wait_event = 'ClientWrite')"
						" ORDER BY state_change LIMIT 1", true, 1) == SPI_OK_SELECT &&
			SPI_processed == 1)
		{
			bool		isnull;

			pid = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1, &isnull));
		}
		SPI_finish();
	}
	ereport(LOG,
			(errmsg("notification queue is nearly full, notifications are held back"),
			 pid != 0 ?
			 errdetail("The listener with PID %d is the one that lags most, by the look of it.", pid) :
			 errdetail("A listener lags behind."),
			 errhint("End its transaction, or terminate it; its cache must then validate what it holds.")));
}

/* Queue what was taken.  False if the notification queue is full. */
static bool
send_taken(List *waiting_scopes, bool reset, bool owed)
{
	List	   *scopes = NIL;
	List	   *events;
	ListCell   *lc;
	CounterTable *table;
	bool		sent;

	foreach(lc, waiting_scopes)
		scopes = lappend(scopes, change_of_waiting_scope(lfirst(lc)));
	events = take_events();
	table = counter_open(AccessShareLock);
	if (table == NULL)
		return true;
	FAULT_POINT("worker_taken");
	counter_tell_many_rows(table, compact_remember);
	sent = notify_committed(table, events, scopes, reset, owed);
	counter_close(table, NoLock);
	return sent;
}

/*
 * Queue a reset in the place of what was taken, which some workers have died
 * of: it is not looked at.  What is owed is deleted unread, but for the last
 * resort, where no table of ours is touched.
 */
static bool
send_reset(bool owed)
{
	bool		last_resort = my_database->failures >= 2 * MAX_DELIVERY_FAILURES;
	CounterTable *table;
	bool		sent = true;

	ereport(LOG,
			(errmsg("gave up deliveries that ended %d cache_notify workers in a row",
					my_database->failures),
			 errdetail("Listeners are told to drop everything."),
			 errhint("The errors before this message say why.")));
	(void) waiting_take_events(my_database, GetLatestSnapshot());
	if (last_resort)
		return notify_default_reset();
	if (owed)
		owed_discard();
	table = counter_open(AccessShareLock);
	if (table != NULL)
	{
		sent = notify_committed(table, NIL, NIL, true, false);
		counter_close(table, NoLock);
	}
	return sent;
}

/* Deliver once.  False if the notification queue is full. */
static bool
deliver(List *waiting_scopes, bool reset, bool owed, bool log_full)
{
	bool		sent;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "delivering notifications");
	MemoryContextSwitchTo(cycle_context);
	if (my_database->failures < MAX_DELIVERY_FAILURES)
		sent = send_taken(waiting_scopes, reset, owed);
	else
		sent = send_reset(owed);
	FAULT_POINT("worker_queued");
	if (!sent && log_full)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		log_full_queue();
		PopActiveSnapshot();
	}

	if (sent && load_cycles < LOAD_CYCLES)
		ForceSyncCommit();
	if (sent)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	MemoryContextReset(cycle_context);
	cascade_end_transaction();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return sent;
}

/* When the first of these WaitingScopes was committed. */
static TimestampTz
oldest_change(List *scopes)
{
	TimestampTz oldest = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, scopes)
	{
		WaitingScope *k = lfirst(lc);

		oldest = Min(oldest, k->taken_since);
	}
	return oldest;
}

static void
count_delivered(int nkeys, uint64 lag_us)
{
	pg_atomic_fetch_add_u64(&my_database->stats[STAT_DELIVERED], nkeys);
	pg_atomic_fetch_add_u64(&my_database->stats[STAT_CYCLES], 1);
	pg_atomic_write_u64(&my_database->stats[STAT_LAST_LAG_US], lag_us);
	if (lag_us > pg_atomic_read_u64(&my_database->stats[STAT_MAX_LAG_US]))
		pg_atomic_write_u64(&my_database->stats[STAT_MAX_LAG_US], lag_us);
}

/* Take what is pending and deliver it.  False if there was nothing. */
static bool
run_cycle(void)
{
	static TimestampTz last_log = 0;
	List	   *scopes;
	int			nkeys;
	uint64		lag_us;
	bool		reset,
				owed,
				log_full;
	MemoryContext old = MemoryContextSwitchTo(cycle_context);

	scopes = waiting_take(my_database, &reset, &owed);
	MemoryContextSwitchTo(old);
	if (scopes == NIL && !reset && !owed)
		return false;

	log_full = TimestampDifferenceExceeds(last_log, GetCurrentTimestamp(),
										  QUEUE_FULL_LOG_MS);
	nkeys = list_length(scopes);
	lag_us = GetCurrentTimestamp() - oldest_change(scopes);
	if (deliver(scopes, reset, owed, log_full))
	{
		FAULT_POINT("worker_sent");
		waiting_finish(my_database, false);
		waiting_events_delivered(my_database);
		if (nkeys > 0)
			count_delivered(nkeys, lag_us);
	}
	else
	{
		if (log_full)
			last_log = GetCurrentTimestamp();
		waiting_finish(my_database, true);
		wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   QUEUE_FULL_WAIT_MS));
	}
	return true;
}

static void
begin_cycle(void)
{
	last_begin = GetCurrentTimestamp();
	if (TimestampDifferenceExceeds(last_end, last_begin, LOAD_GAP_MS))
		load_cycles = 0;
	else if (load_cycles < LOAD_CYCLES)
		load_cycles++;
}

/*
 * There is nothing to do: flush our last commit, if nobody else has done so in
 * the time that writers under load take.  Returns after how many ms to ask
 * again.
 */
static long
flush_last_commit(void)
{
	long		left = FLUSH_WAIT_MS -
		TimestampDifferenceMilliseconds(last_end, GetCurrentTimestamp());

	if (!XLogNeedsFlush(XactLastCommitEnd))
		return IDLE_EXIT_MS;
	if (left > 0)
		return left;
	XLogFlush(XactLastCommitEnd);
	return IDLE_EXIT_MS;
}

/*
 * Cycle after cycle, until there is nothing to do for long, or another lane has
 * taken over, or a command wants the database to itself.
 */
static void
work(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (my_database->stop)
		{
			/* A command waits.  What is left now is the next worker's. */
			(void) run_cycle();
			if (waiting_worker_may_exit(my_database))
				return;
			wait_ms(STOP_POLL_MS);
			continue;
		}
		if (compact_wait() == 0)
			compact_cooled();

		/* Not asleep meanwhile: nobody need wake us for what has to wait. */
		wait_until(TimestampTzPlusMilliseconds(last_begin, MIN_CYCLE_MS));
		if (waiting_lie_down(my_database))
		{
			long		left = IDLE_EXIT_MS -
				TimestampDifferenceMilliseconds(idle_since, GetCurrentTimestamp());

			if ((left <= 0 || !delivery_by_worker()) &&
				waiting_worker_may_exit(my_database))
				return;
			if (compact_wait() >= 0)
				left = Min(left, compact_wait());
			left = Min(left, flush_last_commit());
			wait_ms(Max(left, 1));
			continue;
		}

		if (coalesce_ms > 0)
			wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   coalesce_ms));
		begin_cycle();
		if (run_cycle())
			idle_since = GetCurrentTimestamp();
		last_end = GetCurrentTimestamp();
		my_database->failures = 0;
	}
}

/*
 * The worker is a superuser, and a database's owner gives it settings with
 * ALTER DATABASE: none of them may hinder it or, with a search_path, have it
 * call functions of his.
 */
static void
ignore_database_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", ""},
		{"synchronous_commit", "off"},	/* what it deletes may come back */
		{"lock_timeout", "0"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"}
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
	compat_no_transaction_timeout();
}

/* pg_upgrade has lost it: see state.c. */
static void
hide_state_again(void)
{
	StartTransactionCommand();
	if (!state_is_hidden())
		hide_state();
	CommitTransactionCommand();
}

void
cache_notify_worker_main(Datum database)
{
	Oid			oid = DatumGetObjectId(database);
	int			failures;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	if (!waiting_worker_awaited(oid, &failures))
		proc_exit(0);
	if (failures > MAX_FAILURES)
	{
		waiting_give_up(oid);
		proc_exit(0);
	}
	/* Runs after the server's own callback, which aborts a transaction. */
	before_shmem_exit(die_gracefully, database);
	if (failures > 1)
		wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   Min((failures - 1) * FAILURE_WAIT_MS,
												   MAX_FAILURE_WAIT_MS)));

	BackgroundWorkerInitializeConnectionByOid(oid, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	pgstat_report_appname("cache_notify worker");

	ignore_database_settings();

	cycle_context = AllocSetContextCreate(TopMemoryContext,
										  "cache_notify delivery",
										  ALLOCSET_DEFAULT_SIZES);
	my_database = waiting_worker_started(oid, MyLatch);
	hide_state_again();
	if (my_database != NULL)	/* else another one is there */
		work();
	proc_exit(0);
}
