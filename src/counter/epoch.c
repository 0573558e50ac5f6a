/*-------------------------------------------------------------------------
 *
 * epoch.c
 *	  Which history this is: where versions start, and what tokens name.
 *
 * A version is the origin of the history plus a sum of counters.  In normal
 * life the origin is 0.  It moves forward when the database may have forked,
 * that is, when commits that somebody has seen may be missing, or may be
 * going on elsewhere: failover, point-in-time recovery, a dump restored, a
 * database used as a template, pg_upgrade, and a crash after commits with
 * synchronous_commit = off.  So no number stands for two states, and none
 * goes backwards.
 *
 * The facts.  Each row of _cache_notify.history says where it was written: on
 * which timeline, in which cluster and database, for which counter table.
 * The row with the greatest origin counts.  While the facts around us are the
 * ones it says, its origin is the origin.  If they differ, we are in a new
 * history that nobody has noted, and the first who looks notes it, with
 *
 *	  origin = max(microseconds since 2020,
 *				   row's origin + 2^26 * distance + microseconds since the row)
 *
 * where distance is in timelines, and at least 1.  The clock, not a count of
 * forks, because two forks of one backup must not meet: they count alike, but
 * they do not begin in the same microsecond, and the later one is ahead.  A
 * counter would have to move more than a million times a second to catch up
 * with the next fork.  Versions stay below 2^53, which is what JavaScript keeps
 * exact, until the year 2305.  (If the clock went back, a random part keeps
 * forks apart.)
 *
 * Where nothing can be written, on a standby, the second term is a
 * provisional origin.  It is the same for everybody who has the same facts
 * and row; and as long as no row has been written for the new history no
 * counter has moved in it either, so equal sums are equal states there, too.
 *
 * Writing at once.  The new row must be there before any counter moves in the
 * new history, whoever moves it, and a reader who had to note it must not
 * depend on its own transaction's end.  So it is inserted frozen: everybody
 * sees it from now on, also if the transaction rolls back.  In the WAL it
 * comes before every commit of the new history.  That is no user's data and
 * changes no answer, so a READ ONLY transaction may do it; a SERIALIZABLE one
 * and a parallel query may not, and use the provisional origin.
 *
 * Commits that a crash can lose.  With synchronous_commit = off others see a
 * commit before it is on disk.  The first such commit marks the history
 * (column asynchronous) and puts a row into _cache_notify.running, an unlogged
 * table, which crash recovery empties.  Marked and empty: there was a crash.
 *
 * Locking.  A page lock on the history table, for the time of the insertion
 * only, lets one backend note a history and the others find it noted.
 *
 * What each backend remembers holds until a relcache invalidation of the
 * history table.  Only a history that matches the facts is remembered.  On a
 * standby the timeline is compared each time; on a primary no fact can change
 * but with the counter table's OID.  A new backend of a primary takes what another
 * one has read (common_history.c).
 *
 *-------------------------------------------------------------------------
 */
#include "counter/common_history.h"

#include "access/htup_details.h"
#include "utils/guc.h"
#include "utils/fmgroids.h"
#include "utils/array.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "catalog/pg_db_role_setting.h"
#include "access/table.h"
#include "access/genam.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cache_notify_version_origin);
PG_FUNCTION_INFO_V1(cache_notify_new_history);

#define ORIGIN_STEP			(INT64CONST(1) << 26)
#define ORIGIN_SPREAD		(INT64CONST(1) << 20)

/* Versions stay below 2^53. */
#define MAX_ORIGIN			(INT64CONST(1) << 52)

/* From 2000-01-01, where timestamps start, to 2020-01-01. */
#define ORIGIN_CLOCK_START	(INT64CONST(7305) * USECS_PER_DAY)

/*
 * What this backend remembers: a Reading that matches, or nothing.  It stays
 * until the history table is invalidated; a savepoint does nothing to it, as only
 * what everybody reads is remembered.
 */
static uint64 remembered_at = 0;	/* count of history_changes; 0: nothing */
static bool remembered_in_recovery;
static Facts remembered_facts;
static Reading remembered_reading;
static InvalidationCount history_changes;

static char *former_origin;		/* the setting */

#define remembered (remembered_at == history_changes.count)

void
epoch_init(void)
{
	DefineCustomStringVariable(FORMER_ORIGIN,
							   "Where versions start if the extension is created once more.",
							   "DROP EXTENSION sets it for the database; off: it does not.",
							   &former_origin,
							   "",
							   PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							   NULL, NULL, NULL);
	invalidation_count_relations(&history_changes);
}

static void
get_facts(CounterTable *table, Facts *facts)
{
	facts->system_identifier = GetSystemIdentifier();
	facts->timeline = compat_timeline();
	facts->database_oid = MyDatabaseId;
	facts->counter_oid = RelationGetRelid(table->heap);
	facts->unused = InvalidOid;
}

/* Where versions start as long as nothing has been written. */
static int64
provisional_origin(const HistoryForm *row, const Facts *facts)
{
	int64		distance = (int64) facts->timeline - row->timeline;

	return row->origin + ORIGIN_STEP * Max(distance, 1);
}

static int64
random_incarnation(void)
{
	int64		result;

	if (!pg_strong_random(&result, sizeof(result)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	return result;
}

/* May this backend insert into the history table now? */
static bool
can_write(void)
{
	return !RecoveryInProgress() && !IsInParallelMode() &&
		!(XactReadOnly && IsolationIsSerializable());
}

/*
 * Where versions of a new extension start: above those of one that was dropped,
 * which left a setting of the database.
 */
static int64
origin_left_behind(void)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		origin = 0;

	ScanKeyInit(&keys[0], Anum_pg_db_role_setting_setdatabase,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(MyDatabaseId));
	ScanKeyInit(&keys[1], Anum_pg_db_role_setting_setrole,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(InvalidOid));
	scan = systable_beginscan(rel, DbRoleSettingDatidRolidIndexId, true, NULL,
							  2, keys);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		settings = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig,
											RelationGetDescr(rel), &isnull);
		Datum	   *elements;
		int			n = 0;

		if (!isnull)
			deconstruct_array(DatumGetArrayTypeP(settings), TEXTOID, -1, false,
							  TYPALIGN_INT, &elements, NULL, &n);
		for (int i = 0; i < n; i++)
		{
			char	   *setting = TextDatumGetCString(elements[i]);
			size_t		len = strlen(FORMER_ORIGIN "=");

			if (strncmp(setting, FORMER_ORIGIN "=", len) == 0)
				origin = strtoll(setting + len, NULL, 10);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return origin <= 0 ? 0 : Max(origin, GetCurrentTimestamp() - ORIGIN_CLOCK_START);
}

/*
 * What is to be left behind when the extension is dropped: above every version
 * that there has been.  0: nothing, as nobody has seen a version.
 */
int64
epoch_to_leave_behind(void)
{
	CounterTable *table = strcmp(former_origin, "off") == 0 ? NULL :
		counter_open(AccessShareLock);
	int64		origin;

	if (table == NULL)
		return 0;
	PushActiveSnapshot(GetLatestSnapshot());
	origin = epoch_origin(table, GetActiveSnapshot());
	PopActiveSnapshot();
	counter_close(table, AccessShareLock);
	return Max(origin + ORIGIN_STEP, GetCurrentTimestamp() - ORIGIN_CLOCK_START);
}

/* The row of a history that begins now. */
static void
begin_history(const Reading *reading, const Facts *facts, HistoryForm *row)
{
	memset(row, 0, sizeof(HistoryForm));
	row->incarnation = random_incarnation();
	if (!reading->found)
		row->origin = origin_left_behind();
	else
	{
		TimestampTz now = GetCurrentTimestamp();
		int64		elapsed = now - reading->row.since;

		if (elapsed <= 0)
			elapsed = 1 + (row->incarnation & (ORIGIN_SPREAD - 1));
		row->origin = Max(now - ORIGIN_CLOCK_START,
						  provisional_origin(&reading->row, facts) + elapsed);
	}
}

/*
 * Read the history as the snapshot sees it.  If it sees none that matches, one that
 * was committed later is as good, as no counter that it sees has moved in it, and
 * there must not be two for the same counters.
 */
static void
read_noted_history(Relation rel, const Facts *facts, Snapshot snapshot,
				   Reading *reading)
{
	read_history(rel, facts, snapshot, reading);
	if (reading->matches || reading->settled || IsInParallelMode())
		return;
	read_history(rel, facts, GetLatestSnapshot(), reading);
	reading->settled = false;	/* not to be remembered */
}

/*
 * Note, at once and for everybody, that a new history has begun, or that the
 * present one has commits that a crash can lose.  Another backend may have
 * been faster.
 */
static void
write_history(Relation rel, const Facts *facts, Snapshot snapshot,
			  bool asynchronous, Reading *reading)
{
	HistoryForm row;

	LockRelation(rel, RowExclusiveLock);
	LockPage(rel, 0, ExclusiveLock);
	read_noted_history(rel, facts, snapshot, reading);
	if (!reading->matches || lost_commits(&reading->row))
	{
		begin_history(reading, facts, &row);
		insert_history(rel, &row, facts, HEAP_INSERT_FROZEN);
		FAULT_POINT("history");
	}
	else if (asynchronous && !reading->row.asynchronous)
	{
		insert_running();
		FAULT_POINT("running");
		row = reading->row;
		row.asynchronous = true;
		insert_history(rel, &row, facts, HEAP_INSERT_FROZEN);
		XLogFlush(XactLastRecEnd);
	}
	UnlockPage(rel, 0, ExclusiveLock);
	UnlockRelation(rel, RowExclusiveLock);
	read_noted_history(rel, facts, snapshot, reading);
}

/*
 * Remember what another backend has read, if it is of the history that we are in.
 * asynchronous: only if it also has commits that a crash can lose.
 */
static void
take_common_history(CounterTable *table, bool asynchronous)
{
	CommonHistory history;
	Facts		facts;

	if (!common_history_take(&history))
		return;
	get_facts(table, &facts);
	if (memcmp(&facts, &history.facts, sizeof(Facts)) != 0 ||
		(asynchronous && !history.reading.row.asynchronous))
		return;
	history_changes.relid = history.relid;
	remembered_in_recovery = false;
	remembered_facts = facts;
	remembered_reading = history.reading;
	remembered_at = history_changes.count;
}

/* Is what this backend remembers true, and of use to this snapshot? */
static bool
use_remembered(CounterTable *table, Snapshot snapshot)
{
	if (!remembered)
		take_common_history(table, false);
	if (!remembered ||
		remembered_facts.counter_oid != RelationGetRelid(table->heap) ||
		!TransactionIdPrecedes(remembered_reading.newest, snapshot->xmin))
		return false;
	if (!remembered_in_recovery)
		return true;
	return RecoveryInProgress() &&
		compat_timeline() == remembered_facts.timeline;
}

static void
remember(Relation rel, const Facts *facts, const Reading *reading,
		 uint64 invalidations_before, uint64 begun)
{
	CommonHistory history = {
		.relid = RelationGetRelid(rel),
		.facts = *facts,
		.reading = *reading
	};

	if (!reading->settled || !reading->matches ||
		history_changes.count != invalidations_before)
		return;
	common_history_leave(&history, begun);
	remembered_in_recovery = RecoveryInProgress();
	remembered_facts = *facts;
	remembered_reading = *reading;
	remembered_at = invalidations_before;
}

/* Read the history table, and note the history if it is new. */
static void
look_at_history(CounterTable *table, Snapshot snapshot, Facts *facts,
				Reading *reading)
{
	uint64		begun = common_fact_begin();
	Oid			oid = extension_relation(INTERNAL_SCHEMA, "history");
	Relation	rel = OidIsValid(oid) ?
		try_relation_open(oid, AccessShareLock) : NULL;
	uint64		invalidations_before;

	history_changes.relid = oid;
	invalidations_before = history_changes.count;
	get_facts(table, facts);
	memset(reading, 0, sizeof(Reading));
	if (rel == NULL)
		return;

	read_noted_history(rel, facts, snapshot, reading);
	if (!reading->matches || lost_commits(&reading->row))
	{
		if (can_write())
			write_history(rel, facts, snapshot, false, reading);
		else
			reading->matches = false;
	}
	remember(rel, facts, reading, invalidations_before, begun);
	relation_close(rel, AccessShareLock);
}

/* The history that the counters are in, as the snapshot sees them. */
void
epoch_read(CounterTable *table, Snapshot snapshot, History *history)
{
	Facts		facts;
	Reading		reading;

	if (use_remembered(table, snapshot))
	{
		facts = remembered_facts;
		reading = remembered_reading;
	}
	else
		look_at_history(table, snapshot, &facts, &reading);

	history->origin = reading.row.origin;
	if (!reading.matches && reading.found)
		history->origin = provisional_origin(&reading.row, &facts);
	history->fingerprint =
		hash_bytes_extended((const unsigned char *) &facts, sizeof(facts),
							(uint64) reading.row.incarnation);
}

int64
epoch_origin(CounterTable *table, Snapshot snapshot)
{
	History		history;

	if (use_remembered(table, snapshot))
		return remembered_reading.row.origin;
	epoch_read(table, snapshot, &history);
	return history.origin;
}

static void
write_asynchronous(CounterTable *table, Snapshot snapshot)
{
	uint64		begun = common_fact_begin();
	Relation	rel = extension_open(INTERNAL_SCHEMA, "history", AccessShareLock);
	Facts		facts;
	Reading		reading;
	uint64		invalidations_before;

	if (rel == NULL)
		return;
	history_changes.relid = RelationGetRelid(rel);
	invalidations_before = history_changes.count;
	get_facts(table, &facts);
	write_history(rel, &facts, snapshot, true, &reading);
	remembered_at = 0;
	remember(rel, &facts, &reading, invalidations_before, begun);
	relation_close(rel, AccessShareLock);
}

/*
 * Counters are about to move: the history must have been noted, and that a
 * crash may lose this commit, if so.  Most often this backend remembers that
 * it has, and no snapshot is taken.
 */
void
epoch_before_bump(CounterTable *table, bool prepare)
{
	bool		asynchronous = !prepare &&
		synchronous_commit == SYNCHRONOUS_COMMIT_OFF;
	bool		known;

	if (!remembered)
		take_common_history(table, asynchronous);
	known = remembered && !remembered_in_recovery &&
		remembered_facts.counter_oid == RelationGetRelid(table->heap);
	if (known && (!asynchronous || remembered_reading.row.asynchronous))
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	(void) epoch_origin(table, GetActiveSnapshot());
	if (asynchronous && !(remembered && remembered_reading.row.asynchronous))
		write_asynchronous(table, GetActiveSnapshot());
	PopActiveSnapshot();
}

/* Begin a new history, above this version as well, when this transaction commits. */
static void
begin_at_commit(int64 above)
{
	Oid			oid = extension_relation(INTERNAL_SCHEMA, "history");
	Relation	rel = OidIsValid(oid) ?
		try_relation_open(oid, RowExclusiveLock) : NULL;
	CounterTable *table;
	Facts		facts;
	Reading		reading;
	HistoryForm row;

	table = rel != NULL ? counter_open(AccessShareLock) : NULL;
	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("cache_notify is not installed in this database"),
				 errhint("Run CREATE EXTENSION cache_notify.")));
	get_facts(table, &facts);
	CommandCounterIncrement();	/* see what this transaction has written */
	read_history(rel, &facts, GetLatestSnapshot(), &reading);
	begin_history(&reading, &facts, &row);
	row.origin = Max(row.origin, above);
	insert_history(rel, &row, &facts, 0);
	CacheInvalidateRelcacheByRelid(oid);
	common_fact_change();
	counter_close(table, AccessShareLock);
	relation_close(rel, NoLock);
}

/*
 * new_history(above bigint) returns void, strict, and new_history() returns void:
 * above is where versions of another server start, whose place this one takes.  Its
 * clock alone does not keep them apart, as each history begins 2^26 above the last.
 */
Datum
cache_notify_new_history(PG_FUNCTION_ARGS)
{
	int64		above = PG_NARGS() > 0 ? PG_GETARG_INT64(0) : -ORIGIN_STEP;

	PreventCommandIfReadOnly("new_history()");
	PreventCommandIfParallelMode("new_history()");
	if (PG_NARGS() > 0 && (above < 0 || above > MAX_ORIGIN))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("no version can start at " INT64_FORMAT, above),
				 errhint("Pass what cache_notify.version_origin() says on the other server.")));
	begin_at_commit(above + ORIGIN_STEP);
	PG_RETURN_VOID();
}

/*
 * Begin a new history when this transaction commits, if versions start at 0 so
 * far.  Never fails.
 */
void
epoch_leave_zero(void)
{
	CounterTable *table = counter_open(AccessShareLock);
	int64		origin;

	if (table == NULL)
		return;
	CommandCounterIncrement();	/* see a history that we have begun already */
	PushActiveSnapshot(GetLatestSnapshot());
	origin = epoch_origin(table, GetActiveSnapshot());
	PopActiveSnapshot();
	counter_close(table, AccessShareLock);
	if (origin == 0)
		begin_at_commit(0);
}

/* version_origin() returns bigint */
Datum
cache_notify_version_origin(PG_FUNCTION_ARGS)
{
	CounterTable *table;
	int64		origin;

	table = counter_open(AccessShareLock);
	if (table == NULL)
		PG_RETURN_NULL();
	origin = epoch_origin(table, GetActiveSnapshot());
	counter_close(table, AccessShareLock);
	PG_RETURN_INT64(origin);
}
