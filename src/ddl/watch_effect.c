/*-------------------------------------------------------------------------
 *
 * watch_effect.c
 *	  Which domains it concerns that a relation is watched, watched otherwise, or
 *	  watched no longer.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "catalog/pg_class.h"

#include "ddl/command_effect.h"

static bool
domain_has_versions(const char *domain)
{
	CounterTable *table = counter_open(AccessShareLock);
	bool		result;

	if (table == NULL)
		return false;
	result = counter_domain_exists(table, domain);
	counter_close(table, AccessShareLock);
	return result;
}

/*
 * A domain with a history is fed by a table that may have changed unseen.  If
 * nothing fed it so far, it went to the default channel.
 */
static void
feeding_begins(SchemaEvent *event, const Watch *watch)
{
	if (watch->domain != NULL && domain_has_versions(watch->domain))
		add_former(event, watch_without_options(watch->domain));
}

/*
 * A table is watched, by setup_table_invalidation(), from a dump, or by hand,
 * or differently from before: then perhaps less of it counts.
 */
void
trigger_created(SchemaEvent *event, Oid trigger)
{
	Watch	   *watch = watch_of_trigger(trigger, WATCH_NOW);
	Watch	   *before = watch_of_trigger(trigger, WATCH_REMOVED);
	bool		same;

	if (watch == NULL && before == NULL)
	{
		configuration_trigger_created(trigger);
		return;
	}
	announce_configuration();
	if (watch != NULL && !watch->inherited)
		whole_number_left(watch->domain, watch->options->whole_counter);
	same = watch != NULL && before != NULL && same_watch(watch, before);
	if (before != NULL && !same && !before->is_row && !before->inherited)
		add_former(event, before);
	if (before == NULL)
		(void) restored_trigger_created();
	if (watch != NULL && !watch->is_row && !watch->inherited &&
		(before == NULL || !same_domain(watch, before)))
		feeding_begins(event, watch);
}

/* The same for the label of a view, which has no other Watches. */
void
label_set(SchemaEvent *event, ObjectAddress address)
{
	List	   *now = watches_of_relation(address.objectId, WATCH_NOW);
	Watch	   *watch = now != NIL ? linitial(now) : NULL;
	bool		same_as_before = false;
	ListCell   *lc;

	if (address.classId != RelationRelationId)
		return;
	announce_configuration();
	foreach(lc, watches_of_relation(address.objectId, WATCH_REMOVED))
	{
		if (watch == NULL || !same_watch(watch, lfirst(lc)))
			add_former(event, lfirst(lc));
		same_as_before |= watch != NULL && same_domain(watch, lfirst(lc));
	}
	if (watch != NULL && !same_as_before)
		feeding_begins(event, watch);
}

/*
 * A table is watched no longer.  Nobody should drop a row trigger alone, or
 * one that is there because of a parent's, but then changes go unseen, too.
 */
void
trigger_dropped(SchemaEvent *event, Oid trigger)
{
	Watch	   *watch = watch_of_trigger(trigger, WATCH_REMOVED);

	if (watch == NULL)
		return;
	announce_configuration();
	if (watch->inherited ? is_asked_for(watch) :
		watch->is_row && !watch->is_clone &&
		relation_feeds(watch->relation, watch->domain))
		add_domain(event, watch->domain);
	if (!watch->is_row && !watch->inherited)
		add_former(event, watch);
}
