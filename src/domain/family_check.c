/*-------------------------------------------------------------------------
 *
 * family_check.c
 *	  Which members of a family need a closer look.
 *
 * A query that reads a partitioned table depends on all its partitions, so
 * domains_of() must know whether changes of each are seen.  What may be wrong with
 * a table is written down in one place, the view watched_relation, which takes far
 * too long for thousands.  Nearly all partitions have exactly what their root has;
 * these are told here by comparing, and the view looks at the others only.
 *
 * That a family has no others is remembered until something about one of its
 * members changes.
 *
 * Locking: AccessShareLock on the catalogs that are read, kept no longer than the
 * reading.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_notify_odd_members);

#define INHERITED	"inherited=true"

/* More families than this are not remembered at the same time. */
#define MAX_FAMILIES	64

/* Looking up so many takes as long as reading a page of pg_trigger. */
#define LOOKUPS_PER_PAGE	4

/* What the triggers of a member say. */
#define FOUND_STATEMENT	0x01	/* it has the same statement trigger */
#define FOUND_ROW		0x02	/* and the same row trigger */
#define FOUND_FOREIGN	0x04	/* and some that is not ours */
#define FOUND_OWN		0x08	/* and some of ours that the root has not */

/* Only families of so many members are worth remembering. */
#define MIN_FAMILY		16

/* A family whose members are all as its root is. */
typedef struct EvenFamily
{
	Oid			root;			/* InvalidOid: not used */
	int			nmembers;
	Oid		   *members;		/* in order; in TopMemoryContext */
	uint64		subscriptions;	/* when it was looked at */
	char		domain[NAMEDATALEN];
} EvenFamily;

/* Of the backend; one that an invalidation concerns is marked as not used. */
static EvenFamily families[MAX_FAMILIES];
static int	next_family = 0;
static uint64 invalidations = 0;

/* Of the process: see has_same_triggers(). */
static bool preloaded = false;

/* Counts what may have changed pg_subscription_rel. */
static InvalidationCount subscription_changes;

/* What a member must have. */
typedef struct Root
{
	Form_pg_class class;
	StringInfoData statement_arguments;
	StringInfoData row_arguments;
	List	   *other_arguments;	/* StringInfo: for other domains */
	char		statement_enabled;
	char		row_enabled;
	bool		has_row_trigger;
	Oid			statement_function;
	Oid			row_function;
	Relation	pg_trigger;
	Relation	subscriptions;	/* NULL: there is none */
} Root;

static int
compare_oids(const void *a, const void *b)
{
	Oid			x = *(const Oid *) a;
	Oid			y = *(const Oid *) b;

	return x < y ? -1 : x > y;
}

static void
relation_invalidated(Datum arg, Oid relid)
{
	invalidations++;
	for (int i = 0; i < MAX_FAMILIES; i++)
		if (OidIsValid(families[i].root) &&
			(!OidIsValid(relid) ||
			 bsearch(&relid, families[i].members, families[i].nmembers,
					 sizeof(Oid), compare_oids) != NULL))
			families[i].root = InvalidOid;
}

static bool
is_known_even(Oid root, const char *domain)
{
	for (int i = 0; i < MAX_FAMILIES; i++)
		if (families[i].root == root && strcmp(families[i].domain, domain) == 0 &&
			families[i].subscriptions == subscription_changes.count)
			return true;
	return false;
}

static void
remember_even(Oid root, const char *domain, const Oid *members, int nmembers,
			  uint64 subscriptions)
{
	EvenFamily *family = &families[next_family];

	if (nmembers < MIN_FAMILY)
		return;
	family->root = InvalidOid;
	if (family->members != NULL)
		pfree(family->members);
	family->members = NULL;
	family->members = MemoryContextAllocHuge(TopMemoryContext, nmembers * sizeof(Oid));
	memcpy(family->members, members, nmembers * sizeof(Oid));
	family->nmembers = nmembers;
	strlcpy(family->domain, domain, NAMEDATALEN);
	family->subscriptions = subscriptions;
	family->root = root;
	next_family = (next_family + 1) % MAX_FAMILIES;
}

/* Arguments as in pg_trigger, with or without what says that they are inherited. */
static void
join_arguments(StringInfo buf, const Watch *watch, bool inherited)
{
	initStringInfo(buf);
	for (int i = 0; i < watch->nargs; i++)
		if (!inherited || (strcmp(watch->args[i], INHERITED) != 0 &&
						   !is_rule_note(watch->args[i])))
			appendBinaryStringInfo(buf, watch->args[i], strlen(watch->args[i]) + 1);
	if (inherited)
		appendBinaryStringInfo(buf, INHERITED, sizeof(INHERITED));
}

/* False if the root is not watched as it should be itself. */
static bool
read_root(Root *root, Oid relid, const char *domain)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		Watch	   *watch = lfirst(lc);

		if (!OidIsValid(watch->trigger))
			continue;
		if (strcmp(watch->domain, domain) != 0)
		{
			StringInfo	arguments = palloc(sizeof(StringInfoData));

			join_arguments(arguments, watch, !watch->is_row);
			root->other_arguments = lappend(root->other_arguments, arguments);
		}
		else if (watch->is_row)
		{
			root->has_row_trigger = true;
			root->row_enabled = watch->enabled;
			join_arguments(&root->row_arguments, watch, false);
		}
		else
		{
			found = true;
			root->statement_enabled = watch->enabled;
			join_arguments(&root->statement_arguments, watch, true);
		}
	}
	root->row_function = extension_function(EXTENSION_SCHEMA, "row_change");
	root->statement_function = extension_function(EXTENSION_SCHEMA, "statement_change");
	return found;
}

static bool
has_arguments(const Root *root, HeapTuple tuple, const StringInfoData *expected)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, Anum_pg_trigger_tgargs,
									 RelationGetDescr(root->pg_trigger), &isnull);
	bytea	   *arguments = DatumGetByteaPP(value);

	return VARSIZE_ANY_EXHDR(arguments) == expected->len &&
		memcmp(VARDATA_ANY(arguments), expected->data, expected->len) == 0;
}

static bool
is_for_other_domain(const Root *root, HeapTuple tuple)
{
	ListCell   *lc;

	foreach(lc, root->other_arguments)
	{
		if (has_arguments(root, tuple, lfirst(lc)))
			return true;
	}
	return false;
}

/* Note what one trigger of a member says about it. */
static void
look_at_trigger(const Root *root, HeapTuple tuple, uint8 *found)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
	bool		is_row = form->tgfoid == root->row_function;

	if (!is_row && form->tgfoid != root->statement_function)
		*found |= FOUND_FOREIGN;
	else if (!is_row && form->tgenabled == root->statement_enabled &&
			 has_arguments(root, tuple, &root->statement_arguments))
		*found |= FOUND_STATEMENT;
	else if (is_row && root->has_row_trigger &&
			 form->tgenabled == root->row_enabled &&
			 has_arguments(root, tuple, &root->row_arguments))
		*found |= FOUND_ROW;
	else if (!is_for_other_domain(root, tuple))
		*found |= FOUND_OWN;
}

static void
look_at_triggers_of(Root *root, Oid relid, uint8 *found)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(root->pg_trigger, TriggerRelidNameIndexId, true, NULL,
							  1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		look_at_trigger(root, tuple, found);
	systable_endscan(scan);
}

/*
 * The same for all members, which are in order.  If they are many, to read
 * pg_trigger as a whole takes less time.
 */
static void
look_at_all_triggers(Root *root, const Oid *members, int nmembers, uint8 *found)
{
	SysScanDesc scan;
	HeapTuple	tuple;

	if (nmembers <= (int64) RelationGetNumberOfBlocks(root->pg_trigger) * LOOKUPS_PER_PAGE)
	{
		for (int i = 0; i < nmembers; i++)
			look_at_triggers_of(root, members[i], &found[i]);
		return;
	}
	scan = systable_beginscan(root->pg_trigger, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		const Oid  *member = bsearch(&((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid,
									 members, nmembers, sizeof(Oid), compare_oids);

		if (member != NULL)
			look_at_trigger(root, tuple, &found[member - members]);
	}
	systable_endscan(scan);
}

static bool
is_subscribed(Root *root, Oid relid)
{
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (RelationGetNumberOfBlocks(root->subscriptions) == 0)
		return false;
	ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(root->subscriptions,
							  SubscriptionRelSrrelidSrsubidIndexId, true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	return found;
}

/*
 * Is a member, with these triggers, as its root is, so that what holds for that holds
 * for it?  Without the library preloaded, triggers of other extensions matter.
 */
static bool
is_even(Root *root, Oid relid, uint8 found)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class class;
	bool		even;

	if (!HeapTupleIsValid(tuple))
		return true;			/* dropped meanwhile */
	class = (Form_pg_class) GETSTRUCT(tuple);
	even = class->relispartition &&
		(class->relkind == RELKIND_RELATION ||
		 class->relkind == RELKIND_PARTITIONED_TABLE) &&
		class->relowner == root->class->relowner &&
		class->relnamespace == root->class->relnamespace &&
		class->relpersistence == root->class->relpersistence;
	ReleaseSysCache(tuple);
	return even && (found & FOUND_STATEMENT) && !(found & FOUND_OWN) &&
		((found & FOUND_ROW) || !root->has_row_trigger) &&
		(preloaded || !(found & FOUND_FOREIGN)) && !is_subscribed(root, relid);
}

/* Those of the members, which are in order, that are not as their root is. */
static List *
odd_members(Oid relid, const char *domain, const Oid *members, int nmembers)
{
	Root		root = {0};
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	bool		watched = HeapTupleIsValid(tuple) && read_root(&root, relid, domain);
	uint8	   *found = palloc0(Max(nmembers, 1));
	List	   *odd = NIL;

	root.class = watched ? (Form_pg_class) GETSTRUCT(tuple) : NULL;
	root.pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	root.subscriptions = table_open(SubscriptionRelRelationId, AccessShareLock);
	if (watched)
		look_at_all_triggers(&root, members, nmembers, found);
	for (int i = 0; i < nmembers; i++)
		if (members[i] != relid &&
			!(watched && is_even(&root, members[i], found[i])))
			odd = lappend_oid(odd, members[i]);
	table_close(root.subscriptions, AccessShareLock);
	table_close(root.pg_trigger, AccessShareLock);
	return odd;
}

static Oid *
members_in_order(Oid relid, int *nmembers)
{
	List	   *list = find_all_inheritors(relid, NoLock, NULL);
	Oid		   *members = MemoryContextAllocHuge(CurrentMemoryContext,
												 list_length(list) * sizeof(Oid));
	ListCell   *lc;

	*nmembers = 0;
	foreach(lc, list)
		members[(*nmembers)++] = lfirst_oid(lc);
	qsort(members, *nmembers, sizeof(Oid), compare_oids);
	return members;
}

/* odd_members(relation oid, domain text) returns oid[] */
Datum
cache_notify_odd_members(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *domain = text_to_cstring(PG_GETARG_TEXT_PP(1));
	uint64		invalidations_before = invalidations;
	uint64		subscriptions = subscription_changes.count;
	List	   *odd = NIL;

	if (!is_known_even(relid, domain))
	{
		int			nmembers;
		Oid		   *members = members_in_order(relid, &nmembers);

		odd = odd_members(relid, domain, members, nmembers);
		if (odd == NIL && invalidations == invalidations_before)
			remember_even(relid, domain, members, nmembers, subscriptions);
	}
	PG_RETURN_DATUM(oid_array(odd));
}

void
family_check_init(void)
{
	preloaded = process_shared_preload_libraries_in_progress;
	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
	invalidation_count_catalog(&subscription_changes, SUBSCRIPTIONRELMAP);
}
