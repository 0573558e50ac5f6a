/*-------------------------------------------------------------------------
 *
 * roof.h
 *	  Where the server calls us: the files above all rooms.
 *
 * They use every room, and no room uses them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_ROOF_H
#define CACHE_NOTIFY_ROOF_H

#include "change/change.h"
#include "ddl/ddl.h"
#include "delivery/delivery.h"
#include "trigger/trigger.h"
#include "worker/worker.h"

/* commit.c */
extern void commit_init(void);

/* utility.c */
extern void utility_init(void);

#endif							/* CACHE_NOTIFY_ROOF_H */
