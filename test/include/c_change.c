/*
 * What extensions do to tables by functions in C, without a command: for
 * build_library() of CacheNotify.pm, which puts the server's first headers before it.
 */
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#if PG_VERSION_NUM >= 190000
#include "commands/repack.h"
#else
#include "commands/cluster.h"
#endif
#include "commands/alter.h"
#include "commands/defrem.h"
#include "commands/policy.h"
#include "commands/tablecmds.h"
#include "commands/typecmds.h"
#include "commands/view.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "rewrite/rewriteDefine.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(c_drop);
PG_FUNCTION_INFO_V1(c_inherit);
PG_FUNCTION_INFO_V1(c_swap);
PG_FUNCTION_INFO_V1(c_run);

/* c_drop(regclass): as retention jobs drop chunks */
Datum
c_drop(PG_FUNCTION_ARGS)
{
	ObjectAddress address = {RelationRelationId, PG_GETARG_OID(0), 0};

	performDeletion(&address, DROP_RESTRICT, 0);
	PG_RETURN_VOID();
}

/* c_inherit(child regclass, parent regclass, boolean): joins or leaves */
Datum
c_inherit(PG_FUNCTION_ARGS)
{
	Oid			parent = PG_GETARG_OID(1);
	AlterTableCmd *command = makeNode(AlterTableCmd);

	command->subtype = PG_GETARG_BOOL(2) ? AT_AddInherit : AT_DropInherit;
	command->def = (Node *) makeRangeVar(get_namespace_name(get_rel_namespace(parent)),
										 get_rel_name(parent), -1);
	AlterTableInternal(PG_GETARG_OID(0), list_make1(command), false);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/* c_swap(regclass, regclass): the first gets the rows of the second, which goes */
Datum
c_swap(PG_FUNCTION_ARGS)
{
	finish_heap_swap(PG_GETARG_OID(0), PG_GETARG_OID(1), false, false, false, true,
#if PG_VERSION_NUM >= 190000
					 true,
#endif
					 TransactionXmin, ReadNextMultiXactId(),
					 RELPERSISTENCE_PERMANENT);
	PG_RETURN_VOID();
}

static void
alter_table(AlterTableStmt *stmt, const char *sql)
{
	AlterTableUtilityContext context = {.queryString = sql};

	context.pstmt = makeNode(PlannedStmt);
	context.relid = RangeVarGetRelid(stmt->relation, AccessExclusiveLock, false);
	AlterTable(stmt, AccessExclusiveLock, &context);
}

static void
drop_objects(DropStmt *stmt)
{
	switch (stmt->removeType)
	{
		case OBJECT_TABLE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_FOREIGN_TABLE:
		case OBJECT_SEQUENCE:
		case OBJECT_INDEX:
			RemoveRelations(stmt);
			break;
		default:
			RemoveObjects(stmt);
			break;
	}
}

/* c_run(text): what a command does, by the functions that it calls */
Datum
c_run(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(sql));
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = sql;
	switch (nodeTag(raw->stmt))
	{
		case T_AlterTableStmt:
			alter_table((AlterTableStmt *) raw->stmt, sql);
			break;
		case T_RenameStmt:
			ExecRenameStmt((RenameStmt *) raw->stmt);
			break;
		case T_AlterObjectSchemaStmt:
			ExecAlterObjectSchemaStmt((AlterObjectSchemaStmt *) raw->stmt, NULL);
			break;
		case T_AlterOwnerStmt:
			ExecAlterOwnerStmt((AlterOwnerStmt *) raw->stmt);
			break;
		case T_DropStmt:
			drop_objects((DropStmt *) raw->stmt);
			break;
		case T_ViewStmt:
			DefineView((ViewStmt *) raw->stmt, sql, raw->stmt_location, raw->stmt_len);
			break;
		case T_RuleStmt:
			DefineRule((RuleStmt *) raw->stmt, sql);
			break;
		case T_CreateFunctionStmt:
			CreateFunction(pstate, (CreateFunctionStmt *) raw->stmt);
			break;
		case T_AlterFunctionStmt:
			AlterFunction(pstate, (AlterFunctionStmt *) raw->stmt);
			break;
		case T_CreatePolicyStmt:
			CreatePolicy((CreatePolicyStmt *) raw->stmt);
			break;
		case T_AlterPolicyStmt:
			AlterPolicy((AlterPolicyStmt *) raw->stmt);
			break;
		case T_AlterEnumStmt:
			AlterEnum((AlterEnumStmt *) raw->stmt);
			break;
		default:
			elog(ERROR, "c_run() does not know such a command: %s", sql);
	}
	CommandCounterIncrement();
	PG_RETURN_VOID();
}
