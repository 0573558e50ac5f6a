/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  What has been counted and delivered, for the view cache_notify.stats.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(cache_notify_statistics);
PG_FUNCTION_INFO_V1(cache_notify_clear_statistics);

/*
 * The columns of statistics(): one for each Statistic, the worker, what waits.
 *
 * To add a statistic: (i) a Statistic (waiting_memory.h), and here its column;
 * (ii) the column in sql/_cache_notify/stats.sql, at the same place; (iii) one
 * with a comment in the view, sql/cache_notify/stats.sql, and if operators need
 * it in monitoring/queries.yaml; (iv) what counts it, in this file.
 */
#define NUM_COLUMNS (NUM_STATS + 2)

static const char *const column_names[] = {
	[STAT_BUMPS] = "bumps",
	[STAT_ROWS] = "rows_seen",
	[STAT_DELIVERED] = "delivered",
	[STAT_COALESCED] = "coalesced",
	[STAT_CYCLES] = "cycles",
	[STAT_OVERFLOWS] = "overflows",
	[STAT_WORKER_RESTARTS] = "worker_restarts",
	[STAT_LAST_LAG_US] = "last_lag_us",
	[STAT_MAX_LAG_US] = "max_lag_us",
	[STAT_CLEARED_AT] = "cleared_at_us",
	[NUM_STATS] = "worker_pid",
	[NUM_STATS + 1] = "waiting"
};

StaticAssertDecl(lengthof(column_names) == NUM_COLUMNS,
				 "each Statistic has a column");

/* What is counted for this database, or NULL. */
static WaitingDatabase *
my_database(void)
{
	WaitingDatabase *db;

	if (waiting_state == NULL)
		return NULL;
	LWLockAcquire(waiting_state->lock, LW_SHARED);
	db = waiting_find_database(MyDatabaseId);
	LWLockRelease(waiting_state->lock);
	return db;
}

/*
 * Count what a committed transaction did, and of how many scopes it told listeners
 * itself.  db may be NULL.  The first that tells makes the database a slot.
 */
void
waiting_count(WaitingDatabase *db, int64 bumps, int64 rows, int64 delivered)
{
	if (db == NULL)
		db = my_database();
	if (db == NULL && delivered > 0 && waiting_state != NULL)
	{
		LWLockAcquire(waiting_state->lock, LW_EXCLUSIVE);
		db = waiting_make_database(MyDatabaseId);
		LWLockRelease(waiting_state->lock);
	}
	if (db == NULL)
		return;
	if (delivered > 0)
		pg_atomic_fetch_add_u64(&db->stats[STAT_DELIVERED], delivered);
	pg_atomic_fetch_add_u64(&db->stats[STAT_BUMPS], bumps);
	if (rows > 0)
		pg_atomic_fetch_add_u64(&db->stats[STAT_ROWS], rows);
}

/* The worker has told listeners of so many scopes. */
void
waiting_count_delivered(WaitingDatabase *db, int nscopes, uint64 lag_us)
{
	pg_atomic_fetch_add_u64(&db->stats[STAT_DELIVERED], nscopes);
	pg_atomic_fetch_add_u64(&db->stats[STAT_CYCLES], 1);
	pg_atomic_write_u64(&db->stats[STAT_LAST_LAG_US], lag_us);
	if (lag_us > pg_atomic_read_u64(&db->stats[STAT_MAX_LAG_US]))
		pg_atomic_write_u64(&db->stats[STAT_MAX_LAG_US], lag_us);
}

/*
 * statistics() returns setof record: one row, for this database; none if the
 * library is not preloaded or the database has delivered nothing yet.
 */
Datum
cache_notify_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WaitingDatabase *db = my_database();
	Datum		values[NUM_COLUMNS] = {0};
	bool		nulls[NUM_COLUMNS] = {0};
	int			pid;

	compat_materialize_result(fcinfo);
	for (int n = 0; n < NUM_COLUMNS; n++)
		check_column(rsinfo->setDesc, NUM_COLUMNS, n, column_names[n],
					 n == NUM_STATS ? INT4OID : INT8OID);
	if (db == NULL)
		return (Datum) 0;
	for (int n = 0; n < NUM_STATS; n++)
		values[n] = Int64GetDatum(pg_atomic_read_u64(&db->stats[n]));

	LWLockAcquire(waiting_state->lock, LW_SHARED);
	pid = db->worker == WORKER_RUNNING ? db->worker_pid : 0;
	LWLockRelease(waiting_state->lock);
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
	WaitingDatabase *db = my_database();

	if (db != NULL)
	{
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_write_u64(&db->stats[n], 0);
		pg_atomic_write_u64(&db->stats[STAT_CLEARED_AT], GetCurrentTimestamp());
	}
	PG_RETURN_VOID();
}
