/*-------------------------------------------------------------------------
 *
 * watch_scan.c
 *	  All triggers of ours, quickly, however many there are.
 *
 * Whoever asks for the first time about a domain has them all read, and with
 * thousands of partitions these are tens of thousands, nearly all of which have the
 * arguments of the one before of their kind.  pg_depend says which there are; if they
 * are a good part of pg_trigger, reading that as a whole is faster than looking each
 * up, and than counting all of them.
 *
 * Locking: AccessShareLock on the catalogs that are read, kept no longer than the
 * reading.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* Looking up so many takes as long as reading a page of pg_trigger. */
#define LOOKUPS_PER_PAGE	4

/* Row triggers, or statement triggers, of which there is one for each table and domain. */
typedef struct Kind
{
	Oid			function;		/* InvalidOid: not wanted, or not there */
	Watch	   *last;			/* NULL: none yet */
	HeapTuple	sample;			/* its row */
} Kind;

/* What a reading adds up to. */
typedef struct Reading
{
	Relation	pg_trigger;
	Kind		statements;
	Kind		rows;
	List	   *watches;
} Reading;

/* Add the OIDs of the triggers that call a function.  False if there are more than max. */
static bool
add_triggers_calling(Oid function, int64 max, List **triggers)
{
	Relation	pg_depend;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(function))
		return true;
	pg_depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(function));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true, NULL,
							  2, keys);
	while (list_length(*triggers) <= max &&
		   HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == TriggerRelationId)
			*triggers = lappend_oid(*triggers, depend->objid);
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);
	return list_length(*triggers) <= max;
}

/*
 * Are all columns that are not of fixed width stored alike, and so the arguments?  To
 * look for these in each row would take longer than all else.
 */
static bool
same_variable_part(HeapTuple a, HeapTuple b)
{
	Size		fixed = a->t_data->t_hoff + offsetof(FormData_pg_trigger, tgattr);
	Size		bits = a->t_data->t_hoff - offsetof(HeapTupleHeaderData, t_bits);

	return a->t_len == b->t_len && a->t_data->t_hoff == b->t_data->t_hoff &&
		HeapTupleHasNulls(a) == HeapTupleHasNulls(b) &&
		HeapTupleHeaderGetNatts(a->t_data) == HeapTupleHeaderGetNatts(b->t_data) &&
		(!HeapTupleHasNulls(a) || memcmp(a->t_data->t_bits, b->t_data->t_bits, bits) == 0) &&
		memcmp((char *) a->t_data + fixed, (char *) b->t_data + fixed,
			   a->t_len - fixed) == 0;
}

/* Take a trigger over, if it is of this kind. */
static void
add_watch(Reading *reading, Kind *kind, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(reading->pg_trigger);
	bool		is_row = kind == &reading->rows;

	if (!OidIsValid(kind->function) ||
		((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid != kind->function)
		return;
	if (kind->last != NULL && same_variable_part(tuple, kind->sample))
		kind->last = watch_of_own_trigger(tuple, desc, is_row, kind->last);
	else
	{
		kind->last = watch_of_own_trigger(tuple, desc, is_row, NULL);
		kind->sample = heap_copytuple(tuple);
	}
	reading->watches = lappend(reading->watches, kind->last);
}

static void
look_up(Reading *reading, Oid trigger)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(reading->pg_trigger, TriggerOidIndexId, true, NULL,
							  1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		add_watch(reading, &reading->statements, tuple);
		add_watch(reading, &reading->rows, tuple);
	}
	systable_endscan(scan);
}

static void
read_whole(Reading *reading)
{
	SysScanDesc scan = systable_beginscan(reading->pg_trigger, InvalidOid, false,
										  NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		add_watch(reading, &reading->statements, tuple);
		add_watch(reading, &reading->rows, tuple);
	}
	systable_endscan(scan);
}

/*
 * The Watches of all statement triggers, of which there is one for each table and
 * domain, and with them, if asked for, those of all row triggers.  They may share
 * their arguments.
 */
List *
watches_by_trigger(bool with_rows)
{
	Reading		reading = {0};
	List	   *triggers = NIL;
	int64		max;
	ListCell   *lc;

	reading.statements.function = extension_function(EXTENSION_SCHEMA,
													 "statement_change");
	if (with_rows)
		reading.rows.function = extension_function(EXTENSION_SCHEMA, "row_change");
	reading.pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	max = (int64) RelationGetNumberOfBlocks(reading.pg_trigger) * LOOKUPS_PER_PAGE;
	if (add_triggers_calling(reading.statements.function, max, &triggers) &&
		add_triggers_calling(reading.rows.function, max, &triggers))
		foreach(lc, triggers)
			look_up(&reading, lfirst_oid(lc));
	else
		read_whole(&reading);
	table_close(reading.pg_trigger, AccessShareLock);
	return reading.watches;
}
