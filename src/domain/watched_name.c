/*-------------------------------------------------------------------------
 *
 * watched_name.c
 *	  By which names relations were set up to feed a domain.
 *
 * A trigger follows its table through every RENAME, and queries do not: after
 * a swap they read another table, which nobody watches, under the name that
 * the watched one had.  The same goes for a table that was dropped and created
 * anew, or that a restore has left without its triggers.  So the set-up notes
 * the name in watched_name, and a domain is not known (known.c) while one of
 * its names is that of a relation that does not feed it.  A name that no
 * relation has does no harm, as nobody can read it.
 *
 * The names are read with the watches.  Whether they are taken changes with
 * every CREATE and RENAME; the server sends an invalidation for the relation, or
 * for the schema, and they are looked up again when a domain is asked about.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_notify_note_name);
PG_FUNCTION_INFO_V1(cache_notify_forget_name);

/* Columns of _cache_notify.watched_name. */
#define Anum_name_domain	1
#define Anum_name_schema	2
#define Anum_name_relation	3
#define Anum_name_arguments	4
#define Natts_name			4

typedef struct WatchedName
{
	char		schema[NAMEDATALEN];
	char		relation[NAMEDATALEN];
	bool		followed;		/* what takes it over is to be watched */
} WatchedName;

/* Of the backend: has a name that was read last something that follows it? */
static bool any_followed = false;

/* Of the backend. */
static InvalidationCount relation_changes;
static InvalidationCount schema_changes;

void
watched_name_init(void)
{
	invalidation_count_relations(&relation_changes);
	invalidation_count_catalog(&schema_changes, NAMESPACEOID);
}

/* Moves whenever a name may have been taken over. */
uint64
watched_name_changes(void)
{
	return relation_changes.count + schema_changes.count;
}

static void
read_name(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char	   *domain_name = text_attribute(tuple, desc, Anum_name_domain);
	Domain	   *domain;
	WatchedName *name;
	MemoryContext old;

	if (strlen(domain_name) >= NAMEDATALEN)
		return;
	domain = domain_lookup(domain_name);
	old = MemoryContextSwitchTo(cascade_context());
	name = palloc(sizeof(WatchedName));
	strlcpy(name->schema,
			NameStr(*DatumGetName(heap_getattr(tuple, Anum_name_schema, desc,
											   &isnull))), NAMEDATALEN);
	strlcpy(name->relation,
			NameStr(*DatumGetName(heap_getattr(tuple, Anum_name_relation, desc,
											   &isnull))), NAMEDATALEN);
	(void) heap_getattr(tuple, Anum_name_arguments, desc, &isnull);
	name->followed = !isnull;
	any_followed |= name->followed;
	inside(domain)->names = lappend(inside(domain)->names, name);
	MemoryContextSwitchTo(old);
}

/*
 * The same of a view, from an entry of the configuration: a dump that leaves labels
 * out has these.
 */
static void
read_stored_view(const StoredEntry *entry)
{
	const char *domain_name = stored_value(entry, "domain");
	const char *schema = stored_value(entry, "schema");
	const char *relation = stored_value(entry, "name");
	Domain	   *domain;
	WatchedName *name;
	MemoryContext old;

	if (domain_name == NULL || strlen(domain_name) >= NAMEDATALEN ||
		schema == NULL || relation == NULL)
		return;
	domain = domain_lookup(domain_name);
	old = MemoryContextSwitchTo(cascade_context());
	name = palloc0(sizeof(WatchedName));
	strlcpy(name->schema, schema, NAMEDATALEN);
	strlcpy(name->relation, relation, NAMEDATALEN);
	inside(domain)->names = lappend(inside(domain)->names, name);
	MemoryContextSwitchTo(old);
}

static void
load_stored_views(void)
{
	ListCell   *lc;

	foreach(lc, stored_entries("watched_view"))
		read_stored_view(lfirst(lc));
}

/* Read all names into their domains.  Whoever writes one has all read again. */
void
watched_name_load(void)
{
	Relation	rel = extension_open(INTERNAL_SCHEMA, "watched_name",
									 AccessShareLock);
	SysScanDesc scan;
	HeapTuple	tuple;

	any_followed = false;
	load_stored_views();
	if (rel == NULL)
		return;
	scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		read_name(tuple, RelationGetDescr(rel));
	systable_endscan(scan);
	relation_close(rel, AccessShareLock);
}

static bool
is_taken_over(const Domain *domain, const WatchedName *name)
{
	Oid			schema = get_namespace_oid(name->schema, true);
	Oid			relation = OidIsValid(schema) ?
		get_relname_relid(name->relation, schema) : InvalidOid;

	return OidIsValid(relation) &&
		!list_member_oid(inside(domain)->watching, relation);
}

/* Has a relation that does not feed the domain the name of one that did? */
bool
watched_name_taken_over(const Domain *domain)
{
	ListCell   *lc;

	foreach(lc, inside(domain)->names)
	{
		if (is_taken_over(domain, lfirst(lc)))
			return true;
	}
	return false;
}

/* Set by look_for_followed(). */
static bool found_followed;

static void
look_for_followed(Domain *domain)
{
	ListCell   *lc;

	foreach(lc, inside(domain)->names)
	{
		const WatchedName *name = lfirst(lc);

		found_followed |= name->followed && is_taken_over(domain, name);
	}
}

/*
 * Has a relation taken over a name, and is to be watched because of that?  The
 * names are those of the last watch_load().
 */
bool
watched_name_followed(void)
{
	found_followed = false;
	if (any_followed)
		domains_visit(look_for_followed);
	return found_followed;
}

/* ------------------------------------------------------------ writing them */

static bool
is_row_of(HeapTuple tuple, TupleDesc desc, const char *domain,
		  const char *schema, const char *relation)
{
	bool		isnull;
	Datum		schema_name = heap_getattr(tuple, Anum_name_schema, desc,
										   &isnull);
	Datum		relation_name = heap_getattr(tuple, Anum_name_relation, desc,
											 &isnull);

	return strcmp(text_attribute(tuple, desc, Anum_name_domain), domain) == 0 &&
		namestrcmp(DatumGetName(schema_name), schema) == 0 &&
		namestrcmp(DatumGetName(relation_name), relation) == 0;
}

/* Delete the row of a name, if there is one. */
static bool
delete_name(Relation rel, const char *domain, const char *schema,
			const char *relation)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		found = false;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!is_row_of(tuple, RelationGetDescr(rel), domain, schema, relation))
			continue;
		CatalogTupleDelete(rel, &tuple->t_self);
		found = true;
	}
	systable_endscan(scan);
	return found;
}

static void
insert_name(Relation rel, const char *domain, const char *schema,
			const char *relation, Datum arguments, bool has_arguments)
{
	Datum		values[Natts_name];
	bool		nulls[Natts_name] = {false};
	NameData	schema_name,
				relation_name;
	HeapTuple	tuple;

	namestrcpy(&schema_name, schema);
	namestrcpy(&relation_name, relation);
	values[Anum_name_domain - 1] = CStringGetTextDatum(domain);
	values[Anum_name_schema - 1] = NameGetDatum(&schema_name);
	values[Anum_name_relation - 1] = NameGetDatum(&relation_name);
	values[Anum_name_arguments - 1] = arguments;
	nulls[Anum_name_arguments - 1] = !has_arguments;
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
}

/* Where the name of a relation goes, and the table to write it to, or NULL. */
static Relation
open_names(Oid relid, char **schema, char **relation)
{
	*relation = get_rel_name(relid);
	*schema = get_namespace_name(get_rel_namespace(relid));
	return *relation == NULL || *schema == NULL ? NULL :
		extension_open(INTERNAL_SCHEMA, "watched_name", RowExclusiveLock);
}

/*
 * note_name(relation regclass, domain text, arguments text[]) returns void
 *
 * Whoever could set the relation up may call this; for others it does nothing.
 */
Datum
cache_notify_note_name(PG_FUNCTION_ARGS)
{
	Oid			relid;
	char	   *domain,
			   *schema,
			   *relation;
	Relation	rel;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_VOID();
	relid = PG_GETARG_OID(0);
	domain = text_to_cstring(PG_GETARG_TEXT_PP(1));
	rel = pg_class_aclcheck(relid, GetUserId(), ACL_TRIGGER) == ACLCHECK_OK &&
		relation_feeds(relid, domain) ?
		open_names(relid, &schema, &relation) : NULL;
	if (rel == NULL)
		PG_RETURN_VOID();
	(void) delete_name(rel, domain, schema, relation);
	CommandCounterIncrement();
	insert_name(rel, domain, schema, relation,
				PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
				!PG_ARGISNULL(2));
	relation_close(rel, NoLock);
	announce_configuration();
	PG_RETURN_VOID();
}

/*
 * forget_name(relation regclass, domain text) returns boolean, strict: whether
 * there was a name to forget.  The relation feeds the domain no longer, and its
 * owner says that it need not.
 */
Datum
cache_notify_forget_name(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *domain = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *schema,
			   *relation;
	Relation	rel = relation_feeds(relid, domain) ? NULL :
		open_names(relid, &schema, &relation);
	bool		found;

	if (rel == NULL)
		PG_RETURN_BOOL(false);
	if (!compat_owns_relation(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of %s to forget what it fed",
						relation)));
	found = delete_name(rel, domain, schema, relation);
	relation_close(rel, NoLock);
	if (found)
		announce_configuration();
	PG_RETURN_BOOL(found);
}
