/*-------------------------------------------------------------------------
 *
 * column_text.c
 *	  The text form of a column's values: of tenants, and of keys.
 *
 * It is what a cast to text gives, with settings of ours where the type is
 * written differently under different ones, so that every session finds the
 * same text for the same value.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "access/detoast.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "trigger/trigger_config.h"

/*
 * A value of more bytes names no tenant or key: writing it could take more
 * memory than there may be, which must not make a user's write fail.
 */
#define MAX_VALUE_LEN	65536

/*
 * Types whose text is the same under every setting.  The text of any other
 * value is made with fixed settings, as it names the tenant or the key.
 */
static bool
text_is_stable(Oid type)
{
	switch (type)
	{
		case UUIDOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case NUMERICOID:
		case BOOLOID:
		case NAMEOID:
		case CHAROID:
		case TEXTOID:
		case BPCHAROID:
		case VARCHAROID:
		case INETOID:
		case CIDROID:
			return true;
		default:
			return type_is_enum(type);
	}
}

/*
 * Prepare to read a column; what that needs is kept in the context.  False if
 * there is no such column.
 */
bool
column_text_prepare(ColumnText *column, Relation rel, const char *name,
					MemoryContext context)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	attnum = SPI_fnumber(desc, name);
	Form_pg_attribute attr;
	Oid			function;
	bool		is_varlena;

	if (attnum <= 0)
		return false;
	attr = TupleDescAttr(desc, attnum - 1);
	memset(column, 0, sizeof(ColumnText));
	column->attnum = attnum;
	column->type = getBaseType(attr->atttypid);
	column->byval = attr->attbyval;
	column->len = attr->attlen;
	column->needs_settings = !text_is_stable(column->type);
	column->lasting = true;
	column->loose = column->type == INTERVALOID || column->type == JSONBOID ||
		(OidIsValid(attr->attcollation) &&
		 !get_collation_isdeterministic(attr->attcollation));
	switch (find_coercion_pathway(TEXTOID, column->type, COERCION_EXPLICIT,
								  &function))
	{
		case COERCION_PATH_RELABELTYPE:
			column->is_text = true;
			column->loose_letters = column->type >= FirstNormalObjectId;
			return true;		/* that type may be citext */
		case COERCION_PATH_FUNC:
			column->cast = true;
			break;
		default:
			getTypeOutputInfo(column->type, &function, &is_varlena);
			break;
	}
	fmgr_info_cxt(function, &column->function, context);

	/* A user's function may be replaced any time. */
	column->lasting = function < FirstNormalObjectId;
	return true;
}

static const char *
plain_text(ColumnText *column, Datum value, int *len)
{
	text	   *t;

	if (!column->is_text && !column->cast)
	{
		char	   *string = OutputFunctionCall(&column->function, value);

		*len = strlen(string);
		return string;
	}
	t = column->is_text ? DatumGetTextPP(value) :
		DatumGetTextPP(FunctionCall1Coll(&column->function,
										 DEFAULT_COLLATION_OID, value));
	*len = VARSIZE_ANY_EXHDR(t);
	return VARDATA_ANY(t);
}

/* The settings are those that pg_dump and postgres_fdw fix, too. */
static const char *
text_with_fixed_settings(ColumnText *column, Datum value, int *len)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, YMD"},
		{"timezone", "UTC"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"lc_monetary", "C"},
		{"search_path", "pg_catalog"}
	};
	int			level = NewGUCNestLevel();
	const char *result;

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1],
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	result = plain_text(column, value, len);
	AtEOXact_GUC(true, level);
	return result;
}

/* Is there no text of this value because it would be too long? */
bool
value_too_long(const ColumnText *column, Datum value)
{
	return column->len == -1 && toast_raw_datum_size(value) > MAX_VALUE_LEN;
}

static const char *
any_text(ColumnText *column, Datum value, int *len)
{
	return column->needs_settings ?
		text_with_fixed_settings(column, value, len) :
		plain_text(column, value, len);
}

/*
 * A user's function may fail, which must not make a write fail: then NULL.
 * Like in PL/pgSQL, a request to stop is no failure.
 */
static const char *
text_by_user(ColumnText *column, Datum value, int *len)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const char *volatile result = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		result = any_text(column, value, len);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (code == ERRCODE_QUERY_CANCELED ||
			ERRCODE_TO_CATEGORY(code) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		result = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

/*
 * The text of a value, without a zero byte at the end; NULL if it cannot be
 * had, which makes a change coarser.
 */
const char *
column_text(ColumnText *column, Datum value, int *len)
{
	if (value_too_long(column, value))
		return NULL;
	return column->lasting ? any_text(column, value, len) :
		text_by_user(column, value, len);
}
