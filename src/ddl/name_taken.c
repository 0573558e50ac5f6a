/*-------------------------------------------------------------------------
 *
 * name_taken.c
 *	  Whom it concerns that something new has a name.
 *
 * A query finds tables, functions, types and operators by their names.  One of the
 * same name may be found instead of that which it has found so far: in another
 * schema of the search path, or, of functions and operators, one with better
 * matching arguments.  Views and bodies that are kept parsed have looked already;
 * but queries, and functions whose bodies are texts, look each time.
 *
 * Which schemas are in whose search path nobody knows, so all of the same name are
 * taken to have lost it, but for those in schemas that are said to be in no search
 * path together: cache_notify.separate_schemas, for a schema per tenant.  What is
 * temporary is its session's, which domains_of() says; the server's own functions
 * are not covered, as queries that use them depend on no definition.
 *
 * Locks: AccessShareLock on the catalogs that are read.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"
#include "ddl/ddl.h"

/* A catalog of what is found by a name. */
typedef struct NamedClass
{
	Oid			class;
	int			by_oid;			/* system caches */
	int			by_name;
	AttrNumber	schema;
} NamedClass;

static const NamedClass named_classes[] = {
	{RelationRelationId, RELOID, RELNAMENSP, Anum_pg_class_relnamespace},
	{TypeRelationId, TYPEOID, TYPENAMENSP, Anum_pg_type_typnamespace},
	{ProcedureRelationId, PROCOID, PROCNAMEARGSNSP, Anum_pg_proc_pronamespace},
	{OperatorRelationId, OPEROID, OPERNAMENSP, Anum_pg_operator_oprnamespace},
	{CollationRelationId, COLLOID, COLLNAMEENCNSP, Anum_pg_collation_collnamespace},
};

/* The setting cache_notify.separate_schemas. */
static char *separate_schemas;

/* Patterns for LIKE, not names: their case stays. */
static bool
check_separate_schemas(char **newval, void **extra, GucSource source)
{
	List	   *patterns;

	if (SplitGUCList(pstrdup(*newval), ',', &patterns))
		return true;
	GUC_check_errdetail("It is a list of patterns as of LIKE.");
	return false;
}

void
name_taken_init(void)
{
	DefineCustomStringVariable("cache_notify.separate_schemas",
							   "Patterns, as of LIKE: of the schemas that one of them matches, no search_path has two.",
							   "A new object in one of them takes the name of none in another, as with a schema per tenant.",
							   &separate_schemas,
							   "",
							   PGC_SUSET, GUC_LIST_INPUT,
							   check_separate_schemas, NULL, NULL);
}

static bool
is_like(const char *name, const char *pattern)
{
	return DatumGetBool(DirectFunctionCall2Coll(textlike, C_COLLATION_OID,
												CStringGetTextDatum(name),
												CStringGetTextDatum(pattern)));
}

/* The patterns that a schema matches. */
static List *
patterns_of_schema(Oid schema)
{
	char	   *name = get_namespace_name(schema);
	List	   *patterns;
	List	   *matching = NIL;
	ListCell   *lc;

	if (name == NULL || separate_schemas[0] == '\0' ||
		!SplitGUCList(pstrdup(separate_schemas), ',', &patterns))
		return NIL;
	foreach(lc, patterns)
		if (is_like(name, lfirst(lc)))
			matching = lappend(matching, lfirst(lc));
	return matching;
}

/* Is a schema in no search path together with one of these patterns? */
static bool
is_apart(Oid schema, List *patterns)
{
	char	   *name = patterns != NIL ? get_namespace_name(schema) : NULL;
	ListCell   *lc;

	if (name == NULL)
		return false;
	foreach(lc, patterns)
		if (is_like(name, lfirst(lc)))
			return true;
	return false;
}

static const NamedClass *
named_class(Oid class)
{
	for (int i = 0; i < lengthof(named_classes); i++)
		if (named_classes[i].class == class)
			return &named_classes[i];
	return NULL;
}

static Oid
schema_in_row(int cache, const NamedClass *named, HeapTuple tuple)
{
	bool		isnull;

	return DatumGetObjectId(SysCacheGetAttr(cache, tuple, named->schema, &isnull));
}

static Oid
schema_of(const NamedClass *named, Oid objid)
{
	HeapTuple	tuple = SearchSysCache1(named->by_oid, ObjectIdGetDatum(objid));
	Oid			schema = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		schema = schema_in_row(named->by_oid, named, tuple);
		ReleaseSysCache(tuple);
	}
	return schema;
}

/* Those of this name but for one, as the system cache has them. */
static void
visit_others(SchemaEvent *event, const NamedClass *named, const char *name,
			 Oid objid, Oid schema)
{
	List	   *patterns = patterns_of_schema(schema);
	CatCList   *list = SearchSysCacheList1(named->by_name, CStringGetDatum(name));
	bool		found = false;

	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;
		Oid			theirs = schema_in_row(named->by_name, named, tuple);

		/* Each of these catalogs begins with the OID. */
		Oid			other = *(Oid *) GETSTRUCT(tuple);

		if (other == objid || other < FirstNormalObjectId ||
			(theirs != schema && is_apart(theirs, patterns)))
			continue;
		found = true;
		add_domain(event, definition_domain(other));
		if (named->class == RelationRelationId)
			relation_changed(event, other);
	}
	ReleaseSysCacheList(list);
	if (found)
		definition_of_name_changed(event, name);
}

/* An object has a name that it did not have before, or in another schema. */
void
name_taken(SchemaEvent *event, Oid class, Oid objid)
{
	const NamedClass *named = named_class(class);
	const char *name = definition_name(class, objid);
	Oid			schema;

	if (named == NULL || name == NULL)
		return;
	schema = schema_of(named, objid);
	if (OidIsValid(schema) && isAnyTempNamespace(schema))
		return;
	visit_others(event, named, name, objid, schema);
	if (class == RelationRelationId)
		visit_others(event, named_class(TypeRelationId), name,
					 get_rel_type_id(objid), schema);
}

/* The same for what a command has created, unless it has replaced it. */
void
object_created(SchemaEvent *event, ObjectAddress address)
{
	if (!catalog_object_was_there(address.classId, address.objectId))
		name_taken(event, address.classId, address.objectId);
}

/* Everything in the schema has another name. */
void
schema_renamed(SchemaEvent *event, Oid schema)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind == RELKIND_VIEW)
			view_changed(event, form->oid);
		else
			relation_changed(event, form->oid);
		if (form->relkind != RELKIND_INDEX && form->relkind != RELKIND_SEQUENCE)
			name_taken(event, RelationRelationId, form->oid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	rel = table_open(ProcedureRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_proc_pronamespace, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			function = ((Form_pg_proc) GETSTRUCT(tuple))->oid;

		definition_changed(event, ProcedureRelationId, function);
		name_taken(event, ProcedureRelationId, function);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}
