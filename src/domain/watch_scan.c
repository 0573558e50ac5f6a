/*-------------------------------------------------------------------------
 *
 * watch_scan.c
 *	  All triggers of ours, quickly, however many there are.
 *
 * Whoever asks for the first time about a domain has them all read, and with
 * thousands of partitions these are tens of thousands, nearly all of which have the
 * arguments of the one before.  pg_depend says which there are; if they are a good
 * part of pg_trigger, reading that as a whole is faster than looking each up.
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

/* What a reading adds up to. */
typedef struct Reading
{
	Relation	pg_trigger;
	bool		of_rows;
	Watch	   *last;			/* NULL: none yet */
	List	   *watches;
} Reading;

/* The OIDs of the triggers that call a function. */
static List *
triggers_calling(Oid function)
{
	Relation	pg_depend = table_open(DependRelationId, AccessShareLock);
	List	   *triggers = NIL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(function));
	scan = systable_beginscan(pg_depend, DependReferenceIndexId, true, NULL,
							  2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

		if (depend->classid == TriggerRelationId)
			triggers = lappend_oid(triggers, depend->objid);
	}
	systable_endscan(scan);
	table_close(pg_depend, AccessShareLock);
	return triggers;
}

static void
add_watch(Reading *reading, HeapTuple tuple)
{
	reading->last = watch_of_own_trigger(tuple,
										 RelationGetDescr(reading->pg_trigger),
										 reading->of_rows, reading->last);
	reading->watches = lappend(reading->watches, reading->last);
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
		add_watch(reading, tuple);
	systable_endscan(scan);
}

static void
read_whole(Reading *reading, Oid function)
{
	SysScanDesc scan = systable_beginscan(reading->pg_trigger, InvalidOid, false,
										  NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid == function)
			add_watch(reading, tuple);
	}
	systable_endscan(scan);
}

/*
 * The Watches of all row triggers, or of all statement triggers, of which there
 * is one for each table and domain.  They may share their arguments.
 */
List *
watches_by_trigger(bool of_rows)
{
	Reading		reading = {.of_rows = of_rows};
	Oid			function = extension_function(EXTENSION_SCHEMA,
											  of_rows ? "row_change" :
											  "statement_change");
	List	   *triggers = triggers_calling(function);
	ListCell   *lc;

	reading.pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	if (list_length(triggers) >
		(int64) RelationGetNumberOfBlocks(reading.pg_trigger) * LOOKUPS_PER_PAGE)
		read_whole(&reading, function);
	else
		foreach(lc, triggers)
			look_up(&reading, lfirst_oid(lc));
	table_close(reading.pg_trigger, AccessShareLock);
	return reading.watches;
}
