/*-------------------------------------------------------------------------
 *
 * refresh.c
 *	  Claims: of all who find the same cached result stale, one computes it
 *	  anew.
 *
 * A claim must be seen by every other session at once, also by those on the
 * other side of a pooler, whatever transaction it is made in; nobody may wait
 * for one; and what anybody can make must be bounded.  So claims are slots of
 * fixed number in shared buffers: rows of the unlogged table refresh_claim that
 * are changed in place, under the buffer's lock, as if its pages were shared
 * memory.  No transaction is involved.  A crash empties the table, which is
 * filled again when it is needed.
 *
 * A claim belongs to a hash of role, name and token.  It may be in any slot of
 * the page that the hash leads to.  If all of these are taken, there is no
 * claim and the caller is told to go ahead: then two may compute the same.
 *
 * It ends when it is finished, when its time is over, or when the backend that
 * made it is gone.  Behind a pooler that may be long after the client is: hence
 * the time, which is limited.  That the process id has been given to another
 * backend cannot be told; then, too, the time ends the claim.
 *
 * As the role is part of it, roles cannot get into each other's way.  Nor can
 * one take all the slots: in a page without a free one, a role takes a slot of
 * the role that has most, if that has two more than itself.  Who loses a claim
 * may find that two compute the same, which is what he did to others.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(cache_notify_claim_refresh);
PG_FUNCTION_INFO_V1(cache_notify_finish_refresh);

/* Pages of the table, with some 130 slots each. */
#define NUM_PAGES		32

/* How long a claim may last at most. */
#define MAX_CLAIM_MS	(5 * 60 * 1000)

#define Natts_claim		5

/* A slot: the columns of refresh_claim, all of fixed width. */
typedef struct Claim
{
	int64		hash1;
	int64		hash2;
	TimestampTz expires;		/* long ago: the slot is free */
	int32		pid;
	Oid			role;			/* whose it is */
} Claim;

static void
insert_slot(Relation rel)
{
	Datum		values[Natts_claim] = {0};
	bool		nulls[Natts_claim] = {0};
	HeapTuple	tuple;

	values[2] = TimestampTzGetDatum(0);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	heap_insert(rel, tuple, GetCurrentCommandId(true), HEAP_INSERT_FROZEN, NULL);
	heap_freetuple(tuple);
}

/* Are its pages full of slots?  Then there is another page behind them. */
static bool
is_filled(Relation rel)
{
	return RelationGetNumberOfBlocks(rel) > NUM_PAGES;
}

/* Fill the table, if it is new or a crash has emptied it. */
static void
fill_table(Relation rel)
{
	LockPage(rel, 0, ExclusiveLock);
	while (!is_filled(rel))
	{
		CHECK_FOR_INTERRUPTS();
		insert_slot(rel);
	}
	UnlockPage(rel, 0, ExclusiveLock);
}

static Relation
open_claims(void)
{
	Relation	rel = extension_open(INTERNAL_SCHEMA, "refresh_claim", RowExclusiveLock);

	if (rel != NULL && !is_filled(rel))
		fill_table(rel);
	return rel;
}

static void
make_claim(FunctionCallInfo fcinfo, Claim *claim)
{
	StringInfoData buf;
	text	   *name = PG_GETARG_TEXT_PP(0);
	text	   *token = PG_GETARG_TEXT_PP(1);

	claim->role = GetUserId();
	/* No text has a zero byte, so the end of the name is plain. */
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &claim->role, sizeof(claim->role));
	appendBinaryStringInfo(&buf, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	appendStringInfoChar(&buf, '\0');
	appendBinaryStringInfo(&buf, VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
	claim->hash1 = (int64) hash_bytes_extended((unsigned char *) buf.data,
											   buf.len, 0);
	claim->hash2 = (int64) hash_bytes_extended((unsigned char *) buf.data,
											   buf.len, claim->hash1);
	claim->pid = MyProcPid;
}

static bool
is_valid(const Claim *claim, TimestampTz now)
{
	return claim->expires > now &&
		(claim->pid == MyProcPid || BackendPidGetProc(claim->pid) != NULL);
}

static Claim *
slot_at(Page page, OffsetNumber n)
{
	ItemId		item = PageGetItemId(page, n);
	HeapTupleHeader header;

	if (!ItemIdIsNormal(item))
		return NULL;
	header = (HeapTupleHeader) PageGetItem(page, item);
	return (Claim *) ((char *) header + header->t_hoff);
}

static int
count_slots(Page page, Oid role)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	int			count = 0;

	for (OffsetNumber n = FirstOffsetNumber; n <= last; n = OffsetNumberNext(n))
	{
		Claim	   *slot = slot_at(page, n);

		if (slot != NULL && slot->role == role)
			count++;
	}
	return count;
}

/* Who has most slots of a page, and two more than this role; InvalidOid: nobody. */
static Oid
greediest_role(Page page, Oid role)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	int			most = count_slots(page, role) + 1;
	Oid			result = InvalidOid;
	Oid			counted = role;

	for (OffsetNumber n = FirstOffsetNumber; n <= last; n = OffsetNumberNext(n))
	{
		Claim	   *slot = slot_at(page, n);

		if (slot == NULL || slot->role == counted)
			continue;
		counted = slot->role;
		if (count_slots(page, counted) > most)
		{
			most = count_slots(page, counted);
			result = counted;
		}
	}
	return result;
}

/* In a page without a free slot: the one that ends first of who has too many. */
static Claim *
slot_beyond_share(Page page, Oid role)
{
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	Oid			greediest = greediest_role(page, role);
	Claim	   *result = NULL;

	for (OffsetNumber n = FirstOffsetNumber; n <= last; n = OffsetNumberNext(n))
	{
		Claim	   *slot = slot_at(page, n);

		if (slot != NULL && slot->role == greediest && OidIsValid(greediest) &&
			(result == NULL || slot->expires < result->expires))
			result = slot;
	}
	return result;
}

/*
 * Find the slot that has a claim, or else one to take, in a page that is locked
 * exclusively; NULL: there is none.
 */
static Claim *
find_slot(Page page, const Claim *claim, bool *found)
{
	TimestampTz now = GetCurrentTimestamp();
	Claim	   *free_slot = NULL;
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	*found = false;
	for (OffsetNumber n = FirstOffsetNumber; n <= last; n = OffsetNumberNext(n))
	{
		Claim	   *slot = slot_at(page, n);

		if (slot == NULL)
			continue;
		if (slot->hash1 == claim->hash1 && slot->hash2 == claim->hash2)
		{
			*found = is_valid(slot, now);
			return slot;
		}
		if (free_slot == NULL && !is_valid(slot, now))
			free_slot = slot;
	}
	return free_slot != NULL ? free_slot : slot_beyond_share(page, claim->role);
}

/* Pin and lock the page of a claim. */
static Buffer
lock_page(Relation rel, const Claim *claim)
{
	Buffer		buffer = ReadBuffer(rel, (uint64) claim->hash1 % NUM_PAGES);

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return buffer;
}

/* When a claim that is made now ends. */
static TimestampTz
claim_end(Interval *duration)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end =
		DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												TimestampTzGetDatum(now),
												IntervalPGetDatum(duration)));

	if (end <= now || end > TimestampTzPlusMilliseconds(now, MAX_CLAIM_MS))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a claim lasts more than no time and at most 5 minutes"),
				 errhint("Say how long computing the result takes at worst.")));
	return end;
}

/* claim_refresh(name text, token text, at_most interval) returns boolean */
Datum
cache_notify_claim_refresh(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Claim	   *slot;
	Relation	rel;
	Buffer		buffer;
	bool		found;

	PreventCommandDuringRecovery("claim_refresh()");
	PreventCommandIfParallelMode("claim_refresh()");
	make_claim(fcinfo, &claim);
	claim.expires = claim_end(PG_GETARG_INTERVAL_P(2));
	rel = open_claims();
	if (rel == NULL)
		PG_RETURN_NULL();
	buffer = lock_page(rel, &claim);
	slot = find_slot(BufferGetPage(buffer), &claim, &found);
	if (slot != NULL && !found)
	{
		*slot = claim;
		MarkBufferDirty(buffer);
	}
	UnlockReleaseBuffer(buffer);
	relation_close(rel, RowExclusiveLock);
	PG_RETURN_BOOL(!found);
}

/* finish_refresh(name text, token text) returns boolean */
Datum
cache_notify_finish_refresh(PG_FUNCTION_ARGS)
{
	Claim		claim;
	Claim	   *slot;
	Relation	rel;
	Buffer		buffer;
	bool		found;

	PreventCommandDuringRecovery("finish_refresh()");
	PreventCommandIfParallelMode("finish_refresh()");
	make_claim(fcinfo, &claim);
	rel = open_claims();
	if (rel == NULL)
		PG_RETURN_NULL();
	buffer = lock_page(rel, &claim);
	slot = find_slot(BufferGetPage(buffer), &claim, &found);
	if (found)
	{
		memset(slot, 0, sizeof(Claim));
		MarkBufferDirty(buffer);
	}
	UnlockReleaseBuffer(buffer);
	relation_close(rel, RowExclusiveLock);
	PG_RETURN_BOOL(found);
}
