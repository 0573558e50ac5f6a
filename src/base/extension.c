/*-------------------------------------------------------------------------
 *
 * extension.c
 *	  Find and open what the extension itself has created.
 *
 * The library may be loaded where the extension is not: then there is nothing
 * to be found, which is no error.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/* A table or index of the extension, or InvalidOid if it is not there. */
Oid
extension_relation(const char *schema, const char *name)
{
	Oid			oid = get_namespace_oid(schema, true);

	return OidIsValid(oid) ? get_relname_relid(name, oid) : InvalidOid;
}

/* Is this one of the extension's own schemas? */
bool
extension_has_schema(Oid schema)
{
	return OidIsValid(schema) &&
		(schema == get_namespace_oid(EXTENSION_SCHEMA, true) ||
		 schema == get_namespace_oid(INTERNAL_SCHEMA, true));
}

/*
 * Open a table or index of the extension; NULL if it is not there.  Another
 * session may have dropped and created the extension since our catalog cache
 * last heard: taking the lock takes that in, so look again.
 */
Relation
extension_open(const char *schema, const char *name, LOCKMODE lockmode)
{
	Oid			tried = InvalidOid;

	for (;;)
	{
		Oid			oid = extension_relation(schema, name);
		Relation	rel;

		if (!OidIsValid(oid) || oid == tried)
			return NULL;
		rel = try_relation_open(oid, lockmode);
		if (rel != NULL)
			return rel;
		tried = oid;
	}
}

/*
 * Is this row of pg_proc our function of this name?  Only a superuser can have
 * created a function in C, so no other of this name is taken for it.
 */
static bool
is_function_tuple(HeapTuple tuple, const char *name)
{
	Form_pg_proc function = (Form_pg_proc) GETSTRUCT(tuple);
	Datum		symbol;
	bool		isnull;

	if (function->prolang != ClanguageId ||
		strcmp(NameStr(function->proname), name) != 0)
		return false;
	symbol = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	return !isnull && strcmp(TextDatumGetCString(symbol),
							 psprintf(EXTENSION_NAME "_%s", name)) == 0;
}

/*
 * The function of ours with this name and no arguments; InvalidOid if it is not
 * there.
 */
Oid
extension_function(const char *schema, const char *name)
{
	Oid			namespace = get_namespace_oid(schema, true);
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	if (!OidIsValid(namespace))
		return InvalidOid;
	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name),
							PointerGetDatum(buildoidvector(NULL, 0)),
							ObjectIdGetDatum(namespace));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	if (is_function_tuple(tuple, name))
		result = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The same the other way round, whatever its schema: cheaper for a new backend,
 * which has not looked anything up by its name yet.
 */
bool
extension_is_function(Oid function, const char *name)
{
	HeapTuple	tuple;
	bool		result;

	if (function < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = is_function_tuple(tuple, name);
	ReleaseSysCache(tuple);
	return result;
}

/* InvalidOid if there is no such relation. */
Oid
owner_of_relation(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* These as an oid[]. */
Datum
oid_array(List *oids)
{
	Datum	   *elements = palloc((list_length(oids) + 1) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, oids)
		elements[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid), true,
										   TYPALIGN_INT));
}

/* The text in a column, palloc'd; NULL if there is none. */
char *
text_attribute(HeapTuple tuple, TupleDesc desc, AttrNumber column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Is the n-th of natts columns what a C function is about to return?  If not,
 * the library and the extension's SQL are of different versions, or somebody
 * has forgotten one of the two.
 */
void
check_column(TupleDesc desc, int natts, int n, const char *name, Oid type)
{
	if (desc->natts == natts &&
		strcmp(NameStr(TupleDescAttr(desc, n)->attname), name) == 0 &&
		TupleDescAttr(desc, n)->atttypid == type)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" is not where the library of extension \"%s\" expects it",
					name, EXTENSION_NAME),
			 errhint("Run ALTER EXTENSION %s UPDATE.", EXTENSION_NAME)));
}
