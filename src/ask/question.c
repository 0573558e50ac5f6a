/*-------------------------------------------------------------------------
 *
 * question.c
 *	  What all that caches ask has in common: the snapshot, the history, and
 *	  which names may be trusted.
 *
 * A name whose domain is not known (known.c) has no version and no token, and
 * no token of it is current.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/question.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"


/* False if the extension is not there any more. */
bool
begin_question(Question *question)
{
	question->table = counter_open(AccessShareLock);
	if (question->table == NULL)
		return false;
	question->snapshot = GetActiveSnapshot();
	question->names_read = 0;
	epoch_read(question->table, question->snapshot, &question->history);
	return true;
}

void
end_question(Question *question)
{
	counter_close(question->table, AccessShareLock);
}

static bool
fed_by_hand(const char *domain, void *arg)
{
	Question   *question = arg;

	return by_hand_pending(domain) ||
		by_hand_seen(question->table, domain, question->snapshot);
}

/* Is the name's domain known, in the question's snapshot? */
bool
name_is_known(Question *question, const VersionName *name)
{
	return name_is_of_known(name, question->snapshot, fed_by_hand, question);
}

/*
 * Has this transaction changed what the tenant sees of the name, or may the
 * statement that asks?
 */
bool
name_is_pending(const VersionName *name)
{
	if (running_statement_changes(name->domain))
		return true;
	if (!change_set_active())
		return false;
	if (name->tenant == NULL)
		return pending_bumps(name, ALL_TENANTS) > 0;
	return pending_bumps(name, NULL) > 0 ||
		pending_bumps(name, name->tenant) > 0;
}

/* What a name's version consists of: for its tenant, or all together. */
int64
name_total(Question *question, const VersionName *name)
{
	if (name->tenant == NULL)
		return name_sum(question->table, name, ALL_TENANTS,
						question->snapshot);
	return name_sum(question->table, name, NULL, question->snapshot) +
		name_sum(question->table, name, name->tenant, question->snapshot);
}
