/*-------------------------------------------------------------------------
 *
 * heap_hint.h
 *	  Where the row of a counter probably is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_HEAP_HINT_H
#define CACHE_NOTIFY_HEAP_HINT_H

#include "base/base.h"

#include "storage/block.h"
#include "storage/buf.h"
#include "storage/off.h"

typedef struct HeapHint
{
	uint32		hash;			/* of the counter */
	BlockNumber block;
	OffsetNumber root;			/* of its HOT chain */
	OffsetNumber newest;		/* version in that, or InvalidOffsetNumber */
	Buffer		buffer;			/* that held the block, or InvalidBuffer */
} HeapHint;

extern void heap_hint_init(void);
extern void heap_hints_use(Oid file);
extern bool heap_hint_find(uint32 hash, HeapHint *found);
extern void heap_hint_set(const HeapHint *hint);

#endif							/* CACHE_NOTIFY_HEAP_HINT_H */
