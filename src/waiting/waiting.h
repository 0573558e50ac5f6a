/*-------------------------------------------------------------------------
 *
 * waiting.h
 *	  The door of waiting: what waits in shared memory for the workers, and
 *	  which databases have one.
 *
 *	  waiting_memory.c	the memory itself
 *	  waiting_scope.c	the scopes that wait
 *	  waiting_event.c	the table events that do, in order
 *	  waiting_worker.c	which databases have a worker, or need one
 *	  waiting_turn.c	how workers take turns
 *	  stats.c			what has been counted, for the view stats
 *
 * Promise: what a committed transaction has put here is taken by a worker and stays
 * until that has delivered it, or a reset stands for it.  That holds as long as the
 * server does: after a crash nothing is here.
 *
 * Locks: one LWLock for all of it, held for no longer than it takes to go over one
 * transaction's scopes.  waiting_begin_commit() and waiting_resume_worker() start a
 * worker under it.
 *
 * What may not happen here: an error in what runs after the commit, which would be
 * a PANIC: waiting_add_scopes(), waiting_add_owed(), waiting_count(),
 * waiting_drop_events(), waiting_end_commit().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WAITING_H
#define CACHE_NOTIFY_WAITING_H

#include "change/change.h"

#include "storage/latch.h"

/* That listeners are to be told of a scope. */
typedef struct DeliveryRequest
{
	Domain	   *domain;
	CounterKey	counter;		/* the scope's */
	int64		bumps;			/* of one transaction */
	uint64		xid;			/* of the last transaction, 0 if unknown */
	ExtraFields *extra;			/* what else there is to say */

	/* Deliver it where this one did; NULL: where the domain goes. */
	const Watch *former;
} DeliveryRequest;

/* What waits for the worker of a database; its address never changes. */
typedef struct WaitingDatabase WaitingDatabase;

/* What a worker has taken; see waiting_take(). */
typedef struct WaitingTaken
{
	List	   *requests;		/* DeliveryRequest * */
	TimestampTz since;			/* when the first of them was committed */
	bool		reset;			/* listeners must drop everything */
	bool		owed;			/* committed transactions may owe something */
} WaitingTaken;

/* What a worker that would like to go is to do. */
typedef enum Handover
{
	HANDOVER_STAY,				/* go on */
	HANDOVER_DONE,				/* go */
	HANDOVER_RESTART			/* start again for another database */
} Handover;

/* waiting_memory.c */
extern void waiting_init(void);
extern bool waiting_available(void);

/* waiting_worker.c: for those who commit */
extern void waiting_worker_init(void);
extern void waiting_start_with(bool (*start) (Oid database));
extern WaitingDatabase *waiting_begin_commit(bool *refused);
extern void waiting_end_commit(WaitingDatabase *db);
extern bool waiting_refused(void);

/* waiting_worker.c: for the status */
extern const char *waiting_worker_problem(void);

/* waiting_scope.c */
extern void waiting_add_scopes(WaitingDatabase *db, List *requests, uint64 xid);
extern void waiting_add_owed(WaitingDatabase *db);

/* waiting_event.c */
extern bool waiting_add_events(WaitingDatabase *db, List *events,
							   TransactionId xid);
extern void waiting_drop_events(WaitingDatabase *db, TransactionId xid);

/* stats.c */
extern void waiting_count(WaitingDatabase *db, int64 bumps, int64 rows,
						  int64 delivered);

/* for commands that need a database without connections */
extern bool waiting_stop_worker(Oid database);
extern void waiting_resume_worker(Oid database);
extern void waiting_forget_database(Oid database);

/* waiting_turn.c, waiting_scope.c, stats.c: for the worker */
extern Oid	waiting_claim_database(Oid database, int *failures);
extern WaitingDatabase *waiting_worker_started(Oid database, Latch *latch);
extern Handover waiting_worker_may_exit(WaitingDatabase *db);
extern bool waiting_turn_over(WaitingDatabase *db);
extern long waiting_turn_left(WaitingDatabase *db);
extern Handover waiting_worker_end_turn(WaitingDatabase *db);
extern void waiting_worker_died(Oid database, bool started);
extern void waiting_worker_succeeded(WaitingDatabase *db);
extern Handover waiting_give_up(Oid database);
extern bool waiting_stop_wanted(WaitingDatabase *db);
extern int	waiting_failures(WaitingDatabase *db);
extern bool waiting_lie_down(WaitingDatabase *db);
extern WaitingTaken waiting_take(WaitingDatabase *db);
extern List *waiting_take_events(WaitingDatabase *db, Snapshot snapshot);
extern void waiting_finish(WaitingDatabase *db, bool put_back);
extern void waiting_events_delivered(WaitingDatabase *db);
extern void waiting_count_delivered(WaitingDatabase *db, int nscopes,
									uint64 lag_us);

#endif							/* CACHE_NOTIFY_WAITING_H */
