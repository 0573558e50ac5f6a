/*-------------------------------------------------------------------------
 *
 * running_statement.c
 *	  Which statements are changing watched tables just now.
 *
 * What a statement has changed is counted when its triggers fire, which is at
 * its end.  Until then, whoever asks from within the statement, in RETURNING,
 * in a WITH, in a trigger that fires before ours, sees changed rows and old
 * versions.  So there are no tokens of the domains that a running statement
 * may change, and none is current.  Which of its rows have changed so far does
 * not matter: a statement seldom asks about what it changes.
 *
 * Each statement of the executor that has result relations is in a list, which
 * nobody reads unless somebody asks.  It leaves the list with the memory of its
 * executor state, which is where the entry is: when it fails, or right after its
 * triggers have fired.  COPY and TRUNCATE have no executor state; as it hardly
 * happens that one asks during them, they are taken to change everything.
 *
 * A query that the server runs for a foreign key leaves its triggers to the
 * statement that caused it, so that goes on changing what the query changed.
 *
 * A statement that was running already when the library was loaded, perhaps by
 * the very question, is in no list.  Until it ends it counts as one that changes
 * everything, if the transaction has changed anything at all.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/execdesc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

void		(*resolve_quiet_changes) (void) = NULL;

/* The innermost statement; backend's, empty when no statement runs. */
static RunningStatement *running = NULL;

/* When the client's statement began that loaded the library; the backend's. */
static TimestampTz loaded_in = 0;

static void
leave_list(RunningStatement *statement)
{
	for (RunningStatement **link = &running; *link != NULL; link = &(*link)->outer)
		if (*link == statement)
		{
			*link = statement->outer;
			break;
		}
}

static void
memory_goes(void *arg)
{
	leave_list(arg);
}

/* What the query changes goes on being changed by the statement around it. */
static void
add_to_outer(QueryDesc *query)
{
	MemoryContext old;
	ListCell   *lc;

	if (running == NULL || running->estate == NULL)
		return;
	old = MemoryContextSwitchTo(running->estate->es_query_cxt);
	foreach(lc, query->estate->es_opened_result_relations)
	{
		ResultRelInfo *result = lfirst(lc);

		running->relations =
			list_append_unique_oid(running->relations,
								   RelationGetRelid(result->ri_RelationDesc));
	}
	MemoryContextSwitchTo(old);
}

/* The executor has started a statement. */
void
running_statement_begin(QueryDesc *query)
{
	RunningStatement *statement;

	if (query->estate->es_opened_result_relations == NIL ||
		(query->estate->es_top_eflags & EXEC_FLAG_EXPLAIN_ONLY))
		return;
	if (query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS)
		add_to_outer(query);
	statement = MemoryContextAllocZero(query->estate->es_query_cxt,
									   sizeof(RunningStatement));
	statement->estate = query->estate;
	statement->outer = running;
	statement->callback.func = memory_goes;
	statement->callback.arg = statement;
	running = statement;
	MemoryContextRegisterResetCallback(query->estate->es_query_cxt,
									   &statement->callback);
}

/* A command that changes rows, but has no executor state, begins and ends. */
void
running_command_begin(RunningStatement *statement)
{
	memset(statement, 0, sizeof(RunningStatement));
	statement->outer = running;
	running = statement;
}

void
running_command_end(RunningStatement *statement)
{
	leave_list(statement);
}

/* Does a change of what is watched for the domain reach this one? */
static bool
reaches(const char *watched_for, const char *domain)
{
	ListCell   *lc;

	if (strcmp(watched_for, domain) == 0)
		return true;
	foreach(lc, cascade_targets(domain_lookup(watched_for)))
	{
		if (strcmp(((CascadeTarget *) lfirst(lc))->domain->name, domain) == 0)
			return true;
	}
	return false;
}

/* By the statement's own copy of the table's triggers. */
static bool
result_relation_feeds(ResultRelInfo *result, const char *domain)
{
	TriggerDesc *triggers = result->ri_TrigDesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (extension_has_schema(get_func_namespace(trigger->tgfoid)) &&
			reaches(usable_domain(watch_options(trigger->tgargs, trigger->tgnargs),
								  RelationGetRelationName(result->ri_RelationDesc)),
					domain))
			return true;
	}
	return false;
}

static bool
results_feed(List *results, const char *domain)
{
	ListCell   *lc;

	foreach(lc, results)
	{
		if (result_relation_feeds(lfirst(lc), domain))
			return true;
	}
	return false;
}

static bool
relation_reaches(Oid relid, const char *domain)
{
	ListCell   *lc;

	foreach(lc, watches_of_relation(relid, WATCH_NOW))
	{
		if (reaches(((Watch *) lfirst(lc))->domain, domain))
			return true;
	}
	return false;
}

static bool
statement_changes(RunningStatement *statement, const char *domain)
{
	ListCell   *lc;

	if (statement->estate == NULL ||
		results_feed(statement->estate->es_opened_result_relations, domain) ||
		results_feed(statement->estate->es_tuple_routing_result_relations, domain))
		return true;
	foreach(lc, statement->relations)
	{
		if (relation_reaches(lfirst_oid(lc), domain))
			return true;
	}
	return false;
}

/* May a statement that is not through change this domain? */
bool
running_statement_changes(const char *domain)
{
	if (resolve_quiet_changes != NULL)
		resolve_quiet_changes();
	if (loaded_in == GetCurrentStatementStartTimestamp() &&
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return true;
	for (RunningStatement *statement = running; statement != NULL;
		 statement = statement->outer)
		if (statement_changes(statement, domain))
			return true;
	return false;
}

void
running_statement_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		loaded_in = GetCurrentStatementStartTimestamp();
}
