/*-------------------------------------------------------------------------
 *
 * commit.c
 *	  Carry the change set through the end of the transaction.
 *
 * Before the commit: counters, then delivery.  The counter rows are ours only
 * from here to the end of the commit, which is why they are not written when
 * the statement runs.  Nothing here may refuse the user's commit for a reason
 * of our own: every limit leads to a coarser invalidation.
 *
 * After the commit: the worker is told only when the other processes have been
 * told that the catalogs changed, which is later than XACT_EVENT_COMMIT and
 * later than the moment from which the transaction is seen.  Else the worker
 * would deliver by rules and names of before.
 *
 * The callbacks are registered once per backend and do nothing in a
 * transaction that changed no watched table.
 *
 *-------------------------------------------------------------------------
 */
#include "roof.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * The transaction has committed, and has not ended yet.  Of the transaction;
 * release_callback() ends it.  Savepoints do not touch it.
 */
static bool committed = false;

static void
write_changes(bool prepare)
{
	CounterTable *table;
	List	   *scopes;
	ListCell   *lc;
	bool		by_hand = false;
	MemoryContext old;

	/* A procedure that commits would keep what is left in its own context. */
	old = MemoryContextSwitchTo(TopTransactionContext);
	/* Have an id before the configuration is looked at: see whole_count.c. */
	if (change_set_active())
		(void) GetTopTransactionId();
	table = counter_open(RowExclusiveLock);
	if (table == NULL)
	{
		MemoryContextSwitchTo(old);
		return;					/* the extension has been dropped meanwhile */
	}

	FAULT_POINT("pre_commit");
	AcceptInvalidationMessages();
	change_set_recascade();
	scopes = change_set_pending();
	epoch_before_bump(table, prepare);
	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);

		if (scope->bumps > 0)
		{
			change_set_write(table, scope);
			by_hand |= scope->by_hand;
			if (scope->layout_floor != 0)
				layout_left_write(table, scope);
		}
	}
	if (by_hand)
		by_hand_write(table, scopes);
	if (scopes != NIL)
		whole_count_write(table, scopes);
	whole_count_end(table);
	FAULT_POINT("counted");

	if (scopes != NIL && prepare)
		delivery_pre_prepare(table, scopes);
	else if (scopes != NIL || delivery_due())
		delivery_pre_commit(table, scopes);
	FAULT_POINT("delivered");
	counter_close(table, NoLock);
	MemoryContextSwitchTo(old);
}

/* The user's lock_timeout is for his own locks: no commit fails of ours. */
static void
write_changes_without_timeout(bool prepare)
{
	int			lock_timeout = LockTimeout;

	LockTimeout = 0;
	PG_TRY();
	{
		write_changes(prepare);
	}
	PG_FINALLY();
	{
		LockTimeout = lock_timeout;
	}
	PG_END_TRY();
}

static void
forget_changes(void)
{
	schema_changes_end_transaction();
	change_set_end_transaction();
	whole_count_end_transaction();
	table_event_end_transaction();
	cascade_end_transaction();
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		quiet_changes_pre_commit();
	else
		quiet_changes_end_transaction();
	if (!change_set_active() && !delivery_due())
		return;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			write_changes_without_timeout(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			write_changes_without_timeout(true);
			break;
		case XACT_EVENT_COMMIT:
			committed = true;	/* the rest is up to release_callback() */
			FAULT_POINT("visible");
			break;
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			delivery_end_transaction();
			forget_changes();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;				/* parallel workers change nothing */
	}
}

/*
 * The last call of ours in a transaction, after its invalidation messages and
 * its locks.  Nothing may fail here.
 */
static void
release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level,
				 void *arg)
{
	if (!committed || !is_top_level || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	committed = false;
	delivery_post_commit();
	forget_changes();
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid,
				 SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		change_set_subcommit(level);
		schema_changes_subcommit(level);
		table_event_subcommit(level);
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		change_set_subabort(level);
		schema_changes_subabort(level);
		table_event_subabort(level);
	}
}

void
commit_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	RegisterResourceReleaseCallback(release_callback, NULL);
}
