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

#include "access/xact.h"
#include "miscadmin.h"

PG_FUNCTION_INFO_V1(cache_notify_trigger_follows);

/* The transaction whose next trigger of ours is announced. */
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

/* A trigger of ours was created. */
void
restored_trigger_created(void)
{
	bool		announced = TransactionIdIsValid(announcing_xid) &&
		announcing_xid == GetTopTransactionIdIfAny();

	announcing_xid = InvalidTransactionId;
	if (!announced && may_restore())
		epoch_leave_zero();
}
