/*-------------------------------------------------------------------------
 *
 * column_text.c
 *	  The texts of a column's values, as they name tenants and keys.
 *
 *-------------------------------------------------------------------------
 */
#include "trigger/trigger_config.h"

#include "access/detoast.h"
#include "executor/spi.h"
#include "utils/rel.h"


/*
 * A value of more bytes names no tenant or key: writing it could take more
 * memory than there may be, which must not make a user's write fail.
 */
#define MAX_VALUE_LEN	65536

/* Prepare to read a column.  False if there is no such column. */
bool
column_text_prepare(ColumnText *column, Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	attnum = SPI_fnumber(desc, name);
	Form_pg_attribute attr;

	if (attnum <= 0)
		return false;
	attr = TupleDescAttr(desc, attnum - 1);
	column->attnum = attnum;
	column->byval = attr->attbyval;
	column->len = attr->attlen;
	column->type = canonical_type(attr->atttypid, attr->attcollation);
	return true;
}

/* Can values of the column name anything? */
bool
column_text_names(const ColumnText *column)
{
	return column->type.kind != 0;
}

/* Is there no text of this value because it would be too long? */
bool
value_too_long(const ColumnText *column, Datum value)
{
	return column->len == -1 && toast_raw_datum_size(value) > MAX_VALUE_LEN;
}

/*
 * The text of a value, without a zero byte at the end; NULL if it cannot be
 * had, which makes a change coarser.
 */
const char *
column_text(const ColumnText *column, Datum value, int *len)
{
	return value_too_long(column, value) ? NULL :
		canonical_text(&column->type, value, len);
}
