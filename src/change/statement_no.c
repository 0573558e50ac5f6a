/*-------------------------------------------------------------------------
 *
 * statement_no.c
 *	  The numbers of statements, which make one bump of ten thousand rows.
 *
 * A statement has a number from when its AFTER triggers begin to fire until they
 * have fired; the hooks of utility.c say when.  A scope carries the number of the
 * statement that bumped it last as a stamp: bumping a scope whose stamp is the
 * present number does nothing.
 *
 * A statement run inside a trigger has numbers of its own, one series for each
 * trigger depth.  Where no hook is called (logical replication; the statement that
 * loads the library) the rows share the number of what comes next: they still
 * count, once.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

/*
 * Of the backend: never set back, so that a number is used only once in it.  A
 * rollback to a savepoint sets back the stamps, which then match no number.
 */
static uint64 last_statement_no = 1;

/* The present number at each depth; between statements one that none has. */
static uint64 statement_nos[MAX_STATEMENT_DEPTH] = {1, 1, 1, 1};

/* Will a hook end the statement?  Set back by it, also after an error. */
static bool in_statement[MAX_STATEMENT_DEPTH];

uint64
current_statement_no(int i)
{
	return statement_nos[i];
}

/* Trigger depths begin at 1. */
int
depth_index(int depth)
{
	return Min(Max(depth - 1, 0), MAX_STATEMENT_DEPTH - 1);
}

/* The number of the current statement; 0 if no hook tells statements. */
uint64
change_set_statement_no(int depth)
{
	int			i = depth_index(depth);

	return in_statement[i] ? statement_nos[i] : 0;
}

/* Has the current statement at this trigger depth bumped all of the scope? */
bool
change_set_is_bumped(const ScopeChange *scope, int depth)
{
	int			i = depth_index(depth);

	return scope->stamp[i] == statement_nos[i] && scope->keyed_stamp[i] != statement_nos[i];
}

/* Has it bumped the scope, and tells the keys that it changes? */
bool
change_set_is_keyed(const ScopeChange *scope, int depth)
{
	int			i = depth_index(depth);

	return scope->keyed_stamp[i] == statement_nos[i];
}

/*
 * The server is about to fire the AFTER triggers of a statement, at this
 * trigger depth.  Returns what change_set_end_statement() wants back.
 */
Statement
change_set_begin_statement(int depth)
{
	int			i = depth_index(depth);
	Statement	outer = {i, statement_nos[i], in_statement[i]};

	statement_nos[i] = ++last_statement_no;
	in_statement[i] = true;
	return outer;
}

/* They have fired, or failed. */
void
change_set_end_statement(Statement outer)
{
	in_statement[outer.index] = outer.in_statement;
	statement_nos[outer.index] = outer.in_statement ? outer.statement_no : ++last_statement_no;
}
