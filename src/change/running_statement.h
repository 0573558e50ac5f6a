/*-------------------------------------------------------------------------
 *
 * running_statement.h
 *	  The door of change, its part about statements that run: see change.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_RUNNING_STATEMENT_H
#define CACHE_NOTIFY_RUNNING_STATEMENT_H

#include "base/base.h"

struct EState;
struct QueryDesc;

/* For running_statement.c, except that the memory of a command's is its own. */
typedef struct RunningStatement
{
	struct RunningStatement *outer;
	struct EState *estate;		/* NULL: a command, which may change anything */
	List	   *relations;		/* OIDs: changed by queries for foreign keys */
	MemoryContextCallback callback;
} RunningStatement;

/* running_statement.c */
extern void running_statement_init(void);
extern void running_statement_begin(struct QueryDesc *query);
extern void running_command_begin(RunningStatement *statement);
extern void running_command_end(RunningStatement *statement);
extern bool running_statement_changes(const char *domain);

#endif							/* CACHE_NOTIFY_RUNNING_STATEMENT_H */
