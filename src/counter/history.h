/*-------------------------------------------------------------------------
 *
 * history.h
 *	  The history table from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_HISTORY_H
#define CACHE_NOTIFY_HISTORY_H

#include "counter/counter_table.h"

/* Columns of _cache_notify.history, all of fixed width and not null. */
typedef struct HistoryForm
{
	int64		origin;
	int64		incarnation;
	int64		system_identifier;	/* bit for bit */
	TimestampTz since;
	int64		timeline;
	Oid			database_oid;
	Oid			counter_oid;
	bool		asynchronous;
} HistoryForm;

/* What tells one history from another, as of now. */
typedef struct Facts
{
	uint64		system_identifier;
	TimeLineID	timeline;
	Oid			database_oid;
	Oid			counter_oid;
	Oid			unused;			/* no padding: it is hashed */
} Facts;

/* What the history table says to a snapshot. */
typedef struct Reading
{
	bool		found;			/* is there a row at all? */
	bool		matches;		/* does what counts agree with the facts? */
	bool		settled;		/* does everybody read the same? */
	TransactionId newest;		/* newest xid that wrote what was read */
	HistoryForm row;			/* the row that counts */
} Reading;

extern void read_history(Relation rel, const Facts *facts, Snapshot snapshot,
						 Reading *reading);
extern void insert_history(Relation rel, const HistoryForm *row,
						   const Facts *facts, int options);
extern bool lost_commits(const HistoryForm *row);
extern void insert_running(void);

#endif							/* CACHE_NOTIFY_HISTORY_H */
