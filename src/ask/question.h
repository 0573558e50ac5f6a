/*-------------------------------------------------------------------------
 *
 * question.h
 *	  What caches ask, from inside: for question.c, token.c, version.c and
 *	  position.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_QUESTION_H
#define CACHE_NOTIFY_QUESTION_H

#include "change/change.h"

/* What a function works with while it runs. */
typedef struct Question
{
	CounterTable *table;
	Snapshot	snapshot;
	History		history;
	int64		names_read;		/* of tokens, see stale() */
} Question;

extern bool begin_question(Question *question);
extern void end_question(Question *question);
extern bool name_is_known(Question *question, const VersionName *name);
extern bool name_is_pending(const VersionName *name);
extern int64 name_total(Question *question, const VersionName *name);

#endif							/* CACHE_NOTIFY_QUESTION_H */
