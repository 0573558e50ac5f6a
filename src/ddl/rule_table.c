/*-------------------------------------------------------------------------
 *
 * rule_table.c
 *	  The triggers of cascade_rules: what people write into the table becomes
 *	  entries of the configuration (stored.c).
 *
 * Whoever has been granted the right to write the table need have no rights on
 * the configuration, so this runs the SQL functions that do it as the
 * extension's owner.
 *
 * Everybody else can write the rules of domains that nobody but he feeds, by
 * set_cascade_rule() and remove_cascade_rule().  What he may is checked as
 * himself; the table is written as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "ddl/schema_event.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(cache_notify_rule_written);
PG_FUNCTION_INFO_V1(cache_notify_set_cascade_rule);
PG_FUNCTION_INFO_V1(cache_notify_remove_cascade_rule);
PG_FUNCTION_INFO_V1(cache_notify_note_rules_of);
PG_FUNCTION_INFO_V1(cache_notify_note_view);
PG_FUNCTION_INFO_V1(cache_notify_write_rule_notes);

/* Columns of cache_notify.cascade_rules, all of type text. */
#define Natts_rule	5

/*
 * Call a function, or run another command, with texts, of which NULL is the SQL
 * NULL.  It can read the transition tables of a trigger, if that is not NULL.
 * Returns how many rows there were.
 */
static uint64
call_function(const char *call, const char **values, int nvalues, TriggerData *trigger)
{
	uint64		nrows;
	int			result;
	Oid			types[2 * Natts_rule];
	Datum		datums[2 * Natts_rule];
	char		nulls[2 * Natts_rule];

	for (int i = 0; i < nvalues; i++)
	{
		types[i] = TEXTOID;
		nulls[i] = values[i] == NULL ? 'n' : ' ';
		datums[i] = values[i] == NULL ? (Datum) 0 :
			CStringGetTextDatum(values[i]);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (trigger != NULL && SPI_register_trigger_data(trigger) != SPI_OK_TD_REGISTER)
		elog(ERROR, "SPI_register_trigger_data failed");
	result = SPI_execute_with_args(call, nvalues, types, datums, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "%s failed: %s", call, SPI_result_code_string(result));
	nrows = SPI_processed;
	SPI_finish();
	return nrows;
}

static void
read_rule(HeapTuple tuple, TupleDesc desc, const char **values)
{
	for (int i = 0; i < Natts_rule; i++)
		values[i] = tuple == NULL ? NULL : text_attribute(tuple, desc, i + 1);
}

static void
row_written(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	bool		insert = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	const char *values[2 * Natts_rule];

	read_rule(insert ? NULL : trigger->tg_trigtuple, desc, values);
	read_rule(update ? trigger->tg_newtuple : insert ? trigger->tg_trigtuple : NULL,
			  desc, values + Natts_rule);
	(void) call_function("SELECT " INTERNAL_SCHEMA ".write_rule($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
						 values, 2 * Natts_rule, NULL);
}

/* All rows of a statement are written. */
static void
rows_written(TriggerData *trigger)
{
#define NOTE(written, gone) \
	"SELECT " INTERNAL_SCHEMA ".note_rules(" written ", " gone ")"
#define DOMAINS_OF(table) \
	"ARRAY(SELECT source_domain FROM " table "), ARRAY(SELECT target_domain FROM " table ")"
#define NONE	"'{}', '{}'"
	const char *call = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ?
		NOTE(DOMAINS_OF("written"), NONE) :
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ?
		NOTE(NONE, DOMAINS_OF("gone")) :
		NOTE(DOMAINS_OF("written"), DOMAINS_OF("gone"));

	(void) call_function(call, NULL, 0, trigger);
}

static void
statement_written(TriggerData *trigger)
{
	const char *insert = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? "t" : "f";

	if (TRIGGER_FIRED_AFTER(trigger->tg_event) &&
		!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		rows_written(trigger);
	else if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		(void) call_function("SELECT " INTERNAL_SCHEMA ".remove_rules()", NULL, 0, NULL);
	else
		(void) call_function("SELECT " INTERNAL_SCHEMA ".begin_writing_rules($1::bool)",
							 &insert, 1, NULL);
}

/* Trigger on cascade_rules, for each row or statement. */
Datum
cache_notify_rule_written(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Oid			user;
	int			sec_context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		RelationGetRelid(trigger->tg_relation) !=
		extension_relation(EXTENSION_SCHEMA, "cascade_rules"))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("rule_written() is a trigger of cache_notify.cascade_rules only")));
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(owner_of_function(fcinfo->flinfo->fn_oid),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		row_written(trigger);
	else
		statement_written(trigger);
	SetUserIdAndSecContext(user, sec_context);
	return PointerGetDatum(NULL);
}

/*
 * Write the table for the current user, who must be the only one to feed the
 * source, which is the first value.  Returns how many rows were written.
 */
static uint64
write_for_user(Oid function, const char *command, bool adds, FunctionCallInfo fcinfo)
{
	const char *values[Natts_rule] = {NULL};
	const char *rule[2];		/* source, and the target if it may be new */
	Oid			user;
	int			sec_context;
	uint64		nrows;

	for (int i = 0; i < PG_NARGS(); i++)
		values[i] = text_to_cstring(PG_GETARG_TEXT_PP(i));
	rule[0] = values[0];
	rule[1] = adds ? values[1] : NULL;
	(void) call_function("SELECT " INTERNAL_SCHEMA ".check_rule_of_user($1, $2)", rule, 2, NULL);
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(owner_of_function(function),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	nrows = call_function(command, values, PG_NARGS(), NULL);
	SetUserIdAndSecContext(user, sec_context);
	return nrows;
}

/*
 * set_cascade_rule(source_domain text, target_domain text, rule_type text, keys text,
 *					tenants text) returns void
 */
Datum
cache_notify_set_cascade_rule(PG_FUNCTION_ARGS)
{
	(void) write_for_user(fcinfo->flinfo->fn_oid,
						  "INSERT INTO " EXTENSION_SCHEMA ".cascade_rules AS r VALUES ($1, $2, $3, $4, $5)"
						  " ON CONFLICT (source_domain, target_domain) DO UPDATE"
						  " SET rule_type = excluded.rule_type, keys = excluded.keys, tenants = excluded.tenants",
						  true, fcinfo);
	PG_RETURN_VOID();
}

/* remove_cascade_rule(source_domain text, target_domain text) returns boolean */
Datum
cache_notify_remove_cascade_rule(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(write_for_user(fcinfo->flinfo->fn_oid,
								  "SELECT FROM " INTERNAL_SCHEMA ".remove_rule($1, $2) AS r (removed)"
								  " WHERE removed",
								  false, fcinfo) > 0);
}

/* May the current user say what a relation is watched with? */
static bool
may_set_up(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW ?
		compat_owns_relation(relid) :
		pg_class_aclcheck(relid, GetUserId(), ACL_TRIGGER) == ACLCHECK_OK;
}

/* What notes_of_domain() says, char *: as the owner of a function, who may read the rules. */
static List *
notes_of_domain(Oid function, Datum domain, Datum former)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID};
	Datum		values[] = {domain, former};
	MemoryContext caller = CurrentMemoryContext;
	List	   *notes = NIL;
	Oid			user;
	int			sec_context;

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(owner_of_function(function),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT n FROM pg_catalog.unnest(" INTERNAL_SCHEMA ".notes_of_domain($1, $2)) AS u (n)",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "notes_of_domain() failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *note = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(caller);

		notes = lappend(notes, pstrdup(note));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	SetUserIdAndSecContext(user, sec_context);
	return notes;
}

/* note_rules_of(relation regclass, domain text, former text[]) returns boolean, strict */
Datum
cache_notify_note_rules_of(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Datum		domain = PG_GETARG_DATUM(1);

	if (!may_set_up(relid))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(rule_notes_write(relid, TextDatumGetCString(domain),
									notes_of_domain(fcinfo->flinfo->fn_oid, domain,
												  PG_GETARG_DATUM(2))));
}

/* write_rule_notes(relation regclass, domain text, notes text[]) returns boolean, strict */
Datum
cache_notify_write_rule_notes(PG_FUNCTION_ARGS)
{
	List	   *notes = NIL;
	Datum	   *elements;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		notes = lappend(notes, TextDatumGetCString(elements[i]));
	PG_RETURN_BOOL(rule_notes_write(PG_GETARG_OID(0), text_to_cstring(PG_GETARG_TEXT_PP(1)),
									notes));
}

/* A label that is longer than this is not stored, only that there was one. */
#define MAX_STORED_LABEL_LEN	(16 * 1024)

/*
 * note_view(relation regclass, domain text, label text) returns void: a view was set
 * up, or if label is NULL, need not be.
 */
Datum
cache_notify_note_view(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char		relkind = get_rel_relkind(relid);
	const char *values[4];
	Oid			user;
	int			sec_context;

	if ((relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW) || !may_set_up(relid))
		PG_RETURN_VOID();
	values[0] = text_to_cstring(PG_GETARG_TEXT_PP(1));
	values[1] = get_namespace_name(get_rel_namespace(relid));
	values[2] = get_rel_name(relid);
	values[3] = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (values[3] != NULL && strlen(values[3]) > MAX_STORED_LABEL_LEN)
		values[3] = "";
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(owner_of_function(fcinfo->flinfo->fn_oid),
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	(void) call_function("SELECT " INTERNAL_SCHEMA ".store_view($1, $2, $3, $4)", values, 4, NULL);
	SetUserIdAndSecContext(user, sec_context);
	PG_RETURN_VOID();
}
