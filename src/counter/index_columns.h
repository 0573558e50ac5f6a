/*-------------------------------------------------------------------------
 *
 * index_columns.h
 *	  Which columns of the counter table its indexes have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_INDEX_COLUMNS_H
#define CACHE_NOTIFY_INDEX_COLUMNS_H

#include "base/base.h"

extern void index_columns_look(Relation heap);

/* Before a row is updated.  Most often they are known. */
static inline void
index_columns_prepare(Relation heap)
{
	if (!compat_knows_index_columns(heap))
		index_columns_look(heap);
}

#endif							/* CACHE_NOTIFY_INDEX_COLUMNS_H */
