/*-------------------------------------------------------------------------
 *
 * delivery.h
 *	  The door of delivery: who is told, by which lane, and what.
 *
 *	  delivery.c		the lanes
 *	  notify.c			sends notifications, or WAL messages
 *	  message.c			from requests and events to messages
 *	  route.c			the channels of a domain
 *	  payload.c			what a notification says, in each format
 *	  json_text.c		JSON of any text, in ASCII
 *	  schema_payload.c	the same for those who keep a copy of the schema
 *	  owed.c			deliveries that a transaction could not make itself
 *
 * Promise: what has been committed is told, at least once, or a reset is, to whoever
 * listens; what was rolled back never is.  A commit is not refused because of
 * a listener, nor because of what somebody wrote into a configuration.
 *
 * Locks: the commit lane and the worker take the server's lock on the notification
 * queue, to the end of the transaction; owed_delivery is changed under
 * RowExclusiveLock, without waiting for its rows.  Once the queue is locked, no other
 * lock is waited for.
 *
 * What may not happen here: an error, or an allocation, in delivery_post_commit()
 * and delivery_end_transaction().
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_DELIVERY_H
#define CACHE_NOTIFY_DELIVERY_H

#include "waiting/waiting.h"

/* What a payload can say beside the version, if a watched table asks for it. */
#define FIELD_LSN			0x01
#define FIELD_XID			0x02
#define FIELD_OPERATIONS	0x04
#define FIELD_KEYS			0x08

struct Delivery;
struct TableDelivery;

/* A format tells either of scopes or of tables. */
typedef struct PayloadFormat
{
	const char *name;
	void		(*write) (StringInfo buf, const struct Delivery *delivery, int fields);
	void		(*write_event) (StringInfo buf, const struct TableDelivery *delivery);
	void		(*write_pk_column) (StringInfo buf, const char *column,
									const char *value); /* tells of each row */
	bool		tells_order;	/* only equal neighbours are one event */
	const char *channel;		/* if setup names none; NULL: the default */
} PayloadFormat;

/* What has become of what the worker wanted to send. */
typedef enum NotifyResult
{
	NOTIFY_NO_ROOM,				/* nothing was queued: abort, and try again */
	NOTIFY_DONE,
	NOTIFY_RESET				/* a reset stands for it */
} NotifyResult;

/* delivery.c */
extern void delivery_init(void);
extern bool delivery_by_worker(void);
extern void delivery_pre_commit(CounterTable *table, List *changes);
extern void delivery_pre_prepare(CounterTable *table, List *changes);
extern void delivery_owed_at_commit(void);
extern bool delivery_due(void);
extern void delivery_post_commit(void);
extern void delivery_end_transaction(void);

/* notify.c: for the worker */
extern NotifyResult notify_committed(CounterTable *table, List *events,
									 List *requests, bool reset,
									 bool take_owed);
extern NotifyResult notify_default_reset(void);
extern void notify_drop(void);

/* owed.c: for the worker */
extern void owed_discard(void);

/* route.c: for triggers, and for DDL that takes channels away */
extern void route_init(void);
extern void route_remember(const Watch *watch);

/* payload.c: for triggers */
extern const PayloadFormat *payload_format(const char *name);
extern const char *payload_format_name(int n);
extern const char *payload_field_name(int n);
extern int	payload_fields(const List *names);

/* schema_payload.c: for event triggers */
extern int	schema_presets_of_command(const char *statement,
									  const char *command);
extern int	schema_presets_of_drop(const char *object_type);

#endif							/* CACHE_NOTIFY_DELIVERY_H */
