/*-------------------------------------------------------------------------
 *
 * by_hand.c
 *	  Domains that are fed by invalidate().
 *
 * A domain that nothing watches is known once invalidate() has moved it in a
 * transaction that committed; see known.c.  A counter under an internal name
 * says so, which is dumped, replicated and rolled back as all counters are.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "utils/snapmgr.h"

/* invalidate() moves this scope. */
void
by_hand_note(ScopeChange *scope)
{
	if (scope->by_hand || domain_is_watched(scope->domain->name))
		return;
	journal_scope(scope);
	scope->by_hand = true;
}

/* Has this transaction moved the domain by hand, and not taken it back? */
bool
by_hand_pending(const char *domain)
{
	ListCell   *lc;

	foreach(lc, change_set_scopes())
	{
		ScopeChange *scope = lfirst(lc);

		if (scope->by_hand && scope->bumps > 0 &&
			strcmp(scope->domain->name, domain) == 0)
			return true;
	}
	return false;
}

/* Does the snapshot see that invalidate() has fed the domain? */
bool
by_hand_seen(CounterTable *table, const char *domain, Snapshot snapshot)
{
	char	   *name = by_hand_name(domain);
	CounterKey	key = counter_key(name, NULL);
	bool		seen = counter_sum(table, &key, snapshot) > 0;

	pfree(name);
	return seen;
}

/* Say that a domain is fed by hand, unless that has been said. */
static void
write_mark(CounterTable *table, Domain *domain)
{
	CounterKey	mark;
	CounterBump bump = {.n = 1};
	bool		seen;

	PushActiveSnapshot(GetLatestSnapshot());
	seen = by_hand_seen(table, domain->name, GetActiveSnapshot());
	PopActiveSnapshot();
	if (seen)
		return;
	mark = counter_key(by_hand_name(domain->name), NULL);
	counter_bump(table, &mark, &bump);
}

/* Before the commit: write what by_hand_note() has noted of these scopes. */
void
by_hand_write(CounterTable *table, List *scopes)
{
	List	   *written = NIL;
	ListCell   *lc;

	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);

		/* A counter is written once in a transaction. */
		if (!scope->by_hand || scope->bumps == 0 ||
			list_member_ptr(written, scope->domain))
			continue;
		write_mark(table, scope->domain);
		written = lappend(written, scope->domain);
	}
}
