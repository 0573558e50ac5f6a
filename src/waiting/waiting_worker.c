/*-------------------------------------------------------------------------
 *
 * waiting_worker.c
 *	  Which databases have a worker, or need one.
 *
 * The worker of a database is
 *
 *	  none		-> starting: a transaction is about to commit and wants one
 *				-> queued: so it is, and max_workers are at work for others
 *	  queued	-> starting: one of these has made room
 *				-> none: a command wants the database to itself
 *	  starting	-> running: it has connected
 *				-> none: it cannot connect, and is given up
 *	  running	-> starting: it died, and the postmaster starts it again
 *				-> queued: it has had its turn, and others are queued
 *				-> none: it is idle, or asked to go, and no transaction relies on it
 *
 * Here is the side of those who commit; waiting_turn.c has that of the workers, and
 * how they take turns.
 *
 * Functions that run after a commit raise no errors: that would be a PANIC.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "miscadmin.h"
#include "utils/guc.h"

/* A worker that has not come up after this many ms is not waited for. */
#define WORKER_START_TIMEOUT 10000

/*
 * When no worker could be started, the server tries again after so many ms, and
 * then after twice as many each time, up to a limit.
 */
#define WORKER_RETRY_MS		1000
#define MAX_WORKER_RETRY_MS 16000

/* How often to say so. */
#define COMPLAINT_MS		600000

/* There cannot be more than this many processes. */
#define MAX_WORKERS			262143

/* Setting: how many workers at the same time; -1: half of the server's slots. */
static int	max_workers = -1;

/*
 * Registers a worker for a database; false if there is no free slot.  Of the
 * process, set once by the worker's room.
 */
static bool (*start_function) (Oid database) = NULL;

void
waiting_start_with(bool (*start) (Oid database))
{
	start_function = start;
}

static bool
slot_is_unused(WaitingDatabase *db)
{
	return db->worker == WORKER_NONE &&
		db->first_pending == NO_SLOT && db->first_taken == NO_SLOT &&
		db->first_event == NO_SLOT &&
		!db->reset && pg_atomic_read_u32(&db->committing) == 0;
}

/* The lock is held exclusively. */
void
waiting_set_worker(WaitingDatabase *db, WorkerState state)
{
	waiting_state->nworkers[db->worker]--;
	waiting_state->nworkers[state]++;
	db->worker = state;
	db->worker_since = GetCurrentTimestamp();
	db->claimed = false;
}

/* How many there may be. */
int
waiting_worker_limit(void)
{
	return max_workers >= 0 ? max_workers : Max(max_worker_processes / 2, 1);
}

/* How many there are. */
int
waiting_workers_at_work(void)
{
	return waiting_state->nworkers[WORKER_STARTING] +
		waiting_state->nworkers[WORKER_RUNNING];
}

/* The slot that was without a worker for longest; NULL if all have one. */
static WaitingDatabase *
longest_unused(void)
{
	WaitingDatabase *found = NULL;

	for (int i = 0; i < MAX_DATABASES; i++)
	{
		WaitingDatabase *db = &waiting_state->databases[i];

		if (slot_is_unused(db) &&
			(found == NULL || db->worker_since < found->worker_since))
			found = db;
	}
	return found;
}

/* Find or make a slot; the lock is held exclusively.  NULL: none is free. */
WaitingDatabase *
waiting_make_database(Oid database)
{
	WaitingDatabase *db = waiting_find_database(database);

	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (!OidIsValid(waiting_state->databases[i].oid))
			db = &waiting_state->databases[i];
	if (db == NULL)
		db = longest_unused();
	if (db != NULL && db->oid != database)
	{
		int			slot = db - waiting_state->databases;

		waiting_state->ndatabases = Max(waiting_state->ndatabases, slot + 1);
		db->oid = database;
		db->owed = true;		/* nobody knows: the worker will look */
		db->failures = 0;
		db->unavailable = false;
		db->given_up_at = 0;
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_write_u64(&db->stats[n], 0);
	}
	return db;
}

/*
 * Is the worker there, or on its way, or its turn to come, and not overdue?  The
 * lock is held.
 */
static bool
worker_is_expected(WaitingDatabase *db)
{
	return db->worker == WORKER_RUNNING ||
		(db->worker != WORKER_NONE &&
		 !TimestampDifferenceExceeds(db->worker_since, GetCurrentTimestamp(),
									 WORKER_START_TIMEOUT));
}

/*
 * Could none be started for any database, or connect to this one, so lately that
 * there is no use in trying?  The lock is held.
 */
static bool
refused_lately(WaitingDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();
	int			wait = WORKER_RETRY_MS;

	for (int i = 1; i < waiting_state->refusals && wait < MAX_WORKER_RETRY_MS; i++)
		wait *= 2;
	return (waiting_state->refusals > 0 &&
			!TimestampDifferenceExceeds(waiting_state->refused_at, now, wait)) ||
		(db != NULL &&
		 !TimestampDifferenceExceeds(db->given_up_at, now, WORKER_RETRY_MS));
}

/* No worker could be started.  The lock is held exclusively. */
void
waiting_remember_refusal(void)
{
	waiting_state->refused_at = GetCurrentTimestamp();
	waiting_state->refusals++;
}

/* Register a worker.  The lock is held exclusively. */
bool
waiting_register_worker(WaitingDatabase *db)
{
	if (!start_function(db->oid))
		return false;
	waiting_set_worker(db, WORKER_STARTING);
	waiting_state->refusals = 0;
	db->stop = false;
	return true;
}

/* Wake the worker that sleeps and came first: it may hand over.  The lock is held. */
static void
wake_idle_worker(void)
{
	WaitingDatabase *idle = NULL;

	for (int i = 0; i < MAX_DATABASES; i++)
	{
		WaitingDatabase *db = &waiting_state->databases[i];

		if (db->worker == WORKER_RUNNING &&
			pg_atomic_read_u32(&db->sleeping) != 0 &&
			(idle == NULL || db->worker_since < idle->worker_since))
			idle = db;
	}
	if (idle != NULL)
		SetLatch(idle->latch);
}

/*
 * Start a worker, or have it queue, if there is none.  Registering it under our
 * lock leaves nobody the time to rely on a worker that then cannot be started.
 * The lock is held exclusively.
 */
static void
start_worker(WaitingDatabase *db)
{
	if (db->worker != WORKER_NONE || refused_lately(db))
		return;
	if (waiting_workers_at_work() < waiting_worker_limit() &&
		waiting_register_worker(db))
		return;
	if (waiting_workers_at_work() > 0 && waiting_worker_limit() > 0)
	{
		db->stop = false;
		waiting_set_worker(db, WORKER_QUEUED);
		wake_idle_worker();
	}
	else
	{
		waiting_remember_refusal();
		db->unavailable = true;
	}
}

/* Is it time to say that there is no worker?  The lock is held exclusively. */
static bool
is_news(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (waiting_state->complained_at != 0 &&
		!TimestampDifferenceExceeds(waiting_state->complained_at, now,
									COMPLAINT_MS))
		return false;
	waiting_state->complained_at = now;
	return true;
}

/*
 * Without the exclusive lock: is there a worker to rely on, or (*none) none to be
 * had?
 */
static WaitingDatabase *
pin_if_expected(bool *none)
{
	WaitingDatabase *db;

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	db = waiting_find_database(MyDatabaseId);
	if (db != NULL && db->worker != WORKER_NONE)
	{
		*none = !worker_is_expected(db);
		if (*none || db->stop)
			db = NULL;
		else
			pg_atomic_fetch_add_u32(&db->committing, 1);
	}
	else
	{
		*none = refused_lately(db);
		db = NULL;
	}
	LWLockRelease(waiting_state->lock);
	return db;
}

/*
 * Before the commit: make sure that this database's worker will be there
 * after it.  Returns the slot, pinned until waiting_end_commit(), or NULL if
 * there is no worker to be had; *refused says whether that is news to tell.
 */
WaitingDatabase *
waiting_begin_commit(bool *refused)
{
	WaitingDatabase *db;
	bool		none;

	*refused = false;
	if (waiting_state == NULL)
		return NULL;
	db = pin_if_expected(&none);
	if (db != NULL || none)
		return db;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_make_database(MyDatabaseId);
	if (db != NULL)
		start_worker(db);
	else
		waiting_remember_refusal();
	if (db != NULL && worker_is_expected(db))
		pg_atomic_fetch_add_u32(&db->committing, 1);
	else
	{
		db = NULL;
		*refused = is_news();
	}
	LWLockRelease(waiting_state->lock);
	return db;
}

/* Has a database (NULL: one that is not known) no worker, as none was to be had? */
static bool
none_to_be_had(const WaitingDatabase *db)
{
	return db != NULL && db->worker == WORKER_NONE &&
		(db->unavailable || waiting_state->refusals > 0);
}

/* Was no worker to be had when one was wanted last? */
bool
waiting_refused(void)
{
	bool		refused;

	if (waiting_state == NULL)
		return true;
	LWLockAcquire(waiting_state->lock, LW_SHARED);
	refused = none_to_be_had(waiting_find_database(MyDatabaseId));
	LWLockRelease(waiting_state->lock);
	return refused;
}

void
waiting_end_commit(WaitingDatabase *db)
{
	pg_atomic_fetch_sub_u32(&db->committing, 1);
}

/* Ask the worker of a database to go.  False if it has none. */
bool
waiting_stop_worker(Oid database)
{
	WaitingDatabase *db;
	bool		running = false;

	if (waiting_state == NULL)
		return false;
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL && db->worker == WORKER_QUEUED)
	{
		waiting_set_worker(db, WORKER_NONE);
		db->stop = true;
	}
	else if (db != NULL && db->worker != WORKER_NONE)
	{
		running = true;
		db->stop = true;
		if (db->latch)
			SetLatch(db->latch);
	}
	LWLockRelease(waiting_state->lock);
	return running;
}

/*
 * The command for which the worker was asked to go is over.  What came in
 * meanwhile, or could not be delivered, needs a worker again.
 */
void
waiting_resume_worker(Oid database)
{
	WaitingDatabase *db;

	if (waiting_state == NULL)
		return;
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL)
	{
		db->stop = false;
		if (db->first_pending != NO_SLOT || db->reset)
			start_worker(db);
	}
	LWLockRelease(waiting_state->lock);
}

/* A database has been dropped. */
void
waiting_forget_database(Oid database)
{
	WaitingDatabase *db;

	if (waiting_state == NULL)
		return;
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL)
	{
		waiting_free_pending(db);
		waiting_free_events(db);
		db->reset = db->owed = false;
		waiting_set_worker(db, WORKER_NONE);
		db->oid = InvalidOid;
	}
	LWLockRelease(waiting_state->lock);
}

void
waiting_worker_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("cache_notify.max_workers",
							"Workers that there can be at the same time, in all databases, which take turns if they are more.",
							"-1: half of max_worker_processes. 0: none, transactions deliver by themselves.",
							&max_workers,
							-1, -1, MAX_WORKERS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
}

/*
 * Why this database has no worker that delivers, though one was wanted; NULL: it
 * has one, or nobody has wanted one so far.  A constant.
 */
const char *
waiting_worker_problem(void)
{
	const char *problem = NULL;
	WaitingDatabase *db;

	if (waiting_state == NULL)
		return "the library is not in shared_preload_libraries";
	LWLockAcquire(waiting_state->lock, LW_SHARED);
	db = waiting_find_database(MyDatabaseId);
	if (none_to_be_had(db))
		problem = "none could be started, see max_worker_processes and the server's log";
	else if (db != NULL && db->failures > 0)
		problem = "it has died and not delivered since, see the server's log";
	LWLockRelease(waiting_state->lock);
	return problem;
}
