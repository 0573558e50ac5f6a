/*-------------------------------------------------------------------------
 *
 * layout_floor.c
 *	  Bucket layouts that a domain has left, and never comes back to.
 *
 * In a bucket layout a key's version leaves out what moved other keys only;
 * once nothing has that layout any more, the domain's version stands for it,
 * which is higher (key.c).  If a trigger then brought the old layout back,
 * versions would go back.  setup_table_invalidation() always takes a new one,
 * but anybody can write a trigger by hand.
 *
 * So a counter under an internal name has the first generation (the part of a
 * layout that only grows) that a domain may still use, and moves on when the
 * trigger that the domain had its layout from is gone, and with it the layout.  Two transactions that do this at the same
 * time may move it too far: then keys are not told apart until the next set-up.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "utils/snapmgr.h"

/* The name of the counter that is a domain's floor; palloc'd. */
char *
layout_floor_name(const char *domain)
{
	return psprintf(INTERNAL_PREFIX "layout/%s", domain);
}

/*
 * The first generation that a domain may use, as committed now.  The server's
 * own snapshot for catalogs is as new as the triggers that we have read, and
 * may be taken within a parallel query.
 */
int64
layout_floor(const char *domain)
{
	CounterTable *table = counter_open(AccessShareLock);
	CounterKey	key;
	Snapshot	snapshot;
	int64		result;

	if (table == NULL)
		return 0;
	key = counter_key(layout_floor_name(domain), NULL);
	snapshot = RegisterSnapshot(GetNonHistoricCatalogSnapshot(
															  extension_relation(INTERNAL_SCHEMA, "version_counter")));
	result = counter_sum(table, &key, snapshot);
	UnregisterSnapshot(snapshot);
	counter_close(table, AccessShareLock);
	return result;
}

/*
 * A Watch was removed or replaced: had its domain the Watch's layout, and has
 * another one now, or none?  What is watched now is read from the catalogs.
 */
bool
layout_was_left(const Watch *former)
{
	int64		layout = former->options->bucket_layout;
	int64		floor;
	const Watch *oldest = NULL;
	ListCell   *lc;

	if (layout == 0)
		return false;
	floor = layout_floor(former->domain);
	foreach(lc, list_concat(watches_by_trigger(false), watches_by_label()))
	{
		const Watch *watch = lfirst(lc);

		if (!watch->inherited && strcmp(watch->domain, former->domain) == 0 &&
			watch->options->bucket_layout != 0 &&
			layout_generation(watch->options->bucket_layout) >= floor &&
			(oldest == NULL || watch->trigger < oldest->trigger))
			oldest = watch;
	}
	if (oldest == NULL)
		return true;
	return former->trigger <= oldest->trigger &&
		layout != oldest->options->bucket_layout;
}
