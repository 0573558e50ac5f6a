/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  Shared memory: which databases have a worker, or need one.
 *
 * Memory is fixed when the server starts: a few databases, the set of keys
 * that wait for their workers (shared_set.c), and the table events that do
 * (shared_event.c).
 *
 * Locking: one LWLock for everything here and in those two.  It is held
 * for no longer than it takes to go over one transaction's keys.  Functions
 * that run after a commit raise no errors: that would be a PANIC.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "worker/shared.h"

#define DEFAULT_SHARED_KEYS 8192
#define MIN_SHARED_KEYS		16
#define MAX_SHARED_KEYS		1048576
#define LOCK_TRANCHE		"cache_notify"

static int	shared_keys = DEFAULT_SHARED_KEYS;

SharedState *shared_state = NULL;	/* for those who include shared.h */

/* This backend's place in shared_state->databases, or -1 if it has to be found. */
static int	my_slot = -1;

static shmem_startup_hook_type previous_startup_hook = NULL;
#if HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type previous_request_hook = NULL;
#endif

static Size
shared_size(void)
{
	Size		size = offsetof(SharedState, keys);

	size = add_size(size, mul_size(shared_keys, sizeof(SharedKey)));
	size = add_size(size, mul_size(shared_keys, sizeof(SharedEvent)));
	size = add_size(size, mul_size(shared_keys, sizeof(int)));
	return MAXALIGN(size);
}

static void
request_memory(void)
{
#if HAVE_SHMEM_REQUEST_HOOK
	if (previous_request_hook)
		previous_request_hook();
#endif
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(LOCK_TRANCHE, 1);
}

static void
initialize_state(void)
{
	memset(shared_state, 0, shared_size());
	shared_state->lock = &GetNamedLWLockTranche(LOCK_TRANCHE)->lock;
	shared_state->nkeys = shared_keys;
	for (int i = 0; i < shared_keys; i++)
	{
		shared_state->keys[i].next = i + 1 < shared_keys ? i + 1 : NO_KEY;
		pg_atomic_init_u64(&shared_state->keys[i].last_xid, 0);
		shared_events(shared_state)[i].next = i + 1 < shared_keys ? i + 1 : NO_KEY;
		shared_buckets(shared_state)[i] = NO_KEY;
	}
	shared_state->first_free = shared_state->first_free_event = 0;
	shared_state->free_events = shared_keys;
	for (int i = 0; i < NUM_SHARED_ROW_HINTS; i++)
		pg_atomic_init_u64(&shared_state->row_hints[i], 0);
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		SharedDatabase *db = &shared_state->databases[i];

		db->first_pending = db->first_taken = NO_KEY;
		db->first_event = db->last_event = NO_KEY;
		pg_atomic_init_u32(&db->sleeping, 0);
		pg_atomic_init_u32(&db->committing, 0);
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_init_u64(&db->stats[n], 0);
	}
}

static void
attach_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared_state = ShmemInitStruct("cache_notify", shared_size(), &found);
	if (!found)
		initialize_state();
	LWLockRelease(AddinShmemInitLock);
}

/* Called from _PG_init(); without preloading there is no set and no worker. */
void
shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("cache_notify.shared_keys",
							"Keys, and as many table events, that can wait for the workers at the same time, in all databases.",
							"When they do not fit, listeners are told to drop everything.",
							&shared_keys,
							DEFAULT_SHARED_KEYS, MIN_SHARED_KEYS, MAX_SHARED_KEYS,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
#if HAVE_SHMEM_REQUEST_HOOK
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
#else
	request_memory();
#endif
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

bool
shared_available(void)
{
	return shared_state != NULL;
}

LWLock *
shared_lock(void)
{
	return shared_state->lock;
}

/* ------------------------------------------------------------- databases */

static bool
slot_is_unused(SharedDatabase *db)
{
	return db->worker == WORKER_NONE &&
		db->first_pending == NO_KEY && db->first_taken == NO_KEY &&
		db->first_event == NO_KEY &&
		!db->reset && pg_atomic_read_u32(&db->committing) == 0;
}

/* Find a database's slot; the lock is held, in whatever mode. */
SharedDatabase *
shared_find_database(Oid database)
{
	if (my_slot >= 0 && shared_state->databases[my_slot].oid == database)
		return &shared_state->databases[my_slot];
	for (int i = 0; i < MAX_DATABASES; i++)
		if (shared_state->databases[i].oid == database)
		{
			if (database == MyDatabaseId)
				my_slot = i;
			return &shared_state->databases[i];
		}
	return NULL;
}

/* Find or make a slot; the lock is held exclusively.  NULL: none is free. */
static SharedDatabase *
make_database(Oid database)
{
	SharedDatabase *db = shared_find_database(database);

	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (!OidIsValid(shared_state->databases[i].oid))
			db = &shared_state->databases[i];
	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (slot_is_unused(&shared_state->databases[i]))
			db = &shared_state->databases[i];
	if (db != NULL && db->oid != database)
	{
		db->oid = database;
		db->owed = true;		/* nobody knows: the worker will look */
		db->failures = 0;
		db->refused_at = 0;
		db->complained = false;
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_write_u64(&db->stats[n], 0);
	}
	return db;
}

/* The slot of this database if it has one.  Its address never changes. */
SharedDatabase *
shared_database(Oid database)
{
	SharedDatabase *db;

	if (shared_state == NULL)
		return NULL;
	LWLockAcquire(shared_state->lock, LW_SHARED);
	db = shared_find_database(database);
	LWLockRelease(shared_state->lock);
	return db;
}

/* Is the worker there, or on its way and not overdue?  The lock is held. */
static bool
worker_is_expected(SharedDatabase *db)
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
start_worker(SharedDatabase *db, bool (*start) (Oid))
{
	TimestampTz now = GetCurrentTimestamp();

	if (db->worker != WORKER_NONE ||
		!TimestampDifferenceExceeds(db->refused_at, now, WORKER_RETRY_MS))
		return;
	if (start(db->oid))
	{
		db->worker = WORKER_STARTING;
		db->starting_since = now;
		db->stop = false;
	}
	else
		db->refused_at = now;
}

/*
 * Before the commit: make sure that this database's worker will be there
 * after it.  Returns the slot, pinned until shared_end_commit(), or NULL if
 * there is no worker to be had; *refused says whether that is news to tell.
 */
SharedDatabase *
shared_begin_commit(bool (*start) (Oid), bool *refused)
{
	SharedDatabase *db;

	*refused = false;
	if (shared_state == NULL)
		return NULL;
	LWLockAcquire(shared_state->lock, LW_SHARED);
	db = shared_find_database(MyDatabaseId);
	if (db != NULL && db->worker == WORKER_RUNNING && !db->stop)
	{
		pg_atomic_fetch_add_u32(&db->committing, 1);
		LWLockRelease(shared_state->lock);
		return db;
	}
	if (db != NULL && db->worker == WORKER_NONE &&
		!TimestampDifferenceExceeds(db->refused_at, GetCurrentTimestamp(),
									WORKER_RETRY_MS))
	{
		LWLockRelease(shared_state->lock);
		return NULL;
	}
	LWLockRelease(shared_state->lock);

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = make_database(MyDatabaseId);
	if (db != NULL)
	{
		start_worker(db, start);
		if (worker_is_expected(db))
			pg_atomic_fetch_add_u32(&db->committing, 1);
		else
		{
			*refused = db->worker == WORKER_NONE && !db->complained;
			db->complained |= *refused;
			db = NULL;
		}
	}
	LWLockRelease(shared_state->lock);
	return db;
}

void
shared_end_commit(SharedDatabase *db)
{
	pg_atomic_fetch_sub_u32(&db->committing, 1);
}

/*
 * A worker begins.  False if nobody waits for it: another one is there, or
 * its database has been dropped.  *failures tells how many died before it.
 */
bool
shared_worker_awaited(Oid database, int *failures)
{
	SharedDatabase *db;
	bool		awaited;

	LWLockAcquire(shared_state->lock, LW_SHARED);
	db = shared_find_database(database);
	awaited = db != NULL && db->worker == WORKER_STARTING;
	*failures = awaited ? db->failures : 0;
	LWLockRelease(shared_state->lock);
	return awaited;
}

/* The worker is there, with this latch. */
SharedDatabase *
shared_worker_started(Oid database, Latch *latch)
{
	SharedDatabase *db;

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = shared_find_database(database);
	if (db != NULL && db->worker != WORKER_STARTING)
		db = NULL;				/* another one was faster */
	if (db != NULL)
	{
		db->worker = WORKER_RUNNING;
		db->worker_pid = MyProcPid;
		db->latch = latch;
		db->owed = true;		/* prepared before a restart, perhaps */
		db->complained = false;
	}
	LWLockRelease(shared_state->lock);
	return db;
}

/*
 * The worker wants to go, as it has nothing to do or was asked to.  False if
 * a transaction relies on it or, unless it was asked, work has come in: then
 * it must stay.
 */
bool
shared_worker_may_exit(SharedDatabase *db)
{
	bool		may_exit;

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	may_exit = (db->stop || !shared_has_work(db)) &&
		pg_atomic_read_u32(&db->committing) == 0;
	if (may_exit)
	{
		db->worker = WORKER_NONE;
		db->worker_pid = 0;
		db->latch = NULL;
	}
	LWLockRelease(shared_state->lock);
	return may_exit;
}

/*
 * The worker dies, before or after it has started to work.  The postmaster
 * will start it again, and keys can wait for that.
 */
void
shared_worker_died(Oid database, bool started)
{
	SharedDatabase *db;

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = shared_find_database(database);
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
	LWLockRelease(shared_state->lock);
}


/*
 * No worker can connect to this database, however often the postmaster tries.
 * A reset stands for its keys, should there ever be one that can.
 */
void
shared_give_up(Oid database)
{
	SharedDatabase *db;

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = shared_find_database(database);
	if (db != NULL && db->worker == WORKER_STARTING)
	{
		shared_free_pending(db);
		shared_free_events(db);
		db->reset = true;
		db->worker = WORKER_NONE;
		db->refused_at = GetCurrentTimestamp();
		db->failures = 0;
	}
	LWLockRelease(shared_state->lock);
}

/* Ask the worker of a database to go.  False if it has none. */
bool
shared_stop_worker(Oid database)
{
	SharedDatabase *db;
	bool		running = false;

	if (shared_state == NULL)
		return false;
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = shared_find_database(database);
	if (db != NULL && db->worker != WORKER_NONE)
	{
		running = true;
		db->stop = true;
		if (db->latch)
			SetLatch(db->latch);
	}
	LWLockRelease(shared_state->lock);
	return running;
}

/*
 * The command for which the worker was asked to go is over.  What came in
 * meanwhile, or could not be delivered, needs a worker again.
 */
void
shared_resume_worker(Oid database, bool (*start) (Oid))
{
	SharedDatabase *db;

	if (shared_state == NULL)
		return;
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = shared_find_database(database);
	if (db != NULL)
	{
		db->stop = false;
		if (db->first_pending != NO_KEY || db->reset)
			start_worker(db, start);
	}
	LWLockRelease(shared_state->lock);
}

/* A database has been dropped. */
void
shared_forget_database(Oid database)
{
	SharedDatabase *db;

	if (shared_state == NULL)
		return;
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db = shared_find_database(database);
	if (db != NULL)
	{
		shared_free_pending(db);
		shared_free_events(db);
		db->reset = db->owed = false;
		db->worker = WORKER_NONE;
		db->oid = InvalidOid;
	}
	LWLockRelease(shared_state->lock);
}
