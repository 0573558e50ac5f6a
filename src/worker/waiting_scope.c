/*-------------------------------------------------------------------------
 *
 * waiting_scope.c
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
 * Locking: the LWLock of waiting.c.  Committing transactions whose keys are all
 * pending, the common case for a hot key, only take it in shared mode.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "miscadmin.h"

#include "worker/waiting.h"

/* Then a transaction queues for the lock like any other. */
#define MAX_ADD_TRIES	3

static int *
bucket_of(uint32 hash)
{
	return &waiting_buckets(waiting_state)[hash % waiting_state->nscopes];
}

static WaitingScope *
find_scope(Oid database, const ScopeChange *scope)
{
	for (int i = *bucket_of(scope->counter.hash); i != NO_SLOT; i = waiting_state->scopes[i].next)
	{
		WaitingScope *k = &waiting_state->scopes[i];

		if (k->hash == scope->counter.hash && k->database == database &&
			k->shared == (scope->counter.tenant == NULL) &&
			k->tenant_len == scope->counter.tenant_len &&
			memcmp(k->tenant, scope->counter.tenant ? scope->counter.tenant : "", scope->counter.tenant_len) == 0 &&
			strcmp(k->domain, scope->domain->name) == 0)
			return k;
	}
	return NULL;
}

static WaitingScope *
new_scope(Oid database, const ScopeChange *scope)
{
	int			index = waiting_state->first_free;
	int		   *bucket = bucket_of(scope->counter.hash);
	WaitingScope *k;

	if (index == NO_SLOT)
		return NULL;
	k = &waiting_state->scopes[index];
	waiting_state->first_free = k->next;
	k->next = *bucket;
	*bucket = index;

	k->database = database;
	k->hash = scope->counter.hash;
	k->pending = k->taken = false;
	k->shared = scope->counter.tenant == NULL;
	k->tenant_len = scope->counter.tenant_len;
	if (scope->counter.tenant != NULL)
		memcpy(k->tenant, scope->counter.tenant, scope->counter.tenant_len);
	k->tenant[k->tenant_len] = '\0';
	strlcpy(k->domain, scope->domain->name, NAMEDATALEN);
	return k;
}

static void
free_scope(WaitingScope *k)
{
	int			index = k - waiting_state->scopes;
	int		   *link = bucket_of(k->hash);

	while (*link != index)
		link = &waiting_state->scopes[*link].next;
	*link = k->next;
	k->next = waiting_state->first_free;
	waiting_state->first_free = index;
}

static void
make_pending(WaitingDatabase *db, WaitingScope *k)
{
	k->pending = true;
	k->pending_since = GetCurrentTimestamp();
	memset(&k->extra, 0, sizeof(k->extra));
	k->index_place.lsn = InvalidXLogRecPtr;
	k->next_pending = db->first_pending;
	db->first_pending = k - waiting_state->scopes;
}

/*
 * Are all keys pending, with nothing more to say of any of them than who
 * changed it last?
 */
static bool
all_pending(Oid database, List *scopes, uint64 xid)
{
	ListCell   *lc;

	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);
		WaitingScope *k;

		if (!scope_is_pending(scope))
			continue;
		k = find_scope(database, scope);
		if (k == NULL || !k->pending || scope->extra.wanted ||
			(scope->extra.events_incomplete && !k->extra.events_incomplete) ||
			(k->extra.wanted && !k->extra.all_keys))
			return false;
		pg_atomic_write_u64(&k->last_xid, xid);
	}
	return true;
}

static void
add_scope(WaitingDatabase *db, const ScopeChange *scope, uint64 xid)
{
	WaitingScope *k = find_scope(db->oid, scope);

	if (k == NULL)
		k = new_scope(db->oid, scope);
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
	extra_merge(&k->extra, &scope->extra);
	if (scope->counter.index_place.lsn != InvalidXLogRecPtr)
		k->index_place = scope->counter.index_place;
	pg_atomic_write_u64(&k->last_xid, xid);
}

/* Wake the worker if it is asleep; only the first one after it lay down does. */
static void
wake_worker(WaitingDatabase *db)
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
static WaitingDatabase *
database_with_worker(void)
{
	WaitingDatabase *db = waiting_find_database(MyDatabaseId);

	return db != NULL && db->worker != WORKER_NONE ? db : NULL;
}

/* Is there nothing to add for these keys?  See waiting_add_scopes(). */
static bool
nothing_to_add(WaitingDatabase *db, List *scopes, uint64 xid)
{
	bool		nothing;

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	if (db == NULL)
		db = database_with_worker();
	nothing = db == NULL || all_pending(db->oid, scopes, xid);
	if (nothing && db != NULL)
		pg_atomic_fetch_add_u64(&db->stats[STAT_COALESCED], list_length(scopes));
	LWLockRelease(waiting_state->lock);
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
waiting_add_scopes(WaitingDatabase *db, List *scopes, uint64 xid)
{
	bool		pinned = db != NULL;
	ListCell   *lc;

	if (waiting_state == NULL)
		return;
	for (int tries = 0;; tries++)
	{
		if (nothing_to_add(db, scopes, xid))
			return;
		if (tries == MAX_ADD_TRIES)
			LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
		else if (!LWLockAcquireOrWait(waiting_state->lock, LW_EXCLUSIVE))
			continue;
		break;
	}

	if (!pinned)
		db = database_with_worker();	/* the slot may have changed hands */
	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);

		if (db != NULL && scope_is_pending(scope))
			add_scope(db, scope, xid);
	}
	LWLockRelease(waiting_state->lock);
	if (db != NULL)
		wake_worker(db);
}

/* Count what a committed transaction did. */
void
waiting_count(WaitingDatabase *db, int64 bumps, int64 rows)
{
	if (db == NULL)
		db = waiting_database(MyDatabaseId);
	if (db == NULL)
		return;
	pg_atomic_fetch_add_u64(&db->stats[STAT_BUMPS], bumps);
	if (rows > 0)
		pg_atomic_fetch_add_u64(&db->stats[STAT_ROWS], rows);
}

/* A prepared transaction was committed: the worker must look at owed.c. */
void
waiting_add_owed(WaitingDatabase *db)
{
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	db->owed = true;
	LWLockRelease(waiting_state->lock);
	wake_worker(db);
}

/* How many keys of this database wait. */
int
waiting_pending(WaitingDatabase *db)
{
	int			n = 0;

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	for (int i = db->first_pending; i != NO_SLOT; i = waiting_state->scopes[i].next_pending)
		n++;
	LWLockRelease(waiting_state->lock);
	return n;
}

/* Is there anything for the worker to do?  The lock is held. */
bool
waiting_has_work(WaitingDatabase *db)
{
	return db->first_pending != NO_SLOT || db->reset || db->owed;
}

/* Say that the worker lies down.  False if there is work after all. */
bool
waiting_lie_down(WaitingDatabase *db)
{
	bool		idle;

	pg_atomic_write_u32(&db->sleeping, 1);
	LWLockAcquire(waiting_state->lock, LW_SHARED);
	idle = !waiting_has_work(db) && !db->stop;
	LWLockRelease(waiting_state->lock);
	if (!idle)
		pg_atomic_write_u32(&db->sleeping, 0);
	return idle;
}

/*
 * Take everything that is pending.  Returns the keys as WaitingScopes, which the
 * worker may read without a lock until waiting_finish().
 */
List *
waiting_take(WaitingDatabase *db, bool *reset, bool *owed)
{
	List	   *scopes = NIL;

	Assert(db->first_taken == NO_SLOT);
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	*reset = db->reset;
	*owed = db->owed;
	db->reset_taken = db->reset;
	db->owed_taken = db->owed;
	db->reset = db->owed = false;
	db->first_taken = db->first_pending;
	db->first_pending = NO_SLOT;
	for (int i = db->first_taken; i != NO_SLOT; i = waiting_state->scopes[i].next_taken)
	{
		WaitingScope *k = &waiting_state->scopes[i];

		k->pending = false;
		k->taken = true;
		k->taken_since = k->pending_since;
		k->taken_extra = k->extra;
		k->taken_index_place = k->index_place;
		k->taken_extra.xid = pg_atomic_read_u64(&k->last_xid);
		k->next_taken = k->next_pending;
	}
	LWLockRelease(waiting_state->lock);

	/* The list is ours now: no lock, so that running out of memory is safe. */
	for (int i = db->first_taken; i != NO_SLOT; i = waiting_state->scopes[i].next_taken)
		scopes = lcons(&waiting_state->scopes[i], scopes);
	return scopes;
}

/* What was taken is delivered, or (put_back) is not and goes back. */
void
waiting_finish(WaitingDatabase *db, bool put_back)
{
	int			next;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	for (int i = db->first_taken; i != NO_SLOT; i = next)
	{
		WaitingScope *k = &waiting_state->scopes[i];

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
			free_scope(k);
	}
	db->first_taken = NO_SLOT;
	if (put_back)
	{
		db->reset |= db->reset_taken;
		db->owed |= db->owed_taken;
	}
	db->reset_taken = db->owed_taken = false;
	LWLockRelease(waiting_state->lock);
}

/* Let go of a database's pending keys; the lock is held exclusively. */
void
waiting_free_pending(WaitingDatabase *db)
{
	int			next;

	for (int i = db->first_pending; i != NO_SLOT; i = next)
	{
		WaitingScope *k = &waiting_state->scopes[i];

		next = k->next_pending;
		k->pending = false;
		if (!k->taken)
			free_scope(k);
	}
	db->first_pending = NO_SLOT;
}
