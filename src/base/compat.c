/*-------------------------------------------------------------------------
 *
 * compat.c
 *	  What differs between PostgreSQL 14 and 19 and need not be inline; see
 *	  compat.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_database.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif
#include "pgstat.h"
#include "rewrite/rewriteManip.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/compat.h"

/*
 * True if the row is deleted now, false if another transaction has it.
 * 19: options, which say whether the row changes its partition.
 */
bool
compat_heap_delete(Relation rel, ItemPointer tid)
{
	TM_FailureData failure;
	CommandId	cid = GetCurrentCommandId(true);

#if PG_VERSION_NUM >= 190000
	return heap_delete(rel, tid, cid, 0, InvalidSnapshot,
					   false /* never wait */ ,
					   &failure) == TM_Ok;
#else
	return heap_delete(rel, tid, cid, InvalidSnapshot,
					   false /* never wait */ ,
					   &failure, false) == TM_Ok;
#endif
}

/* 18: index_beginscan() takes instrumentation.  19: flags. */
IndexScanDesc
compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot,
					   int nkeys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0, SO_NONE);
#elif PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/*
 * The leaf page of a btree that a key would be on, locked; InvalidBuffer if the
 * index is empty.  16: wants the table.  17: wants no snapshot.  19: need not
 * return the way.
 */
Buffer
compat_bt_search(Relation index, Relation heap, BTScanInsert key)
{
	Buffer		buffer = InvalidBuffer;

#if PG_VERSION_NUM >= 190000
	(void) _bt_search(index, heap, key, &buffer, BT_READ, false);
#elif PG_VERSION_NUM >= 170000
	(void) _bt_search(index, heap, key, &buffer, BT_READ);
#elif PG_VERSION_NUM >= 160000
	(void) _bt_search(index, heap, key, &buffer, BT_READ, NULL);
#else
	(void) _bt_search(index, key, &buffer, BT_READ, NULL);
#endif
	return buffer;
}

/* 19: flags. */
TableScanDesc
compat_table_beginscan(Relation rel, Snapshot snapshot)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan(rel, snapshot, 0, NULL, SO_NONE);
#else
	return table_beginscan(rel, snapshot, 0, NULL);
#endif
}

/* 17: a logical message can be flushed at once. */
void
compat_log_message(const char *prefix, const char *message, size_t size)
{
#if PG_VERSION_NUM >= 170000
	LogLogicalMessage(prefix, message, size, true, false);
#else
	LogLogicalMessage(prefix, message, size, true);
#endif
}

/* 15: says what went wrong. */
bool
compat_md5(const void *data, size_t len, char *hex)
{
#if PG_VERSION_NUM >= 150000
	const char *error;

	return pg_md5_hash(data, len, hex, &error);
#else
	return pg_md5_hash(data, len, hex);
#endif
}

/* The timeline that this server writes or, on a standby, replays. */
TimeLineID
compat_timeline(void)
{
	TimeLineID	timeline;

	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&timeline);
	else
#if PG_VERSION_NUM >= 150000
		timeline = GetWALInsertionTimeLine();
#else
		timeline = ThisTimeLineID;
#endif
	return timeline;
}

/* 15: a prefix is reserved rather than warned about. */
void
compat_reserve_guc_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

/* 15 brought SetSingleFuncCall(), 16 renamed it. */
void
compat_materialize_result(FunctionCallInfo fcinfo)
{
#if PG_VERSION_NUM >= 160000
	InitMaterializedSRF(fcinfo, 0);
#elif PG_VERSION_NUM >= 150000
	SetSingleFuncCall(fcinfo, 0);
#else
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->setDesc = desc;
	MemoryContextSwitchTo(old);
#endif
}

/* 16: what a check hook hands on must come from the GUC allocator. */
void *
compat_guc_alloc(Size size)
{
#if PG_VERSION_NUM >= 160000
	return guc_malloc(ERROR, size);
#else
	void	   *result = malloc(size);

	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return result;
#endif
}

/* 16: with children or not is no longer two subcommands. */
bool
compat_adds_column(AlterTableType subtype)
{
#if PG_VERSION_NUM < 160000
	if (subtype == AT_AddColumnRecurse)
		return true;
#endif
	return subtype == AT_AddColumn;
}

/* 16 and 18 took the internal variants of subcommands away. */
bool
compat_is_harmless_subcommand(AlterTableType subtype)
{
#if PG_VERSION_NUM < 180000
	if (subtype == AT_CheckNotNull)
		return true;
#endif
#if PG_VERSION_NUM < 160000
	if (subtype == AT_AddConstraintRecurse ||
		subtype == AT_ValidateConstraintRecurse ||
		subtype == AT_DropConstraintRecurse ||
		subtype == AT_DropColumnRecurse)
		return true;
#endif
	return false;
}

/* 15 renamed these. */
List *
compat_analyze_query(RawStmt *statement, const char *sql)
{
	Oid		   *types = NULL;
	int			ntypes = 0;

#if PG_VERSION_NUM >= 150000
	return pg_analyze_and_rewrite_varparams(statement, sql, &types, &ntypes,
											NULL);
#else
	return pg_rewrite_query(parse_analyze_varparams(statement, sql, &types,
													&ntypes));
#endif
}

List *
compat_analyze_body(RawStmt *statement, const char *sql,
					SQLFunctionParseInfoPtr info)
{
#if PG_VERSION_NUM >= 150000
	return pg_analyze_and_rewrite_withcb(statement, sql,
										 (ParserSetupHook) sql_fn_parser_setup,
										 info, NULL);
#else
	return pg_analyze_and_rewrite_params(statement, sql,
										 (ParserSetupHook) sql_fn_parser_setup,
										 info, NULL);
#endif
}

/* The text of a string literal, NULL if it is another.  15: nodes of their own. */
const char *
compat_string_literal(A_Const *literal)
{
#if PG_VERSION_NUM >= 150000
	return !literal->isnull && IsA(&literal->val, String) ?
		strVal(&literal->val) : NULL;
#else
	return IsA(&literal->val, String) ? strVal(&literal->val) : NULL;
#endif
}

/* What JSON_VALUE() and the like turn text into, else InvalidOid.  Came in 17. */
Oid
compat_json_result(Node *node)
{
#if PG_VERSION_NUM >= 170000
	if (IsA(node, JsonExpr))
		return ((JsonExpr *) node)->returning->typid;
#endif
	return InvalidOid;
}

/* The operator family that an operator sorts by.  18: tells how in other words. */
Oid
compat_sort_family(Oid sortop)
{
	Oid			family,
				input;
#if PG_VERSION_NUM >= 180000
	CompareType how;
#else
	int16		how;
#endif

	return get_ordering_op_properties(sortop, &family, &input, &how) ?
		family : InvalidOid;
}

/* As whom a relation is read; InvalidOid: as the caller. */
Oid
compat_reads_as(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->perminfoindex == 0 ? InvalidOid :
		getRTEPermissionInfo(query->rteperminfos, rte)->checkAsUser;
#else
	return rte->checkAsUser;
#endif
}

/* 16 took permissions out of the range table, and has one check for all kinds. */
void
compat_check_permissions(Query *query)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecCheckPermissions(query->rtable, query->rteperminfos, true);
#else
	(void) ExecCheckRTPerms(query->rtable, true);
#endif
}

Bitmapset *
compat_selected_columns(Query *query, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->perminfoindex == 0 ? NULL :
		getRTEPermissionInfo(query->rteperminfos, rte)->selectedCols;
#else
	return rte->selectedCols;
#endif
}

/*
 * 16: a view's query has the entries of old and new only if CREATE RULE made it.
 * Take them out of it.
 */
void
compat_without_rule_entries(Query *query)
{
#if PG_VERSION_NUM >= 160000
	const int	n = 2;			/* PRS2_NEW_VARNO */
	ListCell   *lc;

	if (list_length(query->rtable) < n ||
		linitial_node(RangeTblEntry, query->rtable)->rtekind != RTE_RELATION ||
		strcmp(linitial_node(RangeTblEntry, query->rtable)->eref->aliasname, "old") != 0 ||
		strcmp(lsecond_node(RangeTblEntry, query->rtable)->eref->aliasname, "new") != 0)
		return;
	OffsetVarNodes((Node *) query, -n, 0);
	query->rtable = list_delete_first_n(query->rtable, n);
	query->rteperminfos = list_delete_first_n(query->rteperminfos, n);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->perminfoindex > n)
			rte->perminfoindex -= n;
	}
#endif
}

/* Foreign tables have TRUNCATE triggers from 16 on. */
bool
compat_can_be_truncated(char relkind)
{
#if PG_VERSION_NUM >= 160000
	return true;
#else
	return relkind != RELKIND_FOREIGN_TABLE;
#endif
}

/* Create or replace a trigger that fires as pg_trigger.tgenabled says. */
void
compat_create_trigger(CreateTrigStmt *stmt, Oid relid, Oid function,
					  char enabled)
{
#if PG_VERSION_NUM >= 150000
	(void) CreateTriggerFiringOn(stmt, NULL, relid, InvalidOid, InvalidOid,
								 InvalidOid, function, InvalidOid, NULL, false,
								 false, enabled);
#else
	Relation	rel;

	(void) CreateTrigger(stmt, NULL, relid, InvalidOid, InvalidOid, InvalidOid,
						 function, InvalidOid, NULL, false, false);
	if (enabled == TRIGGER_FIRES_ON_ORIGIN)
		return;
	CommandCounterIncrement();
	rel = table_open(relid, ShareRowExclusiveLock);
	EnableDisableTrigger(rel, stmt->trigname, enabled, false,
						 ShareRowExclusiveLock);
	table_close(rel, NoLock);
#endif
}

bool
compat_owns_relation(Oid relid)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relid, GetUserId());
#else
	return pg_class_ownercheck(relid, GetUserId());
#endif
}

bool
compat_owns_database(void)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, MyDatabaseId, GetUserId());
#else
	return pg_database_ownercheck(MyDatabaseId, GetUserId());
#endif
}

void
compat_check_execute(Oid function)
{
#if PG_VERSION_NUM >= 160000
	AclResult	result = object_aclcheck(ProcedureRelationId, function,
										 GetUserId(), ACL_EXECUTE);
#else
	AclResult	result = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
#endif

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

/*
 * Let an input function of a built-in type read a string.  False if it is no
 * value of the type.
 *
 * From 16 on these report that without an error.  Before, the error is caught.
 * No subtransaction is needed for that, as they change nothing, take no locks
 * and call no user's function; what they hold of caches is given back with a
 * resource owner of their own.  Other errors than of the data go on.
 */
bool
compat_input(FmgrInfo *function, char *string, Oid param, Datum *value)
{
#if PG_VERSION_NUM >= 160000
	ErrorSaveContext errors = {T_ErrorSaveContext};

	return InputFunctionCallSafe(function, string, param, -1,
								 (Node *) &errors, value);
#else
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner outer = CurrentResourceOwner;
	ResourceOwner inner = ResourceOwnerCreate(outer, "cache_notify input");
	volatile bool done = false;

	PG_TRY();
	{
		CurrentResourceOwner = inner;
		*value = InputFunctionCall(function, string, param, -1);
		done = true;
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		CurrentResourceOwner = outer;
		MemoryContextSwitchTo(context);
		if (category != ERRCODE_DATA_EXCEPTION &&
			category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	CurrentResourceOwner = outer;
	ResourceOwnerRelease(inner, RESOURCE_RELEASE_BEFORE_LOCKS, done, false);
	ResourceOwnerRelease(inner, RESOURCE_RELEASE_LOCKS, done, false);
	ResourceOwnerRelease(inner, RESOURCE_RELEASE_AFTER_LOCKS, done, false);
	ResourceOwnerDelete(inner);
	return done;
#endif
}

/* 17: transactions can time out. */
void
compat_no_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* 17: the size of the notification queue became a setting. */
uint64
compat_notify_queue_bytes(void)
{
#if PG_VERSION_NUM >= 170000
	return (uint64) max_notify_queue_pages * BLCKSZ;
#else
	return UINT64CONST(0x100000) * BLCKSZ;
#endif
}

/*
 * Say which columns a relation's indexes have, none of which is unique, has
 * expressions or a condition.  16: those of summarizing indexes would count for
 * less; taking them for others costs index entries.
 */
void
compat_set_index_columns(Relation rel, const Bitmapset *columns)
{
	MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);

	Assert(!compat_knows_index_columns(rel));
#if PG_VERSION_NUM >= 160000
	rel->rd_hotblockingattr = bms_copy(columns);
	rel->rd_attrsvalid = true;
#else
	rel->rd_indexattr = bms_copy(columns);
#endif
	MemoryContextSwitchTo(old);
}

/* All columns that any index has.  16: those of BRIN are kept apart. */
Bitmapset *
compat_indexed_columns(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return bms_join(RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_HOT_BLOCKING),
					RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_SUMMARIZED));
#else
	return RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_ALL);
#endif
}

/* What opening a relation does for its statistics.  15: renamed. */
void
compat_init_statistics(Relation rel)
{
#if PG_VERSION_NUM >= 150000
	pgstat_init_relation(rel);
#else
	pgstat_initstats(rel);
#endif
}

/* Count an update that heap_update() did not make.  16: on another page, or not. */
void
compat_count_hot_update(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	pgstat_count_heap_update(rel, true, false);
#else
	pgstat_count_heap_update(rel, true);
#endif
}
