/*-------------------------------------------------------------------------
 *
 * row_compare.c
 *	  Has an UPDATE changed anything that counts?
 *
 * Two versions of a row that say the same mostly are the same bytes, but for
 *
 *	  a long value that the client has written back: the new one is elsewhere in
 *	  the TOAST table, or not there yet
 *	  a column that was added since the old version was written, or dropped
 *
 * Where one of these may be the case the values are compared one by one, those
 * out of line last, as that takes reading them.  Everything else that differs
 * in its bytes has changed: a row that has is not looked at twice.
 *
 *-------------------------------------------------------------------------
 */
#include "trigger/trigger_config.h"

#include "access/detoast.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "utils/datum.h"


/* Are the columns that count the same in both rows? */
static bool
same_columns(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	for (int i = 0; i < state->config->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, state->config->columns[i] - 1);
		bool		old_null,
					new_null;
		Datum		old_value,
					new_value;

		old_value = heap_getattr(old, state->config->columns[i], desc, &old_null);
		new_value = heap_getattr(new, state->config->columns[i], desc, &new_null);
		if (old_null != new_null)
			return false;
		if (!old_null &&
			!datum_image_eq(old_value, new_value, attr->attbyval, attr->attlen))
			return false;
	}
	return true;
}

/* Is nothing in the row different, bit for bit? */
static inline bool
same_bytes(HeapTuple old, HeapTuple new)
{
	HeapTupleHeader a = old->t_data;
	HeapTupleHeader b = new->t_data;

	return old->t_len == new->t_len &&
		a->t_hoff == b->t_hoff &&
		HeapTupleHeaderGetNatts(a) == HeapTupleHeaderGetNatts(b) &&
		((a->t_infomask ^ b->t_infomask) & ~HEAP_XACT_MASK) == 0 &&
		memcmp((char *) a + SizeofHeapTupleHeader,
			   (char *) b + SizeofHeapTupleHeader,
			   old->t_len - SizeofHeapTupleHeader) == 0;
}

/* Have other columns become NULL? */
static bool
same_nulls(HeapTuple old, HeapTuple new)
{
	HeapTupleHeader a = old->t_data;
	HeapTupleHeader b = new->t_data;

	if (!HeapTupleHasNulls(old) || !HeapTupleHasNulls(new))
		return HeapTupleHasNulls(old) == HeapTupleHasNulls(new);
	return memcmp(a->t_bits, b->t_bits,
				  BITMAPLEN(HeapTupleHeaderGetNatts(b))) == 0;
}

/* May rows of different bytes say the same? */
static inline bool
may_say_the_same(TriggerState *state, HeapTuple old, HeapTuple new)
{
	if (HeapTupleHeaderGetNatts(old->t_data) != HeapTupleHeaderGetNatts(new->t_data) ||
		HeapTupleHasExternal(old) || HeapTupleHasExternal(new) ||
		new->t_len > TOAST_TUPLE_THRESHOLD)
		return true;
	return state->config->has_dropped && !same_nulls(old, new);
}

static inline bool
is_out_of_line(Datum value, Form_pg_attribute attr)
{
	return attr->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(value));
}

/*
 * Compare those of the values that are not out of line, or the others.  Values
 * of other lengths are known to differ without being read.
 */
static bool
compare_values(TupleDesc desc, Datum *old, bool *old_nulls, Datum *new,
			   bool *new_nulls, bool out_of_line)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (attr->attisdropped)
			continue;
		if (old_nulls[i] != new_nulls[i])
			return false;
		if (old_nulls[i] ||
			(is_out_of_line(old[i], attr) ||
			 is_out_of_line(new[i], attr)) != out_of_line)
			continue;
		if (!datum_image_eq(old[i], new[i], attr->attbyval, attr->attlen))
			return false;
	}
	return true;
}

static bool
same_values(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	Datum	   *old_values = palloc(2 * desc->natts * sizeof(Datum));
	bool	   *old_nulls = palloc(2 * desc->natts * sizeof(bool));
	Datum	   *new_values = old_values + desc->natts;
	bool	   *new_nulls = old_nulls + desc->natts;
	bool		same;

	heap_deform_tuple(old, desc, old_values, old_nulls);
	heap_deform_tuple(new, desc, new_values, new_nulls);
	same = compare_values(desc, old_values, old_nulls, new_values, new_nulls, false) &&
		compare_values(desc, old_values, old_nulls, new_values, new_nulls, true);
	pfree(old_values);
	pfree(old_nulls);
	return same;
}

/* Has nothing changed that counts? */
bool
same_content(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	if (state->config->ncolumns > 0)
		return same_columns(state, old, new, desc);
	return same_bytes(old, new) ||
		(may_say_the_same(state, old, new) && same_values(old, new, desc));
}
