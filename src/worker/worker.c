/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The background worker that delivers, so that no commit waits for it.
 *
 * One worker per database that has something to deliver.  A transaction that
 * is about to commit starts it if need be; it goes when it has been idle for
 * a while, and when somebody wants to drop the database.
 *
 * A cycle: take the pending scopes, take a snapshot, read the counters, queue
 * one NOTIFY per scope, commit.  The snapshot is later than every commit whose
 * scopes were taken, so a thousand commits on one scope are one notification with
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
 * again in the same slot, so its scopes do not depend on a slot being free.  It
 * goes for good with exit code 0: when it is idle, asked to, or nobody waits
 * for it (the database has been dropped).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_inside.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "delivery/delivery.h"

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

/* While others wait for their turn: how often to look whether ours is over. */
#define TURN_POLL_MS		50

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

/* Setting. */
static int	coalesce_ms = 0;

/*
 * Of the worker, for as long as the process lives: NULL, or 0, before it has begun
 * to work.  cycle_context is reset after each cycle.
 */
static WaitingDatabase *my_database = NULL;
static MemoryContext cycle_context;
static TimestampTz last_begin = 0;	/* of a cycle */
static TimestampTz last_end = 0;
static int	load_cycles = 0;	/* in a row with hardly a gap */
static bool has_left = false;	/* what was its database's is another worker's */
static emit_log_hook_type next_log_hook = NULL;

/* False if there is no free slot.  Raises no errors; the lock of what waits may be held. */
static bool
register_worker(Oid database)
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
	waiting_start_with(register_worker);
}

/*
 * Exit callback, after an open transaction was aborted: what was taken goes
 * back, for the worker that the postmaster starts next.
 */
static void
die_gracefully(int code, Datum database)
{
	if (code == 0 || has_left)
		return;					/* nothing is taken */
	if (my_database != NULL)
		waiting_finish(my_database, true);
	waiting_worker_died(DatumGetObjectId(database), my_database != NULL);
	my_database = NULL;
}

/*
 * Being told to stop is no error, wherever the worker is at that moment, nor is a
 * database that was dropped while the worker was being started for it.  The server
 * reports both as FATAL; the postmaster says anyway that the process has ended.
 */
static void
leave_out_ordinary_ends(ErrorData *edata)
{
	if (edata->elevel == FATAL &&
		(edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		 edata->sqlerrcode == ERRCODE_UNDEFINED_DATABASE))
		edata->output_to_server = false;
	else if (next_log_hook != NULL)
		next_log_hook(edata);
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
 * is set), unless the worker is to stop or its turn is over.
 */
static void
wait_until(TimestampTz time)
{
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														   time);

		if (left <= 0 ||
			(my_database != NULL && (waiting_stop_wanted(my_database) ||
									 waiting_turn_over(my_database))))
			return;
		wait_ms(Min(left, TURN_POLL_MS));
	}
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

/* Queue what was taken. */
static NotifyResult
send_taken(const WaitingTaken *taken)
{
	List	   *events = waiting_take_events(my_database, GetLatestSnapshot());
	CounterTable *table = counter_open(AccessShareLock);
	NotifyResult result;

	if (table == NULL)
		return NOTIFY_DONE;
	FAULT_POINT("worker_taken");
	counter_tell_many_rows(table, compact_remember);
	result = notify_committed(table, events, taken->requests, taken->reset,
							  taken->owed);
	counter_close(table, NoLock);
	return result;
}

/*
 * Queue a reset in the place of what was taken, which some workers have died
 * of: it is not looked at.  What is owed is deleted unread, but for the last
 * resort, where no table of ours is touched.
 */
static NotifyResult
send_reset(bool owed)
{
	bool		last_resort = waiting_failures(my_database) >= 2 * MAX_DELIVERY_FAILURES;
	CounterTable *table;
	NotifyResult result = NOTIFY_RESET;

	ereport(LOG,
			(errmsg("gave up deliveries that ended %d cache_notify workers in a row",
					waiting_failures(my_database)),
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
		result = notify_committed(table, NIL, NIL, true, false);
		counter_close(table, NoLock);
	}
	return result;
}

/* Deliver once. */
static NotifyResult
deliver(const WaitingTaken *taken, bool log_full)
{
	NotifyResult result;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "delivering notifications");
	MemoryContextSwitchTo(cycle_context);
	if (waiting_failures(my_database) < MAX_DELIVERY_FAILURES)
		result = send_taken(taken);
	else
		result = send_reset(taken->owed);
	FAULT_POINT("worker_queued");
	if (result == NOTIFY_NO_ROOM && log_full)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		log_full_queue();
		PopActiveSnapshot();
	}

	if (result != NOTIFY_NO_ROOM && load_cycles < LOAD_CYCLES)
		ForceSyncCommit();
	if (result != NOTIFY_NO_ROOM)
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	MemoryContextReset(cycle_context);
	cascade_end_transaction();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return result;
}

/* Take what is pending and deliver it.  False if there was nothing. */
static bool
run_cycle(void)
{
	static TimestampTz last_log = 0;	/* of the worker */
	WaitingTaken taken;
	NotifyResult result;
	int			nscopes;
	uint64		lag_us;
	bool		log_full;
	MemoryContext old = MemoryContextSwitchTo(cycle_context);

	taken = waiting_take(my_database);
	MemoryContextSwitchTo(old);
	if (taken.requests == NIL && !taken.reset && !taken.owed)
		return false;

	log_full = TimestampDifferenceExceeds(last_log, GetCurrentTimestamp(),
										  QUEUE_FULL_LOG_MS);
	nscopes = list_length(taken.requests);
	lag_us = GetCurrentTimestamp() - taken.since;
	result = deliver(&taken, log_full);
	if (result != NOTIFY_NO_ROOM)
	{
		FAULT_POINT("worker_sent");
		waiting_finish(my_database, false);
		waiting_events_delivered(my_database);
		if (nscopes > 0)
			waiting_count_delivered(my_database,
									result == NOTIFY_RESET ? 0 : nscopes, lag_us);
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

/* A command waits for the worker to go.  What is left then is the next one's. */
static Handover
stop(void)
{
	Handover	how;

	(void) run_cycle();
	how = waiting_worker_may_exit(my_database);
	if (how == HANDOVER_STAY)
		wait_ms(STOP_POLL_MS);
	return how;
}

/* There is nothing to do: sleep, or go if that has been so for long. */
static Handover
be_idle(TimestampTz idle_since)
{
	long		left = IDLE_EXIT_MS -
		TimestampDifferenceMilliseconds(idle_since, GetCurrentTimestamp());
	long		turn = waiting_turn_left(my_database);

	if (left <= 0 || !delivery_by_worker())
	{
		Handover	how = waiting_worker_may_exit(my_database);

		if (how != HANDOVER_STAY)
			return how;
	}
	if (compact_wait() >= 0)
		left = Min(left, compact_wait());
	if (bases_wait() >= 0)
		left = Min(left, bases_wait());
	left = Min(left, flush_last_commit());
	if (turn >= 0)
		left = Min(left, Max(turn, TURN_POLL_MS));
	wait_ms(Max(left, 1));
	return HANDOVER_STAY;
}

/*
 * Cycle after cycle, until there is nothing to do for long, or another lane has
 * taken over, or a command wants the database to itself, or other databases
 * want their turn: that ends after one cycle at least.
 */
static Handover
work(void)
{
	TimestampTz idle_since = GetCurrentTimestamp();
	bool		delivered = false;

	for (;;)
	{
		Handover	how = HANDOVER_STAY;

		CHECK_FOR_INTERRUPTS();
		if (waiting_stop_wanted(my_database))
		{
			how = stop();
			if (how != HANDOVER_STAY)
				return how;
			continue;
		}
		if (delivered && waiting_turn_over(my_database))
			how = waiting_worker_end_turn(my_database);
		if (how != HANDOVER_STAY)
			return how;
		if (compact_wait() == 0)
			compact_cooled();
		find_bases(idle_since);

		/* Not asleep meanwhile: nobody need wake us for what has to wait. */
		wait_until(TimestampTzPlusMilliseconds(last_begin, MIN_CYCLE_MS));
		if (waiting_lie_down(my_database))
		{
			how = be_idle(idle_since);
			if (how != HANDOVER_STAY)
				return how;
			continue;
		}

		if (coalesce_ms > 0)
			wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												   coalesce_ms));
		begin_cycle();
		if (run_cycle())
			idle_since = GetCurrentTimestamp();
		last_end = GetCurrentTimestamp();
		waiting_worker_succeeded(my_database);
		delivered = true;
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

/* Has a crash emptied the table cascade_rules?  See stored.c. */
static bool
rules_are_lost(void)
{
	Relation	rel = extension_open(EXTENSION_SCHEMA, "cascade_rules",
									 AccessShareLock);
	bool		empty;

	if (rel == NULL)
		return false;
	empty = RelationGetNumberOfBlocks(rel) == 0;
	relation_close(rel, NoLock);
	return empty && stored_entries("cascade_rule") != NIL;
}

/* What pg_upgrade has lost (state.c), and a crash. */
static void
put_right(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!state_is_hidden())
		hide_state();
	if (rules_are_lost() && SPI_connect() == SPI_OK_CONNECT)
	{
		(void) SPI_execute("SELECT " INTERNAL_SCHEMA ".refill_rules()", false, 0);
		SPI_finish();
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Connect to the database, and do its work. */
static Handover
work_for(Oid database, int failures)
{
	/* Runs after the server's own callback, which aborts a transaction. */
	before_shmem_exit(die_gracefully, ObjectIdGetDatum(database));
	if (failures > 1)
		wait_until(TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   Min((failures - 1) * FAILURE_WAIT_MS,
												   MAX_FAILURE_WAIT_MS)));

	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid,
											  BGWORKER_BYPASS_ALLOWCONN);
	pgstat_report_appname("cache_notify worker");

	ignore_database_settings();

	cycle_context = AllocSetContextCreate(TopMemoryContext,
										  "cache_notify delivery",
										  ALLOCSET_DEFAULT_SIZES);
	my_database = waiting_worker_started(database, MyLatch);
	put_right();
	return my_database != NULL ? work() : HANDOVER_RESTART;
}

/*
 * The postmaster starts a worker again in the same slot unless it ends with 0.
 * Then it looks once more for a database that is to have one.
 */
void
cache_notify_worker_main(Datum registered_for)
{
	Oid			database;
	int			failures;
	Handover	how;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	next_log_hook = emit_log_hook;
	emit_log_hook = leave_out_ordinary_ends;
	BackgroundWorkerUnblockSignals();

	database = waiting_claim_database(DatumGetObjectId(registered_for), &failures);
	if (!OidIsValid(database))
		proc_exit(0);
	how = failures > MAX_FAILURES ? waiting_give_up(database) :
		work_for(database, failures);
	has_left = true;
	proc_exit(how == HANDOVER_RESTART ? 1 : 0);
}
