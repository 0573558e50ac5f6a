/*-------------------------------------------------------------------------
 *
 * extra_fields.c
 *	  What payloads can say beside the version: collect it, and merge it.
 *
 * To add a field, see doc/architecture.md.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

/* The end of the JSON string that begins here. */
static const char *
end_of_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return Min(p + 1, end);
}

/* The end of the JSON string, or array of strings, that begins here. */
static const char *
end_of_value(const char *p, const char *end)
{
	if (*p != '[')
		return end_of_string(p, end);
	for (p++; p < end && *p != ']';)
		p = *p == '"' ? end_of_string(p, end) : p + 1;
	return Min(p + 1, end);
}

static bool
has_key(const ExtraFields *extra, const char *json, size_t len)
{
	const char *end = extra->keys + extra->keys_len;

	for (const char *p = extra->keys; p < end;)
	{
		const char *next = end_of_value(p, end);

		if (next - p == len && memcmp(p, json, len) == 0)
			return true;
		p = next + 2;			/* the comma and the space */
	}
	return false;
}

static void
add_key(ExtraFields *extra, const char *json, size_t len)
{
	if (extra->all_keys || has_key(extra, json, len))
		return;
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

/* Add a row's key, a JSON value; too many of them become "all". */
void
extra_add_key(ExtraFields *extra, const char *json)
{
	add_key(extra, json, strlen(json));
}

/*
 * What two changes of one key have in common to say.  A change that names no
 * keys concerns all rows.  Raises no errors.
 */
void
extra_merge(ExtraFields *into, const ExtraFields *from)
{
	const char *end = from->keys + from->keys_len;

	into->wanted |= from->wanted;
	into->events_incomplete |= from->events_incomplete;
	into->all_keys |= from->all_keys || from->keys_len == 0;
	into->operations |= from->operations;
	for (const char *p = from->keys; p < end && !into->all_keys;)
	{
		const char *next = end_of_value(p, end);

		add_key(into, p, next - p);
		p = next + 2;
	}
}

/* What a rollback to a savepoint is to bring back. */
ExtraState
extra_state(const ExtraFields *extra)
{
	ExtraState	state = {
		.wanted = extra->wanted,
		.events_incomplete = extra->events_incomplete,
		.all_keys = extra->all_keys,
		.operations = extra->operations,
		.keys_len = extra->keys_len
	};

	return state;
}

void
extra_go_back(ExtraFields *extra, const ExtraState *state)
{
	extra->wanted = state->wanted;
	extra->events_incomplete = state->events_incomplete;
	extra->all_keys = state->all_keys;
	extra->operations = state->operations;
	extra->keys_len = state->keys_len;
}
