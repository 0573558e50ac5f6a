/*-------------------------------------------------------------------------
 *
 * row_key.c
 *	  The key of a row: from key columns to buckets of the change set.
 *
 * Hashing is what costs here, so the common types are written by hand, and a
 * row whose key is the one seen last costs one comparison.  Without a key (a
 * column is NULL, or has no text) a row belongs to no key that could be named;
 * its change reaches all, which is simple and right.
 *
 *-------------------------------------------------------------------------
 */
#include "trigger/trigger_config.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/uuid.h"


/*
 * Add the text of a value, as it is or as it is written in names.  False if it
 * cannot be had.
 */
static bool
append_value(StringInfo buf, ColumnText *column, Datum value, bool escaped)
{
	const char *string;
	int			len;

	if (canonical_append(buf, &column->type, value))
		return true;
	string = column_text(column, value, &len);
	if (string == NULL)
		return false;
	if (escaped)
		append_escaped_bytes(buf, string, len);
	else
		appendBinaryStringInfo(buf, string, len);
	return true;
}

/* Write a row's key into state->bytes.  False if it has none. */
static bool
write_key(TriggerState *state, HeapTuple tuple, TupleDesc desc,
		  char separator, bool escaped)
{
	TriggerConfig *config = state->config;
	StringInfo	buf = &state->bytes;

	if (buf->data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(state->context);

		initStringInfo(buf);
		MemoryContextSwitchTo(old);
	}
	resetStringInfo(buf);
	for (int i = 0; i < config->nkey_texts; i++)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, config->key_texts[i].attnum,
										 desc, &isnull);

		if (isnull)
			return false;
		if (i > 0)
			appendStringInfoChar(buf, separator);
		if (!append_value(buf, &config->key_texts[i], value, escaped))
			return false;
	}
	return true;
}

/* The hash of a row's key.  False if it has none. */
bool
row_key_hash(TriggerState *state, HeapTuple tuple, TupleDesc desc, uint32 *hash)
{
	if (!write_key(state, tuple, desc, KEY_SEPARATOR, false))
		return false;
	*hash = hash_key_bytes(state->bytes.data, state->bytes.len);
	return true;
}

/* Is this, of the keys of this scope, the one bumped last? */
static bool
is_bumped_value(TriggerState *state, ScopeChange *scope, HeapTuple tuple,
				TupleDesc desc)
{
	TriggerConfig *config = state->config;
	bool		known = scope == state->bumped_scope &&
		change_set_is_keyed(scope, state->depth);
	bool		isnull;
	Datum		value;

	state->bumped_scope = NULL;
	if (config->nkey_texts != 1 || !config->key_texts[0].byval)
		return false;
	value = heap_getattr(tuple, config->key_texts[0].attnum, desc, &isnull);
	if (isnull)
		return false;
	if (known && value == state->bumped_value)
	{
		state->bumped_scope = scope;
		return true;
	}
	state->bumped_value = value;
	return false;
}

/* A row of this scope has changed: bump its key. */
void
bump_row_key(TriggerState *state, ScopeChange *scope, HeapTuple tuple,
			 TupleDesc desc)
{
	bool		by_value = state->config->nkey_texts == 1 &&
		state->config->key_texts[0].byval;
	uint32		hash;

	if (change_set_is_bumped(scope, state->depth) ||
		is_bumped_value(state, scope, tuple, desc))
		return;
	if (!row_key_hash(state, tuple, desc, &hash))
	{
		change_set_bump_once(scope, state->depth);
		return;
	}
	change_set_bump_key_once(scope, state->config->bucket_layout, hash, state->depth);
	if (by_value)
		state->bumped_scope = scope;
}

/* Are the key columns, if there are any, the same in both rows, bit for bit? */
bool
same_row_key(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	if (state->config->bucket_layout == 0)
		return true;
	for (int i = 0; i < state->config->nkey_texts; i++)
	{
		ColumnText *column = &state->config->key_texts[i];
		bool		old_null,
					new_null;
		Datum		old_value = heap_getattr(old, column->attnum, desc, &old_null);
		Datum		new_value = heap_getattr(new, column->attnum, desc, &new_null);

		if (old_null != new_null)
			return false;
		if (!old_null &&
			!datum_image_eq(old_value, new_value, column->byval, column->len))
			return false;
	}
	return true;
}

/* The key of a row as a JSON string, as it is written in names; or NULL. */
char *
row_key_as_json(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	StringInfoData buf;

	if (!write_key(state, tuple, desc, '/', true))
		return NULL;
	initStringInfo(&buf);
	escape_json(&buf, state->bytes.data);
	return buf.data;
}
