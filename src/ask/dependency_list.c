/*-------------------------------------------------------------------------
 *
 * dependency_list.c
 *	  Add to what query_dependencies() returns.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* Columns of query_dependencies(). */
#define Anum_dep_kind		1
#define Anum_dep_classid	2
#define Anum_dep_objid		3
#define Anum_dep_columns	4
#define Anum_dep_reason		5
#define Natts_dep			5

/* One row of the result.  What is said twice is folded in SQL. */
void
add_dependency(Dependencies *deps, const char *kind, Oid class, Oid objid,
			   Datum columns, const char *reason)
{
	Datum		values[Natts_dep] = {0};
	bool		nulls[Natts_dep] = {0};

	values[Anum_dep_kind - 1] = CStringGetTextDatum(kind);
	values[Anum_dep_classid - 1] = ObjectIdGetDatum(class);
	nulls[Anum_dep_classid - 1] = !OidIsValid(class);
	values[Anum_dep_objid - 1] = ObjectIdGetDatum(objid);
	nulls[Anum_dep_objid - 1] = !OidIsValid(objid);
	values[Anum_dep_columns - 1] = columns;
	nulls[Anum_dep_columns - 1] = columns == (Datum) 0;
	if (reason != NULL)
		values[Anum_dep_reason - 1] = CStringGetTextDatum(reason);
	nulls[Anum_dep_reason - 1] = reason == NULL;
	tuplestore_putvalues(deps->result->setResult, deps->result->setDesc,
						 values, nulls);
}

/* The arguments of a node that calls a function. */
List *
call_arguments(Node *call)
{
	List	   *arguments = NIL;
	ListCell   *lc;

	if (call == NULL)
		return NIL;
	switch (nodeTag(call))
	{
		case T_FuncExpr:
			return ((FuncExpr *) call)->args;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			return ((OpExpr *) call)->args;
		case T_ScalarArrayOpExpr:
			return ((ScalarArrayOpExpr *) call)->args;
		case T_WindowFunc:
			return ((WindowFunc *) call)->args;
		case T_CoerceViaIO:
			return list_make1(((CoerceViaIO *) call)->arg);
		case T_Aggref:
			foreach(lc, ((Aggref *) call)->args)
				arguments = lappend(arguments,
									lfirst_node(TargetEntry, lc)->expr);
			return arguments;
		default:
			return NIL;
	}
}
