/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  What a notification says, in each format.
 *
 * To add a format, write its function and list it in payload_formats[].
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/message.h"

#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "funcapi.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "delivery/json_text.h"

PG_FUNCTION_INFO_V1(cache_notify_payload_formats);
PG_FUNCTION_INFO_V1(cache_notify_payload_fields);
PG_FUNCTION_INFO_V1(cache_notify_payload_format);

static void
write_operations(StringInfo buf, uint8 operations)
{
	static const char *const names[] = {"insert", "update", "delete", "truncate"};
	const char *separator = "";

	for (int i = 0; i < lengthof(names); i++)
		if (operations & (1 << i))
		{
			appendStringInfo(buf, "%s\"%s\"", separator, names[i]);
			separator = ", ";
		}
}

static void
truncate_buffer(StringInfo buf, int len)
{
	buf->len = len;
	buf->data[len] = '\0';
}

static void
write_fields(StringInfo buf, const Delivery *delivery, int fields)
{
	const ExtraFields *extra = delivery->extra;

	if (fields & FIELD_LSN)
	{
		if (delivery->lsn != 0)
			appendStringInfo(buf, ", \"lsn\": \"%X/%X\"",
							 LSN_FORMAT_ARGS(delivery->lsn));
		else
			appendStringInfoString(buf, ", \"lsn\": null");
	}
	if (fields & FIELD_XID)
	{
		if (delivery->xid != 0)
			appendStringInfo(buf, ", \"xid\": " UINT64_FORMAT, delivery->xid);
		else
			appendStringInfoString(buf, ", \"xid\": null");
	}
	if (fields & FIELD_OPERATIONS)
	{
		appendStringInfoString(buf, ", \"operations\": [");
		write_operations(buf, extra->operations);
		appendStringInfoChar(buf, ']');
	}
	if (fields & FIELD_KEYS)
	{
		int			start = buf->len;

		appendStringInfoString(buf, ", \"keys\": [");
		if (!extra->all_keys && extra->keys_len > 0 &&
			append_ascii_json(buf, extra->keys, extra->keys_len))
			appendStringInfoChar(buf, ']');
		else
		{
			truncate_buffer(buf, start);
			appendStringInfoString(buf, ", \"keys\": null");
		}
	}
}

/* The first two fields of the default format; false if they cannot be said. */
static bool
write_scope(StringInfo buf, const Delivery *delivery)
{
	appendStringInfoString(buf, "{\"tenant_id\": ");
	if (delivery->tenant == NULL)
		appendStringInfoString(buf, "null");
	else if (!append_json_string(buf, delivery->tenant))
		return false;
	appendStringInfoString(buf, ", \"domain\": ");
	return append_json_string(buf, delivery->domain);
}

/*
 * The default: a JSON object whose first three fields, their order and their
 * spacing are a promise; what else a watched table asks for comes after them.
 * With a tenant of at most 255 bytes and keys of MAX_KEYS_LEN it stays far
 * below the 7,999 bytes that NOTIFY takes, whatever has to be escaped: a byte
 * becomes six at most.  If a name cannot be said it is a reset.
 */
static void
write_json(StringInfo buf, const Delivery *delivery, int fields)
{
	int			start = buf->len;

	if (!write_scope(buf, delivery))
	{
		truncate_buffer(buf, start);
		appendStringInfoString(buf, RESET_PAYLOAD);
		return;
	}
	appendStringInfo(buf, ", \"version\": " INT64_FORMAT,
					 delivery->version);
	write_fields(buf, delivery, fields);
	if (delivery->bumps > 0)
		appendStringInfo(buf, ", \"bumps\": " INT64_FORMAT, delivery->bumps);
	appendStringInfoChar(buf, '}');
}

/* Sequel's pg_static_cache_updater: which table, nothing else. */
static void
write_oid(StringInfo buf, const TableDelivery *delivery)
{
	appendStringInfo(buf, "%u", delivery->table);
}

/*
 * PGCacheWatch: which table, what was done, and when it is told, because the
 * listener complains of what took long.  A name that cannot be said is empty.
 */
static void
write_pgcachewatch(StringInfo buf, const TableDelivery *delivery)
{
	struct pg_tm tm;
	fsec_t		microseconds;

	if (timestamp2tm(delivery->sent_at, NULL, &tm, &microseconds, NULL, NULL) != 0)
		elog(ERROR, "timestamp out of range");
	appendStringInfoString(buf, "{\"operation\" : ");
	write_operations(buf, delivery->operation);
	appendStringInfoString(buf, ", \"table\" : ");
	if (!append_json_string(buf, delivery->table_name))
		appendStringInfoString(buf, "\"\"");
	appendStringInfo(buf, ", \"sent_at\" : \"%04d-%02d-%02dT%02d:%02d:%02d.%06d+00:00\"}",
					 tm.tm_year, tm.tm_mon, tm.tm_mday,
					 tm.tm_hour, tm.tm_min, tm.tm_sec, microseconds);
}

static void
append_quoted(StringInfo buf, const char *string, char quote)
{
	appendStringInfoChar(buf, quote);
	for (const char *p = string; *p != '\0'; p++)
	{
		if (*p == quote)
			appendStringInfoChar(buf, quote);
		appendStringInfoChar(buf, *p);
	}
	appendStringInfoChar(buf, quote);
}

/*
 * contrib/tcn: which table, what was done, and to which row.  That module
 * knows no TRUNCATE; here T, without a row, is for all that is not told row
 * by row.  Nothing can be said in ASCII that is not: a row is told as T then,
 * and the table's name is empty, for any table.
 */
static void
write_tcn(StringInfo buf, const TableDelivery *delivery)
{
	const char *row = delivery->row;

	if (row != NULL && !pg_is_ascii(row))
		row = NULL;
	append_quoted(buf, pg_is_ascii(delivery->table_name) ?
				  delivery->table_name : "", '"');
	appendStringInfo(buf, ",%c", row == NULL ? 'T' :
					 delivery->operation == OPERATION_INSERT ? 'I' :
					 delivery->operation == OPERATION_UPDATE ? 'U' : 'D');
	if (row != NULL)
		appendStringInfoString(buf, row);
}

/* A column of the primary key as tcn writes it. */
static void
write_tcn_pk_column(StringInfo buf, const char *column, const char *value)
{
	appendStringInfoChar(buf, ',');
	append_quoted(buf, column, '"');
	appendStringInfoChar(buf, '=');
	append_quoted(buf, value, '\'');
}

static const PayloadFormat payload_formats[] = {
	{
		.name = "json",
		.write = write_json
	},
	{
		.name = "oid",
		.write_event = write_oid,
		.channel = "sequel_static_cache_update"
	},
	{
		.name = "pgcachewatch",
		.write_event = write_pgcachewatch,
		.tells_order = true,
		.channel = "ch_pgcachewatch_table_change"
	},
	{
		.name = "tcn",
		.write_event = write_tcn,
		.write_pk_column = write_tcn_pk_column,
		.channel = "tcn"
	}
};

/* The format of this name (NULL: the default), or NULL if there is none. */
const PayloadFormat *
payload_format(const char *name)
{
	if (name == NULL)
		return &payload_formats[0];
	for (int i = 0; i < lengthof(payload_formats); i++)
		if (strcmp(payload_formats[i].name, name) == 0)
			return &payload_formats[i];
	return NULL;
}

/* The n-th format, the default first; NULL: there are no more. */
const char *
payload_format_name(int n)
{
	return n < lengthof(payload_formats) ? payload_formats[n].name : NULL;
}

static const struct
{
	const char *name;
	int			bit;
}			fields_there_are[] = {
	{"lsn", FIELD_LSN},
	{"xid", FIELD_XID},
	{"operations", FIELD_OPERATIONS},
	{"keys", FIELD_KEYS}
};

/* The n-th field; NULL: there are no more. */
const char *
payload_field_name(int n)
{
	return n < lengthof(fields_there_are) ? fields_there_are[n].name : NULL;
}

/* FIELD_* of these names. */
int
payload_fields(const List *names)
{
	int			fields = 0;
	ListCell   *lc;

	foreach(lc, names)
		for (int i = 0; i < lengthof(fields_there_are); i++)
		if (strcmp(lfirst(lc), fields_there_are[i].name) == 0)
			fields |= fields_there_are[i].bit;
	return fields;
}

static Datum
array_of_names(const char *(*name) (int n))
{
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	for (int n = 0; name(n) != NULL; n++)
		state = accumArrayResult(state, CStringGetTextDatum(name(n)), false,
								 TEXTOID, CurrentMemoryContext);
	return makeArrayResult(state, CurrentMemoryContext);
}

/* payload_formats() returns text[]: the formats there are, default first. */
Datum
cache_notify_payload_formats(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(array_of_names(payload_format_name));
}

/* payload_fields() returns text[] */
Datum
cache_notify_payload_fields(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(array_of_names(payload_field_name));
}

/*
 * payload_format(name text, OUT tells text, OUT channel text): what a format
 * tells of, and its own channel.
 */
Datum
cache_notify_payload_format(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const PayloadFormat *format = payload_format(name);
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (format != NULL)
	{
		values[0] = CStringGetTextDatum(format->write_pk_column ? "rows" :
										format->write_event ? "tables" : "scopes");
		nulls[0] = false;
	}
	if (format != NULL && format->channel != NULL)
	{
		values[1] = CStringGetTextDatum(format->channel);
		nulls[1] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
