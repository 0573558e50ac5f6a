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

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"

PG_FUNCTION_INFO_V1(cache_notify_payload_formats);

/*
 * The default: a JSON object whose first three fields, their order and their
 * spacing are a promise.  With a tenant of at most 255 bytes it stays far
 * below the 7,999 bytes that NOTIFY takes, whatever has to be escaped.
 */
static void
write_json(StringInfo buf, const Delivery *delivery)
{
	appendStringInfoString(buf, "{\"tenant_id\": ");
	if (delivery->tenant != NULL)
		escape_json(buf, delivery->tenant);
	else
		appendStringInfoString(buf, "null");
	appendStringInfoString(buf, ", \"domain\": ");
	escape_json(buf, delivery->domain);
	appendStringInfo(buf, ", \"version\": " INT64_FORMAT "}",
					 delivery->version);
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
