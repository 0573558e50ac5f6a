/*-------------------------------------------------------------------------
 *
 * ddl.h
 *	  The door of ddl: commands become changes, triggers of families, and what
 *	  goes with the extension.
 *
 * Most of this room is called by the server: its event triggers.  Here is what the
 * roof tells it of commands for which the server has no event.
 *
 * Promise: no command of a user fails because of us; what goes wrong is a warning,
 * or tells caches too much.
 *
 * Locks: those that the command takes as well, and in its order; AccessShareLock on
 * the catalogs that are read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_DDL_H
#define CACHE_NOTIFY_DDL_H

#include "base/base.h"

#include "nodes/nodes.h"

/* quiet_change.c */
extern void quiet_change_init(void);
extern bool quiet_changes_any(void);
extern void quiet_changes_resolve(bool equip);
extern bool command_tells(Node *command);
extern void quiet_command_begin(void);
extern void quiet_command_end(bool succeeded);
extern int	quiet_query_begin(void);
extern void quiet_query_end(int outer);
extern void quiet_changes_pre_commit(void);
extern void quiet_changes_end_transaction(void);

/* name_taken.c */
extern void name_taken_init(void);

/* unseen_command.c */
extern bool may_be_unseen(Node *command);
extern void unseen_command_done(Node *command, bool complete);

#endif							/* CACHE_NOTIFY_DDL_H */
