/*-------------------------------------------------------------------------
 *
 * family.c
 *	  Which watches a partition or child table has because of its parents.
 *
 * Locking: AccessShareLock on the catalogs that are read, kept no longer than
 * the reading.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_inherits.h"
#include "utils/fmgroids.h"

static List *
read_parents(Oid relid, bool attached_only)
{
	Relation	pg_inherits = table_open(InheritsRelationId, AccessShareLock);
	List	   *parents = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(pg_inherits, InheritsRelidSeqnoIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tuple);

		if (!attached_only || !form->inhdetachpending)
			parents = lappend_oid(parents, form->inhparent);
	}
	systable_endscan(scan);
	table_close(pg_inherits, AccessShareLock);
	return parents;
}

/* The tables that a table or partition is a child of. */
List *
parents_of(Oid relid)
{
	return read_parents(relid, false);
}

/* The same without those that it is about to be detached from. */
List *
attached_parents_of(Oid relid)
{
	return read_parents(relid, true);
}

/* Does a parent's watch ask for what was inherited from it? */
bool
is_asked_for(const Watch *watch)
{
	ListCell   *lc;

	foreach(lc, parents_of(watch->relation))
	{
		if (relation_feeds(lfirst_oid(lc), watch->domain))
			return true;
	}
	return false;
}

/* Is a table watched for this domain by itself, not because a parent is? */
static bool
watched_by_itself(Oid relid, const char *domain)
{
	ListCell   *lc;

	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		Watch	   *watch = lfirst(lc);

		if (!watch->is_row && !watch->inherited && watch->domain != NULL &&
			strcmp(watch->domain, domain) == 0)
			return true;
	}
	return false;
}

static Oid
find_watched_ancestor(Oid relid, const char *domain)
{
	ListCell   *lc;

	if (watched_by_itself(relid, domain))
		return relid;
	foreach(lc, parents_of(relid))
	{
		Oid			ancestor = find_watched_ancestor(lfirst_oid(lc), domain);

		if (OidIsValid(ancestor))
			return ancestor;
	}
	return InvalidOid;
}

/* The table that setup_table_invalidation() was called for, of which this one is a part. */
Oid
watched_ancestor(Oid relid, const char *domain)
{
	Oid			ancestor = find_watched_ancestor(relid, domain);

	return OidIsValid(ancestor) ? ancestor : relid;
}
