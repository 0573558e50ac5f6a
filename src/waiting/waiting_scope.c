/*-------------------------------------------------------------------------
 *
 * waiting_scope.c
 *	  The set of scopes that wait for the worker to deliver them.
 *
 * A committed transaction puts its scopes here; the worker of its database
 * (worker.c) takes them, delivers them, and then lets go of them.  A scope that
 * is already waiting is not added again: the worker reads the counters after
 * it has taken the scopes, so it will see this commit as well.
 *
 * When the memory is full, the database owes its listeners a reset instead of
 * single scopes.
 *
 * Every scope is in one of three states, two of them at once at most:
 *	  pending	on the database's pending list, waits to be taken
 *	  taken		on the database's taken list; the worker reads it without a
 *				lock, as only the worker takes it off
 *	  free		on the free list
 * A scope that is committed again while it is taken becomes pending as well.
 * If the worker dies between taking and delivering, its exit callback puts
 * what was taken back.
 *
 * Locking: the LWLock of waiting_state.  Committing transactions whose scopes are all
 * pending, the common case for a hot scope, only take it in shared mode.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "miscadmin.h"

/* Then a transaction queues for the lock like any other. */
#define MAX_ADD_TRIES	3

static int *
bucket_of(uint32 hash)
{
	return &waiting_buckets(waiting_state)[hash % waiting_state->nscopes];
}

static WaitingScope *
find_scope(Oid database, const DeliveryRequest *request)
{
	const CounterKey *key = &request->counter;

	for (int i = *bucket_of(key->hash); i != NO_SLOT; i = waiting_state->scopes[i].next)
	{
		WaitingScope *k = &waiting_state->scopes[i];

		if (k->hash == key->hash && k->database == database &&
			k->shared == (key->tenant == NULL) &&
			k->tenant_len == key->tenant_len &&
			memcmp(k->tenant, key->tenant ? key->tenant : "", key->tenant_len) == 0 &&
			strcmp(k->domain, request->domain->name) == 0)
			return k;
	}
	return NULL;
}

static WaitingScope *
new_scope(Oid database, const DeliveryRequest *request)
{
	int			index = waiting_state->first_free;
	int		   *bucket = bucket_of(request->counter.hash);
	WaitingScope *k;

	if (index == NO_SLOT)
		return NULL;
	k = &waiting_state->scopes[index];
	waiting_state->first_free = k->next;
	k->next = *bucket;
	*bucket = index;

	k->database = database;
	k->hash = request->counter.hash;
	k->pending = k->taken = false;
	k->shared = request->counter.tenant == NULL;
	k->tenant_len = request->counter.tenant_len;
	if (request->counter.tenant != NULL)
		memcpy(k->tenant, request->counter.tenant, request->counter.tenant_len);
	k->tenant[k->tenant_len] = '\0';
	strlcpy(k->domain, request->domain->name, NAMEDATALEN);
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
 * Are all scopes pending, with nothing more to say of any of them than who
 * changed it last?
 */
static bool
all_pending(Oid database, List *requests, uint64 xid)
{
	ListCell   *lc;

	foreach(lc, requests)
	{
		DeliveryRequest *request = lfirst(lc);
		WaitingScope *k;

		k = find_scope(database, request);
		if (k == NULL || !k->pending || request->extra->wanted ||
			(request->extra->events_incomplete && !k->extra.events_incomplete) ||
			(k->extra.wanted && !k->extra.all_keys))
			return false;
		pg_atomic_write_u64(&k->last_xid, xid);
	}
	return true;
}

static void
add_scope(WaitingDatabase *db, const DeliveryRequest *request, uint64 xid)
{
	WaitingScope *k = find_scope(db->oid, request);

	if (k == NULL)
		k = new_scope(db->oid, request);
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
	extra_merge(&k->extra, request->extra);
	if (request->counter.index_place.lsn != InvalidXLogRecPtr)
		k->index_place = request->counter.index_place;
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

/* Is there nothing to add for these scopes?  See waiting_add_scopes(). */
static bool
nothing_to_add(WaitingDatabase *db, List *requests, uint64 xid)
{
	bool		nothing;

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	if (db == NULL)
		db = database_with_worker();
	nothing = db == NULL || all_pending(db->oid, requests, xid);
	if (nothing && db != NULL)
		pg_atomic_fetch_add_u64(&db->stats[STAT_COALESCED], list_length(requests));
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
 * Many transactions may come from one flush of the WAL with the same scope.  Who
 * does not get the lock at once looks again when it is free: then another one
 * has most likely added the scope.
 */
void
waiting_add_scopes(WaitingDatabase *db, List *requests, uint64 xid)
{
	bool		pinned = db != NULL;
	ListCell   *lc;

	if (waiting_state == NULL)
		return;
	for (int tries = 0;; tries++)
	{
		if (nothing_to_add(db, requests, xid))
			return;
		if (tries == MAX_ADD_TRIES)
			LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
		else if (!LWLockAcquireOrWait(waiting_state->lock, LW_EXCLUSIVE))
			continue;
		break;
	}

	if (!pinned)
		db = database_with_worker();	/* the slot may have changed hands */
	foreach(lc, requests)
	{
		if (db != NULL)
			add_scope(db, lfirst(lc), xid);
	}
	LWLockRelease(waiting_state->lock);
	if (db != NULL)
		wake_worker(db);
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

/* How many scopes of this database wait. */
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

/* A taken scope as delivery wants it.  It need not be locked until it is finished. */
static DeliveryRequest *
request_of(WaitingScope *k)
{
	DeliveryRequest *request = palloc0(sizeof(DeliveryRequest));

	request->domain = domain_lookup(k->domain);
	request->counter.name = request->domain->name;
	request->counter.tenant = k->shared ? NULL : k->tenant;
	request->counter.tenant_len = k->tenant_len;
	request->counter.hash = k->hash;
	request->counter.index_place = k->taken_index_place;
	request->bumps = 1;
	request->xid = k->taken_xid;
	request->extra = &k->taken_extra;
	return request;
}

/*
 * Take everything that is pending.  The worker may read it without a lock until
 * waiting_finish().
 */
WaitingTaken
waiting_take(WaitingDatabase *db)
{
	WaitingTaken taken = {0};

	Assert(db->first_taken == NO_SLOT);
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	taken.reset = db->reset;
	taken.owed = db->owed;
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
		k->taken_xid = pg_atomic_read_u64(&k->last_xid);
		k->next_taken = k->next_pending;
	}
	LWLockRelease(waiting_state->lock);

	/* The list is ours now: no lock, so that running out of memory is safe. */
	taken.since = GetCurrentTimestamp();
	for (int i = db->first_taken; i != NO_SLOT; i = waiting_state->scopes[i].next_taken)
	{
		WaitingScope *k = &waiting_state->scopes[i];

		taken.requests = lcons(request_of(k), taken.requests);
		taken.since = Min(taken.since, k->taken_since);
	}
	return taken;
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
				pg_atomic_write_u64(&k->last_xid, k->taken_xid);
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

/* Let go of a database's pending scopes; the lock is held exclusively. */
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
