/*-------------------------------------------------------------------------
 *
 * layout_left.c
 *	  This transaction makes a domain leave a bucket layout for good.
 *
 * See domain/layout_floor.c.  The counter is written with those of the changes,
 * and like them is undone by a rollback, also to a savepoint.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cache_notify_layout_floor);

/* Nothing has this layout of the domain any more. */
void
layout_leave(Domain *domain, int64 bucket_layout)
{
	ScopeChange *scope = change_set_scope(domain, NULL, 0);
	int64		floor = layout_generation(bucket_layout) + 1;

	if (scope->layout_floor >= floor)
		return;
	journal_scope(scope);
	scope->layout_floor = floor;
}

/* Before the commit: write what layout_leave() has noted of a scope. */
void
layout_left_write(CounterTable *table, ScopeChange *scope)
{
	const char *domain = scope->domain->name;
	CounterBump bump = {.n = scope->layout_floor - layout_floor(domain)};
	CounterKey	key = counter_key(layout_floor_name(domain), NULL);

	if (bump.n > 0)
		counter_bump(table, &key, &bump);
}

/*
 * layout_floor(domain text) returns bigint, strict: the first generation of
 * bucket layouts that the domain may still use.
 */
Datum
cache_notify_layout_floor(PG_FUNCTION_ARGS)
{
	char	   *domain = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		floor = layout_floor(domain);
	ListCell   *lc;

	foreach(lc, change_set_scopes())
	{
		ScopeChange *scope = lfirst(lc);

		if (strcmp(scope->domain->name, domain) == 0)
			floor = Max(floor, scope->layout_floor);
	}
	PG_RETURN_INT64(floor);
}
