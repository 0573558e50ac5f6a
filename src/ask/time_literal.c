/*-------------------------------------------------------------------------
 *
 * time_literal.c
 *	  Literals as they were written.
 *
 * The parser turns d >= 'today' into a comparison with a date, and
 * '2024-05-01 12:00'::timestamptz into a moment of the session's time zone.
 * Only the raw parse tree shows what was written; the constant made of it
 * keeps the location.  Constants of views and of bodies that are kept parsed
 * have none: they were made when the view or function was.
 *
 * A text that is read when the query runs, as in 'now'::text::timestamptz, is not
 * folded.  What it says is looked for here as well.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

static bool
collect_literal(Node *node, void *context)
{
	List	  **literals = context;

	if (node == NULL)
		return false;
	if (IsA(node, A_Const))
	{
		if (compat_string_literal((A_Const *) node) != NULL)
			*literals = lappend(*literals, node);
		return false;
	}
	return raw_expression_tree_walker(node, collect_literal, context);
}

/*
 * The string literals of a query, to be asked for before it is analyzed, which
 * changes the tree.
 */
List *
literals_of(RawStmt *statement)
{
	List	   *literals = NIL;

	/* Nothing else is looked into, and not all else can be walked. */
	if (IsA(statement->stmt, SelectStmt))
		(void) collect_literal(statement->stmt, &literals);
	return literals;
}

/* What was written where a constant comes from; NULL if that is not known. */
const char *
literal_at(Dependencies *deps, int location)
{
	ListCell   *lc;

	if (location < 0)
		return NULL;
	foreach(lc, deps->literals)
	{
		A_Const    *literal = lfirst(lc);

		if (literal->location == location)
			return compat_string_literal(literal);
	}
	return NULL;
}

/*
 * Does a text name a time that passes, wherever it does?  If it is read as a
 * date, an array or range of dates, or the like, it is the current one.
 */
bool
may_mean_now(const char *literal)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};

	for (int i = 0; i < lengthof(words); i++)
		for (const char *p = literal; *p != '\0'; p++)
			if (pg_strncasecmp(p, words[i], strlen(words[i])) == 0)
				return true;
	return false;
}

/* ------------------------------------------------------ texts that are read */

static bool
collect_texts_of(List *nodes, List **texts)
{
	ListCell   *lc;

	foreach(lc, nodes)
	{
		if (!constant_texts(lfirst(lc), texts))
			return false;
	}
	return true;
}

static bool
collect_texts_of_case(CaseExpr *expr, List **texts)
{
	ListCell   *lc;

	foreach(lc, expr->args)
	{
		if (!constant_texts((Node *) lfirst_node(CaseWhen, lc)->result, texts))
			return false;
	}
	return expr->defresult == NULL ||
		constant_texts((Node *) expr->defresult, texts);
}

/* What is made of constants by casts to char(n) and the like, and by ||. */
static bool
collect_computed_text(Oid function, Node *call, List **texts)
{
	List	   *arguments = call_arguments(call);
	Datum		values[3] = {0};
	Datum		result;
	Oid			output;
	bool		is_varlena;
	ListCell   *lc;

	if (function != F_TEXTCAT && function != F_TEXT_BPCHAR &&
		function != F_VARCHAR_VARCHAR_INT4_BOOL &&
		function != F_BPCHAR_BPCHAR_INT4_BOOL)
		return false;
	foreach(lc, arguments)
	{
		Const	   *constant = lfirst(lc);

		if (IsA(constant, RelabelType))
			constant = (Const *) ((RelabelType *) constant)->arg;
		if (!IsA(constant, Const) || constant->constisnull)
			return false;
		values[foreach_current_index(lc)] = constant->constvalue;
	}
	result = OidFunctionCall3Coll(function, DEFAULT_COLLATION_OID, values[0],
								  values[1], values[2]);
	getTypeOutputInfo(exprType(call), &output, &is_varlena);
	*texts = lappend(*texts, OidOutputFunctionCall(output, result));
	return true;
}

/* Add the constants that an expression may be; false if it may be another one. */
bool
constant_texts(Node *node, List **texts)
{
	Const	   *constant = (Const *) node;
	Oid			output;
	bool		is_varlena;

	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_Const:
			if (constant->constisnull)
				return true;
			getTypeOutputInfo(constant->consttype, &output, &is_varlena);
			*texts = lappend(*texts, OidOutputFunctionCall(output, constant->constvalue));
			return true;
		case T_RelabelType:
			return constant_texts((Node *) ((RelabelType *) node)->arg, texts);
		case T_CollateExpr:
			return constant_texts((Node *) ((CollateExpr *) node)->arg, texts);
		case T_CoalesceExpr:
			return collect_texts_of(((CoalesceExpr *) node)->args, texts);
		case T_CaseExpr:
			return collect_texts_of_case((CaseExpr *) node, texts);
		case T_FuncExpr:
			return collect_computed_text(((FuncExpr *) node)->funcid, node, texts);
		case T_OpExpr:
			return collect_computed_text(get_opcode(((OpExpr *) node)->opno), node, texts);
		default:
			return false;
	}
}
