/*-------------------------------------------------------------------------
 *
 * shared_event.c
 *	  The table events that wait for the worker to deliver them, in order.
 *
 * A transaction puts its events (table_event.c) at the end of its database's
 * list just before it commits, with its transaction ID.  The worker delivers
 * those whose transaction its snapshot sees, in the order of the list, and
 * takes them off once that is committed.  Events of a transaction that is
 * still committing stay.  A transaction that aborts after all takes its own
 * off.
 *
 * So events come in this order: a transaction that could see what another had
 * done, or waited for it, comes after it, because it put its events there
 * after the other one had committed; in particular, changes of one row are
 * told in the order in which they were made.  Transactions that committed at
 * the same time, neither of which could see the other, may come in either
 * order.  Nobody waits for this: the lock is held for as long as it takes to
 * copy the events.
 *
 * The events need no wake-up call of their own.  Whoever put them there has
 * changed a key, too, which wakes the worker after the commit.
 *
 * When the memory is full, nothing is put there, and the domains' change is
 * told instead (ExtraFields.coarse).
 *
 * Locking: the LWLock of shared.c.  Only the worker takes committed events off
 * the list, so it may read them without a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "worker/shared.h"

static SharedEvent *
event_at(int index)
{
	return &shared_events(shared_state)[index];
}

static void
append_event(SharedDatabase *db, const TableEvent *event, TransactionId xid)
{
	int			index = shared_state->first_free_event;
	SharedEvent *e = event_at(index);

	shared_state->first_free_event = e->next;
	shared_state->free_events--;
	e->next = NO_KEY;
	e->xid = xid;
	e->table = event->table;
	e->operations = event->operations;
	e->of_rows = event->of_rows;
	e->has_row = event->row != NULL;
	strlcpy(e->row, event->row ? event->row : "", sizeof(e->row));

	if (db->last_event == NO_KEY)
		db->first_event = index;
	else
		event_at(db->last_event)->next = index;
	db->last_event = index;
}

/*
 * Before the commit: these TableEvents of this transaction wait for the
 * worker.  False if there is no room for them; then none does.
 */
bool
shared_add_events(SharedDatabase *db, List *events, TransactionId xid)
{
	ListCell   *lc;
	bool		fit;

	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	fit = shared_state->free_events >= list_length(events);
	if (fit)
		foreach(lc, events)
			append_event(db, lfirst(lc), xid);
	LWLockRelease(shared_state->lock);
	if (!fit)
		pg_atomic_fetch_add_u64(&db->stats[STAT_OVERFLOWS], 1);
	return fit;
}

/* Take events off the list: those of xid, or with no xid the marked ones. */
static void
remove_events(SharedDatabase *db, TransactionId xid)
{
	int			previous = NO_KEY;
	int			next;

	for (int i = db->first_event; i != NO_KEY; i = next)
	{
		SharedEvent *e = event_at(i);

		next = e->next;
		if (TransactionIdIsValid(xid) ? e->xid != xid : !e->taken)
		{
			previous = i;
			continue;
		}
		if (previous == NO_KEY)
			db->first_event = next;
		else
			event_at(previous)->next = next;
		if (next == NO_KEY)
			db->last_event = previous;
		e->taken = false;
		e->next = shared_state->first_free_event;
		shared_state->first_free_event = i;
		shared_state->free_events++;
	}
}

/* The transaction has aborted: its events never happened. */
void
shared_drop_events(SharedDatabase *db, TransactionId xid)
{
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	remove_events(db, xid);
	LWLockRelease(shared_state->lock);
}

/* A copy of the list as it is now: slots, and whose they are. */
static int
copy_list(SharedDatabase *db, int *slots, TransactionId *xids)
{
	int			n = 0;

	LWLockAcquire(shared_state->lock, LW_SHARED);
	for (int i = db->first_event; i != NO_KEY; i = event_at(i)->next)
	{
		slots[n] = i;
		xids[n++] = event_at(i)->xid;
	}
	LWLockRelease(shared_state->lock);
	return n;
}

/*
 * The worker: the events of transactions that the snapshot sees, as
 * SharedEvents.  They stay on the list until shared_events_delivered().
 */
List *
shared_take_events(SharedDatabase *db, Snapshot snapshot)
{
	int		   *slots;
	TransactionId *xids;
	int			n;
	List	   *events = NIL;

	if (db->first_event == NO_KEY)
		return NIL;
	slots = palloc(shared_state->nkeys * sizeof(int));
	xids = palloc(shared_state->nkeys * sizeof(TransactionId));
	n = copy_list(db, slots, xids);
	for (int i = 0; i < n; i++)
		if (!XidInMVCCSnapshot(xids[i], snapshot) && TransactionIdDidCommit(xids[i]))
		{
			SharedEvent *e = event_at(slots[i]);

			e->taken = true;
			events = lappend(events, e);
		}
	pfree(slots);
	pfree(xids);
	return events;
}

/* What was taken has been delivered. */
void
shared_events_delivered(SharedDatabase *db)
{
	LWLockAcquire(shared_state->lock, LW_EXCLUSIVE);
	remove_events(db, InvalidTransactionId);
	LWLockRelease(shared_state->lock);
}

/* Let go of all events of a database; the lock is held exclusively. */
void
shared_free_events(SharedDatabase *db)
{
	for (int i = db->first_event; i != NO_KEY; i = event_at(i)->next)
		event_at(i)->taken = true;
	remove_events(db, InvalidTransactionId);
}
