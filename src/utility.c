/*-------------------------------------------------------------------------
 *
 * utility.c
 *	  Hooks: where statements begin and end, and commands that concern the
 *	  worker.
 *
 * A statement's AFTER triggers fire while the executor finishes, or, for COPY
 * and TRUNCATE, during the command.  That is the statement in which change_set.c
 * counts a key once.  A query that the server runs for a foreign key does not
 * fire its own triggers: they fire with those of the statement that caused it.
 *
 * COMMIT PREPARED: what the prepared transaction owes (owed.c) is delivered
 * by the worker, or by the transaction that the command runs in.
 *
 * Commands that change what queries return, and fire no event trigger: see
 * unseen_command.c.
 *
 * Commands that need a database without connections, such as DROP DATABASE:
 * its worker is asked to go first.
 *
 * A session sees to these only if it has loaded the library: preload it.
 *
 *-------------------------------------------------------------------------
 */
#include "roof.h"

#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/utility.h"

/* How long to wait for a worker to go, in ms. */
#define STOP_TIMEOUT_MS	5000
#define STOP_POLL_MS	10

/* The hooks before ours; of the process, set once. */
static ProcessUtility_hook_type previous_hook = NULL;
static ExecutorRun_hook_type previous_run_hook = NULL;
static ExecutorFinish_hook_type previous_finish_hook = NULL;

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/* The database that a command needs to itself, or NULL. */
static const char *
exclusive_database(Node *command)
{
	DefElem    *option;

	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_AlterDatabaseStmt:
			option = find_option(((AlterDatabaseStmt *) command)->options,
								 "tablespace");
			return option ? ((AlterDatabaseStmt *) command)->dbname : NULL;
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) command)->subname : NULL;
		case T_CreatedbStmt:
			option = find_option(((CreatedbStmt *) command)->options,
								 "template");
			return option && option->arg && IsA(option->arg, String) ?
				strVal(option->arg) : "template1";
		default:
			return NULL;
	}
}

/* Wait for the database's worker to go; if it does not, the command fails. */
static void
stop_worker(Oid database)
{
	for (int waited = 0;
		 waited < STOP_TIMEOUT_MS && waiting_stop_worker(database);
		 waited += STOP_POLL_MS)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 STOP_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * A command that may change what common facts are made of, when it commits; what is
 * created and dropped is seen by quiet_change.c.
 */
static bool
changes_facts(Node *command)
{
	switch (nodeTag(command))
	{
		case T_SecLabelStmt:
		case T_AlterExtensionStmt:
		case T_AlterExtensionContentsStmt:
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
			return true;
		default:
			return false;
	}
}

static bool
commits_prepared(Node *command)
{
	return IsA(command, TransactionStmt) &&
		((TransactionStmt *) command)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* What the server calls the utility hook with. */
typedef struct UtilityCall
{
	PlannedStmt *pstmt;
	const char *query;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *environment;
	DestReceiver *dest;
	QueryCompletion *completion;
} UtilityCall;

static void
run_utility(const UtilityCall *call)
{
	ProcessUtility_hook_type run = previous_hook ? previous_hook :
		standard_ProcessUtility;

	run(call->pstmt, call->query, call->read_only_tree, call->context,
		call->params, call->environment, call->dest, call->completion);
}

/* A command that needs this database without connections. */
static void
run_alone(Oid database, const UtilityCall *call)
{
	PG_TRY();
	{
		stop_worker(database);
		run_utility(call);
	}
	PG_CATCH();
	{
		waiting_resume_worker(database);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (IsA(call->pstmt->utilityStmt, DropdbStmt))
		waiting_forget_database(database);
	else
		waiting_resume_worker(database);
}

/* A command that fires the triggers of a statement. */
static void
run_as_statement(const UtilityCall *call)
{
	Statement	outer = change_set_begin_statement(trigger_depth() + 1);
	RunningStatement running;

	running_command_begin(&running);
	PG_TRY();
	{
		run_utility(call);
	}
	PG_FINALLY();
	{
		running_command_end(&running);
		change_set_end_statement(outer);
	}
	PG_END_TRY();
}

/* A command whose event triggers, or triggers, tell of all that it does. */
static void
run_telling_command(const UtilityCall *call)
{
	volatile bool succeeded = false;

	quiet_command_begin();
	PG_TRY();
	{
		if (IsA(call->pstmt->utilityStmt, TruncateStmt))
			run_as_statement(call);
		else
			run_utility(call);
		succeeded = true;
	}
	PG_FINALLY();
	{
		quiet_command_end(succeeded);
	}
	PG_END_TRY();
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	const UtilityCall call = {
		pstmt, query, read_only_tree, context, params, environment, dest,
		completion
	};
	Node	   *command = pstmt->utilityStmt;
	const char *name = exclusive_database(command);
	Oid			database = name != NULL && waiting_available() ?
		get_database_oid(name, true) : InvalidOid;
	bool		unseen = may_be_unseen(command);

	if (IsA(command, RefreshMatViewStmt))
		state_refuse_refresh(RangeVarGetRelid(((RefreshMatViewStmt *) command)->relation,
											  NoLock, true));
	if (IsA(command, SecLabelStmt))
		watched_label_starts(((SecLabelStmt *) command)->provider);

	if (changes_facts(command))
		common_fact_change();
	else if (commits_prepared(command))
		common_fact_change_now();

	if (OidIsValid(database))
	{
		run_alone(database, &call);
		return;
	}
	if (command_tells(command))
		run_telling_command(&call);
	else if (IsA(command, CopyStmt) && ((CopyStmt *) command)->is_from)
		run_as_statement(&call);
	else
		run_utility(&call);
	if (unseen)
		unseen_command_done(command, context != PROCESS_UTILITY_SUBCOMMAND);
	if (commits_prepared(command))
	{
		FAULT_POINT("committed_prepared");
		delivery_owed_at_commit();
	}
}

static void
run_query(COMPAT_RUN_PARAMETERS)
{
	if (previous_run_hook)
		previous_run_hook(COMPAT_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(COMPAT_RUN_ARGUMENTS);
}

/* A query within a command: see quiet_change.c. */
static void
executor_run(COMPAT_RUN_PARAMETERS)
{
	int			outer = quiet_query_begin();

	if (outer == 0)
	{
		run_query(COMPAT_RUN_ARGUMENTS);
		return;
	}
	PG_TRY();
	{
		run_query(COMPAT_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		quiet_query_end(outer);
	}
	PG_END_TRY();
}

static void
run_finish(QueryDesc *query)
{
	if (previous_finish_hook)
		previous_finish_hook(query);
	else
		standard_ExecutorFinish(query);
}

static void
executor_finish(QueryDesc *query)
{
	int			depth;
	Statement	outer;

	/* A query that changes nothing itself needs no statement. */
	if ((query->operation == CMD_SELECT &&
		 !query->plannedstmt->hasModifyingCTE) ||
		(query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS))
	{
		run_finish(query);
		if (quiet_changes_any())
			quiet_changes_resolve(true);
		return;
	}
	depth = trigger_depth() + 1;
	outer = change_set_begin_statement(depth);
	PG_TRY();
	{
		inline_trigger_finish(query, depth);
		run_finish(query);
	}
	PG_FINALLY();
	{
		change_set_end_statement(outer);
	}
	PG_END_TRY();
	if (quiet_changes_any())
		quiet_changes_resolve(true);
}

void
utility_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_run_hook = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	previous_finish_hook = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
}
