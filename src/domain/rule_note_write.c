/*-------------------------------------------------------------------------
 *
 * rule_note_write.c
 *	  Write the notes of cascade rules: see rule_note.c.
 *
 * Whoever writes a rule has it noted at tables that are in use, and perhaps not
 * his.  CREATE OR REPLACE TRIGGER would make all writers wait, so the row of
 * pg_trigger is changed in its place, under the lock that a writer has: it keeps
 * out everybody who creates, changes or drops triggers, and nobody else.  Those
 * who write rules come one at a time, by the lock on the configuration.  A label is
 * changed under the lock that SECURITY LABEL takes.
 *
 * To add a note, nobody waits for a lock: two sessions that set something up could
 * wait for each other.  If it is not to be had at once, a warning says what to do.
 * One that takes a note away waits, as a note that stays would bring the rule back.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/seclabel.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/*
 * No notes beyond this, or the arguments would not be read at all; it leaves room for
 * what a label needs to be written as an array.
 */
#define MAX_NOTED_LEN	(MAX_ARGUMENTS_LEN / 2)

static bool
same_notes(List *a, List *b)
{
	ListCell   *lc,
			   *lc2;

	if (list_length(a) != list_length(b))
		return false;
	forboth(lc, a, lc2, b)
	{
		if (strcmp(lfirst(lc), lfirst(lc2)) != 0)
			return false;
	}
	return true;
}

static bool
takes_notes(const Watch *watch, const char *domain)
{
	return !watch->is_row && !watch->inherited && strcmp(watch->domain, domain) == 0;
}

/* Give a Watch these notes in place of those it has.  False if these are they. */
static bool
replace_notes(Watch *watch, List *notes)
{
	char	  **args = palloc((watch->nargs + list_length(notes)) * sizeof(char *));
	int			nargs = 0;
	Size		len = 0;
	ListCell   *lc;

	if (same_notes(watch->options->rules, notes))
		return false;
	for (int i = 0; i < watch->nargs; i++)
		if (!is_rule_note(watch->args[i]))
		{
			args[nargs++] = watch->args[i];
			len += strlen(watch->args[i]) + 1;
		}
	foreach(lc, notes)
	{
		char	   *argument = rule_note_argument(lfirst(lc));

		len += strlen(argument) + 1;
		if (len > MAX_NOTED_LEN)
			break;
		args[nargs++] = argument;
	}
	watch->args = args;
	watch->nargs = nargs;
	return true;
}

static bool
is_among(const char *note, List *notes)
{
	ListCell   *lc;

	foreach(lc, notes)
	{
		if (strcmp(lfirst(lc), note) == 0)
			return true;
	}
	return false;
}

/* Do notes differ from those that there are, and does one of these go? */
static bool
has_other_notes(Oid relid, const char *domain, List *notes, bool *some_go)
{
	bool		other = false;
	ListCell   *lc,
			   *lc2;

	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		const Watch *watch = lfirst(lc);

		if (!takes_notes(watch, domain) || same_notes(watch->options->rules, notes))
			continue;
		other = true;
		foreach(lc2, watch->options->rules)
			*some_go |= !is_among(lfirst(lc2), notes);
	}
	return other;
}

static bool
lock_for_notes(Oid relid, bool wait)
{
	char		relkind = get_rel_relkind(relid);
	bool		by_label = relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW;
	LOCKMODE	mode = by_label ? ShareUpdateExclusiveLock : RowExclusiveLock;

	if (wait)
		LockRelationOid(relid, mode);
	if (wait || ConditionalLockRelationOid(relid, mode))
		return true;
	ereport(WARNING,
			(errmsg("cascade rules are not noted at %s, which is locked",
					get_rel_name(relid)),
			 errhint("Call cache_notify.repair(), or a dump of this table alone will lack them.")));
	return false;
}

/*
 * Have a relation say that there are these rules, char *, and no others.  Returns
 * whether it had said anything else.
 */
bool
rule_notes_write(Oid relid, const char *domain, List *notes)
{
	bool		written = false;
	bool		some_go = false;
	ListCell   *lc;

	if (!has_other_notes(relid, domain, notes, &some_go) ||
		!lock_for_notes(relid, some_go))
		return false;
	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		Watch	   *watch = lfirst(lc);
		ObjectAddress view = {RelationRelationId, relid, 0};

		if (!takes_notes(watch, domain) || !replace_notes(watch, notes))
			continue;
		/* What fires need not know them, so the relcache stays as it is. */
		if (OidIsValid(watch->trigger))
			watch_write_arguments(watch);
		else
			SetSecurityLabel(&view, LABEL_PROVIDER, watch_as_text(watch));
		written = true;
	}
	if (written)
		announce_configuration();
	return written;
}

/* The transaction that deleted or replaced a row version; none if it was only locked. */
static TransactionId
replaced_by(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return (header->t_infomask & HEAP_XMAX_INVALID) ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) ? InvalidTransactionId :
		HeapTupleHeaderGetUpdateXid(header);
}

/*
 * By which transaction a relation came to be watched as it is: that which wrote the
 * trigger, unless it has only noted rules there (rule_note_write.c).  A row version
 * that is gone need not be found, as no snapshot is so old then.
 */
TransactionId
watch_since(const Watch *watch)
{
	TransactionId since = watch->xmin;
	Relation	pg_trigger;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		other = false;

	if (watch->is_row || !OidIsValid(watch->trigger) ||
		!TransactionIdIsNormal(watch->xmin) ||
		TransactionIdPrecedes(watch->xmin, MyProc->xmin))
		return since;
	pg_trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(watch->trigger));
	scan = systable_beginscan(pg_trigger, TriggerOidIndexId, true, SnapshotAny,
							  1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		const Watch *version = watch_of_trigger_tuple(tuple, RelationGetDescr(pg_trigger));
		bool		same = version != NULL && same_watch(version, watch);

		if (xmin == watch->xmin)
			other |= !same;
		else if (same && replaced_by(tuple) == watch->xmin)
			since = xmin;
	}
	systable_endscan(scan);
	table_close(pg_trigger, AccessShareLock);
	return other ? watch->xmin : since;
}
