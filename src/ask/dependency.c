/*-------------------------------------------------------------------------
 *
 * dependency.c
 *	  What the result of a query depends on.
 *
 * The query is parsed and rewritten as its caller's session would: views are
 * expanded and row security applied.  Functions in the language SQL are looked
 * into, with the search_path and the user that they run with; the server's
 * own are known by their volatility.  Nothing is executed, nor planned: what a
 * plan would leave out because of a constant is reported all the same, as the
 * constant can change.
 *
 * What may not be read may not be asked for: the checks of the executor are
 * made here, for tables and functions.
 *
 * Locks: those of parsing the query, AccessShareLock on what it reads, until
 * the end of the transaction.
 *
 * query_dependencies() only says what is read; domains_of(), in SQL, says
 * which domains tell of changes to it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/functions.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(cache_notify_query_dependencies);
PG_FUNCTION_INFO_V1(cache_notify_definition_domain);

/* Columns of query_dependencies(). */
#define Anum_dep_kind		1
#define Anum_dep_classid	2
#define Anum_dep_objid		3
#define Anum_dep_columns	4
#define Anum_dep_reason		5
#define Natts_dep			5

/* What query_dependencies() calls the kinds. */
#define KIND_RELATION	"relation"	/* read: bumps tell of changes */
#define KIND_DEFINITION "definition"	/* its definition can be replaced */
#define KIND_SESSION	"session"	/* same data, other result elsewhere */
#define KIND_VOLATILE	"volatile"	/* changes by itself */
#define KIND_OPAQUE		"opaque"	/* cannot be seen into */

typedef struct Dependencies
{
	ReturnSetInfo *result;
	List	   *functions;		/* those seen */
	Node	   *call;			/* node that calls the function at hand */
} Dependencies;

static bool walk(Node *node, void *context);

static void
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

/* -------------------------------------------------------------- functions */

/* What to say of a function of the server itself. */
static void
add_builtin(Dependencies *deps, Oid function)
{
	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_AGE_TIMESTAMP:
		case F_AGE_TIMESTAMPTZ:
			add_dependency(deps, KIND_VOLATILE, ProcedureRelationId, function, 0,
						   "the result changes with time");
			break;
		case F_CURRENT_SETTING_TEXT:
		case F_CURRENT_SETTING_TEXT_BOOL:
		case F_CURRENT_USER:
		case F_SESSION_USER:
		case F_CURRENT_SCHEMA:
		case F_CURRENT_SCHEMAS:
			add_dependency(deps, KIND_SESSION, ProcedureRelationId, function, 0,
						   "the result depends on the session's settings or user");
			break;
		case F_TABLE_TO_XML:
		case F_TABLE_TO_XML_AND_XMLSCHEMA:
		case F_SCHEMA_TO_XML:
		case F_SCHEMA_TO_XML_AND_XMLSCHEMA:
		case F_DATABASE_TO_XML:
		case F_DATABASE_TO_XML_AND_XMLSCHEMA:
			add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, function, 0,
						   "reads tables that its arguments name");
			break;
		default:
			if (func_volatile(function) == PROVOLATILE_VOLATILE)
				add_dependency(deps, KIND_VOLATILE, ProcedureRelationId, function,
							   0, "volatile function");
			break;
	}
}

/* Walk the rewritten queries of a function's body. */
static void
walk_body(Dependencies *deps, Oid function, List *queries)
{
	ListCell   *lc;

	foreach(lc, queries)
	{
		Query	   *query = lfirst(lc);

		if (query->commandType != CMD_SELECT)
			add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, function, 0,
						   "does more than SELECT");
		else
			(void) walk((Node *) query, deps);
	}
}

/* The body of BEGIN ATOMIC or RETURN, which is kept parsed. */
static void
walk_parsed_body(Dependencies *deps, Oid function, Datum body)
{
	Node	   *node = stringToNode(TextDatumGetCString(body));
	List	   *queries = IsA(node, List) ?
		linitial_node(List, (List *) node) : list_make1(node);
	ListCell   *lc;

	foreach(lc, queries)
	{
		Query	   *query = lfirst_node(Query, lc);

		AcquireRewriteLocks(query, true, false);
		walk_body(deps, function, pg_rewrite_query(query));
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

/* The body of AS '...', which is parsed as the call would. */
static void
walk_source(Dependencies *deps, HeapTuple tuple, const char *source)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	Node	   *call = deps->call && IsA(deps->call, FuncExpr) ? deps->call : NULL;
	SQLFunctionParseInfoPtr info;
	ListCell   *lc;

	if (call == NULL && has_polymorphic_argument(form))
	{
		add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, form->oid, 0,
					   "polymorphic function");
		return;
	}
	info = prepare_sql_fn_parse_info(tuple, call,
									 call ? ((FuncExpr *) call)->inputcollid : InvalidOid);
	foreach(lc, pg_parse_query(source))
		walk_body(deps, form->oid,
				  compat_analyze_body(lfirst_node(RawStmt, lc), source, info));
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
	Node	   *call = deps->call;
	Oid			user;
	int			context;
	Datum		value;
	bool		isnull;

	GetUserIdAndSecContext(&user, &context);
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &isnull);
	if (!isnull)
		ProcessGUCArray(DatumGetArrayTypeP(value),
						superuser() ? PGC_SUSET : PGC_USERSET,
						PGC_S_SESSION, GUC_ACTION_SAVE);
	if (form->prosecdef)
		SetUserIdAndSecContext(form->proowner,
							   context | SECURITY_LOCAL_USERID_CHANGE);

	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull)
		walk_parsed_body(deps, form->oid, value);
	else
	{
		value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		walk_source(deps, tuple, TextDatumGetCString(value));
	}

	deps->call = call;
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(true, level);
}

static void add_function(Dependencies *deps, Oid function);

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

static void
add_function(Dependencies *deps, Oid function)
{
	HeapTuple	tuple;

	if (list_member_oid(deps->functions, function))
		return;
	deps->functions = lappend_oid(deps->functions, function);
	compat_check_execute(function);
	if (function < FirstNormalObjectId)
	{
		add_builtin(deps, function);
		return;
	}
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

static bool
function_callback(Oid function, void *context)
{
	add_function(context, function);
	return false;
}

/* -------------------------------------------------------------- relations */

/* The columns that are read, as int2[]; none if it may be any of them. */
static Datum
selected_columns(Bitmapset *selected)
{
	Datum	   *columns = palloc((bms_num_members(selected) + 1) * sizeof(Datum));
	int			n = 0;
	int			member = -1;

	while ((member = bms_next_member(selected, member)) >= 0)
	{
		AttrNumber	column = member + FirstLowInvalidHeapAttributeNumber;

		if (column <= 0)
			return (Datum) 0;	/* the whole row, or a system column */
		columns[n++] = Int16GetDatum(column);
	}
	return PointerGetDatum(construct_array(columns, n, INT2OID, sizeof(int16),
										   true, TYPALIGN_SHORT));
}

/* What says where a row version is: it changes when nothing else does. */
static bool
reads_system_columns(Bitmapset *selected)
{
	int			member = -1;

	while ((member = bms_next_member(selected, member)) >= 0)
	{
		AttrNumber	column = member + FirstLowInvalidHeapAttributeNumber;

		if (column < 0 && column != TableOidAttributeNumber)
			return true;
	}
	return false;
}

static void
add_relation(Dependencies *deps, Query *query, RangeTblEntry *rte)
{
	Bitmapset  *selected;

	if (rte->relkind == RELKIND_VIEW)
	{
		/* Before 16, an expanded view leaves such entries behind. */
		add_dependency(deps, KIND_DEFINITION, RelationRelationId, rte->relid, 0,
					   NULL);
		return;
	}
	selected = compat_selected_columns(query, rte);
	add_dependency(deps, KIND_RELATION, RelationRelationId, rte->relid,
				   rte->securityQuals != NIL ? (Datum) 0 :
				   selected_columns(selected), NULL);
	if (rte->tablesample != NULL)
		add_dependency(deps, KIND_VOLATILE, RelationRelationId, rte->relid, 0,
					   "TABLESAMPLE");
	if (reads_system_columns(selected))
		add_dependency(deps, KIND_VOLATILE, RelationRelationId, rte->relid, 0,
					   "reads a system column");
}

static void
add_query(Dependencies *deps, Query *query)
{
	ListCell   *lc;

	compat_check_permissions(query);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION)
			add_relation(deps, query, rte);
		else if (rte->rtekind == RTE_SUBQUERY && OidIsValid(rte->relid))
			add_dependency(deps, KIND_DEFINITION, RelationRelationId, rte->relid,
						   0, NULL);	/* 16: an expanded view */
	}
}

/* CURRENT_DATE, CURRENT_USER and the like */
static void
add_sql_value(Dependencies *deps, SQLValueFunction *value)
{
	if (value->op <= SVFOP_LOCALTIMESTAMP_N)
		add_dependency(deps, KIND_VOLATILE, InvalidOid, InvalidOid, 0,
					   "the result changes with time");
	else
		add_dependency(deps, KIND_SESSION, InvalidOid, InvalidOid, 0,
					   "the result depends on the session's settings or user");
}

static bool
walk(Node *node, void *context)
{
	Dependencies *deps = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		add_query(deps, (Query *) node);
		return query_tree_walker((Query *) node, walk, context, 0);
	}
	if (IsA(node, SQLValueFunction))
		add_sql_value(deps, (SQLValueFunction *) node);
	else if (IsA(node, NextValueExpr))
		add_dependency(deps, KIND_VOLATILE, RelationRelationId,
					   ((NextValueExpr *) node)->seqid, 0, "takes from a sequence");
	deps->call = node;
	(void) check_functions_in_node(node, function_callback, context);
	return expression_tree_walker(node, walk, context);
}

/* -------------------------------------------------------------- the query */

/* A position in the query is not one in the statement that asks. */
static void
position_in_query(void *sql)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(sql);
	}
}

static List *
rewritten_query(char *sql)
{
	ErrorContextCallback callback = {error_context_stack, position_in_query, sql};
	List	   *statements;
	List	   *queries;

	error_context_stack = &callback;
	statements = pg_parse_query(sql);
	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query must be one statement, not %d",
						list_length(statements))));
	queries = compat_analyze_query(linitial_node(RawStmt, statements), sql);
	if (list_length(queries) != 1 ||
		linitial_node(Query, queries)->commandType != CMD_SELECT ||
		linitial_node(Query, queries)->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query must be a SELECT that changes nothing"),
				 errhint("Only the result of a query that reads can be cached.")));
	error_context_stack = callback.previous;
	return queries;
}

/* query_dependencies(query text) returns setof record */
Datum
cache_notify_query_dependencies(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Dependencies deps = {0};

	compat_materialize_result(fcinfo);
	deps.result = (ReturnSetInfo *) fcinfo->resultinfo;
	(void) walk(linitial(rewritten_query(sql)), &deps);
	return (Datum) 0;
}

/* definition_domain(object oid) returns text */
Datum
cache_notify_definition_domain(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(definition_domain(PG_GETARG_OID(0))));
}
