/*-------------------------------------------------------------------------
 *
 * watch_before.h
 *	  What this transaction has removed from the catalogs, from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WATCH_BEFORE_H
#define CACHE_NOTIFY_WATCH_BEFORE_H

#include "domain/domain.h"

extern bool deleted_by_us(HeapTuple tuple);

#endif							/* CACHE_NOTIFY_WATCH_BEFORE_H */
