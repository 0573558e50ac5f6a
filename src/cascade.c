/*-------------------------------------------------------------------------
 *
 * cascade.c
 *	  The domains this backend knows, and the cascade rules between them.
 *
 * The rules live in cache_notify.cascade_rules.  Each backend keeps them in
 * memory, with the closure of each domain that it has asked for.  A trigger
 * on the table sends a relcache invalidation for it whenever rules change;
 * the callback here only counts, as it can run at any moment.  Everything
 * derived from the rules remembers the count that it was made at (the
 * generation) and is made again when that has moved.  The count is read
 * before the rules, so an invalidation that arrives in between leaves a
 * result that is already out of date and will not be used twice.
 *
 * Rules apply to statements that begin after the rule was committed;
 * commit.c looks once more before it writes.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Columns of cache_notify.cascade_rules. */
#define Anum_source_domain	1
#define Anum_target_domain	2
#define Anum_rule_type		3

/* More domains than this are forgotten at the end of a transaction. */
#define MAX_CACHED_DOMAINS	4096

/* Domain.mark, while a closure is computed */
#define MARK_NONE	0
#define MARK_NOTICE	1
#define MARK_BUMP	2

static HTAB *domains = NULL;
static uint64 domains_forgotten = 0;	/* how often */
static MemoryContext rules_context = NULL;	/* rules, closures, routes */

static uint64 generation = 1;	/* counts invalidations */
static uint64 loaded_generation = 0;	/* of the rules in memory */
static Oid	rules_oid = InvalidOid; /* what to watch invalidations of */

static void
relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || rules_oid == InvalidOid || relid == rules_oid)
		generation++;
}

void
cascade_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* Moves whenever something derived from the rules may be out of date. */
uint64
cascade_generation(void)
{
	return generation;
}

static void
create_domains(void)
{
	HASHCTL		ctl = {
		.keysize = NAMEDATALEN,
		.entrysize = sizeof(Domain),
		.hcxt = TopMemoryContext
	};

	domains = hash_create("cache_notify domains", 64, &ctl,
						  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	rules_context = AllocSetContextCreate(TopMemoryContext,
										  "cache_notify rules",
										  ALLOCSET_SMALL_SIZES);
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
			   sizeof(Domain) - NAMEDATALEN);
		domain->hash = hash_bytes((const unsigned char *) domain->name,
								  strlen(domain->name));
	}
	return domain;
}

static void
forget_rules(void)
{
	HASH_SEQ_STATUS status;
	Domain	   *domain;

	hash_seq_init(&status, domains);
	while ((domain = hash_seq_search(&status)) != NULL)
	{
		domain->rules = domain->targets = domain->routes = NIL;
		domain->targets_generation = 0;
	}
	MemoryContextReset(rules_context);
}

static void
add_rule(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char	   *source,
			   *target,
			   *type;
	CascadeTarget *rule;
	Domain	   *domain;
	MemoryContext old;

	source = TextDatumGetCString(heap_getattr(tuple, Anum_source_domain, desc, &isnull));
	target = TextDatumGetCString(heap_getattr(tuple, Anum_target_domain, desc, &isnull));
	type = TextDatumGetCString(heap_getattr(tuple, Anum_rule_type, desc, &isnull));

	domain = domain_lookup(source);
	old = MemoryContextSwitchTo(rules_context);
	rule = palloc(sizeof(CascadeTarget));
	rule->domain = domain_lookup(target);
	rule->bump = strcmp(type, "notify") != 0;
	domain->rules = lappend(domain->rules, rule);
	MemoryContextSwitchTo(old);
}

/*
 * Read the rules, as committed now and as changed by this transaction,
 * whatever its isolation level.  Without the extension there are none.
 */
static void
load_rules(void)
{
	Relation	rel;
	SysScanDesc scan;
	Snapshot	snapshot;
	HeapTuple	tuple;
	uint64		reading;

	if (domains == NULL)
		create_domains();
	rules_oid = extension_relation("cascade_rules");
	rel = OidIsValid(rules_oid) ?
		try_relation_open(rules_oid, AccessShareLock) : NULL;
	reading = generation;		/* after the lock has taken invalidations in */
	forget_rules();

	if (rel != NULL)
	{
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
			add_rule(tuple, RelationGetDescr(rel));
		systable_endscan(scan);
		UnregisterSnapshot(snapshot);
		relation_close(rel, AccessShareLock);
	}
	loaded_generation = reading;
}

/* Follow the rules breadth first; return the targets in that order. */
static List *
compute_targets(Domain *source)
{
	List	   *reached = NIL;
	List	   *queue = list_make1(source);
	List	   *targets = NIL;
	ListCell   *lc;

	source->mark = MARK_BUMP;
	while (queue != NIL)
	{
		Domain	   *domain = linitial(queue);

		queue = list_delete_first(queue);
		foreach(lc, domain->rules)
		{
			CascadeTarget *rule = lfirst(lc);

			if (rule->domain->mark == MARK_NONE)
				reached = lappend(reached, rule->domain);
			if (rule->bump && rule->domain->mark != MARK_BUMP)
			{
				rule->domain->mark = MARK_BUMP;
				queue = lappend(queue, rule->domain);
			}
			else if (rule->domain->mark == MARK_NONE)
				rule->domain->mark = MARK_NOTICE;
		}
	}

	foreach(lc, reached)
	{
		Domain	   *domain = lfirst(lc);
		CascadeTarget *target = MemoryContextAlloc(rules_context,
												   sizeof(CascadeTarget));
		MemoryContext old = MemoryContextSwitchTo(rules_context);

		target->domain = domain;
		target->bump = domain->mark == MARK_BUMP;
		targets = lappend(targets, target);
		MemoryContextSwitchTo(old);
		domain->mark = MARK_NONE;
	}
	source->mark = MARK_NONE;
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
	if (loaded_generation != generation)
		load_rules();
	return loaded_generation;
}

/*
 * What a change of the domain reaches: CascadeTargets, never the domain
 * itself.  The list is valid until the next call of a function that can
 * read the catalogs.
 */
List *
cascade_targets(Domain *domain)
{
	(void) cascade_load();
	if (domain->targets_generation != loaded_generation)
	{
		domain->targets = compute_targets(domain);
		domain->targets_generation = loaded_generation;
	}
	return domain->targets;
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
	loaded_generation = 0;
	domains_forgotten++;
}

/* Moves whenever the Domains of earlier transactions are gone. */
uint64
cascade_domains_forgotten(void)
{
	return domains_forgotten;
}
