/*-------------------------------------------------------------------------
 *
 * builtin_function.c
 *	  What the result of the server's own functions depends on.
 *
 * IMMUTABLE ones depend on their arguments only, as the server promises.  Of
 * the others those are trusted that are in the table below: whatever is not
 * there, such as a new version's, counts as one that cannot be seen into.
 *
 * To add a function: look at its source, choose its mark, and add its line
 * where its OID belongs, with its signature as regprocedure writes it under
 * search_path = pg_catalog.  test/pgtap/ask_builtin.sql compares the table with
 * pg_proc.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/dependency.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(cache_notify_builtin_functions);

typedef enum BuiltinMark
{
	BUILTIN_UNKNOWN,			/* the catalogs, the server's state, or not
								 * looked at */
	BUILTIN_HARMLESS,			/* its arguments only, and their types */
	BUILTIN_SETTINGS,			/* the session's settings or user */
	BUILTIN_TIME,
	BUILTIN_TIME_TEXT,			/* reads 'now' and the like, else as SETTINGS */
	BUILTIN_OUTPUT,				/* how the values of its arguments are written */
	BUILTIN_JSON,				/* the same, where dates are ISO */
	BUILTIN_INPUT,				/* how text is read as a value of its result */
	BUILTIN_TEXT_SEARCH,		/* the default configuration */
	BUILTIN_TABLES				/* tables that its arguments name */
} BuiltinMark;

static const char *const mark_names[] = {
	"unknown", "harmless", "settings", "time", "time text", "output", "json",
	"input", "text search", "tables"
};

typedef struct Builtin
{
	Oid			oid;
	BuiltinMark mark;
	const char *signature;		/* as pg_proc has it: for people, and the test */
} Builtin;

static const Builtin builtins[] = {
	{31, BUILTIN_SETTINGS, "byteaout(bytea)"},
	{201, BUILTIN_SETTINGS, "float4out(real)"},
	{215, BUILTIN_SETTINGS, "float8out(double precision)"},
	{384, BUILTIN_OUTPUT, "array_to_string(anyarray,text,text)"},
	{395, BUILTIN_OUTPUT, "array_to_string(anyarray,text)"},
	{710, BUILTIN_SETTINGS, "getpgusername()"},
	{745, BUILTIN_SETTINGS, "\"current_user\"()"},
	{746, BUILTIN_SETTINGS, "\"session_user\"()"},
	{750, BUILTIN_INPUT, "array_in(cstring,oid,integer)"},
	{751, BUILTIN_OUTPUT, "array_out(anyarray)"},
	{810, BUILTIN_SETTINGS, "pg_client_encoding()"},
	{861, BUILTIN_SETTINGS, "current_database()"},
	{886, BUILTIN_SETTINGS, "cash_in(cstring)"},
	{887, BUILTIN_SETTINGS, "cash_out(money)"},
	{939, BUILTIN_SETTINGS, "generate_series(timestamp with time zone,timestamp with time zone,interval)"},
	{1039, BUILTIN_SETTINGS, "getdatabaseencoding()"},
	{1084, BUILTIN_TIME_TEXT, "date_in(cstring)"},
	{1085, BUILTIN_SETTINGS, "date_out(date)"},
	{1143, BUILTIN_TIME_TEXT, "time_in(cstring,oid,integer)"},
	{1150, BUILTIN_TIME_TEXT, "timestamptz_in(cstring,oid,integer)"},
	{1151, BUILTIN_SETTINGS, "timestamptz_out(timestamp with time zone)"},
	{1160, BUILTIN_SETTINGS, "interval_in(cstring,oid,integer)"},
	{1161, BUILTIN_SETTINGS, "interval_out(interval)"},
	{1171, BUILTIN_SETTINGS, "date_part(text,timestamp with time zone)"},
	{1174, BUILTIN_SETTINGS, "timestamptz(date)"},
	{1176, BUILTIN_SETTINGS, "timestamptz(date,time without time zone)"},
	{1177, BUILTIN_SETTINGS, "jsonb_path_exists_tz(jsonb,jsonpath,jsonb,boolean)"},
	{1178, BUILTIN_SETTINGS, "date(timestamp with time zone)"},
	{1179, BUILTIN_SETTINGS, "jsonb_path_query_tz(jsonb,jsonpath,jsonb,boolean)"},
	{1180, BUILTIN_SETTINGS, "jsonb_path_query_array_tz(jsonb,jsonpath,jsonb,boolean)"},
	{1189, BUILTIN_SETTINGS, "timestamptz_pl_interval(timestamp with time zone,interval)"},
	{1190, BUILTIN_SETTINGS, "timestamptz_mi_interval(timestamp with time zone,interval)"},
	{1217, BUILTIN_SETTINGS, "date_trunc(text,timestamp with time zone)"},
	{1284, BUILTIN_SETTINGS, "date_trunc(text,timestamp with time zone,text)"},
	{1285, BUILTIN_OUTPUT, "quote_literal(anyelement)"},
	{1290, BUILTIN_OUTPUT, "quote_nullable(anyelement)"},
	{1299, BUILTIN_TIME, "now()"},
	{1305, BUILTIN_SETTINGS, "\"overlaps\"(timestamp with time zone,interval,timestamp with time zone,interval)"},
	{1306, BUILTIN_SETTINGS, "\"overlaps\"(timestamp with time zone,timestamp with time zone,timestamp with time zone,interval)"},
	{1307, BUILTIN_SETTINGS, "\"overlaps\"(timestamp with time zone,interval,timestamp with time zone,timestamp with time zone)"},
	{1312, BUILTIN_TIME_TEXT, "timestamp_in(cstring,oid,integer)"},
	{1313, BUILTIN_SETTINGS, "timestamp_out(timestamp without time zone)"},
	{1350, BUILTIN_TIME, "timetz_in(cstring,oid,integer)"},
	{1386, BUILTIN_TIME, "age(timestamp with time zone)"},
	{1388, BUILTIN_SETTINGS, "timetz(timestamp with time zone)"},
	{1402, BUILTIN_SETTINGS, "\"current_schema\"()"},
	{1403, BUILTIN_SETTINGS, "current_schemas(boolean)"},
	{1619, BUILTIN_HARMLESS, "pg_typeof(\"any\")"},
	{1689, BUILTIN_HARMLESS, "aclexplode(aclitem[])"},
	{1713, BUILTIN_SETTINGS, "length(bytea,name)"},
	{1714, BUILTIN_SETTINGS, "convert_from(bytea,name)"},
	{1717, BUILTIN_SETTINGS, "convert_to(text,name)"},
	{1768, BUILTIN_SETTINGS, "to_char(interval,text)"},
	{1770, BUILTIN_SETTINGS, "to_char(timestamp with time zone,text)"},
	{1772, BUILTIN_SETTINGS, "to_char(numeric,text)"},
	{1773, BUILTIN_SETTINGS, "to_char(integer,text)"},
	{1774, BUILTIN_SETTINGS, "to_char(bigint,text)"},
	{1775, BUILTIN_SETTINGS, "to_char(real,text)"},
	{1776, BUILTIN_SETTINGS, "to_char(double precision,text)"},
	{1777, BUILTIN_SETTINGS, "to_number(text,text)"},
	{1778, BUILTIN_SETTINGS, "to_timestamp(text,text)"},
	{1780, BUILTIN_SETTINGS, "to_date(text,text)"},
	{1813, BUILTIN_SETTINGS, "convert(bytea,name,name)"},
	{2003, BUILTIN_OUTPUT, "textanycat(text,anynonarray)"},
	{2004, BUILTIN_OUTPUT, "anytextcat(anynonarray,text)"},
	{2019, BUILTIN_SETTINGS, "\"time\"(timestamp with time zone)"},
	{2023, BUILTIN_SETTINGS, "jsonb_path_query_first_tz(jsonb,jsonpath,jsonb,boolean)"},
	{2026, BUILTIN_SETTINGS, "pg_backend_pid()"},
	{2027, BUILTIN_SETTINGS, "\"timestamp\"(timestamp with time zone)"},
	{2028, BUILTIN_SETTINGS, "timestamptz(timestamp without time zone)"},
	{2030, BUILTIN_SETTINGS, "jsonb_path_match_tz(jsonb,jsonpath,jsonb,boolean)"},
	{2037, BUILTIN_TIME, "timezone(text,time with time zone)"},
	{2047, BUILTIN_TIME, "timetz(time without time zone)"},
	{2049, BUILTIN_SETTINGS, "to_char(timestamp without time zone,text)"},
	{2059, BUILTIN_TIME, "age(timestamp without time zone)"},
	{2077, BUILTIN_SETTINGS, "current_setting(text)"},
	{2196, BUILTIN_SETTINGS, "inet_client_addr()"},
	{2197, BUILTIN_SETTINGS, "inet_client_port()"},
	{2198, BUILTIN_SETTINGS, "inet_server_addr()"},
	{2199, BUILTIN_SETTINGS, "inet_server_port()"},
	{2289, BUILTIN_HARMLESS, "pg_options_to_table(text[])"},
	{2290, BUILTIN_INPUT, "record_in(cstring,oid,integer)"},
	{2291, BUILTIN_OUTPUT, "record_out(record)"},
	{2297, BUILTIN_OUTPUT, "anyarray_out(anyarray)"},
	{2351, BUILTIN_SETTINGS, "date_lt_timestamptz(date,timestamp with time zone)"},
	{2352, BUILTIN_SETTINGS, "date_le_timestamptz(date,timestamp with time zone)"},
	{2353, BUILTIN_SETTINGS, "date_eq_timestamptz(date,timestamp with time zone)"},
	{2354, BUILTIN_SETTINGS, "date_gt_timestamptz(date,timestamp with time zone)"},
	{2355, BUILTIN_SETTINGS, "date_ge_timestamptz(date,timestamp with time zone)"},
	{2356, BUILTIN_SETTINGS, "date_ne_timestamptz(date,timestamp with time zone)"},
	{2357, BUILTIN_SETTINGS, "date_cmp_timestamptz(date,timestamp with time zone)"},
	{2377, BUILTIN_SETTINGS, "timestamptz_lt_date(timestamp with time zone,date)"},
	{2378, BUILTIN_SETTINGS, "timestamptz_le_date(timestamp with time zone,date)"},
	{2379, BUILTIN_SETTINGS, "timestamptz_eq_date(timestamp with time zone,date)"},
	{2380, BUILTIN_SETTINGS, "timestamptz_gt_date(timestamp with time zone,date)"},
	{2381, BUILTIN_SETTINGS, "timestamptz_ge_date(timestamp with time zone,date)"},
	{2382, BUILTIN_SETTINGS, "timestamptz_ne_date(timestamp with time zone,date)"},
	{2383, BUILTIN_SETTINGS, "timestamptz_cmp_date(timestamp with time zone,date)"},
	{2520, BUILTIN_SETTINGS, "timestamp_lt_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2521, BUILTIN_SETTINGS, "timestamp_le_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2522, BUILTIN_SETTINGS, "timestamp_eq_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2523, BUILTIN_SETTINGS, "timestamp_gt_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2524, BUILTIN_SETTINGS, "timestamp_ge_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2525, BUILTIN_SETTINGS, "timestamp_ne_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2526, BUILTIN_SETTINGS, "timestamp_cmp_timestamptz(timestamp without time zone,timestamp with time zone)"},
	{2527, BUILTIN_SETTINGS, "timestamptz_lt_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2528, BUILTIN_SETTINGS, "timestamptz_le_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2529, BUILTIN_SETTINGS, "timestamptz_eq_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2530, BUILTIN_SETTINGS, "timestamptz_gt_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2531, BUILTIN_SETTINGS, "timestamptz_ge_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2532, BUILTIN_SETTINGS, "timestamptz_ne_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2533, BUILTIN_SETTINGS, "timestamptz_cmp_timestamp(timestamp with time zone,timestamp without time zone)"},
	{2549, BUILTIN_SETTINGS, "interval_pl_timestamptz(interval,timestamp with time zone)"},
	{2597, BUILTIN_INPUT, "domain_in(cstring,oid,integer)"},
	{2647, BUILTIN_TIME, "transaction_timestamp()"},
	{2648, BUILTIN_TIME, "statement_timestamp()"},
	{2854, BUILTIN_SETTINGS, "pg_my_temp_schema()"},
	{2893, BUILTIN_SETTINGS, "xml_in(cstring)"},
	{2896, BUILTIN_SETTINGS, "xml(text)"},
	{2923, BUILTIN_TABLES, "table_to_xml(regclass,boolean,boolean,text)"},
	{2926, BUILTIN_TABLES, "table_to_xmlschema(regclass,boolean,boolean,text)"},
	{2929, BUILTIN_TABLES, "table_to_xml_and_xmlschema(regclass,boolean,boolean,text)"},
	{2933, BUILTIN_TABLES, "schema_to_xml(name,boolean,boolean,text)"},
	{2934, BUILTIN_TABLES, "schema_to_xmlschema(name,boolean,boolean,text)"},
	{2935, BUILTIN_TABLES, "schema_to_xml_and_xmlschema(name,boolean,boolean,text)"},
	{2936, BUILTIN_TABLES, "database_to_xml(boolean,boolean,text)"},
	{2937, BUILTIN_TABLES, "database_to_xmlschema(boolean,boolean,text)"},
	{2938, BUILTIN_TABLES, "database_to_xml_and_xmlschema(boolean,boolean,text)"},
	{3051, BUILTIN_SETTINGS, "xml_is_well_formed(text)"},
	{3058, BUILTIN_OUTPUT, "concat(\"any\")"},
	{3059, BUILTIN_OUTPUT, "concat_ws(text,\"any\")"},
	{3153, BUILTIN_JSON, "array_to_json(anyarray)"},
	{3154, BUILTIN_JSON, "array_to_json(anyarray,boolean)"},
	{3155, BUILTIN_JSON, "row_to_json(record)"},
	{3156, BUILTIN_JSON, "row_to_json(record,boolean)"},
	{3163, BUILTIN_SETTINGS, "pg_trigger_depth()"},
	{3173, BUILTIN_JSON, "json_agg_transfn(internal,anyelement)"},
	{3175, BUILTIN_JSON, "json_agg(anyelement)"},
	{3176, BUILTIN_JSON, "to_json(anyelement)"},
	{3180, BUILTIN_JSON, "json_object_agg_transfn(internal,\"any\",\"any\")"},
	{3197, BUILTIN_JSON, "json_object_agg(\"any\",\"any\")"},
	{3198, BUILTIN_JSON, "json_build_array(\"any\")"},
	{3199, BUILTIN_HARMLESS, "json_build_array()"},
	{3200, BUILTIN_JSON, "json_build_object(\"any\")"},
	{3201, BUILTIN_HARMLESS, "json_build_object()"},
	{3204, BUILTIN_INPUT, "json_to_record(json)"},
	{3205, BUILTIN_INPUT, "json_to_recordset(json)"},
	{3209, BUILTIN_INPUT, "jsonb_populate_record(anyelement,jsonb)"},
	{3265, BUILTIN_JSON, "jsonb_agg_transfn(internal,anyelement)"},
	{3266, BUILTIN_HARMLESS, "jsonb_agg_finalfn(internal)"},
	{3267, BUILTIN_JSON, "jsonb_agg(anyelement)"},
	{3268, BUILTIN_JSON, "jsonb_object_agg_transfn(internal,\"any\",\"any\")"},
	{3269, BUILTIN_HARMLESS, "jsonb_object_agg_finalfn(internal)"},
	{3271, BUILTIN_JSON, "jsonb_build_array(\"any\")"},
	{3272, BUILTIN_HARMLESS, "jsonb_build_array()"},
	{3273, BUILTIN_JSON, "jsonb_build_object(\"any\")"},
	{3274, BUILTIN_HARMLESS, "jsonb_build_object()"},
	{3294, BUILTIN_SETTINGS, "current_setting(text,boolean)"},
	{3462, BUILTIN_SETTINGS, "make_timestamptz(integer,integer,integer,integer,integer,double precision)"},
	{3463, BUILTIN_SETTINGS, "make_timestamptz(integer,integer,integer,integer,integer,double precision,text)"},
	{3475, BUILTIN_INPUT, "jsonb_populate_recordset(anyelement,jsonb)"},
	{3490, BUILTIN_INPUT, "jsonb_to_record(jsonb)"},
	{3491, BUILTIN_INPUT, "jsonb_to_recordset(jsonb)"},
	{3505, BUILTIN_HARMLESS, "anyenum_out(anyenum)"},
	{3506, BUILTIN_HARMLESS, "enum_in(cstring,oid)"},
	{3507, BUILTIN_HARMLESS, "enum_out(anyenum)"},
	{3528, BUILTIN_HARMLESS, "enum_first(anyenum)"},
	{3529, BUILTIN_HARMLESS, "enum_last(anyenum)"},
	{3530, BUILTIN_HARMLESS, "enum_range(anyenum,anyenum)"},
	{3531, BUILTIN_HARMLESS, "enum_range(anyenum)"},
	{3532, BUILTIN_HARMLESS, "enum_recv(internal,oid)"},
	{3533, BUILTIN_HARMLESS, "enum_send(anyenum)"},
	{3539, BUILTIN_OUTPUT, "format(text,\"any\")"},
	{3540, BUILTIN_HARMLESS, "format(text)"},
	{3714, BUILTIN_TEXT_SEARCH, "ts_token_type(text)"},
	{3716, BUILTIN_TEXT_SEARCH, "ts_parse(text,text)"},
	{3749, BUILTIN_TEXT_SEARCH, "to_tsvector(text)"},
	{3750, BUILTIN_TEXT_SEARCH, "to_tsquery(text)"},
	{3751, BUILTIN_TEXT_SEARCH, "plainto_tsquery(text)"},
	{3754, BUILTIN_TEXT_SEARCH, "ts_headline(text,tsquery,text)"},
	{3755, BUILTIN_TEXT_SEARCH, "ts_headline(text,tsquery)"},
	{3759, BUILTIN_TEXT_SEARCH, "get_current_ts_config()"},
	{3760, BUILTIN_TEXT_SEARCH, "ts_match_tt(text,text)"},
	{3761, BUILTIN_TEXT_SEARCH, "ts_match_tq(text,tsquery)"},
	{3787, BUILTIN_JSON, "to_jsonb(anyelement)"},
	{3811, BUILTIN_SETTINGS, "money(integer)"},
	{3812, BUILTIN_SETTINGS, "money(bigint)"},
	{3823, BUILTIN_SETTINGS, "\"numeric\"(money)"},
	{3824, BUILTIN_SETTINGS, "money(numeric)"},
	{3833, BUILTIN_OUTPUT, "anyrange_out(anyrange)"},
	{3834, BUILTIN_INPUT, "range_in(cstring,oid,integer)"},
	{3835, BUILTIN_OUTPUT, "range_out(anyrange)"},
	{3960, BUILTIN_INPUT, "json_populate_record(anyelement,json,boolean)"},
	{3961, BUILTIN_INPUT, "json_populate_recordset(anyelement,json,boolean)"},
	{4135, BUILTIN_SETTINGS, "in_range(timestamp with time zone,timestamp with time zone,interval,boolean,boolean)"},
	{4203, BUILTIN_TEXT_SEARCH, "ts_headline(jsonb,tsquery,text)"},
	{4204, BUILTIN_TEXT_SEARCH, "ts_headline(jsonb,tsquery)"},
	{4207, BUILTIN_TEXT_SEARCH, "ts_headline(json,tsquery,text)"},
	{4208, BUILTIN_TEXT_SEARCH, "ts_headline(json,tsquery)"},
	{4209, BUILTIN_TEXT_SEARCH, "to_tsvector(jsonb)"},
	{4210, BUILTIN_TEXT_SEARCH, "to_tsvector(json)"},
	{4213, BUILTIN_TEXT_SEARCH, "jsonb_to_tsvector(jsonb,jsonb)"},
	{4215, BUILTIN_TEXT_SEARCH, "json_to_tsvector(json,jsonb)"},
	{4227, BUILTIN_OUTPUT, "anycompatiblemultirange_out(anycompatiblemultirange)"},
	{4230, BUILTIN_OUTPUT, "anymultirange_out(anymultirange)"},
	{4231, BUILTIN_INPUT, "multirange_in(cstring,oid,integer)"},
	{4232, BUILTIN_OUTPUT, "multirange_out(anymultirange)"},
	{5001, BUILTIN_TEXT_SEARCH, "phraseto_tsquery(text)"},
	{5009, BUILTIN_TEXT_SEARCH, "websearch_to_tsquery(text)"},
	{5089, BUILTIN_OUTPUT, "anycompatiblearray_out(anycompatiblearray)"},
	{5095, BUILTIN_OUTPUT, "anycompatiblerange_out(anycompatiblerange)"},
	{6183, BUILTIN_TEXT_SEARCH, "ts_debug(regconfig,text)"},
	{6184, BUILTIN_TEXT_SEARCH, "ts_debug(text)"},
	{6203, BUILTIN_SETTINGS, "\"extract\"(text,timestamp with time zone)"},
	{6221, BUILTIN_SETTINGS, "date_add(timestamp with time zone,interval)"},
	{6223, BUILTIN_SETTINGS, "date_subtract(timestamp with time zone,interval)"},
	{6275, BUILTIN_JSON, "json_agg_strict_transfn(internal,anyelement)"},
	{6276, BUILTIN_JSON, "json_agg_strict(anyelement)"},
	{6277, BUILTIN_JSON, "json_object_agg_strict_transfn(internal,\"any\",\"any\")"},
	{6278, BUILTIN_JSON, "json_object_agg_unique_transfn(internal,\"any\",\"any\")"},
	{6279, BUILTIN_JSON, "json_object_agg_unique_strict_transfn(internal,\"any\",\"any\")"},
	{6280, BUILTIN_JSON, "json_object_agg_strict(\"any\",\"any\")"},
	{6281, BUILTIN_JSON, "json_object_agg_unique(\"any\",\"any\")"},
	{6282, BUILTIN_JSON, "json_object_agg_unique_strict(\"any\",\"any\")"},
	{6283, BUILTIN_JSON, "jsonb_agg_strict_transfn(internal,anyelement)"},
	{6284, BUILTIN_JSON, "jsonb_agg_strict(anyelement)"},
	{6285, BUILTIN_JSON, "jsonb_object_agg_strict_transfn(internal,\"any\",\"any\")"},
	{6286, BUILTIN_JSON, "jsonb_object_agg_unique_transfn(internal,\"any\",\"any\")"},
	{6287, BUILTIN_JSON, "jsonb_object_agg_unique_strict_transfn(internal,\"any\",\"any\")"},
	{6311, BUILTIN_SETTINGS, "\"system_user\"()"},
	{6334, BUILTIN_SETTINGS, "timezone(timestamp with time zone)"},
	{6335, BUILTIN_SETTINGS, "timezone(timestamp without time zone)"},
	{6336, BUILTIN_TIME, "timezone(time with time zone)"},
};

static int
compare_oid(const void *key, const void *element)
{
	Oid			a = *(const Oid *) key;
	Oid			b = ((const Builtin *) element)->oid;

	return a < b ? -1 : a > b;
}

/* The mark of a function, by the table. */
static BuiltinMark
mark_of(Oid function)
{
	const Builtin *found = bsearch(&function, builtins, lengthof(builtins),
								   sizeof(Builtin), compare_oid);

	return found ? found->mark : BUILTIN_UNKNOWN;
}

static void
add_output_of_arguments(Dependencies *deps, bool as_json)
{
	ListCell   *lc;

	foreach(lc, call_arguments(deps->call))
		add_output(deps, exprType(lfirst(lc)), as_json);
}

/* The text that deps->call reads, if it is known, or any. */
static void
add_text_read(Dependencies *deps)
{
	List	   *arguments = call_arguments(deps->call);
	Oid			type = exprType(deps->call);
	List	   *texts = NIL;
	ListCell   *lc;

	if (list_length(arguments) == 1 &&
		constant_texts(linitial(arguments), &texts) && texts != NIL)
		foreach(lc, texts)
			add_input(deps, type, lfirst(lc));
	else
		add_input(deps, type, NULL);
}

/* Any change of text search concerns every query that uses it. */
static void
add_text_search(Dependencies *deps)
{
	add_dependency(deps, KIND_DEFINITION, TSConfigRelationId,
				   TSConfigRelationId, 0, NULL);
}

static bool
has_text_search_argument(Oid function)
{
	Oid		   *types;
	int			n;
	bool		found = false;

	(void) get_func_signature(function, &types, &n);
	for (int i = 0; i < n; i++)
		found |= types[i] == REGCONFIGOID || types[i] == REGDICTIONARYOID;
	return found;
}

static void
add_unknown(Dependencies *deps, Oid function)
{
	switch (func_volatile(function))
	{
		case PROVOLATILE_VOLATILE:
			add_dependency(deps, KIND_VOLATILE, ProcedureRelationId, function, 0,
						   "volatile function");
			break;
		case PROVOLATILE_STABLE:
			add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, function, 0,
						   "not known to depend on its arguments only");
			break;
	}
}

/* What to say of a function of the server itself, which deps->call calls. */
void
add_builtin(Dependencies *deps, Oid function)
{
	if (has_text_search_argument(function))
		add_text_search(deps);
	switch (mark_of(function))
	{
		case BUILTIN_UNKNOWN:
			add_unknown(deps, function);
			break;
		case BUILTIN_HARMLESS:
			break;
		case BUILTIN_SETTINGS:
			add_dependency(deps, KIND_SESSION, ProcedureRelationId, function, 0,
						   REASON_SESSION);
			break;
		case BUILTIN_TIME:
			add_dependency(deps, KIND_VOLATILE, ProcedureRelationId, function, 0,
						   REASON_TIME);
			break;
		case BUILTIN_TIME_TEXT:
			if (deps->call != NULL)
				add_text_read(deps);
			break;
		case BUILTIN_OUTPUT:
			add_output_of_arguments(deps, false);
			break;
		case BUILTIN_JSON:
			add_output_of_arguments(deps, true);
			break;
		case BUILTIN_INPUT:
			if (deps->call != NULL)
				add_text_read(deps);
			break;
		case BUILTIN_TEXT_SEARCH:
			add_text_search(deps);
			add_dependency(deps, KIND_SESSION, ProcedureRelationId, function, 0,
						   REASON_SESSION);
			break;
		case BUILTIN_TABLES:
			add_dependency(deps, KIND_OPAQUE, ProcedureRelationId, function, 0,
						   "reads tables that its arguments name");
			break;
	}
}

/* builtin_functions() returns setof (function oid, signature text, mark text) */
Datum
cache_notify_builtin_functions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	compat_materialize_result(fcinfo);
	for (int i = 0; i < lengthof(builtins); i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = ObjectIdGetDatum(builtins[i].oid);
		values[1] = CStringGetTextDatum(builtins[i].signature);
		values[2] = CStringGetTextDatum(mark_names[builtins[i].mark]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
