/*-------------------------------------------------------------------------
 *
 * counter_search.c
 *	  Find the rows of a counter.
 *
 * The index gives line pointers; behind each is a HOT chain: the versions of
 * one row on one page, oldest first.  A hot counter has up to a hundred dead
 * ones before the one that a snapshot sees, and with a snapshot held open
 * whole pages of them.  So a chain is followed to its end without a look at
 * the versions, and then they are tested newest first, which takes one or two
 * tests.  That is what the server's own index scan does, but for the order.
 *
 * While a snapshot is held open, a hot row fills page after page with versions
 * that nobody needs, and each of these pages has an index entry.  So a row has
 * an id, and a number that grows when it moves to another page, and the index
 * stores them after the key, most recent move first.  Of each row a snapshot sees
 * one version, so once that is found, the search goes on with the next row.
 *
 * Locking: the caller has the table open; a page is locked in shared mode
 * while one chain is looked at.  What a search has found stays pinned until
 * the next step, so pruning cannot move it.
 *
 * No predicate locks are taken: a SERIALIZABLE transaction that asks for a
 * version, or moves one, must not fail because others move it.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/counter_search.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* After so many index entries in vain, look for the next row in the index. */
#define MAX_VAIN_ENTRIES	4

/* A page with more free space is not pruned; no lock, a guess will do. */
#define PRUNE_BELOW		(BLCKSZ / 4)

/* ---------------------------------------------------------------- chains */

/*
 * Follow a HOT chain.  Returns the number of its members, oldest first, whose
 * line pointers are stored.  The page is locked.
 */
static int
follow_chain(Page page, OffsetNumber offset, OffsetNumber *members)
{
	OffsetNumber max = PageGetMaxOffsetNumber(page);
	TransactionId previous_xmax = InvalidTransactionId;
	int			n = 0;

	if (offset <= max && ItemIdIsRedirected(PageGetItemId(page, offset)))
		offset = ItemIdGetRedirect(PageGetItemId(page, offset));
	else if (offset <= max && ItemIdIsNormal(PageGetItemId(page, offset)) &&
			 HeapTupleHeaderIsHeapOnly((HeapTupleHeader)
									   PageGetItem(page, PageGetItemId(page, offset))))
		return 0;				/* this place has been taken by another row */
	while (offset <= max && n < MaxHeapTuplesPerPage)
	{
		ItemId		item = PageGetItemId(page, offset);
		HeapTupleHeader header;

		if (!ItemIdIsNormal(item))
			break;
		header = (HeapTupleHeader) PageGetItem(page, item);
		if (TransactionIdIsValid(previous_xmax) &&
			previous_xmax != HeapTupleHeaderGetXmin(header))
			break;
		members[n++] = offset;
		if (!HeapTupleHeaderIsHotUpdated(header))
			break;
		offset = ItemPointerGetOffsetNumber(&header->t_ctid);
		previous_xmax = HeapTupleHeaderGetUpdateXid(header);
	}
	return n;
}

static void
point_to(HeapTuple row, CounterTable *table, Buffer buffer, OffsetNumber offset)
{
	Page		page = BufferGetPage(buffer);
	ItemId		item = PageGetItemId(page, offset);

	row->t_data = (HeapTupleHeader) PageGetItem(page, item);
	row->t_len = ItemIdGetLength(item);
	row->t_tableOid = RelationGetRelid(table->heap);
	ItemPointerSet(&row->t_self, BufferGetBlockNumber(buffer), offset);
}

/* Did the chain certainly begin after the snapshot? */
static bool
is_too_new(HeapTupleHeader oldest, Snapshot snapshot)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(oldest);

	return IsMVCCSnapshot(snapshot) && TransactionIdIsNormal(xmin) &&
		TransactionIdFollowsOrEquals(xmin, snapshot->xmax) &&
		!TransactionIdIsCurrentTransactionId(xmin);
}

/*
 * The snapshot does not see this version, which has just been tested.  Is that
 * because it has been superseded, as all that are older have been, too?
 */
static bool
is_superseded(HeapTupleHeader header, Snapshot snapshot)
{
	if (HeapTupleHeaderXminFrozen(header))
		return true;
	return HeapTupleHeaderXminCommitted(header) &&
		!HeapTupleHeaderXminInvalid(header) &&
		!(IsMVCCSnapshot(snapshot) &&
		  XidInMVCCSnapshot(HeapTupleHeaderGetRawXmin(header), snapshot));
}

/* Can no snapshot see any version in the chain? */
static bool
is_all_dead(CounterTable *table, Buffer buffer, const OffsetNumber *members,
			int n)
{
	GlobalVisState *vistest = n > 0 ? GlobalVisTestFor(table->heap) : NULL;

	while (--n >= 0)
	{
		HeapTupleData row;

		point_to(&row, table, buffer, members[n]);
		if (!HeapTupleIsSurelyDead(&row, vistest))
			return false;
	}
	return true;
}

/*
 * The version in a chain that the snapshot sees; the page is pinned.  A dirty
 * snapshot sees what is committed, or a version that somebody is writing.
 */
static bool
find_in_chain(CounterTable *table, Buffer buffer, OffsetNumber offset,
			  Snapshot snapshot, HeapTuple row, bool *all_dead)
{
	OffsetNumber members[MaxHeapTuplesPerPage];
	bool		found = false;
	int			n;

	*all_dead = false;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	n = follow_chain(BufferGetPage(buffer), offset, members);
	if (n > 0)
		point_to(row, table, buffer, members[0]);
	if (n <= 0 || !is_too_new(row->t_data, snapshot))
	{
		for (int i = n - 1; i >= 0 && !found; i--)
		{
			point_to(row, table, buffer, members[i]);
			found = HeapTupleSatisfiesVisibility(row, snapshot, buffer);
			if (!found && is_superseded(row->t_data, snapshot))
				break;
		}
		*all_dead = !found && is_all_dead(table, buffer, members, n);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return found;
}

/* -------------------------------------------------------------- searches */

static Datum
text_datum(const char *string)
{
	return PointerGetDatum(cstring_to_text(string));
}

static void
equal_key(CounterTable *table, ScanKey key, AttrNumber column)
{
	ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, InvalidOid,
						   table->index->rd_indcollation[0], F_TEXTEQ,
						   (Datum) 0);
}

/*
 * Have an index scan ready.  It stays for the next search and ends with the
 * table, and so must the memory that it allocates.  For all but an MVCC
 * snapshot the server keeps the index page pinned that the scan is on.
 */
static void
ready_scan(CounterTable *table, Snapshot snapshot)
{
	Snapshot	for_index = IsMVCCSnapshot(snapshot) &&
		!IsolationIsSerializable() ? snapshot : SnapshotAny;

	counter_open_index(table);
	if (table->scan != NULL && table->scan->xs_snapshot == for_index)
		return;
	if (table->scan != NULL)
		index_endscan(table->scan);
	else
	{
		equal_key(table, &table->shared_scan_keys[0], 1);
		table->tenant_scan_keys[0] = table->shared_scan_keys[0];
		ScanKeyEntryInitialize(&table->shared_scan_keys[1],
							   SK_ISNULL | SK_SEARCHNULL, 2,
							   InvalidStrategy, InvalidOid, InvalidOid,
							   InvalidOid, (Datum) 0);
		equal_key(table, &table->tenant_scan_keys[1], 2);
	}
	table->scan = compat_index_beginscan(table->heap, table->index, for_index,
										 2);
}

/* Begin a search of which nothing is known. */
static void
start(CounterSearch *search, CounterTable *table, Snapshot snapshot)
{
	memset(search, 0, sizeof(CounterSearch));
	search->table = table;
	search->snapshot = snapshot;
}

/*
 * Begin to look for the rows of a counter that the snapshot sees, which may be a
 * dirty one.  The snapshot must last until search_end().
 */
void
search_begin(CounterSearch *search, CounterTable *table, const CounterKey *key,
			 Snapshot snapshot)
{
	MemoryContext old;
	ScanKey		scan_keys;

	if (key->tenant == ALL_TENANTS)
	{
		search_names(search, table, BTEqualStrategyNumber, F_TEXTEQ,
					 key->name, snapshot);
		return;
	}
	start(search, table, snapshot);
	search->index_place = IsMVCCSnapshot(snapshot) ?
		index_place_of(table, key) : NULL;
	if (search->index_place != NULL)
	{
		search->index_place->dead = 0;
		return;
	}

	old = MemoryContextSwitchTo(table->context);
	ready_scan(table, snapshot);
	search->scan = table->scan;
	scan_keys = key->tenant != NULL ? table->tenant_scan_keys :
		table->shared_scan_keys;
	scan_keys[0].sk_argument = search->name = text_datum(key->name);
	if (key->tenant != NULL)
		scan_keys[1].sk_argument = search->tenant = text_datum(key->tenant);
	index_rescan(search->scan, scan_keys, 2, NULL, 0);
	MemoryContextSwitchTo(old);
}

/*
 * Begin to look for the rows of all counters that these index conditions let
 * through, one counter after the other.  The scan is for this search only.
 */
static void
search_many(CounterSearch *search, CounterTable *table, ScanKey scan_keys,
			int nkeys, Snapshot snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);

	start(search, table, snapshot);
	counter_open_index(table);
	search->scan = compat_index_beginscan(table->heap, table->index, SnapshotAny,
										  nkeys);
	search->many_counters = true;
	index_rescan(search->scan, scan_keys, nkeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

/* Those of all counters. */
void
search_all(CounterSearch *search, CounterTable *table, Snapshot snapshot)
{
	search_many(search, table, NULL, 0, snapshot);
}

/* Those of all whose name compares so to this one. */
void
search_names(CounterSearch *search, CounterTable *table, StrategyNumber strategy,
			 RegProcedure function, const char *name, Snapshot snapshot)
{
	ScanKeyData scan_key;

	counter_open_index(table);
	ScanKeyEntryInitialize(&scan_key, 0, 1, strategy, InvalidOid,
						   table->index->rd_indcollation[0], function,
						   text_datum(name));
	search_many(search, table, &scan_key, 1, snapshot);
	search->name = scan_key.sk_argument;
}

/* Leave out what is left of the row that has been found. */
static void
skip_row(CounterSearch *search)
{
	CounterTable *table = search->table;
	ScanKeyData scan_keys[3];

	memcpy(scan_keys, search->tenant != (Datum) 0 ? table->tenant_scan_keys :
		   table->shared_scan_keys, 2 * sizeof(ScanKeyData));
	ScanKeyEntryInitialize(&scan_keys[2], 0, 3, BTGreaterStrategyNumber, InvalidOid,
						   InvalidOid, F_INT8GT, Int64GetDatum(search->row_id));
	if (search->skipping == NULL)
		search->skipping = compat_index_beginscan(table->heap, table->index,
												  search->scan->xs_snapshot, 3);
	index_rescan(search->skipping, scan_keys, 3, NULL, 0);
	search->found = false;
}

/*
 * Prune a page that has little space left.  Not as soon as the fillfactor
 * wants it: a page of many keys would be pruned for each of them.
 */
void
counter_prune(CounterTable *table, Buffer buffer)
{
	if (PageGetHeapFreeSpace(BufferGetPage(buffer)) < PRUNE_BELOW)
		compat_prune(table->heap, buffer);
}

/* Pin the heap page of an index entry. */
static void
read_page(CounterSearch *search, BlockNumber block)
{
	Buffer		previous = search->buffer;

	search->buffer = ReleaseAndReadBuffer(previous, search->table->heap, block);
	if (search->buffer != previous)
		counter_prune(search->table, search->buffer);
}

/*
 * The version that the snapshot sees in the HOT chain that begins here; the
 * page is pinned.
 */
bool
search_chain(CounterTable *table, Buffer buffer, OffsetNumber root,
			 Snapshot snapshot, HeapTuple row)
{
	bool		all_dead;

	return find_in_chain(table, buffer, root, snapshot, row, &all_dead);
}

/* The next row at a place that is known. */
static bool
next_at_index_place(CounterSearch *search, HeapTuple row)
{
	IndexPlace *index_place = search->index_place;
	CounterTable *table = search->table;
	bool		found = false;

	while (!found && search->next_entry < index_place->nentries)
	{
		IndexPlaceEntry *entry = &index_place->entries[search->next_entry++];
		BlockNumber block = ItemPointerGetBlockNumber(&entry->tid);
		bool		all_dead;

		if (!BufferIsValid(search->buffer) ||
			BufferGetBlockNumber(search->buffer) != block)
		{
			if (BufferIsValid(search->buffer))
				ReleaseBuffer(search->buffer);
			search->buffer = InvalidBuffer;
			search->buffer = index_place_read_block(table->heap, block,
													entry->buffer);
			counter_prune(table, search->buffer);
		}
		entry->buffer = search->buffer;
		found = find_in_chain(table, search->buffer,
							  ItemPointerGetOffsetNumber(&entry->tid),
							  search->snapshot, row, &all_dead);
		index_place->dead += all_dead;
	}
	return found;
}

/* The next row that an index scan finds. */
static bool
next_in_index(CounterSearch *search, HeapTuple row)
{
	MemoryContext old = MemoryContextSwitchTo(search->table->context);
	bool		found = false;
	int			vain = 0;

	while (!found)
	{
		IndexScanDesc scan = search->skipping ? search->skipping : search->scan;
		ItemPointer tid = index_getnext_tid(scan, ForwardScanDirection);
		bool		all_dead;

		if (tid == NULL)
			break;
		read_page(search, ItemPointerGetBlockNumber(tid));
		search->root = ItemPointerGetOffsetNumber(tid);
		found = find_in_chain(search->table, search->buffer, search->root,
							  search->snapshot, row, &all_dead);
		if (!scan->xactStartedInRecovery)
			scan->kill_prior_tuple = all_dead;
		if (!found && search->found && !search->many_counters &&
			++vain == MAX_VAIN_ENTRIES)
			skip_row(search);
	}
	if (found)
	{
		search->found = true;
		search->row_id = counter_form(row)->row_id;
	}
	MemoryContextSwitchTo(old);
	return found;
}

/* The next row; valid until the next step, and its page is search->buffer. */
bool
search_next(CounterSearch *search, HeapTuple row)
{
	return search->index_place != NULL ? next_at_index_place(search, row) :
		next_in_index(search, row);
}

void
search_end(CounterSearch *search)
{
	if (search->skipping != NULL)
		index_endscan(search->skipping);
	if (search->many_counters)
		index_endscan(search->scan);
	if (search->index_place != NULL)
		index_place_searched(search->index_place);
	if (BufferIsValid(search->buffer))
		ReleaseBuffer(search->buffer);
	if (search->name != (Datum) 0)
		pfree(DatumGetPointer(search->name));
	if (search->tenant != (Datum) 0)
		pfree(DatumGetPointer(search->tenant));
}
