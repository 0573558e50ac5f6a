/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  What the worker lane has done, for the view cache_notify.stats.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "shared.h"

PG_FUNCTION_INFO_V1(cache_notify_statistics);
PG_FUNCTION_INFO_V1(cache_notify_reset_statistics);

/* Columns of statistics(), after database. */
static const Statistic columns[] = {
	STAT_BUMPS,
	STAT_ROWS,
	STAT_DELIVERED,
	STAT_COALESCED,
	STAT_CYCLES,
	STAT_OVERFLOWS,
	STAT_WORKER_RESTARTS,
	STAT_LAST_LAG_US,
	STAT_MAX_LAG_US,
	STAT_RESET_AT
};

#define NUM_COLUMNS (lengthof(columns) + 2)

/*
 * statistics() returns setof record: one row, for this database; none if the
 * library is not preloaded or the database has delivered nothing yet.
 */
Datum
cache_notify_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedDatabase *db = shared_database(MyDatabaseId);
	Datum		values[NUM_COLUMNS] = {0};
	bool		nulls[NUM_COLUMNS] = {0};
	int			pid;

	compat_materialize_result(fcinfo);
	if (db == NULL)
		return (Datum) 0;
	for (int i = 0; i < lengthof(columns); i++)
		values[i] = Int64GetDatum(pg_atomic_read_u64(&db->stats[columns[i]]));

	LWLockAcquire(shared_lock(), LW_SHARED);
	pid = db->worker == WORKER_RUNNING ? db->worker_pid : 0;
	LWLockRelease(shared_lock());
	values[lengthof(columns)] = Int32GetDatum(pid);
	nulls[lengthof(columns)] = pid == 0;
	values[lengthof(columns) + 1] = Int64GetDatum(shared_pending(db));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* reset_statistics() returns void */
Datum
cache_notify_reset_statistics(PG_FUNCTION_ARGS)
{
	SharedDatabase *db = shared_database(MyDatabaseId);

	if (db != NULL)
	{
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_write_u64(&db->stats[n], 0);
		pg_atomic_write_u64(&db->stats[STAT_RESET_AT], GetCurrentTimestamp());
	}
	PG_RETURN_VOID();
}
