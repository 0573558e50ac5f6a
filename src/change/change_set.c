/*-------------------------------------------------------------------------
 *
 * change_set.c
 *	  What this transaction has changed: the change set.
 *
 * Triggers say here, in backend memory only, which scopes a statement changes.
 * commit.c turns the set into counter updates once, just before the transaction
 * commits.  bump.c counts, once for each statement (statement_no.c).
 *
 * Savepoints.  Changes made below the top level are journalled, and a
 * rollback to a savepoint undoes the journal down to the level's mark.
 * Committing a subtransaction only renames or drops a mark, so it costs the
 * same however much changed.  (The server's async.c keeps a list per level
 * instead; a journal needs no merge.)
 *
 * All memory is the transaction's; making a context would cost more than all
 * that most transactions keep.  They change few scopes, which are found faster
 * one after the other than in a hash table; that is made once there are more.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "replication/logicalworker.h"
#include "utils/memutils.h"

typedef struct ScopeEntry
{
	ScopeChange *scope;
	uint32		hash;
	char		status;
} ScopeEntry;

#define SH_PREFIX scope_table
#define SH_ELEMENT_TYPE ScopeEntry
#define SH_KEY_TYPE ScopeChange *
#define SH_KEY scope
#define SH_HASH_KEY(tb, k) ((k)->counter.hash)
#define SH_EQUAL(tb, a, b) scopes_equal(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, e) ((e)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE

static inline bool
scopes_equal(const ScopeChange *a, const ScopeChange *b)
{
	return a->domain == b->domain &&
		a->counter.tenant_len == b->counter.tenant_len &&
		(a->counter.tenant == NULL) == (b->counter.tenant == NULL) &&
		(a->counter.tenant == NULL || memcmp(a->counter.tenant, b->counter.tenant, a->counter.tenant_len) == 0);
}

#include "lib/simplehash.h"

/* More scopes than this are in a hash table. */
#define MAX_LISTED_SCOPES	8

#define DEFAULT_MAX_KEYS	10000
#define MIN_MAX_KEYS		1
#define MAX_MAX_KEYS		1000000

/* How to undo what a subtransaction did to one scope. */
typedef struct JournalRecord
{
	ScopeChange *scope;
	int			previous;		/* the scope's journal field before */
	int64		bumps;
	int64		notices;
	int64		keyed;
	bool		by_hand;
	int64		layout_floor;
	ExtraState	extra;
	uint64		stamp[MAX_STATEMENT_DEPTH];
	uint64		keyed_stamp[MAX_STATEMENT_DEPTH];
} JournalRecord;

/* Where in the journal the records of a nest level begin. */
typedef struct JournalMark
{
	int			level;
	int			start;
} JournalMark;

typedef struct ChangeSet
{
	scope_table_hash *table;	/* NULL while there are few scopes */
	List	   *scopes;			/* every scope, in the order of first change */
	int			ntenants;		/* scopes that name a tenant */
	int			nbuckets;		/* see key_change.c */
	uint64		generation;		/* cascade graph of the first change */

	JournalRecord *journal;
	int			journal_len;
	int			journal_size;
	JournalMark *marks;
	int			nmarks;
	int			marks_size;
} ChangeSet;

/*
 * Of the transaction, in its memory; NULL while it has changed nothing.  A rollback
 * to a savepoint empties scopes, but keeps them.
 */
static ChangeSet *change_set = NULL;

/* Of the transaction; a rollback to a savepoint leaves it as it is. */
int64		change_set_rows_seen = 0;

/* Setting: tenants, and buckets, that one transaction tells apart. */
static int	max_keys;

void
change_set_init(void)
{
	DefineCustomIntVariable("cache_notify.max_keys",
							"Tenants that one transaction tells apart.",
							"Changes of further tenants count as changes of the whole domain.",
							&max_keys,
							DEFAULT_MAX_KEYS, MIN_MAX_KEYS, MAX_MAX_KEYS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
}

static ChangeSet *
create_change_set(void)
{
	ChangeSet  *set = MemoryContextAllocZero(TopTransactionContext,
											 sizeof(ChangeSet));

	set->generation = cascade_generation();
	return set;
}

static void
add_to_table(ScopeChange *scope)
{
	bool		found;

	scope_table_insert(change_set->table, scope, &found)->scope = scope;
	Assert(!found);
}

static void
create_table(void)
{
	ListCell   *lc;

	change_set->table = scope_table_create(TopTransactionContext,
										   4 * MAX_LISTED_SCOPES, NULL);
	foreach(lc, change_set->scopes)
		add_to_table(lfirst(lc));
}

static ScopeChange *
add_scope(const ScopeChange *probe)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ScopeChange *scope = palloc0(sizeof(ScopeChange));

	scope->domain = probe->domain;
	scope->counter.name = scope->domain->name;
	if (probe->counter.tenant != NULL)
	{
		scope->counter.tenant = pnstrdup(probe->counter.tenant, probe->counter.tenant_len);
		scope->counter.tenant_len = probe->counter.tenant_len;
		change_set->ntenants++;
	}
	scope->counter.hash = probe->counter.hash;
	scope->journal = -1;

	change_set->scopes = lappend(change_set->scopes, scope);
	FAULT_POINT("change_set");
	if (change_set->table != NULL)
		add_to_table(scope);
	else if (list_length(change_set->scopes) > MAX_LISTED_SCOPES)
		create_table();
	MemoryContextSwitchTo(old);
	return scope;
}

/* Fill in what identifies a scope, and look it up. */
static ScopeChange *
find_scope(ScopeChange *probe, Domain *domain, const char *tenant, int tenant_len)
{
	ScopeEntry *entry;
	ListCell   *lc;

	probe->domain = domain;
	probe->counter.tenant = tenant;
	probe->counter.tenant_len = tenant ? tenant_len : 0;
	probe->counter.hash = counter_hash(domain->hash, tenant, tenant_len);
	if (change_set->table != NULL)
	{
		entry = scope_table_lookup(change_set->table, probe);
		return entry ? entry->scope : NULL;
	}
	foreach(lc, change_set->scopes)
	{
		ScopeChange *scope = lfirst(lc);

		if (scope->counter.hash == probe->counter.hash && scopes_equal(scope, probe))
			return scope;
	}
	return NULL;
}

/*
 * The scope of a domain and tenant (NULL: shared), created if it is new.
 *
 * A tenant that is too long, or one too many, gets the domain's shared scope:
 * coarser, never an error.
 */
ScopeChange *
change_set_scope(Domain *domain, const char *tenant, int tenant_len)
{
	ScopeChange probe;
	ScopeChange *scope;

	if (change_set == NULL)
		change_set = create_change_set();
	if (tenant_len > MAX_TENANT_LEN)
		tenant = NULL;

	scope = find_scope(&probe, domain, tenant, tenant_len);
	if (scope != NULL)
		return scope;
	if (tenant != NULL && change_set_full())
		return change_set_scope(domain, NULL, 0);
	return add_scope(&probe);
}

/* Does a tenant that is not in the set yet become a shared change? */
bool
change_set_full(void)
{
	return change_set != NULL && change_set->ntenants >= max_keys;
}

bool
change_set_active(void)
{
	return change_set != NULL;
}

static void
push_mark(int level)
{
	if (change_set->nmarks == change_set->marks_size)
	{
		int			size = Max(8, change_set->marks_size * 2);

		if (change_set->marks == NULL)
			change_set->marks = MemoryContextAlloc(TopTransactionContext,
												   size * sizeof(JournalMark));
		else
			change_set->marks = repalloc(change_set->marks,
										 size * sizeof(JournalMark));
		change_set->marks_size = size;
	}
	change_set->marks[change_set->nmarks].level = level;
	change_set->marks[change_set->nmarks].start = change_set->journal_len;
	change_set->nmarks++;
}

/*
 * Remember the state of a scope before the current subtransaction changes it.
 * At the top level there is nothing to undo: an abort drops the whole set.
 */
void
journal_scope(ScopeChange *scope)
{
	int			level = GetCurrentTransactionNestLevel();
	JournalRecord *record;

	if (level <= 1)
		return;
	if (change_set->nmarks == 0 ||
		change_set->marks[change_set->nmarks - 1].level < level)
		push_mark(level);
	if (scope->journal >= change_set->marks[change_set->nmarks - 1].start)
		return;					/* this level has it already */

	if (change_set->journal_len == change_set->journal_size)
	{
		int			size = Max(16, change_set->journal_size * 2);

		if (change_set->journal == NULL)
			change_set->journal =
				MemoryContextAlloc(TopTransactionContext,
								   size * sizeof(JournalRecord));
		else
			change_set->journal =
				repalloc_huge(change_set->journal,
							  (Size) size * sizeof(JournalRecord));
		change_set->journal_size = size;
	}
	FAULT_POINT("journal");
	record = &change_set->journal[change_set->journal_len];
	record->scope = scope;
	record->previous = scope->journal;
	record->bumps = scope->bumps;
	record->notices = scope->notices;
	record->keyed = scope->keyed;
	record->by_hand = scope->by_hand;
	record->layout_floor = scope->layout_floor;
	record->extra = extra_state(&scope->extra);
	memcpy(record->stamp, scope->stamp, sizeof(scope->stamp));
	memcpy(record->keyed_stamp, scope->keyed_stamp, sizeof(scope->keyed_stamp));
	scope->journal = change_set->journal_len++;
}

/* One more bucket is told apart.  False if there are too many. */
bool
change_set_admit_bucket(void)
{
	if (change_set->nbuckets >= max_keys)
		return false;
	change_set->nbuckets++;
	return true;
}

/* All scopes that the transaction has bumped. */
List *
change_set_scopes(void)
{
	return change_set != NULL ? change_set->scopes : NIL;
}

/*
 * The scopes that the transaction will bump or deliver, in the order in which
 * it bumped them first.  The list is the caller's, the scopes are not.
 */
List *
change_set_pending(void)
{
	List	   *pending = NIL;
	ListCell   *lc;

	if (change_set == NULL)
		return NIL;
	foreach(lc, change_set->scopes)
	{
		ScopeChange *scope = lfirst(lc);

		if (scope_is_pending(scope))
			pending = lappend(pending, scope);
	}
	return pending;
}

/* A scope, if this transaction has bumped it, or NULL. */
ScopeChange *
change_set_find(const char *name, const char *tenant)
{
	ScopeChange probe;
	Domain	   *domain = change_set ? domain_find(name) : NULL;

	return domain == NULL ? NULL :
		find_scope(&probe, domain, tenant, tenant ? strlen(tenant) : 0);
}

/* What a rule's target gets of a scope's change. */
ScopeChange *
change_set_reached(const ScopeChange *scope, const CascadeTarget *target)
{
	const char *tenant = target->shared ? NULL : scope->counter.tenant;
	const char *carried = tenant == NULL ? NULL :
		naming_carried(scope->domain, target->domain, tenant);

	return change_set_scope(target->domain, carried, carried == NULL ? 0 :
							carried == tenant ? scope->counter.tenant_len : strlen(carried));
}

/*
 * Rules may have changed, in another session, since the scopes were bumped:
 * give every target of the rules as they are now at least one bump.  Bumps
 * then reach every key.
 */
void
change_set_recascade(void)
{
	List	   *sources;
	ListCell   *lc;

	if (change_set == NULL || change_set->generation == cascade_generation())
		return;
	sources = change_set_pending();
	foreach(lc, sources)
	{
		ScopeChange *scope = lfirst(lc);
		ListCell   *lc2;

		if (scope->bumps == 0)
			continue;
		scope->keyed = 0;
		naming_load();
		foreach(lc2, cascade_targets(scope->domain))
		{
			CascadeTarget *target = lfirst(lc2);
			ScopeChange *reached = change_set_reached(scope, target);

			reached->extra.events_incomplete = true;
			if (target->bump && reached->bumps == 0)
				reached->bumps = 1;
			else if (!target->bump && !scope_is_pending(reached))
				reached->notices = 1;
		}
	}
}

/* The transaction has ended; its memory goes by itself. */
void
change_set_end_transaction(void)
{
	change_set = NULL;
	change_set_rows_seen = 0;
}

/*
 * Make the newest mark's records part of the mark below.  A scope that the
 * mark below has a record of keeps only that one, so a loop of savepoints
 * does not grow the journal.
 */
static void
merge_marks(JournalMark *parent, JournalMark *child)
{
	int			kept = child->start;

	for (int i = child->start; i < change_set->journal_len; i++)
	{
		JournalRecord *record = &change_set->journal[i];

		if (record->previous >= parent->start)
			record->scope->journal = record->previous;
		else
		{
			record->scope->journal = kept;
			change_set->journal[kept++] = *record;
		}
	}
	change_set->journal_len = kept;
	change_set->nmarks--;
}

/* The parent is the top level, which undoes nothing. */
static void
drop_journal(void)
{
	for (int i = 0; i < change_set->journal_len; i++)
		change_set->journal[i].scope->journal = -1;
	change_set->journal_len = 0;
	change_set->nmarks = 0;
}

/* A subtransaction at this nest level becomes part of its parent. */
void
change_set_subcommit(int level)
{
	JournalMark *mark;

	if (change_set == NULL || change_set->nmarks == 0)
		return;
	mark = &change_set->marks[change_set->nmarks - 1];
	if (mark->level < level)
		return;
	Assert(mark->level == level);

	if (level == 2)
		drop_journal();
	else if (change_set->nmarks > 1 && mark[-1].level == level - 1)
		merge_marks(mark - 1, mark);
	else
		mark->level = level - 1;
}

/* Undo what was done at this nest level and below. */
void
change_set_subabort(int level)
{
	if (change_set == NULL)
		return;
	while (change_set->nmarks > 0 &&
		   change_set->marks[change_set->nmarks - 1].level >= level)
	{
		int			start = change_set->marks[change_set->nmarks - 1].start;

		while (change_set->journal_len > start)
		{
			JournalRecord *record =
				&change_set->journal[--change_set->journal_len];
			ScopeChange *scope = record->scope;

			scope->bumps = record->bumps;
			scope->notices = record->notices;
			scope->keyed = record->keyed;
			scope->by_hand = record->by_hand;
			scope->layout_floor = record->layout_floor;
			extra_go_back(&scope->extra, &record->extra);
			memcpy(scope->stamp, record->stamp, sizeof(scope->stamp));
			memcpy(scope->keyed_stamp, record->keyed_stamp,
				   sizeof(scope->keyed_stamp));
			scope->journal = record->previous;
		}
		change_set->nmarks--;
	}
}
