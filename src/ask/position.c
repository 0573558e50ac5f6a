/*-------------------------------------------------------------------------
 *
 * position.c
 *	  What has changed since: positions, and the keys that moved after one.
 *
 * A position is the snapshot in which it was taken.  A key has changed since
 * then if one of its counter rows, as the present snapshot sees them, was
 * written by a transaction that the position's snapshot does not see.  That
 * is exact whatever was running when: a transaction is in one snapshot or it
 * is not.  A counter row is only updated after the update before it has been
 * committed, so the newest writer of a row is unseen if any of them is.
 *
 * Transaction ids are kept as 64 bits.  A row shows only 32 of them; it is
 * given the newest id that they can stand for, which for a row frozen long
 * ago may be too new: a false alarm once in four billion transactions.
 * Freezing and VACUUM FULL keep the 32 bits.
 *
 * Finding the rows quickly.  Every transaction that the position does not see
 * writes its counters after a certain place in the WAL, the horizon; and a
 * page carries the place of its last change.  So pages that are not newer
 * than the horizon hold nothing of interest.  (What changes a page without
 * moving its LSN, hint bits, changes no xmin.)  The proof of the horizon: a
 * sample is a WAL place L and, read after it, the next transaction id X.  An
 * id of at least X had not been assigned when L was read, so its records lie
 * after L.  Whoever is not seen by a snapshot has an id of at least its xmin.
 * So the L of any sample with X <= xmin will do, and the newest is best.  Each
 * backend takes samples as it goes, and the last checkpoint is one: it notes
 * its redo place first and the next id after that.  Without a sample every
 * page is read.  A sample of the primary holds on a standby, which has the
 * same WAL, and there the place and the id are those of the replay.
 *
 * Changes that do not reach the WAL record by record (the table was rewritten
 * with wal_level = minimal) come with a new file, so a position of another
 * file has no horizon.
 *
 * After a crash ids that never reached the disk are used again, and so are WAL
 * places.  So a position is given out only when everything it sees is on disk.
 * That is the one thing a client waits for here.
 *
 * No position, or one of another history, is answered by a single row without
 * a domain: everything may have changed.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/question.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "common/controldata_utils.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/timestamp.h"

#include "ask/encoding.h"

PG_FUNCTION_INFO_V1(cache_notify_current_position);
PG_FUNCTION_INFO_V1(cache_notify_changes_since);
PG_FUNCTION_INFO_V1(cache_notify_changes_since_named);

/* With more than this many transactions in progress, none is listed. */
#define MAX_LISTED_XIDS		1000

#define NUM_SAMPLES			64
#define SAMPLE_INTERVAL_MS	1000

/* Transactions with ids of at least next_xid write after lsn. */
typedef struct Sample
{
	XLogRecPtr	lsn;
	uint64		next_xid;
} Sample;

typedef struct Position
{
	uint64		fingerprint;	/* of the history */
	Oid			file;			/* of the counter table */
	XLogRecPtr	horizon;		/* pages not newer than this are as they were */
	uint64		xmin;			/* all below are seen */
	uint64		xmax;			/* none from here on are seen */
	bool		complete;		/* are all between that are unseen listed? */
	int			nxids;
	uint64	   *xids;			/* sorted */
} Position;

/*
 * Of the backend, which only adds to them: what a sample says stays true, whatever
 * becomes of the transaction that took it.
 */
static Sample samples[NUM_SAMPLES];
static int	nsamples = 0;		/* ever taken; the ring keeps the last */
static TimestampTz last_sample = 0;
static TimestampTz last_checkpoint_look = 0;

static void
add_sample(XLogRecPtr lsn, uint64 next_xid)
{
	Sample	   *sample = &samples[nsamples++ % NUM_SAMPLES];

	sample->lsn = lsn;
	sample->next_xid = next_xid;
}

/* Where the WAL is, written or replayed. */
static XLogRecPtr
wal_place(void)
{
	return RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) :
		GetXLogInsertRecPtr();
}

static uint64
next_xid(void)
{
	return U64FromFullTransactionId(ReadNextFullTransactionId());
}

/* Take a sample, unless one was taken just now. */
static void
take_sample(void)
{
	TimestampTz now = GetCurrentTimestamp();
	XLogRecPtr	lsn;

	if (!TimestampDifferenceExceeds(last_sample, now, SAMPLE_INTERVAL_MS))
		return;
	last_sample = now;
	lsn = wal_place();			/* before the id is read */
	add_sample(lsn, next_xid());
}

/* Take what the last checkpoint noted for a sample. */
static void
sample_checkpoint(void)
{
	TimestampTz now = GetCurrentTimestamp();
	ControlFileData *control;
	bool		intact;

	if (!TimestampDifferenceExceeds(last_checkpoint_look, now,
									SAMPLE_INTERVAL_MS))
		return;
	last_checkpoint_look = now;
	LWLockAcquire(ControlFileLock, LW_SHARED);
	control = get_controlfile(DataDir, &intact);
	LWLockRelease(ControlFileLock);
	if (intact)
		add_sample(control->checkPointCopy.redo,
				   U64FromFullTransactionId(control->checkPointCopy.nextXid));
	pfree(control);
}

static XLogRecPtr
best_sample(uint64 xmin)
{
	XLogRecPtr	best = InvalidXLogRecPtr;

	for (int i = 0; i < Min(nsamples, NUM_SAMPLES); i++)
		if (samples[i].next_xid <= xmin && samples[i].lsn > best)
			best = samples[i].lsn;
	return best;
}

/* The newest horizon of a snapshot with this xmin that we know. */
static XLogRecPtr
find_horizon(uint64 xmin)
{
	XLogRecPtr	horizon = best_sample(xmin);

	if (horizon == InvalidXLogRecPtr)
	{
		sample_checkpoint();
		horizon = best_sample(xmin);
	}
	return horizon;
}

/* The newest transaction that these 32 bits can stand for. */
static uint64
widen_xid(TransactionId xid, uint64 next)
{
	uint64		wide = (next & ~UINT64CONST(0xFFFFFFFF)) | xid;

	if (wide > next && wide > PG_UINT32_MAX)
		wide -= UINT64CONST(1) << 32;
	return wide;
}

static int
compare_xids(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* List what was in progress.  Our own transaction has written no counters. */
static void
list_xids(Position *position, Snapshot snapshot, uint64 next)
{
	int			count = snapshot->xcnt + snapshot->subxcnt;
	TransactionId own = GetTopTransactionIdIfAny();

	position->nxids = 0;
	position->complete = !snapshot->suboverflowed && count < MAX_LISTED_XIDS;
	if (!position->complete)
		return;
	position->xids = palloc((count + 1) * sizeof(uint64));
	for (int i = 0; i < snapshot->xcnt; i++)
		position->xids[position->nxids++] = widen_xid(snapshot->xip[i], next);
	for (int i = 0; i < snapshot->subxcnt; i++)
		position->xids[position->nxids++] = widen_xid(snapshot->subxip[i], next);
	if (TransactionIdIsValid(own))
		position->xids[position->nxids++] = widen_xid(own, next);
	qsort(position->xids, position->nxids, sizeof(uint64), compare_xids);
}

static text *
write_position(const Position *position)
{
	StringInfoData buf;
	uint64		previous = position->xmin;

	encode_begin(&buf, KIND_POSITION);
	encode_fixed64(&buf, position->fingerprint);
	encode_integer(&buf, position->file);
	encode_integer(&buf, position->horizon);
	encode_integer(&buf, position->xmin);
	encode_integer(&buf, position->xmax - position->xmin);
	encode_integer(&buf, position->complete);
	encode_integer(&buf, position->nxids);
	for (int i = 0; i < position->nxids; i++)
	{
		encode_integer(&buf, position->xids[i] - previous);
		previous = position->xids[i];
	}
	return encode_end(&buf);
}

static void
reject_position(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid position"),
			 errhint("Pass what cache_notify.current_position() returned, unchanged.")));
}

/* False if it is of a release that writes positions in another way. */
static bool
read_position(const text *string, Position *position)
{
	Decoder		decoder;
	uint8		kind;
	uint64		previous;
	uint64		nxids;

	if (!decode_begin(&decoder, string, &kind) || kind == KIND_TOKEN)
		reject_position();
	if (kind != KIND_POSITION)
		return false;
	position->fingerprint = decode_fixed64(&decoder);
	position->file = (Oid) decode_integer(&decoder);
	position->horizon = decode_integer(&decoder);
	previous = position->xmin = decode_integer(&decoder);
	position->xmax = position->xmin + decode_integer(&decoder);
	position->complete = decode_integer(&decoder) != 0;
	nxids = decode_integer(&decoder);
	if (nxids > MAX_LISTED_XIDS)
		reject_position();
	position->nxids = (int) nxids;
	position->xids = palloc((nxids + 1) * sizeof(uint64));
	for (int i = 0; i < position->nxids; i++)
		previous = position->xids[i] = previous + decode_integer(&decoder);
	if (!decode_end(&decoder))
		reject_position();
	return true;
}

/* Was the transaction certainly seen at the position? */
static bool
seen_at(const Position *position, uint64 xid)
{
	if (xid < position->xmin)
		return true;
	if (xid >= position->xmax || !position->complete)
		return false;
	return bsearch(&xid, position->xids, position->nxids, sizeof(uint64),
				   compare_xids) == NULL;
}

/*
 * Wait until what this transaction can see is on disk.  An insert position
 * just past a page header stands for the end of the page before.
 */
static void
flush_what_is_seen(void)
{
	XLogRecPtr	lsn;

	if (RecoveryInProgress())
		return;
	lsn = GetXLogInsertRecPtr();
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		lsn -= SizeOfXLogLongPHD;
	else if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		lsn -= SizeOfXLogShortPHD;
	XLogFlush(lsn);
}

/* current_position() returns text */
Datum
cache_notify_current_position(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	CounterTable *table;
	History		history;
	Position	position;
	uint64		next;

	table = counter_open(AccessShareLock);
	if (table == NULL)
		PG_RETURN_NULL();
	epoch_read(table, snapshot, &history);
	position.fingerprint = history.fingerprint;
	position.file = compat_relation_file(counter_heap(table));
	counter_close(table, AccessShareLock);

	next = next_xid();
	position.xmin = widen_xid(snapshot->xmin, next);
	position.xmax = widen_xid(snapshot->xmax, next);
	list_xids(&position, snapshot, next);
	position.horizon = find_horizon(position.xmin);
	take_sample();
	flush_what_is_seen();
	PG_RETURN_TEXT_P(write_position(&position));
}

/* One call of changes_since(). */
typedef struct Search
{
	ReturnSetInfo *rsinfo;
	CounterTable *table;
	Snapshot	snapshot;
	History		history;
	Position	position;
	uint64		next_xid;
	SumCache   *cache;
	bool		changed;		/* of unseen_row() */
} Search;

static void
return_change(Search *search, const char *domain, const char *tenant,
			  int64 version)
{
	Datum		values[3] = {0};
	bool		nulls[3] = {tenant == NULL, domain == NULL, domain == NULL};

	if (tenant != NULL)
		values[0] = CStringGetTextDatum(tenant);
	if (domain != NULL)
		values[1] = CStringGetTextDatum(domain);
	values[2] = Int64GetDatum(version);
	tuplestore_putvalues(search->rsinfo->setResult, search->rsinfo->setDesc,
						 values, nulls);
}

/* A key has changed: return it, unless it has been returned. */
static void
report_scope(Search *search, const char *domain, const char *tenant)
{
	int64		version = search->history.origin;

	if (!sum_cache_first_report(search->cache, domain, tenant))
		return;
	version += sum_cache_read(search->cache, domain,
							  tenant == ALL_TENANTS ? ALL_TENANTS : NULL);
	if (tenant == ALL_TENANTS)
		tenant = NULL;
	else if (tenant != NULL)
		version += sum_cache_read(search->cache, domain, tenant);
	return_change(search, domain, tenant, version);
}

/* Was the row version written by a transaction unseen at the position? */
static bool
is_unseen(Search *search, HeapTupleHeader header)
{
	TransactionId xmin = HeapTupleHeaderGetRawXmin(header);

	return TransactionIdIsNormal(xmin) &&
		!seen_at(&search->position, widen_xid(xmin, search->next_xid));
}

/*
 * Begin a search and return true, or answer that everything may have changed
 * and return false.
 */
static bool
begin_search(FunctionCallInfo fcinfo, Search *search)
{
	compat_materialize_result(fcinfo);
	memset(search, 0, sizeof(Search));
	search->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	search->snapshot = GetActiveSnapshot();
	if (!PG_ARGISNULL(0) &&
		read_position(PG_GETARG_TEXT_PP(0), &search->position) &&
		(search->table = counter_open(AccessShareLock)) != NULL)
	{
		epoch_read(search->table, search->snapshot, &search->history);
		search->next_xid = next_xid();
		search->cache = sum_cache_create(search->table, search->snapshot);
		if (search->position.fingerprint == search->history.fingerprint)
			return true;
		counter_close(search->table, AccessShareLock);
	}
	return_change(search, NULL, NULL, 0);
	return false;
}

static void
end_search(Search *search)
{
	counter_close(search->table, AccessShareLock);
	take_sample();
}

/* Report the keys of these row versions of one page, which are copies. */
static void
report_tuples(Search *search, List *tuples)
{
	TupleDesc	desc = RelationGetDescr(counter_heap(search->table));
	ListCell   *lc;

	foreach(lc, tuples)
	{
		char	   *domain;
		char	   *tenant;

		counter_key_of_row(lfirst(lc), desc, &domain, &tenant);
		if (!is_internal_domain(domain))
			report_scope(search, domain, tenant);
	}
}

/* Search a page that has changed. */
static void
search_page(Search *search, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	List	   *tuples = NIL;
	OffsetNumber max;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	max = PageGetMaxOffsetNumber(page);
	for (OffsetNumber n = FirstOffsetNumber; n <= max; n = OffsetNumberNext(n))
	{
		ItemId		item = PageGetItemId(page, n);
		HeapTupleData tuple;

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(counter_heap(search->table));
		ItemPointerSet(&tuple.t_self, BufferGetBlockNumber(buffer), n);
		if (is_unseen(search, tuple.t_data) &&
			HeapTupleSatisfiesVisibility(&tuple, search->snapshot, buffer))
			tuples = lappend(tuples, heap_copytuple(&tuple));
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	report_tuples(search, tuples);
}

/* Search every page that has changed after the horizon. */
static void
search_table(Search *search)
{
	Relation	heap = counter_heap(search->table);
	BlockNumber nblocks = RelationGetNumberOfBlocks(heap);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	XLogRecPtr	horizon = search->position.horizon;
	MemoryContext work,
				old;

	if (search->position.file != compat_relation_file(heap))
		horizon = InvalidXLogRecPtr;
	work = AllocSetContextCreate(CurrentMemoryContext, "cache_notify changes",
								 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(work);
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL,
									strategy);
		if (horizon == InvalidXLogRecPtr ||
			BufferGetLSNAtomic(buffer) > horizon)
		{
			search_page(search, buffer);
			MemoryContextReset(work);
		}
		ReleaseBuffer(buffer);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
	FreeAccessStrategy(strategy);
}

/* changes_since(since text) returns setof (tenant_id, domain, version) */
Datum
cache_notify_changes_since(PG_FUNCTION_ARGS)
{
	Search		search;

	if (begin_search(fcinfo, &search))
	{
		search_table(&search);
		end_search(&search);
	}
	return (Datum) 0;
}

static void
look_for_unseen(HeapTuple tuple, void *arg)
{
	Search	   *search = arg;

	if (is_unseen(search, tuple->t_data))
		search->changed = true;
}

static void
search_scope(Search *search, const char *domain, const char *tenant)
{
	CounterKey	key = counter_key(domain, tenant);

	search->changed = false;
	counter_visit(search->table, &key, search->snapshot,
				  look_for_unseen, search);
	if (search->changed)
		report_scope(search, domain, tenant);
}

/*
 * changes_since(since text, for_tenant text, VARIADIC domains text[])
 * returns setof (tenant_id, domain, version)
 */
Datum
cache_notify_changes_since_named(PG_FUNCTION_ARGS)
{
	Search		search;
	bool		begun = begin_search(fcinfo, &search);
	List	   *names = name_arguments(fcinfo, 1, 2);
	ListCell   *lc;

	if (begun)
	{
		foreach(lc, names)
		{
			VersionName *name = lfirst(lc);

			CHECK_FOR_INTERRUPTS();
			search_scope(&search, name->domain,
						 name->tenant ? NULL : ALL_TENANTS);
			if (name->tenant != NULL)
				search_scope(&search, name->domain, name->tenant);
		}
		end_search(&search);
	}
	return (Datum) 0;
}
