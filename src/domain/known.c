/*-------------------------------------------------------------------------
 *
 * known.c
 *	  Which domains something feeds, so that their silence means freshness.
 *
 * A domain is fed by a watched table or view, by a schema listener (the domain
 * "schema"), by an invalidate() that committed, or by a rule from a domain
 * that is fed.  It is known if it is fed, and if everything that rules carry
 * into it is known as well: a rule from a domain that nothing feeds, because
 * its name is mistyped or its table gone, would be silent for ever, and so
 * would whoever trusts its target.  Rules that only notify feed nothing.
 *
 * A watch of which something is missing (a disabled trigger, a row trigger
 * that was dropped) lets changes through, so it makes its domain unknown.  So
 * does a relation that has taken over the name of a watched one
 * (watched_name.c), or a table whose set-up asks for a rule that is not there.
 *
 * What feeds a domain is read with the watches, from the catalogs as they are
 * now, and kept current by the same invalidations.  The question is asked for
 * a snapshot, though, which may be older: then changes may have come between
 * it and the watch that would have counted them.  So each Domain has the
 * newest transaction that set up something that feeds it, and a snapshot that
 * does not see that one cannot have a token.
 *
 * Past calls of invalidate() leave a row in the counter table, under an
 * internal name, unless the domain is watched.  It is read in the snapshot
 * that asks, so nothing of it need be remembered.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A walk through the rules; numbers of others are in Domain.walk. */
static uint64 last_walk = 0;

/* The name of the counter that says that invalidate() has fed a domain. */
char *
by_hand_name(const char *domain)
{
	return psprintf(INTERNAL_PREFIX "by_hand/%s", domain);
}

/* Does something but rules and invalidate() feed the domain? */
static bool
is_watched(const Domain *domain)
{
	return inside(domain)->watching != NIL || inside(domain)->has_listener ||
		is_internal_domain(domain->name);
}

/* The same of a name. */
bool
domain_is_watched(const char *name)
{
	Domain	   *domain;

	(void) watch_load();
	domain = domain_find(name);
	return domain != NULL && is_watched(domain);
}

static bool
lets_changes_through(const Domain *domain)
{
	return inside(domain)->incomplete ||
		inside(domain)->nrow_triggers < inside(domain)->nrow_wanted ||
		watched_name_taken_over(domain);
}

/* The domain, and all whose changes the rules carry on to it. */
static List *
with_sources(Domain *domain)
{
	List	   *all = list_make1(domain);

	inside(domain)->walk = ++last_walk;
	for (int i = 0; i < list_length(all); i++)
	{
		ListCell   *lc;

		foreach(lc, inside(list_nth(all, i))->sources)
		{
			Domain	   *source = lfirst(lc);

			if (inside(source)->walk == last_walk)
				continue;
			inside(source)->walk = last_walk;
			all = lappend(all, source);
		}
	}
	return all;
}

static bool
has_fed_source(const Domain *domain)
{
	ListCell   *lc;

	foreach(lc, inside(domain)->sources)
	{
		if (inside(lfirst(lc))->fed)
			return true;
	}
	return false;
}

/* Let the rules between these feed what they lead to.  Are all of them fed? */
static bool
all_are_fed(List *all)
{
	bool		progress = true;
	bool		complete = false;

	while (progress)
	{
		ListCell   *lc;

		progress = false;
		complete = true;
		foreach(lc, all)
		{
			Domain	   *domain = lfirst(lc);

			if (!inside(domain)->fed && has_fed_source(domain))
				inside(domain)->fed = progress = true;
			complete &= inside(domain)->fed;
		}
	}
	return complete;
}

/*
 * Work it out.  What holds as long as the configuration does is remembered;
 * what invalidate() has fed depends on the snapshot.
 */
static bool
work_out(Domain *domain, FedByHand by_hand, void *arg)
{
	uint64		names = watched_name_changes();
	List	   *all = with_sources(domain);
	bool		lasting = true;
	bool		known = true;
	ListCell   *lc;

	foreach(lc, all)
	{
		Domain	   *source = lfirst(lc);

		known &= !lets_changes_through(source);
		inside(source)->fed = is_watched(source);
		if (!inside(source)->fed && by_hand(source->name, arg))
		{
			inside(source)->fed = true;
			lasting = false;
		}
		domain_set_up_by(domain, inside(source)->since);
	}
	known = known && all_are_fed(all);
	list_free(all);
	inside(domain)->found_known = known && lasting;
	inside(domain)->names_checked = names;
	return known;
}

/*
 * Does the snapshot see what feeds the domain?  In this transaction's own case
 * a snapshot that was taken later does.
 */
static bool
is_seen(Domain *domain, Snapshot snapshot)
{
	TransactionId xid = inside(domain)->since;

	if (!TransactionIdIsNormal(xid))
		return true;
	if (TransactionIdIsCurrentTransactionId(xid))
		return !IsolationUsesXactSnapshot();
	if (TransactionIdPrecedes(xid, MyProc->xmin))
	{
		inside(domain)->since = InvalidTransactionId;	/* no snapshot of ours
														 * is older */
		return true;
	}
	return !XidInMVCCSnapshot(xid, snapshot);
}

/*
 * Is a name's domain known, in this snapshot?  by_hand() says whether a
 * committed invalidate() feeds a domain.
 */
bool
name_is_of_known(const VersionName *name, Snapshot snapshot,
				 FedByHand by_hand, void *arg)
{
	Domain	   *domain = name->found;

	if (is_internal_domain(name->domain))
		return true;
	(void) watch_load();
	if (domain == NULL)
		return by_hand(name->domain, arg);
	if (!inside(domain)->found_known ||
		inside(domain)->names_checked != watched_name_changes())
	{
		if (!work_out(domain, by_hand, arg))
			return false;
	}
	return is_seen(domain, snapshot);
}
