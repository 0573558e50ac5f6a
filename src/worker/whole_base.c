/*-------------------------------------------------------------------------
 *
 * whole_base.c
 *	  The worker's part in whole_count.c: now and then, find out what had been
 *	  counted before a domain had a counter as a whole.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_inside.h"

#include "access/xact.h"
#include "pgstat.h"
#include "utils/snapmgr.h"

/* How often to look, in ms. */
#define BASES_MS		1000

/*
 * Is there a domain whose counters are to be added up, or may there be?  Of the
 * worker.
 */
static bool bases_wanted = false;

/* How long until find_bases() wants to be called, in ms; -1: not at all. */
long
bases_wait(void)
{
	return bases_wanted ? BASES_MS : -1;
}

/*
 * In a transaction of its own, if the last time was a while ago; else it is still
 * wanted afterwards.  What was delivered since then may be that a table is watched
 * in another way.
 */
void
find_bases(TimestampTz delivered_at)
{
	static TimestampTz last_look = 0;	/* of the worker */

	if (delivered_at >= last_look)
		bases_wanted = true;
	if (!bases_wanted ||
		!TimestampDifferenceExceeds(last_look, GetCurrentTimestamp(), BASES_MS))
		return;
	last_look = GetCurrentTimestamp();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	bases_wanted = whole_count_wants_base();
	if (bases_wanted)
	{
		pgstat_report_activity(STATE_RUNNING, "adding up whole domains");
		PushActiveSnapshot(GetTransactionSnapshot());
		whole_count_find_bases();
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
}
