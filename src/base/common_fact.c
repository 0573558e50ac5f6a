/*-------------------------------------------------------------------------
 *
 * common_fact.c
 *	  What one backend has found in the catalogs, for those that start later.
 *
 * A connection that lives for one commit pays more for its first looks into the
 * catalogs than for everything else.  So a backend leaves what it found in shared
 * memory, for its database, and a new backend takes it from there.
 *
 * A fact that is taken must be as good as what a backend knows that has been there
 * for long, and that one hears of changes by invalidation messages.  Hence:
 *
 *	  - Whoever changes what a fact was made of calls common_fact_change().  From
 *		the moment when the transaction is visible until it has sent its
 *		invalidations and released its locks, facts are neither left nor taken;
 *		then a count moves on, and all facts of before are void.
 *	  - Whoever looks into the catalogs reads the count first, then takes in the
 *		invalidations that others have sent, then looks.  The fact is of that
 *		count.  So a change is either seen, or it voids the fact.
 *	  - A transaction that has run DDL leaves no facts, as it may roll back what it
 *		saw, and takes none, as it sees more than others.
 *	  - On a standby there are none, since changes are replayed there.
 *
 * A change that comes after a fact was taken is heard of by its invalidations, which
 * the backend has not taken in by then.  The users say what else must be the same
 * for a fact to hold.
 *
 * A prepared transaction is committed by COMMIT PREPARED, which is a change from its
 * beginning.  The count is of all databases: such changes are rare.
 *
 * Locking: a spinlock for the time of copying a fact.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/spin.h"
#include "utils/inval.h"
#include "utils/resowner.h"

/* Kinds of facts, of all rooms; how large one can be; and of how many databases. */
#define MAX_FACTS			4
#define MAX_FACT_SIZE		128
#define NUM_FACT_DATABASES	64

/* Databases share slots: the one that leaves a fact last has it. */
typedef struct FactSlot
{
	slock_t		mutex;
	Oid			database;
	uint64		count;			/* that the fact is of */
	char		value[MAX_FACT_SIZE];
} FactSlot;

typedef struct CommonFacts
{
	pg_atomic_uint32 changing;	/* changes that are visible and not through */
	pg_atomic_uint64 count;		/* of those that are, and 1: so it is not 0 */
	FactSlot	slots[MAX_FACTS][NUM_FACT_DATABASES];
} CommonFacts;

/* In shared memory, or NULL. */
static CommonFacts *facts = NULL;

/* Of the process: how many kinds there are, the same in all processes. */
static int	nfacts = 0;

/*
 * Of the transaction; a rollback to a savepoint leaves them, for nothing.  in_change:
 * it has committed, or may have committed another one, and counts in facts->changing.
 * release_callback() ends them, also if the process ends.
 */
static bool held_back = false;
static bool changed = false;
static bool in_change = false;

static Size
facts_size(void)
{
	return sizeof(CommonFacts);
}

static void
initialize_facts(void *address)
{
	CommonFacts *new = address;

	memset(new, 0, sizeof(CommonFacts));
	pg_atomic_init_u32(&new->changing, 0);
	pg_atomic_init_u64(&new->count, 1);
	for (int i = 0; i < MAX_FACTS; i++)
		for (int j = 0; j < NUM_FACT_DATABASES; j++)
			SpinLockInit(&new->slots[i][j].mutex);
}

void
common_fact_init(void)
{
	static SharedPiece piece = {
		.name = "cache_notify facts",
		.size = facts_size,
		.initialize = initialize_facts,
		.address = (void **) &facts
	};

	shared_memory_add(&piece);
}

/* A kind of facts; from an init function, once. */
void
common_fact_add(CommonFact *fact)
{
	Assert(nfacts < MAX_FACTS && fact->size <= MAX_FACT_SIZE);
	fact->number = nfacts++;
}

/* The count of changes; 0: there are no facts now. */
static uint64
count_now(void)
{
	uint64		count;

	if (facts == NULL || RecoveryInProgress())
		return 0;
	count = pg_atomic_read_u64(&facts->count);
	pg_read_barrier();
	return pg_atomic_read_u32(&facts->changing) == 0 ? count : 0;
}

static FactSlot *
slot_of(const CommonFact *fact)
{
	return &facts->slots[fact->number][murmurhash32(MyDatabaseId) %
									   NUM_FACT_DATABASES];
}

/* What another backend has left; false if there is nothing, or it does not hold. */
bool
common_fact_take(const CommonFact *fact, void *value)
{
	uint64		count = count_now();
	FactSlot   *slot;
	bool		found;

	if (count == 0 || held_back || changed)
		return false;
	slot = slot_of(fact);
	SpinLockAcquire(&slot->mutex);
	found = slot->database == MyDatabaseId && slot->count == count;
	if (found)
		memcpy(value, slot->value, fact->size);
	SpinLockRelease(&slot->mutex);
	return found;
}

/* Before looking into the catalogs.  What it returns is for common_fact_leave(). */
uint64
common_fact_begin(void)
{
	uint64		count = count_now();

	AcceptInvalidationMessages();
	return count;
}

/* Leave what was found, if it is what others would have found. */
void
common_fact_leave(const CommonFact *fact, const void *value, uint64 begun)
{
	FactSlot   *slot;

	if (begun == 0 || held_back || changed || IsParallelWorker())
		return;
	slot = slot_of(fact);
	SpinLockAcquire(&slot->mutex);
	slot->database = MyDatabaseId;
	slot->count = begun;
	memcpy(slot->value, value, fact->size);
	SpinLockRelease(&slot->mutex);
}

static void
begin_change(void)
{
	pg_atomic_fetch_add_u32(&facts->changing, 1);
	in_change = true;
}

static void
end_change(void)
{
	pg_atomic_fetch_add_u64(&facts->count, 1);
	pg_atomic_fetch_sub_u32(&facts->changing, 1);
	in_change = false;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && changed && !in_change)
		begin_change();
}

/* After the locks: invalidations have been sent.  Nothing may fail here. */
static void
release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level,
				 void *arg)
{
	if (!is_top_level || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	if (in_change)
		end_change();
	changed = held_back = false;
}

/* Most backends run no DDL, and their commits need not call us. */
static void
watch_transactions(void)
{
	static bool watching = false;

	if (watching)
		return;
	RegisterXactCallback(xact_callback, NULL);
	RegisterResourceReleaseCallback(release_callback, NULL);
	watching = true;
}

/* This transaction runs DDL: what it sees is not what others see. */
void
common_fact_hold_back(void)
{
	if (facts == NULL || held_back)
		return;
	watch_transactions();
	held_back = true;
}

/* This transaction changes what facts are made of. */
void
common_fact_change(void)
{
	if (facts == NULL || changed)
		return;
	watch_transactions();
	changed = true;
}

/* The command that runs, which ends this transaction, may commit another one's. */
void
common_fact_change_now(void)
{
	if (facts == NULL || in_change)
		return;
	watch_transactions();
	begin_change();
}
