/*-------------------------------------------------------------------------
 *
 * restored.c
 *	  Does a watch come from a dump?
 *
 * No dump contains our state, but each contains the triggers of watched tables,
 * whoever makes it and in whatever form.  setup_table_invalidation() announces
 * each trigger that it creates; one that comes without being announced is from
 * a dump (or made by hand, which is rare).  Then caches may know versions of the
 * database that was dumped, so a new history begins: its versions start at the
 * clock, above any that a database has reached before.
 *
 * Only for those who may restore a database, not for whoever owns a table, and
 * only while versions start at 0: a database that has forked once has versions
 * from the clock already.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(cache_notify_trigger_follows);

/* The transaction whose next trigger of ours is announced; no other is meant. */
static TransactionId announcing_xid = InvalidTransactionId;

/* trigger_follows() returns void */
Datum
cache_notify_trigger_follows(PG_FUNCTION_ARGS)
{
	announcing_xid = GetTopTransactionId();
	PG_RETURN_VOID();
}

/*
 * Could the current user be restoring a dump of the database?  A superuser may
 * have become the table's owner for that.
 */
static bool
may_restore(void)
{
	return superuser() || compat_owns_database() ||
		(GetSessionUserId() != GetAuthenticatedUserId() &&
		 superuser_arg(GetAuthenticatedUserId()));
}

/* A trigger of ours was created.  Returns whether it comes from a dump. */
bool
restored_trigger_created(void)
{
	bool		announced = TransactionIdIsValid(announcing_xid) &&
		announcing_xid == GetTopTransactionIdIfAny();

	announcing_xid = InvalidTransactionId;
	if (!announced && may_restore())
		epoch_leave_zero();
	return !announced;
}

static Oid
relation_of_trigger(Oid trigger)
{
	Relation	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return relid;
}

/*
 * Some trigger was created that watches nothing.  If it is an entry of the
 * configuration, and from a dump, then the table of rules lacks it.  Whoever
 * writes an entry by hand that cannot be gets the error.
 */
void
configuration_trigger_created(Oid trigger)
{
	Oid			view = configuration_view();

	if (!OidIsValid(view) || relation_of_trigger(trigger) != view)
		return;
	announce_configuration();
	if (!restored_trigger_created())
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT " INTERNAL_SCHEMA ".refill_rules()", false, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "refill_rules() failed");
	SPI_finish();
}
