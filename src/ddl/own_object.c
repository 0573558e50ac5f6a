/*-------------------------------------------------------------------------
 *
 * own_object.c
 *	  What is ours keeps its name.
 *
 * The library finds its tables, indexes and functions by their names, in our
 * schemas.  Under another name they would not be found, which is as if the
 * extension were not there: nothing would be counted, and nobody told.  So to
 * rename one of them, or to move it, is refused.  It takes a superuser.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Is this schema, which was called so before the command, one of ours? */
static bool
was_own_schema(const char *name)
{
	return strcmp(name, EXTENSION_SCHEMA) == 0 ||
		strcmp(name, INTERNAL_SCHEMA) == 0;
}

/* Functions in other languages are called by SQL, which complains by itself. */
static bool
is_in_c(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId;
	ReleaseSysCache(tuple);
	return result;
}

/* The table of an index or a constraint, or else the object itself. */
static ObjectAddress
what_it_belongs_to(ObjectAddress object)
{
	HeapTuple	tuple;

	if (object.classId == RelationRelationId)
	{
		char		kind = get_rel_relkind(object.objectId);

		if (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX)
			object.objectId = IndexGetRelation(object.objectId, true);
	}
	else if (object.classId == ConstraintRelationId)
	{
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(object.objectId));
		object.objectId = InvalidOid;
		if (HeapTupleIsValid(tuple))
		{
			object.classId = RelationRelationId;
			object.objectId = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;
			ReleaseSysCache(tuple);
		}
	}
	return object;
}

static bool
is_own(const ObjectAddress *object)
{
	Oid			extension = get_extension_oid(EXTENSION_NAME, true);
	ObjectAddress owner = what_it_belongs_to(*object);

	if (owner.classId == ProcedureRelationId && !is_in_c(owner.objectId))
		return false;
	return OidIsValid(extension) && OidIsValid(owner.objectId) &&
		getExtensionOfObject(owner.classId, owner.objectId) == extension;
}

/* A command has renamed or moved an object. */
void
refuse_to_move_own(const ObjectAddress *object, Node *parsetree)
{
	bool		own;

	if (creating_extension)
		return;					/* a script of an extension knows what it does */
	if (object->classId == NamespaceRelationId)
		own = IsA(parsetree, RenameStmt) &&
			was_own_schema(((RenameStmt *) parsetree)->subname);
	else
		own = is_own(object);
	if (own)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot rename or move what belongs to extension \"%s\"",
						EXTENSION_NAME),
				 errhint("The library finds its objects by their names; without them no change would be counted.")));
}
