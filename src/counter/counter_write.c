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
 * Locking: RowExclusiveLock on the table, and for the time of an update the
 * buffer.  Most updates are made by hot_update.c, the others by heap_update(),
 * which is told never to wait; a row that another transaction is changing is
 * passed over.  Rows are looked for with a dirty
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
#include "counter/hot_update.h"
#include "counter/index_columns.h"
#include "counter/index_place.h"

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
 * Add to this row version, which is in this buffer and pinned.  False if
 * another transaction was faster.  *tid is where the new version is.
 */
bool
counter_add_to_row(CounterTable *table, HeapTuple old, Buffer buffer,
				   const CounterBump *bump, TimestampTz modified,
				   ItemPointer tid)
{
	HeapTuple	new = heap_copytuple(old);
	TM_FailureData failure;
	TM_Result	result;

	counter_add_to_form(counter_form(new), bump, modified);
	if (MAXALIGN(new->t_len) > PageGetHeapFreeSpace(BufferGetPage(buffer)))
		counter_form(new)->moves++; /* no lock: a wrong guess only costs time */
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

/* Add to this row version in the short way, if that is possible. */
static HotUpdateResult
hot_update_row(CounterTable *table, const CounterKey *key, const CounterBump *bump,
			   ItemPointer tid, OffsetNumber root, Buffer buffer)
{
	HotUpdateResult result = hot_update(table, key, bump, buffer, tid);

	if (result == HOT_UPDATE_DONE)
		remember_row(key, tid, root, buffer);
	return result;
}

/* The same in whatever way.  root: of the row's HOT chain. */
static bool
update_row(CounterTable *table, const CounterKey *key, const CounterBump *bump,
		   HeapTuple old, OffsetNumber root, Buffer buffer)
{
	ItemPointerData tid = old->t_self;
	HotUpdateResult result = hot_update_row(table, key, bump, &tid, root, buffer);

	if (result != HOT_UPDATE_IMPOSSIBLE)
		return result == HOT_UPDATE_DONE;
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
		counter_row_is_of(row, RelationGetDescr(table->heap), key);
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
	bool		done = false;

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
		ItemPointerData tid;

		ItemPointerSet(&tid, hint.block, hint.newest);
		done = hot_update_row(table, key, bump, &tid, hint.root,
							  buffer) == HOT_UPDATE_DONE;
	}
	if (!done)
		done = read_chain(table, key, &row, hint.root, buffer) &&
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
