/*-------------------------------------------------------------------------
 *
 * utility.c
 *	  Commands that concern the worker.
 *
 * COMMIT PREPARED: what the prepared transaction owes (owed.c) is delivered
 * by the worker, or by the transaction that the command runs in.
 *
 * Commands that need a database without connections, such as DROP DATABASE:
 * its worker is asked to go first.
 *
 * A session sees to this only if it has loaded the library: preload it.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/utility.h"

/* How long to wait for a worker to go, in ms. */
#define STOP_TIMEOUT_MS	5000
#define STOP_POLL_MS	10

static ProcessUtility_hook_type previous_hook = NULL;

/* The database that a command needs to itself, or NULL. */
static const char *
exclusive_database(Node *command)
{
	ListCell   *lc;

	switch (nodeTag(command))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) command)->dbname;
		case T_AlterDatabaseStmt:
			return ((AlterDatabaseStmt *) command)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) command)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) command)->subname : NULL;
		case T_CreatedbStmt:
			foreach(lc, ((CreatedbStmt *) command)->options)
			{
				DefElem    *option = lfirst(lc);

				if (strcmp(option->defname, "template") == 0 &&
					option->arg != NULL && IsA(option->arg, String))
					return strVal(option->arg);
			}
			return NULL;
		default:
			return NULL;
	}
}

/* Wait for the database's worker to go; if it does not, the command fails. */
static void
stop_worker(const char *database)
{
	Oid			oid = get_database_oid(database, true);

	for (int waited = 0;
		 OidIsValid(oid) && waited < STOP_TIMEOUT_MS && shared_stop_worker(oid);
		 waited += STOP_POLL_MS)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 STOP_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static bool
commits_prepared(Node *command)
{
	return IsA(command, TransactionStmt) &&
		((TransactionStmt *) command)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	Node	   *command = pstmt->utilityStmt;
	const char *database = exclusive_database(command);

	if (database != NULL && shared_available())
		stop_worker(database);
	if (previous_hook)
		previous_hook(pstmt, query, read_only_tree, context, params,
					  environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								environment, dest, completion);
	if (commits_prepared(command))
		delivery_owed_at_commit();
}

void
utility_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
