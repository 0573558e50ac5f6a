/*-------------------------------------------------------------------------
 *
 * cascade.c
 *	  The domains this backend knows, and the cascade rules between them.
 *
 * The rules are entries of the configuration (stored.c), and those into the
 * domain of a view are in the view's label.  Each backend keeps
 * them in memory, with the closure of each domain that it has asked for.  What
 * changes them sends a relcache invalidation of the table cascade_rules;
 * invalidation.c counts these.  Everything derived from the rules remembers the
 * count that it was made at (the
 * generation) and is made again when that has moved.  The count is read
 * before the rules, so an invalidation that arrives in between leaves a
 * result that is already out of date and will not be used twice.
 *
 * Rules apply to statements that begin after the rule was committed;
 * commit.c looks once more before it writes.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(cache_notify_cascade_closure);
PG_FUNCTION_INFO_V1(cache_notify_configuration_changed);
PG_FUNCTION_INFO_V1(cache_notify_rules_changed);

/* Of the views of an owner, so many can have the same source. */
#define MAX_CARRIED_RULES	32

typedef struct CarriedRules
{
	Oid			owner;
	const char *source;
	int			count;
} CarriedRules;

/* More domains than this are forgotten at the end of a transaction. */
#define MAX_CACHED_DOMAINS	4096

/*
 * Domain.mark, while a closure is computed: the number of the closure, whether
 * the domain is reached for all tenants, and how; the higher, the more.  Marks of
 * other numbers are none, so marks that an error left behind do no harm.
 */
#define REACH_NOTICE	1
#define REACH_SAME		2		/* bumped, of the same keys */
#define REACH_BUMP		3
#define REACH_MASK		3
#define REACH_SHARED	4		/* not within the tenant */
#define make_mark(reach)	(closure_number << 3 | (reach))
#define reach_of(domain) \
	(inside(domain)->mark >> 3 == closure_number ? (int) (inside(domain)->mark & 7) : 0)

/* Of the backend: never set back, so that marks of other closures are none. */
static uint64 closure_number = 0;

/*
 * Of the backend, made anew when rules_changes has moved, or forgotten at the end of
 * a transaction when there are too many; what a savepoint undoes comes with an
 * invalidation as well.
 */
static HTAB *domains = NULL;
static uint64 domains_forgotten = 0;	/* how often */
static MemoryContext rules_context = NULL;	/* rules, closures, routes */

static InvalidationCount rules_changes; /* of cascade_rules, once it was read */
static uint64 loaded_generation = 0;	/* of the rules in memory */

void
cascade_init(void)
{
	invalidation_count_relations(&rules_changes);
	common_rules_init();
}

/* Complain about a domain that cannot exist, or is none of a caller's business. */
void
check_domain_name(const char *name)
{
	OptionFault fault;

	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("domain must not be empty")));
	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("domain \"%s\" is too long", name),
				 errhint("A domain has at most %d bytes.", NAMEDATALEN - 1)));
	if (!is_definition_domain(name) && !domain_name_is_good(name, &fault))
		ereport(ERROR,
				(errcode(fault.sqlstate), errmsg_internal("%s", fault.message),
				 errhint("%s", fault.hint)));
}

/* Moves whenever something derived from the rules may be out of date. */
uint64
cascade_generation(void)
{
	return rules_changes.count;
}

static void
create_domains(void)
{
	HASHCTL		ctl = {
		.keysize = NAMEDATALEN,
		.entrysize = sizeof(DomainEntry),
		.hcxt = TopMemoryContext
	};

	domains = hash_create("cache_notify domains", 64, &ctl,
						  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	rules_context = AllocSetContextCreate(TopMemoryContext,
										  "cache_notify rules",
										  ALLOCSET_SMALL_SIZES);
}

/* The domain of this name if it is known, else NULL. */
Domain *
domain_find(const char *name)
{
	return domains == NULL || strlen(name) >= NAMEDATALEN ? NULL :
		hash_search(domains, name, HASH_FIND, NULL);
}

/* The domain of this name, which must be at most 63 bytes. */
Domain *
domain_lookup(const char *name)
{
	Domain	   *domain;
	bool		found;

	if (domains == NULL)
		create_domains();
	domain = hash_search(domains, name, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) domain + NAMEDATALEN, 0,
			   sizeof(DomainEntry) - NAMEDATALEN);
		domain->hash = hash_bytes((const unsigned char *) domain->name,
								  strlen(domain->name));
	}
	return domain;
}

/* What feeds a domain is about to be read anew. */
void
domain_forget_watches(Domain *domain)
{
	inside(domain)->watching = inside(domain)->names = NIL;
	inside(domain)->nrow_triggers = inside(domain)->nrow_wanted = 0;
	inside(domain)->incomplete = inside(domain)->has_listener = false;
	inside(domain)->found_known = false;
}

/* The newer of two transactions; those that are none or frozen are old. */
TransactionId
newer_xid(TransactionId a, TransactionId b)
{
	if (!TransactionIdIsNormal(a))
		return b;
	if (!TransactionIdIsNormal(b))
		return a;
	return TransactionIdFollows(a, b) ? a : b;
}

/* This transaction has set up something that feeds the domain. */
void
domain_set_up_by(Domain *domain, TransactionId xid)
{
	inside(domain)->since = newer_xid(inside(domain)->since, xid);
}

/* Call visit() for every domain that this backend knows. */
void
domains_visit(void (*visit) (Domain *domain))
{
	HASH_SEQ_STATUS status;
	Domain	   *domain;

	if (domains == NULL)
		return;
	hash_seq_init(&status, domains);
	while ((domain = hash_seq_search(&status)) != NULL)
		visit(domain);
}

static void
forget_rules_of(Domain *domain)
{
	inside(domain)->rules = inside(domain)->targets = inside(domain)->sources = NIL;
	domain->routes = NULL;
	domain->watched = false;
	inside(domain)->targets_generation = 0;
	domain->bucket_layout = domain->whole_no = 0;
	inside(domain)->wholes_differ = false;
	inside(domain)->whole_since = InvalidTransactionId;
	inside(domain)->naming = NULL;
	inside(domain)->since = InvalidTransactionId;
	domain_forget_watches(domain);
}

static void
forget_rules(void)
{
	domains_visit(forget_rules_of);
	MemoryContextReset(rules_context);
}

/* A rule, by which a transaction has come about. */
static void
add_rule(const char *source, const char *target, bool bump, bool same_key,
		 bool shared, TransactionId since)
{
	Domain	   *domain = domain_lookup(source);
	MemoryContext old = MemoryContextSwitchTo(rules_context);
	CascadeTarget *rule = palloc(sizeof(CascadeTarget));

	rule->domain = domain_lookup(target);
	rule->bump = bump;
	rule->same_key = same_key;
	rule->shared = shared;
	inside(domain)->rules = lappend(inside(domain)->rules, rule);
	if (rule->bump)
	{
		inside(rule->domain)->sources =
			lappend(inside(rule->domain)->sources, domain);
		domain_set_up_by(rule->domain, since);
	}
	MemoryContextSwitchTo(old);
}

static void
add_stored_rule(const StoredEntry *entry)
{
	const char *source = stored_value(entry, "source");
	const char *target = stored_value(entry, "target");
	const char *type = stored_value(entry, "rule_type");
	const char *keys = stored_value(entry, "keys");
	const char *tenants = stored_value(entry, "tenants");

	/* Somebody may have written it by hand. */
	if (source != NULL && strlen(source) < NAMEDATALEN &&
		target != NULL && strlen(target) < NAMEDATALEN)
		add_rule(source, target, type == NULL || strcmp(type, "notify") != 0,
				 keys != NULL && strcmp(keys, "same") == 0,
				 tenants != NULL && strcmp(tenants, "all") == 0, entry->xmin);
}

/* How many views of an owner have this domain among their sources, with this one? */
static int
count_carried(List **carried, Oid owner, const char *source)
{
	ListCell   *lc;
	CarriedRules *rules;

	foreach(lc, *carried)
	{
		rules = lfirst(lc);
		if (rules->owner == owner && strcmp(rules->source, source) == 0)
			return ++rules->count;
	}
	rules = palloc(sizeof(CarriedRules));
	rules->owner = owner;
	rules->source = source;
	rules->count = 1;
	*carried = lappend(*carried, rules);
	return 1;
}

/*
 * A view carries rules into its domain: its sources.  Its owner need not own these,
 * so there is a limit to what he can make others' changes cost.
 */
static void
add_carried_rules(const Watch *watch, List **carried)
{
	Oid			owner = owner_of_relation(watch->relation);
	ListCell   *lc;

	if (watch->domain == NULL)
		return;
	foreach(lc, watch->options->sources)
	{
		const char *source = lfirst(lc);

		if (strlen(source) >= NAMEDATALEN || strcmp(source, watch->domain) == 0)
			continue;
		if (is_definition_domain(source) || superuser_arg(owner) ||
			count_carried(carried, owner, source) <= MAX_CARRIED_RULES)
			add_rule(source, watch->domain, true, false,
					 watch->options->all_tenants, watch->xmin);
	}
}

/*
 * Read the rules.  One that is changed and committed while we read may be missed
 * or seen twice; its invalidation makes us read again.
 */
static void
load_rules(void)
{
	CommonRules rules;
	uint64		begun;
	uint64		reading;
	List	   *carried = NIL;
	ListCell   *lc;

	if (domains == NULL)
		create_domains();
	AcceptInvalidationMessages();
	begun = common_rules_look(&rules);
	rules_changes.relid = rules.table;
	reading = rules_changes.count;
	forget_rules();
	if (rules.any_stored)
		foreach(lc, stored_entries("cascade_rule"))
			add_stored_rule(lfirst(lc));
	if (rules.any_labels)
	{
		List	   *labelled = watches_by_label();

		foreach(lc, labelled)
			add_carried_rules(lfirst(lc), &carried);
		rules.any_labels = labelled != NIL;
	}
	common_rules_leave(&rules, begun);
	loaded_generation = reading;
}

/* How a rule's target is reached, from how its source is. */
static int
reach_by_rule(const CascadeTarget *rule, int source)
{
	int			shared = rule->shared ? REACH_SHARED : source & REACH_SHARED;

	if (!rule->bump)
		return shared | REACH_NOTICE;
	if (!rule->same_key || shared)
		return shared | REACH_BUMP;
	return source;
}

/* Reached in both ways. */
static int
join_reach(int a, int b)
{
	int			how = Max(a & REACH_MASK, b & REACH_MASK);
	int			shared = (a | b) & REACH_SHARED;

	return shared | (shared && how == REACH_SAME ? REACH_BUMP : how);
}

/*
 * Go on from a domain that is bumped; append what is reached now.  A domain
 * that is reached in more than one way is reached in the way that covers them all.
 */
static void
follow_rules(Domain *domain, List **reached, List **queue)
{
	ListCell   *lc;

	foreach(lc, inside(domain)->rules)
	{
		CascadeTarget *rule = lfirst(lc);
		Domain	   *target = rule->domain;
		int			before = reach_of(target);
		int			now = join_reach(before,
									 reach_by_rule(rule, reach_of(domain)));

		if (now == before)
			continue;
		if (before == 0)
			*reached = lappend(*reached, target);
		if ((before & REACH_MASK) < REACH_SAME)
			inside(target)->reached_from = domain;
		inside(target)->mark = make_mark(now);
		if ((now & REACH_MASK) > REACH_NOTICE)
			*queue = lappend(*queue, target);
	}
}

/*
 * Follow the rules breadth first, so that reached_from leads back on a
 * shortest path.  Returns the domains reached, in that order, with their
 * marks set until the next call.  The source itself, which is not among them,
 * has REACH_BUMP if its change reaches all its keys, and REACH_SHARED if it comes
 * back to it for all tenants.
 */
static List *
reach(Domain *source)
{
	List	   *reached = NIL;
	List	   *queue = list_make1(source);

	closure_number++;
	inside(source)->mark = make_mark(REACH_SAME);
	inside(source)->reached_from = NULL;
	while (queue != NIL)
	{
		Domain	   *domain = linitial(queue);

		queue = list_delete_first(queue);
		follow_rules(domain, &reached, &queue);
		FAULT_POINT("closure");
	}
	return reached;
}

static List *
compute_targets(Domain *source)
{
	List	   *reached = reach(source);
	List	   *targets = NIL;
	MemoryContext old;
	ListCell   *lc;

	if (reach_of(source) & REACH_SHARED)
		reached = lappend(reached, source);
	source->reaches_itself = (reach_of(source) & REACH_MASK) == REACH_BUMP;
	source->carries_keys = false;
	old = MemoryContextSwitchTo(rules_context);
	foreach(lc, reached)
	{
		CascadeTarget *target = palloc(sizeof(CascadeTarget));
		int			how;

		target->domain = lfirst(lc);
		how = reach_of(target->domain);
		target->bump = (how & REACH_MASK) >= REACH_SAME;
		target->same_key = how == REACH_SAME;
		target->shared = (how & REACH_SHARED) != 0;
		source->carries_keys |= target->same_key;
		targets = lappend(targets, target);
	}
	MemoryContextSwitchTo(old);
	list_free(reached);
	return targets;
}

/*
 * Bring the rules in memory up to date, and say which generation they are of.
 * May read the catalogs.
 */
uint64
cascade_load(void)
{
	if (loaded_generation != rules_changes.count)
		load_rules();
	return loaded_generation;
}

/*
 * What a change of the domain reaches: CascadeTargets; the domain itself only if a
 * tenant's change comes back to it for all tenants.  The list is valid until the next call of a function that can
 * read the catalogs.
 */
List *
cascade_targets(Domain *domain)
{
	(void) cascade_load();
	if (inside(domain)->targets_generation != loaded_generation)
	{
		inside(domain)->targets = compute_targets(domain);
		inside(domain)->targets_generation = loaded_generation;
	}
	return inside(domain)->targets;
}

/* Memory that is kept as long as the rules are. */
MemoryContext
cascade_context(void)
{
	return rules_context;
}

/* No Domain is referred to any more: forget them if there are too many. */
void
cascade_end_transaction(void)
{
	if (domains == NULL || hash_get_num_entries(domains) <= MAX_CACHED_DOMAINS)
		return;
	hash_destroy(domains);
	MemoryContextDelete(rules_context);
	domains = NULL;
	rules_context = NULL;
	rules_changes.count++;		/* what was made from them is gone as well */
	domains_forgotten++;
}

/* Moves whenever the Domains of earlier transactions are gone. */
uint64
cascade_domains_forgotten(void)
{
	return domains_forgotten;
}

/* The path to a domain that reach() has reached, as text[]; sets its length. */
static Datum
path_to(Domain *domain, int *length)
{
	List	   *names = NIL;
	ArrayBuildState *path = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	ListCell   *lc;

	for (Domain *d = domain; d != NULL; d = inside(d)->reached_from)
		names = lcons(d->name, names);
	foreach(lc, names)
		path = accumArrayResult(path, CStringGetTextDatum(lfirst(lc)), false,
								TEXTOID, CurrentMemoryContext);
	*length = list_length(names) - 1;
	return makeArrayResult(path, CurrentMemoryContext);
}

/*
 * cascade_closure(domain text) returns setof (target_domain, rule_type, depth,
 * path): what change_set.c follows, made visible.
 */
Datum
cache_notify_cascade_closure(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Domain	   *source;
	List	   *reached;
	ListCell   *lc;

	compat_materialize_result(fcinfo);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	check_domain_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	source = domain_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	(void) cascade_load();
	reached = reach(source);
	foreach(lc, reached)
	{
		Domain	   *domain = lfirst(lc);
		bool		nulls[4] = {false};
		Datum		values[4];
		int			depth;

		values[0] = CStringGetTextDatum(domain->name);
		values[1] = CStringGetTextDatum((reach_of(domain) & REACH_MASK) >= REACH_SAME ?
										"invalidate" : "notify");
		values[3] = path_to(domain, &depth);
		values[2] = Int32GetDatum(depth);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* configuration_changed() returns void: after (un)watching a table */
Datum
cache_notify_configuration_changed(PG_FUNCTION_ARGS)
{
	announce_configuration();
	PG_RETURN_VOID();
}

/* Trigger on cascade_rules. */
Datum
cache_notify_rules_changed(PG_FUNCTION_ARGS)
{
	announce_configuration();
	return PointerGetDatum(NULL);
}
