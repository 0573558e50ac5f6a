/*-------------------------------------------------------------------------
 *
 * key_change.c
 *	  Which keys of a domain this transaction has changed: the buckets that
 *	  belong to a ChangeKey of the change set.
 *
 * A statement bumps the domain once, however many rows it touches; key.c says
 * what buckets are and what "keyed" means.  A bump is keyed as long as the
 * buckets of all rows are known, few enough, and in the layout of the bumps
 * before it.  When that ends within the statement, its bump becomes one that
 * reaches every key, what it had counted for single buckets is taken back, and
 * so for the domains that the keys were carried on to.
 *
 * Buckets are ChangeKeys, so savepoints treat them as they do others; but they
 * are kept apart from these, so that nobody delivers or lists them.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "common/hashfn.h"
#include "utils/json.h"
#include "utils/memutils.h"

/*
 * A statement, or a transaction, that touches more than this part of a
 * domain's buckets reaches every key.
 */
#define MAX_SHARE	8

/* Of a small number of buckets, so many may always be touched. */
#define MIN_LIMIT	4

typedef struct BucketEntry
{
	uint32		bucket;
	ChangeKey  *key;
	char		status;
} BucketEntry;

#define SH_PREFIX bucket_table
#define SH_ELEMENT_TYPE BucketEntry
#define SH_KEY_TYPE uint32
#define SH_KEY bucket
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct KeyChanges
{
	bucket_table_hash *buckets;
	uint64		frame[MAX_FRAME_DEPTH]; /* that ntouched counts for */
	uint32		ntouched[MAX_FRAME_DEPTH];
} KeyChanges;

uint32
bucket_limit(int64 layout)
{
	return Max(layout_buckets(layout) / MAX_SHARE, MIN_LIMIT);
}

/* Can the keys of another bump be told?  Then in this layout. */
static bool
may_be_keyed(ChangeKey *key, int64 layout)
{
	if (key->layout == 0)
		key->layout = layout;
	return layout != 0 && key->layout == layout;
}

/*
 * Do the keys of a change in this layout reach only the same ones in the
 * target?  Not if there are more buckets: one here would be several there.
 */
static bool
carries_key(const CascadeTarget *target, int64 layout)
{
	return target->bump && target->same_key && target->domain->layout != 0 &&
		layout_buckets(target->domain->layout) <= layout_buckets(layout);
}

/* The bump that this frame has counted for single buckets concerns them all. */
static void
drop_frame(ChangeKey *key, int i)
{
	bucket_table_iterator iterator;
	BucketEntry *entry;
	uint64		frame = current_frame(i);

	journal_key(key);
	key->keyed--;
	key->keyed_stamp[i] = 0;
	if (key->keys == NULL)
		return;
	bucket_table_start_iterate(key->keys->buckets, &iterator);
	while ((entry = bucket_table_iterate(key->keys->buckets, &iterator)) != NULL)
		if (entry->key->stamp[i] == frame)
		{
			journal_key(entry->key);
			entry->key->bumps--;
			entry->key->stamp[i] = 0;
		}
}

/*
 * Count a bump of a key in this frame, which bumps it once, or (NO_FRAME) for
 * itself.  It is keyed if nothing in the frame is not.
 */
void
count_bump(ChangeKey *key, int i, bool keyed)
{
	if (i != NO_FRAME && key->stamp[i] == current_frame(i))
	{
		if (!keyed && key->keyed_stamp[i] == current_frame(i))
			drop_frame(key, i);
		return;
	}
	journal_key(key);
	key->bumps++;
	if (keyed)
		key->keyed++;
	if (i != NO_FRAME)
	{
		key->stamp[i] = current_frame(i);
		if (keyed)
			key->keyed_stamp[i] = current_frame(i);
	}
}

/*
 * Carry a change of a key on to its domain's cascade_targets(); i is the frame
 * that it was made in, or NO_FRAME.  A target that is only delivered gets no
 * stamp: it may still change in this statement.  keyed: the change is that of
 * some keys, which the rules may carry on.
 */
void
cascade_key(ChangeKey *key, List *targets, int i, bool keyed)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		CascadeTarget *target = lfirst(lc);
		ChangeKey  *reached = change_set_key(target->domain, key->tenant,
											 key->tenant_len);
		bool		carried = keyed && carries_key(target, key->layout);

		if (target->bump)
			count_bump(reached, i, carried &&
					   may_be_keyed(reached, target->domain->layout));
		else if (i == NO_FRAME || reached->stamp[i] != current_frame(i))
		{
			journal_key(reached);
			reached->notices++;
		}
		if (!carried)
			reached->extra.all_keys = true;
		reached->extra.coarse = true;
	}
}

static ChangeKey *
make_bucket(const ChangeKey *key, uint32 bucket)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ChangeKey  *result = palloc0(sizeof(ChangeKey));

	result->domain = key->domain;
	result->tenant = key->tenant;
	result->tenant_len = key->tenant_len;
	result->name = bucket_name(key->domain->name, key->layout, bucket);
	result->hash = hash_combine(key->hash, murmurhash32(bucket));
	result->journal = -1;
	MemoryContextSwitchTo(old);
	return result;
}

/* The ChangeKey of a bucket; NULL if the transaction has too many. */
static ChangeKey *
bucket_key(ChangeKey *key, uint32 bucket)
{
	BucketEntry *entry;
	bool		found;

	if (key->keys == NULL)
	{
		key->keys = MemoryContextAllocZero(TopTransactionContext,
										   sizeof(KeyChanges));
		key->keys->buckets = bucket_table_create(TopTransactionContext, 8, NULL);
	}
	entry = bucket_table_lookup(key->keys->buckets, bucket);
	if (entry == NULL)
	{
		ChangeKey  *made;

		if (!change_set_count_bucket())
			return NULL;
		made = make_bucket(key, bucket);
		entry = bucket_table_insert(key->keys->buckets, bucket, &found);
		entry->key = made;
	}
	return entry->key;
}

/*
 * A keyed bump concerns this bucket.  False if it is one too many in its
 * frame: then the bump must reach every key.
 */
static bool
note_bucket(ChangeKey *key, uint32 hash, int i)
{
	ChangeKey  *bucket = bucket_key(key, layout_bucket(key->layout, hash));
	KeyChanges *changes = key->keys;

	if (bucket == NULL)
		return false;
	if (i != NO_FRAME)
	{
		uint64		frame = current_frame(i);

		if (bucket->stamp[i] == frame)
			return true;
		if (changes->frame[i] != frame)
		{
			changes->frame[i] = frame;
			changes->ntouched[i] = 0;
		}
		if (++changes->ntouched[i] > bucket_limit(key->layout))
			return false;
	}
	journal_key(bucket);
	bucket->bumps++;
	if (i != NO_FRAME)
		bucket->stamp[i] = current_frame(i);
	return true;
}

/*
 * The same for the keyed bumps that the rules have made of the change.  False
 * if a bump that is not the frame's cannot tell its key.
 */
static bool
note_bucket_of_targets(ChangeKey *key, List *targets, uint32 hash, int i)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		CascadeTarget *target = lfirst(lc);
		ChangeKey  *reached;
		bool		carried;

		if (!target->bump)
			continue;
		reached = change_set_key(target->domain, key->tenant, key->tenant_len);
		if (i != NO_FRAME && reached->keyed_stamp[i] != current_frame(i))
			continue;			/* its bump reaches every key */
		carried = carries_key(target, key->layout) &&
			reached->layout == target->domain->layout;
		if (i == NO_FRAME && !carried)
			continue;			/* so does this one */
		if (carried && note_bucket(reached, hash, i))
			continue;
		if (i == NO_FRAME)
			return false;
		count_bump(reached, i, false);
	}
	return true;
}

/*
 * What a change of the domain reaches.  If keys are carried on, the layouts of
 * the targets are known, else there is none.  May read the catalogs; the list
 * is valid until something else does.
 */
static List *
load_targets(Domain *domain)
{
	List	   *targets = cascade_targets(domain);

	if (!domain->carries_keys)
		return targets;
	(void) domain_layout(domain);
	return cascade_targets(domain);
}

/*
 * A row with this key changed: the current statement bumps the domain's key
 * once, and each bucket once.
 */
void
change_set_touch_key(ChangeKey *key, int64 layout, uint32 hash, int depth)
{
	int			i = frame_index(depth);
	List	   *targets;

	if (change_set_touched(key, depth))
		return;
	targets = load_targets(key->domain);
	if (key->domain->reaches_itself || !may_be_keyed(key, layout))
	{
		change_set_touch(key, depth);
		return;
	}
	if (!change_set_keys_touched(key, depth))
	{
		count_bump(key, i, true);
		cascade_key(key, targets, i, true);
	}
	if (note_bucket(key, hash, i))
		(void) note_bucket_of_targets(key, targets, hash, i);
	else
		change_set_touch(key, depth);
}

/*
 * Have payloads of the domains that the rules carry a change of this key on to
 * tell it as well: json, as it is written in names; NULL: it is not known.
 */
void
change_set_tell_key(ChangeKey *key, const char *json)
{
	ListCell   *lc;

	if (!key->domain->carries_keys)
		return;
	foreach(lc, cascade_targets(key->domain))
	{
		CascadeTarget *target = lfirst(lc);
		ChangeKey  *reached;

		if (!target->same_key)
			continue;
		reached = change_set_key(target->domain, key->tenant, key->tenant_len);
		reached->extra.wanted = true;
		if (json == NULL || !carries_key(target, key->layout))
			reached->extra.all_keys = true;
		else
			extra_add_key(&reached->extra, json);
	}
}

/* Bump one key by hand. */
void
change_set_bump_key(ChangeKey *key, const VersionName *name)
{
	int64		layout = name->layout;
	uint32		hash = name->hash;
	StringInfoData json;

	List	   *targets = load_targets(key->domain);

	if (key->domain->reaches_itself || !may_be_keyed(key, layout) ||
		bucket_key(key, layout_bucket(layout, hash)) == NULL)
	{
		change_set_bump(key);
		return;
	}
	count_bump(key, NO_FRAME, true);
	cascade_key(key, targets, NO_FRAME, true);
	(void) note_bucket(key, hash, NO_FRAME);
	if (!note_bucket_of_targets(key, targets, hash, NO_FRAME))
		change_set_bump(key);

	initStringInfo(&json);
	escape_json(&json, name->key);
	key->extra.wanted = true;
	extra_add_key(&key->extra, json.data);
	change_set_tell_key(key, json.data);
}

/*
 * Write the buckets of a key, before its own counter is written, or find that
 * there are too many of them for it to be keyed.
 */
void
key_changes_write(CounterTable *table, ChangeKey *key)
{
	bucket_table_iterator iterator;
	BucketEntry *entry;
	uint32		n = 0;

	if (key->keyed == 0)
		return;
	bucket_table_start_iterate(key->keys->buckets, &iterator);
	while ((entry = bucket_table_iterate(key->keys->buckets, &iterator)) != NULL)
		n += entry->key->bumps > 0;
	if (n > bucket_limit(key->layout))
	{
		key->keyed = 0;
		return;
	}
	bucket_table_start_iterate(key->keys->buckets, &iterator);
	while ((entry = bucket_table_iterate(key->keys->buckets, &iterator)) != NULL)
		if (entry->key->bumps > 0)
			counter_bump(table, entry->key);
}

/*
 * What this transaction will add to the part of a name's version that a
 * tenant has, or (NULL) that is shared.
 */
int64
pending_bumps(const VersionName *name, const char *tenant)
{
	ChangeKey  *key = change_set_find(name->domain, tenant);
	BucketEntry *entry;

	if (key == NULL)
		return 0;
	if (name->layout == 0 || name->layout != key->layout || key->keys == NULL)
		return key->bumps;
	entry = bucket_table_lookup(key->keys->buckets,
								layout_bucket(name->layout, name->hash));
	return key->bumps - key->keyed + (entry ? entry->key->bumps : 0);
}
