/*-------------------------------------------------------------------------
 *
 * whole_count.c
 *	  Count what a transaction changes in the counters of whole domains, and
 *	  find out what had been counted before.
 *
 * domain/whole_counter.c says what these counters are.  A transaction that has
 * not heard of one does not add to it, so its base can only be told in a
 * snapshot that sees all of these as ended:
 *
 *	  - Whoever writes counters has an id before it looks, for the last time,
 *		whether the configuration has changed (commit.c).
 *	  - The set-up has sent its invalidations once it has released its locks; one
 *		is that of its transaction id.
 *	  - So whoever looks before the next id at that time, the horizon, has been
 *		given out may not have heard of it, and nobody with a later id.
 *	  - Once no transaction before the horizon runs, prepared ones included, a
 *		new snapshot will do.
 *
 * Waiting for that is nobody's business.  Each writer of the domain, and the
 * worker, has a look, and while there is no base, readers add up the counters.
 * A writer goes over a few counters at most.
 *
 * Locking: a lock of this extension's own, taken if it is free, by who writes a
 * base: kept to the end of the transaction, so there is one base only.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cache_notify_start_whole_counters);
PG_FUNCTION_INFO_V1(cache_notify_whole_counter_number);

/* A writer goes over no more counters than this. */
#define MAX_COUNTERS_FOR_WRITER	1000

/* Tells our lock from the advisory locks that SQL can take. */
#define LOCK_OF_BASES	3

/* Of a counter that has no base yet, as this backend knows it. */
typedef struct BaseSearch
{
	char		domain[NAMEDATALEN];
	int64		number;
	TransactionId horizon;		/* invalid: not known yet */
	bool		done;			/* there is a base */
} BaseSearch;

/* A number that a domain may have left. */
typedef struct LeftNumber
{
	Domain	   *domain;
	int64		number;
} LeftNumber;

/* Of the backend, in TopMemoryContext; what it says once, it says for good. */
static List *searches = NIL;

/* More than this are forgotten. */
#define MAX_SEARCHES	256

/* LeftNumber *, of the transaction, in its memory; a savepoint may leave too many. */
static List *left_numbers = NIL;

/* --------------------------------------------------------------- the base */

static BaseSearch *
search_of(const Domain *domain)
{
	MemoryContext old;
	BaseSearch *search;
	ListCell   *lc;

	foreach(lc, searches)
	{
		search = lfirst(lc);
		if (search->number == domain->whole_no &&
			strcmp(search->domain, domain->name) == 0)
			return search;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (list_length(searches) >= MAX_SEARCHES)
	{
		list_free_deep(searches);
		searches = NIL;
	}
	search = palloc0(sizeof(BaseSearch));
	strlcpy(search->domain, domain->name, NAMEDATALEN);
	search->number = domain->whole_no;
	searches = lappend(searches, search);
	MemoryContextSwitchTo(old);
	return search;
}

/* Has every transaction that may not have heard of the counter an id before ours? */
static void
look_for_horizon(BaseSearch *search, const Domain *domain)
{
	TransactionId since = whole_counter_since(domain);

	if (TransactionIdIsNormal(since) &&
		(TransactionIdIsCurrentTransactionId(since) ||
		 TransactionIdIsInProgress(since) ||
		 !compat_xact_has_ended(since)))
		return;
	search->horizon = ReadNextTransactionId();
}

static bool
lock_bases(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0,
						 extension_relation(INTERNAL_SCHEMA, "version_counter"),
						 LOCK_OF_BASES);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static int64
sum_of(CounterTable *table, WholeCounter which, const BaseSearch *search,
	   Snapshot snapshot)
{
	CounterKey	key = counter_key(whole_counter_name(which, search->domain,
													 search->number), NULL);

	return counter_sum(table, &key, snapshot);
}

/* Write the base, if this snapshot can tell it and nobody has written one. */
static void
write_base(CounterTable *table, BaseSearch *search, int max_counters,
		   Snapshot snapshot)
{
	CounterKey	all = counter_key(search->domain, ALL_TENANTS);
	CounterKey	base_key;
	CounterBump bump = {0};
	int64		sum;

	search->done = sum_of(table, WHOLE_BASE, search, snapshot) != 0;
	if (search->done || TransactionIdPrecedes(snapshot->xmin, search->horizon) ||
		!counter_sum_few(table, &all, snapshot, max_counters, &sum))
		return;
	bump.n = sum - sum_of(table, WHOLE_COUNT, search, snapshot) + 1;
	base_key = counter_key(whole_counter_name(WHOLE_BASE, search->domain,
											  search->number), NULL);
	counter_bump(table, &base_key, &bump);
}

/* Have a look whether the domain's base can be written by now. */
static void
look_for_base(CounterTable *table, const Domain *domain, int max_counters)
{
	BaseSearch *search = search_of(domain);

	if (search->done)
		return;
	if (!TransactionIdIsValid(search->horizon))
		look_for_horizon(search, domain);
	if (!TransactionIdIsValid(search->horizon) || !lock_bases())
		return;
	/* After the lock, so that it sees what those before us have written. */
	PushActiveSnapshot(GetLatestSnapshot());
	write_base(table, search, max_counters, GetActiveSnapshot());
	PopActiveSnapshot();
}

/* ------------------------------------------------------ before the commit */

static void
count_whole(CounterTable *table, const Domain *domain, List *scopes)
{
	CounterKey	key = counter_key(whole_counter_name(WHOLE_COUNT, domain->name,
													 domain->whole_no), NULL);
	CounterBump bump = {0};
	ListCell   *lc;

	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);

		if (scope->domain == domain)
			bump.n += scope->bumps;
	}
	counter_bump(table, &key, &bump);
	look_for_base(table, domain, MAX_COUNTERS_FOR_WRITER);
}

/* Add what these scopes were bumped by to the counters of their whole domains. */
void
whole_count_write(CounterTable *table, List *scopes)
{
	List	   *written = NIL;
	ListCell   *lc;

	if (!whole_counters_exist())
		return;
	(void) watch_load();
	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);

		if (scope->bumps == 0 || scope->domain->whole_no == 0 ||
			list_member_ptr(written, scope->domain))
			continue;
		count_whole(table, scope->domain, scopes);
		written = lappend(written, scope->domain);
	}
}

/*
 * A trigger of the domain was created, replaced or dropped, and it asks or asked
 * for this number: before the commit, look which numbers have come to their end.
 */
void
whole_number_left(const char *domain_name, int64 number)
{
	MemoryContext old;
	LeftNumber *left;

	if (number == 0)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	left = palloc(sizeof(LeftNumber));
	left->domain = domain_lookup(domain_name);
	left->number = number;
	left_numbers = lappend(left_numbers, left);
	MemoryContextSwitchTo(old);
	/* So that there is something to write. */
	(void) change_set_scope(left->domain, NULL, 0);
}

static bool
is_among(const List *numbers, const Domain *domain, int64 number)
{
	ListCell   *lc;

	foreach(lc, numbers)
	{
		const LeftNumber *left = lfirst(lc);

		if (left->domain == domain && left->number == number)
			return true;
	}
	return false;
}

/* A counter is written once in a transaction: written has those that were. */
static List *
write_end(CounterTable *table, List *written, Domain *domain, int64 number)
{
	LeftNumber *left;
	CounterBump bump = {.n = 1};
	CounterKey	key;

	if (number == domain->whole_no || is_among(written, domain, number) ||
		whole_counter_ended(domain->name, number))
		return written;
	key = counter_key(whole_counter_name(WHOLE_END, domain->name, number), NULL);
	counter_bump(table, &key, &bump);
	left = palloc(sizeof(LeftNumber));
	left->domain = domain;
	left->number = number;
	return lappend(written, left);
}

/* Say that there may be counters of whole domains. */
static void
write_any(CounterTable *table)
{
	CounterBump bump = {.n = 1};
	CounterKey	key = counter_key(whole_counter_name(WHOLE_ANY, "", 0), NULL);

	whole_counters_look_again();
	if (!whole_counters_exist())
		counter_bump(table, &key, &bump);
	whole_counters_look_again();
}

/* Write the ends of what whole_number_left() was told, and of what it contradicts. */
void
whole_count_end(CounterTable *table)
{
	List	   *written = NIL;
	ListCell   *lc,
			   *lc2;

	if (left_numbers != NIL)
		write_any(table);
	foreach(lc, left_numbers)
	{
		LeftNumber *left = lfirst(lc);
		List	   *numbers = whole_counter_numbers(left->domain);

		written = write_end(table, written, left->domain, left->number);
		foreach(lc2, numbers)
			written = write_end(table, written, left->domain, *(int64 *) lfirst(lc2));
	}
}

void
whole_count_end_transaction(void)
{
	left_numbers = NIL;
}

/* ------------------------------------------------------------- the worker */

/* Is there a counter of a whole domain that has no base, as far as we know? */
bool
whole_count_wants_base(void)
{
	ListCell   *lc;

	if (!whole_counters_exist())
		return false;
	(void) watch_load();
	foreach(lc, watch_all())
	{
		const Watch *watch = lfirst(lc);
		Domain	   *domain = watch->options->whole_counter != 0 ?
			domain_find(watch->domain) : NULL;

		if (domain != NULL && domain->whole_no != 0 && !search_of(domain)->done)
			return true;
	}
	return false;
}

/* Look for all bases that are wanted, however long it takes. */
void
whole_count_find_bases(void)
{
	CounterTable *table;
	List	   *domains = NIL;
	ListCell   *lc;

	if (!whole_counters_exist() ||
		(table = counter_open(RowExclusiveLock)) == NULL)
		return;
	(void) watch_load();
	foreach(lc, watch_all())
	{
		Domain	   *domain = domain_find(((const Watch *) lfirst(lc))->domain);

		if (domain != NULL && domain->whole_no != 0)
			domains = list_append_unique_ptr(domains, domain);
	}
	foreach(lc, domains)
		look_for_base(table, lfirst(lc), INT_MAX);
	counter_close(table, NoLock);
}

/* start_whole_counters() returns void: what the worker does by itself */
Datum
cache_notify_start_whole_counters(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("start_whole_counters()");
	PreventCommandIfParallelMode("start_whole_counters()");
	whole_count_find_bases();
	PG_RETURN_VOID();
}

/*
 * whole_counter_number(domain text) returns bigint, strict: the number of the
 * counter for a watch that is to ask for it.
 */
Datum
cache_notify_whole_counter_number(PG_FUNCTION_ARGS)
{
	Domain	   *domain;

	(void) watch_load();
	domain = domain_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (domain != NULL && domain->whole_no != 0)
		PG_RETURN_INT64(domain->whole_no);
	PG_RETURN_INT64((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
}
