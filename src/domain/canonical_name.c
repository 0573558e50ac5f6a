/*-------------------------------------------------------------------------
 *
 * canonical_name.c
 *	  The canonical text of what a caller writes for a tenant or a key.
 *
 * A caller writes a value as SQL would read it in a literal: capitals in a
 * UUID, 1.0 for 1, blanks at the end of a char(n).  The type's input function
 * reads it, and canonical.c writes it again, as it does with the values of
 * rows.  Texts that are canonical already, by far the most, are recognized
 * without that.
 *
 * Three things may come out.  Besides a text it may be no value of the type,
 * so that no row can have it.  Or it may be a value, but not one that could
 * be told from here: '01/02/2024' is one day or another by DateStyle,
 * '2024-01-02 12:00' one moment or another by TimeZone, 'tomorrow' changes by
 * itself.  No setting changes what a name means, so these name the whole
 * domain.  An array is read as an array of texts, and each of them as a value
 * of the elements' type.
 *
 * Bad input raises no error, nor may it cost a subtransaction, as caches ask
 * on standbys too.  PostgreSQL 16 and later have input functions that report
 * it; see compat_input() for those before.  Only functions of built-in types
 * are called, none of which could leave something half done.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/canonical.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "parser/scansup.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(cache_notify_naming_type);

/* A longer text is not read: reading it could take more memory than it has. */
#define MAX_NAME_LEN	65536

/* -0 and 007 are numbers, but not as they are written here. */
static bool
is_plain_integer(const char *string, int len)
{
	int			i = string[0] == '-';

	if (len - i < 1 || len - i > 18 ||
		(string[i] == '0' && len > 1))
		return false;
	for (; i < len; i++)
		if (string[i] < '0' || string[i] > '9')
			return false;
	return true;
}

static bool
is_plain_uuid(const char *string, int len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < len; i++)
	{
		char		c = string[i];

		if (i == 8 || i == 13 || i == 18 || i == 23 ? c != '-' :
			!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return true;
}

/* -------------------------------------------------------- dates and times */

/* Pass over min to max digits. */
static bool
skip_digits(const char **p, int min, int max)
{
	int			n = 0;

	while (n < max && **p >= '0' && **p <= '9')
	{
		(*p)++;
		n++;
	}
	return n >= min;
}

static bool
skip_char(const char **p, const char *chars)
{
	if (**p == '\0' || strchr(chars, **p) == NULL)
		return false;
	(*p)++;
	return true;
}

/* 2024-02-29: the year is first, and cannot be taken for a day or month. */
static bool
skip_date(const char **p)
{
	return skip_digits(p, 4, 6) && skip_char(p, "-") &&
		skip_digits(p, 1, 2) && skip_char(p, "-") && skip_digits(p, 1, 2);
}

/* 12:00, 12:00:01.5 */
static bool
skip_time(const char **p)
{
	if (!skip_digits(p, 1, 2) || !skip_char(p, ":") || !skip_digits(p, 2, 2))
		return false;
	if (!skip_char(p, ":"))
		return true;
	if (!skip_digits(p, 2, 2))
		return false;
	return !skip_char(p, ".") || skip_digits(p, 1, 9);
}

/* Z, +01, -0530, +01:30:10 */
static bool
skip_zone(const char **p)
{
	if (skip_char(p, "Zz"))
		return true;
	if (!skip_char(p, "+-") || !skip_digits(p, 2, 2))
		return false;
	while (skip_char(p, ":"))
		if (!skip_digits(p, 2, 2))
			return false;
	return skip_digits(p, 0, 2);
}

/*
 * Is this a date or time that every session reads in the same way?  That is
 * ISO 8601, with a zone if and only if the type has one.
 */
static bool
is_iso(CanonicalKind kind, const char *string)
{
	const char *p = string;
	bool		zone = false;

	if (kind == CANONICAL_TIME)
		return skip_time(&p) && *p == '\0';
	if (kind == CANONICAL_TIMETZ)
		return skip_time(&p) && skip_zone(&p) && *p == '\0';
	if (strcmp(p, "infinity") == 0 || strcmp(p, "-infinity") == 0)
		return true;
	if (!skip_date(&p))
		return false;
	if (skip_char(&p, "T") || (*p == ' ' && p[1] >= '0' && p[1] <= '9' && p++))
	{
		if (!skip_time(&p))
			return false;
		zone = skip_zone(&p);
	}
	if (strcmp(p, " BC") == 0)
		p += 3;
	return *p == '\0' && zone == (kind == CANONICAL_TIMESTAMPTZ);
}

/* ------------------------------------------------------------------ others */

/* As WHERE column = 'yes' would. */
static const char *
read_bool(const char *string, int *len)
{
	const char *end = string + *len;
	bool		value;

	while (string < end && scanner_isspace(*string))
		string++;
	while (end > string && scanner_isspace(end[-1]))
		end--;
	if (!parse_bool_with_len(string, end - string, &value))
		return NULL;
	*len = value ? strlen("true") : strlen("false");
	return value ? "true" : "false";
}

static const char *
read_enum(Oid type, const char *string, int len)
{
	return len < NAMEDATALEN &&
		SearchSysCacheExists2(ENUMTYPOIDNAME, ObjectIdGetDatum(type),
							  CStringGetDatum(string)) ? string : NULL;
}

/* The built-in type whose input function reads the text. */
static Oid
input_type(const CanonicalType *type)
{
	switch (type->kind)
	{
		case CANONICAL_INT2:
		case CANONICAL_INT4:
		case CANONICAL_INT8:
			return NUMERICOID;	/* 1.0 = 1 */
		case CANONICAL_ARRAY:
			return TEXTARRAYOID;
		default:
			return type->type;
	}
}

static bool
read_value(const CanonicalType *type, const char *string, Datum *value)
{
	Oid			function;
	Oid			param;
	FmgrInfo	flinfo;

	getTypeInputInfo(input_type(type), &function, &param);
	fmgr_info(function, &flinfo);
	return compat_input(&flinfo, unconstify(char *, string), param, value);
}

/* Let the type read the text, and write the value again. */
static NameMeaning
rewrite_value(const CanonicalType *type, const char *string,
			  const char **result, int *len)
{
	CanonicalType writer = *type;
	Datum		value;

	if (!read_value(type, string, &value))
		return NAME_NO_VALUE;
	if (input_type(type) == NUMERICOID)
		writer.kind = CANONICAL_NUMERIC;
	*result = canonical_text(&writer, value, len);
	return *result ? NAME_EXACT : NAME_UNKNOWN;
}

static NameMeaning
rewrite_time(const CanonicalType *type, const char *string,
			 const char **result, int *len)
{
	Datum		value;

	if (is_iso(type->kind, string))
		return rewrite_value(type, string, result, len);

	/* Words such as 'today' mean the same to every session, or nothing. */
	if (strpbrk(string, "0123456789") == NULL &&
		!read_value(type, string, &value))
		return NAME_NO_VALUE;
	return NAME_UNKNOWN;
}

static NameMeaning
rewrite_array(const CanonicalType *type, const char *string,
			  const char **result, int *len)
{
	CanonicalType element = {.kind = type->element,.type = type->type};
	ArrayType  *array;
	Datum		value;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (!read_value(type, string, &value))
		return NAME_NO_VALUE;
	array = DatumGetArrayTypeP(value);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		NameMeaning meaning;
		const char *read;
		int			size;

		if (nulls[i])
			continue;
		meaning = canonical_name(&element, TextDatumGetCString(elements[i]),
								 &read, &size);
		if (meaning != NAME_EXACT)
			return meaning;
		elements[i] = PointerGetDatum(cstring_to_text_with_len(read, size));
	}
	*result = canonical_array(elements, nulls, array, len);
	return NAME_EXACT;
}

/* The type that reads names of a column's values: one for all integers. */
CanonicalType
canonical_reader(CanonicalType type)
{
	switch (type.kind)
	{
		case CANONICAL_INT2:
		case CANONICAL_INT4:
			type.kind = CANONICAL_INT8;
			type.type = INT8OID;
			break;
		case CANONICAL_TEXT:
			type.type = TEXTOID;
			break;
		default:
			break;
	}
	return type;
}

/*
 * Read what a caller writes for a value of this type.  NAME_EXACT: *result and
 * *len are its canonical text; it may be the string itself.
 */
NameMeaning
canonical_name(const CanonicalType *type, const char *string,
			   const char **result, int *len)
{
	*len = strlen(string);
	*result = string;
	switch (type->kind)
	{
		case CANONICAL_NONE:
			return NAME_UNKNOWN;
		case CANONICAL_TEXT:
			return NAME_EXACT;
		case CANONICAL_BPCHAR:
			*len = bpchartruelen(unconstify(char *, string), *len);
			return NAME_EXACT;
		case CANONICAL_NAME:
			*len = pg_mbcliplen(string, *len, NAMEDATALEN - 1);
			return NAME_EXACT;
		case CANONICAL_CITEXT:
			*result = canonical_citext(string, len);
			return *result ? NAME_EXACT : NAME_UNKNOWN;
		case CANONICAL_ENUM:
			*result = read_enum(type->type, string, *len);
			return *result ? NAME_EXACT : NAME_NO_VALUE;
		case CANONICAL_BOOL:
			*result = read_bool(string, len);
			return *result ? NAME_EXACT : NAME_NO_VALUE;
		case CANONICAL_INT2:
		case CANONICAL_INT4:
		case CANONICAL_INT8:
		case CANONICAL_NUMERIC:
			if (is_plain_integer(string, *len))
				return NAME_EXACT;
			break;
		case CANONICAL_UUID:
			if (is_plain_uuid(string, *len))
				return NAME_EXACT;
			break;
		case CANONICAL_DATE:
		case CANONICAL_TIME:
		case CANONICAL_TIMETZ:
		case CANONICAL_TIMESTAMP:
		case CANONICAL_TIMESTAMPTZ:
			return rewrite_time(type, string, result, len);
		case CANONICAL_ARRAY:
			return *len > MAX_NAME_LEN ? NAME_UNKNOWN :
				rewrite_array(type, string, result, len);
		default:
			break;
	}
	return *len > MAX_NAME_LEN ? NAME_UNKNOWN :
		rewrite_value(type, string, result, len);
}

/*
 * naming_type(type oid, collation oid) returns oid, strict: the type that names
 * of such values are read by, or NULL
 */
Datum
cache_notify_naming_type(PG_FUNCTION_ARGS)
{
	CanonicalType type = canonical_reader(canonical_type(PG_GETARG_OID(0),
														 PG_GETARG_OID(1)));

	if (type.kind == CANONICAL_NONE)
		PG_RETURN_NULL();
	PG_RETURN_OID(type.kind == CANONICAL_ARRAY ? get_array_type(type.type) :
				  type.type);
}
