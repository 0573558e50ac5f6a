/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  What lies in shared memory: for shared*.c, worker.c, stats.c and
 *	  row_hint.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_SHARED_H
#define CACHE_NOTIFY_SHARED_H

#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* Databases that can have a worker at the same time. */
#define MAX_DATABASES	64

/* A worker that has not come up after this many ms is not waited for. */
#define WORKER_START_TIMEOUT 10000

/* When no worker could be started, try again after this many ms. */
#define WORKER_RETRY_MS	1000

/* A power of two; 8 bytes each. */
#define NUM_SHARED_ROW_HINTS	16384

/* The end of a list of keys or events. */
#define NO_KEY			(-1)

typedef enum WorkerState
{
	WORKER_NONE,
	WORKER_STARTING,
	WORKER_RUNNING
} WorkerState;

/* One key that waits, or is being delivered. */
typedef struct SharedKey
{
	int			next;			/* in its hash bucket, or in the free list */
	int			next_pending;
	int			next_taken;
	Oid			database;
	uint32		hash;
	bool		pending;
	bool		taken;
	bool		shared;			/* has no tenant */
	uint16		tenant_len;
	TimestampTz pending_since;	/* commit of the first that waits */
	TimestampTz taken_since;	/* the same when it was taken */
	pg_atomic_uint64 last_xid;	/* of the last that waits */
	ExtraFields extra;			/* but for xid */
	ExtraFields taken_extra;
	KnownPlace	place;
	KnownPlace	taken_place;
	char		domain[NAMEDATALEN];
	char		tenant[MAX_TENANT_LEN + 1];
} SharedKey;

/* One table event that waits, or is being delivered. */
typedef struct SharedEvent
{
	int			next;			/* in its database's list, or in the free list */
	TransactionId xid;			/* of who did it */
	Oid			table;
	uint8		operations;		/* OPERATION_* */
	bool		of_rows;		/* see TableEvent */
	bool		has_row;
	bool		taken;
	char		row[MAX_ROW_LEN + 1];
} SharedEvent;

struct SharedDatabase
{
	Oid			oid;			/* InvalidOid: never used */
	WorkerState worker;
	int			worker_pid;
	TimestampTz starting_since;
	TimestampTz refused_at;		/* when no worker could be started */
	Latch	   *latch;			/* the worker's, while it runs */
	int			failures;		/* of workers in a row */
	bool		stop;			/* the worker must go, for a command */
	bool		complained;		/* that no worker could be started */

	int			first_pending;
	int			first_taken;
	int			first_event;	/* table events, in order */
	int			last_event;
	bool		reset;			/* listeners must drop everything */
	bool		owed;			/* owed_delivery may have rows */
	bool		reset_taken;
	bool		owed_taken;

	pg_atomic_uint32 sleeping;	/* the worker waits for its latch */
	pg_atomic_uint32 committing;	/* transactions about to add keys */
	pg_atomic_uint64 stats[NUM_STATS];
};

typedef struct SharedState
{
	LWLock	   *lock;
	int			nkeys;
	int			first_free;
	int			first_free_event;
	int			free_events;
	SharedDatabase databases[MAX_DATABASES];
	pg_atomic_uint64 row_hints[NUM_SHARED_ROW_HINTS];
	SharedKey	keys[FLEXIBLE_ARRAY_MEMBER];
	/* after the keys: SharedEvent events[nkeys], int buckets[nkeys] */
} SharedState;

#define shared_events(state) ((SharedEvent *) &(state)->keys[(state)->nkeys])
#define shared_buckets(state) ((int *) &shared_events(state)[(state)->nkeys])

/* shared.c */
extern SharedState *shared_state;
extern LWLock *shared_lock(void);
extern SharedDatabase *shared_find_database(Oid database);
extern SharedDatabase *shared_worker_started(Oid database, Latch *latch);
extern bool shared_worker_may_exit(SharedDatabase *db);
extern void shared_worker_died(Oid database, bool started);
extern bool shared_worker_awaited(Oid database, int *failures);
extern void shared_give_up(Oid database);

/* shared_set.c */
extern bool shared_has_work(SharedDatabase *db);
extern bool shared_lie_down(SharedDatabase *db);
extern List *shared_take(SharedDatabase *db, bool *reset, bool *owed);
extern void shared_finish(SharedDatabase *db, bool put_back);
extern void shared_free_pending(SharedDatabase *db);
extern int	shared_pending(SharedDatabase *db);

/* shared_event.c */
extern List *shared_take_events(SharedDatabase *db, Snapshot snapshot);
extern void shared_events_delivered(SharedDatabase *db);
extern void shared_free_events(SharedDatabase *db);

#endif							/* CACHE_NOTIFY_SHARED_H */
