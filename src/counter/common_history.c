/*-------------------------------------------------------------------------
 *
 * common_history.c
 *	  The history that another backend has read.
 *
 * It says which relations the counters and the history are, and what the latter
 * says.  A new history is begun where this one does not match the facts (a
 * failover, a template), which whoever takes it compares; or by new_history() and
 * the like, which change what common facts are made of.  That the present one has
 * commits that a crash can lose is noted once more by who does not know.  A crash
 * takes shared memory with it.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/common_history.h"

static CommonFact history_fact = {.size = sizeof(CommonHistory)};

void
common_history_init(void)
{
	common_fact_add(&history_fact);
}

bool
common_history_take(CommonHistory *history)
{
	return common_fact_take(&history_fact, history);
}

void
common_history_leave(const CommonHistory *history, uint64 begun)
{
	common_fact_leave(&history_fact, history, begun);
}
