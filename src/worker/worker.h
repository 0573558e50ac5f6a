/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The door of worker: the process that delivers what waits.
 *
 * Everything that a worker does it does in transactions of its own, in which it
 * reads counters, queues notifications, deletes what was owed and merges counters.
 * It holds no lock and no snapshot beyond its cycle; worker.c says more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WORKER_H
#define CACHE_NOTIFY_WORKER_H

#include "base/base.h"

extern void worker_init(void);

#endif							/* CACHE_NOTIFY_WORKER_H */
