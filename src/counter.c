/*-------------------------------------------------------------------------
 *
 * counter.c
 *	  Counters that many transactions move at once without waiting.
 *
 * The counter of a key is the sum of its rows in cache_notify.version_counter.
 * A transaction adds to any row of the key that nobody else is changing, and
 * inserts another one if all are taken.  Each committed bump is in exactly
 * one row, so a snapshot's sum is exact.
 *
 * Locking: RowExclusiveLock on the table, and for the time of a heap_update()
 * the buffer.  heap_update() is told never to wait; a row that another
 * transaction is changing is passed over.  Rows are looked for with a dirty
 * snapshot, which sees what is committed now whatever the transaction's
 * isolation level is, and takes no predicate locks, so neither REPEATABLE
 * READ nor SERIALIZABLE can fail here.
 *
 * A row version that has been found stays pinned until it is updated, so
 * pruning cannot recycle its line pointer in between.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* Columns of cache_notify.version_counter. */
#define Anum_counter_n				1
#define Anum_counter_last_modified	2
#define Anum_counter_domain			3
#define Anum_counter_tenant_id		4
#define Natts_counter				4

/* The columns of fixed width come first, so they can be changed in place. */
typedef struct CounterForm
{
	int64		n;
	TimestampTz last_modified;
} CounterForm;

/*
 * Where this backend last wrote a key: most often nobody has touched that
 * row version since.  A hint only, checked before it is used.
 */
typedef struct RowHint
{
	uint32		hash;
	ItemPointerData tid;
} RowHint;

#define NUM_ROW_HINTS 1024		/* a power of two */

static RowHint row_hints[NUM_ROW_HINTS];
static Oid	row_hints_file = InvalidOid;	/* file that the hints point into */

/*
 * Open the counter table and its index.  False if the extension is not there
 * (any more), and then nothing is open.
 */
bool
counter_open(CounterTable *table, LOCKMODE lockmode)
{
	Oid			heap_oid = extension_relation("version_counter");
	Oid			index_oid = extension_relation("version_counter_key");

	if (!OidIsValid(heap_oid) || !OidIsValid(index_oid))
		return false;
	table->heap = try_relation_open(heap_oid, lockmode);
	if (table->heap == NULL)
		return false;
	table->index = try_relation_open(index_oid, lockmode);
	if (table->index == NULL)
	{
		relation_close(table->heap, lockmode);
		return false;
	}
	table->slot = table_slot_create(table->heap, NULL);
	table->context = CurrentMemoryContext;
	table->scan = NULL;

	if (row_hints_file != compat_relation_file(table->heap))
	{
		memset(row_hints, 0, sizeof(row_hints));
		row_hints_file = compat_relation_file(table->heap);
	}
	return true;
}

/* Close it; NoLock keeps the lock until the transaction ends. */
void
counter_close(CounterTable *table, LOCKMODE lockmode)
{
	if (table->scan != NULL)
		index_endscan(table->scan);
	ExecDropSingleTupleTableSlot(table->slot);
	relation_close(table->index, lockmode);
	relation_close(table->heap, lockmode);
}

/* Scan keys that find the rows of a key. */
static void
make_scan_keys(CounterTable *table, const char *domain, const char *tenant,
			   ScanKeyData keys[2])
{
	Oid			collation = table->index->rd_indcollation[0];

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   collation, F_TEXTEQ, CStringGetTextDatum(domain));
	if (tenant != NULL)
		ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber,
							   InvalidOid, collation, F_TEXTEQ,
							   CStringGetTextDatum(tenant));
	else
		ScanKeyEntryInitialize(&keys[1], SK_ISNULL | SK_SEARCHNULL, 2,
							   InvalidStrategy, InvalidOid, InvalidOid,
							   InvalidOid, (Datum) 0);
}

/* Begin to look at the rows of a key. */
static IndexScanDesc
begin_scan(CounterTable *table, const char *domain, const char *tenant,
		   Snapshot snapshot)
{
	ScanKeyData keys[2];
	IndexScanDesc scan;

	make_scan_keys(table, domain, tenant, keys);
	scan = compat_index_beginscan(table->heap, table->index, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	return scan;
}

static bool
slot_has_key(TupleTableSlot *slot, const ChangeKey *key)
{
	bool		isnull;
	Datum		value;
	text	   *domain,
			   *tenant;

	value = slot_getattr(slot, Anum_counter_domain, &isnull);
	domain = DatumGetTextPP(value);
	if (VARSIZE_ANY_EXHDR(domain) != strlen(key->domain->name) ||
		memcmp(VARDATA_ANY(domain), key->domain->name,
			   VARSIZE_ANY_EXHDR(domain)) != 0)
		return false;

	value = slot_getattr(slot, Anum_counter_tenant_id, &isnull);
	if (isnull || key->tenant == NULL)
		return isnull && key->tenant == NULL;
	tenant = DatumGetTextPP(value);
	return VARSIZE_ANY_EXHDR(tenant) == key->tenant_len &&
		memcmp(VARDATA_ANY(tenant), key->tenant, key->tenant_len) == 0;
}

static void
insert_index_entry(CounterTable *table, HeapTuple tuple, bool is_update)
{
	TupleDesc	desc = RelationGetDescr(table->heap);
	Datum		values[2];
	bool		nulls[2];

	values[0] = heap_getattr(tuple, Anum_counter_domain, desc, &nulls[0]);
	values[1] = heap_getattr(tuple, Anum_counter_tenant_id, desc, &nulls[1]);
	index_insert(table->index, values, nulls, &tuple->t_self, table->heap,
				 UNIQUE_CHECK_NO, is_update, BuildIndexInfo(table->index));
}

static void
remember_row(const ChangeKey *key, ItemPointer tid)
{
	RowHint    *hint = &row_hints[key->hash & (NUM_ROW_HINTS - 1)];

	hint->hash = key->hash;
	hint->tid = *tid;
}

/*
 * Add to the row version in the slot, which is pinned.  False if another
 * transaction was faster.
 */
static bool
update_row(CounterTable *table, const ChangeKey *key)
{
	HeapTuple	old = ExecFetchSlotHeapTuple(table->slot, false, NULL);
	HeapTuple	new = heap_copytuple(old);
	CounterForm *form = (CounterForm *) GETSTRUCT(new);
	TM_FailureData failure;
	TM_Result	result;

	form->n += key->bumps;
	form->last_modified = GetCurrentTimestamp();
	result = compat_heap_update(table->heap, &old->t_self, new,
								GetCurrentCommandId(true), &failure);
	if (result == TM_Ok)
	{
		if (!HeapTupleIsHeapOnly(new))
			insert_index_entry(table, new, true);
		remember_row(key, &new->t_self);
	}
	heap_freetuple(new);
	return result == TM_Ok;
}

/*
 * Did the dirty snapshot return a version that is committed and that nobody
 * is changing?
 */
static bool
row_is_free(SnapshotData *dirty)
{
	return !TransactionIdIsValid(dirty->xmin) &&
		!TransactionIdIsValid(dirty->xmax);
}

/* Try the row version that this backend wrote last. */
static bool
bump_remembered_row(CounterTable *table, const ChangeKey *key)
{
	RowHint    *hint = &row_hints[key->hash & (NUM_ROW_HINTS - 1)];
	SnapshotData dirty;
	Buffer		buffer;
	bool		done = false;

	if (hint->hash != key->hash || !ItemPointerIsValid(&hint->tid))
		return false;
	/* VACUUM may have truncated the table. */
	if (ItemPointerGetBlockNumber(&hint->tid) >=
		RelationGetNumberOfBlocks(table->heap))
		return false;

	/*
	 * Fetching by TID does not prune, unlike an index scan; without pruning
	 * no update would stay on its page for long.  Do it before the fetch, as
	 * it moves tuples.
	 */
	buffer = ReadBuffer(table->heap, ItemPointerGetBlockNumber(&hint->tid));
	compat_prune(table->heap, buffer);
	ReleaseBuffer(buffer);

	InitDirtySnapshot(dirty);
	if (table_tuple_fetch_row_version(table->heap, &hint->tid, &dirty,
									  table->slot))
	{
		done = row_is_free(&dirty) &&
			slot_has_key(table->slot, key) &&
			update_row(table, key);
		ExecClearTuple(table->slot);
	}
	return done;
}

/* Try every row of the key, until one is free. */
static bool
bump_any_row(CounterTable *table, const ChangeKey *key)
{
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		done = false;

	InitDirtySnapshot(dirty);
	scan = begin_scan(table, key->domain->name, key->tenant, &dirty);
	while (!done &&
		   index_getnext_slot(scan, ForwardScanDirection, table->slot))
		done = row_is_free(&dirty) && update_row(table, key);
	index_endscan(scan);
	ExecClearTuple(table->slot);
	return done;
}

static void
insert_row(CounterTable *table, const ChangeKey *key)
{
	Datum		values[Natts_counter];
	bool		nulls[Natts_counter] = {false};
	HeapTuple	tuple;

	values[Anum_counter_n - 1] = Int64GetDatum(key->bumps);
	values[Anum_counter_last_modified - 1] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_counter_domain - 1] = CStringGetTextDatum(key->domain->name);
	if (key->tenant != NULL)
		values[Anum_counter_tenant_id - 1] = CStringGetTextDatum(key->tenant);
	else
		nulls[Anum_counter_tenant_id - 1] = true;

	tuple = heap_form_tuple(RelationGetDescr(table->heap), values, nulls);
	heap_insert(table->heap, tuple, GetCurrentCommandId(true), 0, NULL);
	insert_index_entry(table, tuple, false);
	remember_row(key, &tuple->t_self);
	heap_freetuple(tuple);
}

/* Add the key's bumps to its counter, without ever waiting. */
void
counter_bump(CounterTable *table, const ChangeKey *key)
{
	if (!bump_remembered_row(table, key) && !bump_any_row(table, key))
		insert_row(table, key);
}

/* The key of a row, palloc'd; tenant NULL: the shared one. */
void
counter_key(HeapTuple tuple, TupleDesc desc, char **domain, char **tenant)
{
	bool		isnull;
	Datum		value;

	value = heap_getattr(tuple, Anum_counter_domain, desc, &isnull);
	*domain = TextDatumGetCString(value);
	value = heap_getattr(tuple, Anum_counter_tenant_id, desc, &isnull);
	*tenant = isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Begin to read the rows of a key.  The scan stays for the next key and ends
 * with the table, and so must the memory that it allocates as it goes.
 */
static IndexScanDesc
begin_reading(CounterTable *table, Snapshot snapshot, ScanKeyData keys[2])
{
	if (table->scan != NULL && table->scan->xs_snapshot != snapshot)
	{
		index_endscan(table->scan);
		table->scan = NULL;
	}
	if (table->scan == NULL)
		table->scan = compat_index_beginscan(table->heap, table->index,
											 snapshot, 2);
	index_rescan(table->scan, keys, 2, NULL, 0);
	return table->scan;
}

/*
 * Call visit() for each row of a key that the snapshot sees.
 *
 * A SERIALIZABLE transaction that asks for a version must not fail because
 * others move it: there the scan returns all row versions, which takes no
 * predicate locks, and visibility is tested here.
 */
void
counter_visit(CounterTable *table, const char *domain, const char *tenant,
			  Snapshot snapshot, CounterVisitor visit, void *arg)
{
	bool		by_hand = IsolationIsSerializable();
	ScanKeyData keys[2];
	IndexScanDesc scan;
	MemoryContext old;

	make_scan_keys(table, domain, tenant, keys);
	old = MemoryContextSwitchTo(table->context);
	scan = begin_reading(table, by_hand ? SnapshotAny : snapshot, keys);
	while (index_getnext_slot(scan, ForwardScanDirection, table->slot))
	{
		HeapTuple	tuple = ExecFetchSlotHeapTuple(table->slot, false, NULL);

		if (by_hand)
		{
			Buffer		buffer = ((BufferHeapTupleTableSlot *) table->slot)->buffer;
			bool		visible;

			LockBuffer(buffer, BUFFER_LOCK_SHARE);
			visible = HeapTupleSatisfiesVisibility(tuple, snapshot, buffer);
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			if (!visible)
				continue;
		}
		visit(tuple, arg);
	}
	ExecClearTuple(table->slot);
	MemoryContextSwitchTo(old);
}

static void
add_to_sum(HeapTuple tuple, void *arg)
{
	*(int64 *) arg += ((CounterForm *) GETSTRUCT(tuple))->n;
}

/* The sum of a key's rows, as the snapshot sees them. */
int64
counter_sum(CounterTable *table, const char *domain, const char *tenant,
			Snapshot snapshot)
{
	int64		sum = 0;

	counter_visit(table, domain, tenant, snapshot, add_to_sum, &sum);
	return sum;
}

/* Has this domain ever changed, for any tenant, as committed by now? */
bool
counter_domain_exists(CounterTable *table, const char *domain)
{
	ScanKeyData key;
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		found;

	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   table->index->rd_indcollation[0], F_TEXTEQ,
						   CStringGetTextDatum(domain));
	InitDirtySnapshot(dirty);
	scan = compat_index_beginscan(table->heap, table->index, &dirty, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, table->slot);
	index_endscan(scan);
	ExecClearTuple(table->slot);
	return found;
}

/*
 * The version a tenant sees: where this history's versions start, its own
 * counter and the shared one.
 */
int64
counter_version(CounterTable *table, const char *domain, const char *tenant,
				Snapshot snapshot)
{
	int64		version = epoch_origin(table, snapshot);

	version += counter_sum(table, domain, NULL, snapshot);
	if (tenant != NULL)
		version += counter_sum(table, domain, tenant, snapshot);
	return version;
}
