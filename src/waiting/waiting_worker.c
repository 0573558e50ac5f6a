/*-------------------------------------------------------------------------
 *
 * waiting_worker.c
 *	  Which databases have a worker, or need one.
 *
 * A worker is
 *
 *	  none		-> starting: a transaction is about to commit and wants one
 *	  starting	-> running: it has connected
 *				-> none: it cannot connect, and is given up
 *	  running	-> starting: it died, and the postmaster starts it again
 *				-> none: it is idle, or asked to go, and no transaction relies on it
 *
 * Functions that run after a commit raise no errors: that would be a PANIC.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "miscadmin.h"

/* A worker that has not come up after this many ms is not waited for. */
#define WORKER_START_TIMEOUT 10000

/* When no worker could be started, try again after this many ms. */
#define WORKER_RETRY_MS	1000

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

/* Find or make a slot; the lock is held exclusively.  NULL: none is free. */
static WaitingDatabase *
make_database(Oid database)
{
	WaitingDatabase *db = waiting_find_database(database);

	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (!OidIsValid(waiting_state->databases[i].oid))
			db = &waiting_state->databases[i];
	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (slot_is_unused(&waiting_state->databases[i]))
			db = &waiting_state->databases[i];
	if (db != NULL && db->oid != database)
	{
		db->oid = database;
		db->owed = true;		/* nobody knows: the worker will look */
		db->failures = 0;
		db->refused_at = 0;
		db->complained = db->unavailable = false;
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_write_u64(&db->stats[n], 0);
	}
	return db;
}

/* Is the worker there, or on its way and not overdue?  The lock is held. */
static bool
worker_is_expected(WaitingDatabase *db)
{
	return db->worker == WORKER_RUNNING ||
		(db->worker == WORKER_STARTING &&
		 !TimestampDifferenceExceeds(db->starting_since, GetCurrentTimestamp(),
									 WORKER_START_TIMEOUT));
}

/*
 * Start a worker if there is none.  Registering it under our lock leaves
 * nobody the time to rely on a worker that then cannot be started.  The lock
 * is held exclusively.
 */
static void
start_worker(WaitingDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();

	if (db->worker != WORKER_NONE ||
		!TimestampDifferenceExceeds(db->refused_at, now, WORKER_RETRY_MS))
		return;
	if (start_function(db->oid))
	{
		db->worker = WORKER_STARTING;
		db->starting_since = now;
		db->stop = false;
	}
	else
	{
		db->refused_at = now;
		db->unavailable = true;
	}
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

	*refused = false;
	if (waiting_state == NULL)
		return NULL;
	LWLockAcquire(waiting_state->lock, LW_SHARED);
	db = waiting_find_database(MyDatabaseId);
	if (db != NULL && db->worker == WORKER_RUNNING && !db->stop)
	{
		pg_atomic_fetch_add_u32(&db->committing, 1);
		LWLockRelease(waiting_state->lock);
		return db;
	}
	if (db != NULL && db->worker == WORKER_NONE &&
		!TimestampDifferenceExceeds(db->refused_at, GetCurrentTimestamp(),
									WORKER_RETRY_MS))
	{
		LWLockRelease(waiting_state->lock);
		return NULL;
	}
	LWLockRelease(waiting_state->lock);

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = make_database(MyDatabaseId);
	if (db != NULL)
	{
		start_worker(db);
		if (worker_is_expected(db))
			pg_atomic_fetch_add_u32(&db->committing, 1);
		else
		{
			*refused = db->worker == WORKER_NONE && !db->complained;
			db->complained |= *refused;
			db = NULL;
		}
	}
	LWLockRelease(waiting_state->lock);
	return db;
}

void
waiting_end_commit(WaitingDatabase *db)
{
	pg_atomic_fetch_sub_u32(&db->committing, 1);
}

/*
 * A worker begins.  False if nobody waits for it: another one is there, or
 * its database has been dropped.  *failures tells how many died before it.
 */
bool
waiting_worker_awaited(Oid database, int *failures)
{
	WaitingDatabase *db;
	bool		awaited;

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	db = waiting_find_database(database);
	awaited = db != NULL && db->worker == WORKER_STARTING;
	*failures = awaited ? db->failures : 0;
	LWLockRelease(waiting_state->lock);
	return awaited;
}

/* The worker is there, with this latch. */
WaitingDatabase *
waiting_worker_started(Oid database, Latch *latch)
{
	WaitingDatabase *db;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL && db->worker != WORKER_STARTING)
		db = NULL;				/* another one was faster */
	if (db != NULL)
	{
		db->worker = WORKER_RUNNING;
		db->worker_pid = MyProcPid;
		db->latch = latch;
		db->owed = true;		/* prepared before a restart, perhaps */
		db->complained = db->unavailable = false;
	}
	LWLockRelease(waiting_state->lock);
	return db;
}

/*
 * The worker wants to go, as it has nothing to do or was asked to.  False if
 * a transaction relies on it or, unless it was asked, work has come in: then
 * it must stay.
 */
bool
waiting_worker_may_exit(WaitingDatabase *db)
{
	bool		may_exit;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	may_exit = (db->stop || !waiting_has_work(db)) &&
		pg_atomic_read_u32(&db->committing) == 0;
	if (may_exit)
	{
		db->worker = WORKER_NONE;
		db->worker_pid = 0;
		db->latch = NULL;
	}
	LWLockRelease(waiting_state->lock);
	return may_exit;
}

/*
 * The worker dies, before or after it has started to work.  The postmaster
 * will start it again, and keys can wait for that.
 */
void
waiting_worker_died(Oid database, bool started)
{
	WaitingDatabase *db;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL && db->worker == (started ? WORKER_RUNNING : WORKER_STARTING))
	{
		db->worker = WORKER_STARTING;
		db->starting_since = GetCurrentTimestamp();
		db->worker_pid = 0;
		db->latch = NULL;
		db->failures++;
		if (started)
			pg_atomic_fetch_add_u64(&db->stats[STAT_WORKER_RESTARTS], 1);
	}
	LWLockRelease(waiting_state->lock);
}


/*
 * No worker can connect to this database, however often the postmaster tries.
 * A reset stands for its keys, should there ever be one that can.
 */
void
waiting_give_up(Oid database)
{
	WaitingDatabase *db;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL && db->worker == WORKER_STARTING)
	{
		waiting_free_pending(db);
		waiting_free_events(db);
		db->reset = true;
		db->worker = WORKER_NONE;
		db->refused_at = GetCurrentTimestamp();
		db->unavailable = true;
		db->failures = 0;
	}
	LWLockRelease(waiting_state->lock);
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
	if (db != NULL && db->worker != WORKER_NONE)
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
		db->worker = WORKER_NONE;
		db->oid = InvalidOid;
	}
	LWLockRelease(waiting_state->lock);
}

/* Has somebody asked the worker to go? */
bool
waiting_stop_wanted(WaitingDatabase *db)
{
	return db->stop;
}

/* How many workers have died in a row. */
int
waiting_failures(WaitingDatabase *db)
{
	return db->failures;
}

/* The worker has delivered: what its predecessors died of is over. */
void
waiting_worker_succeeded(WaitingDatabase *db)
{
	db->failures = 0;
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
	if (db != NULL && db->unavailable)
		problem = "none could be started, see max_worker_processes and the server's log";
	else if (db != NULL && db->failures > 0)
		problem = "it has died and not delivered since, see the server's log";
	LWLockRelease(waiting_state->lock);
	return problem;
}
