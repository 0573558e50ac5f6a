/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  What a notification says, in each format.
 *
 * To add a format, write its function and list it in payload_formats[].
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/xlogdefs.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"

PG_FUNCTION_INFO_V1(cache_notify_payload_formats);

/* Add a row's key, a JSON value; too many of them become "all". */
void
extra_add_key(ExtraFields *extra, const char *json)
{
	size_t		len = strlen(json);

	if (extra->all_keys)
		return;
	if (extra->keys_len >= len &&
		memcmp(extra->keys + extra->keys_len - len, json, len) == 0)
		return;					/* an update adds the old and the new row */
	if (extra->keys_len + len + 2 > MAX_KEYS_LEN)
	{
		extra->all_keys = true;
		return;
	}
	if (extra->keys_len > 0)
	{
		memcpy(extra->keys + extra->keys_len, ", ", 2);
		extra->keys_len += 2;
	}
	memcpy(extra->keys + extra->keys_len, json, len);
	extra->keys_len += len;
}

/* What two changes of one key have in common to say.  Raises no errors. */
void
extra_merge(ExtraFields *into, const ExtraFields *from)
{
	into->wanted |= from->wanted;
	into->all_keys |= from->all_keys;
	into->operations |= from->operations;
	into->xid = Max(into->xid, from->xid);
	if (into->all_keys || from->keys_len == 0)
		return;
	if (into->keys_len + from->keys_len + 2 > MAX_KEYS_LEN)
	{
		into->all_keys = true;
		return;
	}
	if (into->keys_len > 0)
	{
		memcpy(into->keys + into->keys_len, ", ", 2);
		into->keys_len += 2;
	}
	memcpy(into->keys + into->keys_len, from->keys, from->keys_len);
	into->keys_len += from->keys_len;
}

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
		if (extra->xid != 0)
			appendStringInfo(buf, ", \"xid\": " UINT64_FORMAT, extra->xid);
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
		if (extra->all_keys || extra->keys_len == 0)
			appendStringInfoString(buf, ", \"keys\": null");
		else
			appendStringInfo(buf, ", \"keys\": [%.*s]", extra->keys_len,
							 extra->keys);
	}
}

/*
 * The default: a JSON object whose first three fields, their order and their
 * spacing are a promise; what else a watched table asks for comes after them.
 * With a tenant of at most 255 bytes and keys of MAX_KEYS_LEN it stays far
 * below the 7,999 bytes that NOTIFY takes, whatever has to be escaped.
 */
static void
write_json(StringInfo buf, const Delivery *delivery, int fields)
{
	appendStringInfoString(buf, "{\"tenant_id\": ");
	if (delivery->tenant != NULL)
		escape_json(buf, delivery->tenant);
	else
		appendStringInfoString(buf, "null");
	appendStringInfoString(buf, ", \"domain\": ");
	escape_json(buf, delivery->domain);
	appendStringInfo(buf, ", \"version\": " INT64_FORMAT,
					 delivery->version);
	write_fields(buf, delivery, fields);
	if (delivery->bumps > 0)
		appendStringInfo(buf, ", \"bumps\": " INT64_FORMAT, delivery->bumps);
	appendStringInfoChar(buf, '}');
}

static const PayloadFormat payload_formats[] = {
	{"json", write_json}
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

/* payload_formats() returns text[]: the formats there are, default first. */
Datum
cache_notify_payload_formats(PG_FUNCTION_ARGS)
{
	Datum		names[lengthof(payload_formats)];

	for (int i = 0; i < lengthof(payload_formats); i++)
		names[i] = CStringGetTextDatum(payload_formats[i].name);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, lengthof(payload_formats),
										  TEXTOID, -1, false, TYPALIGN_INT));
}
