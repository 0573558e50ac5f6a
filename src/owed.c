/*-------------------------------------------------------------------------
 *
 * owed.c
 *	  Deliveries that a transaction could not make itself.
 *
 * A prepared transaction cannot send notifications: at COMMIT PREPARED its
 * backend is long gone.  A transaction that finds the notification queue full
 * must not fail.  Both write what they owe to cache_notify.owed_delivery, in
 * the same transaction, so it becomes visible with the change and goes with a
 * rollback.  Whoever delivers next takes it over.
 *
 * A row without a domain owes a reset: listeners must drop everything.  A row
 * with a former watch is for the channel that the domain went to because of
 * it: whoever delivers finds nothing of it in the catalogs any more.
 *
 * Rows are found with a dirty snapshot and deleted without waiting; a row
 * that somebody else is taking is left to him.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "fault.h"

/* Columns of cache_notify.owed_delivery. */
#define Anum_owed_domain	1
#define Anum_owed_tenant_id	2
#define Anum_owed_former	3
#define Natts_owed			3

/* A prepared transaction with more keys than this owes a reset instead. */
#define MAX_OWED_KEYS		1000

static Relation
open_owed(void)
{
	return extension_open("owed_delivery", RowExclusiveLock);
}

static void
insert_owed(Relation rel, const char *domain, const char *tenant,
			const Watch *former)
{
	Datum		values[Natts_owed] = {0};
	bool		nulls[Natts_owed] = {domain == NULL, tenant == NULL, former == NULL};
	HeapTuple	tuple;

	if (domain != NULL)
		values[Anum_owed_domain - 1] = CStringGetTextDatum(domain);
	if (tenant != NULL)
		values[Anum_owed_tenant_id - 1] = CStringGetTextDatum(tenant);
	if (former != NULL)
		values[Anum_owed_former - 1] = watch_as_array(former);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	heap_insert(rel, tuple, GetCurrentCommandId(true), 0, NULL);
	heap_freetuple(tuple);
}

/* This transaction owes the delivery of these ChangeKeys. */
void
owed_add(List *keys)
{
	Relation	rel = open_owed();
	ListCell   *lc;

	if (rel == NULL)
		return;
	if (list_length(keys) > MAX_OWED_KEYS)
		insert_owed(rel, NULL, NULL, NULL);
	foreach(lc, keys)
	{
		ChangeKey  *key = lfirst(lc);

		/* The reset will not reach a former channel. */
		if (list_length(keys) <= MAX_OWED_KEYS || key->former != NULL)
			insert_owed(rel, key->domain->name, key->tenant, key->former);
		FAULT_POINT("owed");
	}
	relation_close(rel, NoLock);
}

static ChangeKey *
owed_key(HeapTuple tuple, TupleDesc desc)
{
	ChangeKey  *key = palloc0(sizeof(ChangeKey));
	bool		isnull;
	Datum		value = heap_getattr(tuple, Anum_owed_domain, desc, &isnull);

	key->domain = domain_lookup(TextDatumGetCString(value));
	key->extra.coarse = true;	/* its events are not kept */
	value = heap_getattr(tuple, Anum_owed_tenant_id, desc, &isnull);
	if (!isnull)
	{
		key->tenant = TextDatumGetCString(value);
		key->tenant_len = strlen(key->tenant);
	}
	value = heap_getattr(tuple, Anum_owed_former, desc, &isnull);
	if (!isnull)
		key->former = watch_from_array(value);
	return key;
}

/*
 * Visit the committed rows that nobody is taking.  With take, delete them and
 * return their keys (unowned ChangeKeys) in *keys; without, stop at the first
 * that owes a reset.  Returns whether a reset is owed.
 */
static bool
scan_owed(Relation rel, bool take, List **keys)
{
	TupleDesc	desc = RelationGetDescr(rel);
	SnapshotData dirty;
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		reset = false;

	if (RelationGetNumberOfBlocks(rel) == 0)
		return false;
	InitDirtySnapshot(dirty);
	scan = compat_table_beginscan(rel, &dirty);
	while ((take || !reset) &&
		   (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		if (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax))
			continue;
		if (take && !compat_heap_delete(rel, &tuple->t_self))
			continue;
		if (heap_attisnull(tuple, Anum_owed_domain, desc))
			reset = true;
		else if (take)
			*keys = lappend(*keys, owed_key(tuple, desc));
	}
	table_endscan(scan);
	return reset;
}

/* Owe a reset, unless one is owed already. */
void
owed_add_reset(void)
{
	Relation	rel = open_owed();

	if (rel == NULL)
		return;
	if (!scan_owed(rel, false, NULL))
		insert_owed(rel, NULL, NULL, NULL);
	relation_close(rel, NoLock);
}

/* Take over what committed transactions owe. */
List *
owed_take(bool *reset)
{
	Relation	rel = open_owed();
	List	   *keys = NIL;

	*reset = false;
	if (rel == NULL)
		return NIL;
	*reset = scan_owed(rel, true, &keys);
	relation_close(rel, NoLock);
	return keys;
}
