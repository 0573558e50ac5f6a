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
	const char *signature;		/* as pg_proc has it: for people, and the test */
	BuiltinMark mark;
} Builtin;

static const Builtin builtins[] = {
	{31, "byteaout(bytea)", BUILTIN_SETTINGS},
	{201, "float4out(real)", BUILTIN_SETTINGS},
	{215, "float8out(double precision)", BUILTIN_SETTINGS},
	{384, "array_to_string(anyarray,text,text)", BUILTIN_OUTPUT},
	{395, "array_to_string(anyarray,text)", BUILTIN_OUTPUT},
	{710, "getpgusername()", BUILTIN_SETTINGS},
	{745, "\"current_user\"()", BUILTIN_SETTINGS},
	{746, "\"session_user\"()", BUILTIN_SETTINGS},
	{750, "array_in(cstring,oid,integer)", BUILTIN_INPUT},
	{751, "array_out(anyarray)", BUILTIN_OUTPUT},
	{810, "pg_client_encoding()", BUILTIN_SETTINGS},
	{861, "current_database()", BUILTIN_SETTINGS},
	{886, "cash_in(cstring)", BUILTIN_SETTINGS},
	{887, "cash_out(money)", BUILTIN_SETTINGS},
	{939, "generate_series(timestamp with time zone,timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{1039, "getdatabaseencoding()", BUILTIN_SETTINGS},
	{1084, "date_in(cstring)", BUILTIN_TIME_TEXT},
	{1085, "date_out(date)", BUILTIN_SETTINGS},
	{1143, "time_in(cstring,oid,integer)", BUILTIN_TIME_TEXT},
	{1150, "timestamptz_in(cstring,oid,integer)", BUILTIN_TIME_TEXT},
	{1151, "timestamptz_out(timestamp with time zone)", BUILTIN_SETTINGS},
	{1160, "interval_in(cstring,oid,integer)", BUILTIN_SETTINGS},
	{1161, "interval_out(interval)", BUILTIN_SETTINGS},
	{1171, "date_part(text,timestamp with time zone)", BUILTIN_SETTINGS},
	{1174, "timestamptz(date)", BUILTIN_SETTINGS},
	{1176, "timestamptz(date,time without time zone)", BUILTIN_SETTINGS},
	{1177, "jsonb_path_exists_tz(jsonb,jsonpath,jsonb,boolean)", BUILTIN_SETTINGS},
	{1178, "date(timestamp with time zone)", BUILTIN_SETTINGS},
	{1179, "jsonb_path_query_tz(jsonb,jsonpath,jsonb,boolean)", BUILTIN_SETTINGS},
	{1180, "jsonb_path_query_array_tz(jsonb,jsonpath,jsonb,boolean)", BUILTIN_SETTINGS},
	{1189, "timestamptz_pl_interval(timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{1190, "timestamptz_mi_interval(timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{1217, "date_trunc(text,timestamp with time zone)", BUILTIN_SETTINGS},
	{1284, "date_trunc(text,timestamp with time zone,text)", BUILTIN_SETTINGS},
	{1285, "quote_literal(anyelement)", BUILTIN_OUTPUT},
	{1290, "quote_nullable(anyelement)", BUILTIN_OUTPUT},
	{1299, "now()", BUILTIN_TIME},
	{1305, "\"overlaps\"(timestamp with time zone,interval,timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{1306, "\"overlaps\"(timestamp with time zone,timestamp with time zone,timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{1307, "\"overlaps\"(timestamp with time zone,interval,timestamp with time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{1312, "timestamp_in(cstring,oid,integer)", BUILTIN_TIME_TEXT},
	{1313, "timestamp_out(timestamp without time zone)", BUILTIN_SETTINGS},
	{1350, "timetz_in(cstring,oid,integer)", BUILTIN_TIME},
	{1386, "age(timestamp with time zone)", BUILTIN_TIME},
	{1388, "timetz(timestamp with time zone)", BUILTIN_SETTINGS},
	{1402, "\"current_schema\"()", BUILTIN_SETTINGS},
	{1403, "current_schemas(boolean)", BUILTIN_SETTINGS},
	{1619, "pg_typeof(\"any\")", BUILTIN_HARMLESS},
	{1689, "aclexplode(aclitem[])", BUILTIN_HARMLESS},
	{1713, "length(bytea,name)", BUILTIN_SETTINGS},
	{1714, "convert_from(bytea,name)", BUILTIN_SETTINGS},
	{1717, "convert_to(text,name)", BUILTIN_SETTINGS},
	{1768, "to_char(interval,text)", BUILTIN_SETTINGS},
	{1770, "to_char(timestamp with time zone,text)", BUILTIN_SETTINGS},
	{1772, "to_char(numeric,text)", BUILTIN_SETTINGS},
	{1773, "to_char(integer,text)", BUILTIN_SETTINGS},
	{1774, "to_char(bigint,text)", BUILTIN_SETTINGS},
	{1775, "to_char(real,text)", BUILTIN_SETTINGS},
	{1776, "to_char(double precision,text)", BUILTIN_SETTINGS},
	{1777, "to_number(text,text)", BUILTIN_SETTINGS},
	{1778, "to_timestamp(text,text)", BUILTIN_SETTINGS},
	{1780, "to_date(text,text)", BUILTIN_SETTINGS},
	{1813, "convert(bytea,name,name)", BUILTIN_SETTINGS},
	{2003, "textanycat(text,anynonarray)", BUILTIN_OUTPUT},
	{2004, "anytextcat(anynonarray,text)", BUILTIN_OUTPUT},
	{2019, "\"time\"(timestamp with time zone)", BUILTIN_SETTINGS},
	{2023, "jsonb_path_query_first_tz(jsonb,jsonpath,jsonb,boolean)", BUILTIN_SETTINGS},
	{2026, "pg_backend_pid()", BUILTIN_SETTINGS},
	{2027, "\"timestamp\"(timestamp with time zone)", BUILTIN_SETTINGS},
	{2028, "timestamptz(timestamp without time zone)", BUILTIN_SETTINGS},
	{2030, "jsonb_path_match_tz(jsonb,jsonpath,jsonb,boolean)", BUILTIN_SETTINGS},
	{2037, "timezone(text,time with time zone)", BUILTIN_TIME},
	{2047, "timetz(time without time zone)", BUILTIN_TIME},
	{2049, "to_char(timestamp without time zone,text)", BUILTIN_SETTINGS},
	{2059, "age(timestamp without time zone)", BUILTIN_TIME},
	{2077, "current_setting(text)", BUILTIN_SETTINGS},
	{2196, "inet_client_addr()", BUILTIN_SETTINGS},
	{2197, "inet_client_port()", BUILTIN_SETTINGS},
	{2198, "inet_server_addr()", BUILTIN_SETTINGS},
	{2199, "inet_server_port()", BUILTIN_SETTINGS},
	{2289, "pg_options_to_table(text[])", BUILTIN_HARMLESS},
	{2290, "record_in(cstring,oid,integer)", BUILTIN_INPUT},
	{2291, "record_out(record)", BUILTIN_OUTPUT},
	{2297, "anyarray_out(anyarray)", BUILTIN_OUTPUT},
	{2351, "date_lt_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2352, "date_le_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2353, "date_eq_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2354, "date_gt_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2355, "date_ge_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2356, "date_ne_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2357, "date_cmp_timestamptz(date,timestamp with time zone)", BUILTIN_SETTINGS},
	{2377, "timestamptz_lt_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2378, "timestamptz_le_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2379, "timestamptz_eq_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2380, "timestamptz_gt_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2381, "timestamptz_ge_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2382, "timestamptz_ne_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2383, "timestamptz_cmp_date(timestamp with time zone,date)", BUILTIN_SETTINGS},
	{2520, "timestamp_lt_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2521, "timestamp_le_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2522, "timestamp_eq_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2523, "timestamp_gt_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2524, "timestamp_ge_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2525, "timestamp_ne_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2526, "timestamp_cmp_timestamptz(timestamp without time zone,timestamp with time zone)", BUILTIN_SETTINGS},
	{2527, "timestamptz_lt_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2528, "timestamptz_le_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2529, "timestamptz_eq_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2530, "timestamptz_gt_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2531, "timestamptz_ge_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2532, "timestamptz_ne_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2533, "timestamptz_cmp_timestamp(timestamp with time zone,timestamp without time zone)", BUILTIN_SETTINGS},
	{2549, "interval_pl_timestamptz(interval,timestamp with time zone)", BUILTIN_SETTINGS},
	{2597, "domain_in(cstring,oid,integer)", BUILTIN_INPUT},
	{2647, "transaction_timestamp()", BUILTIN_TIME},
	{2648, "statement_timestamp()", BUILTIN_TIME},
	{2854, "pg_my_temp_schema()", BUILTIN_SETTINGS},
	{2893, "xml_in(cstring)", BUILTIN_SETTINGS},
	{2896, "xml(text)", BUILTIN_SETTINGS},
	{2923, "table_to_xml(regclass,boolean,boolean,text)", BUILTIN_TABLES},
	{2926, "table_to_xmlschema(regclass,boolean,boolean,text)", BUILTIN_TABLES},
	{2929, "table_to_xml_and_xmlschema(regclass,boolean,boolean,text)", BUILTIN_TABLES},
	{2933, "schema_to_xml(name,boolean,boolean,text)", BUILTIN_TABLES},
	{2934, "schema_to_xmlschema(name,boolean,boolean,text)", BUILTIN_TABLES},
	{2935, "schema_to_xml_and_xmlschema(name,boolean,boolean,text)", BUILTIN_TABLES},
	{2936, "database_to_xml(boolean,boolean,text)", BUILTIN_TABLES},
	{2937, "database_to_xmlschema(boolean,boolean,text)", BUILTIN_TABLES},
	{2938, "database_to_xml_and_xmlschema(boolean,boolean,text)", BUILTIN_TABLES},
	{3051, "xml_is_well_formed(text)", BUILTIN_SETTINGS},
	{3058, "concat(\"any\")", BUILTIN_OUTPUT},
	{3059, "concat_ws(text,\"any\")", BUILTIN_OUTPUT},
	{3153, "array_to_json(anyarray)", BUILTIN_JSON},
	{3154, "array_to_json(anyarray,boolean)", BUILTIN_JSON},
	{3155, "row_to_json(record)", BUILTIN_JSON},
	{3156, "row_to_json(record,boolean)", BUILTIN_JSON},
	{3163, "pg_trigger_depth()", BUILTIN_SETTINGS},
	{3173, "json_agg_transfn(internal,anyelement)", BUILTIN_JSON},
	{3175, "json_agg(anyelement)", BUILTIN_JSON},
	{3176, "to_json(anyelement)", BUILTIN_JSON},
	{3180, "json_object_agg_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{3197, "json_object_agg(\"any\",\"any\")", BUILTIN_JSON},
	{3198, "json_build_array(\"any\")", BUILTIN_JSON},
	{3199, "json_build_array()", BUILTIN_HARMLESS},
	{3200, "json_build_object(\"any\")", BUILTIN_JSON},
	{3201, "json_build_object()", BUILTIN_HARMLESS},
	{3204, "json_to_record(json)", BUILTIN_INPUT},
	{3205, "json_to_recordset(json)", BUILTIN_INPUT},
	{3209, "jsonb_populate_record(anyelement,jsonb)", BUILTIN_INPUT},
	{3265, "jsonb_agg_transfn(internal,anyelement)", BUILTIN_JSON},
	{3266, "jsonb_agg_finalfn(internal)", BUILTIN_HARMLESS},
	{3267, "jsonb_agg(anyelement)", BUILTIN_JSON},
	{3268, "jsonb_object_agg_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{3269, "jsonb_object_agg_finalfn(internal)", BUILTIN_HARMLESS},
	{3271, "jsonb_build_array(\"any\")", BUILTIN_JSON},
	{3272, "jsonb_build_array()", BUILTIN_HARMLESS},
	{3273, "jsonb_build_object(\"any\")", BUILTIN_JSON},
	{3274, "jsonb_build_object()", BUILTIN_HARMLESS},
	{3294, "current_setting(text,boolean)", BUILTIN_SETTINGS},
	{3462, "make_timestamptz(integer,integer,integer,integer,integer,double precision)", BUILTIN_SETTINGS},
	{3463, "make_timestamptz(integer,integer,integer,integer,integer,double precision,text)", BUILTIN_SETTINGS},
	{3475, "jsonb_populate_recordset(anyelement,jsonb)", BUILTIN_INPUT},
	{3490, "jsonb_to_record(jsonb)", BUILTIN_INPUT},
	{3491, "jsonb_to_recordset(jsonb)", BUILTIN_INPUT},
	{3505, "anyenum_out(anyenum)", BUILTIN_HARMLESS},
	{3506, "enum_in(cstring,oid)", BUILTIN_HARMLESS},
	{3507, "enum_out(anyenum)", BUILTIN_HARMLESS},
	{3528, "enum_first(anyenum)", BUILTIN_HARMLESS},
	{3529, "enum_last(anyenum)", BUILTIN_HARMLESS},
	{3530, "enum_range(anyenum,anyenum)", BUILTIN_HARMLESS},
	{3531, "enum_range(anyenum)", BUILTIN_HARMLESS},
	{3532, "enum_recv(internal,oid)", BUILTIN_HARMLESS},
	{3533, "enum_send(anyenum)", BUILTIN_HARMLESS},
	{3539, "format(text,\"any\")", BUILTIN_OUTPUT},
	{3540, "format(text)", BUILTIN_HARMLESS},
	{3714, "ts_token_type(text)", BUILTIN_TEXT_SEARCH},
	{3716, "ts_parse(text,text)", BUILTIN_TEXT_SEARCH},
	{3749, "to_tsvector(text)", BUILTIN_TEXT_SEARCH},
	{3750, "to_tsquery(text)", BUILTIN_TEXT_SEARCH},
	{3751, "plainto_tsquery(text)", BUILTIN_TEXT_SEARCH},
	{3754, "ts_headline(text,tsquery,text)", BUILTIN_TEXT_SEARCH},
	{3755, "ts_headline(text,tsquery)", BUILTIN_TEXT_SEARCH},
	{3759, "get_current_ts_config()", BUILTIN_TEXT_SEARCH},
	{3760, "ts_match_tt(text,text)", BUILTIN_TEXT_SEARCH},
	{3761, "ts_match_tq(text,tsquery)", BUILTIN_TEXT_SEARCH},
	{3787, "to_jsonb(anyelement)", BUILTIN_JSON},
	{3811, "money(integer)", BUILTIN_SETTINGS},
	{3812, "money(bigint)", BUILTIN_SETTINGS},
	{3823, "\"numeric\"(money)", BUILTIN_SETTINGS},
	{3824, "money(numeric)", BUILTIN_SETTINGS},
	{3833, "anyrange_out(anyrange)", BUILTIN_OUTPUT},
	{3834, "range_in(cstring,oid,integer)", BUILTIN_INPUT},
	{3835, "range_out(anyrange)", BUILTIN_OUTPUT},
	{3960, "json_populate_record(anyelement,json,boolean)", BUILTIN_INPUT},
	{3961, "json_populate_recordset(anyelement,json,boolean)", BUILTIN_INPUT},
	{4135, "in_range(timestamp with time zone,timestamp with time zone,interval,boolean,boolean)", BUILTIN_SETTINGS},
	{4203, "ts_headline(jsonb,tsquery,text)", BUILTIN_TEXT_SEARCH},
	{4204, "ts_headline(jsonb,tsquery)", BUILTIN_TEXT_SEARCH},
	{4207, "ts_headline(json,tsquery,text)", BUILTIN_TEXT_SEARCH},
	{4208, "ts_headline(json,tsquery)", BUILTIN_TEXT_SEARCH},
	{4209, "to_tsvector(jsonb)", BUILTIN_TEXT_SEARCH},
	{4210, "to_tsvector(json)", BUILTIN_TEXT_SEARCH},
	{4213, "jsonb_to_tsvector(jsonb,jsonb)", BUILTIN_TEXT_SEARCH},
	{4215, "json_to_tsvector(json,jsonb)", BUILTIN_TEXT_SEARCH},
	{4227, "anycompatiblemultirange_out(anycompatiblemultirange)", BUILTIN_OUTPUT},
	{4230, "anymultirange_out(anymultirange)", BUILTIN_OUTPUT},
	{4231, "multirange_in(cstring,oid,integer)", BUILTIN_INPUT},
	{4232, "multirange_out(anymultirange)", BUILTIN_OUTPUT},
	{5001, "phraseto_tsquery(text)", BUILTIN_TEXT_SEARCH},
	{5009, "websearch_to_tsquery(text)", BUILTIN_TEXT_SEARCH},
	{5089, "anycompatiblearray_out(anycompatiblearray)", BUILTIN_OUTPUT},
	{5095, "anycompatiblerange_out(anycompatiblerange)", BUILTIN_OUTPUT},
	{6183, "ts_debug(regconfig,text)", BUILTIN_TEXT_SEARCH},
	{6184, "ts_debug(text)", BUILTIN_TEXT_SEARCH},
	{6203, "\"extract\"(text,timestamp with time zone)", BUILTIN_SETTINGS},
	{6221, "date_add(timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{6223, "date_subtract(timestamp with time zone,interval)", BUILTIN_SETTINGS},
	{6275, "json_agg_strict_transfn(internal,anyelement)", BUILTIN_JSON},
	{6276, "json_agg_strict(anyelement)", BUILTIN_JSON},
	{6277, "json_object_agg_strict_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{6278, "json_object_agg_unique_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{6279, "json_object_agg_unique_strict_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{6280, "json_object_agg_strict(\"any\",\"any\")", BUILTIN_JSON},
	{6281, "json_object_agg_unique(\"any\",\"any\")", BUILTIN_JSON},
	{6282, "json_object_agg_unique_strict(\"any\",\"any\")", BUILTIN_JSON},
	{6283, "jsonb_agg_strict_transfn(internal,anyelement)", BUILTIN_JSON},
	{6284, "jsonb_agg_strict(anyelement)", BUILTIN_JSON},
	{6285, "jsonb_object_agg_strict_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{6286, "jsonb_object_agg_unique_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{6287, "jsonb_object_agg_unique_strict_transfn(internal,\"any\",\"any\")", BUILTIN_JSON},
	{6311, "\"system_user\"()", BUILTIN_SETTINGS},
	{6334, "timezone(timestamp with time zone)", BUILTIN_SETTINGS},
	{6335, "timezone(timestamp without time zone)", BUILTIN_SETTINGS},
	{6336, "timezone(time with time zone)", BUILTIN_TIME},
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

/* The constant text that a cast reads, or NULL. */
static const char *
constant_argument(Node *call)
{
	List	   *arguments = call_arguments(call);
	Const	   *constant = list_length(arguments) == 1 ? linitial(arguments) : NULL;
	Oid			output;
	bool		is_varlena;

	if (constant == NULL || !IsA(constant, Const) || constant->constisnull)
		return NULL;
	getTypeOutputInfo(constant->consttype, &output, &is_varlena);
	return OidOutputFunctionCall(output, constant->constvalue);
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
				add_input(deps, exprType(deps->call),
						  constant_argument(deps->call));
			break;
		case BUILTIN_OUTPUT:
			add_output_of_arguments(deps, false);
			break;
		case BUILTIN_JSON:
			add_output_of_arguments(deps, true);
			break;
		case BUILTIN_INPUT:
			if (deps->call != NULL)
				add_input(deps, exprType(deps->call),
						  constant_argument(deps->call));
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
