/*-------------------------------------------------------------------------
 *
 * type_dependency.c
 *	  What depends on the types of values: what they consist of, how they
 *	  compare, how they are written and read.
 *
 * The types of a table's columns need no look: if one of them changes, so does
 * the table (schema_effect.c).  Those of constants and casts have no table.
 *
 * What consists of other types (arrays, ranges, rows, domains) is followed down
 * to these.  Types contain each other in no circle.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define is_builtin(oid) ((oid) < FirstNormalObjectId)

typedef void (*PartVisitor) (Dependencies *deps, Oid type, void *arg);

/*
 * Visit what a type consists of.  False if it is of one piece.  A record's
 * parts are not known.
 */
static bool
visit_parts(Dependencies *deps, Oid type, PartVisitor visit, void *arg)
{
	Oid			part = get_element_type(type);
	TupleDesc	desc;

	check_stack_depth();
	if (!OidIsValid(part))
		part = get_range_subtype(type);
	if (!OidIsValid(part))
		part = get_multirange_range(type);
	if (!OidIsValid(part) && get_typtype(type) == TYPTYPE_DOMAIN)
		part = getBaseType(type);
	if (OidIsValid(part))
	{
		visit(deps, part, arg);
		return true;
	}
	if (get_typtype(type) != TYPTYPE_COMPOSITE)
		return type == RECORDOID || type == RECORDARRAYOID;
	desc = lookup_rowtype_tupdesc_copy(type, -1);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			visit(deps, TupleDescAttr(desc, i)->atttypid, arg);
	return true;
}

static void
visit_type(Dependencies *deps, Oid type, void *arg)
{
	Oid			element = get_element_type(type);

	/* Arrays have no definition, and rows of catalogs do not change. */
	if (!is_builtin(type) && !OidIsValid(element))
		add_dependency(deps, KIND_DEFINITION, TypeRelationId, type, 0, NULL);
	(void) visit_parts(deps, type, visit_type, arg);
}

/* A value of the type is made, other than by reading it from a table. */
void
add_type(Dependencies *deps, Oid type)
{
	if (!is_builtin(type))
		visit_type(deps, type, NULL);
}

/* ------------------------------------------------------------- comparisons */

static void
add_support_functions(Dependencies *deps, Oid family)
{
	CatCList   *list;

	if (is_builtin(family))
		return;
	add_dependency(deps, KIND_DEFINITION, OperatorFamilyRelationId, family, 0,
				   NULL);
	deps->call = NULL;
	list = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(family));
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_amproc form = (Form_pg_amproc) GETSTRUCT(&list->members[i]->tuple);

		deps->add_function(deps, form->amproc);
	}
	ReleaseSysCacheList(list);
}

static void
visit_comparison(Dependencies *deps, Oid type, void *arg)
{
	TypeCacheEntry *entry;

	if (visit_parts(deps, type, visit_comparison, arg) || is_builtin(type))
		return;
	entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY |
							  TYPECACHE_HASH_OPFAMILY);
	if (OidIsValid(entry->btree_opf))
		add_support_functions(deps, entry->btree_opf);
	if (OidIsValid(entry->hash_opf))
		add_support_functions(deps, entry->hash_opf);
}

/* Values of the type are compared, by its default operator classes. */
void
add_comparison(Dependencies *deps, Oid type)
{
	visit_comparison(deps, type, NULL);
}

/* ORDER BY, GROUP BY, DISTINCT, UNION and the like. */
void
add_sort(Dependencies *deps, SortGroupClause *sort)
{
	Oid			left,
				right,
				family;

	deps->call = NULL;
	if (OidIsValid(sort->eqop))
	{
		deps->add_function(deps, get_opcode(sort->eqop));
		op_input_types(sort->eqop, &left, &right);
		add_comparison(deps, left);
	}
	if (OidIsValid(sort->sortop))
	{
		deps->add_function(deps, get_opcode(sort->sortop));
		family = compat_sort_family(sort->sortop);
		if (OidIsValid(family))
			add_support_functions(deps, family);
	}
}

/* --------------------------------------------------------- written and read */

static void
add_io(Dependencies *deps, Oid function, const char *reason)
{
	add_dependency(deps, reason == NULL ? KIND_SESSION : KIND_VOLATILE,
				   ProcedureRelationId, function, 0,
				   reason ? reason : REASON_SESSION);
}

static void
visit_output(Dependencies *deps, Oid type, void *arg)
{
	bool		as_json = *(bool *) arg;
	Oid			output;
	bool		is_varlena;

	if (type == RECORDOID || type == RECORDARRAYOID)
		add_dependency(deps, KIND_SESSION, InvalidOid, InvalidOid, 0,
					   REASON_SESSION); /* a timestamptz may be in it */
	if (visit_parts(deps, type, visit_output, arg) || type == UNKNOWNOID ||
		get_typtype(type) == TYPTYPE_PSEUDO)
		return;
	if (as_json && (type == DATEOID || type == TIMESTAMPOID))
		return;
	getTypeOutputInfo(type, &output, &is_varlena);
	deps->call = NULL;
	deps->add_function(deps, output);
}

/* Values of the type are written as text, or as JSON, which has ISO dates. */
void
add_output(Dependencies *deps, Oid type, bool as_json)
{
	Node	   *call = deps->call;

	visit_output(deps, type, &as_json);
	deps->call = call;
}

/* Is it a date as ISO 8601 writes it, at least up to the day? */
static bool
is_iso(const char *literal)
{
	return strlen(literal) >= 10 &&
		strspn(literal, "0123456789") == 4 && literal[4] == '-' &&
		strspn(literal + 5, "0123456789") == 2 && literal[7] == '-' &&
		strspn(literal + 8, "0123456789") == 2;
}

/* Does it name its time zone by numbers? */
static bool
names_offset(const char *literal)
{
	return literal[strlen(literal) - 1] == 'Z' ||
		strpbrk(literal + 10, "+-") != NULL;
}

static bool
is_special_time(const char *literal)
{
	return pg_strcasecmp(literal, "epoch") == 0 ||
		pg_strcasecmp(literal, "infinity") == 0 ||
		pg_strcasecmp(literal, "-infinity") == 0;
}

/* Is a literal read as the same value by every session, at every time? */
static bool
reads_the_same(Oid type, const char *literal)
{
	switch (type)
	{
		case DATEOID:
		case TIMESTAMPOID:
			return is_iso(literal) || is_special_time(literal);
		case TIMESTAMPTZOID:
			return is_special_time(literal) ||
				(is_iso(literal) && names_offset(literal));
		case INTERVALOID:
			return literal[0] != '-';	/* IntervalStyle */
		case TIMEOID:
			return true;
		default:
			return get_typtype(type) == TYPTYPE_ENUM;
	}
}

static void
visit_input(Dependencies *deps, Oid type, void *arg)
{
	const char *literal = arg;
	Oid			input,
				param;
	bool		reads_time = type == DATEOID || type == TIMEOID ||
		type == TIMETZOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;

	if (visit_parts(deps, type, visit_input, arg) ||
		get_typtype(type) == TYPTYPE_PSEUDO)
		return;
	getTypeInputInfo(type, &input, &param);
	if (!is_builtin(input))
	{
		Node	   *call = deps->call;

		deps->call = NULL;
		deps->add_function(deps, input);
		deps->call = call;
		return;
	}
	if (func_volatile(input) == PROVOLATILE_IMMUTABLE)
		return;
	if (reads_time && literal == NULL)
		add_io(deps, input, "text that is read as a time may say now, today or the like");
	else if (reads_time && (type == TIMETZOID || may_mean_now(literal)))
		add_io(deps, input, REASON_TIME);
	else if (literal == NULL || !reads_the_same(type, literal))
	{
		if (get_typtype(type) != TYPTYPE_ENUM)
			add_io(deps, input, NULL);
	}
}

/* A text, which one if literal is not NULL, is read as a value of the type. */
void
add_input(Dependencies *deps, Oid type, const char *literal)
{
	visit_input(deps, type, (void *) literal);
}
