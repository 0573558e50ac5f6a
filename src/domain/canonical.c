/*-------------------------------------------------------------------------
 *
 * canonical.c
 *	  Which types have values that may name a tenant or a key, and the one
 *	  text that each of these values has.
 *
 * A tenant or a key is told apart by its text, SQL tells values apart by
 * their type's "=".  The two agree only for types that are known to have one
 * text per value, or for which such a text is made here: numbers without
 * zeros at the end of the fraction, char(n) without trailing blanks, citext
 * in lower case.  Only these are listed.  A change of a row whose tenant or
 * key has any other type reaches all tenants or keys of its domain, so a type
 * that is missing here makes a domain coarser, never wrong.
 *
 * Not listed, although it looks as if they could be: types whose text depends
 * on search_path (regclass and the like), on the locale (money), or whose "="
 * is coarser than their text (interval, jsonb);
 * composite types, as another attribute can be added without the tables that
 * use them hearing of it; ranges other than those of integers; everything
 * that is not built in, except enums and citext.
 *
 * The text depends on no setting.  It is what a cast to text gives under ISO
 * dates, UTC, extra_float_digits = 3 and bytea_output = hex, apart from what
 * is said above.  What callers write is canonical_name.c's.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/canonical.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

/* Domains over domains over ... deeper than this are not looked into. */
#define MAX_DOMAIN_DEPTH	32

/* The kinds of the types that are built in. */
static CanonicalKind
kind_of_builtin(Oid type)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
			return CANONICAL_TEXT;
		case BPCHAROID:
			return CANONICAL_BPCHAR;
		case NAMEOID:
			return CANONICAL_NAME;
		case INT2OID:
			return CANONICAL_INT2;
		case INT4OID:
			return CANONICAL_INT4;
		case INT8OID:
			return CANONICAL_INT8;
		case OIDOID:
			return CANONICAL_OID;
		case BOOLOID:
			return CANONICAL_BOOL;
		case UUIDOID:
			return CANONICAL_UUID;
		case NUMERICOID:
			return CANONICAL_NUMERIC;
		case FLOAT4OID:
			return CANONICAL_FLOAT4;
		case FLOAT8OID:
			return CANONICAL_FLOAT8;
		case DATEOID:
			return CANONICAL_DATE;
		case TIMEOID:
			return CANONICAL_TIME;
		case TIMETZOID:
			return CANONICAL_TIMETZ;
		case TIMESTAMPOID:
			return CANONICAL_TIMESTAMP;
		case TIMESTAMPTZOID:
			return CANONICAL_TIMESTAMPTZ;
		case BYTEAOID:
			return CANONICAL_BYTEA;
		case INETOID:
		case CIDROID:
			return CANONICAL_INET;
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
		case PG_LSNOID:
		case XID8OID:
		case INT4RANGEOID:
		case INT8RANGEOID:
		case INT4MULTIRANGEOID:
		case INT8MULTIRANGEOID:
			return CANONICAL_OUTPUT;
		default:
			return CANONICAL_NONE;
	}
}

/* Is "=" of a type the function of contrib/citext?  Only that is in C. */
static bool
is_citext(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);
	Oid			function = OidIsValid(entry->eq_opr) ?
		get_opcode(entry->eq_opr) : InvalidOid;
	HeapTuple	tuple;
	bool		result;
	bool		isnull;
	Datum		value;

	if (function < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	result = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId &&
		!isnull && strcmp(TextDatumGetCString(value), "citext_eq") == 0;
	value = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin, &isnull);
	result = result && !isnull &&
		strcmp(TextDatumGetCString(value), "$libdir/citext") == 0;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The type below its domains.  Nothing keeps it from being dropped while we
 * look, and that must be no error: then InvalidOid.
 */
static HeapTuple
search_base_type(Oid *type)
{
	for (int i = 0; i < MAX_DOMAIN_DEPTH; i++)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(*type));
		Form_pg_type form;

		if (!HeapTupleIsValid(tuple))
			return NULL;
		form = (Form_pg_type) GETSTRUCT(tuple);
		if (form->typtype != TYPTYPE_DOMAIN)
			return tuple;
		*type = form->typbasetype;
		ReleaseSysCache(tuple);
	}
	return NULL;
}

static bool
is_deterministic(Oid collation)
{
	HeapTuple	tuple;
	bool		result;

	if (!OidIsValid(collation) || collation == DEFAULT_COLLATION_OID ||
		collation == C_COLLATION_OID)
		return true;
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_collation) GETSTRUCT(tuple))->collisdeterministic;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * How values of a type name tenants and keys.  The kind is CANONICAL_NONE if
 * they cannot.  Reads the catalogs through caches, but not for most columns, which
 * a new backend feels; never an error because of a type that is gone.
 */
CanonicalType
canonical_type(Oid type, Oid collation)
{
	CanonicalType result = {0};
	HeapTuple	tuple;
	Form_pg_type form;

	result.kind = kind_of_builtin(type);
	if (result.kind != CANONICAL_NONE)
	{
		result.type = type;
		if (!is_deterministic(collation))
			result.kind = CANONICAL_NONE;
		return result;
	}
	tuple = search_base_type(&type);
	if (!HeapTupleIsValid(tuple))
		return result;
	form = (Form_pg_type) GETSTRUCT(tuple);
	result.type = type;
	if (!is_deterministic(collation))
		result.kind = CANONICAL_NONE;
	else if (OidIsValid(form->typelem) && get_array_type(form->typelem) == type)
	{							/* not int2vector and the like */
		CanonicalType element = canonical_type(form->typelem, collation);

		if (element.kind != CANONICAL_NONE && element.kind != CANONICAL_ARRAY)
		{
			result.kind = CANONICAL_ARRAY;
			result.type = element.type;
			result.element = element.kind;
		}
	}
	else if (form->typtype == TYPTYPE_ENUM)
		result.kind = CANONICAL_ENUM;
	else if (type < FirstNormalObjectId)
		result.kind = kind_of_builtin(type);
	else if (form->typtype == TYPTYPE_BASE && form->typlen == -1 &&
			 form->typisdefined && is_citext(type))
		result.kind = CANONICAL_CITEXT;
	ReleaseSysCache(tuple);
	return result;
}

/* ------------------------------------------------------ from values to text */

static const char *
string_text(char *string, int *len)
{
	*len = strlen(string);
	return string;
}

static const char *
integer_text(int64 value, int *len)
{
	char	   *result = palloc(MAXINT8LEN + 1);

	*len = pg_lltoa(value, result);
	return result;
}

static void
append_integer(StringInfo buf, int64 value)
{
	enlargeStringInfo(buf, MAXINT8LEN + 1);
	buf->len += pg_lltoa(value, buf->data + buf->len);
}

static void
append_uuid(StringInfo buf, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			appendStringInfoChar(buf, '-');
		appendStringInfoChar(buf, digits[uuid->data[i] >> 4]);
		appendStringInfoChar(buf, digits[uuid->data[i] & 15]);
	}
}

static const char *
uuid_text(const pg_uuid_t *uuid, int *len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_uuid(&buf, uuid);
	*len = buf.len;
	return buf.data;
}

static const char *
bytea_text(bytea *value, int *len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8 *from = (const uint8 *) VARDATA_ANY(value);
	int			size = VARSIZE_ANY_EXHDR(value);
	char	   *result = palloc(2 * size + 3);
	char	   *to = result;

	*to++ = '\\';
	*to++ = 'x';
	for (int i = 0; i < size; i++)
	{
		*to++ = digits[from[i] >> 4];
		*to++ = digits[from[i] & 15];
	}
	*to = '\0';
	*len = to - result;
	return result;
}

/* Zero has one text, whatever its sign. */
static const char *
float_text(float8 value, bool single, int *len)
{
	char	   *result = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);

	if (value == 0)
		value = 0;
	*len = single ? float_to_shortest_decimal_buf((float4) value, result) :
		double_to_shortest_decimal_buf(value, result);
	return result;
}

static const char *
date_text(DateADT date, int *len)
{
	char	   *result = palloc(MAXDATELEN + 1);
	struct pg_tm tm;

	if (DATE_NOT_FINITE(date))
		EncodeSpecialDate(date, result);
	else
	{
		j2date(date + POSTGRES_EPOCH_JDATE,
			   &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		EncodeDateOnly(&tm, USE_ISO_DATES, result);
	}
	return string_text(result, len);
}

static const char *
time_text(TimeADT time, int *len)
{
	char	   *result = palloc(MAXDATELEN + 1);
	struct pg_tm tm;
	fsec_t		fsec;

	time2tm(time, &tm, &fsec);
	EncodeTimeOnly(&tm, fsec, false, 0, USE_ISO_DATES, result);
	return string_text(result, len);
}

static const char *
timetz_text(const TimeTzADT *time, int *len)
{
	char	   *result = palloc(MAXDATELEN + 1);
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;

	timetz2tm(unconstify(TimeTzADT *, time), &tm, &fsec, &zone);
	EncodeTimeOnly(&tm, fsec, true, zone, USE_ISO_DATES, result);
	return string_text(result, len);
}

/* The zone is UTC. */
static const char *
timestamp_text(Timestamp timestamp, bool with_zone, int *len)
{
	char	   *result = palloc(MAXDATELEN + 1);
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(timestamp))
		EncodeSpecialTimestamp(timestamp, result);
	else if (timestamp2tm(timestamp, NULL, &tm, &fsec, NULL, NULL) != 0)
		return NULL;
	else
	{
		tm.tm_isdst = 0;		/* or the zone is left out */
		EncodeDateTime(&tm, fsec, with_zone, 0, NULL, USE_ISO_DATES, result);
	}
	return string_text(result, len);
}

static const char *
enum_text(Oid value, int *len)
{
	HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	const char *result;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	result = string_text(pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)),
						 len);
	ReleaseSysCache(tuple);
	return result;
}

static const char *
varlena_text(struct varlena *value, int *len)
{
	*len = VARSIZE_ANY_EXHDR(value);
	return VARDATA_ANY(value);
}

static const char *
bpchar_text(struct varlena *value, int *len)
{
	*len = bpchartruelen(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	return VARDATA_ANY(value);
}

/*
 * In lower case, if all letters are ASCII.  Others have none that could be
 * relied on: it is the locale's.
 */
const char *
canonical_citext(const char *string, int *len)
{
	char	   *result = palloc(*len + 1);

	for (int i = 0; i < *len; i++)
	{
		char		c = string[i];

		if (IS_HIGHBIT_SET(c))
			return NULL;
		result[i] = c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
	}
	result[*len] = '\0';
	return result;
}

static const char *
citext_text(struct varlena *value, int *len)
{
	*len = VARSIZE_ANY_EXHDR(value);
	return canonical_citext(VARDATA_ANY(value), len);
}

/* What the type's output function says, where no setting has a part in it. */
static const char *
output_text(Oid type, Datum value, int *len)
{
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(type, &function, &is_varlena);
	return string_text(OidOutputFunctionCall(function, value), len);
}

/* How an array of these texts is written that has the shape of another. */
const char *
canonical_array(Datum *elements, bool *nulls, const ArrayType *shape, int *len)
{
	ArrayType  *texts = construct_md_array(elements, nulls, ARR_NDIM(shape),
										   ARR_DIMS(shape), ARR_LBOUND(shape),
										   TEXTOID, -1, false, TYPALIGN_INT);

	return string_text(OidOutputFunctionCall(F_ARRAY_OUT,
											 PointerGetDatum(texts)), len);
}

static const char *
array_text(const CanonicalType *type, ArrayType *array, int *len)
{
	CanonicalType element = {.kind = type->element,.type = type->type};
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		const char *string;
		int			size;

		if (nulls[i])
			continue;
		string = canonical_text(&element, elements[i], &size);
		if (string == NULL)
			return NULL;
		elements[i] = PointerGetDatum(cstring_to_text_with_len(string, size));
	}
	return canonical_array(elements, nulls, array, len);
}

/*
 * Add the text of a value of the types that most keys have.  False for others;
 * of these the text has nothing that would have to be escaped in names.
 */
bool
canonical_append(StringInfo buf, const CanonicalType *type, Datum value)
{
	switch (type->kind)
	{
		case CANONICAL_INT2:
			append_integer(buf, DatumGetInt16(value));
			return true;
		case CANONICAL_INT4:
			append_integer(buf, DatumGetInt32(value));
			return true;
		case CANONICAL_INT8:
			append_integer(buf, DatumGetInt64(value));
			return true;
		case CANONICAL_UUID:
			append_uuid(buf, DatumGetUUIDP(value));
			return true;
		default:
			return false;
	}
}

/*
 * The canonical text of a value, without a zero byte at the end; NULL if it
 * has none that could be relied on.  May point into the value.
 */
const char *
canonical_text(const CanonicalType *type, Datum value, int *len)
{
	switch (type->kind)
	{
		case CANONICAL_NONE:
			return NULL;
		case CANONICAL_TEXT:
			return varlena_text(PG_DETOAST_DATUM_PACKED(value), len);
		case CANONICAL_BPCHAR:
			return bpchar_text(PG_DETOAST_DATUM_PACKED(value), len);
		case CANONICAL_CITEXT:
			return citext_text(PG_DETOAST_DATUM_PACKED(value), len);
		case CANONICAL_NAME:
			return string_text(NameStr(*DatumGetName(value)), len);
		case CANONICAL_ENUM:
			return enum_text(DatumGetObjectId(value), len);
		case CANONICAL_INT2:
			return integer_text(DatumGetInt16(value), len);
		case CANONICAL_INT4:
			return integer_text(DatumGetInt32(value), len);
		case CANONICAL_INT8:
			return integer_text(DatumGetInt64(value), len);
		case CANONICAL_OID:
			return integer_text(DatumGetObjectId(value), len);
		case CANONICAL_BOOL:
			return string_text(DatumGetBool(value) ? "true" : "false", len);
		case CANONICAL_UUID:
			return uuid_text(DatumGetUUIDP(value), len);
		case CANONICAL_NUMERIC:
			return string_text(numeric_normalize(DatumGetNumeric(value)), len);
		case CANONICAL_FLOAT4:
			return float_text(DatumGetFloat4(value), true, len);
		case CANONICAL_FLOAT8:
			return float_text(DatumGetFloat8(value), false, len);
		case CANONICAL_DATE:
			return date_text(DatumGetDateADT(value), len);
		case CANONICAL_TIME:
			return time_text(DatumGetTimeADT(value), len);
		case CANONICAL_TIMETZ:
			return timetz_text(DatumGetTimeTzADTP(value), len);
		case CANONICAL_TIMESTAMP:
			return timestamp_text(DatumGetTimestamp(value), false, len);
		case CANONICAL_TIMESTAMPTZ:
			return timestamp_text(DatumGetTimestampTz(value), true, len);
		case CANONICAL_BYTEA:
			return bytea_text(DatumGetByteaPP(value), len);
		case CANONICAL_INET:
			return varlena_text(DatumGetTextPP(DirectFunctionCall1(network_show,
																   value)), len);
		case CANONICAL_OUTPUT:
			return output_text(type->type, value, len);
		case CANONICAL_ARRAY:
			return array_text(type, DatumGetArrayTypeP(value), len);
	}
	return NULL;
}
