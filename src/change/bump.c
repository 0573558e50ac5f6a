/*-------------------------------------------------------------------------
 *
 * key_change.c
 *	  Which keys of a domain this transaction has changed: the buckets that
 *	  belong to a ScopeChange of the change set.
 *
 * A statement bumps the domain once, however many rows it changes; key.c says
 * what buckets are and what "keyed" means.  A bump is keyed as long as the
 * buckets of all rows are known, few enough, and in the bucket layout of the bumps
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
 * A statement, or a transaction, that changes more than this part of a
 * domain's buckets reaches every key.
 */
#define MAX_SHARE	8

/* Of a small number of buckets, so many may always be changed. */
#define MIN_LIMIT	4

/* Stands for a statement where none makes the change. */
#define NO_STATEMENT	(-1)

typedef struct BucketEntry
{
	uint32		bucket;
	ScopeChange *scope;
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
	uint64		statement_no[MAX_STATEMENT_DEPTH];	/* that nbumped counts for */
	uint32		nbumped[MAX_STATEMENT_DEPTH];
} KeyChanges;

uint32
bucket_limit(int64 bucket_layout)
{
	return Max(bucket_count(bucket_layout) / MAX_SHARE, MIN_LIMIT);
}

/* Can the keys of another bump be told?  Then in this bucket layout. */
static bool
may_be_keyed(ScopeChange *scope, int64 bucket_layout)
{
	if (scope->bucket_layout == 0)
		scope->bucket_layout = bucket_layout;
	return bucket_layout != 0 && scope->bucket_layout == bucket_layout;
}

/*
 * Do the keys of a change in this bucket layout reach only the same ones in the
 * target?  Not if there are more buckets: one here would be several there.
 */
static bool
carries_key(const ScopeChange *scope, const CascadeTarget *target)
{
	int64		bucket_layout = scope->bucket_layout;

	return target->bump && target->same_key && target->domain->bucket_layout != 0 &&
		bucket_count(target->domain->bucket_layout) <= bucket_count(bucket_layout) &&
		naming_carries_key(scope->domain, target->domain);
}

/* The bump that this statement has counted for single buckets concerns them all. */
static void
unkey_statement(ScopeChange *scope, int i)
{
	bucket_table_iterator iterator;
	BucketEntry *entry;
	uint64		statement_no = current_statement_no(i);

	journal_scope(scope);
	scope->keyed--;
	scope->keyed_stamp[i] = 0;
	if (scope->keys == NULL)
		return;
	bucket_table_start_iterate(scope->keys->buckets, &iterator);
	while ((entry = bucket_table_iterate(scope->keys->buckets, &iterator)) != NULL)
		if (entry->scope->stamp[i] == statement_no)
		{
			journal_scope(entry->scope);
			entry->scope->bumps--;
			entry->scope->stamp[i] = 0;
		}
}

/*
 * Count a bump of a scope in this statement, which bumps it once, or (NO_STATEMENT) for
 * itself.  It is keyed if nothing in the statement is not.
 */
static void
bump_scope(ScopeChange *scope, int i, bool keyed)
{
	if (i != NO_STATEMENT && scope->stamp[i] == current_statement_no(i))
	{
		if (!keyed && scope->keyed_stamp[i] == current_statement_no(i))
			unkey_statement(scope, i);
		return;
	}
	journal_scope(scope);
	scope->bumps++;
	if (keyed)
		scope->keyed++;
	if (i != NO_STATEMENT)
	{
		scope->stamp[i] = current_statement_no(i);
		if (keyed)
			scope->keyed_stamp[i] = current_statement_no(i);
	}
}

/*
 * What a change of the domain reaches, with what is needed to carry tenants and
 * keys on.  May read the catalogs; the list is valid until something else does.
 */
static List *
load_targets(Domain *domain)
{
	if (cascade_targets(domain) == NIL)
		return NIL;
	naming_load();
	return cascade_targets(domain);
}

/*
 * Carry a change of a scope on to its domain's cascade_targets(); i is the statement
 * that it was made in, or NO_STATEMENT.  A target that is only delivered gets no
 * stamp: it may still change in this statement.  keyed: the change is that of
 * some keys, which the rules may carry on.
 */
static void
cascade_scope(ScopeChange *scope, List *targets, int i, bool keyed)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		CascadeTarget *target = lfirst(lc);
		ScopeChange *reached = change_set_reached(scope, target);
		bool		carried = keyed && carries_key(scope, target);

		if (reached == scope)
			continue;			/* it has come back */
		if (target->bump)
			bump_scope(reached, i, carried &&
					   may_be_keyed(reached, target->domain->bucket_layout));
		else if (i == NO_STATEMENT || reached->stamp[i] != current_statement_no(i))
		{
			journal_scope(reached);
			reached->notices++;
		}
		if (!carried)
			reached->extra.all_keys = true;
		reached->extra.events_incomplete = true;
	}
}

/* A row changed: the current statement bumps the scope, once. */
void
change_set_bump_once(ScopeChange *scope, int depth)
{
	int			i = depth_index(depth);

	if (change_set_is_bumped(scope, depth))
		return;
	bump_scope(scope, i, false);
	cascade_scope(scope, load_targets(scope->domain), i, false);
}

/* Bump a scope unconditionally: by hand, or for a command. */
void
change_set_bump(ScopeChange *scope)
{
	bump_scope(scope, NO_STATEMENT, false);
	scope->extra.all_keys = scope->extra.events_incomplete = true;
	cascade_scope(scope, load_targets(scope->domain), NO_STATEMENT, false);
}

static ScopeChange *
make_bucket(const ScopeChange *scope, uint32 bucket)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ScopeChange *result = palloc0(sizeof(ScopeChange));

	result->domain = scope->domain;
	result->counter.tenant = scope->counter.tenant;
	result->counter.tenant_len = scope->counter.tenant_len;
	result->counter.name = bucket_name(scope->domain->name, scope->bucket_layout, bucket);
	result->counter.hash = hash_combine(scope->counter.hash, murmurhash32(bucket));
	result->journal = -1;
	MemoryContextSwitchTo(old);
	return result;
}

/* The ScopeChange of a bucket; NULL if the transaction has too many. */
static ScopeChange *
find_bucket(ScopeChange *scope, uint32 bucket)
{
	BucketEntry *entry;
	bool		found;

	if (scope->keys == NULL)
	{
		scope->keys = MemoryContextAllocZero(TopTransactionContext,
											 sizeof(KeyChanges));
		scope->keys->buckets = bucket_table_create(TopTransactionContext, 8, NULL);
	}
	entry = bucket_table_lookup(scope->keys->buckets, bucket);
	if (entry == NULL)
	{
		ScopeChange *made;

		if (!change_set_admit_bucket())
			return NULL;
		made = make_bucket(scope, bucket);
		entry = bucket_table_insert(scope->keys->buckets, bucket, &found);
		entry->scope = made;
	}
	return entry->scope;
}

/*
 * A keyed bump concerns this bucket.  False if it is one too many in its
 * statement: then the bump must reach every key.
 */
static bool
bump_bucket(ScopeChange *scope, uint32 hash, int i)
{
	ScopeChange *bucket = find_bucket(scope, bucket_of_hash(scope->bucket_layout, hash));
	KeyChanges *changes = scope->keys;

	if (bucket == NULL)
		return false;
	if (i != NO_STATEMENT)
	{
		uint64		statement_no = current_statement_no(i);

		if (bucket->stamp[i] == statement_no)
			return true;
		if (changes->statement_no[i] != statement_no)
		{
			changes->statement_no[i] = statement_no;
			changes->nbumped[i] = 0;
		}
		if (++changes->nbumped[i] > bucket_limit(scope->bucket_layout))
			return false;
	}
	journal_scope(bucket);
	bucket->bumps++;
	if (i != NO_STATEMENT)
		bucket->stamp[i] = current_statement_no(i);
	return true;
}

/*
 * The same for the keyed bumps that the rules have made of the change.  False
 * if a bump that is not the statement's cannot tell its key.
 */
static bool
bump_bucket_of_targets(ScopeChange *scope, List *targets, uint32 hash, int i)
{
	ListCell   *lc;

	foreach(lc, targets)
	{
		CascadeTarget *target = lfirst(lc);
		ScopeChange *reached;
		bool		carried;

		if (!target->bump)
			continue;
		reached = change_set_reached(scope, target);
		if (i != NO_STATEMENT && reached->keyed_stamp[i] != current_statement_no(i))
			continue;			/* its bump reaches every key */
		carried = carries_key(scope, target) &&
			reached->bucket_layout == target->domain->bucket_layout;
		if (i == NO_STATEMENT && !carried)
			continue;			/* so does this one */
		if (carried && bump_bucket(reached, hash, i))
			continue;
		if (i == NO_STATEMENT)
			return false;
		bump_scope(reached, i, false);
	}
	return true;
}

/*
 * A row with this key changed: the current statement bumps the scope
 * once, and each bucket once.
 */
void
change_set_bump_key_once(ScopeChange *scope, int64 bucket_layout, uint32 hash, int depth)
{
	int			i = depth_index(depth);
	List	   *targets;

	if (change_set_is_bumped(scope, depth))
		return;
	(void) domain_bucket_layout(scope->domain);
	targets = load_targets(scope->domain);
	/* In a layout that is not the domain's nothing is counted: see key.c. */
	if (scope->domain->reaches_itself ||
		bucket_layout != scope->domain->bucket_layout ||
		!may_be_keyed(scope, bucket_layout))
	{
		change_set_bump_once(scope, depth);
		return;
	}
	if (!change_set_is_keyed(scope, depth))
	{
		bump_scope(scope, i, true);
		cascade_scope(scope, targets, i, true);
	}
	if (bump_bucket(scope, hash, i))
		(void) bump_bucket_of_targets(scope, targets, hash, i);
	else
		change_set_bump_once(scope, depth);
}

/*
 * Have payloads of the domains that the rules carry a change of this key on to
 * tell it as well: json, as it is written in names; NULL: it is not known.
 */
void
change_set_tell_key(ScopeChange *scope, const char *json)
{
	ListCell   *lc;

	if (!scope->domain->carries_keys)
		return;
	foreach(lc, load_targets(scope->domain))
	{
		CascadeTarget *target = lfirst(lc);
		ScopeChange *reached;

		if (!target->same_key)
			continue;
		reached = change_set_reached(scope, target);
		reached->extra.wanted = true;
		if (json == NULL || !carries_key(scope, target))
			reached->extra.all_keys = true;
		else
			extra_add_key(&reached->extra, json);
	}
}

/* Bump one key by hand. */
void
change_set_bump_key(ScopeChange *scope, const VersionName *name)
{
	int64		bucket_layout = name->bucket_layout;
	uint32		hash = name->hash;
	StringInfoData json;

	List	   *targets;

	(void) domain_bucket_layout(scope->domain);
	targets = load_targets(scope->domain);
	if (scope->domain->reaches_itself || !may_be_keyed(scope, bucket_layout) ||
		find_bucket(scope, bucket_of_hash(bucket_layout, hash)) == NULL)
	{
		change_set_bump(scope);
		return;
	}
	bump_scope(scope, NO_STATEMENT, true);
	cascade_scope(scope, targets, NO_STATEMENT, true);
	(void) bump_bucket(scope, hash, NO_STATEMENT);
	if (!bump_bucket_of_targets(scope, targets, hash, NO_STATEMENT))
		change_set_bump(scope);

	initStringInfo(&json);
	escape_json(&json, name->key);
	scope->extra.wanted = true;
	extra_add_key(&scope->extra, json.data);
	change_set_tell_key(scope, json.data);
}

/* Add to a counter what a scope, or a bucket of it, has been bumped by. */
static void
write_bumps(CounterTable *table, ScopeChange *scope)
{
	CounterBump bump = {scope->bumps};

	if (scope->keyed > 0)
	{
		bump.bucket_layout = scope->bucket_layout;
		bump.keyed = scope->keyed;
	}
	counter_bump(table, &scope->counter, &bump);
}

/* Write the buckets of a scope, or find that there are too many of them
 * for it to be keyed.
 */
static void
write_buckets(CounterTable *table, ScopeChange *scope)
{
	bucket_table_iterator iterator;
	BucketEntry *entry;
	uint32		n = 0;

	if (scope->keyed == 0)
		return;
	bucket_table_start_iterate(scope->keys->buckets, &iterator);
	while ((entry = bucket_table_iterate(scope->keys->buckets, &iterator)) != NULL)
		n += entry->scope->bumps > 0;
	if (n > bucket_limit(scope->bucket_layout))
	{
		scope->keyed = 0;
		return;
	}
	bucket_table_start_iterate(scope->keys->buckets, &iterator);
	while ((entry = bucket_table_iterate(scope->keys->buckets, &iterator)) != NULL)
		if (entry->scope->bumps > 0)
			write_bumps(table, entry->scope);
}

/* Before the commit: write the counters of a scope that has been bumped. */
void
change_set_write(CounterTable *table, ScopeChange *scope)
{
	write_buckets(table, scope);
	write_bumps(table, scope);
}

/* What this transaction will add to a name's version in one scope. */
static int64
pending_in_scope(const VersionName *name, const ScopeChange *scope)
{
	BucketEntry *entry;

	if (name->bucket_layout == 0 ||
		name->bucket_layout != scope->bucket_layout || scope->keys == NULL)
		return scope->bumps;
	entry = bucket_table_lookup(scope->keys->buckets,
								bucket_of_hash(name->bucket_layout, name->hash));
	return scope->bumps - scope->keyed + (entry ? entry->scope->bumps : 0);
}

/*
 * What this transaction will add to the part of a name's version that a
 * tenant has, or (NULL) that is shared, or to all parts (ALL_TENANTS).
 */
int64
pending_bumps(const VersionName *name, const char *tenant)
{
	ScopeChange *scope;
	int64		bumps = 0;
	ListCell   *lc;

	if (tenant != ALL_TENANTS)
	{
		scope = change_set_find(name->domain, tenant);
		return scope != NULL ? pending_in_scope(name, scope) : 0;
	}
	foreach(lc, change_set_scopes())
	{
		scope = lfirst(lc);
		if (strcmp(scope->domain->name, name->domain) == 0)
			bumps += pending_in_scope(name, scope);
	}
	return bumps;
}
