/*-------------------------------------------------------------------------
 *
 * whole_counter.c
 *	  The counter of a domain as a whole, beside those of its tenants.
 *
 * The version of a whole domain is the sum of all its counters, so reading it
 * takes as long as there are tenants.  If a watch of the domain asks for it
 * (the option whole_counter), each transaction also adds what it counts for the
 * domain, whichever tenants', to one counter more.
 *
 * What was counted before that is in no such counter, and neither is what
 * transactions count that do not know of it yet.  So there is a base: the
 * domain's sum minus that counter, in one snapshot that sees all of these.
 * From then on the difference stays as it is: each transaction that a later
 * snapshot sees, and this one did not, has added the same to both.  So the base
 * plus the counter is the sum of all counters, exactly, and readers may take
 * either way.  They take this one if their snapshot sees the base.
 * change/whole_count.c writes counter and base.
 *
 * The number of a counter is the transaction that set it up first; the triggers
 * carry it as an argument.  Nobody comes back to a number: when no trigger asks
 * for it any more, or two ask for different ones, it gets an end, and who sees
 * that end adds up the domain's counters.  The end is written by the
 * transaction that drops or creates the trigger, so whatever a snapshot sees
 * that was not counted there, it sees the end as well.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "utils/snapmgr.h"

/* The name of one of the counters, palloc'd. */
const char *
whole_counter_name(WholeCounter which, const char *domain, int64 number)
{
	static const char *const kinds[] = {
		[WHOLE_COUNT] = "whole",
		[WHOLE_BASE] = "whole_base",
		[WHOLE_END] = "whole_end",
		[WHOLE_ANY] = "whole_any"
	};

	return psprintf(INTERNAL_PREFIX "%s/" INT64_FORMAT "/%s", kinds[which],
					number, domain);
}

/*
 * The sum of all counters of a domain, from the counter of the whole; false if
 * that cannot be told.  read() reads a shared counter by its name, all in one
 * snapshot.
 */
bool
whole_counter_read(const char *domain, int64 number, ReadCounter read,
				   void *arg, int64 *sum)
{
	int64		base = read(whole_counter_name(WHOLE_BASE, domain, number), arg);

	if (base == 0 ||
		read(whole_counter_name(WHOLE_END, domain, number), arg) != 0)
		return false;
	*sum = base - 1 + read(whole_counter_name(WHOLE_COUNT, domain, number), arg);
	return true;
}

/* A shared counter as committed now, with the snapshot of layout_floor(); 0 without table. */
static int64
committed_sum(const char *name)
{
	CounterTable *table = counter_open(AccessShareLock);
	CounterKey	key = counter_key(name, NULL);
	Snapshot	snapshot;
	int64		sum;

	if (table == NULL)
		return 0;
	snapshot = RegisterSnapshot(GetNonHistoricCatalogSnapshot(
															  extension_relation(INTERNAL_SCHEMA, "version_counter")));
	sum = counter_sum(table, &key, snapshot);
	UnregisterSnapshot(snapshot);
	counter_close(table, AccessShareLock);
	return sum;
}

/* Has the counter an end, as committed now? */
bool
whole_counter_ended(const char *domain, int64 number)
{
	return committed_sum(whole_counter_name(WHOLE_END, domain, number)) != 0;
}

/* Of the backend: whether there is one, as of a configuration. */
static bool some_exist = false;
static bool looked = false;
static uint64 looked_in = 0;

/* The same, of all. */
static CommonFact whole_fact = {.size = sizeof(bool)};

void
whole_counter_init(void)
{
	common_fact_add(&whole_fact);
}

/*
 * May any domain have such a counter?  Where nobody has asked for one, that spares
 * each writer a look at all watched tables.  Whoever asks for one says so in a
 * counter, in the transaction that creates the trigger; what tells others of the
 * trigger makes them look at that counter again.
 */
bool
whole_counters_exist(void)
{
	uint64		reading = cascade_load();
	uint64		begun;

	if (looked && looked_in == reading)
		return some_exist;
	if (!common_fact_take(&whole_fact, &some_exist))
	{
		begun = common_fact_begin();
		some_exist = committed_sum(whole_counter_name(WHOLE_ANY, "", 0)) != 0;
		common_fact_leave(&whole_fact, &some_exist, begun);
	}
	looked_in = reading;
	looked = true;
	return some_exist;
}

/* This transaction may write the counter that says so. */
void
whole_counters_look_again(void)
{
	looked = false;
}

/*
 * The newest transaction that has set up what asks for the counter.  Until it
 * has released its locks, not everybody may have heard of it.
 */
TransactionId
whole_counter_since(const Domain *domain)
{
	return inside(domain)->whole_since;
}
