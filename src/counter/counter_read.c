/*-------------------------------------------------------------------------
 *
 * counter_read.c
 *	  Add up the rows of counters, as a snapshot sees them.
 *
 * counter_search.c says how they are found, and what is locked.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/counter_search.h"

#include "access/stratnum.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* Call visit() for each row of a counter that the snapshot sees. */
void
counter_visit(CounterTable *table, const CounterKey *key, Snapshot snapshot,
			  CounterVisitor visit, void *arg)
{
	CounterSearch search;
	HeapTupleData row;

	search_begin(&search, table, key, snapshot);
	while (search_next(&search, &row))
		visit(&row, arg);
	search_end(&search);
}

/* The sum of a counter's rows, as the snapshot sees them. */
int64
counter_sum(CounterTable *table, const CounterKey *key, Snapshot snapshot)
{
	CounterSearch search;
	HeapTupleData row;
	int64		sum = 0;
	int			nrows = 0;

	search_begin(&search, table, key, snapshot);
	for (; search_next(&search, &row); nrows++)
		sum += counter_form(&row)->n;
	search_end(&search);
	if (nrows > 1 && table->tell_many_rows != NULL &&
		key->tenant != ALL_TENANTS)
		table->tell_many_rows(key->name, key->tenant);
	return sum;
}

/* The same; false if there are more rows than this. */
bool
counter_sum_few(CounterTable *table, const CounterKey *key, Snapshot snapshot,
				int max_rows, int64 *sum)
{
	CounterSearch search;
	HeapTupleData row;
	int			nrows = 0;

	*sum = 0;
	search_begin(&search, table, key, snapshot);
	while (nrows <= max_rows && search_next(&search, &row))
	{
		CHECK_FOR_INTERRUPTS();
		*sum += counter_form(&row)->n;
		nrows++;
	}
	search_end(&search);
	return nrows <= max_rows;
}

/* The same, without the bumps whose keys are told by buckets of this layout. */
int64
counter_sum_whole(CounterTable *table, const CounterKey *key,
				  int64 bucket_layout, Snapshot snapshot)
{
	CounterSearch search;
	HeapTupleData row;
	int64		sum = 0;

	search_begin(&search, table, key, snapshot);
	while (search_next(&search, &row))
	{
		CounterForm *form = counter_form(&row);

		sum += form->bucket_layout == bucket_layout ? form->n - form->keyed :
			form->n;
	}
	search_end(&search);
	return sum;
}

/*
 * The first domain by name, from this one or beyond it, that has a committed
 * counter; NULL if there is none.
 */
static char *
find_domain(CounterTable *table, StrategyNumber strategy, RegProcedure function,
			const char *name)
{
	CounterSearch search;
	SnapshotData dirty;
	HeapTupleData row;
	char	   *domain = NULL;
	char	   *tenant;

	InitDirtySnapshot(dirty);
	search_names(&search, table, strategy, function, name, &dirty);
	if (search_next(&search, &row))
		counter_key_of_row(&row, RelationGetDescr(table->heap), &domain, &tenant);
	search_end(&search);
	return domain;
}

/* The names of all domains that have a counter, but for internal ones. */
List *
counter_domains(CounterTable *table)
{
	List	   *domains = NIL;
	char	   *domain = "";

	while ((domain = find_domain(table, BTGreaterStrategyNumber, F_TEXT_GT,
								 domain)) != NULL)
	{
		/* Of domains with keys there may be thousands: pass over them. */
		if (is_internal_domain(domain))
			domain = INTERNAL_PREFIX "~";
		else
			domains = lappend(domains, domain);
	}
	return domains;
}

/* Has this domain ever changed, for any tenant, as committed by now? */
bool
counter_domain_exists(CounterTable *table, const char *domain)
{
	return find_domain(table, BTEqualStrategyNumber, F_TEXTEQ, domain) != NULL;
}
