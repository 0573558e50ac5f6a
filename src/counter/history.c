/*-------------------------------------------------------------------------
 *
 * history.c
 *	  The history table and the mark that a crash wipes out: read and written.
 *
 * epoch.c says what is in them and why.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/history.h"

#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"

#define Natts_history	8

static bool
row_matches(const HistoryForm *row, const Facts *facts)
{
	return row->system_identifier == (int64) facts->system_identifier &&
		row->timeline == facts->timeline &&
		row->database_oid == facts->database_oid &&
		row->counter_oid == facts->counter_oid;
}

/*
 * Take a row into account.  Of several rows with the greatest origin, one that
 * does not match wins: it came with somebody else's counters.
 */
static void
add_row(Reading *reading, const HistoryForm *row, const Facts *facts)
{
	bool		matches = row_matches(row, facts);

	if (!reading->found || row->origin > reading->row.origin)
	{
		reading->found = true;
		reading->matches = matches;
		reading->row = *row;
	}
	else if (row->origin == reading->row.origin)
	{
		bool		asynchronous = reading->row.asynchronous || row->asynchronous;

		if (!matches || (reading->matches &&
						 row->incarnation > reading->row.incarnation))
			reading->row = *row;
		reading->matches = reading->matches && matches;
		reading->row.asynchronous = asynchronous;
	}
}

/*
 * Read the history table.  All row versions are looked at, and visibility is
 * tested here, to know whether others may see something else, and to take no
 * predicate locks.
 */
void
read_history(Relation rel, const Facts *facts, Snapshot snapshot,
			 Reading *reading)
{
	TableScanDesc scan = compat_table_beginscan(rel, SnapshotAny);
	HeapTuple	tuple;

	memset(reading, 0, sizeof(Reading));
	reading->settled = true;
	reading->newest = FrozenTransactionId;
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		Buffer		buffer = ((HeapScanDesc) scan)->rs_cbuf;
		bool		visible;

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		visible = HeapTupleSatisfiesVisibility(tuple, snapshot, buffer);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		if (visible)
		{
			add_row(reading, (HistoryForm *) GETSTRUCT(tuple), facts);
			if (TransactionIdFollows(xmin, reading->newest))
				reading->newest = xmin;
		}
		if (TransactionIdIsNormal(xmin) &&
			(TransactionIdIsCurrentTransactionId(xmin) ||
			 TransactionIdIsInProgress(xmin) ||
			 (!visible && TransactionIdDidCommit(xmin))))
			reading->settled = false;
	}
	table_endscan(scan);
}

/* Has a crash lost commits of this history? */
bool
lost_commits(const HistoryForm *row)
{
	Oid			oid;
	Relation	rel;
	bool		empty;

	if (!row->asynchronous || RecoveryInProgress())
		return false;
	oid = extension_relation(INTERNAL_SCHEMA, "running");
	rel = OidIsValid(oid) ? try_relation_open(oid, AccessShareLock) : NULL;
	if (rel == NULL)
		return true;
	empty = RelationGetNumberOfBlocks(rel) == 0;
	relation_close(rel, AccessShareLock);
	return empty;
}

void
insert_history(Relation rel, const HistoryForm *row, const Facts *facts,
			   int options)
{
	Datum		values[Natts_history];
	bool		nulls[Natts_history] = {false};
	HeapTuple	tuple;

	values[0] = Int64GetDatum(row->origin);
	values[1] = Int64GetDatum(row->incarnation);
	values[2] = Int64GetDatum((int64) facts->system_identifier);
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[4] = Int64GetDatum((int64) facts->timeline);
	values[5] = ObjectIdGetDatum(facts->database_oid);
	values[6] = ObjectIdGetDatum(facts->counter_oid);
	values[7] = BoolGetDatum(row->asynchronous);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	heap_insert(rel, tuple, GetCurrentCommandId(true), options, NULL);
	heap_freetuple(tuple);
}

/*
 * The mark that a crash wipes out.  Unlogged, so before the row that says it
 * must be there.
 */
void
insert_running(void)
{
	Oid			oid = extension_relation(INTERNAL_SCHEMA, "running");
	Relation	rel = OidIsValid(oid) ?
		try_relation_open(oid, RowExclusiveLock) : NULL;
	Datum		values[1] = {BoolGetDatum(true)};
	bool		nulls[1] = {false};
	HeapTuple	tuple;

	if (rel == NULL)
		return;
	if (RelationGetNumberOfBlocks(rel) == 0)
	{
		tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
		heap_insert(rel, tuple, GetCurrentCommandId(true), HEAP_INSERT_FROZEN,
					NULL);
		heap_freetuple(tuple);
	}
	relation_close(rel, RowExclusiveLock);
}
