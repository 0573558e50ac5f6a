/*-------------------------------------------------------------------------
 *
 * owed.c
 *	  Deliveries that a transaction could not make itself.
 *
 * A prepared transaction cannot send notifications: at COMMIT PREPARED its
 * backend is long gone.  A transaction that finds the notification queue full
 * must not fail.  Both write what they owe to _cache_notify.owed_delivery, in
 * the same transaction, so it becomes visible with the change and goes with a
 * rollback.  Whoever delivers next takes it over.
 *
 * A row is a scope, or a message that is ready to be sent, or owes a reset:
 * listeners must drop everything.  A scope with a former watch is for the
 * channel that the domain went to because of it: whoever delivers finds
 * nothing of that in the catalogs any more.
 *
 * Rows are found with a dirty snapshot and deleted without waiting; a row
 * that somebody else is taking is left to him.  A payload may be long enough
 * for the TOAST table, which the server lets nobody touch without an active
 * snapshot, even to delete what is there.  A commit has none of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/owed.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"

#include "delivery/message.h"

/* Columns of _cache_notify.owed_delivery. */
#define Anum_owed_domain	1
#define Anum_owed_tenant_id	2
#define Anum_owed_channel	3
#define Anum_owed_payload	4
#define Anum_owed_former	5
#define Anum_owed_former_relation	6
#define Anum_owed_former_name	7
#define Natts_owed			7

/* A prepared transaction with more scopes than this owes a reset instead. */
#define MAX_OWED_REQUESTS		1000

static Relation
open_owed(void)
{
	return extension_open(INTERNAL_SCHEMA, "owed_delivery", RowExclusiveLock);
}

static void
insert_owed(Relation rel, const char *row[Natts_owed])
{
	Datum		values[Natts_owed] = {0};
	bool		nulls[Natts_owed];
	HeapTuple	tuple;

	for (int i = 0; i < Natts_owed; i++)
	{
		nulls[i] = row[i] == NULL;
		if (row[i] != NULL)
			values[i] = CStringGetTextDatum(row[i]);
	}
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	PushActiveSnapshot(GetLatestSnapshot());
	heap_insert(rel, tuple, GetCurrentCommandId(true), 0, NULL);
	PopActiveSnapshot();
	heap_freetuple(tuple);
}

static void
insert_request(Relation rel, const DeliveryRequest *request)
{
	const Watch *former = request->former;
	const char *row[Natts_owed] = {
		[Anum_owed_domain - 1] = request->domain->name,
		[Anum_owed_tenant_id - 1] = request->counter.tenant
	};

	if (former != NULL)
	{
		row[Anum_owed_former - 1] = watch_as_text(former);
		row[Anum_owed_former_relation - 1] = psprintf("%u", former->relation);
		row[Anum_owed_former_name - 1] = former->relation_name;
	}

	insert_owed(rel, row);
}

static void
insert_reset(Relation rel)
{
	const char *row[Natts_owed] = {0};

	insert_owed(rel, row);
}

/* This transaction owes the delivery of these ChangeKeys. */
void
owed_add(List *requests)
{
	Relation	rel = open_owed();
	ListCell   *lc;

	if (rel == NULL)
		return;
	if (list_length(requests) > MAX_OWED_REQUESTS)
		insert_reset(rel);
	foreach(lc, requests)
	{
		DeliveryRequest *request = lfirst(lc);

		/* The reset will not reach a former channel. */
		if (list_length(requests) <= MAX_OWED_REQUESTS || request->former != NULL)
			insert_request(rel, request);
		FAULT_POINT("owed");
	}
	relation_close(rel, NoLock);
}

static bool
same_message(const Message *a, const Message *b)
{
	return strcmp(a->channel, b->channel) == 0 &&
		strcmp(a->payload, b->payload) == 0;
}

static void
insert_message(Relation rel, const Message *message)
{
	const char *row[Natts_owed] = {
		[Anum_owed_channel - 1] = message->channel,
		[Anum_owed_payload - 1] = message->payload
	};

	insert_owed(rel, row);
}

/*
 * This transaction owes these Messages, which no reset can stand for.  Equal
 * ones, taken over from others perhaps, are owed once.
 */
void
owed_add_messages(List *messages)
{
	Relation	rel = messages != NIL ? open_owed() : NULL;

	if (rel == NULL)
		return;
	for (int i = 0; i < list_length(messages); i++)
	{
		bool		repeated = false;

		for (int j = 0; j < i && !repeated; j++)
			repeated = same_message(list_nth(messages, i), list_nth(messages, j));
		if (!repeated)
			insert_message(rel, list_nth(messages, i));
	}
	relation_close(rel, NoLock);
}

/* The end of an element of an array's text that begins here; NULL: malformed. */
static const char *
end_of_element(const char *p)
{
	const char *start = p;

	if (*p != '"')
	{
		p += strcspn(p, "{}\"\\,");
		return p > start ? p : NULL;
	}
	for (p++; *p != '"'; p++)
	{
		if (*p == '\\')
			p++;
		if (*p == '\0')
			return NULL;
	}
	return p + 1;
}

/* Would the server read this as an array of one dimension, without an error? */
static bool
is_array(const char *p)
{
	if (strcmp(p, "{}") == 0)
		return true;
	if (*p != '{')
		return false;
	do
		p = end_of_element(p + 1);
	while (p != NULL && *p == ',');
	return p != NULL && strcmp(p, "}") == 0;
}

/*
 * Can a scope be delivered as it is?  Our own are; the row of an older version,
 * or one that somebody has edited, must not fail whoever comes by.
 */
static bool
is_possible(const char *domain, const char *tenant, const char *former)
{
	return domain[0] != '\0' && strlen(domain) < NAMEDATALEN &&
		(tenant == NULL || strlen(tenant) <= MAX_TENANT_LEN) &&
		(former == NULL || is_array(former));
}

/* Add to what is owed what a row says.  Raises no errors. */
static void
read_owed(HeapTuple tuple, TupleDesc desc, Owed *owed)
{
	char	   *domain = text_attribute(tuple, desc, Anum_owed_domain);
	char	   *tenant = text_attribute(tuple, desc, Anum_owed_tenant_id);
	char	   *channel = text_attribute(tuple, desc, Anum_owed_channel);
	char	   *former = text_attribute(tuple, desc, Anum_owed_former);
	char	   *relation = text_attribute(tuple, desc, Anum_owed_former_relation);
	char	   *name = text_attribute(tuple, desc, Anum_owed_former_name);

	if (domain != NULL ? !is_possible(domain, tenant, former) : channel == NULL)
		owed->reset = true;
	else if (domain != NULL)
	{
		DeliveryRequest *request = palloc0(sizeof(DeliveryRequest));

		request->domain = domain_lookup(domain);
		request->counter = counter_key(request->domain->name, tenant);
		request->extra = palloc0(sizeof(ExtraFields));
		request->extra->events_incomplete = true;	/* its events are not kept */
		if (former != NULL)
			request->former = watch_from_text(former, request->domain->name,
											  relation ? atooid(relation) : InvalidOid,
											  name);
		owed->requests = lappend(owed->requests, request);
	}
	else
	{
		Message    *message = palloc0(sizeof(Message));

		message->channel = channel;
		message->payload = text_attribute(tuple, desc, Anum_owed_payload);
		if (message->payload == NULL)
			message->payload = "";
		owed->messages = lappend(owed->messages, message);
	}
}

/*
 * Wait until the transaction that wrote a row has also told us what it did to
 * the catalogs, which is when it gives up the lock on its ID: a moment.
 */
static void
wait_for_end(HeapTuple tuple)
{
	TransactionId xid = HeapTupleHeaderGetXmin(tuple->t_data);

	if (TransactionIdIsNormal(xid) && !TransactionIdIsCurrentTransactionId(xid))
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

/*
 * Visit the committed rows that nobody is taking.  With take, delete them;
 * without, stop at the first that owes a reset.  The scopes are unowned.  With
 * owed NULL they are deleted unread.
 */
static void
scan_owed(Relation rel, bool take, Owed *owed)
{
	SnapshotData dirty;
	TableScanDesc scan;
	HeapTuple	tuple;

	if (RelationGetNumberOfBlocks(rel) == 0)
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	InitDirtySnapshot(dirty);
	scan = compat_table_beginscan(rel, &dirty);
	while ((take || !owed->reset) &&
		   (tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		if (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax))
			continue;
		if (take)
			wait_for_end(tuple);
		if ((!take || compat_heap_delete(rel, &tuple->t_self)) && owed != NULL)
			read_owed(tuple, RelationGetDescr(rel), owed);
	}
	table_endscan(scan);
	PopActiveSnapshot();
}

/* Owe a reset, unless one is owed already. */
void
owed_add_reset(void)
{
	Relation	rel = open_owed();
	Owed		owed = {0};

	if (rel == NULL)
		return;
	scan_owed(rel, false, &owed);
	if (!owed.reset)
		insert_reset(rel);
	relation_close(rel, NoLock);
}

/* Take over what committed transactions owe, and learn what they did. */
Owed
owed_take(void)
{
	Relation	rel = open_owed();
	Owed		owed = {0};

	if (rel == NULL)
		return owed;
	scan_owed(rel, true, &owed);
	relation_close(rel, NoLock);
	AcceptInvalidationMessages();
	return owed;
}

/* Delete what committed transactions owe, unread: a reset is to stand for it. */
void
owed_discard(void)
{
	Relation	rel = open_owed();

	if (rel == NULL)
		return;
	scan_owed(rel, true, NULL);
	relation_close(rel, NoLock);
}
