/*-------------------------------------------------------------------------
 *
 * hot_update.c
 *	  Add to a row of a counter on the page that it is on.
 *
 * Every commit that changed a watched table updates a counter, and of what that
 * costs most was heap_update().  It has to find out what we know: that no indexed
 * column changes, which bytes do, that nobody locks rows of a materialized view,
 * that none of it is in TOAST.  And whoever calls it has locked the page and looked
 * at the row before, to know that it is the counter's.
 *
 * So the usual update is made here, in one step under one lock of the page: is
 * it a free row of this counter, is there room, put the new version there, and
 * write the WAL record that heap_update() would have written, which the server
 * replays as any other.  Whatever is not usual (no room, a page that is marked as
 * all visible, a version of this transaction's own, a row that somebody has
 * locked, an index of a user's on what changes) is left to heap_update().
 *
 * Locking: the caller has the table open and the page pinned.  The page is locked
 * exclusively here, and no other one meanwhile.  Nothing is waited for but that.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/hot_update.h"

#include "access/heapam_xlog.h"
#include "access/hio.h"
#include "access/multixact.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"

/* A longer row, which there is none of, is left to heap_update(). */
#define MAX_HOT_TUPLE_LEN	512

/* A new version, not on a page yet. */
typedef struct NewVersion
{
	HeapTupleData tuple;
	union
	{
		int64		align;
		char		bytes[MAX_HOT_TUPLE_LEN];
	}			space;
} NewVersion;

/* What comes before the changed columns in a record's data of the page. */
#define MAX_RECORD_DATA_LEN \
	(sizeof(uint16) + SizeOfHeapHeader + MAX_HOT_TUPLE_LEN)

/*
 * Point to a row version on a page that is locked.  Is it a row of this counter
 * that is committed, and that nobody is changing?
 */
static bool
is_free_row(CounterTable *table, const CounterKey *key, Buffer buffer,
			CommandId cid, ItemPointer tid, HeapTuple row)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	ItemId		item;

	if (offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (!ItemIdIsNormal(item))
		return false;
	row->t_data = (HeapTupleHeader) PageGetItem(page, item);
	row->t_len = ItemIdGetLength(item);
	row->t_tableOid = RelationGetRelid(table->heap);
	row->t_self = *tid;
	return HeapTupleSatisfiesUpdate(row, cid, buffer) == TM_Ok &&
		counter_row_is_of(row, RelationGetDescr(table->heap), key);
}

/*
 * Is there nothing about this free row and its page that heap_update() must see to?
 * A version of this transaction's own would need a combo command id.
 */
static bool
is_usual(HeapTuple row, Page page)
{
	HeapTupleHeader header = row->t_data;

	return !PageIsAllVisible(page) &&
		(header->t_infomask & HEAP_XMAX_INVALID) != 0 &&
		(header->t_infomask & (HEAP_MOVED | HEAP_HASEXTERNAL)) == 0 &&
		(HeapTupleHeaderXminCommitted(header) ||
		 !TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin(header))) &&
		row->t_len <= MAX_HOT_TUPLE_LEN &&
		MAXALIGN(row->t_len) <= PageGetHeapFreeSpace(page);
}

/* The version that comes after this one. */
static void
make_version(NewVersion *new, HeapTuple old, const CounterBump *bump,
			 TimestampTz modified, TransactionId xid, CommandId cid)
{
	HeapTupleHeader header = (HeapTupleHeader) new->space.bytes;

	memcpy(new->space.bytes, old->t_data, old->t_len);
	new->tuple = *old;
	new->tuple.t_data = header;
	counter_add_to_form(counter_form(&new->tuple), bump, modified);

	header->t_infomask &= ~HEAP_XACT_MASK;
	header->t_infomask2 &= ~HEAP2_XACT_MASK;
	header->t_infomask |= HEAP_UPDATED | HEAP_XMAX_INVALID;
	HeapTupleHeaderSetXmin(header, xid);
	HeapTupleHeaderSetCmin(header, cid);
	HeapTupleHeaderSetXmax(header, InvalidTransactionId);
	HeapTupleHeaderSetHeapOnly(header);
}

/*
 * The data of the record: how many bytes at the end are those of the old version,
 * the new one's header, and its other bytes.  Returns the length.
 */
static int
fill_record_data(char *data, HeapTuple new, uint16 same_len)
{
	HeapTupleHeader header = new->t_data;
	xl_heap_header short_header = {
		.t_infomask2 = header->t_infomask2,
		.t_infomask = header->t_infomask,
		.t_hoff = header->t_hoff
	};
	int			changed_len = new->t_len - SizeofHeapTupleHeader - same_len;
	char	   *p = data;

	if (same_len > 0)
	{
		memcpy(p, &same_len, sizeof(uint16));
		p += sizeof(uint16);
	}
	memcpy(p, &short_header, SizeOfHeapHeader);
	p += SizeOfHeapHeader;
	memcpy(p, (char *) header + SizeofHeapTupleHeader, changed_len);
	return p + changed_len - data;
}

/*
 * What heap_update() writes for a HOT update.  Logical decoding wants all of the
 * new version; else only the first columns are in the record, as no others change.
 */
static XLogRecPtr
log_update(CounterTable *table, Buffer buffer, HeapTuple old, HeapTuple new,
		   const CounterBump *bump)
{
	bool		whole = RelationIsLogicallyLogged(table->heap);
	int			changed_columns_len = bump->bucket_layout != 0 ?
		offsetof(CounterForm, moves) : offsetof(CounterForm, row_id);
	uint16		same_len = whole ? 0 :
		new->t_len - new->t_data->t_hoff - changed_columns_len;
	xl_heap_update record = {
		.old_xmax = HeapTupleHeaderGetRawXmax(old->t_data),
		.old_offnum = ItemPointerGetOffsetNumber(&old->t_self),
		.flags = whole ? XLH_UPDATE_CONTAINS_NEW_TUPLE : XLH_UPDATE_SUFFIX_FROM_OLD,
		.new_xmax = InvalidTransactionId,
		.new_offnum = ItemPointerGetOffsetNumber(&new->t_self)
	};
	char		data[MAX_RECORD_DATA_LEN];
	int			data_len = fill_record_data(data, new, same_len);

	XLogBeginInsert();
	XLogRegisterBuffer(0, buffer, REGBUF_STANDARD | (whole ? REGBUF_KEEP_DATA : 0));
	XLogRegisterData((char *) &record, SizeOfHeapUpdate);
	XLogRegisterBufData(0, data, data_len);
	XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
	return XLogInsert(RM_HEAP_ID, XLOG_HEAP_HOT_UPDATE);
}

/* Put the new version on the page and lead the old one to it. */
static void
put_version(CounterTable *table, Buffer buffer, HeapTuple old, HeapTuple new,
			const CounterBump *bump, TransactionId xid, CommandId cid)
{
	HeapTupleHeader header = old->t_data;

	/* From 16 on, SERIALIZABLE watches who reads versions through views. */
	CheckForSerializableConflictIn(table->heap, &old->t_self,
								   BufferGetBlockNumber(buffer));

	START_CRIT_SECTION();
	PageSetPrunable(BufferGetPage(buffer), xid);
	RelationPutHeapTuple(table->heap, buffer, new, false);
	header->t_infomask &= ~HEAP_XMAX_BITS;	/* no HEAP_MOVED: is_usual() */
	header->t_infomask2 &= ~HEAP_KEYS_UPDATED;
	HeapTupleHeaderSetHotUpdated(header);
	HeapTupleHeaderSetXmax(header, xid);
	HeapTupleHeaderSetCmax(header, cid, false);
	header->t_ctid = new->t_self;
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(table->heap))
	{
		XLogRecPtr	lsn = log_update(table, buffer, old, new, bump);

		PageSetLSN(BufferGetPage(buffer), lsn); /* may be a macro */
	}
	END_CRIT_SECTION();
}

/* May a row be updated here at all? */
static bool
may_hot_update(CounterTable *table)
{
	/* What a user may have set for logical decoding: the old row in the WAL. */
	return COMPAT_HEAP_RECORD_KNOWN &&
		table->heap->rd_rel->relreplident != REPLICA_IDENTITY_FULL &&
		counter_columns_unindexed(table);
}

/*
 * Add to the row version that may be at *tid, if it is a free one of this counter.
 * *tid becomes where the new version is.
 */
HotUpdateResult
hot_update(CounterTable *table, const CounterKey *key, const CounterBump *bump,
		   Buffer buffer, ItemPointer tid)
{
	TransactionId xid = GetCurrentTransactionId();
	CommandId	cid = GetCurrentCommandId(true);
	TimestampTz modified = GetCurrentTimestamp();
	HotUpdateResult result;
	HeapTupleData old;
	NewVersion	new;

	if (!may_hot_update(table))
		return HOT_UPDATE_IMPOSSIBLE;
	/* As for any row that others could lock together with us. */
	MultiXactIdSetOldestMember();

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!is_free_row(table, key, buffer, cid, tid, &old))
		result = HOT_UPDATE_OTHER_ROW;
	else if (!is_usual(&old, BufferGetPage(buffer)))
		result = HOT_UPDATE_IMPOSSIBLE;
	else
	{
		result = HOT_UPDATE_DONE;
		make_version(&new, &old, bump, modified, xid, cid);
		put_version(table, buffer, &old, &new.tuple, bump, xid, cid);
		*tid = new.tuple.t_self;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	if (result == HOT_UPDATE_DONE)
	{
		compat_count_hot_update(table->heap);
		FAULT_POINT("counter_update");
	}
	return result;
}
