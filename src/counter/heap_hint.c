/*-------------------------------------------------------------------------
 *
 * heap_hint.c
 *	  Where the row of a counter probably is, for who wants to add to it.
 *
 * Each backend remembers where it wrote which counter last: most often nobody has
 * written that row since, and if so, its newest version is mostly on the same
 * page, at the end of the chain.  What a backend has not written so far it may
 * find in shared memory, where others leave the beginning of the row's chain.
 * So a new connection, or one that meets a counter for the first time, need not
 * look into the index either.
 *
 * Hints only: the slot may now hold another row, or none.
 *
 * Locking: none.  A shared hint is one atomic number, written when a row was
 * not where it was expected to be, so that a hot counter does not have all
 * processors fight for it.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/heap_hint.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "port/atomics.h"

/* Enough for the usual number of buckets; a power of two. */
#define NUM_HEAP_HINTS 4096

/* A power of two; 8 bytes each. */
#define NUM_COMMON_HEAP_HINTS	16384

/* Those of this backend, as long as it lives. */
static HeapHint heap_hints[NUM_HEAP_HINTS];
static Oid	heap_hints_file = InvalidOid;	/* file that the hints point into */

/*
 * A shared hint: from the top a block, the offset of a line pointer, and a tag
 * of the counter, which need not be unique.  0: none, as no offset is.
 */
#define common_hint_block(hint)	((BlockNumber) ((hint) >> 32))
#define common_hint_root(hint)	((OffsetNumber) ((hint) >> 16))
#define common_hint_tag(hint)	((uint16) (hint))

/* In shared memory, or NULL. */
static pg_atomic_uint64 *common_hints = NULL;

static Size
common_hints_size(void)
{
	return NUM_COMMON_HEAP_HINTS * sizeof(pg_atomic_uint64);
}

static void
initialize_common_hints(void *address)
{
	pg_atomic_uint64 *hints = address;

	for (int i = 0; i < NUM_COMMON_HEAP_HINTS; i++)
		pg_atomic_init_u64(&hints[i], 0);
}

void
heap_hint_init(void)
{
	static SharedPiece piece = {
		.name = "cache_notify heap hints",
		.size = common_hints_size,
		.initialize = initialize_common_hints,
		.address = (void **) &common_hints
	};

	shared_memory_add(&piece);
}

/* From now on hints are for this file. */
void
heap_hints_use(Oid file)
{
	if (heap_hints_file == file)
		return;
	if (OidIsValid(heap_hints_file))	/* else they are still as they were made */
		memset(heap_hints, 0, sizeof(heap_hints));
	heap_hints_file = file;
}

/* The shared hint for a key's hash and its tag; NULL: there is no memory. */
static pg_atomic_uint64 *
common_hint(uint32 hash, uint16 *tag)
{
	if (common_hints == NULL)
		return NULL;
	hash = hash_combine(hash, murmurhash32(MyDatabaseId ^ heap_hints_file));
	*tag = hash >> 16;
	return &common_hints[hash & (NUM_COMMON_HEAP_HINTS - 1)];
}

/* The hint for a key with this hash.  False if there is none. */
bool
heap_hint_find(uint32 hash, HeapHint *found)
{
	HeapHint   *own = &heap_hints[hash & (NUM_HEAP_HINTS - 1)];
	pg_atomic_uint64 *shared;
	uint64		hint;
	uint16		tag;

	if (own->hash == hash && own->root != InvalidOffsetNumber)
	{
		*found = *own;
		return true;
	}
	shared = common_hint(hash, &tag);
	hint = shared != NULL ? pg_atomic_read_u64(shared) : 0;
	if (hint == 0 || common_hint_tag(hint) != tag)
		return false;
	found->hash = hash;
	found->block = common_hint_block(hint);
	found->root = common_hint_root(hint);
	found->newest = InvalidOffsetNumber;
	found->buffer = InvalidBuffer;
	return true;
}

/* Remember where the row of a counter is. */
void
heap_hint_set(const HeapHint *hint)
{
	HeapHint   *own = &heap_hints[hint->hash & (NUM_HEAP_HINTS - 1)];
	pg_atomic_uint64 *shared;
	uint16		tag;

	if (own->hash != hint->hash || own->block != hint->block ||
		own->root != hint->root)
	{
		shared = common_hint(hint->hash, &tag);
		if (shared != NULL)
			pg_atomic_write_u64(shared, (uint64) hint->block << 32 |
								(uint64) hint->root << 16 | tag);
	}
	*own = *hint;
}
