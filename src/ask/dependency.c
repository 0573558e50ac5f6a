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
 * To parse is to run code: a literal of a row type or of a range goes through the
 * CHECK constraints of its domains.  Whoever asks about a query of his own would run
 * that anyway.  What somebody else has written, as the views that the status looks
 * into, is parsed as its owner, in a security-restricted operation.
 *
 * Locks: those of parsing the query, AccessShareLock on what it reads, until
 * the end of the transaction.
 *
 * query_dependencies() only says what is read; domains_of(), in SQL, says
 * which domains tell of changes to it.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rowsecurity.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(cache_notify_query_dependencies);
PG_FUNCTION_INFO_V1(cache_notify_definition_domain);

/* -------------------------------------------------------------- relations */

static bool walk_dependencies(Node *node, void *context);

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

/*
 * A temporary child is part of its parent for this session, and for no other.
 */
static bool
has_temporary_child(Oid relid)
{
	ListCell   *lc;

	if (!has_subclass(relid) || get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return false;			/* partitions are temporary all or none */
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (get_rel_persistence(lfirst_oid(lc)) == RELPERSISTENCE_TEMP &&
			get_rel_persistence(relid) != RELPERSISTENCE_TEMP)
			return true;
	}
	return false;
}

static bool
walk_sublinks(Node *node, void *context)
{
	Dependencies *deps = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
	{
		Query	   *query = copyObject(castNode(Query, ((SubLink *) node)->subselect));

		AcquireRewriteLocks(query, true, false);
		walk_queries(deps, InvalidOid, pg_rewrite_query(query));
	}
	return expression_tree_walker(node, walk_sublinks, context);
}

/*
 * What the policies of a relation read, whichever role they are for.  They are
 * there for everybody to see, so the caller need not be able to read it.
 */
static void
add_policies(Dependencies *deps, Oid relid)
{
	Relation	rel;
	bool		unchecked = deps->unchecked;
	ListCell   *lc;

	if (list_member_oid(deps->policies, relid))
		return;
	deps->policies = lappend_oid(deps->policies, relid);
	rel = table_open(relid, AccessShareLock);
	deps->unchecked = true;
	if (rel->rd_rsdesc != NULL)
		foreach(lc, rel->rd_rsdesc->policies)
	{
		RowSecurityPolicy *policy = lfirst(lc);

		(void) walk_sublinks((Node *) policy->qual, deps);
		deps->call = NULL;
		(void) walk_dependencies((Node *) policy->qual, deps);
	}
	deps->unchecked = unchecked;
	table_close(rel, NoLock);
}

/* Which rows a role may see is part of the result. */
static void
add_row_security(Dependencies *deps, Query *query, RangeTblEntry *rte)
{
	Oid			user = compat_reads_as(query, rte);
	Relation	rel = table_open(rte->relid, AccessShareLock);
	bool		enabled = rel->rd_rel->relrowsecurity;

	table_close(rel, NoLock);
	if (!enabled)
		return;

	/* Policies are chosen by the roles that a role is a member of. */
	add_dependency(deps, KIND_DEFINITION, AuthIdRelationId, AuthIdRelationId, 0,
				   NULL);
	if (!OidIsValid(user) && GetUserId() == deps->user)
		add_dependency(deps, KIND_SESSION, RelationRelationId, rte->relid, 0,
					   psprintf("row security, looked at as role %s",
								GetUserNameFromId(GetUserId(), false)));
	if (deps->every_role)
		add_policies(deps, rte->relid);
}

static void
add_view(Dependencies *deps, Oid relid)
{
	add_dependency(deps, KIND_DEFINITION, RelationRelationId, relid, 0, NULL);
	if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		add_dependency(deps, KIND_SESSION, RelationRelationId, relid, 0,
					   "temporary view");
}

static void
add_relation(Dependencies *deps, Query *query, RangeTblEntry *rte)
{
	Bitmapset  *selected;

	if (rte->relkind == RELKIND_VIEW)
	{
		/* Before 16, an expanded view leaves such entries behind. */
		add_view(deps, rte->relid);
		return;
	}
	selected = compat_selected_columns(query, rte);
	add_dependency(deps, KIND_RELATION, RelationRelationId, rte->relid,
				   rte->securityQuals != NIL ? (Datum) 0 :
				   selected_columns(selected), NULL);
	if (rte->inh && has_temporary_child(rte->relid))
		add_dependency(deps, KIND_UNWATCHED, RelationRelationId, rte->relid, 0,
					   "temporary child table");
	add_row_security(deps, query, rte);
	if (rte->tablesample != NULL)
		add_dependency(deps, KIND_VOLATILE, RelationRelationId, rte->relid, 0,
					   "TABLESAMPLE");
	if (reads_system_columns(selected))
		add_dependency(deps, KIND_VOLATILE, RelationRelationId, rte->relid, 0,
					   "reads a system column");
}

/* The columns of what has no definition: json_to_record(...) AS (a date) */
static void
add_column_definitions(Dependencies *deps, List *types)
{
	ListCell   *lc;

	foreach(lc, types)
	{
		add_type(deps, lfirst_oid(lc));
		add_input(deps, lfirst_oid(lc), NULL);
	}
}

static void
add_range_table_entry(Dependencies *deps, Query *query, RangeTblEntry *rte)
{
	ListCell   *lc;

	switch (rte->rtekind)
	{
		case RTE_RELATION:
			add_relation(deps, query, rte);
			break;
		case RTE_SUBQUERY:
			if (OidIsValid(rte->relid))
				add_view(deps, rte->relid); /* 16: an expanded view */
			break;
		case RTE_FUNCTION:
			foreach(lc, rte->functions)
				add_column_definitions(deps,
									   lfirst_node(RangeTblFunction, lc)->funccoltypes);
			break;
		case RTE_TABLEFUNC:
			add_column_definitions(deps, rte->tablefunc->coltypes);
			break;
		default:
			break;
	}
}

static void
add_query(Dependencies *deps, Query *query)
{
	ListCell   *lc;

	if (!deps->unchecked)
		compat_check_permissions(query);

	/* A result that was kept takes no locks. */
	if (query->rowMarks != NIL)
		add_dependency(deps, KIND_VOLATILE, InvalidOid, InvalidOid, 0,
					   "locks rows");
	foreach(lc, query->rtable)
		add_range_table_entry(deps, query, lfirst_node(RangeTblEntry, lc));
}

/* ------------------------------------------------------------- expressions */

/* CURRENT_DATE, CURRENT_USER and the like */
static void
add_sql_value(Dependencies *deps, SQLValueFunction *value)
{
	if (value->op <= SVFOP_LOCALTIMESTAMP_N)
		add_dependency(deps, KIND_VOLATILE, InvalidOid, InvalidOid, 0,
					   REASON_TIME);
	else
		add_dependency(deps, KIND_SESSION, InvalidOid, InvalidOid, 0,
					   REASON_SESSION);
}

static void
add_constant(Dependencies *deps, Const *constant)
{
	const char *literal = literal_at(deps, constant->location);

	add_type(deps, constant->consttype);
	if (literal != NULL)
		add_input(deps, constant->consttype, literal);
}

/* It may be dropped, or no longer be what its name finds. */
static void
add_operator(Dependencies *deps, Oid operator)
{
	if (operator >= FirstNormalObjectId)
		add_dependency(deps, KIND_DEFINITION, OperatorRelationId, operator, 0,
					   NULL);
}

static void
add_collation(Dependencies *deps, Oid collation)
{
	if (collation >= FirstNormalObjectId)
		add_dependency(deps, KIND_DEFINITION, CollationRelationId, collation, 0,
					   NULL);
}

static void
add_row_comparison(Dependencies *deps, RowCompareExpr *comparison)
{
	ListCell   *lc;

	foreach(lc, comparison->opnos)
		add_operator(deps, lfirst_oid(lc));
}

static void
add_set_operation(Dependencies *deps, SetOperationStmt *operation)
{
	ListCell   *lc;

	foreach(lc, operation->groupClauses)
		add_sort(deps, lfirst_node(SortGroupClause, lc));
}

static void
add_expression(Dependencies *deps, Node *node)
{
	switch (nodeTag(node))
	{
		case T_Const:
			add_constant(deps, (Const *) node);
			break;
		case T_SQLValueFunction:
			add_sql_value(deps, (SQLValueFunction *) node);
			break;
		case T_NextValueExpr:
			add_dependency(deps, KIND_VOLATILE, RelationRelationId,
						   ((NextValueExpr *) node)->seqid, 0,
						   "takes from a sequence");
			break;
		case T_FuncExpr:
			add_default_arguments(deps, (FuncExpr *) node);
			add_type(deps, exprType(node));
			break;
		case T_MinMaxExpr:
			add_comparison(deps, exprType(node));
			break;
		case T_XmlExpr:
			add_dependency(deps, KIND_SESSION, InvalidOid, InvalidOid, 0,
						   REASON_SESSION);
			break;
		case T_SortGroupClause:
			add_operator(deps, ((SortGroupClause *) node)->sortop);
			add_sort(deps, (SortGroupClause *) node);
			break;
		case T_CollateExpr:
			add_collation(deps, ((CollateExpr *) node)->collOid);
			break;
		case T_RowCompareExpr:
			add_row_comparison(deps, (RowCompareExpr *) node);
			break;
		case T_ScalarArrayOpExpr:
			add_operator(deps, ((ScalarArrayOpExpr *) node)->opno);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			add_operator(deps, ((OpExpr *) node)->opno);
			add_type(deps, exprType(node));
			break;
		case T_SetOperationStmt:
			add_set_operation(deps, (SetOperationStmt *) node);
			break;
		case T_Param:
		case T_Aggref:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_RowExpr:
		case T_CoerceToDomain:
			add_type(deps, exprType(node));
			break;
		default:
			if (OidIsValid(compat_json_result(node)))
				add_column_definitions(deps,
									   list_make1_oid(compat_json_result(node)));
			break;
	}
}

static bool
function_callback(Oid function, void *context)
{
	add_called_function(context, function);
	return false;
}

/* Walk a query or an expression. */
static bool
walk_dependencies(Node *node, void *context)
{
	Dependencies *deps = context;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, Query))
	{
		add_query(deps, (Query *) node);
		return query_tree_walker((Query *) node, walk_dependencies, context,
								 QTW_EXAMINE_SORTGROUP);
	}
	add_expression(deps, node);
	deps->call = node;
	(void) check_functions_in_node(node, function_callback, context);
	return expression_tree_walker(node, walk_dependencies, context);
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

static Query *
rewritten_query(char *sql, List **literals)
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
	*literals = literals_of(linitial_node(RawStmt, statements));
	queries = compat_analyze_query(linitial_node(RawStmt, statements), sql);
	if (list_length(queries) != 1 ||
		linitial_node(Query, queries)->commandType != CMD_SELECT ||
		linitial_node(Query, queries)->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("query must be a SELECT that changes nothing"),
				 errhint("Only the result of a query that reads can be cached.")));
	error_context_stack = callback.previous;
	return linitial_node(Query, queries);
}

/* What query_dependencies() returns, of the user that is current. */
static void
find_dependencies(FunctionCallInfo fcinfo, char *sql, bool every_role)
{
	Dependencies deps = {0};
	Query	   *query;

	deps.result = (ReturnSetInfo *) fcinfo->resultinfo;
	deps.user = GetUserId();
	deps.every_role = deps.unchecked = every_role;
	deps.walk = walk_dependencies;
	deps.add_function = add_function;
	query = rewritten_query(sql, &deps.literals);
	(void) walk_dependencies((Node *) query, &deps);
}

/*
 * The same as the owner of what is looked into: whoever may act as him can have
 * that, nobody else, since the search_path is the caller's.
 */
static void
find_dependencies_as(FunctionCallInfo fcinfo, char *sql, bool every_role, Oid owner)
{
	Oid			user;
	int			context;
	int			level = NewGUCNestLevel();

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only roles with the rights of role \"%s\" can look into what it owns",
						GetUserNameFromId(owner, false))));
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	find_dependencies(fcinfo, sql, every_role);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/*
 * query_dependencies(query text, every_role boolean, owner oid) returns setof
 * record; owner 0: the query is the caller's.
 */
Datum
cache_notify_query_dependencies(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		every_role = PG_GETARG_BOOL(1);
	Oid			owner = PG_GETARG_OID(2);

	compat_materialize_result(fcinfo);
	if (OidIsValid(owner))
		find_dependencies_as(fcinfo, sql, every_role, owner);
	else
		find_dependencies(fcinfo, sql, every_role);
	return (Datum) 0;
}

/* definition_domain(object oid) returns text */
Datum
cache_notify_definition_domain(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(definition_domain(PG_GETARG_OID(0))));
}
