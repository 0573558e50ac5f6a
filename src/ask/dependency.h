/*-------------------------------------------------------------------------
 *
 * dependency.h
 *	  What the files that look into a query share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_DEPENDENCY_H
#define CACHE_NOTIFY_DEPENDENCY_H

#include "domain/domain.h"

#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"

/* What query_dependencies() calls the kinds. */
#define KIND_RELATION	"relation"	/* read: bumps tell of changes */
#define KIND_DEFINITION "definition"	/* its definition can be replaced */
#define KIND_UNWATCHED	"unwatched" /* read, and its changes go unseen */
#define KIND_SESSION	"session"	/* same data, other result elsewhere */
#define KIND_VOLATILE	"volatile"	/* changes by itself */
#define KIND_OPAQUE		"opaque"	/* cannot be seen into */

#define REASON_TIME		"the result changes with time"
#define REASON_SESSION	"the result depends on the session's settings or user"

typedef struct Dependencies
{
	ReturnSetInfo *result;
	List	   *looks;			/* FunctionLook *: see function_dependency.c */
	List	   *settings;		/* "name=value" of the functions that are open */
	Node	   *call;			/* node that calls the function at hand */
	List	   *literals;		/* A_Const *: of the text that is walked */
	Oid			user;			/* who asks */
	bool		every_role;		/* look at the policies of all roles */
	List	   *policies;		/* OIDs: relations whose policies were */
	bool		unchecked;		/* what is walked the caller need not read */

	bool		(*walk) (Node *node, void *deps);	/* a query or an
													 * expression */
	void		(*add_function) (struct Dependencies *deps, Oid function);
} Dependencies;

/*
 * The files below each other, as they call; what has to go up again, since a
 * function's body is a query, goes by walk and add_function.
 */

/* dependency_list.c */
extern void add_dependency(Dependencies *deps, const char *kind, Oid class,
						   Oid objid, Datum columns, const char *reason);
extern List *call_arguments(Node *call);

/* time_literal.c */
extern List *literals_of(RawStmt *statement);
extern const char *literal_at(Dependencies *deps, int location);
extern bool may_mean_now(const char *literal);
extern bool constant_texts(Node *node, List **texts);

/* type_dependency.c */
extern void add_type(Dependencies *deps, Oid type);
extern void add_comparison(Dependencies *deps, Oid type);
extern void add_sort(Dependencies *deps, SortGroupClause *sort);
extern void add_output(Dependencies *deps, Oid type, bool as_json);
extern void add_input(Dependencies *deps, Oid type, const char *literal);

/* builtin_function.c */
extern void add_builtin(Dependencies *deps, Oid function);

/* function_dependency.c */
extern void walk_queries(Dependencies *deps, Oid function, List *queries);
extern void add_function(Dependencies *deps, Oid function);
extern void add_called_function(Dependencies *deps, Oid function);
extern void add_default_arguments(Dependencies *deps, FuncExpr *call);

#endif							/* CACHE_NOTIFY_DEPENDENCY_H */
