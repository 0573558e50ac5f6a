/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  What the worker lane has done, for the view cache_notify.stats.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "worker/waiting.h"

PG_FUNCTION_INFO_V1(cache_notify_statistics);
PG_FUNCTION_INFO_V1(cache_notify_clear_statistics);

/* Columns of statistics(): one for each Statistic, the worker, what waits. */
#define NUM_COLUMNS (NUM_STATS + 2)

/*
 * statistics() returns setof record: one row, for this database; none if the
 * library is not preloaded or the database has delivered nothing yet.
 */
Datum
cache_notify_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WaitingDatabase *db = waiting_database(MyDatabaseId);
	Datum		values[NUM_COLUMNS] = {0};
	bool		nulls[NUM_COLUMNS] = {0};
	int			pid;

	compat_materialize_result(fcinfo);
	if (db == NULL)
		return (Datum) 0;
	for (int n = 0; n < NUM_STATS; n++)
		values[n] = Int64GetDatum(pg_atomic_read_u64(&db->stats[n]));

	LWLockAcquire(waiting_lock(), LW_SHARED);
	pid = db->worker == WORKER_RUNNING ? db->worker_pid : 0;
	LWLockRelease(waiting_lock());
	values[NUM_STATS] = Int32GetDatum(pid);
	nulls[NUM_STATS] = pid == 0;
	values[NUM_STATS + 1] = Int64GetDatum(waiting_pending(db));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* clear_statistics() returns void */
Datum
cache_notify_clear_statistics(PG_FUNCTION_ARGS)
{
	WaitingDatabase *db = waiting_database(MyDatabaseId);

	if (db != NULL)
	{
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_write_u64(&db->stats[n], 0);
		pg_atomic_write_u64(&db->stats[STAT_CLEARED_AT], GetCurrentTimestamp());
	}
	PG_RETURN_VOID();
}
