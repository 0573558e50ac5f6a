/*-------------------------------------------------------------------------
 *
 * compact.c
 *	  Merge the rows of counters that are not hot any more.
 *
 * A counter keeps as many rows as it once had commits at the same time.  Here
 * they become one again: the others are deleted and what they had counted is
 * added to the first, in one transaction.  So every snapshot sees the rows as
 * they were or as they are now, and the sum is the same.  A crash that loses
 * such a commit loses nothing.
 *
 * Only committed rows that nobody is changing are merged, and nobody is waited
 * for.  A transaction that commits meanwhile finds the rows taken, as it would
 * with any other writer, and inserts one.  A row that a prepared transaction
 * holds stays.
 *
 * What is merged was committed before we looked, so whoever sees our commit
 * sees those, too: the positions of position.c stay right.  A position that
 * does not see it finds the scope changed: a false alarm.
 *
 * A transaction with one snapshot for all its queries must not merge.  It would
 * see its own row, with what has been committed after that snapshot.
 *
 * The worker remembers which scopes it found with more than one row, and merges
 * each when it has not delivered it for a while.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/counter.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "counter/counter_search.h"
#include "counter/counter_write.h"

PG_FUNCTION_INFO_V1(cache_notify_compact);

/* A scope has cooled down when it has not been delivered for so long. */
#define COOL_MS			10000

/* How often the worker looks for such scopes. */
#define LOOK_MS			1000

/* Scopes that the worker remembers; one that does not fit is forgotten. */
#define NUM_MANY_ROWS		256

typedef struct ManyRowsScope
{
	bool		used;
	bool		shared;			/* has no tenant */
	TimestampTz delivered;
	char		domain[NAMEDATALEN];
	char		tenant[MAX_TENANT_LEN + 1];
} ManyRowsScope;

/*
 * Of the worker, for as long as it lives.  compact_remember() adds, and
 * compact_cooled() takes away what it merges.
 */
static ManyRowsScope *many_rows = NULL;
static int	nmany_rows = 0;
static TimestampTz last_look = 0;

/*
 * Merge the rows of a counter.  Returns how many are gone.  An active snapshot is
 * there, as looking into an index wants one, but not used.
 */
static int
merge_rows(CounterTable *table, const char *name, const char *tenant)
{
	CounterKey	key = counter_key(name, tenant);
	CounterSearch search;
	SnapshotData dirty;
	HeapTupleData row;
	HeapTupleData first;
	Buffer		first_buffer = InvalidBuffer;
	CounterBump sum = {0};
	TimestampTz modified = 0;
	int			merged = 0;

	InitDirtySnapshot(dirty);
	search_begin(&search, table, &key, &dirty);
	while (search_next(&search, &row))
	{
		CounterForm *form = counter_form(&row);

		if (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax))
			continue;
		if (!BufferIsValid(first_buffer))
		{
			/* Pinned, it is not pruned before it is updated. */
			first = row;
			first_buffer = search.buffer;
			IncrBufferRefCount(first_buffer);
		}
		else if (compat_heap_delete(table->heap, &row.t_self))
		{
			sum.n += form->n;
			modified = Max(modified, form->last_modified);
			counter_add_keyed(&sum, form->bucket_layout, form->keyed);
			merged++;
		}
	}
	search_end(&search);

	/* Somebody may have taken the first row meanwhile. */
	if (merged > 0 &&
		!counter_add_to_row(table, &first, first_buffer, &sum, modified, NULL))
	{
		counter_insert_row(table, name, tenant, &sum, modified, NULL);
		merged--;
	}
	if (BufferIsValid(first_buffer))
		ReleaseBuffer(first_buffer);
	return merged;
}

typedef struct Scope
{
	char	   *domain;
	char	   *tenant;			/* NULL: shared */
} Scope;

static bool
same_scope(const Scope *a, const Scope *b)
{
	return a->domain != NULL && b->domain != NULL &&
		strcmp(a->domain, b->domain) == 0 &&
		(a->tenant == NULL) == (b->tenant == NULL) &&
		(a->tenant == NULL || strcmp(a->tenant, b->tenant) == 0);
}

/* The scopes that have more than one row. */
static List *
scopes_with_many_rows(CounterTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->heap);
	Scope		last = {NULL, NULL};
	List	   *scopes = NIL;
	bool		listed = false;
	CounterSearch search;
	SnapshotData dirty;
	HeapTupleData row;

	InitDirtySnapshot(dirty);
	search_all(&search, table, &dirty);
	while (search_next(&search, &row))
	{
		Scope		scope;

		CHECK_FOR_INTERRUPTS();
		counter_key_of_row(&row, desc, &scope.domain, &scope.tenant);
		if (!same_scope(&scope, &last))
		{
			if (!listed && last.domain != NULL)
			{
				pfree(last.domain);
				if (last.tenant != NULL)
					pfree(last.tenant);
			}
			last = scope;
			listed = false;
			continue;
		}
		if (!listed)
		{
			Scope	   *entry = palloc(sizeof(Scope));

			*entry = last;
			scopes = lappend(scopes, entry);
			listed = true;
		}
		pfree(scope.domain);
		if (scope.tenant != NULL)
			pfree(scope.tenant);
	}
	search_end(&search);
	return scopes;
}

/* compact() returns bigint */
Datum
cache_notify_compact(PG_FUNCTION_ARGS)
{
	CounterTable *table;
	int64		merged = 0;
	ListCell   *lc;

	PreventCommandIfReadOnly("compact()");
	PreventCommandIfParallelMode("compact()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("compact() cannot run in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errhint("Call it in a READ COMMITTED transaction of its own.")));
	table = counter_open(RowExclusiveLock);
	if (table == NULL)
		PG_RETURN_INT64(0);
	foreach(lc, scopes_with_many_rows(table))
	{
		Scope	   *scope = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		merged += merge_rows(table, scope->domain, scope->tenant);
	}
	counter_close(table, NoLock);

	/* So that this transaction can write these rows again when it commits. */
	CommandCounterIncrement();
	PG_RETURN_INT64(merged);
}

/* ------------------------------------------------------------- the worker */

/* Called by counter_sum(): this scope, which is delivered now, has many rows. */
void
compact_remember(const char *domain, const char *tenant)
{
	uint32		hash = counter_key(domain, tenant).hash;
	ManyRowsScope *scope;

	if (many_rows == NULL)
		many_rows = MemoryContextAllocZero(TopMemoryContext,
										   NUM_MANY_ROWS * sizeof(ManyRowsScope));
	scope = &many_rows[hash % NUM_MANY_ROWS];
	if (!scope->used)
		nmany_rows++;
	scope->used = true;
	scope->shared = tenant == NULL;
	scope->delivered = GetCurrentTimestamp();
	strlcpy(scope->domain, domain, sizeof(scope->domain));
	strlcpy(scope->tenant, tenant ? tenant : "", sizeof(scope->tenant));
}

/* How long until compact_cooled() wants to be called, in ms; -1: not at all. */
long
compact_wait(void)
{
	if (nmany_rows == 0)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   TimestampTzPlusMilliseconds(last_look,
																	   LOOK_MS));
}

/* Merge the rows of a scope, in a transaction of its own. */
static void
compact_scope(const char *domain, const char *tenant)
{
	CounterTable *table;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "merging counters");
	PushActiveSnapshot(GetLatestSnapshot());
	table = counter_open(RowExclusiveLock);
	if (table != NULL)
	{
		merge_rows(table, domain, tenant);
		counter_close(table, NoLock);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Merge the rows of the scopes that have cooled down. */
void
compact_cooled(void)
{
	TimestampTz now = GetCurrentTimestamp();

	last_look = now;
	for (int i = 0; i < NUM_MANY_ROWS; i++)
	{
		ManyRowsScope *scope = &many_rows[i];

		if (scope->used &&
			TimestampDifferenceExceeds(scope->delivered, now, COOL_MS))
		{
			scope->used = false;
			nmany_rows--;
			compact_scope(scope->domain, scope->shared ? NULL : scope->tenant);
		}
	}
}
