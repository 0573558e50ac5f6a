/*-------------------------------------------------------------------------
 *
 * change_set.c
 *	  What this transaction has changed: the change set.
 *
 * Triggers note here, in backend memory only, which (domain, tenant) keys a
 * statement changed.  commit.c turns the set into counter updates once, just
 * before the transaction commits.
 *
 * One bump per statement.  A key carries a stamp, the number of the frame
 * that counted it last.  A frame is one statement's time; touching a key whose
 * stamp is the current frame does nothing, so ten thousand rows cost one bump.
 * Frames begin and end in the hooks of utility.c, around the place where the
 * server fires AFTER triggers.  A statement run inside a trigger has frames of
 * its own, one series per trigger depth.  Where no hook is called (logical
 * replication; the statement that loads the library) the rows share the frame
 * of what comes next: they still count, once.
 *
 * Savepoints.  Changes made below the top level are journalled, and a
 * rollback to a savepoint undoes the journal down to the level's mark.
 * Committing a subtransaction only renames or drops a mark, so it costs the
 * same however much changed.  (The server's async.c keeps a list per level
 * instead; a journal needs no merge.)
 *
 * All memory is the transaction's; making a context would cost more than all
 * that most transactions keep.  They change few keys, which are found faster
 * one after the other than in a hash table; that is made once there are more.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "replication/logicalworker.h"
#include "utils/memutils.h"

typedef struct KeyEntry
{
	ChangeKey  *key;
	uint32		hash;
	char		status;
} KeyEntry;

#define SH_PREFIX key_table
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE ChangeKey *
#define SH_KEY key
#define SH_HASH_KEY(tb, k) ((k)->hash)
#define SH_EQUAL(tb, a, b) keys_equal(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, e) ((e)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE

static inline bool
keys_equal(const ChangeKey *a, const ChangeKey *b)
{
	return a->domain == b->domain &&
		a->tenant_len == b->tenant_len &&
		(a->tenant == NULL) == (b->tenant == NULL) &&
		(a->tenant == NULL || memcmp(a->tenant, b->tenant, a->tenant_len) == 0);
}

#include "lib/simplehash.h"

#include "base/fault.h"

/* More keys than this are in a hash table. */
#define MAX_LISTED_KEYS	8

/* How to undo what a subtransaction did to one key. */
typedef struct JournalRecord
{
	ChangeKey  *key;
	int			previous;		/* the key's journal field before */
	int64		bumps;
	int64		notices;
	int64		keyed;
	uint64		stamp[MAX_FRAME_DEPTH];
	uint64		keyed_stamp[MAX_FRAME_DEPTH];
} JournalRecord;

/* Where in the journal the records of a nest level begin. */
typedef struct JournalMark
{
	int			level;
	int			start;
} JournalMark;

typedef struct ChangeSet
{
	key_table_hash *table;		/* NULL while there are few keys */
	List	   *keys;			/* every key, in the order of first touch */
	int			ntenants;		/* keys that name a tenant */
	int			nbuckets;		/* see key_change.c */
	uint64		generation;		/* cascade graph of the first touch */

	JournalRecord *journal;
	int			journal_len;
	int			journal_size;
	JournalMark *marks;
	int			nmarks;
	int			marks_size;
} ChangeSet;

/* NULL while the transaction has changed nothing. */
static ChangeSet *change_set = NULL;

/* Never reset, so that a frame number is used only once per backend. */
static uint64 last_frame = 1;
static uint64 frames[MAX_FRAME_DEPTH] = {1, 1, 1, 1};
static bool in_statement[MAX_FRAME_DEPTH];	/* a hook will end the frame */

static ChangeSet *
create_change_set(void)
{
	ChangeSet  *set = MemoryContextAllocZero(TopTransactionContext,
											 sizeof(ChangeSet));

	set->generation = cascade_generation();
	return set;
}

static void
add_to_table(ChangeKey *key)
{
	bool		found;

	key_table_insert(change_set->table, key, &found)->key = key;
	Assert(!found);
}

static void
create_table(void)
{
	ListCell   *lc;

	change_set->table = key_table_create(TopTransactionContext,
										 4 * MAX_LISTED_KEYS, NULL);
	foreach(lc, change_set->keys)
		add_to_table(lfirst(lc));
}

static ChangeKey *
add_key(const ChangeKey *probe)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ChangeKey  *key = palloc0(sizeof(ChangeKey));

	key->domain = probe->domain;
	key->name = key->domain->name;
	if (probe->tenant != NULL)
	{
		key->tenant = pnstrdup(probe->tenant, probe->tenant_len);
		key->tenant_len = probe->tenant_len;
		change_set->ntenants++;
	}
	key->hash = probe->hash;
	key->journal = -1;

	change_set->keys = lappend(change_set->keys, key);
	FAULT_POINT("change_set");
	if (change_set->table != NULL)
		add_to_table(key);
	else if (list_length(change_set->keys) > MAX_LISTED_KEYS)
		create_table();
	MemoryContextSwitchTo(old);
	return key;
}

/* Fill in what identifies a key, and look it up. */
static ChangeKey *
find_key(ChangeKey *probe, Domain *domain, const char *tenant, int tenant_len)
{
	KeyEntry   *entry;
	ListCell   *lc;

	probe->domain = domain;
	probe->tenant = tenant;
	probe->tenant_len = tenant ? tenant_len : 0;
	probe->hash = domain->hash;
	if (tenant != NULL)
		probe->hash = hash_combine(probe->hash,
								   hash_bytes((const unsigned char *) tenant,
											  tenant_len));
	if (change_set->table != NULL)
	{
		entry = key_table_lookup(change_set->table, probe);
		return entry ? entry->key : NULL;
	}
	foreach(lc, change_set->keys)
	{
		ChangeKey  *key = lfirst(lc);

		if (key->hash == probe->hash && keys_equal(key, probe))
			return key;
	}
	return NULL;
}

/*
 * The key of a domain and tenant (NULL: shared), created if it is new.
 *
 * A tenant that is too long, or one too many, gets the domain's shared key:
 * coarser, never an error.
 */
ChangeKey *
change_set_key(Domain *domain, const char *tenant, int tenant_len)
{
	ChangeKey	probe;
	ChangeKey  *key;

	if (change_set == NULL)
		change_set = create_change_set();
	if (tenant_len > MAX_TENANT_LEN)
		tenant = NULL;

	key = find_key(&probe, domain, tenant, tenant_len);
	if (key != NULL)
		return key;
	if (tenant != NULL && change_set_full())
		return change_set_key(domain, NULL, 0);
	return add_key(&probe);
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
 * Remember the state of a key before the current subtransaction changes it.
 * At the top level there is nothing to undo: an abort drops the whole set.
 */
void
journal_key(ChangeKey *key)
{
	int			level = GetCurrentTransactionNestLevel();
	JournalRecord *record;

	if (level <= 1)
		return;
	if (change_set->nmarks == 0 ||
		change_set->marks[change_set->nmarks - 1].level < level)
		push_mark(level);
	if (key->journal >= change_set->marks[change_set->nmarks - 1].start)
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
	record->key = key;
	record->previous = key->journal;
	record->bumps = key->bumps;
	record->notices = key->notices;
	record->keyed = key->keyed;
	memcpy(record->stamp, key->stamp, sizeof(key->stamp));
	memcpy(record->keyed_stamp, key->keyed_stamp, sizeof(key->keyed_stamp));
	key->journal = change_set->journal_len++;
}

/* One more bucket is told apart.  False if there are too many. */
bool
change_set_count_bucket(void)
{
	if (change_set->nbuckets >= max_keys)
		return false;
	change_set->nbuckets++;
	return true;
}

uint64
current_frame(int i)
{
	return frames[i];
}

/* Trigger depths begin at 1. */
int
frame_index(int depth)
{
	return Min(Max(depth - 1, 0), MAX_FRAME_DEPTH - 1);
}

/* The number of the current statement's frame; 0 if no hook tells statements. */
uint64
change_set_frame(int depth)
{
	int			i = frame_index(depth);

	return in_statement[i] ? frames[i] : 0;
}

/* Has the current statement at this trigger depth counted the whole key? */
bool
change_set_touched(const ChangeKey *key, int depth)
{
	int			i = frame_index(depth);

	return key->stamp[i] == frames[i] && key->keyed_stamp[i] != frames[i];
}

/* Has it counted the key, and tells the keys that it touches? */
bool
change_set_keys_touched(const ChangeKey *key, int depth)
{
	int			i = frame_index(depth);

	return key->keyed_stamp[i] == frames[i];
}

/* A row changed: the current statement bumps the key, once. */
void
change_set_touch(ChangeKey *key, int depth)
{
	int			i = frame_index(depth);

	if (change_set_touched(key, depth))
		return;
	count_bump(key, i, false);
	cascade_key(key, cascade_targets(key->domain), i, false);
}

/* Bump a key unconditionally: invalidate(). */
void
change_set_bump(ChangeKey *key)
{
	count_bump(key, NO_FRAME, false);
	key->extra.all_keys = key->extra.coarse = true;
	cascade_key(key, cascade_targets(key->domain), NO_FRAME, false);
}

/*
 * The server is about to fire the AFTER triggers of a statement, at this
 * trigger depth.  Returns what change_set_end_statement() wants back.
 */
Statement
change_set_begin_statement(int depth)
{
	int			i = frame_index(depth);
	Statement	outer = {i, frames[i], in_statement[i]};

	frames[i] = ++last_frame;
	in_statement[i] = true;
	return outer;
}

/* They have fired, or failed. */
void
change_set_end_statement(Statement outer)
{
	in_statement[outer.index] = outer.in_statement;
	frames[outer.index] = outer.in_statement ? outer.frame : ++last_frame;
}

/*
 * The keys that the transaction will bump or deliver, in the order in which
 * it touched them first.  The list is the caller's, the keys are not.
 */
List *
change_set_pending(void)
{
	List	   *pending = NIL;
	ListCell   *lc;

	if (change_set == NULL)
		return NIL;
	foreach(lc, change_set->keys)
	{
		ChangeKey  *key = lfirst(lc);

		if (key_is_pending(key))
			pending = lappend(pending, key);
	}
	return pending;
}

/* A key, if this transaction has touched it, or NULL. */
ChangeKey *
change_set_find(const char *name, const char *tenant)
{
	ChangeKey	probe;
	Domain	   *domain = change_set ? domain_find(name) : NULL;

	return domain == NULL ? NULL :
		find_key(&probe, domain, tenant, tenant ? strlen(tenant) : 0);
}

/*
 * Rules may have changed, in another session, since the keys were touched:
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
		ChangeKey  *key = lfirst(lc);
		ListCell   *lc2;

		if (key->bumps == 0)
			continue;
		key->keyed = 0;
		foreach(lc2, cascade_targets(key->domain))
		{
			CascadeTarget *target = lfirst(lc2);
			ChangeKey  *reached = change_set_key(target->domain, key->tenant,
												 key->tenant_len);

			reached->extra.coarse = true;
			if (target->bump && reached->bumps == 0)
				reached->bumps = 1;
			else if (!target->bump && !key_is_pending(reached))
				reached->notices = 1;
		}
	}
}

/* The transaction has ended; its memory goes by itself. */
void
change_set_reset(void)
{
	change_set = NULL;
}

/*
 * Make the newest mark's records part of the mark below.  A key that the
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
			record->key->journal = record->previous;
		else
		{
			record->key->journal = kept;
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
		change_set->journal[i].key->journal = -1;
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
			ChangeKey  *key = record->key;

			key->bumps = record->bumps;
			key->notices = record->notices;
			key->keyed = record->keyed;
			memcpy(key->stamp, record->stamp, sizeof(key->stamp));
			memcpy(key->keyed_stamp, record->keyed_stamp,
				   sizeof(key->keyed_stamp));
			key->journal = record->previous;
		}
		change_set->nmarks--;
	}
}
