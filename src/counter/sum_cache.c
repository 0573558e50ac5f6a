/*-------------------------------------------------------------------------
 *
 * sum_cache.c
 *	  Sums of counters, each read once, within one function call.
 *
 * Thousands of tokens share counters, and a counter has many rows.  All sums of a
 * cache are of one snapshot.  The memory is that of the context in which the
 * cache was created.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/counter.h"

typedef struct SumId
{
	CounterKey	key;
	int64		bucket_layout;	/* not 0: counter_sum_whole() */
} SumId;

typedef struct SumEntry
{
	SumId		id;
	int64		sum;
	bool		reported;
	char		status;
} SumEntry;

static inline bool
sum_ids_equal(const SumId *a, const SumId *b)
{
	return a->key.hash == b->key.hash && a->bucket_layout == b->bucket_layout &&
		strcmp(a->key.name, b->key.name) == 0 &&
		(a->key.tenant == NULL) == (b->key.tenant == NULL) &&
		(a->key.tenant == ALL_TENANTS) == (b->key.tenant == ALL_TENANTS) &&
		(a->key.tenant == NULL || strcmp(a->key.tenant, b->key.tenant) == 0);
}

#define SH_PREFIX sum_table
#define SH_ELEMENT_TYPE SumEntry
#define SH_KEY_TYPE SumId
#define SH_KEY id
#define SH_HASH_KEY(tb, i) ((i).key.hash)
#define SH_EQUAL(tb, a, b) sum_ids_equal(&(a), &(b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* So many sums are kept without a hash table, which costs more than they do. */
#define FEW_SUMS	4

struct SumCache
{
	CounterTable *table;
	Snapshot	snapshot;
	MemoryContext context;
	int			nfew;
	SumEntry	few[FEW_SUMS];	/* the first ones */
	sum_table_hash *sums;		/* the others; NULL while there are none */
};

SumCache *
sum_cache_create(CounterTable *table, Snapshot snapshot)
{
	SumCache   *cache = palloc(sizeof(SumCache));

	cache->table = table;
	cache->snapshot = snapshot;
	cache->context = CurrentMemoryContext;
	cache->nfew = 0;
	cache->sums = NULL;
	return cache;
}

static SumEntry *
find_entry(SumCache *cache, const SumId *id)
{
	for (int i = 0; i < cache->nfew; i++)
		if (sum_ids_equal(&cache->few[i].id, id))
			return &cache->few[i];
	return cache->sums == NULL ? NULL : sum_table_lookup(cache->sums, *id);
}

/* A new one, in the cache's context. */
static SumEntry *
add_entry(SumCache *cache, const SumId *id)
{
	SumEntry   *entry;
	bool		found;

	if (cache->nfew < FEW_SUMS)
	{
		entry = &cache->few[cache->nfew++];
		entry->id = *id;
		return entry;
	}
	if (cache->sums == NULL)
		cache->sums = sum_table_create(cache->context, 16, NULL);
	entry = sum_table_insert(cache->sums, *id, &found);
	Assert(!found);
	return entry;
}

/* The entry of a counter; valid until the next call. */
static SumEntry *
get_entry(SumCache *cache, const char *name, const char *tenant,
		  int64 bucket_layout)
{
	SumId		id = {counter_key(name, tenant), bucket_layout};
	SumEntry   *entry = find_entry(cache, &id);
	MemoryContext old;
	int64		sum;

	if (entry != NULL)
		return entry;
	sum = bucket_layout == 0 ?
		counter_sum(cache->table, &id.key, cache->snapshot) :
		counter_sum_whole(cache->table, &id.key, bucket_layout, cache->snapshot);
	old = MemoryContextSwitchTo(cache->context);
	id.key.name = pstrdup(name);
	if (tenant != NULL && tenant != ALL_TENANTS)
		id.key.tenant = pstrdup(tenant);
	MemoryContextSwitchTo(old);
	entry = add_entry(cache, &id);
	entry->sum = sum;
	entry->reported = false;
	return entry;
}

int64
sum_cache_read(SumCache *cache, const char *name, const char *tenant)
{
	return get_entry(cache, name, tenant, 0)->sum;
}

/* What counter_sum_whole() says. */
int64
sum_cache_read_whole(SumCache *cache, const char *name, const char *tenant,
					 int64 bucket_layout)
{
	return get_entry(cache, name, tenant, bucket_layout)->sum;
}

/* True the first time that it is asked about a counter. */
bool
sum_cache_first_report(SumCache *cache, const char *name, const char *tenant)
{
	SumEntry   *entry = get_entry(cache, name, tenant, 0);
	bool		first = !entry->reported;

	entry->reported = true;
	return first;
}
