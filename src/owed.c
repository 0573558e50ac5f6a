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
 * A row without a domain owes a reset: listeners must drop everything.
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
#define Natts_owed			2

/* A prepared transaction with more keys than this owes a reset instead. */
#define MAX_OWED_KEYS		1000

static Relation
open_owed(void)
{
	return extension_open("owed_delivery", RowExclusiveLock);
}

static void
insert_owed(Relation rel, const char *domain, const char *tenant)
{
	Datum		values[Natts_owed] = {0};
	bool		nulls[Natts_owed] = {domain == NULL, tenant == NULL};
	HeapTuple	tuple;

	if (domain != NULL)
		values[Anum_owed_domain - 1] = CStringGetTextDatum(domain);
	if (tenant != NULL)
		values[Anum_owed_tenant_id - 1] = CStringGetTextDatum(tenant);
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
		insert_owed(rel, NULL, NULL);
	else
		foreach(lc, keys)
		{
			ChangeKey  *key = lfirst(lc);

			insert_owed(rel, key->domain->name, key->tenant);
			FAULT_POINT("owed");
		}
	relation_close(rel, NoLock);
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
		bool		no_domain,
					no_tenant;
		Datum		domain,
					tenant;

		if (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax))
			continue;
		if (take && !compat_heap_delete(rel, &tuple->t_self))
			continue;
		domain = heap_getattr(tuple, Anum_owed_domain, desc, &no_domain);
		tenant = heap_getattr(tuple, Anum_owed_tenant_id, desc, &no_tenant);
		if (no_domain)
			reset = true;
		else if (take)
		{
			ChangeKey  *key = palloc0(sizeof(ChangeKey));

			key->domain = domain_lookup(TextDatumGetCString(domain));
			key->tenant = no_tenant ? NULL : TextDatumGetCString(tenant);
			key->tenant_len = no_tenant ? 0 : strlen(key->tenant);
			key->extra.coarse = true;	/* its events are not kept */
			*keys = lappend(*keys, key);
		}
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
		insert_owed(rel, NULL, NULL);
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
