/*-------------------------------------------------------------------------
 *
 * counter_read.c
 *	  Find the rows of a key, and add them up.
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
 * has them behind the key, the last move first.  Of each row a snapshot sees
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
#include "base/cache_notify.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "counter/counter.h"

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
point_to(HeapTuple row, CounterTable *table, Page page, OffsetNumber offset)
{
	ItemId		item = PageGetItemId(page, offset);

	row->t_data = (HeapTupleHeader) PageGetItem(page, item);
	row->t_len = ItemIdGetLength(item);
	row->t_tableOid = RelationGetRelid(table->heap);
	ItemPointerSet(&row->t_self, BufferGetBlockNumber(table->buffer), offset);
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
is_all_dead(CounterTable *table, Page page, const OffsetNumber *members, int n)
{
	GlobalVisState *vistest = n > 0 ? GlobalVisTestFor(table->heap) : NULL;

	while (--n >= 0)
	{
		HeapTupleData row;

		point_to(&row, table, page, members[n]);
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
find_in_chain(CounterTable *table, OffsetNumber offset, Snapshot snapshot,
			  HeapTuple row, bool *all_dead)
{
	Page		page = BufferGetPage(table->buffer);
	OffsetNumber members[MaxHeapTuplesPerPage];
	bool		found = false;
	int			n;

	*all_dead = false;
	LockBuffer(table->buffer, BUFFER_LOCK_SHARE);
	n = follow_chain(page, offset, members);
	if (n > 0)
		point_to(row, table, page, members[0]);
	if (n <= 0 || !is_too_new(row->t_data, snapshot))
	{
		for (int i = n - 1; i >= 0 && !found; i--)
		{
			point_to(row, table, page, members[i]);
			found = HeapTupleSatisfiesVisibility(row, snapshot, table->buffer);
			if (!found && is_superseded(row->t_data, snapshot))
				break;
		}
		*all_dead = !found && is_all_dead(table, page, members, n);
	}
	LockBuffer(table->buffer, BUFFER_LOCK_UNLOCK);
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

/*
 * Begin to look for the rows of a key that the snapshot sees, which may be a
 * dirty one.  The snapshot must last until search_end().
 */
void
search_begin(CounterTable *table, const char *domain, const char *tenant,
			 Snapshot snapshot)
{
	MemoryContext old;
	ScanKey		keys;

	table->snapshot = snapshot;
	table->next_entry = 0;
	table->index_place = IsMVCCSnapshot(snapshot) ?
		index_place_of(table, domain, tenant) : NULL;
	if (table->index_place != NULL)
	{
		table->index_place->dead = 0;
		return;
	}

	old = MemoryContextSwitchTo(table->context);
	ready_scan(table, snapshot);
	keys = tenant != NULL ? table->tenant_scan_keys : table->shared_scan_keys;
	keys[0].sk_argument = table->domain = text_datum(domain);
	if (tenant != NULL)
		keys[1].sk_argument = table->tenant = text_datum(tenant);
	index_rescan(table->scan, keys, 2, NULL, 0);
	MemoryContextSwitchTo(old);
}

/*
 * Begin to look for the rows of all keys that these index conditions let
 * through, key by key.  The scan is for this search only.
 */
static void
search_keys(CounterTable *table, ScanKey keys, int nkeys, Snapshot snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);

	counter_open_index(table);
	if (table->scan != NULL)
		index_endscan(table->scan);
	table->snapshot = snapshot;
	table->scan = compat_index_beginscan(table->heap, table->index, SnapshotAny,
										 nkeys);
	table->many_scopes = true;
	index_rescan(table->scan, keys, nkeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

/* Begin to look for the rows of all keys. */
void
search_all(CounterTable *table, Snapshot snapshot)
{
	search_keys(table, NULL, 0, snapshot);
}

/* Leave out what is left of the row that has been found. */
static void
skip_row(CounterTable *table)
{
	ScanKeyData keys[3];

	memcpy(keys, table->tenant != (Datum) 0 ? table->tenant_scan_keys :
		   table->shared_scan_keys, 2 * sizeof(ScanKeyData));
	ScanKeyEntryInitialize(&keys[2], 0, 3, BTGreaterStrategyNumber, InvalidOid,
						   InvalidOid, F_INT8GT, Int64GetDatum(table->row_id));
	if (table->skipping == NULL)
		table->skipping = compat_index_beginscan(table->heap, table->index,
												 table->scan->xs_snapshot, 3);
	index_rescan(table->skipping, keys, 3, NULL, 0);
	table->found = false;
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
read_page(CounterTable *table, BlockNumber block)
{
	Buffer		previous = table->buffer;

	table->buffer = ReleaseAndReadBuffer(previous, table->heap, block);
	if (table->buffer != previous)
		counter_prune(table, table->buffer);
}

/*
 * The version that the snapshot sees in the HOT chain that begins here; the
 * page is pinned, and no search is going on.
 */
bool
search_chain(CounterTable *table, Buffer buffer, OffsetNumber root,
			 Snapshot snapshot, HeapTuple row)
{
	bool		all_dead;
	bool		found;

	table->buffer = buffer;
	found = find_in_chain(table, root, snapshot, row, &all_dead);
	table->buffer = InvalidBuffer;
	return found;
}

/* The next row at a place that is known. */
static bool
next_at_index_place(CounterTable *table, HeapTuple row)
{
	IndexPlace *index_place = table->index_place;
	bool		found = false;

	while (!found && table->next_entry < index_place->nentries)
	{
		IndexPlaceEntry *entry = &index_place->entries[table->next_entry++];
		BlockNumber block = ItemPointerGetBlockNumber(&entry->tid);
		bool		all_dead;

		if (!BufferIsValid(table->buffer) ||
			BufferGetBlockNumber(table->buffer) != block)
		{
			if (BufferIsValid(table->buffer))
				ReleaseBuffer(table->buffer);
			table->buffer = InvalidBuffer;
			table->buffer = index_place_read_block(table->heap, block, entry->buffer);
			counter_prune(table, table->buffer);
		}
		entry->buffer = table->buffer;
		found = find_in_chain(table, ItemPointerGetOffsetNumber(&entry->tid),
							  table->snapshot, row, &all_dead);
		index_place->dead += all_dead;
	}
	return found;
}

/* The next row that an index scan finds. */
static bool
next_in_index(CounterTable *table, HeapTuple row)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);
	bool		found = false;
	int			vain = 0;

	while (!found)
	{
		IndexScanDesc scan = table->skipping ? table->skipping : table->scan;
		ItemPointer tid = index_getnext_tid(scan, ForwardScanDirection);
		bool		all_dead;

		if (tid == NULL)
			break;
		read_page(table, ItemPointerGetBlockNumber(tid));
		table->root = ItemPointerGetOffsetNumber(tid);
		found = find_in_chain(table, table->root, table->snapshot, row,
							  &all_dead);
		if (!scan->xactStartedInRecovery)
			scan->kill_prior_tuple = all_dead;
		if (!found && table->found && !table->many_scopes &&
			++vain == MAX_VAIN_ENTRIES)
			skip_row(table);
	}
	if (found)
	{
		table->found = true;
		table->row_id = counter_form(row)->row_id;
	}
	MemoryContextSwitchTo(old);
	return found;
}

/* The next row; valid until the next step, and its page is table->buffer. */
bool
search_next(CounterTable *table, HeapTuple row)
{
	return table->index_place != NULL ? next_at_index_place(table, row) :
		next_in_index(table, row);
}

void
search_end(CounterTable *table)
{
	if (table->skipping != NULL)
		index_endscan(table->skipping);
	table->skipping = NULL;
	if (table->many_scopes)
	{
		index_endscan(table->scan);
		table->scan = NULL;
	}
	table->many_scopes = table->found = false;
	if (table->index_place != NULL)
		index_place_searched(table->index_place);
	table->index_place = NULL;
	if (BufferIsValid(table->buffer))
		ReleaseBuffer(table->buffer);
	table->buffer = InvalidBuffer;
	if (table->domain != (Datum) 0)
		pfree(DatumGetPointer(table->domain));
	if (table->tenant != (Datum) 0)
		pfree(DatumGetPointer(table->tenant));
	table->domain = table->tenant = (Datum) 0;
}

/* ----------------------------------------------------------------- sums */

/* Call visit() for each row of a key that the snapshot sees. */
void
counter_visit(CounterTable *table, const char *domain, const char *tenant,
			  Snapshot snapshot, CounterVisitor visit, void *arg)
{
	HeapTupleData row;

	search_begin(table, domain, tenant, snapshot);
	while (search_next(table, &row))
		visit(&row, arg);
	search_end(table);
}

/* The sum of a key's rows, as the snapshot sees them. */
int64
counter_sum(CounterTable *table, const char *domain, const char *tenant,
			Snapshot snapshot)
{
	HeapTupleData row;
	int64		sum = 0;
	int			nrows = 0;

	search_begin(table, domain, tenant, snapshot);
	for (; search_next(table, &row); nrows++)
		sum += counter_form(&row)->n;
	search_end(table);
	if (nrows > 1 && table->many_rows != NULL)
		table->many_rows(domain, tenant);
	return sum;
}

/* The same, without the bumps whose keys are told by buckets of this bucket layout. */
int64
counter_sum_whole(CounterTable *table, const char *domain, const char *tenant,
				  int64 bucket_layout, Snapshot snapshot)
{
	HeapTupleData row;
	int64		sum = 0;

	search_begin(table, domain, tenant, snapshot);
	while (search_next(table, &row))
	{
		CounterForm *form = counter_form(&row);

		sum += form->bucket_layout == bucket_layout ? form->n - form->keyed : form->n;
	}
	search_end(table);
	return sum;
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

/* The key of a row, palloc'd; tenant NULL: the shared one. */
void
counter_scope_of_row(HeapTuple row, TupleDesc desc, char **domain, char **tenant)
{
	bool		isnull;
	Datum		value;

	value = heap_getattr(row, Anum_counter_domain, desc, &isnull);
	*domain = TextDatumGetCString(value);
	value = heap_getattr(row, Anum_counter_tenant_id, desc, &isnull);
	*tenant = isnull ? NULL : TextDatumGetCString(value);
}

/* -------------------------------------------------------------- domains */

/*
 * The first domain by name, from this one or beyond it, that has a committed
 * counter; NULL if there is none.
 */
static char *
find_domain(CounterTable *table, StrategyNumber strategy, RegProcedure function,
			const char *name)
{
	ScanKeyData key;
	SnapshotData dirty;
	HeapTupleData row;
	char	   *domain = NULL;
	char	   *tenant;

	counter_open_index(table);
	ScanKeyEntryInitialize(&key, 0, 1, strategy, InvalidOid,
						   table->index->rd_indcollation[0], function,
						   text_datum(name));
	InitDirtySnapshot(dirty);
	search_keys(table, &key, 1, &dirty);
	if (search_next(table, &row))
		counter_scope_of_row(&row, RelationGetDescr(table->heap), &domain, &tenant);
	search_end(table);
	return domain;
}

/* The names of all domains that have a counter, but for internal ones. */
List *
counter_domains(CounterTable *table)
{
	List	   *domains = NIL;
	char	   *domain = "";

	while ((domain = find_domain(table, BTGreaterStrategyNumber, F_TEXT_GT,
								 domain)) != NULL)
	{
		/* Of domains with keys there may be thousands: pass over them. */
		if (is_internal_domain(domain))
			domain = INTERNAL_PREFIX "~";
		else
			domains = lappend(domains, domain);
	}
	return domains;
}

/* Has this domain ever changed, for any tenant, as committed by now? */
bool
counter_domain_exists(CounterTable *table, const char *domain)
{
	return find_domain(table, BTEqualStrategyNumber, F_TEXTEQ, domain) != NULL;
}
