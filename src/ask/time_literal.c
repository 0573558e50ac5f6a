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
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "nodes/nodeFuncs.h"

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
