/*-------------------------------------------------------------------------
 *
 * watch_before.c
 *	  What this transaction has removed from the catalogs, or replaced there.
 *
 * The row versions that this transaction has deleted are still in the catalogs,
 * and are found whatever snapshot the command ran with.
 *
 * Locking: AccessShareLock on the catalog that is read, kept no longer than the
 * reading.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* Was this row version deleted or replaced by the current transaction? */
bool
deleted_by_us(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header));
}

/* What a relation is called, or was before this transaction dropped it. */
const char *
former_name(Oid relid)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *name = get_rel_name(relid);

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(pg_class, ClassOidIndexId, true, SnapshotAny,
							  1, &key);
	while (name == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (deleted_by_us(tuple))
			name = pstrdup(NameStr(((Form_pg_class) GETSTRUCT(tuple))->relname));
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return name != NULL ? name : "";
}

/*
 * Did this transaction replace a row of a catalog?  The row is found by an
 * OID that is the first column of the index.
 */
static bool
row_was_replaced(Oid catalog, Oid index, AttrNumber column, Oid oid)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, SnapshotAny, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = deleted_by_us(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Has this transaction changed a view, rather than created it? */
bool
view_was_replaced(Oid view)
{
	return row_was_replaced(RewriteRelationId, RewriteRelRulenameIndexId,
							Anum_pg_rewrite_ev_class, view);
}

/*
 * Did a trigger fire on other occasions before this transaction?  What came in
 * between was asked about when it came.
 */
bool
trigger_firing_changed(const Watch *watch)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(watch->trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, SnapshotAny,
							  1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = deleted_by_us(tuple) &&
			!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)) &&
			((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled != watch->enabled;
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return found;
}
