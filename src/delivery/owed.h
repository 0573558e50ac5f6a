/*-------------------------------------------------------------------------
 *
 * owed.h
 *	  Deliveries that a transaction could not make itself.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_OWED_H
#define CACHE_NOTIFY_OWED_H

#include "delivery/delivery.h"

/* What committed transactions owe, taken over. */
typedef struct Owed
{
	List	   *requests;		/* DeliveryRequest * */
	List	   *messages;		/* Message * */
	bool		reset;			/* listeners must drop everything */
} Owed;

extern void owed_add(List *requests);
extern void owed_add_messages(List *messages);
extern void owed_add_reset(void);
extern Owed owed_take(void);

#endif							/* CACHE_NOTIFY_OWED_H */
