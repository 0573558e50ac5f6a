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
 * Every commit that changed something comes through here, so the usual case,
 * a row that this backend wrote before, takes no snapshot, reads no catalog
 * and looks into no index; what the other cases need is prepared when they
 * come up.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

/* Columns of cache_notify.version_counter. */
#define Anum_counter_n				1
#define Anum_counter_last_modified	2
#define Anum_counter_layout			3
#define Anum_counter_keyed			4
#define Anum_counter_domain			5
#define Anum_counter_tenant_id		6
#define Natts_counter				6

/* The columns of fixed width come first, so they can be changed in place. */
typedef struct CounterForm
{
	int64		n;
	TimestampTz last_modified;
	int64		layout;			/* of keyed, see key.c */
	int64		keyed;			/* the part of n whose keys have buckets */
} CounterForm;

/*
 * Where this backend last wrote a key: most often nobody has touched that
 * row version since.  A hint only, checked before it is used.
 */
typedef struct RowHint
{
	uint32		hash;
	ItemPointerData tid;
	Buffer		buffer;			/* that held it, or InvalidBuffer */
} RowHint;

#define NUM_ROW_HINTS 1024		/* a power of two */

static RowHint row_hints[NUM_ROW_HINTS];
static Oid	row_hints_file = InvalidOid;	/* file that the hints point into */

/* Found by name once, then kept until an invalidation. */
static Oid	heap_oid = InvalidOid;
static Oid	index_oid = InvalidOid;

static void
relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == heap_oid || relid == index_oid)
		heap_oid = index_oid = InvalidOid;
}

void
counter_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

static Relation
open_heap(LOCKMODE lockmode)
{
	Relation	heap = OidIsValid(heap_oid) ?
		try_relation_open(heap_oid, lockmode) : NULL;

	if (heap == NULL)
	{
		heap = extension_open("version_counter", lockmode);
		heap_oid = heap ? RelationGetRelid(heap) : InvalidOid;
		index_oid = InvalidOid;
	}
	return heap;
}

/*
 * Open the counter table.  False if the extension is not there (any more),
 * and then nothing is open.
 */
bool
counter_open(CounterTable *table, LOCKMODE lockmode)
{
	memset(table, 0, sizeof(CounterTable));
	table->lockmode = lockmode;
	table->context = CurrentMemoryContext;
	table->heap = open_heap(lockmode);
	if (table->heap == NULL)
		return false;

	if (row_hints_file != compat_relation_file(table->heap))
	{
		memset(row_hints, 0, sizeof(row_hints));
		row_hints_file = compat_relation_file(table->heap);
	}
	return true;
}

/*
 * What is needed to look into the index.  That cannot go while we have the
 * table, and opening the table has told us if it was replaced.
 */
static void
open_index(CounterTable *table)
{
	MemoryContext old;

	if (table->index != NULL)
		return;
	if (!OidIsValid(index_oid))
		index_oid = extension_relation("version_counter_key");
	table->index = relation_open(index_oid, table->lockmode);
	old = MemoryContextSwitchTo(table->context);
	table->slot = table_slot_create(table->heap, NULL);
	MemoryContextSwitchTo(old);
}

/* Close it; NoLock keeps the lock until the transaction ends. */
void
counter_close(CounterTable *table, LOCKMODE lockmode)
{
	if (table->scan != NULL)
		index_endscan(table->scan);
	if (table->has_snapshot)
		PopActiveSnapshot();
	if (table->index != NULL)
	{
		ExecDropSingleTupleTableSlot(table->slot);
		relation_close(table->index, lockmode);
	}
	relation_close(table->heap, lockmode);
}

/* Scan keys that find the rows of a key. */
static void
make_scan_keys(CounterTable *table, const char *domain, const char *tenant,
			   ScanKeyData keys[2])
{
	Oid			collation;

	open_index(table);
	collation = table->index->rd_indcollation[0];
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
row_has_key(HeapTuple row, TupleDesc desc, const ChangeKey *key)
{
	bool		isnull;
	Datum		value;
	text	   *domain,
			   *tenant;

	value = heap_getattr(row, Anum_counter_domain, desc, &isnull);
	domain = DatumGetTextPP(value);
	if (VARSIZE_ANY_EXHDR(domain) != strlen(key->name) ||
		memcmp(VARDATA_ANY(domain), key->name,
			   VARSIZE_ANY_EXHDR(domain)) != 0)
		return false;

	value = heap_getattr(row, Anum_counter_tenant_id, desc, &isnull);
	if (isnull || key->tenant == NULL)
		return isnull && key->tenant == NULL;
	tenant = DatumGetTextPP(value);
	return VARSIZE_ANY_EXHDR(tenant) == key->tenant_len &&
		memcmp(VARDATA_ANY(tenant), key->tenant, key->tenant_len) == 0;
}

/*
 * Give a new row version its index entries, in every index that takes them:
 * REINDEX CONCURRENTLY is building another one, or somebody made one of his
 * own.
 */
static void
insert_index_entries(CounterTable *table, HeapTuple tuple, bool is_update)
{
	List	   *indexes = RelationGetIndexList(table->heap);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(table->heap),
													&TTSOpsHeapTuple);
	EState	   *estate = CreateExecutorState();
	ListCell   *lc;

	ExecStoreHeapTuple(tuple, slot, false);
	slot->tts_tid = tuple->t_self;
	GetPerTupleExprContext(estate)->ecxt_scantuple = slot;
	foreach(lc, indexes)
	{
		Relation	index = relation_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		if (info->ii_ReadyForInserts &&
			ExecQual(ExecPrepareQual(info->ii_Predicate, estate),
					 GetPerTupleExprContext(estate)))
		{
			FormIndexDatum(info, slot, estate, values, nulls);
			index_insert(index, values, nulls, &tuple->t_self, table->heap,
						 UNIQUE_CHECK_NO, is_update, info);
		}
		relation_close(index, NoLock);
	}
	FreeExecutorState(estate);
	ExecDropSingleTupleTableSlot(slot);
	list_free(indexes);
}

/* buffer: where the row is, as far as that is known. */
static void
remember_row(const ChangeKey *key, ItemPointer tid, Buffer buffer)
{
	RowHint    *hint = &row_hints[key->hash & (NUM_ROW_HINTS - 1)];

	hint->hash = key->hash;
	hint->tid = *tid;
	hint->buffer = buffer;
}

/*
 * Count bumps as keyed.  A row tells that for the newest layout only: what it
 * had of an older one, and bumps in an older one, reach every key.
 */
static void
add_keyed(CounterForm *form, const ChangeKey *key)
{
	if (key->keyed == 0 || key->layout < form->layout)
		return;
	if (key->layout > form->layout)
	{
		form->layout = key->layout;
		form->keyed = 0;
	}
	form->keyed += key->keyed;
}

/*
 * Add to this row version, which is in this buffer and pinned.  False if
 * another transaction was faster.
 */
static bool
update_row(CounterTable *table, const ChangeKey *key, HeapTuple old,
		   Buffer buffer)
{
	HeapTuple	new = heap_copytuple(old);
	CounterForm *form = (CounterForm *) GETSTRUCT(new);
	TM_FailureData failure;
	TM_Result	result;

	form->n += key->bumps;
	add_keyed(form, key);
	form->last_modified = GetCurrentTimestamp();
	result = compat_heap_update(table->heap, &old->t_self, new,
								GetCurrentCommandId(true), &failure);
	if (result == TM_Ok)
	{
		if (!HeapTupleIsHeapOnly(new))
			insert_index_entries(table, new, true);
		if (ItemPointerGetBlockNumber(&new->t_self) !=
			ItemPointerGetBlockNumber(&old->t_self))
			buffer = InvalidBuffer;
		remember_row(key, &new->t_self, buffer);
	}
	heap_freetuple(new);
	return result == TM_Ok;
}

/*
 * Is this row version committed, and is nobody changing it?  dirty is what a
 * look at it with a dirty snapshot left behind.
 */
static bool
row_is_free(SnapshotData *dirty)
{
	return !TransactionIdIsValid(dirty->xmin) &&
		!TransactionIdIsValid(dirty->xmax);
}

/* Read the row version at row->t_self.  Is it a free one of this key? */
static bool
read_row(CounterTable *table, const ChangeKey *key, HeapTuple row,
		 Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumber(&row->t_self);
	SnapshotData dirty;
	bool		found = false;

	InitDirtySnapshot(dirty);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (offset <= PageGetMaxOffsetNumber(page) &&
		ItemIdIsNormal(PageGetItemId(page, offset)))
	{
		ItemId		item = PageGetItemId(page, offset);

		row->t_data = (HeapTupleHeader) PageGetItem(page, item);
		row->t_len = ItemIdGetLength(item);
		row->t_tableOid = RelationGetRelid(table->heap);
		found = HeapTupleSatisfiesVisibility(row, &dirty, buffer) &&
			row_is_free(&dirty) &&
			row_has_key(row, RelationGetDescr(table->heap), key);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return found;
}

/*
 * Pin the page of a remembered row, InvalidBuffer if there is no such page.
 * If it is still in the same buffer then it exists; else VACUUM may have
 * truncated the table before we locked it.
 */
static Buffer
read_remembered_page(CounterTable *table, const RowHint *hint)
{
	BlockNumber block = ItemPointerGetBlockNumber(&hint->tid);

	if (BufferIsValid(hint->buffer) &&
		compat_read_recent_buffer(table->heap, block, hint->buffer))
		return hint->buffer;
	return block < RelationGetNumberOfBlocks(table->heap) ?
		ReadBuffer(table->heap, block) : InvalidBuffer;
}

/*
 * Try the row version that this backend wrote last.  Much depends on it while
 * a snapshot is held open: then the index leads to many dead ones.
 */
static bool
bump_remembered_row(CounterTable *table, const ChangeKey *key)
{
	RowHint    *hint = &row_hints[key->hash & (NUM_ROW_HINTS - 1)];
	Buffer		buffer;
	HeapTupleData row;
	bool		done;

	if (hint->hash != key->hash || !ItemPointerIsValid(&hint->tid))
		return false;
	row.t_self = hint->tid;
	buffer = read_remembered_page(table, hint);
	if (!BufferIsValid(buffer))
		return false;

	/*
	 * Unlike an index scan this does not prune by itself; without pruning no
	 * update would stay on its page for long.  Do it before reading, as it
	 * moves tuples.
	 */
	compat_prune(table->heap, buffer);
	done = read_row(table, key, &row, buffer) &&
		update_row(table, key, &row, buffer);
	ReleaseBuffer(buffer);
	return done;
}

/*
 * Try every row of the key, until one is free.  The index has the newest part
 * of the table last, which is where the live rows are while a snapshot is held
 * open and dead ones pile up: begin there.
 */
static bool
bump_any_row(CounterTable *table, const ChangeKey *key)
{
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		done = false;

	InitDirtySnapshot(dirty);
	scan = begin_scan(table, key->name, key->tenant, &dirty);
	while (!done &&
		   index_getnext_slot(scan, BackwardScanDirection, table->slot))
		done = row_is_free(&dirty) &&
			update_row(table, key,
					   ExecFetchSlotHeapTuple(table->slot, false, NULL),
					   ((BufferHeapTupleTableSlot *) table->slot)->buffer);
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
	values[Anum_counter_layout - 1] = Int64GetDatum(key->keyed > 0 ?
													key->layout : 0);
	values[Anum_counter_keyed - 1] = Int64GetDatum(key->keyed);
	values[Anum_counter_domain - 1] = CStringGetTextDatum(key->name);
	if (key->tenant != NULL)
		values[Anum_counter_tenant_id - 1] = CStringGetTextDatum(key->tenant);
	else
		nulls[Anum_counter_tenant_id - 1] = true;

	tuple = heap_form_tuple(RelationGetDescr(table->heap), values, nulls);
	heap_insert(table->heap, tuple, GetCurrentCommandId(true), 0, NULL);
	insert_index_entries(table, tuple, false);
	remember_row(key, &tuple->t_self, InvalidBuffer);
	heap_freetuple(tuple);
}

/* Add the key's bumps to its counter, without ever waiting. */
void
counter_bump(CounterTable *table, const ChangeKey *key)
{
	if (bump_remembered_row(table, key))
		return;
	if (!table->has_snapshot)
	{
		/* Looking into an index and changing it want one to be there. */
		PushActiveSnapshot(GetLatestSnapshot());
		table->has_snapshot = true;
	}
	if (!bump_any_row(table, key))
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

/* The names of all domains that have a counter, but for internal ones. */
List *
counter_domains(CounterTable *table)
{
	Datum		last = CStringGetTextDatum("");
	List	   *domains = NIL;
	SnapshotData dirty;
	bool		found;

	open_index(table);

	/* From each domain's first row to that of the next one. */
	InitDirtySnapshot(dirty);
	do
	{
		IndexScanDesc scan = compat_index_beginscan(table->heap, table->index,
													&dirty, 1);
		ScanKeyData key;
		bool		isnull;

		ScanKeyEntryInitialize(&key, 0, 1, BTGreaterStrategyNumber, InvalidOid,
							   table->index->rd_indcollation[0], F_TEXT_GT,
							   last);
		index_rescan(scan, &key, 1, NULL, 0);
		found = index_getnext_slot(scan, ForwardScanDirection, table->slot);
		if (found)
		{
			char	   *domain;

			domain = TextDatumGetCString(slot_getattr(table->slot,
													  Anum_counter_domain,
													  &isnull));
			/* Of keyed domains there may be thousands: pass over them. */
			if (is_internal_domain(domain))
				domain = INTERNAL_PREFIX "~";
			else
				domains = lappend(domains, domain);
			last = CStringGetTextDatum(domain);
		}
		index_endscan(scan);
		ExecClearTuple(table->slot);
	} while (found);
	return domains;
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

typedef struct WholeSum
{
	int64		layout;
	int64		sum;
} WholeSum;

static void
add_whole_to_sum(HeapTuple tuple, void *arg)
{
	CounterForm *form = (CounterForm *) GETSTRUCT(tuple);
	WholeSum   *whole = arg;

	whole->sum += form->n;
	if (form->layout == whole->layout)
		whole->sum -= form->keyed;
}

/* The same, without the bumps whose keys are told by buckets of this layout. */
int64
counter_sum_whole(CounterTable *table, const char *domain, const char *tenant,
				  int64 layout, Snapshot snapshot)
{
	WholeSum	whole = {layout, 0};

	counter_visit(table, domain, tenant, snapshot, add_whole_to_sum, &whole);
	return whole.sum;
}

/* Has this domain ever changed, for any tenant, as committed by now? */
bool
counter_domain_exists(CounterTable *table, const char *domain)
{
	ScanKeyData key;
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		found;

	open_index(table);
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
