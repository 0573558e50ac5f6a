/*-------------------------------------------------------------------------
 *
 * counter_write.c
 *	  Add to counters that many transactions move at once, without waiting.
 *
 * The counter of a key is the sum of its rows in _cache_notify.version_counter.
 * A transaction adds to any row of it that nobody else is changing, and inserts
 * another one if all are taken.  Each committed bump is in exactly
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
#include "counter/counter_write.h"

#include "access/relation.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "counter/counter_search.h"
#include "counter/heap_hint.h"
#include "counter/index_columns.h"
#include "counter/index_place.h"

static bool
row_is_of(HeapTuple row, TupleDesc desc, const CounterKey *key)
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
 * REINDEX CONCURRENTLY is building another one, or a user created an index.
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
remember_row(const CounterKey *key, ItemPointer tid, OffsetNumber root,
			 Buffer buffer)
{
	HeapHint	hint = {
		.hash = key->hash,
		.block = ItemPointerGetBlockNumber(tid),
		.newest = ItemPointerGetOffsetNumber(tid),
		.root = root,
		.buffer = buffer
	};

	heap_hint_set(&hint);
}

/*
 * Add to a count of keyed bumps.  It is of the newest layout only: what there
 * was of an older one, and bumps in an older one, reach every key.
 */
void
counter_add_keyed(CounterBump *bump, int64 bucket_layout, int64 keyed)
{
	if (bucket_layout > bump->bucket_layout)
	{
		bump->bucket_layout = bucket_layout;
		bump->keyed = 0;
	}
	if (bucket_layout == bump->bucket_layout)
		bump->keyed += keyed;
}

/*
 * Add to this row version, which is in this buffer and pinned.  False if
 * another transaction was faster.  *tid is where the new version is.
 */
bool
counter_add_to_row(CounterTable *table, HeapTuple old, Buffer buffer,
				   const CounterBump *bump, TimestampTz modified,
				   ItemPointer tid)
{
	HeapTuple	new = heap_copytuple(old);
	CounterForm *form = counter_form(new);
	CounterBump keyed = {0, form->bucket_layout, form->keyed};
	TM_FailureData failure;
	TM_Result	result;

	form->n += bump->n;
	form->last_modified = Max(form->last_modified, modified);
	counter_add_keyed(&keyed, bump->bucket_layout, bump->keyed);
	form->bucket_layout = keyed.bucket_layout;
	form->keyed = keyed.keyed;
	if (MAXALIGN(new->t_len) > PageGetHeapFreeSpace(BufferGetPage(buffer)))
		form->moves++;			/* no lock: a wrong guess only costs time */
	index_columns_prepare(table->heap);
	result = compat_heap_update(table->heap, &old->t_self, new,
								GetCurrentCommandId(true), &failure);
	if (result == TM_Ok)
	{
		FAULT_POINT("counter_update");
		if (!HeapTupleIsHeapOnly(new))
			insert_index_entries(table, new, true);
	}
	if (tid != NULL)
		*tid = new->t_self;
	heap_freetuple(new);
	return result == TM_Ok;
}

/* The same for a bump.  root: of the row's HOT chain. */
static bool
update_row(CounterTable *table, const CounterKey *key, const CounterBump *bump,
		   HeapTuple old, OffsetNumber root, Buffer buffer)
{
	ItemPointerData tid;

	if (!counter_add_to_row(table, old, buffer, bump, GetCurrentTimestamp(), &tid))
		return false;
	if (ItemPointerGetBlockNumber(&tid) !=
		ItemPointerGetBlockNumber(&old->t_self))
	{
		buffer = InvalidBuffer;
		root = ItemPointerGetOffsetNumber(&tid);
	}
	remember_row(key, &tid, root, buffer);
	return true;
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
read_row(CounterTable *table, const CounterKey *key, HeapTuple row,
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
			row_is_of(row, RelationGetDescr(table->heap), key);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return found;
}

/*
 * Find the newest version in the HOT chain that begins here.  Is it a free one
 * of this key?  Another row may be here by now.
 */
static bool
read_chain(CounterTable *table, const CounterKey *key, HeapTuple row,
		   OffsetNumber root, Buffer buffer)
{
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	return search_chain(table, buffer, root, &dirty, row) &&
		row_is_free(&dirty) &&
		row_is_of(row, RelationGetDescr(table->heap), key);
}

/*
 * Pin the page of a remembered row, InvalidBuffer if there is no such page.
 * If it is still in the same buffer then it exists; else VACUUM may have
 * truncated the table before we locked it.
 */
static Buffer
read_remembered_page(CounterTable *table, const HeapHint *hint)
{
	if (BufferIsValid(hint->buffer) &&
		compat_read_recent_buffer(table->heap, hint->block, hint->buffer))
		return hint->buffer;
	return hint->block < RelationGetNumberOfBlocks(table->heap) ?
		ReadBuffer(table->heap, hint->block) : InvalidBuffer;
}

/*
 * Try the row version that this backend wrote last, or what others have made
 * of it.  Much depends on it while a snapshot is held open: then the index
 * leads to many dead ones.
 */
static bool
bump_remembered_row(CounterTable *table, const CounterKey *key,
					const CounterBump *bump)
{
	HeapHint	hint;
	Buffer		buffer;
	HeapTupleData row;
	bool		found = false;
	bool		done;

	if (!heap_hint_find(key->hash, &hint))
		return false;
	buffer = read_remembered_page(table, &hint);
	if (!BufferIsValid(buffer))
		return false;

	/*
	 * Unlike an index scan this does not prune by itself; without pruning no
	 * update would stay on its page for long.  Do it before reading, as it
	 * moves tuples.
	 */
	counter_prune(table, buffer);
	if (OffsetNumberIsValid(hint.newest))
	{
		ItemPointerSet(&row.t_self, hint.block, hint.newest);
		found = read_row(table, key, &row, buffer);
	}
	done = (found || read_chain(table, key, &row, hint.root, buffer)) &&
		update_row(table, key, bump, &row, hint.root, buffer);
	ReleaseBuffer(buffer);
	return done;
}

/* Try the rows at a place, until one is free. */
static bool
bump_at_index_place(CounterTable *table, const CounterKey *key,
					const CounterBump *bump, IndexPlace *index_place)
{
	bool		done = false;

	for (int i = 0; i < index_place->nentries && !done; i++)
	{
		ItemPointer tid = &index_place->entries[i].tid;
		OffsetNumber root = ItemPointerGetOffsetNumber(tid);
		Buffer		buffer = ReadBuffer(table->heap,
										ItemPointerGetBlockNumber(tid));
		HeapTupleData row;

		counter_prune(table, buffer);
		done = read_chain(table, key, &row, root, buffer) &&
			update_row(table, key, bump, &row, root, buffer);
		ReleaseBuffer(buffer);
	}
	return done;
}

/* Try every row of the key that the index has, until one is free. */
static bool
bump_any_row(CounterTable *table, const CounterKey *key, const CounterBump *bump)
{
	CounterSearch search;
	SnapshotData dirty;
	HeapTupleData row;
	bool		done = false;

	InitDirtySnapshot(dirty);
	search_begin(&search, table, key, &dirty);
	while (!done && search_next(&search, &row))
		done = row_is_free(&dirty) &&
			update_row(table, key, bump, &row, search.root, search.buffer);
	search_end(&search);
	return done;
}

/*
 * An id for another row of a key.  Two with the same id would be taken for one
 * row, so it is random, and long enough that this does not happen.
 */
static int64
new_row_id(void)
{
	int64		id;

	if (!pg_strong_random(&id, sizeof(id)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	return id;
}

/* Give the counter another row.  *tid is where it is. */
void
counter_insert_row(CounterTable *table, const char *name, const char *tenant,
				   const CounterBump *bump, TimestampTz modified,
				   ItemPointer tid)
{
	Datum		values[Natts_counter];
	bool		nulls[Natts_counter] = {false};
	HeapTuple	tuple;

	values[Anum_counter_n - 1] = Int64GetDatum(bump->n);
	values[Anum_counter_last_modified - 1] =
		TimestampTzGetDatum(modified);
	values[Anum_counter_row_id - 1] = Int64GetDatum(new_row_id());
	values[Anum_counter_bucket_layout - 1] = Int64GetDatum(bump->bucket_layout);
	values[Anum_counter_keyed - 1] = Int64GetDatum(bump->keyed);
	values[Anum_counter_moves - 1] = Int32GetDatum(0);
	values[Anum_counter_domain - 1] = CStringGetTextDatum(name);
	if (tenant != NULL)
		values[Anum_counter_tenant_id - 1] = CStringGetTextDatum(tenant);
	else
		nulls[Anum_counter_tenant_id - 1] = true;

	tuple = heap_form_tuple(RelationGetDescr(table->heap), values, nulls);
	heap_insert(table->heap, tuple, GetCurrentCommandId(true), 0, NULL);
	FAULT_POINT("counter_insert");
	insert_index_entries(table, tuple, false);
	if (tid != NULL)
		*tid = tuple->t_self;
	heap_freetuple(tuple);
}

static void
insert_row(CounterTable *table, const CounterKey *key,
		   const CounterBump *bump)
{
	ItemPointerData tid;

	counter_insert_row(table, key->name, key->tenant, bump, GetCurrentTimestamp(),
					   &tid);
	remember_row(key, &tid, ItemPointerGetOffsetNumber(&tid), InvalidBuffer);
}

/*
 * Add to a counter, without ever waiting.  Whoever reads it next can be told where
 * the index has it, if that was looked up: key->index_place.
 */
void
counter_bump(CounterTable *table, CounterKey *key, const CounterBump *bump)
{
	IndexPlace *index_place;

	if (bump_remembered_row(table, key, bump))
		return;
	index_place = index_place_now(table, key);
	if (index_place != NULL &&
		bump_at_index_place(table, key, bump, index_place))
		return;
	if (!table->has_snapshot)
	{
		/* Looking into an index and changing it want one to be there. */
		PushActiveSnapshot(GetLatestSnapshot());
		table->has_snapshot = true;
	}
	if (index_place != NULL || !bump_any_row(table, key, bump))
		insert_row(table, key, bump);
}
