/*-------------------------------------------------------------------------
 *
 * notify.h
 *	  Send notifications, or WAL messages, in the transaction that commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_NOTIFY_H
#define CACHE_NOTIFY_NOTIFY_H

#include "delivery/delivery.h"

extern void notify_at_commit(CounterTable *table, List *events, List *requests,
							 List *messages);
extern void wal_write_requests(CounterTable *table, List *requests);
extern void wal_write_messages(List *messages);

#endif							/* CACHE_NOTIFY_NOTIFY_H */
