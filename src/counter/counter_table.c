/*-------------------------------------------------------------------------
 *
 * counter_table.c
 *	  The counter table, opened.
 *
 * What most calls need is opened at once; the index, and a scan of it, when they
 * are needed.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/counter_table.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "nodes/bitmapset.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "counter/common_history.h"
#include "counter/heap_hint.h"
#include "counter/index_columns.h"

const char	all_tenants[] = "*";

/*
 * Found by name once, then kept by the backend until one of them is invalidated,
 * whatever becomes of the transaction.
 */
static InvalidationCount heap_changes;	/* their relid is what was found */
static InvalidationCount index_changes;
static uint64 heap_known_at = 0;
static uint64 index_known_at = 0;

void
counter_init(void)
{
	invalidation_count_relations(&heap_changes);
	invalidation_count_relations(&index_changes);
	heap_hint_init();
	common_history_init();
}

/* As another backend has found it; NULL if it has not, or that is another one. */
static Relation
open_told_heap(LOCKMODE lockmode)
{
	CommonHistory history;
	Relation	heap;

	if (!common_history_take(&history))
		return NULL;
	heap = try_relation_open(history.facts.counter_oid, lockmode);
	if (heap != NULL && !state_is_called(heap, "version_counter"))
	{
		relation_close(heap, lockmode);
		return NULL;
	}
	return heap;
}

/*
 * As this backend knows it, NULL if that is out of date.  With the lock come the
 * invalidations: if there was none, it is there, and no catalog need be asked.
 */
static Relation
open_known_heap(LOCKMODE lockmode)
{
	Oid			relid = heap_changes.relid;
	Relation	heap = NULL;

	if (heap_known_at != heap_changes.count)
		return NULL;
	LockRelationOid(relid, lockmode);
	if (heap_known_at == heap_changes.count)
		heap = RelationIdGetRelation(relid);
	if (heap == NULL)
		UnlockRelationOid(relid, lockmode);
	else
		compat_init_statistics(heap);
	return heap;
}

static Relation
open_heap(LOCKMODE lockmode)
{
	Relation	heap = open_known_heap(lockmode);

	if (heap != NULL)
		return heap;
	heap = open_told_heap(lockmode);
	if (heap == NULL)
		heap = extension_open(INTERNAL_SCHEMA, "version_counter", lockmode);
	heap_changes.relid = heap ? RelationGetRelid(heap) : InvalidOid;
	heap_known_at = heap ? heap_changes.count : 0;
	return heap;
}

/*
 * Open the counter table.  NULL if the extension is not there (any more).  The
 * memory is that of the present context.
 */
CounterTable *
counter_open(LOCKMODE lockmode)
{
	Relation	heap = open_heap(lockmode);
	CounterTable *table;

	if (heap == NULL)
		return NULL;
	heap_hints_use(compat_relation_file(heap));
	table = palloc0(sizeof(CounterTable));
	table->heap = heap;
	table->lockmode = lockmode;
	table->context = CurrentMemoryContext;
	return table;
}

/*
 * What is needed to look into the index.  That cannot go while we have the
 * table, and opening the table has told us if it was replaced.
 */
void
counter_open_index(CounterTable *table)
{
	if (table->index != NULL)
		return;
	if (index_known_at != heap_changes.count + index_changes.count)
	{
		index_changes.relid = extension_relation(INTERNAL_SCHEMA,
												 "version_counter_key");
		index_known_at = heap_changes.count + index_changes.count;
	}
	table->index = relation_open(index_changes.relid, table->lockmode);
}

/*
 * Do all indexes leave the columns alone that a bump changes?  Somebody may have
 * created one that does not.  Whoever creates an index concurrently waits for
 * transactions that have not heard of it.
 */
bool
counter_columns_unindexed(CounterTable *table)
{
	static const AttrNumber changed[] = {
		0,						/* the whole row */
		Anum_counter_n, Anum_counter_last_modified,
		Anum_counter_bucket_layout, Anum_counter_keyed
	};
	static bool unindexed;
	static uint64 known_at = 0;

	if (known_at != heap_changes.count)
	{
		uint64		count = heap_changes.count;
		Bitmapset  *columns;

		index_columns_prepare(table->heap);
		columns = compat_indexed_columns(table->heap);
		unindexed = true;
		for (int i = 0; i < lengthof(changed); i++)
			unindexed &= !bms_is_member(changed[i] - FirstLowInvalidHeapAttributeNumber,
										columns);
		bms_free(columns);
		known_at = count;
	}
	return unindexed;
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
		relation_close(table->index, lockmode);
	relation_close(table->heap, lockmode);
	pfree(table);
}

Relation
counter_heap(CounterTable *table)
{
	return table->heap;
}

/* Have somebody told of each counter that is read and has more than one row. */
void
counter_tell_many_rows(CounterTable *table, CounterManyRows tell)
{
	table->tell_many_rows = tell;
}

/* The key of a counter that has this name, with the tenant or (NULL) shared. */
CounterKey
counter_key(const char *name, const char *tenant)
{
	CounterKey	key = {.name = name,.tenant = tenant};

	key.tenant_len = tenant != NULL ? strlen(tenant) : 0;
	key.hash = counter_hash(hash_bytes((const unsigned char *) name,
									   strlen(name)),
							tenant, key.tenant_len);
	return key;
}

/* Which counter a row is of, palloc'd; tenant NULL: the shared one. */
void
counter_key_of_row(HeapTuple row, TupleDesc desc, char **name, char **tenant)
{
	*name = text_attribute(row, desc, Anum_counter_domain);
	*tenant = text_attribute(row, desc, Anum_counter_tenant_id);
}

/* Is this a row of this counter? */
bool
counter_row_is_of(HeapTuple row, TupleDesc desc, const CounterKey *key)
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

/* Add a bump to what a row says, which may be a copy of it. */
void
counter_add_to_form(CounterForm *form, const CounterBump *bump,
					TimestampTz modified)
{
	CounterBump keyed = {0, form->bucket_layout, form->keyed};

	form->n += bump->n;
	form->last_modified = Max(form->last_modified, modified);
	counter_add_keyed(&keyed, bump->bucket_layout, bump->keyed);
	form->bucket_layout = keyed.bucket_layout;
	form->keyed = keyed.keyed;
}
