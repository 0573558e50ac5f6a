/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  The internal domains that move when a view, function or type is
 *	  redefined.
 *
 * There are two for each: by its OID, which tokens name, and by its name, which
 * is what the set-up of a view names.  That is dumped, and in a restored database
 * the OID is another object's.  Many share each of them, so that DDL cannot fill
 * the counter table.  The name is the bare one, in UTF-8: it is the same in every
 * schema and every encoding.
 *
 * Whoever renames something moves both names' domains, and the set-up of views
 * follows: definition_renamed().
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/seclabel.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "domain/option.h"

/* Of each kind; those by name come after those by OID. */
#define DEFINITION_BUCKETS 1024

PG_FUNCTION_INFO_V1(cache_notify_definition_name_domain);

/* The internal domain that moves when a view or function is redefined. */
const char *
definition_domain(Oid objid)
{
	/* A catalog stands for all its rows, and shares with nothing else. */
	return psprintf(DEFINITION_PREFIX "%u", objid < FirstNormalObjectId ?
					2 * DEFINITION_BUCKETS + objid : objid % DEFINITION_BUCKETS);
}

/* The same by its name.  A hash of ours, as it must never become another. */
const char *
definition_domain_of_name(const char *name)
{
	const char *utf8 = pg_server_to_any(name, strlen(name), PG_UTF8);
	uint32		hash = 2166136261;

	for (; *utf8 != '\0'; utf8++)
		hash = (hash ^ (unsigned char) *utf8) * 16777619;
	return psprintf(DEFINITION_PREFIX "%u",
					DEFINITION_BUCKETS + hash % DEFINITION_BUCKETS);
}

/* What an object is called, or NULL if it has no name or is not there. */
const char *
definition_name(Oid class, Oid objid)
{
	HeapTuple	tuple;
	char	   *name;

	if (class == RelationRelationId)
		return get_rel_name(objid);
	if (class == ProcedureRelationId)
		return get_func_name(objid);
	if (class == OperatorRelationId)
		return get_opname(objid);
	if (class == CollationRelationId)
		return get_collation_name(objid);
	if (class != TypeRelationId)
		return NULL;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(objid));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	name = pstrdup(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
	ReleaseSysCache(tuple);
	return name;
}

/*
 * Something has a new name: what depends on the definition of the old one does
 * on that of the new one as well.
 */
void
definition_renamed(const char *old, const char *new)
{
	const char *from = definition_domain_of_name(old);
	const char *to = definition_domain_of_name(new);
	ListCell   *lc,
			   *lc2;

	foreach(lc, watches_by_label())
	{
		Watch	   *watch = lfirst(lc);
		ObjectAddress view = {RelationRelationId, watch->relation, 0};
		bool		has_from = false,
					has_to = false;

		foreach(lc2, watch->options->sources)
		{
			has_from |= strcmp(lfirst(lc2), from) == 0;
			has_to |= strcmp(lfirst(lc2), to) == 0;
		}
		if (!has_from || has_to)
			continue;
		if (watch->nargs == 0)
			watch->args = palloc(sizeof(char *));
		else
			watch->args = repalloc(watch->args,
								   (watch->nargs + 1) * sizeof(char *));
		watch->args[watch->nargs++] = psprintf("source=%s", to);
		SetSecurityLabel(&view, LABEL_PROVIDER, watch_as_text(watch));
		announce_configuration();
	}
}

/* definition_name_domain(class oid, object oid) returns text, strict */
Datum
cache_notify_definition_name_domain(PG_FUNCTION_ARGS)
{
	const char *name = definition_name(PG_GETARG_OID(0), PG_GETARG_OID(1));

	/* Of what has no name of its own, such as all roles, the OID is fixed. */
	PG_RETURN_TEXT_P(cstring_to_text(name != NULL ?
									 definition_domain_of_name(name) :
									 definition_domain(PG_GETARG_OID(1))));
}
