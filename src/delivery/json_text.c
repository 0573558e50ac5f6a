/*-------------------------------------------------------------------------
 *
 * json_text.c
 *	  JSON in ASCII, whatever the text is.
 *
 * The server converts a notification to the listener's client_encoding, and
 * ends the connection of a listener whose encoding lacks a letter of it.  JSON
 * can say every letter as \uXXXX, which is the same to every parser, so our
 * payloads do where the text is not ASCII.
 *
 * A database in SQL_ASCII does not know what its bytes mean: they are taken
 * for UTF-8 if they are valid in that.  Text that cannot be said is left to
 * the caller, who has something coarser.
 *
 * Nothing here raises errors or waits for a lock once json_text_prepare() has
 * been called.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "catalog/pg_conversion.h"
#include "catalog/pg_namespace.h"
#include "common/string.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "delivery/json_text.h"

/* From the database's encoding to UTF-8; lives as long as the backend. */
static Oid	conversion = InvalidOid;

/* Convert to UTF-8; NULL if that is not possible. */
static char *
to_utf8(const char *text, int len)
{
	int			encoding = GetDatabaseEncoding();
	Size		size = (Size) len * MAX_CONVERSION_GROWTH + 1;
	char	   *result;

	if (encoding == PG_UTF8)
		return pnstrdup(text, len);
	if (encoding == PG_SQL_ASCII)
		return pg_verify_mbstr(PG_UTF8, text, len, true) ?
			pnstrdup(text, len) : NULL;
	if (!OidIsValid(conversion))
		return NULL;
	result = palloc(size);
	if (pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
									  (unsigned char *) unconstify(char *, text),
									  len, (unsigned char *) result, size,
									  true) == len)
		return result;
	return NULL;
}

/*
 * Look up, once, what the conversion needs.  May wait for a lock on a catalog.
 * Only the server's own conversion will do: another one, found by way of
 * somebody's search_path, would be his code.
 */
void
json_text_prepare(void)
{
	int			encoding = GetDatabaseEncoding();

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || OidIsValid(conversion))
		return;
	conversion = FindDefaultConversion(PG_CATALOG_NAMESPACE, encoding, PG_UTF8);
	(void) to_utf8("x", 1);		/* has its library loaded */
}

static void
append_code_point(StringInfo buf, pg_wchar c)
{
	if (c < 0x80)
		appendStringInfoChar(buf, (char) c);
	else if (c < 0x10000)
		appendStringInfo(buf, "\\u%04x", c);
	else
	{
		c -= 0x10000;
		appendStringInfo(buf, "\\u%04x\\u%04x", 0xD800 + (c >> 10),
						 0xDC00 + (c & 0x3FF));
	}
}

/*
 * Append JSON text with its letters in ASCII.  They are within strings, as
 * JSON has nothing else outside of ASCII.  False, and nothing appended, if it
 * cannot be said.
 */
bool
append_ascii_json(StringInfo buf, const char *json, int len)
{
	char	   *utf8;

	for (int i = 0;; i++)
	{
		if (i == len)
		{
			appendBinaryStringInfo(buf, json, len);
			return true;
		}
		if (IS_HIGHBIT_SET(json[i]))
			break;
	}
	utf8 = to_utf8(json, len);
	if (utf8 == NULL)
		return false;
	for (char *p = utf8; *p != '\0'; p += pg_encoding_mblen(PG_UTF8, p))
		append_code_point(buf, utf8_to_unicode((unsigned char *) p));
	pfree(utf8);
	return true;
}

/* Append a JSON string of this text; false as above. */
bool
append_json_string(StringInfo buf, const char *text)
{
	StringInfoData json;
	bool		done;

	if (pg_is_ascii(text))
	{
		escape_json(buf, text);
		return true;
	}
	initStringInfo(&json);
	escape_json(&json, text);
	done = append_ascii_json(buf, json.data, json.len);
	pfree(json.data);
	return done;
}
