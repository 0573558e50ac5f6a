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
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "counter/common_history.h"
#include "counter/heap_hint.h"

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

static Relation
open_heap(LOCKMODE lockmode)
{
	Relation	heap = heap_known_at == heap_changes.count ?
		try_relation_open(heap_changes.relid, lockmode) : NULL;

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
