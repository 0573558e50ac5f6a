/*-------------------------------------------------------------------------
 *
 * counter_table.h
 *	  The counter table from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COUNTER_TABLE_H
#define CACHE_NOTIFY_COUNTER_TABLE_H

#include "counter/counter.h"

#include "access/htup_details.h"
#include "access/skey.h"

/* Columns of version_counter. */
#define Anum_counter_n				1
#define Anum_counter_last_modified	2
#define Anum_counter_row_id			3
#define Anum_counter_bucket_layout	4
#define Anum_counter_keyed			5
#define Anum_counter_moves			6
#define Anum_counter_domain			7
#define Anum_counter_tenant_id		8
#define Natts_counter				8

/* The columns of fixed width come first, so they can be changed in place. */
typedef struct CounterForm
{
	int64		n;
	TimestampTz last_modified;
	int64		row_id;			/* the counter has no other row with it */
	int64		bucket_layout;	/* of keyed */
	int64		keyed;			/* the part of n whose keys have buckets */
	int32		moves;			/* to other pages */
} CounterForm;

#define counter_form(row) ((CounterForm *) GETSTRUCT(row))

/* What is NULL has not been needed so far. */
struct CounterTable
{
	Relation	heap;
	LOCKMODE	lockmode;
	Relation	index;
	MemoryContext context;		/* where it was opened */
	bool		has_snapshot;	/* counter_bump() has pushed one */

	/*
	 * What to tell of counters that are found with more than one row, or
	 * NULL.
	 */
	CounterManyRows tell_many_rows;

	/* A scan that is ready for the next search of one counter. */
	IndexScanDesc scan;
	ScanKeyData shared_scan_keys[2];
	ScanKeyData tenant_scan_keys[2];
};

extern void counter_open_index(CounterTable *table);
extern bool counter_columns_unindexed(CounterTable *table);
extern bool counter_row_is_of(HeapTuple row, TupleDesc desc, const CounterKey *key);
extern void counter_add_keyed(CounterBump *bump, int64 bucket_layout, int64 keyed);
extern void counter_add_to_form(CounterForm *form, const CounterBump *bump,
								TimestampTz modified);

#endif							/* CACHE_NOTIFY_COUNTER_TABLE_H */
