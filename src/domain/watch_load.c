/*-------------------------------------------------------------------------
 *
 * watch_load.c
 *	  What all relations are watched with, and what that makes of the domains.
 *
 * Kept in memory with the cascade rules, of the same generation: setting up a
 * table, or the label of a view, sends the invalidation that rules send.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cache_notify_trigger_arguments);

/*
 * Watch *, in cascade_context().  Of the backend, made anew when the rules are;
 * what a savepoint undoes comes with an invalidation as well.
 */
static List *watches = NIL;
static uint64 loaded_generation = 0;

/*
 * *from and *last are what was copied last, NULL at first: Watches that share their
 * arguments do so in the copy, too.
 */
static Watch *
copy_watch(const Watch *watch, const Watch **from, const Watch **last)
{
	Watch	   *copy = palloc(sizeof(Watch));
	bool		shares = *from != NULL && (*from)->options == watch->options;

	*copy = *watch;
	if (shares)
	{
		copy->args = (*last)->args;
		copy->domain = (*last)->domain;
		copy->options = (*last)->options;
	}
	else
	{
		copy->args = palloc(Max(watch->nargs, 1) * sizeof(char *));
		for (int i = 0; i < watch->nargs; i++)
			copy->args[i] = pstrdup(watch->args[i]);
		copy->domain = pstrdup(watch->domain);
		copy->options = watch_options(copy->args, copy->nargs);
	}
	if (watch->name != NULL)
		copy->name = shares && watch->name == (*from)->name ? (*last)->name :
			pstrdup(watch->name);
	*from = watch;
	*last = copy;
	return copy;
}

/* Note a Watch with its domain. */
static void
add_to_domain(const Watch *watch, Domain *domain)
{
	MemoryContext old;

	domain_set_up_by(domain, watch_since(watch));
	if (watch->enabled == TRIGGER_DISABLED ||
		watch->enabled == TRIGGER_FIRES_ON_REPLICA)
		inside(domain)->incomplete = true;
	if (watch->is_row)
	{
		inside(domain)->nrow_triggers++;
		return;
	}
	if (OidIsValid(watch->trigger) && !is_per_statement(watch->options))
		inside(domain)->nrow_wanted++;
	old = MemoryContextSwitchTo(cascade_context());
	inside(domain)->watching = lappend_oid(inside(domain)->watching, watch->relation);
	MemoryContextSwitchTo(old);
}

/* Note whether anybody listens to changes of the schema, which bump a domain. */
static void
read_listeners(void)
{
	ListCell   *lc;

	foreach(lc, stored_entries("schema_listener"))
	{
		Domain	   *domain = domain_lookup(SCHEMA_DOMAIN);

		inside(domain)->has_listener = true;
		domain_set_up_by(domain, ((StoredEntry *) lfirst(lc))->xmin);
	}
}

/*
 * The layout of a domain's keys is that of its oldest trigger that has one.
 * Whoever names the domain later cannot change it, nor change it back: versions
 * of keys are sums of what was counted in a layout, and would be lower in one
 * that had been left before.  One that the domain has left does not count,
 * nor does the copy that a child table has.
 */
static void
take_bucket_layout(Domain *domain, const Watch *watch)
{
	if (watch->options->bucket_layout == 0 || watch->inherited ||
		(domain->bucket_layout != 0 && domain->layout_trigger < watch->trigger) ||
		layout_generation(watch->options->bucket_layout) < layout_floor(domain->name))
		return;
	domain->bucket_layout = watch->options->bucket_layout;
	domain->layout_trigger = watch->trigger;
}

/* A domain has one counter as a whole, or those who ask for it do not agree. */
static void
take_whole_counter(Domain *domain, const Watch *watch)
{
	int64		number = watch->options->whole_counter;

	if (number == 0 || watch->inherited || whole_counter_ended(domain->name, number))
		return;
	inside(domain)->whole_since = newer_xid(inside(domain)->whole_since, watch->xmin);
	if (inside(domain)->wholes_differ)
		return;
	inside(domain)->wholes_differ = domain->whole_no != 0 && domain->whole_no != number;
	domain->whole_no = inside(domain)->wholes_differ ? 0 : number;
}

static bool
has_rule(const Domain *source, const Domain *target)
{
	ListCell   *lc;

	foreach(lc, inside(source)->rules)
	{
		if (((CascadeTarget *) lfirst(lc))->domain == target)
			return true;
	}
	return false;
}

static void
require_rule(const Domain *source, Domain *target)
{
	if (!has_rule(source, target))
		inside(target)->incomplete = true;
}

/*
 * The set-up of a table says into which domains there are to be rules, and notes
 * say which there have been.  They are in the configuration, which a dump of parts,
 * or one that somebody restores who may not write there, leaves out.  A domain that
 * lacks one is not known.
 */
static void
require_rules(const Domain *domain, const Watch *watch)
{
	ListCell   *lc;
	NotedRule	rule;

	if (watch->inherited)
		return;
	foreach(lc, watch->options->cascades)
		require_rule(domain, domain_lookup(lfirst(lc)));
	foreach(lc, watch->options->rules)
	{
		if (rule_note_read(lfirst(lc), &rule) && rule.bump)
			require_rule(domain_lookup(rule.source), domain_lookup(rule.target));
	}
}

/*
 * Bring watch_all(), Domain.watched and Domain.bucket_layout up to date, and say
 * which generation they are of.  May read the catalogs, and wait for a lock on
 * them; what it leaves stays valid until the next call of this or of
 * cascade_load().
 */
uint64
watch_load(void)
{
	uint64		reading = cascade_load();
	List	   *found;
	const Watch *from = NULL;
	const Watch *last = NULL;
	MemoryContext old;
	ListCell   *lc;

	if (loaded_generation == reading)
		return reading;
	found = list_concat(watches_by_trigger(true), watches_by_label());
	old = MemoryContextSwitchTo(cascade_context());
	watches = NIL;
	domains_visit(domain_forget_watches);
	foreach(lc, found)
	{
		Watch	   *watch;
		Domain	   *domain;

		if (((Watch *) lfirst(lc))->is_row)
		{
			add_to_domain(lfirst(lc), domain_lookup(((Watch *) lfirst(lc))->domain));
			continue;
		}
		watch = copy_watch(lfirst(lc), &from, &last);
		FAULT_POINT("load_watches");
		watches = lappend(watches, watch);
		domain = domain_lookup(watch->domain);
		domain->watched = true;
		add_to_domain(watch, domain);
		take_bucket_layout(domain, watch);
		take_whole_counter(domain, watch);
		require_rules(domain, watch);
	}
	MemoryContextSwitchTo(old);
	read_listeners();
	watched_name_load();
	loaded_generation = reading;
	return reading;
}

/* Every Watch, one for each table or view and domain. */
List *
watch_all(void)
{
	return watches;
}

/* The numbers that watches of the domain have, int64 *: more than one at worst. */
List *
whole_counter_numbers(const Domain *domain)
{
	List	   *numbers = NIL;
	ListCell   *lc;

	(void) watch_load();
	foreach(lc, watch_all())
	{
		const Watch *watch = lfirst(lc);

		if (watch->options->whole_counter != 0 && !watch->inherited &&
			strcmp(watch->domain, domain->name) == 0)
			numbers = lappend(numbers, (void *) &watch->options->whole_counter);
	}
	return numbers;
}

/* trigger_arguments(tgargs bytea) returns text[] */
Datum
cache_notify_trigger_arguments(PG_FUNCTION_ARGS)
{
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	bytea	   *tgargs;
	char	   *p,
			   *end;

	if (toast_raw_datum_size(PG_GETARG_DATUM(0)) > MAX_ARGUMENTS_LEN)
		PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
	tgargs = PG_GETARG_BYTEA_PP(0);
	p = VARDATA_ANY(tgargs);
	end = p + VARSIZE_ANY_EXHDR(tgargs);
	while (p < end)
	{
		size_t		len = strnlen(p, end - p);

		state = accumArrayResult(state,
								 PointerGetDatum(cstring_to_text_with_len(p, len)),
								 false, TEXTOID, CurrentMemoryContext);
		p += len + 1;
	}
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}
