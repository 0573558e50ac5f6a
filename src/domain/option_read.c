/*-------------------------------------------------------------------------
 *
 * option_read.c
 *	  What the arguments of a trigger, or those in a label, ask for.
 *
 * They may be anybody's: nothing here raises an error (but out of memory), and
 * whatever is not within the limits of option.c is left out.  What that does to
 * the rest of the options, so that nothing is missed, is the option's "loss".
 *
 *-------------------------------------------------------------------------
 */
#include "domain/option_table.h"

#include "catalog/pg_type.h"
#include "common/md5.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cache_notify_watch_options);
PG_FUNCTION_INFO_V1(cache_notify_label_arguments);

/* Bytes of a problem, of which foreign text may be a part. */
#define MAX_PROBLEM_LEN	160

/* Foreign text in a message: not more of it than anybody wants to read. */
static const char *
excerpt(const char *text)
{
	int			len = strlen(text);

	return len <= MAX_PROBLEM_LEN ? text :
				psprintf("%s...", pnstrdup(text, pg_mbcliplen(text, len, MAX_PROBLEM_LEN)));
}

/* The first problem is told. */
static void
add_problem(WatchOptions *options, const char *argument, const char *what)
{
	if (options->problem == NULL)
		options->problem = excerpt(psprintf("argument \"%s\" is ignored: %s",
											excerpt(argument), excerpt(what)));
}

static void *
member_of(WatchOptions *options, const Option *option)
{
	return (char *) options + option->offset;
}

/* False if it has one already. */
static bool
take_value(WatchOptions *options, const Option *option, const char *value)
{
	void	   *member = member_of(options, option);
	List	  **list = member;
	const char **text = member;

	switch (option->type)
	{
		case OPTION_LIST:
			if (list_length(*list) >= option->max_values)
				return false;
			*list = lappend(*list, pstrdup(value));
			return true;
		case OPTION_NUMBER:
			if (*(int64 *) member != 0)
				return false;
			*(int64 *) member = strtoll(value, NULL, 10);
			return true;
		case OPTION_FLAG:
			*(bool *) member |= strcmp(value, "true") == 0;
			return true;
		case OPTION_TEXT:
			if (*text !=NULL)
				return false;
			*text = pstrdup(value);
			return true;
	}
	return false;
}

/* A value of this option cannot be used: what must go because of it. */
static void
lose(WatchOptions *options, const Option *option)
{
	if (option->loss == LOSE_TENANT)
		options->tenant_column = options->tenant_setting = NULL;
	else if (option->loss == LOSE_LIST)
		*(List **) member_of(options, option) = NIL;
	if (option->offset == offsetof(WatchOptions, keys))
		options->keys_lost = true;
}

/* Take an argument in; true if it could be used. */
static const Option *
read_argument(WatchOptions *options, const char *argument)
{
	int			len = strcspn(argument, "=");
	const Option *option = argument[len] == '=' ? option_of_argument(argument, len) : NULL;
	const char *value = argument + len + 1;
	OptionFault fault;

	if (option == NULL)
		add_problem(options, argument, "it is unknown");
	else if (!option_value_is_good(option, value, &fault))
		add_problem(options, option->argument, fault.message);
	else if (!take_value(options, option, value))
		add_problem(options, option->argument, option->type == OPTION_LIST ?
					"there are too many" : "there is one already");
	else
		return NULL;
	return option;
}

/* Options that need one another. */
static void
drop_incomplete(WatchOptions *options)
{
	if (options->domain == NULL)
		add_problem(options, "domain", "there is none that could be used");
	if (options->keys != NIL && options->domain != NULL &&
		strcmp(options->domain, EXTENSION_NAME) == 0)
	{
		add_problem(options, "key", "their names would be reserved");
		options->keys = NIL;
	}
	if ((options->keys != NIL) != (options->bucket_layout != 0))
		add_problem(options, options->keys != NIL ? "key" : "bucket_layout",
					"key and bucket_layout need each other");
	if (options->keys == NIL || options->bucket_layout == 0)
	{
		options->keys_lost |= options->keys != NIL || options->bucket_layout != 0;
		options->keys = NIL;
		options->bucket_layout = 0;
	}
}

/* What arguments ask for, palloc'd.  Never NULL; of too many bytes, nothing. */
WatchOptions *
watch_options(char **args, int nargs)
{
	WatchOptions *options = palloc0(sizeof(WatchOptions));
	List	   *lost = NIL;		/* Option *, with values that cannot be used */
	Size		len = 0;
	ListCell   *lc;

	for (int i = 0; i < nargs; i++)
		len += strlen(args[i]) + 1;
	if (len > MAX_ARGUMENTS_LEN)
		nargs = 0;
	for (int i = 0; i < nargs; i++)
	{
		const Option *option = read_argument(options, args[i]);

		if (option != NULL)
			lost = list_append_unique_ptr(lost, (void *) option);
	}
	foreach(lc, lost)
		lose(options, lfirst(lc));
	drop_incomplete(options);
	return options;
}

/*
 * The domain that a relation feeds.  Only arguments written by hand can lack
 * one: then it is the relation's name, or if that cannot be a domain either,
 * its MD5.  palloc'd
 */
const char *
usable_domain(const WatchOptions *options, const char *relation_name)
{
	OptionFault fault;
	char	   *hex;

	if (options->domain != NULL)
		return options->domain;
	if (relation_name[0] != '\0' && domain_name_is_good(relation_name, &fault))
		return pstrdup(relation_name);
	hex = palloc(MD5_PASSWD_LEN);
	return compat_md5(relation_name, strlen(relation_name), hex) ? hex : "?";
}

/* Does a bump for each statement do, whichever rows it changed? */
bool
is_per_statement(const WatchOptions *options)
{
	return options->granularity != NULL &&
		strcmp(options->granularity, "statement") == 0;
}

/* ------------------------------------------------------------------ labels */

/* An element of an array as text; *from is behind it then.  palloc'd */
static char *
read_element(const char **from)
{
	StringInfoData buf;
	const char *p = *from;
	bool		quoted = false;
	int			last = 0;		/* bytes that are more than trailing blanks */

	initStringInfo(&buf);
	for (; *p != '\0' && (quoted || (*p != ',' && *p != '}')); p++)
	{
		if (*p == '"')
		{
			quoted = !quoted;
			last = buf.len;
			continue;
		}
		if (*p == '\\' && p[1] != '\0')
			p++;
		appendStringInfoChar(&buf, *p);
		if (quoted || !isspace((unsigned char) *p))
			last = buf.len;
	}
	buf.data[last] = '\0';
	*from = p;
	return buf.data;
}

/*
 * The arguments in a label, which is an array of text as text.  The label hook
 * has let the server read it, but perhaps another version of the server.
 */
char	  **
split_label(const char *label, int *nargs)
{
	int			room = 8;
	char	  **args = palloc(room * sizeof(char *));
	const char *p = label + strcspn(label, "{");

	*nargs = 0;
	for (;;)
	{
		while (*p != '\0' && (isspace((unsigned char) *p) || strchr("{},", *p)))
			p++;
		if (*p == '\0')
			return args;
		if (*nargs == room)
			args = repalloc(args, (room *= 2) * sizeof(char *));
		args[(*nargs)++] = read_element(&p);
	}
}

/* --------------------------------------------------------------------- SQL */

static Datum
array_of_strings(Datum *strings, int n)
{
	return PointerGetDatum(construct_array(strings, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static Datum
array_of_list(List *strings)
{
	Datum	   *elements = palloc(Max(list_length(strings), 1) * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, strings)
		elements[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return array_of_strings(elements, list_length(strings));
}

/* label_arguments(label text) returns text[]: what is in a label of ours. */
Datum
cache_notify_label_arguments(PG_FUNCTION_ARGS)
{
	int			nargs;
	char	  **args = split_label(text_to_cstring(PG_GETARG_TEXT_PP(0)), &nargs);
	Datum	   *elements = palloc(Max(nargs, 1) * sizeof(Datum));

	for (int i = 0; i < nargs; i++)
		elements[i] = CStringGetTextDatum(args[i]);
	PG_RETURN_DATUM(array_of_strings(elements, nargs));
}

static Datum
datum_of(WatchOptions *options, const Option *option, bool *isnull)
{
	void	   *member = member_of(options, option);
	const char *text;

	switch (option->type)
	{
		case OPTION_LIST:
			return array_of_list(*(List **) member);
		case OPTION_NUMBER:
			*isnull = *(int64 *) member == 0;
			return Int64GetDatum(*(int64 *) member);
		case OPTION_FLAG:
			return BoolGetDatum(*(bool *) member);
		case OPTION_TEXT:
			text = *(const char **) member;
			*isnull = text == NULL;
			return text !=NULL ? CStringGetTextDatum(text) : (Datum) 0;
	}
	return (Datum) 0;
}

static Oid
type_of(const Option *option)
{
	switch (option->type)
	{
		case OPTION_LIST:
			return TEXTARRAYOID;
		case OPTION_NUMBER:
			return INT8OID;
		case OPTION_FLAG:
			return BOOLOID;
		case OPTION_TEXT:
			return TEXTOID;
	}
	return InvalidOid;
}

/* The type in SQL has an attribute for each option, and one for the problem. */
static void
check_type(TupleDesc desc)
{
	for (int i = 0; i <= num_options; i++)
	{
		const char *name = i < num_options ? option_table[i].name : "problem";
		Oid			type = i < num_options ? type_of(&option_table[i]) : TEXTOID;

		check_column(desc, num_options + 1, i, name, type);
	}
}

/*
 * watch_options(arguments text[], relation oid) returns watch_options: what
 * somebody's arguments ask for.  Raises no error because of them.
 */
Datum
cache_notify_watch_options(PG_FUNCTION_ARGS)
{
	char	   *relation_name = get_rel_name(PG_GETARG_OID(1));
	Datum		values[MAX_OPTIONS + 1];
	bool		nulls[MAX_OPTIONS + 1] = {0};
	TupleDesc	desc;
	WatchOptions *options;
	Datum	   *elements;
	bool	   *isnull;
	char	  **args;
	int			n;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	check_type(desc);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &isnull, &n);
	args = palloc(Max(n, 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		args[i] = isnull[i] ? "" : TextDatumGetCString(elements[i]);
	options = watch_options(args, n);
	options->domain = usable_domain(options, relation_name ? relation_name : "");

	for (int i = 0; i < num_options; i++)
		values[i] = datum_of(options, &option_table[i], &nulls[i]);
	nulls[num_options] = options->problem == NULL;
	if (options->problem != NULL)
		values[num_options] = CStringGetTextDatum(options->problem);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
