/*-------------------------------------------------------------------------
 *
 * trigger.h
 *	  The door of trigger: a row, a statement, TRUNCATE become changes.
 *
 *	  trigger_config.c	what a trigger is to do, from its arguments
 *	  column_text.c		the text of a column's values
 *	  row_key.c			the key of a row
 *	  row_compare.c		has an UPDATE changed anything that counts?
 *	  trigger.c			the triggers themselves
 *	  inline_trigger.c	the same while the statement runs
 *
 * Promise: no write of a user is refused, whatever the arguments of a trigger are;
 * what cannot be told apart is told of the whole domain.
 *
 * Locks: none but those of reading catalogs through caches.
 *
 * What may not happen here: reading or writing tables, an error for a reason of
 * ours, or a lock that is kept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_TRIGGER_H
#define CACHE_NOTIFY_TRIGGER_H

#include "change/change.h"

/* trigger_config.c */
extern void trigger_init(void);

/* trigger.c */
extern int	trigger_depth(void);

/* inline_trigger.c */
extern void inline_trigger_init(void);
extern void inline_trigger_finish(struct QueryDesc *query, int depth);

#endif							/* CACHE_NOTIFY_TRIGGER_H */
