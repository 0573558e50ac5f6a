/*-------------------------------------------------------------------------
 *
 * sum_cache.c
 *	  Sums of counters, each read once, within one function call.
 *
 * Thousands of tokens share keys, and a counter has many rows.  All sums of a
 * cache are of one snapshot.  The memory is that of the context in which the
 * cache was created.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "common/hashfn.h"

typedef struct SumId
{
	const char *domain;
	const char *tenant;			/* NULL: shared */
	int64		bucket_layout;	/* not 0: counter_sum_whole() */
} SumId;

typedef struct SumEntry
{
	SumId		key;
	int64		sum;
	bool		reported;
	char		status;
	uint32		hash;
} SumEntry;

uint32
hash_scope(const char *domain, const char *tenant)
{
	uint32		hash = hash_bytes((const unsigned char *) domain,
								  strlen(domain));

	if (tenant != NULL)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) tenant,
											 strlen(tenant)));
	return hash;
}

static inline bool
sum_ids_equal(SumId a, SumId b)
{
	return strcmp(a.domain, b.domain) == 0 && a.bucket_layout == b.bucket_layout &&
		(a.tenant == NULL) == (b.tenant == NULL) &&
		(a.tenant == NULL || strcmp(a.tenant, b.tenant) == 0);
}

#define SH_PREFIX sum_table
#define SH_ELEMENT_TYPE SumEntry
#define SH_KEY_TYPE SumId
#define SH_KEY key
#define SH_HASH_KEY(tb, k) hash_scope((k).domain, (k).tenant)
#define SH_EQUAL(tb, a, b) sum_ids_equal(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, e) ((e)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct SumCache
{
	CounterTable *table;
	Snapshot	snapshot;
	MemoryContext context;
	sum_table_hash *sums;
};

SumCache *
sum_cache_create(CounterTable *table, Snapshot snapshot)
{
	SumCache   *cache = palloc(sizeof(SumCache));

	cache->table = table;
	cache->snapshot = snapshot;
	cache->context = CurrentMemoryContext;
	cache->sums = sum_table_create(CurrentMemoryContext, 16, NULL);
	return cache;
}

/* The entry of a key; valid until the next call. */
static SumEntry *
get_entry(SumCache *cache, const char *domain, const char *tenant,
		  int64 bucket_layout)
{
	SumId		key = {domain, tenant, bucket_layout};
	SumEntry   *entry = sum_table_lookup(cache->sums, key);
	MemoryContext old;
	bool		found;
	int64		sum;

	if (entry != NULL)
		return entry;
	sum = bucket_layout == 0 ?
		counter_sum(cache->table, domain, tenant, cache->snapshot) :
		counter_sum_whole(cache->table, domain, tenant, bucket_layout, cache->snapshot);
	old = MemoryContextSwitchTo(cache->context);
	key.domain = pstrdup(domain);
	key.tenant = tenant ? pstrdup(tenant) : NULL;
	entry = sum_table_insert(cache->sums, key, &found);
	MemoryContextSwitchTo(old);
	Assert(!found);
	entry->sum = sum;
	entry->reported = false;
	return entry;
}

int64
sum_cache_read(SumCache *cache, const char *domain, const char *tenant)
{
	return get_entry(cache, domain, tenant, 0)->sum;
}

/* What a name's version consists of, for a tenant or (NULL) shared. */
int64
sum_cache_read_name(SumCache *cache, const VersionName *name,
					const char *tenant)
{
	int64		sum = get_entry(cache, name->domain, tenant, name->bucket_layout)->sum;

	if (name->bucket_layout != 0)
		sum += get_entry(cache, name->bucket, tenant, 0)->sum;
	return sum;
}

/* True the first time that it is asked about a key. */
bool
sum_cache_first_report(SumCache *cache, const char *domain, const char *tenant)
{
	SumEntry   *entry = get_entry(cache, domain, tenant, 0);
	bool		first = !entry->reported;

	entry->reported = true;
	return first;
}
