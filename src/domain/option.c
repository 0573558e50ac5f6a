/*-------------------------------------------------------------------------
 *
 * option.c
 *	  The options of watched relations: one table that says everything of each.
 *
 * A relation is watched with "name=value" strings: the arguments of its
 * triggers, or for views a label.  setup_table_invalidation() writes them and
 * checks each value with option(); here is also the only reader.  Anybody who
 * owns a table can write such arguments by hand, so reading never raises an
 * error.  What cannot be used is left out, by which invalidation gets coarser,
 * and v_invalidation_status says so.
 *
 * To add an option:
 *
 *	(i)	   a member of WatchOptions, and a row of option_table[] below;
 *	(ii)   an attribute of the type watch_options (sql/_cache_notify/functions.sql),
 *		   at the place that the row has in the table;
 *	(iii)  a parameter of setup_table_invalidation(), and its line where that
 *		   puts the arguments together (sql/cache_notify/watch.sql); what the
 *		   option contradicts, in check_options() (sql/_cache_notify/setup.sql);
 *	(iv)   a column of watched_relation and of v_invalidation_status, if it is
 *		   to be shown (sql/_cache_notify/status.sql, and sql/cache_notify/status.sql,
 *		   in each branch of its UNION);
 *	(v)	   the code that does it: trigger_config.c for what rows do, which
 *		   inline_trigger.c shares; for where and how it is told the Route (message.h),
 *		   three functions of route.c that fill, compare and copy it, message.c.
 *		   Partitions and child tables have copies of all arguments.
 *
 * A list has one argument for each element, all of the same name.  Of any
 * other option that is given twice, the first counts.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/option_table.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(cache_notify_option);
PG_FUNCTION_INFO_V1(cache_notify_option_not_for_labels);

static bool setting_name_is_good(const char *name, OptionFault *fault);
static bool suffix_is_good(const char *suffix, OptionFault *fault);
static bool bucket_layout_is_good(const char *value, OptionFault *fault);
static bool number_is_good(const char *value, OptionFault *fault);
static bool note_is_good(const char *value, OptionFault *fault);
static const char *granularity_value(int n);

/* The greatest number of buckets, as a power of two. */
#define MAX_BUCKET_BITS	20

/* Of the setting's value, in bytes. */
#define MAX_SEARCH_PATH_LEN	1000

/* Those of a layout, so that the next one can be computed without overflow. */
#define MAX_LAYOUT_DIGITS 18

/* As many rules as somebody may write who may not write cascade_rules. */
#define MAX_CASCADES	32

/* rules_to_note() in SQL knows it as well. */
#define MAX_NOTES		256

#define member(name) offsetof(WatchOptions, name)
#define COLUMN_NAME \
		.min_len = 1, \
		.max_len = NAMEDATALEN - 1, \
		.too_long = ERRCODE_NAME_TOO_LONG, \
		.hint = "A column's name has 1 to 63 bytes."

Option		option_table[] = {
	{
		.name = "domain_name",.argument = "domain",.noun = "domain",
		.type = OPTION_TEXT,.offset = member(domain),
		.min_len = 1,.max_len = NAMEDATALEN - 1,
		.too_long = ERRCODE_NAME_TOO_LONG,
		.hint = "A domain has 1 to 63 bytes.",
		.check = domain_name_is_good,.in_labels = true
	},
	{
		.name = "tenant_column",.argument = "tenant_column",
		.type = OPTION_TEXT,.offset = member(tenant_column),
		COLUMN_NAME,
		.loss = LOSE_TENANT
	},
	{
		.name = "tenant_setting",.argument = "tenant_setting",
		.type = OPTION_TEXT,.offset = member(tenant_setting),
		.max_len = 255,.too_long = ERRCODE_NAME_TOO_LONG,
		.hint = "A setting's name has at most 255 bytes.",
		.check = setting_name_is_good,.loss = LOSE_TENANT
	},
	{
		.name = "granularity",.argument = "granularity",
		.type = OPTION_TEXT,.offset = member(granularity),
		.max_len = NAMEDATALEN - 1,.values = granularity_value,
		.hint = "Granularity is 'row' or 'statement'.",
		.written_unless = "row",.never_null = true
	},
	{
		.name = "channel",.argument = "channel",
		.type = OPTION_TEXT,.offset = member(channel),
		.min_len = 1,.max_len = NAMEDATALEN - 1,
		.too_long = ERRCODE_NAME_TOO_LONG,
		.hint = "A channel has 1 to 63 bytes.",.in_labels = true
	},
	{
		.name = "payload",.argument = "payload",.noun = "payload format",
		.type = OPTION_TEXT,.offset = member(payload),
		.max_len = NAMEDATALEN - 1,.in_labels = true	/* values: payload.c */
	},
	{
		.name = "payload_suffix",.argument = "payload_suffix",
		.type = OPTION_TEXT,.offset = member(payload_suffix),
		.max_len = 63,.too_long = ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
		.hint = "It has at most 63 bytes.",
		.check = suffix_is_good,
		.written_unless = "",.in_labels = true
	},
	{
		.name = "columns",.argument = "column",
		.type = OPTION_LIST,.offset = member(columns),
		COLUMN_NAME,
		.max_values = MaxHeapAttributeNumber,.loss = LOSE_LIST
	},
	{
		.name = "fields",.argument = "field",.noun = "payload field",
		.type = OPTION_LIST,.offset = member(fields),
		.max_len = NAMEDATALEN - 1,.max_values = 32,
		.in_labels = true		/* values: payload.c */
	},
	{
		.name = "keys",.argument = "key",
		.type = OPTION_LIST,.offset = member(keys),
		COLUMN_NAME,
		.max_values = INDEX_MAX_KEYS,.loss = LOSE_LIST
	},
	{
		.name = "bucket_layout",.argument = "bucket_layout",
		.type = OPTION_NUMBER,.offset = member(bucket_layout),
		.min_len = 1,.max_len = MAX_LAYOUT_DIGITS,.check = bucket_layout_is_good
	},
	{
		.name = "whole_counter",.argument = "whole_counter",
		.type = OPTION_NUMBER,.offset = member(whole_counter),
		.min_len = 1,.max_len = MAX_LAYOUT_DIGITS,.check = number_is_good
	},
	{
		.name = "cascades",.argument = "cascade",.noun = "domain",
		.type = OPTION_LIST,.offset = member(cascades),
		.min_len = 1,.max_len = NAMEDATALEN - 1,.max_values = MAX_CASCADES,
		.too_long = ERRCODE_NAME_TOO_LONG,
		.hint = "A domain has 1 to 63 bytes.",
		.check = domain_name_is_good,.in_labels = true
	},
	{
		.name = "rules",.argument = "rule",
		.type = OPTION_LIST,.offset = member(rules),
		.max_len = 3 * NAMEDATALEN,.max_values = MAX_NOTES,
		.too_long = ERRCODE_NAME_TOO_LONG,
		.check = note_is_good,.in_labels = true
	},
	{
		.name = "inherited",.argument = "inherited",
		.type = OPTION_FLAG,.offset = member(inherited),.max_len = 5
	},
	{
		.name = "sources",.argument = "source",
		.type = OPTION_LIST,.offset = member(sources),
		.min_len = 1,.max_len = NAMEDATALEN - 1,.max_values = INT_MAX,
		.too_long = ERRCODE_NAME_TOO_LONG,
		.hint = "A domain has 1 to 63 bytes.",.in_labels = true
	},
	{
		.name = "all_tenants",.argument = "all_tenants",
		.type = OPTION_FLAG,.offset = member(all_tenants),.max_len = 5,
		.in_labels = true
	},
	{
		.name = "search_path",.argument = "search_path",
		.type = OPTION_TEXT,.offset = member(search_path),
		.max_len = MAX_SEARCH_PATH_LEN,
		.too_long = ERRCODE_STRING_DATA_RIGHT_TRUNCATION,.in_labels = true
	}
};

const int	num_options = lengthof(option_table);

StaticAssertDecl(lengthof(option_table) <= MAX_OPTIONS, "MAX_OPTIONS is too small");

/* ------------------------------------------------------------------ checks */

static bool
refuse(OptionFault *fault, int sqlstate, const char *message, const char *hint)
{
	fault->sqlstate = sqlstate;
	fault->message = message;
	fault->hint = hint;
	return false;
}

bool
is_definition_domain(const char *name)
{
	const int	len = strlen(DEFINITION_PREFIX);

	return strncmp(name, DEFINITION_PREFIX, len) == 0 &&
		name[len] >= '0' && name[len] <= '9' &&
		strspn(name + len, "0123456789") == strlen(name + len);
}

/*
 * Can a domain have this name?  A slash separates a domain from a key: were it
 * part of a domain, whoever feeds a domain "contract/1" would take that name
 * from all who mean key 1 of domain contract.
 */
bool
domain_name_is_good(const char *name, OptionFault *fault)
{
	if (is_internal_domain(name))
		return refuse(fault, ERRCODE_RESERVED_NAME,
					  psprintf("domain \"%s\" is reserved", name),
					  "Domains that begin with cache_notify/ are not delivered.");
	if (strchr(name, '/') != NULL)
		return refuse(fault, ERRCODE_INVALID_NAME,
					  psprintf("domain \"%s\" has a slash", name),
					  "A slash separates a domain from a key: choose another domain.");
	for (const char *p = name; (p = strchr(p, '%')) != NULL; p++)
		if (pg_strncasecmp(p, "%2F", 3) == 0 || strncmp(p, "%25", 3) == 0)
			return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
						  psprintf("domain \"%s\" cannot be named", name),
						  "Names of domains and keys have %2F for a slash and %25 for a per cent sign: choose another domain.");
	return true;
}

/* The first letter of a part of a setting's name, or one that follows. */
static bool
is_setting_letter(char c, bool first)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
		(!first && ((c >= '0' && c <= '9') || c == '$'));
}

/* A setting that anybody can set: two names or more with a dot between them. */
static bool
setting_name_is_good(const char *name, OptionFault *fault)
{
	bool		first = true;
	int			parts = 1;
	const char *p = name;

	for (; *p != '\0'; p++)
	{
		if (*p == '.' && !first)
		{
			parts++;
			first = true;
		}
		else if (is_setting_letter(*p, first))
			first = false;
		else
			break;
	}
	if (*p == '\0' && parts > 1 && !first)
		return true;
	return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
				  psprintf("\"%s\" is not the name of a custom setting", name),
				  "It has a prefix and a name, such as 'app.tenant_id'.");
}

static bool
suffix_is_good(const char *suffix, OptionFault *fault)
{
	if (pg_is_ascii(suffix))
		return true;
	return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
				  psprintf("payload_suffix \"%s\" is not ASCII", suffix),
				  "It would end the connections of listeners whose client_encoding lacks a letter of it.");
}

/* See key.c; the number of buckets is a power of two. */
static bool
bucket_layout_is_good(const char *value, OptionFault *fault)
{
	if (value[0] != '0' && strspn(value, "0123456789") == strlen(value) &&
		strlen(value) <= MAX_LAYOUT_DIGITS &&
		(strtoll(value, NULL, 10) & 31) <= MAX_BUCKET_BITS)
		return true;
	return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
				  psprintf("\"%s\" is no bucket layout", value),
				  "setup_table_invalidation() writes it.");
}

/* See whole_counter.c. */
static bool
number_is_good(const char *value, OptionFault *fault)
{
	if (value[0] != '0' && strspn(value, "0123456789") == strlen(value))
		return true;
	return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
				  psprintf("\"%s\" is no number of a counter", value),
				  "setup_table_invalidation() writes it.");
}

/* See rule_note.c. */
static bool
note_is_good(const char *value, OptionFault *fault)
{
	NotedRule	rule;

	if (rule_note_read(value, &rule))
		return true;
	return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
				  psprintf("\"%s\" is no note of a rule", value),
				  "Writing a cascade rule writes it.");
}

static const char *
granularity_value(int n)
{
	static const char *const values[] = {"row", "statement"};

	return n < lengthof(values) ? values[n] : NULL;
}

static bool
is_a_value(const Option *option, const char *value)
{
	const char *known;

	for (int n = 0; (known = option->values(n)) != NULL; n++)
		if (strcmp(known, value) == 0)
			return true;
	return false;
}

static const char *
noun_of(const Option *option)
{
	return option->noun != NULL ? option->noun : option->name;
}

/* May an option have this value (in setup: or one of a list)? */
bool
option_value_is_good(const Option *option, const char *value, OptionFault *fault)
{
	int			len = strlen(value);

	if (len < option->min_len)
		return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
					  psprintf("%s must not be empty", noun_of(option)),
					  option->hint);
	if (len > option->max_len && option->too_long != 0)
		return refuse(fault, option->too_long,
					  option->too_long == ERRCODE_NAME_TOO_LONG ?
					  psprintf("%s \"%s\" is too long", noun_of(option), value) :
					  psprintf("%s is too long", noun_of(option)),
					  option->hint);
	if (option->values != NULL && !is_a_value(option, value))
		return refuse(fault, ERRCODE_INVALID_PARAMETER_VALUE,
					  psprintf("unknown %s \"%s\"", noun_of(option), value),
					  NULL);
	return option->check == NULL || option->check(value, fault);
}

/* ------------------------------------------------------------------ set-up */

/* Values of an option that a room above defines, and passes in at start-up. */
void
option_set_values(const char *option, OptionValue values)
{
	for (int i = 0; i < num_options; i++)
		if (strcmp(option_table[i].name, option) == 0)
			option_table[i].values = values;
}

static const Option *
option_of_name(const char *name)
{
	for (int i = 0; i < num_options; i++)
		if (strcmp(option_table[i].name, name) == 0)
			return &option_table[i];
	elog(ERROR, "there is no option \"%s\"", name);
	return NULL;
}

/* The option of an argument; NULL if there is none. */
const Option *
option_of_argument(const char *argument, int len)
{
	for (int i = 0; i < num_options; i++)
		if (strlen(option_table[i].argument) == len &&
			strncmp(option_table[i].argument, argument, len) == 0)
			return &option_table[i];
	return NULL;
}

/* "Payload formats are: json, oid." */
static const char *
list_of_values(const Option *option)
{
	StringInfoData buf;
	const char *known;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%ss are: ", noun_of(option));
	buf.data[0] = pg_toupper((unsigned char) buf.data[0]);
	for (int n = 0; (known = option->values(n)) != NULL; n++)
		appendStringInfo(&buf, "%s%s", n > 0 ? ", " : "", known);
	appendStringInfoChar(&buf, '.');
	return buf.data;
}

/* What set-up is given for an option that has a choice is none of the values. */
static void
complain_unknown(const Option *option, const char *given)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 option->type == OPTION_LIST ?
			 errmsg("unknown %s in %s", noun_of(option), given) :
			 errmsg("unknown %s %s", noun_of(option), given),
			 errhint("%s", option->hint ? option->hint : list_of_values(option))));
}

static void
check_value(const Option *option, const char *value, ArrayType *given)
{
	OptionFault fault;

	if (option->values != NULL && !is_a_value(option, value))
		complain_unknown(option, option->type != OPTION_LIST ?
						 psprintf("\"%s\"", value) :
						 quote_literal_cstr(OidOutputFunctionCall(F_ARRAY_OUT,
																  PointerGetDatum(given))));
	if (!option_value_is_good(option, value, &fault))
		ereport(ERROR,
				(errcode(fault.sqlstate), errmsg_internal("%s", fault.message),
				 errhint("%s", fault.hint)));
}

/*
 * option(name text, VARIADIC value text[]) returns text[]: the arguments that
 * stand for an option of setup_table_invalidation(), checked; none if the value
 * is NULL or what there is without them.
 */
Datum
cache_notify_option(PG_FUNCTION_ARGS)
{
	const Option *option = option_of_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	ArrayType  *given = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	ArrayBuildState *result = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	Datum	   *values;
	bool	   *nulls;
	int			n = 0;

	if (given != NULL)
		deconstruct_array(given, TEXTOID, -1, false, TYPALIGN_INT,
						  &values, &nulls, &n);
	if (option->type == OPTION_LIST && given != NULL && n == 0 &&
		option->loss == LOSE_LIST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", option->name),
				 errhint("Leave out %s if every column counts.", option->name)));
	if (n > option->max_values && option->type == OPTION_LIST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has too many elements", option->name),
				 errhint("There can be %d.", option->max_values)));
	for (int i = 0; i < n; i++)
	{
		char	   *value = nulls[i] ? NULL : TextDatumGetCString(values[i]);

		if (value == NULL && option->type == OPTION_LIST)
			check_value(option, "", given);
		else if (value == NULL && option->never_null)
			complain_unknown(option, "NULL");
		if (value == NULL)
			continue;
		check_value(option, value, given);
		if (option->written_unless == NULL ||
			strcmp(value, option->written_unless) != 0)
			result = accumArrayResult(result,
									  CStringGetTextDatum(psprintf("%s=%s", option->argument, value)),
									  false, TEXTOID, CurrentMemoryContext);
	}
	PG_RETURN_DATUM(makeArrayResult(result, CurrentMemoryContext));
}

/*
 * option_not_for_labels(arguments text[]) returns text: an option among them
 * that views and materialized views cannot have, or NULL.
 */
Datum
cache_notify_option_not_for_labels(PG_FUNCTION_ARGS)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *argument = nulls[i] ? "" : TextDatumGetCString(values[i]);
		const Option *option = option_of_argument(argument, strcspn(argument, "="));

		if (option != NULL && !option->in_labels)
			PG_RETURN_TEXT_P(cstring_to_text(option->name));
	}
	PG_RETURN_NULL();
}
