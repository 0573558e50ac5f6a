/*-------------------------------------------------------------------------
 *
 * index_columns.c
 *	  Which columns of the counter table its indexes have.
 *
 * heap_update() must know, to keep a row on its page without new index entries.
 * The server finds out by opening each index, once per backend, and to prepare an
 * index of four columns for use takes a fifth of a new connection's first commit.
 * Which columns they are stands in pg_index.  So the answer is put where the
 * server would put it, in the relation as the backend has it in memory, and goes
 * with that by the same invalidations.
 *
 * Only where it is plain: unique indexes, expressions and conditions are left to
 * the server.
 *
 * Locking: the table is locked, its indexes are not: if the list of them changes
 * meanwhile, we leave it to the server.
 *
 *-------------------------------------------------------------------------
 */
#include "counter/index_columns.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_index.h"
#include "nodes/bitmapset.h"
#include "utils/syscache.h"

/* False if the index is not plain, or gone. */
static bool
add_index(Oid index, Bitmapset **columns)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool		plain;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	plain = !form->indisunique &&
		heap_attisnull(tuple, Anum_pg_index_indexprs, NULL) &&
		heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	if (plain)
		for (int i = 0; i < form->indnatts; i++)
			*columns = bms_add_member(*columns, form->indkey.values[i] -
									  FirstLowInvalidHeapAttributeNumber);
	ReleaseSysCache(tuple);
	return plain;
}

/* As RelationGetIndexAttrBitmap() does it, but for the opening. */
void
index_columns_look(Relation heap)
{
	List	   *indexes = RelationGetIndexList(heap);
	List	   *indexes_after;
	Bitmapset  *columns = NULL;
	bool		plain = indexes != NIL;
	ListCell   *lc;

	foreach(lc, indexes)
		plain = plain && add_index(lfirst_oid(lc), &columns);
	indexes_after = RelationGetIndexList(heap);
	if (plain && equal(indexes, indexes_after))
		compat_set_index_columns(heap, columns);
	list_free(indexes);
	list_free(indexes_after);
	bms_free(columns);
}
