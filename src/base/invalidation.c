/*-------------------------------------------------------------------------
 *
 * invalidation.c
 *	  Count the invalidations of relations and catalogs.
 *
 * An invalidation can arrive whenever a lock is taken, in the middle of whatever
 * depends on what has become invalid.  So the callbacks here free nothing and
 * mark nothing: they only count, and each user compares.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "utils/inval.h"

/*
 * Those who want to know of relations.  For the life of the backend; a savepoint
 * does nothing to it.
 */
static InvalidationCount *relation_counts = NULL;

static void
relation_invalidated(Datum arg, Oid relid)
{
	for (InvalidationCount *c = relation_counts; c != NULL; c = c->next)
		if (!OidIsValid(relid) ||
			((!OidIsValid(c->relid) || c->relid == relid) &&
			 (c->concerns == NULL || c->concerns(relid))))
			c->count++;
}

static void
catalog_invalidated(Datum arg, int cacheid, uint32 hashvalue)
{
	((InvalidationCount *) DatumGetPointer(arg))->count++;
}

/* Once for each count, from _PG_init(). */
void
invalidation_count_relations(InvalidationCount *count)
{
	if (relation_counts == NULL)
		CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
	count->count = 1;
	count->next = relation_counts;
	relation_counts = count;
}

/* The same for the catalog of a syscache. */
void
invalidation_count_catalog(InvalidationCount *count, int cacheid)
{
	count->count = 1;
	CacheRegisterSyscacheCallback(cacheid, catalog_invalidated,
								  PointerGetDatum(count));
}
