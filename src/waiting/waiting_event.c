/*-------------------------------------------------------------------------
 *
 * waiting_event.c
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
 * changed a scope, too, which wakes the worker after the commit.
 *
 * When the memory is full, nothing is put there, and the domains' change is
 * told instead (ExtraFields.events_incomplete).
 *
 * Locking: the LWLock of waiting_state.  Only the worker takes committed events off
 * the list, so it may read them without a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

static WaitingEvent *
event_at(int index)
{
	return &waiting_events(waiting_state)[index];
}

static void
append_event(WaitingDatabase *db, const TableEvent *event, TransactionId xid)
{
	int			index = waiting_state->first_free_event;
	WaitingEvent *e = event_at(index);

	waiting_state->first_free_event = e->next;
	waiting_state->free_events--;
	e->next = NO_SLOT;
	e->xid = xid;
	e->table = event->table;
	e->operations = event->operations;
	e->of_rows = event->of_rows;
	e->has_row = event->row != NULL;
	strlcpy(e->row, event->row ? event->row : "", sizeof(e->row));

	if (db->last_event == NO_SLOT)
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
waiting_add_events(WaitingDatabase *db, List *events, TransactionId xid)
{
	ListCell   *lc;
	bool		fit;

	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	fit = waiting_state->free_events >= list_length(events);
	if (fit)
		foreach(lc, events)
			append_event(db, lfirst(lc), xid);
	LWLockRelease(waiting_state->lock);
	if (!fit)
		pg_atomic_fetch_add_u64(&db->stats[STAT_OVERFLOWS], 1);
	return fit;
}

/* Take events off the list: those of xid, or with no xid the marked ones. */
static void
remove_events(WaitingDatabase *db, TransactionId xid)
{
	int			previous = NO_SLOT;
	int			next;

	for (int i = db->first_event; i != NO_SLOT; i = next)
	{
		WaitingEvent *e = event_at(i);

		next = e->next;
		if (TransactionIdIsValid(xid) ? e->xid != xid : !e->taken)
		{
			previous = i;
			continue;
		}
		if (previous == NO_SLOT)
			db->first_event = next;
		else
			event_at(previous)->next = next;
		if (next == NO_SLOT)
			db->last_event = previous;
		e->taken = false;
		e->next = waiting_state->first_free_event;
		waiting_state->first_free_event = i;
		waiting_state->free_events++;
	}
}

/* The transaction has aborted: its events never happened. */
void
waiting_drop_events(WaitingDatabase *db, TransactionId xid)
{
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	remove_events(db, xid);
	LWLockRelease(waiting_state->lock);
}

/* A copy of the list as it is now: slots, and whose they are. */
static int
copy_list(WaitingDatabase *db, int *slots, TransactionId *xids)
{
	int			n = 0;

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	for (int i = db->first_event; i != NO_SLOT; i = event_at(i)->next)
	{
		slots[n] = i;
		xids[n++] = event_at(i)->xid;
	}
	LWLockRelease(waiting_state->lock);
	return n;
}

/* A taken event as message.c wants it. */
static TableEvent *
table_event_of(const WaitingEvent *e)
{
	TableEvent *event = palloc0(sizeof(TableEvent));

	event->table = e->table;
	event->operations = e->operations;
	event->of_rows = e->of_rows;
	event->row = e->has_row ? e->row : NULL;
	return event;
}

/*
 * The worker: the events of transactions that the snapshot sees, as TableEvents.
 * They stay on the list until waiting_events_delivered().
 *
 * Their transactions are committed, but one may not have told us yet that a
 * table has a new name: it does before it gives up the lock on its ID, so
 * waiting for that lock is short, and what reads the catalogs next knows.
 */
List *
waiting_take_events(WaitingDatabase *db, Snapshot snapshot)
{
	int		   *slots;
	TransactionId *xids;
	TransactionId ended = InvalidTransactionId;
	int			n;
	List	   *events = NIL;

	if (db->first_event == NO_SLOT)
		return NIL;
	slots = palloc(waiting_state->nscopes * sizeof(int));
	xids = palloc(waiting_state->nscopes * sizeof(TransactionId));
	n = copy_list(db, slots, xids);
	for (int i = 0; i < n; i++)
		if (!XidInMVCCSnapshot(xids[i], snapshot) && TransactionIdDidCommit(xids[i]))
		{
			WaitingEvent *e = event_at(slots[i]);

			e->taken = true;
			if (e->xid != ended)
				XactLockTableWait(e->xid, NULL, NULL, XLTW_None);
			ended = e->xid;
			events = lappend(events, table_event_of(e));
		}
	pfree(slots);
	pfree(xids);
	return events;
}

/* What was taken has been delivered. */
void
waiting_events_delivered(WaitingDatabase *db)
{
	LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
	remove_events(db, InvalidTransactionId);
	LWLockRelease(waiting_state->lock);
}

/* Let go of all events of a database; the lock is held exclusively. */
void
waiting_free_events(WaitingDatabase *db)
{
	for (int i = db->first_event; i != NO_SLOT; i = event_at(i)->next)
		event_at(i)->taken = true;
	remove_events(db, InvalidTransactionId);
}
