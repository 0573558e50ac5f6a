/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Everything that differs between PostgreSQL 14 and 19.
 *
 * No other file tests PG_VERSION_NUM.  To support a new major version, build,
 * read what the compiler says, and add the difference here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_COMPAT_H
#define CACHE_NOTIFY_COMPAT_H

#include "access/genam.h"
#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#if PG_VERSION_NUM >= 150000
#include "access/xlogrecovery.h"
#endif
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/async.h"
#include "common/md5.h"
#include "executor/executor.h"
#include "executor/functions.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "replication/message.h"
#include "storage/bufmgr.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 140000
#error "cache_notify needs PostgreSQL 14 or later"
#endif

/* 15: ALTER TABLE ... SET ACCESS METHOD. */
static inline bool
compat_sets_access_method(AlterTableType subtype)
{
#if PG_VERSION_NUM >= 150000
	return subtype == AT_SetAccessMethod;
#else
	return false;
#endif
}

/* 16: heap_update() reports which indexes need an entry.  19: has options. */
static inline TM_Result
compat_heap_update(Relation rel, ItemPointer otid, HeapTuple newtup,
				   CommandId cid, TM_FailureData *tmfd)
{
	LockTupleMode lockmode;
#if PG_VERSION_NUM >= 190000
	TU_UpdateIndexes update_indexes;

	return heap_update(rel, otid, newtup, cid, 0, InvalidSnapshot,
					   false /* never wait */ ,
					   tmfd, &lockmode, &update_indexes);
#elif PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;

	return heap_update(rel, otid, newtup, cid, InvalidSnapshot,
					   false /* never wait */ ,
					   tmfd, &lockmode, &update_indexes);
#else
	return heap_update(rel, otid, newtup, cid, InvalidSnapshot,
					   false /* never wait */ ,
					   tmfd, &lockmode);
#endif
}

/* 19: pruning on access can set the visibility map as well. */
static inline void
compat_prune(Relation rel, Buffer buffer)
{
#if PG_VERSION_NUM >= 190000
	Buffer		vmbuffer = InvalidBuffer;

	heap_page_prune_opt(rel, buffer, &vmbuffer, false);
	if (BufferIsValid(vmbuffer))
		ReleaseBuffer(vmbuffer);
#else
	heap_page_prune_opt(rel, buffer);
#endif
}

/* 16: RelFileNode became RelFileLocator. */
static inline Oid
compat_relation_file(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->rd_locator.relNumber;
#else
	return rel->rd_node.relNode;
#endif
}

/* Pin a block if it is still in this buffer. */
static inline bool
compat_read_recent_buffer(Relation rel, BlockNumber block, Buffer buffer)
{
#if PG_VERSION_NUM >= 160000
	return ReadRecentBuffer(rel->rd_locator, MAIN_FORKNUM, block, buffer);
#else
	return ReadRecentBuffer(rel->rd_node, MAIN_FORKNUM, block, buffer);
#endif
}

/* 16: which columns prevent HOT updates is no longer all that indexes have. */
static inline bool
compat_knows_index_columns(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->rd_attrsvalid;
#else
	return rel->rd_indexattr != NULL;
#endif
}

/* 15: shared memory is asked for in a hook of its own. */
#define HAVE_SHMEM_REQUEST_HOOK (PG_VERSION_NUM >= 150000)

/* 16: foreign tables can have a TRUNCATE trigger. */
#define compat_foreign_truncate_trigger (PG_VERSION_NUM >= 160000)

/* 14: always there. */
#ifndef QTW_EXAMINE_SORTGROUP
#define QTW_EXAMINE_SORTGROUP 0
#endif

/* 18 does without execute_once. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count
#define COMPAT_RUN_ARGUMENTS query, direction, count
#else
#define COMPAT_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define COMPAT_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* 18 can say in the log that a lock was not to be had. */
#if PG_VERSION_NUM >= 180000
#define compat_xact_has_ended(xid) ConditionalXactLockTableWait(xid, false)
#else
#define compat_xact_has_ended(xid) ConditionalXactLockTableWait(xid)
#endif

/* compat.c, which says what differs */
extern bool compat_heap_delete(Relation rel, ItemPointer tid);
extern IndexScanDesc compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys);
extern Buffer compat_bt_search(Relation index, Relation heap, BTScanInsert key);
extern TableScanDesc compat_table_beginscan(Relation rel, Snapshot snapshot);
extern void compat_log_message(const char *prefix, const char *message, size_t size);
extern bool compat_md5(const void *data, size_t len, char *hex);
extern TimeLineID compat_timeline(void);
extern void compat_reserve_guc_prefix(const char *prefix);
extern void compat_materialize_result(FunctionCallInfo fcinfo);
extern void *compat_guc_alloc(Size size);
extern bool compat_is_harmless_subcommand(AlterTableType subtype);
extern bool compat_adds_column(AlterTableType subtype);
extern List *compat_analyze_query(RawStmt *statement, const char *sql);
extern List *compat_analyze_body(RawStmt *statement, const char *sql, SQLFunctionParseInfoPtr info);
extern void compat_check_permissions(Query *query);
extern const char *compat_string_literal(A_Const *literal);
extern Oid	compat_json_result(Node *node);
extern Oid	compat_sort_family(Oid sortop);
extern Oid	compat_reads_as(Query *query, RangeTblEntry *rte);
extern Bitmapset *compat_selected_columns(Query *query, RangeTblEntry *rte);
extern void compat_without_rule_entries(Query *query);
extern bool compat_can_be_truncated(char relkind);
extern void compat_create_trigger(CreateTrigStmt *stmt, Oid relid, Oid function,
								  char enabled);
extern bool compat_owns_relation(Oid relid);
extern bool compat_owns_database(void);
extern void compat_check_execute(Oid function);
extern bool compat_input(FmgrInfo *function, char *string, Oid param, Datum *value);
extern void compat_no_transaction_timeout(void);
extern uint64 compat_notify_queue_bytes(void);
extern void compat_set_index_columns(Relation rel, const Bitmapset *columns);
extern Bitmapset *compat_indexed_columns(Relation rel);
extern void compat_init_statistics(Relation rel);
extern void compat_count_hot_update(Relation rel);

/* Later: compare heap_update() with counter/hot_update.c, which writes its record. */
#define COMPAT_HEAP_RECORD_KNOWN	(PG_VERSION_NUM < 200000)

#endif							/* CACHE_NOTIFY_COMPAT_H */
