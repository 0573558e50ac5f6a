/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  What lies in shared memory: for waiting*.c, worker.c and stats.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WAITING_H
#define CACHE_NOTIFY_WAITING_H

#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* Databases that can have a worker at the same time. */
#define MAX_DATABASES	64

/* A worker that has not come up after this many ms is not waited for. */
#define WORKER_START_TIMEOUT 10000

/* When no worker could be started, try again after this many ms. */
#define WORKER_RETRY_MS	1000

/* The end of a list of keys or events. */
#define NO_SLOT			(-1)

typedef enum WorkerState
{
	WORKER_NONE,
	WORKER_STARTING,
	WORKER_RUNNING
} WorkerState;

/* One key that waits, or is being delivered. */
typedef struct WaitingScope
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
	KnownIndexPlace index_place;
	KnownIndexPlace taken_index_place;
	char		domain[NAMEDATALEN];
	char		tenant[MAX_TENANT_LEN + 1];
} WaitingScope;

/* One table event that waits, or is being delivered. */
typedef struct WaitingEvent
{
	int			next;			/* in its database's list, or in the free list */
	TransactionId xid;			/* of who did it */
	Oid			table;
	uint8		operations;		/* OPERATION_* */
	bool		of_rows;		/* see TableEvent */
	bool		has_row;
	bool		taken;
	char		row[MAX_ROW_LEN + 1];
} WaitingEvent;

struct WaitingDatabase
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

typedef struct WaitingState
{
	LWLock	   *lock;
	int			nscopes;
	int			first_free;
	int			first_free_event;
	int			free_events;
	WaitingDatabase databases[MAX_DATABASES];
	WaitingScope scopes[FLEXIBLE_ARRAY_MEMBER];
	/* after the keys: WaitingEvent events[nkeys], int buckets[nkeys] */
} WaitingState;

#define waiting_events(state) ((WaitingEvent *) &(state)->scopes[(state)->nscopes])
#define waiting_buckets(state) ((int *) &waiting_events(state)[(state)->nscopes])

/* waiting.c */
extern WaitingState *waiting_state;
extern LWLock *waiting_lock(void);
extern WaitingDatabase *waiting_find_database(Oid database);
extern WaitingDatabase *waiting_worker_started(Oid database, Latch *latch);
extern bool waiting_worker_may_exit(WaitingDatabase *db);
extern void waiting_worker_died(Oid database, bool started);
extern bool waiting_worker_awaited(Oid database, int *failures);
extern void waiting_give_up(Oid database);

/* waiting_scope.c */
extern bool waiting_has_work(WaitingDatabase *db);
extern bool waiting_lie_down(WaitingDatabase *db);
extern List *waiting_take(WaitingDatabase *db, bool *reset, bool *owed);
extern void waiting_finish(WaitingDatabase *db, bool put_back);
extern void waiting_free_pending(WaitingDatabase *db);
extern int	waiting_pending(WaitingDatabase *db);

/* waiting_event.c */
extern List *waiting_take_events(WaitingDatabase *db, Snapshot snapshot);
extern void waiting_events_delivered(WaitingDatabase *db);
extern void waiting_free_events(WaitingDatabase *db);

#endif							/* CACHE_NOTIFY_WAITING_H */
