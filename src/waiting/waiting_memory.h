/*-------------------------------------------------------------------------
 *
 * waiting_memory.h
 *	  What waits for the workers, as it lies in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WAITING_MEMORY_H
#define CACHE_NOTIFY_WAITING_MEMORY_H

#include "waiting/waiting.h"

#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* Databases that are remembered at the same time. */
#define MAX_DATABASES	1024

/* The end of a list of scopes or events. */
#define NO_SLOT			(-1)

/* What is counted, for each database: the columns of statistics(), in order. */
typedef enum Statistic
{
	STAT_BUMPS,
	STAT_ROWS,
	STAT_DELIVERED,
	STAT_COALESCED,
	STAT_CYCLES,
	STAT_OVERFLOWS,
	STAT_WORKER_RESTARTS,
	STAT_LAST_LAG_US,
	STAT_MAX_LAG_US,
	STAT_CLEARED_AT,
	NUM_STATS
} Statistic;

typedef enum WorkerState
{
	WORKER_NONE,
	WORKER_QUEUED,
	WORKER_STARTING,
	WORKER_RUNNING
#define NUM_WORKER_STATES (WORKER_RUNNING + 1)
} WorkerState;

/* One scope that waits, or is being delivered. */
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
	ExtraFields extra;
	ExtraFields taken_extra;
	uint64		taken_xid;
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
	TimestampTz worker_since;	/* when that state began */
	bool		claimed;		/* STARTING: a process works for it by now */
	Latch	   *latch;			/* the worker's, while it runs */
	int			failures;		/* of workers in a row */
	bool		stop;			/* the worker must go, for a command */
	bool		unavailable;	/* the last try to have a worker failed */
	TimestampTz given_up_at;	/* when no worker could connect; 0: never */

	int			first_pending;
	int			first_taken;
	int			first_event;	/* table events, in order */
	int			last_event;
	bool		reset;			/* listeners must drop everything */
	bool		owed;			/* owed_delivery may have rows */
	bool		reset_taken;
	bool		owed_taken;

	pg_atomic_uint32 sleeping;	/* the worker waits for its latch */
	pg_atomic_uint32 committing;	/* transactions about to add scopes */
	pg_atomic_uint64 stats[NUM_STATS];
};

typedef struct WaitingState
{
	LWLock	   *lock;
	int			nscopes;
	int			first_free;
	int			first_free_event;
	int			free_events;

	int			nworkers[NUM_WORKER_STATES];	/* databases in each state */
	int			refusals;		/* in a row: no worker could be started */
	TimestampTz refused_at;
	TimestampTz complained_at;	/* about that; 0: never */
	int			ndatabases;		/* no slot from here on was ever used */
	WaitingDatabase databases[MAX_DATABASES];
	WaitingScope scopes[FLEXIBLE_ARRAY_MEMBER];
	/* after the scopes: WaitingEvent events[nscopes], int buckets[nscopes] */
} WaitingState;

#define waiting_events(state) ((WaitingEvent *) &(state)->scopes[(state)->nscopes])
#define waiting_buckets(state) ((int *) &waiting_events(state)[(state)->nscopes])

/* waiting_memory.c */
extern WaitingState *waiting_state;
extern WaitingDatabase *waiting_find_database(Oid database);

/* waiting_worker.c */
extern void waiting_set_worker(WaitingDatabase *db, WorkerState state);
extern int	waiting_worker_limit(void);
extern int	waiting_workers_at_work(void);
extern bool waiting_register_worker(WaitingDatabase *db);
extern void waiting_remember_refusal(void);
extern WaitingDatabase *waiting_make_database(Oid database);

/* waiting_scope.c */
extern bool waiting_has_work(WaitingDatabase *db);
extern void waiting_free_pending(WaitingDatabase *db);
extern int	waiting_pending(WaitingDatabase *db);

/* waiting_event.c */
extern void waiting_free_events(WaitingDatabase *db);

#endif							/* CACHE_NOTIFY_WAITING_MEMORY_H */
