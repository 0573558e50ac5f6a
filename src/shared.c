/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  The set of keys that wait for the worker to deliver them.
 *
 * A committed transaction puts its keys here; the worker of its database
 * (worker.c) takes them, delivers them, and then lets go of them.  A key that
 * is already waiting is not added again: the worker reads the counters after
 * it has taken the keys, so it will see this commit as well.
 *
 * Memory is fixed when the server starts.  When it is full, the database owes
 * its listeners a reset instead of single keys.
 *
 * Every key is in one of three states, two of them at once at most:
 *	  pending	on the database's pending list, waits to be taken
 *	  taken		on the database's taken list; the worker reads it without a
 *				lock, as only the worker takes it off
 *	  free		on the free list
 * A key that is committed again while it is taken becomes pending as well.
 * If the worker dies between taking and delivering, its exit callback puts
 * what was taken back.
 *
 * Locking: one LWLock.  Committing transactions whose keys are all pending,
 * the common case for a hot key, only take it in shared mode.  It is held for
 * no longer than it takes to go over one transaction's keys.  Functions that
 * run after the commit raise no errors: that would be a PANIC.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "shared.h"

#define DEFAULT_SHARED_KEYS 8192
#define MIN_SHARED_KEYS		16
#define MAX_SHARED_KEYS		1048576
#define LOCK_TRANCHE		"cache_notify"

static int	shared_keys = DEFAULT_SHARED_KEYS;

static SharedState *state = NULL;

/* This backend's place in state->databases, or -1 if it has to be found. */
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
	memset(state, 0, shared_size());
	state->lock = &GetNamedLWLockTranche(LOCK_TRANCHE)->lock;
	state->nkeys = shared_keys;
	for (int i = 0; i < shared_keys; i++)
	{
		state->keys[i].next = i + 1 < shared_keys ? i + 1 : NO_KEY;
		shared_buckets(state)[i] = NO_KEY;
	}
	state->first_free = 0;
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		SharedDatabase *db = &state->databases[i];

		db->first_pending = db->first_taken = NO_KEY;
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
	state = ShmemInitStruct("cache_notify", shared_size(), &found);
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
							"Keys that can wait for the worker at the same time, in all databases.",
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
	return state != NULL;
}

LWLock *
shared_lock(void)
{
	return state->lock;
}

/* ------------------------------------------------------------- databases */

static bool
slot_is_unused(SharedDatabase *db)
{
	return db->worker == WORKER_NONE &&
		db->first_pending == NO_KEY && db->first_taken == NO_KEY &&
		!db->reset && pg_atomic_read_u32(&db->committing) == 0;
}

/* Find a database's slot; the lock is held, in whatever mode. */
static SharedDatabase *
find_database(Oid database)
{
	if (my_slot >= 0 && state->databases[my_slot].oid == database)
		return &state->databases[my_slot];
	for (int i = 0; i < MAX_DATABASES; i++)
		if (state->databases[i].oid == database)
		{
			if (database == MyDatabaseId)
				my_slot = i;
			return &state->databases[i];
		}
	return NULL;
}

/* Find or make a slot; the lock is held exclusively.  NULL: none is free. */
static SharedDatabase *
make_database(Oid database)
{
	SharedDatabase *db = find_database(database);

	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (!OidIsValid(state->databases[i].oid))
			db = &state->databases[i];
	for (int i = 0; db == NULL && i < MAX_DATABASES; i++)
		if (slot_is_unused(&state->databases[i]))
			db = &state->databases[i];
	if (db != NULL && db->oid != database)
	{
		db->oid = database;
		db->owed = true;		/* nobody knows: the worker will look */
		db->failures = 0;
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

	if (state == NULL)
		return NULL;
	LWLockAcquire(state->lock, LW_SHARED);
	db = find_database(database);
	LWLockRelease(state->lock);
	return db;
}

/*
 * Before the commit: make sure that this database's worker will be there
 * after it.  Returns the slot, pinned until shared_end_commit(), or NULL if
 * there is none to be had.  *start is set if the caller has to start the
 * worker, and to report with shared_worker_not_started() if it could not.
 */
SharedDatabase *
shared_begin_commit(bool *start)
{
	SharedDatabase *db;

	*start = false;
	if (state == NULL)
		return NULL;
	LWLockAcquire(state->lock, LW_SHARED);
	db = find_database(MyDatabaseId);
	if (db != NULL && db->worker == WORKER_RUNNING && !db->stop)
	{
		pg_atomic_fetch_add_u32(&db->committing, 1);
		LWLockRelease(state->lock);
		return db;
	}
	LWLockRelease(state->lock);

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	db = make_database(MyDatabaseId);
	if (db != NULL)
	{
		pg_atomic_fetch_add_u32(&db->committing, 1);
		*start = shared_claim_start(db);
	}
	LWLockRelease(state->lock);
	return db;
}

/* Should the caller start a worker?  The lock is held exclusively. */
bool
shared_claim_start(SharedDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();

	if (db->worker == WORKER_RUNNING ||
		(db->worker == WORKER_STARTING &&
		 !TimestampDifferenceExceeds(db->starting_since, now,
									 WORKER_START_TIMEOUT)))
		return false;
	db->worker = WORKER_STARTING;
	db->starting_since = now;
	return true;
}

/* No worker slot was free.  Returns whether to say so: once. */
bool
shared_worker_not_started(SharedDatabase *db)
{
	bool		first;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (db->worker == WORKER_STARTING)
		db->worker = WORKER_NONE;
	first = !db->complained;
	db->complained = true;
	LWLockRelease(state->lock);
	return first;
}

void
shared_end_commit(SharedDatabase *db)
{
	pg_atomic_fetch_sub_u32(&db->committing, 1);
}

/* ------------------------------------------------------------------ keys */

static int *
bucket_of(uint32 hash)
{
	return &shared_buckets(state)[hash % state->nkeys];
}

static SharedKey *
find_key(Oid database, const ChangeKey *key)
{
	for (int i = *bucket_of(key->hash); i != NO_KEY; i = state->keys[i].next)
	{
		SharedKey  *k = &state->keys[i];

		if (k->hash == key->hash && k->database == database &&
			k->shared == (key->tenant == NULL) &&
			k->tenant_len == key->tenant_len &&
			memcmp(k->tenant, key->tenant ? key->tenant : "", key->tenant_len) == 0 &&
			strcmp(k->domain, key->domain->name) == 0)
			return k;
	}
	return NULL;
}

static SharedKey *
new_key(Oid database, const ChangeKey *key)
{
	int			index = state->first_free;
	int		   *bucket = bucket_of(key->hash);
	SharedKey  *k;

	if (index == NO_KEY)
		return NULL;
	k = &state->keys[index];
	state->first_free = k->next;
	k->next = *bucket;
	*bucket = index;

	k->database = database;
	k->hash = key->hash;
	k->pending = k->taken = false;
	k->shared = key->tenant == NULL;
	k->tenant_len = key->tenant_len;
	if (key->tenant != NULL)
		memcpy(k->tenant, key->tenant, key->tenant_len);
	k->tenant[k->tenant_len] = '\0';
	strlcpy(k->domain, key->domain->name, NAMEDATALEN);
	return k;
}

static void
free_key(SharedKey *k)
{
	int			index = k - state->keys;
	int		   *link = bucket_of(k->hash);

	while (*link != index)
		link = &state->keys[*link].next;
	*link = k->next;
	k->next = state->first_free;
	state->first_free = index;
}

static void
make_pending(SharedDatabase *db, SharedKey *k)
{
	k->pending = true;
	k->pending_since = GetCurrentTimestamp();
	k->extra = (ExtraFields) {0};
	k->next_pending = db->first_pending;
	db->first_pending = k - state->keys;
}

/* Are all keys pending, with nothing more to say of any of them? */
static bool
all_pending(Oid database, List *keys)
{
	ListCell   *lc;

	foreach(lc, keys)
	{
		ChangeKey  *key = lfirst(lc);
		SharedKey  *k;

		if (!key_is_pending(key))
			continue;
		k = find_key(database, key);
		if (k == NULL || !k->pending || key->extra.wanted ||
			(k->extra.wanted && !k->extra.all_keys))
			return false;
	}
	return true;
}

static void
add_key(SharedDatabase *db, const ChangeKey *key, uint64 xid)
{
	SharedKey  *k = find_key(db->oid, key);

	if (k == NULL)
		k = new_key(db->oid, key);
	if (k == NULL)
	{
		if (!db->reset)
			pg_atomic_fetch_add_u64(&db->stats[STAT_OVERFLOWS], 1);
		db->reset = true;
		return;
	}
	if (k->pending)
		pg_atomic_fetch_add_u64(&db->stats[STAT_COALESCED], 1);
	else
		make_pending(db, k);
	extra_merge(&k->extra, &key->extra);
	k->extra.xid = xid;
}

/* Wake the worker if it is asleep; only the first one after it lay down does. */
static void
wake_worker(SharedDatabase *db)
{
	Latch	   *latch;

	if (pg_atomic_read_u32(&db->sleeping) == 0 ||
		pg_atomic_exchange_u32(&db->sleeping, 0) == 0)
		return;
	latch = db->latch;
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * After the commit: these ChangeKeys wait for the worker.  Also called by
 * transactions of the commit lane, with db NULL: if a worker is there, its
 * database may hear of two lanes at the same time (the setting has just been
 * changed, or no worker could be started), and then only the worker's later
 * snapshot has the final say.
 */
void
shared_add_keys(SharedDatabase *db, List *keys, uint64 xid)
{
	ListCell   *lc;
	bool		done;

	if (state == NULL)
		return;
	LWLockAcquire(state->lock, LW_SHARED);
	if (db == NULL)
	{
		db = find_database(MyDatabaseId);
		if (db != NULL && db->worker == WORKER_NONE)
			db = NULL;			/* whoever starts one will see our commit */
	}
	done = db == NULL || all_pending(db->oid, keys);
	if (done && db != NULL)
		pg_atomic_fetch_add_u64(&db->stats[STAT_COALESCED], list_length(keys));
	LWLockRelease(state->lock);
	if (done)
		return;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	foreach(lc, keys)
	{
		ChangeKey  *key = lfirst(lc);

		if (key_is_pending(key))
			add_key(db, key, xid);
	}
	LWLockRelease(state->lock);
	wake_worker(db);
}

/* Count what a committed transaction did. */
void
shared_count(SharedDatabase *db, int64 bumps, int64 rows)
{
	if (db == NULL)
		db = shared_database(MyDatabaseId);
	if (db == NULL)
		return;
	pg_atomic_fetch_add_u64(&db->stats[STAT_BUMPS], bumps);
	if (rows > 0)
		pg_atomic_fetch_add_u64(&db->stats[STAT_ROWS], rows);
}

/* A prepared transaction was committed: the worker must look at owed.c. */
void
shared_add_owed(SharedDatabase *db)
{
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	db->owed = true;
	LWLockRelease(state->lock);
	wake_worker(db);
}

/* ------------------------------------------------------------ the worker */

/* How many keys of this database wait. */
int
shared_pending(SharedDatabase *db)
{
	int			n = 0;

	LWLockAcquire(state->lock, LW_SHARED);
	for (int i = db->first_pending; i != NO_KEY; i = state->keys[i].next_pending)
		n++;
	LWLockRelease(state->lock);
	return n;
}

/* Is there anything for the worker to do?  The lock is held. */
static bool
has_work(SharedDatabase *db)
{
	return db->first_pending != NO_KEY || db->reset || db->owed;
}

/* Say that the worker lies down.  False if there is work after all. */
bool
shared_lie_down(SharedDatabase *db)
{
	bool		idle;

	pg_atomic_write_u32(&db->sleeping, 1);
	LWLockAcquire(state->lock, LW_SHARED);
	idle = !has_work(db) && !db->stop;
	LWLockRelease(state->lock);
	if (!idle)
		pg_atomic_write_u32(&db->sleeping, 0);
	return idle;
}

/*
 * Take everything that is pending.  Returns the keys as SharedKeys, which the
 * worker may read without a lock until shared_finish().
 */
List *
shared_take(SharedDatabase *db, bool *reset, bool *owed)
{
	List	   *keys = NIL;

	Assert(db->first_taken == NO_KEY);
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	*reset = db->reset;
	*owed = db->owed;
	db->reset_taken = db->reset;
	db->owed_taken = db->owed;
	db->reset = db->owed = false;
	db->first_taken = db->first_pending;
	db->first_pending = NO_KEY;
	for (int i = db->first_taken; i != NO_KEY; i = state->keys[i].next_taken)
	{
		SharedKey  *k = &state->keys[i];

		k->pending = false;
		k->taken = true;
		k->taken_since = k->pending_since;
		k->taken_extra = k->extra;
		k->next_taken = k->next_pending;
	}
	LWLockRelease(state->lock);

	/* The list is ours now: no lock, so that running out of memory is safe. */
	for (int i = db->first_taken; i != NO_KEY; i = state->keys[i].next_taken)
		keys = lcons(&state->keys[i], keys);
	return keys;
}

/* What was taken is delivered, or (put_back) is not and goes back. */
void
shared_finish(SharedDatabase *db, bool put_back)
{
	int			next;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	for (int i = db->first_taken; i != NO_KEY; i = next)
	{
		SharedKey  *k = &state->keys[i];

		next = k->next_taken;
		k->taken = false;
		if (put_back && !k->pending)
			make_pending(db, k);
		if (put_back)
			extra_merge(&k->extra, &k->taken_extra);
		if (!k->pending)
			free_key(k);
	}
	db->first_taken = NO_KEY;
	if (put_back)
	{
		db->reset |= db->reset_taken;
		db->owed |= db->owed_taken;
	}
	db->reset_taken = db->owed_taken = false;
	LWLockRelease(state->lock);
}

/* The worker is there, with this latch. */
SharedDatabase *
shared_worker_started(Oid database, Latch *latch)
{
	SharedDatabase *db;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	db = make_database(database);
	if (db != NULL && db->worker == WORKER_RUNNING)
		db = NULL;				/* another one was faster */
	if (db != NULL)
	{
		db->worker = WORKER_RUNNING;
		db->worker_pid = MyProcPid;
		db->latch = latch;
		db->owed = true;		/* prepared before a restart, perhaps */
		db->stop = false;
	}
	LWLockRelease(state->lock);
	return db;
}

/*
 * The worker wants to go, as it has nothing to do.  False if work has come in
 * or is about to: then it must stay.
 */
bool
shared_worker_may_exit(SharedDatabase *db)
{
	bool		may_exit;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	may_exit = db->stop ||
		(!has_work(db) && pg_atomic_read_u32(&db->committing) == 0);
	if (may_exit)
	{
		db->worker = WORKER_NONE;
		db->worker_pid = 0;
		db->latch = NULL;
	}
	LWLockRelease(state->lock);
	return may_exit;
}

/*
 * The worker dies.  Returns whether a successor has to be started, which is
 * so if it died at its work; the caller has then claimed the start.
 */
bool
shared_worker_died(SharedDatabase *db)
{
	bool		successor = false;

	shared_finish(db, true);
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	if (db->worker == WORKER_RUNNING && db->worker_pid == MyProcPid)
	{
		db->worker = WORKER_NONE;
		db->worker_pid = 0;
		db->latch = NULL;
		db->failures++;
		if (!db->stop)
			successor = shared_claim_start(db);
	}
	LWLockRelease(state->lock);
	if (successor)
		pg_atomic_fetch_add_u64(&db->stats[STAT_WORKER_RESTARTS], 1);
	return successor;
}

/*
 * A worker could not connect to its database.  Most likely that is gone, and
 * its keys with it; if not, a reset stands for them.
 */
void
shared_worker_not_connected(Oid database)
{
	SharedDatabase *db;
	int			next;

	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	db = find_database(database);
	if (db != NULL && db->worker == WORKER_STARTING)
	{
		for (int i = db->first_pending; i != NO_KEY; i = next)
		{
			next = state->keys[i].next_pending;
			free_key(&state->keys[i]);
		}
		db->first_pending = NO_KEY;
		db->reset = true;
		db->worker = WORKER_NONE;
		db->oid = database;
	}
	LWLockRelease(state->lock);
}

/* Ask the worker of a database to go.  False if it has none. */
bool
shared_stop_worker(Oid database)
{
	SharedDatabase *db;
	bool		running = false;

	if (state == NULL)
		return false;
	LWLockAcquire(state->lock, LW_EXCLUSIVE);
	db = find_database(database);
	if (db != NULL && db->worker != WORKER_NONE)
	{
		running = true;
		db->stop = true;
		if (db->latch)
			SetLatch(db->latch);
	}
	LWLockRelease(state->lock);
	return running;
}
