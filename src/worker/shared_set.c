/*-------------------------------------------------------------------------
 *
 * shared_set.c
 *	  The set of keys that wait for the worker to deliver them.
 *
 * A committed transaction puts its keys here; the worker of its database
 * (worker.c) takes them, delivers them, and then lets go of them.  A key that
 * is already waiting is not added again: the worker reads the counters after
 * it has taken the keys, so it will see this commit as well.
 *
 * When the memory is full, the database owes its listeners a reset instead of
 * single keys.
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
 * Locking: the LWLock of shared.c.  Committing transactions whose keys are all
 * pending, the common case for a hot key, only take it in shared mode.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "miscadmin.h"

#include "worker/shared.h"

/* Then a transaction queues for the lock like any other. */
#define MAX_ADD_TRIES	3

static int *
bucket_of(uint32 hash)
{
	return &shared_buckets(shared_state)[hash % shared_state->nkeys];
}

static SharedKey *
find_key(Oid database, const ChangeKey *key)
{
	for (int i = *bucket_of(key->hash); i != NO_KEY; i = shared_state->keys[i].next)
	{
		SharedKey  *k = &shared_state->keys[i];

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
	int			index = shared_state->first_free;
	int		   *bucket = bucket_of(key->hash);
	SharedKey  *k;

	if (index == NO_KEY)
		return NULL;
	k = &shared_state->keys[index];
	shared_state->first_free = k->next;
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
	int			index = k - shared_state->keys;
	int		   *link = bucket_of(k->hash);

	while (*link != index)
		link = &shared_state->keys[*link].next;
	*link = k->next;
	k->next = shared_state->first_free;
	shared_state->first_free = index;
}

static void
make_pending(SharedDatabase *db, SharedKey *k)
{
	k->pending = true;
	k->pending_since = GetCurrentTimestamp();
	memset(&k->extra, 0, sizeof(k->extra));
	k->place.lsn = InvalidXLogRecPtr;
	k->next_pending = db->first_pending;
	db->first_pending = k - shared_state->keys;
}

/*
 * Are all keys pending, with nothing more to say of any of them than who
 * changed it last?
 */
static bool
all_pending(Oid database, List *keys, uint64 xid)
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
			(key->extra.coarse && !k->extra.coarse) ||
			(k->extra.wanted && !k->extra.all_keys))
			return false;
		pg_atomic_write_u64(&k->last_xid, xid);
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
	if (key->place.lsn != InvalidXLogRecPtr)
		k->place = key->place;
	pg_atomic_write_u64(&k->last_xid, xid);
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
 * This database's slot if it has a worker; the lock is held.  Without one there
 * is nothing to leave to it: a worker that is started later sees our commit.
 */
static SharedDatabase *
database_with_worker(void)
{
	SharedDatabase *db = shared_find_database(MyDatabaseId);

	return db != NULL && db->worker != WORKER_NONE ? db : NULL;
}

/* Is there nothing to add for these keys?  See shared_add_keys(). */
static bool
nothing_to_add(SharedDatabase *db, List *keys, uint64 xid)
{
	bool		nothing;

	LWLockAcquire(shared_state->lock, LW_SHARED);
	if (db == NULL)
		db = database_with_worker();
	nothing = db == NULL || all_pending(db->oid, keys, xid);
	if (nothing && db != NULL)
		pg_atomic_fetch_add_u64(&db->stats[STAT_COALESCED], list_length(keys));
	LWLockRelease(shared_state->lock);
	return nothing;
}

/*
 * After the commit: these ChangeKeys wait for the worker.  Also called by
 * transactions of the commit lane, with db NULL: if a worker is there, its
 * database may hear of two lanes at the same time (the setting has just been
 * changed, or no worker could be started), and then only the worker's later
 * snapshot has the final say.
 *
 * Many transactions may come from one flush of the WAL with the same key.  Who
 * does not get the lock at once looks again when it is free: then another one
 * has most likely added the key.
 */
void
shared_add_keys(SharedDatabase *db, List *keys, uint64 xid)
{
	bool		pinned = db != NULL;
	ListCell   *lc;

	if (shared_state == NULL)
		return;
	for (int tries = 0;; tries++)
	{
		if (nothing_to_add(db, keys, xid))
			return;
		if (tries == MAX_ADD_TRIES)
			LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
		else if (!LWLockAcquireOrWait(shared_state->lock, LW_EXCLUSIVE))
			continue;
		break;
	}

	if (!pinned)
		db = database_with_worker();	/* the slot may have changed hands */
	foreach(lc, keys)
	{
		ChangeKey  *key = lfirst(lc);

		if (db != NULL && key_is_pending(key))
			add_key(db, key, xid);
	}
	LWLockRelease(shared_state->lock);
	if (db != NULL)
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
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	db->owed = true;
	LWLockRelease(shared_state->lock);
	wake_worker(db);
}

/* How many keys of this database wait. */
int
shared_pending(SharedDatabase *db)
{
	int			n = 0;

	LWLockAcquire(shared_state->lock, LW_SHARED);
	for (int i = db->first_pending; i != NO_KEY; i = shared_state->keys[i].next_pending)
		n++;
	LWLockRelease(shared_state->lock);
	return n;
}

/* Is there anything for the worker to do?  The lock is held. */
bool
shared_has_work(SharedDatabase *db)
{
	return db->first_pending != NO_KEY || db->reset || db->owed;
}

/* Say that the worker lies down.  False if there is work after all. */
bool
shared_lie_down(SharedDatabase *db)
{
	bool		idle;

	pg_atomic_write_u32(&db->sleeping, 1);
	LWLockAcquire(shared_state->lock, LW_SHARED);
	idle = !shared_has_work(db) && !db->stop;
	LWLockRelease(shared_state->lock);
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
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	*reset = db->reset;
	*owed = db->owed;
	db->reset_taken = db->reset;
	db->owed_taken = db->owed;
	db->reset = db->owed = false;
	db->first_taken = db->first_pending;
	db->first_pending = NO_KEY;
	for (int i = db->first_taken; i != NO_KEY; i = shared_state->keys[i].next_taken)
	{
		SharedKey  *k = &shared_state->keys[i];

		k->pending = false;
		k->taken = true;
		k->taken_since = k->pending_since;
		k->taken_extra = k->extra;
		k->taken_place = k->place;
		k->taken_extra.xid = pg_atomic_read_u64(&k->last_xid);
		k->next_taken = k->next_pending;
	}
	LWLockRelease(shared_state->lock);

	/* The list is ours now: no lock, so that running out of memory is safe. */
	for (int i = db->first_taken; i != NO_KEY; i = shared_state->keys[i].next_taken)
		keys = lcons(&shared_state->keys[i], keys);
	return keys;
}

/* What was taken is delivered, or (put_back) is not and goes back. */
void
shared_finish(SharedDatabase *db, bool put_back)
{
	int			next;

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	for (int i = db->first_taken; i != NO_KEY; i = next)
	{
		SharedKey  *k = &shared_state->keys[i];

		next = k->next_taken;
		k->taken = false;
		if (put_back)
		{
			if (!k->pending)
			{
				make_pending(db, k);
				pg_atomic_write_u64(&k->last_xid, k->taken_extra.xid);
			}
			k->pending_since = k->taken_since;
			extra_merge(&k->extra, &k->taken_extra);
		}
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
	LWLockRelease(shared_state->lock);
}

/* Let go of a database's pending keys; the lock is held exclusively. */
void
shared_free_pending(SharedDatabase *db)
{
	int			next;

	for (int i = db->first_pending; i != NO_KEY; i = next)
	{
		SharedKey  *k = &shared_state->keys[i];

		next = k->next_pending;
		k->pending = false;
		if (!k->taken)
			free_key(k);
	}
	db->first_pending = NO_KEY;
}
