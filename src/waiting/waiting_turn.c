/*-------------------------------------------------------------------------
 *
 * waiting_turn.c
 *	  How workers take turns: which database a worker begins to work for, and
 *	  who comes after it.
 *
 * What is committed while a database is queued waits for its worker.  So while
 * one is queued there must be a worker that is starting or running: it hands over
 * as soon as it is idle, or its turn is over.  It registers the next worker
 * before it goes or, if others have taken all the server's slots, has itself
 * started again: a worker that starts takes the database that it was meant for
 * or, if that has been taken, any other that is to have one.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "miscadmin.h"

/*
 * A worker's turn lasts so many ms while other databases are queued.  It costs a
 * process to give it to another.
 */
#define TURN_MS				100

/* The same if the next one needs the worker's own slot, which the server logs. */
#define TURN_IN_PLACE_MS	1000

/* A database that is to have a worker which no process has claimed.  The lock is held. */
static WaitingDatabase *
first_unclaimed(WorkerState state)
{
	WaitingDatabase *found = NULL;

	for (int i = 0; i < MAX_DATABASES; i++)
	{
		WaitingDatabase *db = &waiting_state->databases[i];

		if (OidIsValid(db->oid) && db->worker == state && !db->claimed &&
			(found == NULL || db->worker_since < found->worker_since))
			found = db;
	}
	return found;
}

/*
 * A worker begins that was registered for this database.  Returns the one that it
 * is to work for, InvalidOid if none waits for it: another worker was faster, or
 * the database has been dropped.  *failures tells how many died before it.
 */
Oid
waiting_claim_database(Oid database, int *failures)
{
	WaitingDatabase *db;
	Oid			claimed = InvalidOid;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db == NULL || db->worker != WORKER_STARTING || db->claimed)
		db = first_unclaimed(WORKER_STARTING);
	if (db == NULL && waiting_workers_at_work() < Max(waiting_worker_limit(), 1))
	{
		db = first_unclaimed(WORKER_QUEUED);
		if (db != NULL)
			waiting_set_worker(db, WORKER_STARTING);
	}
	if (db != NULL)
	{
		db->claimed = true;
		claimed = db->oid;
		*failures = db->failures;
	}
	LWLockRelease(waiting_state->lock);
	return claimed;
}

/* The worker is there, with this latch. */
WaitingDatabase *
waiting_worker_started(Oid database, Latch *latch)
{
	WaitingDatabase *db;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL && db->worker != WORKER_STARTING)
		db = NULL;				/* the database is about to be dropped */
	if (db != NULL)
	{
		waiting_set_worker(db, WORKER_RUNNING);
		db->worker_pid = MyProcPid;
		db->latch = latch;
		db->owed = true;		/* prepared before a restart, perhaps */
		db->unavailable = false;
	}
	LWLockRelease(waiting_state->lock);
	return db;
}

/* No process works for it any more.  The lock is held exclusively. */
static void
leave_database(WaitingDatabase *db, WorkerState state)
{
	waiting_set_worker(db, state);
	db->worker_pid = 0;
	db->latch = NULL;
}

/*
 * The worker leaves its database, and its place to the one that has been queued
 * for longest.  The lock is held exclusively.
 */
static Handover
hand_over(WaitingDatabase *db, WorkerState state)
{
	WaitingDatabase *next = first_unclaimed(WORKER_QUEUED);
	Handover	how = HANDOVER_DONE;

	if (next != NULL && waiting_workers_at_work() <= Max(waiting_worker_limit(), 1) &&
		!waiting_register_worker(next))
	{
		if (!db->stop &&
			!TimestampDifferenceExceeds(db->worker_since, GetCurrentTimestamp(),
										TURN_IN_PLACE_MS))
			return HANDOVER_STAY;
		how = HANDOVER_RESTART;
	}
	leave_database(db, state);
	return how;
}

/*
 * The worker wants to go, as it has nothing to do or was asked to.  It must stay
 * if a transaction relies on it or, unless it was asked, work has come in.
 */
Handover
waiting_worker_may_exit(WaitingDatabase *db)
{
	Handover	how = HANDOVER_STAY;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	if ((db->stop || !waiting_has_work(db)) &&
		pg_atomic_read_u32(&db->committing) == 0)
		how = hand_over(db, WORKER_NONE);
	LWLockRelease(waiting_state->lock);
	return how;
}

/* Is the worker to make room for others?  Without a lock: ask again soon. */
bool
waiting_turn_over(WaitingDatabase *db)
{
	return (waiting_state->nworkers[WORKER_QUEUED] > 0 ||
			waiting_workers_at_work() > waiting_worker_limit()) &&
		TimestampDifferenceExceeds(db->worker_since, GetCurrentTimestamp(),
								   TURN_MS);
}

/* How many ms the worker's turn still lasts if others are queued, -1 if none is. */
long
waiting_turn_left(WaitingDatabase *db)
{
	if (waiting_state->nworkers[WORKER_QUEUED] == 0)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   TimestampTzPlusMilliseconds(db->worker_since,
																	   TURN_MS)) + 1;
}

/*
 * The worker's turn is over.  If there is work, or will be, its database queues
 * again.  If there is a slot for one more worker after all, it may stay.
 */
Handover
waiting_worker_end_turn(WaitingDatabase *db)
{
	Handover	how = HANDOVER_STAY;
	WaitingDatabase *next;
	bool		queue;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	next = first_unclaimed(WORKER_QUEUED);
	queue = waiting_has_work(db) || pg_atomic_read_u32(&db->committing) > 0;
	if (waiting_turn_over(db) &&
		!(next != NULL && waiting_workers_at_work() < waiting_worker_limit() &&
		  waiting_register_worker(next)) &&
		(next != NULL || !queue || waiting_workers_at_work() > 1))
		how = hand_over(db, queue ? WORKER_QUEUED : WORKER_NONE);
	LWLockRelease(waiting_state->lock);
	return how;
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
		leave_database(db, WORKER_STARTING);
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
Handover
waiting_give_up(Oid database)
{
	WaitingDatabase *db;
	WaitingDatabase *next;
	Handover	how;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db = waiting_find_database(database);
	if (db != NULL && db->worker == WORKER_STARTING)
	{
		waiting_free_pending(db);
		waiting_free_events(db);
		db->reset = true;
		waiting_set_worker(db, WORKER_NONE);
		db->given_up_at = GetCurrentTimestamp();
		db->unavailable = true;
		db->failures = 0;
	}
	next = first_unclaimed(WORKER_QUEUED);
	how = next == NULL || waiting_register_worker(next) ? HANDOVER_DONE : HANDOVER_RESTART;
	LWLockRelease(waiting_state->lock);
	return how;
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
