/*-------------------------------------------------------------------------
 *
 * function_dependency.c
 *	  What the result of a function depends on.
 *
 * Functions in the language SQL are looked into, with the search_path and the
 * user that they run with.  The same function may mean something else when it
 * is called elsewhere in the query: under other settings, as another user, with
 * arguments of other types.  So what was looked at is a FunctionLook, not a
 * function.  There are finitely many of them, so recursion ends.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/functions.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* A function, and all that decides what it means. */
typedef struct FunctionLook
{
	Oid			function;
	Oid			user;
	List	   *settings;		/* see Dependencies */
	List	   *types;			/* OIDs, of the arguments */
} FunctionLook;

/* Walk the rewritten queries of a function's body, or of a policy. */
void
walk_queries(Dependencies *deps, Oid function, List *queries)
{
	ListCell   *lc;

	foreach(lc, queries)
	{
		Query	   *query = lfirst(lc);

		if (query->commandType != CMD_SELECT || query->hasModifyingCTE)
			add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, function, 0,
						   "does more than SELECT");
		else
			(void) deps->walk((Node *) query, deps);
	}
}

static bool
same_look(const FunctionLook *a, const FunctionLook *b)
{
	return a->function == b->function && a->user == b->user &&
		equal(a->types, b->types) && equal(a->settings, b->settings);
}

/* Is this the first look at a function as deps->call calls it? */
static bool
first_look(Dependencies *deps, Oid function)
{
	FunctionLook *look = palloc0(sizeof(FunctionLook));
	ListCell   *lc;

	look->function = function;
	look->user = GetUserId();
	look->settings = deps->settings;
	foreach(lc, call_arguments(deps->call))
		look->types = lappend_oid(look->types, exprType(lfirst(lc)));
	foreach(lc, deps->looks)
	{
		if (same_look(lfirst(lc), look))
			return false;
	}
	deps->looks = lappend(deps->looks, look);
	return true;
}

/* The settings as they are within a function: each name once. */
static List *
settings_within(List *settings, ArrayType *config)
{
	List	   *within = NIL;
	Datum	   *elements;
	int			n;
	ListCell   *lc;

	deconstruct_array(config, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL,
					  &n);
	for (int i = 0; i < n; i++)
		within = lappend(within, makeString(TextDatumGetCString(elements[i])));
	foreach(lc, settings)
	{
		char	   *setting = strVal(lfirst(lc));
		size_t		len = strcspn(setting, "=") + 1;
		bool		replaced = false;

		for (int i = 0; i < n && !replaced; i++)
			replaced = strncmp(strVal(list_nth(within, i)), setting, len) == 0;
		if (!replaced)
			within = lappend(within, lfirst(lc));
	}
	return within;
}

/* ------------------------------------------------------------------ bodies */

/* The body of BEGIN ATOMIC or RETURN, which is kept parsed. */
static void
walk_parsed_body(Dependencies *deps, Oid function, Datum body)
{
	Node	   *node = stringToNode(TextDatumGetCString(body));
	List	   *queries = IsA(node, List) ?
		linitial_node(List, (List *) node) : list_make1(node);
	ListCell   *lc;

	deps->literals = NIL;
	foreach(lc, queries)
	{
		Query	   *query = lfirst_node(Query, lc);

		AcquireRewriteLocks(query, true, false);
		walk_queries(deps, function, pg_rewrite_query(query));
	}
}

static bool
has_polymorphic_argument(Form_pg_proc form)
{
	for (int i = 0; i < form->pronargs; i++)
		if (IsPolymorphicType(form->proargtypes.values[i]))
			return true;
	return false;
}

/* Can the server tell from the node which types its arguments have? */
static bool
tells_argument_types(Node *call)
{
	return call != NULL &&
		(IsA(call, FuncExpr) || IsA(call, OpExpr) || IsA(call, DistinctExpr) ||
		 IsA(call, ScalarArrayOpExpr) || IsA(call, NullIfExpr) ||
		 IsA(call, WindowFunc));
}

/* The body of AS '...', which is parsed as the call would. */
static void
walk_source(Dependencies *deps, HeapTuple tuple, const char *source)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	Node	   *call = tells_argument_types(deps->call) ? deps->call : NULL;
	SQLFunctionParseInfoPtr info;
	ListCell   *lc;

	if (call == NULL && has_polymorphic_argument(form))
	{
		add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, form->oid, 0,
					   "polymorphic function");
		return;
	}
	info = prepare_sql_fn_parse_info(tuple, call,
									 call ? exprInputCollation(call) : InvalidOid);
	foreach(lc, pg_parse_query(source))
	{
		RawStmt    *statement = lfirst_node(RawStmt, lc);

		deps->literals = literals_of(statement);
		walk_queries(deps, form->oid,
					 compat_analyze_body(statement, source, info));
	}
}

static void
walk_body(Dependencies *deps, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	bool		isnull;
	Datum		value;

	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull)
		walk_parsed_body(deps, form->oid, value);
	else
	{
		value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		walk_source(deps, tuple, TextDatumGetCString(value));
	}
}

/*
 * Look into a function in the language SQL, under the settings and as the
 * user that it runs with.
 */
static void
walk_sql_function(Dependencies *deps, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	int			level = NewGUCNestLevel();
	Dependencies outer = *deps;
	Oid			user;
	int			context;
	Datum		value;
	bool		isnull;

	check_stack_depth();
	GetUserIdAndSecContext(&user, &context);
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	if (!isnull)
	{
		ArrayType  *config = DatumGetArrayTypeP(value);

		ProcessGUCArray(config, superuser() ? PGC_SUSET : PGC_USERSET,
						PGC_S_SESSION, GUC_ACTION_SAVE);
		deps->settings = settings_within(deps->settings, config);
	}
	if (form->prosecdef)
		SetUserIdAndSecContext(form->proowner,
							   context | SECURITY_LOCAL_USERID_CHANGE);
	walk_body(deps, tuple);

	deps->call = outer.call;
	deps->settings = outer.settings;
	deps->literals = outer.literals;
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(true, level);
}

/* --------------------------------------------------------------- functions */

/* An aggregate calls the functions that it is made of. */
static void
add_aggregate(Dependencies *deps, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(function));
	Form_pg_aggregate form;
	Oid			parts[7];

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	parts[0] = form->aggtransfn;
	parts[1] = form->aggfinalfn;
	parts[2] = form->aggcombinefn;
	parts[3] = form->aggserialfn;
	parts[4] = form->aggdeserialfn;
	parts[5] = form->aggmtransfn;
	parts[6] = form->aggmfinalfn;
	ReleaseSysCache(tuple);
	deps->call = NULL;
	for (int i = 0; i < lengthof(parts); i++)
		if (OidIsValid(parts[i]))
			add_function(deps, parts[i]);
}

/* What an ordinary function of the user's reads, as far as can be known. */
static void
add_body(Dependencies *deps, HeapTuple tuple)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

	if (form->prolang == SQLlanguageId)
		walk_sql_function(deps, tuple);
	else if (form->provolatile == PROVOLATILE_VOLATILE)
		add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, form->oid, 0,
					   "volatile function that cannot be looked into");
	else if (form->provolatile == PROVOLATILE_STABLE)
		add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, form->oid, 0,
					   "function in a procedural language or in C, which may read tables");
	/* IMMUTABLE promises that it reads nothing */
}

/* A function that the server calls, for deps->call or without such a node. */
void
add_function(Dependencies *deps, Oid function)
{
	HeapTuple	tuple;

	if (function < FirstNormalObjectId)
	{
		add_builtin(deps, function);
		return;
	}
	if (!first_look(deps, function))
		return;
	if (extension_has_schema(get_func_namespace(function)))
	{
		if (func_volatile(function) != PROVOLATILE_IMMUTABLE)
			add_dependency(deps, KIND_VOLATILE, ProcedureRelationId, function, 0,
						   "asks about changes");
		return;
	}
	add_dependency(deps, KIND_DEFINITION, ProcedureRelationId, function, 0, NULL);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prokind == PROKIND_AGGREGATE)
		add_aggregate(deps, function);
	else
		add_body(deps, tuple);
	ReleaseSysCache(tuple);
}

/* A function that the query calls: the caller must be allowed to. */
void
add_called_function(Dependencies *deps, Oid function)
{
	if (!deps->unchecked)
		compat_check_execute(function);
	add_function(deps, function);
}

/* Walk the defaults of arguments that a call leaves out. */
void
add_default_arguments(Dependencies *deps, FuncExpr *call)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	List	   *arguments;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		return;
	if (((Form_pg_proc) GETSTRUCT(tuple))->pronargs > list_length(call->args))
	{
		arguments = expand_function_arguments(copyObject(call->args), false,
											  call->funcresulttype, tuple);
		foreach(lc, arguments)
		{
			Node	   *argument = lfirst(lc);

			/* Those of the call have been walked, or will be. */
			if (!list_member(call->args, argument))
				(void) deps->walk(argument, deps);
		}
	}
	ReleaseSysCache(tuple);
}
