/*-------------------------------------------------------------------------
 *
 * schema_payload.c
 *	  What the programs that keep a copy of the schema want to hear.
 *
 * A preset knows which changes of the schema a program counts, its channel,
 * and what the payload says.  To add one, list it in presets[].
 *
 * Who listens is in the configuration (stored.c), an entry for each channel, since
 * event triggers take no arguments.
 *
 * Messages are made once, when the transaction is about to commit.
 *
 *-------------------------------------------------------------------------
 */
#include "delivery/message.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "delivery/json_text.h"

PG_FUNCTION_INFO_V1(cache_notify_schema_presets);

/* The most that NOTIFY takes, in bytes. */
#define MAX_PAYLOAD_LEN		7999

/* PostGraphile 4 takes an item without a schema for a change of any. */
#define POSTGRAPHILE_ANYTHING \
	"{\"type\" : \"ddl\", \"payload\" : [{\"schema\" : null, \"command\" : \"ANY\"}]}"

/* What setup_schema_invalidation() was called with. */
typedef struct SchemaListener
{
	const char *channel;
	const char *preset;			/* NULL: every change that any preset counts */
	const char *payload;		/* NULL: the preset's */
	const char *suffix;
} SchemaListener;

typedef struct SchemaPreset
{
	const char *name;
	const char *channel;
	const char *payload;		/* NULL: written by write */
	List	   *(*write) (List *payloads, List *changes, int preset, int max_len);
	const char *const *statements;	/* tags of whole statements that count */
	const char *const *commands;	/* tags of commands, also within others */
	const char *const *drops;	/* types of objects; NULL: all */
} SchemaPreset;

static List *write_postgraphile(List *payloads, List *changes, int preset,
								int max_len);

/* What PostgREST's schema cache is made of. */
static const char *const postgrest_commands[] = {
	"ALTER AGGREGATE", "ALTER CAST", "ALTER DOMAIN", "ALTER EXTENSION",
	"ALTER FOREIGN TABLE", "ALTER FUNCTION", "ALTER MATERIALIZED VIEW",
	"ALTER PROCEDURE", "ALTER ROUTINE", "ALTER SCHEMA", "ALTER TABLE",
	"ALTER TYPE", "ALTER VIEW", "COMMENT", "CREATE AGGREGATE", "CREATE CAST",
	"CREATE DOMAIN", "CREATE EXTENSION", "CREATE FOREIGN TABLE",
	"CREATE FUNCTION", "CREATE MATERIALIZED VIEW", "CREATE PROCEDURE",
	"CREATE RULE", "CREATE SCHEMA", "CREATE TABLE", "CREATE TABLE AS",
	"CREATE TRIGGER", "CREATE TYPE", "CREATE VIEW", "IMPORT FOREIGN SCHEMA",
	"SELECT INTO", NULL
};

static const char *const postgrest_drops[] = {
	"aggregate", "cast", "domain", "foreign table", "function",
	"materialized view", "procedure", "rule", "schema", "table", "trigger",
	"type", "view", NULL
};

/* The tags that PostGraphile's own event trigger is created for. */
static const char *const postgraphile_statements[] = {
	"ALTER AGGREGATE", "ALTER DOMAIN", "ALTER EXTENSION",
	"ALTER FOREIGN TABLE", "ALTER FUNCTION", "ALTER POLICY", "ALTER SCHEMA",
	"ALTER TABLE", "ALTER TYPE", "ALTER VIEW", "COMMENT", "CREATE AGGREGATE",
	"CREATE DOMAIN", "CREATE EXTENSION", "CREATE FOREIGN TABLE",
	"CREATE FUNCTION", "CREATE INDEX", "CREATE POLICY", "CREATE RULE",
	"CREATE SCHEMA", "CREATE TABLE", "CREATE TABLE AS", "CREATE VIEW",
	"DROP AGGREGATE", "DROP DOMAIN", "DROP EXTENSION", "DROP FOREIGN TABLE",
	"DROP FUNCTION", "DROP INDEX", "DROP OWNED", "DROP POLICY", "DROP RULE",
	"DROP SCHEMA", "DROP TABLE", "DROP TYPE", "DROP VIEW", "GRANT", "REVOKE",
	"SELECT INTO", NULL
};

static const SchemaPreset presets[] = {
	{
		.name = "postgrest",
		.channel = "pgrst",
		.payload = "reload schema",
		.commands = postgrest_commands,
		.drops = postgrest_drops
	},
	{
		.name = "postgraphile",
		.channel = "postgraphile_watch",
		.write = write_postgraphile,
		.statements = postgraphile_statements
	}
};

static bool
is_listed(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

/* Which presets count this command, as bits.  It may be part of a statement. */
int
schema_presets_of_command(const char *statement, const char *command)
{
	int			result = 0;

	for (int i = 0; i < lengthof(presets); i++)
		if ((presets[i].statements && is_listed(presets[i].statements, statement)) ||
			(presets[i].commands && is_listed(presets[i].commands, command)))
			result |= 1 << i;
	return result;
}

/* Which presets count that an object of this type was dropped. */
int
schema_presets_of_drop(const char *object_type)
{
	int			result = 0;

	for (int i = 0; i < lengthof(presets); i++)
		if (presets[i].drops == NULL || is_listed(presets[i].drops, object_type))
			result |= 1 << i;
	return result;
}

/* ------------------------------------------------------------- PostGraphile */

/* False if a name cannot be said in JSON; see json_text.c. */
static bool
write_ddl(StringInfo buf, List *changes, int preset)
{
	bool		said = true;
	ListCell   *lc;

	foreach(lc, changes)
	{
		SchemaChange *change = lfirst(lc);

		if (change->command == NULL || !(change->presets & (1 << preset)))
			continue;
		appendStringInfoString(buf, buf->len > 0 ? ", " :
							   "{\"type\" : \"ddl\", \"payload\" : [");
		appendStringInfoString(buf, "{\"schema\" : ");
		if (change->schema != NULL)
			said &= append_json_string(buf, change->schema);
		else
			appendStringInfoString(buf, "null");
		appendStringInfoString(buf, ", \"command\" : ");
		said &= append_json_string(buf, change->command);
		appendStringInfoChar(buf, '}');
	}
	if (buf->len > 0)
		appendStringInfoString(buf, "]}");
	return said;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* False as above. */
static bool
write_drop(StringInfo buf, List *changes, int preset)
{
	List	   *schemas = NIL;
	bool		said = true;
	ListCell   *lc;

	foreach(lc, changes)
	{
		SchemaChange *change = lfirst(lc);

		if (change->command == NULL && change->schema != NULL &&
			(change->presets & (1 << preset)))
			schemas = lappend(schemas, unconstify(char *, change->schema));
	}
	list_sort(schemas, compare_names);
	foreach(lc, schemas)
	{
		/* One schema may have lost objects of several kinds. */
		if (foreach_current_index(lc) > 0 &&
			strcmp(lfirst(lc), list_nth(schemas, foreach_current_index(lc) - 1)) == 0)
			continue;
		appendStringInfoString(buf, buf->len > 0 ? ", " :
							   "{\"type\" : \"drop\", \"payload\" : [");
		said &= append_json_string(buf, lfirst(lc));
	}
	if (buf->len > 0)
		appendStringInfoString(buf, "]}");
	return said;
}

/*
 * What PostGraphile's own event triggers say, with their spaces, but once for
 * the transaction: {"type" : "ddl", "payload" : [{"schema" : "s", "command" :
 * "CREATE TABLE"}, ...]} and {"type" : "drop", "payload" : ["s", ...]}.
 */
static List *
write_postgraphile(List *payloads, List *changes, int preset, int max_len)
{
	StringInfoData ddl,
				drop;
	ListCell   *lc;
	bool		anything = false;

	initStringInfo(&ddl);
	initStringInfo(&drop);
	foreach(lc, changes)
		anything |= ((SchemaChange *) lfirst(lc))->anything;
	anything |= !write_ddl(&ddl, changes, preset);
	anything |= !write_drop(&drop, changes, preset);
	if (anything || ddl.len > max_len || drop.len > max_len)
		return lappend(payloads, POSTGRAPHILE_ANYTHING);
	if (ddl.len > 0)
		payloads = lappend(payloads, ddl.data);
	if (drop.len > 0)
		payloads = lappend(payloads, drop.data);
	return payloads;
}

/* ----------------------------------------------------------------- messages */

static bool
any_counts(List *changes, int preset)
{
	ListCell   *lc;

	foreach(lc, changes)
	{
		if (((SchemaChange *) lfirst(lc))->presets & (1 << preset))
			return true;
	}
	return false;
}

static List *
payloads_for(const SchemaListener *listener, List *changes)
{
	int			max_len = MAX_PAYLOAD_LEN - (int) strlen(listener->suffix);

	if (listener->preset == NULL)
		return listener->payload ? list_make1(pstrdup(listener->payload)) : NIL;
	for (int i = 0; i < lengthof(presets); i++)
	{
		const char *payload = listener->payload ? listener->payload :
			presets[i].payload;

		if (strcmp(presets[i].name, listener->preset) != 0)
			continue;
		if (!any_counts(changes, i))
			return NIL;
		if (payload != NULL)
			return list_make1(pstrdup(payload));
		return presets[i].write(NIL, changes, i, max_len);
	}
	return NIL;
}

static List *
add_messages(List *messages, const StoredEntry *entry, List *changes)
{
	SchemaListener listener = {
		.channel = stored_value(entry, "channel"),
		.preset = stored_value(entry, "preset"),
		.payload = stored_value(entry, "payload"),
		.suffix = stored_value(entry, "payload_suffix")
	};
	ListCell   *lc;

	/* Somebody may have written it by hand. */
	if (listener.channel == NULL || listener.channel[0] == '\0' ||
		strlen(listener.channel) >= NAMEDATALEN)
		return messages;
	if (listener.suffix == NULL)
		listener.suffix = "";
	if (strlen(listener.suffix) +
		(listener.payload != NULL ? strlen(listener.payload) : 0) > MAX_PAYLOAD_LEN)
		return messages;
	foreach(lc, payloads_for(&listener, changes))
	{
		Message    *message = palloc0(sizeof(Message));

		message->channel = listener.channel;
		message->payload = psprintf("%s%s", (char *) lfirst(lc),
									listener.suffix);
		messages = lappend(messages, message);
	}
	return messages;
}

/* The Messages that this transaction, about to commit, has for listeners. */
List *
schema_messages(void)
{
	List	   *changes = schema_changes();
	List	   *messages = NIL;
	ListCell   *lc;

	if (changes == NIL)
		return NIL;
	json_text_prepare();
	CommandCounterIncrement();
	foreach(lc, stored_entries("schema_listener"))
		messages = add_messages(messages, lfirst(lc), changes);
	return messages;
}

/* schema_presets() returns setof (preset text, channel text, payload text) */
Datum
cache_notify_schema_presets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	compat_materialize_result(fcinfo);
	for (int i = 0; i < lengthof(presets); i++)
	{
		bool		nulls[3] = {false, false, presets[i].payload == NULL};
		Datum		values[3] = {
			CStringGetTextDatum(presets[i].name),
			CStringGetTextDatum(presets[i].channel),
			nulls[2] ? (Datum) 0 : CStringGetTextDatum(presets[i].payload)
		};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
