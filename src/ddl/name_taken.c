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
 * taken to have lost it.  What is temporary is its session's, which domains_of()
 * says; the server's own functions are not covered, as queries that use them
 * depend on no definition.
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
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ddl/catalog_change.h"
#include "ddl/command_effect.h"

/* Of this class and name, as the system cache has them. */
static void
visit_others(SchemaEvent *event, int cache, const char *name, Oid objid)
{
	CatCList   *list = SearchSysCacheList1(cache, CStringGetDatum(name));
	bool		found = false;

	for (int i = 0; i < list->n_members; i++)
	{
		/* Each of these catalogs begins with the OID. */
		Oid			other = *(Oid *) GETSTRUCT(&list->members[i]->tuple);

		if (other == objid || other < FirstNormalObjectId)
			continue;
		found = true;
		add_domain(event, definition_domain(other));
		if (cache == RELNAMENSP)
			relation_changed(event, other);
	}
	ReleaseSysCacheList(list);
	if (found)
		definition_of_name_changed(event, name);
}

static Oid
schema_of(Oid class, Oid objid)
{
	if (class == RelationRelationId)
		return get_rel_namespace(objid);
	if (class == ProcedureRelationId)
		return get_func_namespace(objid);
	return InvalidOid;
}

/* An object has a name that it did not have before, or in another schema. */
void
name_taken(SchemaEvent *event, Oid class, Oid objid)
{
	const char *name = definition_name(class, objid);
	Oid			schema = schema_of(class, objid);

	if (name == NULL || (OidIsValid(schema) && isAnyTempNamespace(schema)))
		return;
	switch (class)
	{
		case RelationRelationId:
			visit_others(event, RELNAMENSP, name, objid);
			visit_others(event, TYPENAMENSP, name, get_rel_type_id(objid));
			break;
		case ProcedureRelationId:
			visit_others(event, PROCNAMEARGSNSP, name, objid);
			break;
		case CollationRelationId:
			visit_others(event, COLLNAMEENCNSP, name, objid);
			break;
		case OperatorRelationId:
			visit_others(event, OPERNAMENSP, name, objid);
			break;
		case TypeRelationId:
			visit_others(event, TYPENAMENSP, name, objid);
			break;
	}
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
