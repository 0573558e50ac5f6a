/*-------------------------------------------------------------------------
 *
 * table_event.c
 *	  What this transaction did to which table, in order.
 *
 * Some payload formats tell of tables rather than of keys: who changed what
 * and in which order, but no version.  A trigger whose format is one of these
 * adds an event here, besides bumping its scope.
 *
 * One statement is one event for each table and kind of operation, or with a
 * format that tells of rows, for each row.  Equal neighbours are one event.
 * A transaction that does more than MAX_EVENTS keeps none beyond that: the
 * domain's change then stands for what the tables went through (see
 * ExtraFields.events_incomplete).
 *
 * Savepoints.  An event carries the nest level that it happened at.  Levels
 * only grow along the list, so undoing one, or making it its parent's, looks
 * at the end of the list alone.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change.h"

#include "access/xact.h"
#include "utils/memutils.h"

/* Events that a transaction tells apart. */
#define MAX_EVENTS	1000

/* How far back in the list a statement looks for its event. */
#define LOOK_BACK	8

/* Of the transaction, in its memory; a rollback to a savepoint shortens it. */
static TableEvent *events = NULL;
static int	nevents = 0;
static int	events_size = 0;

/*
 * The event that this one is a part of: one of the same statement, or of the
 * one just before if it is equal.
 */
static TableEvent *
find_event(const TableEvent *event)
{
	for (int i = nevents - 1; i >= Max(0, nevents - LOOK_BACK); i--)
	{
		TableEvent *e = &events[i];

		if (e->table != event->table || e->of_rows != event->of_rows ||
			!same_string(e->row, event->row))
			continue;
		if (event->statement_no != 0 && !e->of_rows &&
			e->statement_no == event->statement_no && e->level == event->level)
			return e;
		if (i == nevents - 1 && e->operations == event->operations)
			return e;
	}
	return NULL;
}

static void
add_event(const TableEvent *event)
{
	if (nevents == events_size)
	{
		int			size = Max(8, events_size * 2);

		if (events == NULL)
			events = MemoryContextAlloc(TopTransactionContext,
										size * sizeof(TableEvent));
		else
			events = repalloc(events, size * sizeof(TableEvent));
		events_size = size;
	}
	events[nevents] = *event;
	if (event->row != NULL)
		events[nevents].row = MemoryContextStrdup(TopTransactionContext,
												  event->row);
	nevents++;
}

/* Is there no room for another event? */
bool
table_event_full(void)
{
	return nevents >= MAX_EVENTS;
}

/*
 * A statement did this to a table, or to one of its rows; its statement is 0 if it
 * is not known.  False if there have been too many events to add it.
 */
bool
table_event_add(const TableEvent *event)
{
	TableEvent	noted = *event;
	TableEvent *known;

	noted.level = GetCurrentTransactionNestLevel();
	known = find_event(&noted);
	if (known != NULL)
		known->operations |= event->operations;
	else if (table_event_full())
		return false;
	else
		add_event(&noted);
	return true;
}

/* All events, as a list of TableEvents that lives as long as they do. */
List *
table_events(void)
{
	List	   *list = NIL;

	for (int i = 0; i < nevents; i++)
		list = lappend(list, &events[i]);
	return list;
}

/* The transaction has ended; its memory goes by itself. */
void
table_event_end_transaction(void)
{
	events = NULL;
	nevents = events_size = 0;
}

/* A subtransaction at this nest level becomes part of its parent. */
void
table_event_subcommit(int level)
{
	for (int i = nevents - 1; i >= 0 && events[i].level >= level; i--)
		events[i].level = level - 1;
}

/* Undo what was done at this nest level and below. */
void
table_event_subabort(int level)
{
	while (nevents > 0 && events[nevents - 1].level >= level)
		nevents--;
}
