/*-------------------------------------------------------------------------
 *
 * index_place.c
 *	  Remember where the index has the rows of a counter.
 *
 * Most of what it costs to read a counter is the way through the index, and
 * most counters are read again and again.  So each backend remembers, for some
 * counters, which entries the index had, the leaf page that they are on, and the
 * LSN of that page.  Whatever adds an entry to a page moves its LSN, so while
 * that is the same the entries are, too.  It is looked at after the snapshot
 * was taken: an entry that comes later is of no interest to the snapshot, and
 * a line pointer that is used anew later has a row that it does not see.
 *
 * This works for a counter whose entries, if any, are few and on one page: the
 * first that may have the key, as a search finds it, whose high key is greater
 * than the key.  Then no other page may have an entry of the key while that
 * one stays as it is.  Other counters are left to an index scan.
 *
 * A reader must have an MVCC snapshot, as no index page stays pinned.
 *
 * A writer that had to look into the index tells the worker what it saw, so
 * that the worker need not look as well.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/index_place.h"

#include "access/nbtree.h"
#include "access/xlog.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "counter/counter_table.h"

/*
 * Enough for a thousand busy tenants, or buckets; a power of two.  A key is in
 * one of two places, and the one that was used last comes first.
 */
#define NUM_INDEX_PLACES	4096

/* More index entries of a counter are not remembered. */
#define MAX_INDEX_PLACE_ENTRIES	256

/* With more dead ones among them, they are marked so in the index. */
#define MAX_DEAD_ENTRIES	8

/* A counter that is not remembered is tried again when asked for so often. */
#define INDEX_PLACE_SKIP	16

/* Of this backend, as long as it lives. */
static IndexPlace *index_places[NUM_INDEX_PLACES];	/* NULL: never used */
static Oid	index_places_file = InvalidOid; /* index that they point into */

/* The buffer of a block that exists, hopefully the one where it was last. */
Buffer
index_place_read_block(Relation rel, BlockNumber block, Buffer last)
{
	if (BufferIsValid(last) && compat_read_recent_buffer(rel, block, last))
		return last;
	return ReadBuffer(rel, block);
}

static bool
is_index_place_of(const IndexPlace *index_place, const CounterKey *key)
{
	return index_place->name != NULL && index_place->hash == key->hash &&
		(index_place->tenant == NULL) == (key->tenant == NULL) &&
		strcmp(index_place->name, key->name) == 0 &&
		(key->tenant == NULL || strcmp(index_place->tenant, key->tenant) == 0);
}

static bool
is_unchanged(CounterTable *table, IndexPlace *index_place)
{
	Buffer		buffer;
	bool		unchanged;

	if (index_place->lsn == InvalidXLogRecPtr)
		return false;
	buffer = index_place_read_block(table->index, index_place->leaf, index_place->leaf_buffer);
	unchanged = BufferGetLSNAtomic(buffer) == index_place->lsn;
	index_place->leaf_buffer = buffer;
	ReleaseBuffer(buffer);
	return unchanged;
}

/*
 * The key as the index compares it; of the columns behind it, nothing.  It
 * points into *tuple; both are the caller's to free.
 */
static BTScanInsert
make_search_key(Relation index, const char *domain, const char *tenant,
				IndexTuple *tuple)
{
	Datum		values[INDEX_MAX_KEYS] = {0};
	bool		nulls[INDEX_MAX_KEYS];
	BTScanInsert key;

	memset(nulls, true, sizeof(nulls));
	values[0] = CStringGetTextDatum(domain);
	nulls[0] = false;
	if (tenant != NULL)
	{
		values[1] = CStringGetTextDatum(tenant);
		nulls[1] = false;
	}
	*tuple = index_form_tuple(RelationGetDescr(index), values, nulls);
	pfree(DatumGetPointer(values[0]));
	if (tenant != NULL)
		pfree(DatumGetPointer(values[1]));
	key = _bt_mkscankey(index, *tuple);
	key->keysz = 2;
	key->scantid = NULL;
	return key;
}

/* The first item on a leaf page that is not smaller than the key, if any. */
static OffsetNumber
first_not_smaller(Relation index, BTScanInsert key, Page page,
				  BTPageOpaque opaque)
{
	OffsetNumber low = P_FIRSTDATAKEY(opaque);
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));

	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;

		if (_bt_compare(index, key, page, middle) > 0)
			low = OffsetNumberNext(middle);
		else
			high = middle;
	}
	return low;
}

/* Add a line pointer.  False if there are too many. */
static bool
add_entry(IndexPlace *index_place, const ItemPointerData *tid)
{
	IndexPlaceEntry *entry;

	if (index_place->nentries == MAX_INDEX_PLACE_ENTRIES)
		return false;
	if (index_place->nentries == index_place->capacity)
	{
		int			capacity = Max(1, 2 * index_place->capacity);

		index_place->entries = index_place->capacity == 0 ?
			MemoryContextAlloc(TopMemoryContext, sizeof(IndexPlaceEntry)) :
			repalloc(index_place->entries, capacity * sizeof(IndexPlaceEntry));
		index_place->capacity = capacity;
	}
	entry = &index_place->entries[index_place->nentries++];
	entry->tid = *tid;
	entry->buffer = InvalidBuffer;
	return true;
}

/* Add the line pointers of an index item.  False if there are too many. */
static bool
add_item(IndexPlace *index_place, IndexTuple item)
{
	if (!BTreeTupleIsPosting(item))
		return add_entry(index_place, &item->t_tid);
	for (int i = 0; i < BTreeTupleGetNPosting(item); i++)
		if (!add_entry(index_place, BTreeTupleGetPostingN(item, i)))
			return false;
	return true;
}

/*
 * Add what the leaf page says of the counter.  False if that may not be all, or
 * is too much.  The page is locked.
 */
static bool
read_leaf(Relation index, BTScanInsert key, Page page, IndexPlace *index_place)
{
	BTPageOpaque opaque = (BTPageOpaque) PageGetSpecialPointer(page);
	OffsetNumber max = PageGetMaxOffsetNumber(page);
	OffsetNumber offset;

	if (P_IGNORE(opaque) || P_INCOMPLETE_SPLIT(opaque))
		return false;
	offset = first_not_smaller(index, key, page, opaque);
	for (; offset <= max; offset++)
	{
		ItemId		item = PageGetItemId(page, offset);

		if (_bt_compare(index, key, page, offset) < 0)
			return true;
		if (!ItemIdIsDead(item) &&
			!add_item(index_place, (IndexTuple) PageGetItem(page, item)))
			return false;
	}
	return P_RIGHTMOST(opaque) || _bt_compare(index, key, page, P_HIKEY) < 0;
}

/* Look the key up in the index.  False if it has no place that we can remember. */
static bool
find_index_place(CounterTable *table, IndexPlace *index_place)
{
	IndexTuple	tuple;
	BTScanInsert key = make_search_key(table->index, index_place->name,
									   index_place->tenant, &tuple);
	Buffer		buffer;
	bool		found = false;

	index_place->lsn = InvalidXLogRecPtr;
	index_place->nentries = 0;
	buffer = compat_bt_search(table->index, table->heap, key);
	if (BufferIsValid(buffer))	/* else the index is empty */
	{
		found = read_leaf(table->index, key, BufferGetPage(buffer), index_place);
		if (found)
		{
			index_place->leaf = BufferGetBlockNumber(buffer);
			index_place->leaf_buffer = buffer;
			index_place->lsn = BufferGetLSNAtomic(buffer);
		}
		_bt_relbuf(table->index, buffer);
	}
	pfree(key);
	pfree(tuple);
	return found && index_place->lsn != InvalidXLogRecPtr;
}

static void
forget_all(Oid file)
{
	for (int i = 0; i < NUM_INDEX_PLACES; i++)
		if (index_places[i] != NULL)
			index_places[i]->lsn = InvalidXLogRecPtr;
	index_places_file = file;
}

/* Use this place for another counter, about which nothing is known. */
static void
assign_index_place(IndexPlace *index_place, const CounterKey *key)
{
	char	   *old_name = index_place->name;
	char	   *old_tenant = index_place->tenant;

	index_place->lsn = InvalidXLogRecPtr;
	index_place->skip = 0;
	index_place->hash = key->hash;
	index_place->name = index_place->tenant = NULL;
	if (old_name != NULL)
		pfree(old_name);
	if (old_tenant != NULL)
		pfree(old_tenant);
	if (key->tenant != NULL)
		index_place->tenant = MemoryContextStrdup(TopMemoryContext, key->tenant);
	index_place->name = MemoryContextStrdup(TopMemoryContext, key->name);
}

/* The place of a counter; of one that has none, that which is given up for it. */
static IndexPlace *
find_or_assign(const CounterKey *key)
{
	IndexPlace **pair = &index_places[key->hash & (NUM_INDEX_PLACES - 2)];
	IndexPlace *second = pair[1];

	if (pair[0] != NULL && is_index_place_of(pair[0], key))
		return pair[0];
	if (second == NULL)
		second = MemoryContextAllocZero(TopMemoryContext, sizeof(IndexPlace));
	pair[1] = pair[0];
	pair[0] = second;
	if (!is_index_place_of(second, key))
		assign_index_place(second, key);
	return second;
}

/* Can the counter's rows be at a place at all? */
static bool
can_have_index_place(CounterTable *table, const CounterKey *key)
{
	counter_open_index(table);
	return RelationNeedsWAL(table->index) && key->tenant_len <= MAX_TENANT_LEN;
}

/* The place of a counter in the index as it is; see find_or_assign(). */
static IndexPlace *
index_place_in_file(CounterTable *table, const CounterKey *key)
{
	Oid			file = compat_relation_file(table->index);

	if (index_places_file != file)
		forget_all(file);
	return find_or_assign(key);
}

/* A writer has found the place of a counter: a reader need not look it up. */
static void
learn(CounterTable *table, IndexPlace *index_place, const CounterKey *key)
{
	const KnownIndexPlace *known = &key->index_place;

	if (known->lsn == InvalidXLogRecPtr || index_place->lsn >= known->lsn ||
		known->file != compat_relation_file(table->index))
		return;
	index_place->lsn = InvalidXLogRecPtr;
	index_place->nentries = 0;
	index_place->skip = 0;
	add_entry(index_place, &known->tid);
	index_place->leaf = known->leaf;
	index_place->leaf_buffer = InvalidBuffer;
	index_place->lsn = known->lsn;
}

/*
 * Where the rows of a counter are; valid until the next call.  NULL: an index
 * scan must find them.  The caller's snapshot has been taken.
 */
IndexPlace *
index_place_of(CounterTable *table, const CounterKey *key)
{
	IndexPlace *index_place;

	if (!can_have_index_place(table, key))
		return NULL;
	index_place = index_place_in_file(table, key);
	learn(table, index_place, key);
	if (is_unchanged(table, index_place))
		return index_place;
	if (index_place->skip > 0)
	{
		index_place->skip--;
		return NULL;
	}
	if (find_index_place(table, index_place))
		return index_place;
	index_place->skip = INDEX_PLACE_SKIP;	/* do not search twice each time */
	return NULL;
}

/*
 * Look up where the index has the rows of a counter by now, for a writer, which
 * does not remember it: it has heap hints.  Valid until the next call; NULL: an
 * index scan must find them.  The rows may be others' by the time that they
 * are read, but the pages exist: we have the table.  If there is only one,
 * key->index_place becomes what a reader can make use of.
 */
IndexPlace *
index_place_now(CounterTable *table, CounterKey *key)
{
	/* Its entries stay allocated as long as the backend lives. */
	static IndexPlace index_place;

	if (!can_have_index_place(table, key))
		return NULL;
	index_place.name = unconstify(char *, key->name);
	index_place.tenant = unconstify(char *, key->tenant);
	if (!find_index_place(table, &index_place))
		return NULL;
	if (index_place.nentries == 1)
	{
		key->index_place.lsn = index_place.lsn;
		key->index_place.file = compat_relation_file(table->index);
		key->index_place.leaf = index_place.leaf;
		key->index_place.tid = index_place.entries[0].tid;
	}
	return &index_place;
}

/*
 * A search at this place has ended.  Whoever goes over the index entries marks
 * those that lead to nothing any more; have the next search do that if they
 * are many.
 */
void
index_place_searched(IndexPlace *index_place)
{
	if (index_place->dead <= MAX_DEAD_ENTRIES || RecoveryInProgress())
		return;
	index_place->lsn = InvalidXLogRecPtr;
	index_place->skip = 1;
}
