/*-------------------------------------------------------------------------
 *
 * message.h
 *	  From requests and events to messages, and where these go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_MESSAGE_H
#define CACHE_NOTIFY_MESSAGE_H

#include "delivery/delivery.h"

/* One delivery: which key reached which version. */
typedef struct Delivery
{
	const char *domain;
	const char *tenant;			/* NULL: shared */
	int64		version;
	int64		bumps;			/* 0: not told */
	uint64		lsn;			/* 0: unknown */
	uint64		xid;			/* 0: unknown */
	const ExtraFields *extra;
} Delivery;

/* Where the deliveries of a domain go, and in which format. */
typedef struct Route
{
	const char *domain;
	const char *channel;		/* or a template; NULL: default_channel */
	const struct PayloadFormat *format;
	int			fields;			/* FIELD_* */
	const char *suffix;			/* at the end of each payload */
	Oid			owner;			/* of the oldest relation that asks for it;
								 * InvalidOid: a superuser */

	/* if the format tells of tables */
	Oid			table;
	char		table_name[NAMEDATALEN];
} Route;

/* One notification of a format that tells of tables. */
typedef struct TableDelivery
{
	Oid			table;
	const char *table_name;
	int			operation;		/* one of OPERATION_*; TRUNCATE: anything */
	const char *row;			/* or NULL */
	TimestampTz sent_at;		/* no two are the same */
} TableDelivery;

/* A notification, ready to be sent. */
typedef struct Message
{
	const char *channel;
	const char *payload;
	const Route *route;			/* both NULL unless it tells of a table */
	TableDelivery *event;
	int			position;		/* both used in message.c only */
	bool		repeated;
} Message;

#define RESET_PAYLOAD "{\"reset\": true}"

/* route.c */
extern char *default_channel;
extern void route_load(void);
extern List *route_all(void);
extern List *routes_of_domain(const Domain *domain);
extern Route route_of_watch(const Watch *watch);
extern List *route_former_requests(void);
extern void route_end_transaction(void);

/* message.c */
extern List *messages_of(CounterTable *table, List *events, List *requests,
						 uint64 lsn);
extern List *reset_messages(CounterTable *table, List *requests);
extern void stamp_message(Message *message);

/* schema_payload.c */
extern List *schema_messages(void);

#endif							/* CACHE_NOTIFY_MESSAGE_H */
