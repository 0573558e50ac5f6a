/*-------------------------------------------------------------------------
 *
 * index_place.c
 *	  Remember where the rows of a key are.
 *
 * Most of what it costs to read a counter is the way through the index, and
 * most counters are read again and again.  So each backend remembers, for some
 * keys, which entries the index had, the leaf page that they are on, and the
 * LSN of that page.  Whatever adds an entry to a page moves its LSN, so while
 * that is the same the entries are, too.  It is looked at after the snapshot
 * was taken: an entry that comes later is of no interest to the snapshot, and
 * a line pointer that is used anew later has a row that it does not see.
 *
 * This works for a key whose entries, if any, are few and on one page: the
 * first that may have the key, as a search finds it, whose high key is greater
 * than the key.  Then no other page may have an entry of the key while that
 * one stays as it is.  Other keys are left to an index scan.
 *
 * A reader must have an MVCC snapshot, as no index page stays pinned.
 *
 * A writer that had to look into the index tells the worker what it saw, so
 * that the worker need not look as well.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "access/nbtree.h"
#include "access/xlog.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "counter/counter.h"

/*
 * Enough for a thousand busy tenants, or buckets; a power of two.  A key is in
 * one of two places, and the one that was used last comes first.
 */
#define NUM_INDEX_PLACES		4096

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
is_index_place_of(const IndexPlace *index_place, uint32 hash, const char *domain,
				  const char *tenant)
{
	return index_place->domain != NULL && index_place->hash == hash &&
		(index_place->tenant == NULL) == (tenant == NULL) &&
		strcmp(index_place->domain, domain) == 0 &&
		(tenant == NULL || strcmp(index_place->tenant, tenant) == 0);
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

/* Note a line pointer.  False if there are too many. */
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

/* Note the line pointers of an index item.  False if there are too many. */
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
 * Note what the leaf page says of the key.  False if that may not be all, or
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

/* Look the key up in the index.  False if it has no place that we can note. */
static bool
find_index_place(CounterTable *table, IndexPlace *index_place)
{
	IndexTuple	tuple;
	BTScanInsert key = make_search_key(table->index, index_place->domain,
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

/* Use this place for another key, about which nothing is known. */
static void
assign_index_place(IndexPlace *index_place, uint32 hash, const char *domain, const char *tenant)
{
	char	   *old_domain = index_place->domain;
	char	   *old_tenant = index_place->tenant;

	index_place->lsn = InvalidXLogRecPtr;
	index_place->skip = 0;
	index_place->hash = hash;
	index_place->domain = index_place->tenant = NULL;
	if (old_domain != NULL)
		pfree(old_domain);
	if (old_tenant != NULL)
		pfree(old_tenant);
	if (tenant != NULL)
		index_place->tenant = MemoryContextStrdup(TopMemoryContext, tenant);
	index_place->domain = MemoryContextStrdup(TopMemoryContext, domain);
}

/* The place of a key; of one that has none, the place that is given up for it. */
static IndexPlace *
find_or_assign(uint32 hash, const char *domain, const char *tenant)
{
	IndexPlace **pair = &index_places[hash & (NUM_INDEX_PLACES - 2)];
	IndexPlace *second = pair[1];

	if (pair[0] != NULL && is_index_place_of(pair[0], hash, domain, tenant))
		return pair[0];
	if (second == NULL)
		second = MemoryContextAllocZero(TopMemoryContext, sizeof(IndexPlace));
	pair[1] = pair[0];
	pair[0] = second;
	if (!is_index_place_of(second, hash, domain, tenant))
		assign_index_place(second, hash, domain, tenant);
	return second;
}

/* Can the key's rows be at a place at all? */
static bool
can_have_index_place(CounterTable *table, const char *tenant)
{
	counter_open_index(table);
	return RelationNeedsWAL(table->index) &&
		(tenant == NULL || strlen(tenant) <= MAX_TENANT_LEN);
}

/* The place of this key in the index as it is; see find_or_assign(). */
static IndexPlace *
index_place_in_file(CounterTable *table, const char *domain, const char *tenant)
{
	Oid			file = compat_relation_file(table->index);

	if (index_places_file != file)
		forget_all(file);
	return find_or_assign(hash_scope(domain, tenant), domain, tenant);
}

/*
 * Where the rows of a key are; valid until the next call.  NULL: an index scan
 * must find them.  The caller's snapshot has been taken.
 */
IndexPlace *
index_place_of(CounterTable *table, const char *domain, const char *tenant)
{
	IndexPlace *index_place;

	if (!can_have_index_place(table, tenant))
		return NULL;
	index_place = index_place_in_file(table, domain, tenant);
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
 * Look up where the index has the rows of a key by now, for a writer, which
 * does not remember it: it has row hints.  Valid until the next call; NULL: an
 * index scan must find them.  The rows may be others' by the time that they
 * are read, but the pages exist: we have the table.  *known is what a reader
 * can make use of, if there is only one.
 */
IndexPlace *
index_place_now(CounterTable *table, const char *domain, const char *tenant,
				KnownIndexPlace *known)
{
	static IndexPlace index_place;

	if (!can_have_index_place(table, tenant))
		return NULL;
	index_place.domain = unconstify(char *, domain);
	index_place.tenant = unconstify(char *, tenant);
	if (!find_index_place(table, &index_place))
		return NULL;
	if (index_place.nentries == 1)
	{
		known->lsn = index_place.lsn;
		known->file = compat_relation_file(table->index);
		known->leaf = index_place.leaf;
		known->tid = index_place.entries[0].tid;
	}
	return &index_place;
}

/* A reader is told the place of a key that it is about to read. */
void
index_place_learn(CounterTable *table, const ScopeChange *key)
{
	const KnownIndexPlace *known = &key->index_place;
	IndexPlace *index_place;

	if (known->lsn == InvalidXLogRecPtr ||
		!can_have_index_place(table, key->tenant) ||
		known->file != compat_relation_file(table->index))
		return;
	index_place = index_place_in_file(table, key->domain->name, key->tenant);
	if (index_place->lsn >= known->lsn)
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
