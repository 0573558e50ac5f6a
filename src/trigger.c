/*-------------------------------------------------------------------------
 *
 * trigger.c
 *	  The triggers of watched tables: from a row to a key of the change set.
 *
 * A watched table has, for each domain it feeds, one AFTER ROW trigger
 * (row_change; not with granularity 'statement') and one AFTER STATEMENT
 * trigger (statement_change), for TRUNCATE and, with granularity 'statement',
 * for everything.  Their arguments are "name=value" strings that setup_table_invalidation() writes:
 *
 *	  domain			which domain the table feeds
 *	  tenant_column		column that holds the tenant; none: shared changes
 *	  tenant_setting	setting that holds it instead
 *	  column			one for each column that counts; none: all do
 *	  granularity		'statement': bump for each statement, seen rows or not
 *	  field				one for each extra payload field, see route.c
 *	  channel, payload	see route.c
 *
 * What is wrong with them at this point (a tenant column that is gone) makes
 * a change coarser, never an error.
 *
 * The work per row is what counts for large statements, that per statement
 * for small ones.  What follows from the trigger's arguments and the table's
 * columns is prepared once per backend (TriggerConfig).  What a statement has
 * seen so far is in fn_extra, which lives as long as the statement's executor
 * state.  A row whose tenant is the one seen last, in a key that the statement
 * has touched, costs one comparison.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_notify_row_change);
PG_FUNCTION_INFO_V1(cache_notify_statement_change);

int64		trigger_rows_seen = 0;

/* What a trigger is to do. */
typedef struct TriggerConfig
{
	struct TriggerConfig *next; /* in all_configs */
	MemoryContext context;		/* that all of it lives in */
	Oid			relid;
	bool		valid;			/* false: the table or the trigger has changed */

	Domain	   *domain;
	uint64		domains_forgotten;	/* when domain was looked up */
	bool		per_statement;	/* granularity */

	/* where the tenant comes from; without either, changes are shared */
	const char *tenant_setting;
	AttrNumber	tenant_column;	/* 0: none */
	Oid			tenant_output;	/* output function of its type */
	FmgrInfo	tenant_output_info;
	bool		tenant_is_text;
	bool		tenant_needs_settings;	/* the text depends on settings */
	bool		tenant_byval;
	int16		tenant_len;

	AttrNumber *columns;		/* those that count */
	int			ncolumns;		/* 0: all */

	/* operations and keys, if payloads are to tell them */
	int			fields;
	AttrNumber	key_columns[INDEX_MAX_KEYS];	/* of the primary key */
	int			nkey_columns;	/* 0: there is none */
} TriggerConfig;

/* One execution of a trigger: by a statement, for all its rows. */
typedef struct TriggerState
{
	TriggerConfig *config;
	int			depth;			/* trigger depth, see change_set.c */

	/* the tenant seen last */
	ChangeKey  *last_key;
	Datum		last_tenant;
	Size		last_size;		/* allocated for it, if by reference */
	MemoryContext context;

	/* set once tenants of the statement do not fit into the change set */
	ChangeKey  *overflow_key;
} TriggerState;

typedef struct ConfigEntry
{
	Oid			trigger;		/* hash key */
	TriggerConfig *config;		/* may be NULL */
	char		status;
} ConfigEntry;

#define SH_PREFIX config_table
#define SH_ELEMENT_TYPE ConfigEntry
#define SH_KEY_TYPE Oid
#define SH_KEY trigger
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* More triggers than this are not remembered at the same time. */
#define MAX_CONFIGS	4096

static config_table_hash *configs = NULL;
static TriggerConfig *all_configs = NULL;

static void
relcache_callback(Datum arg, Oid relid)
{
	for (TriggerConfig *config = all_configs; config; config = config->next)
		if (relid == InvalidOid || relid == config->relid)
			config->valid = false;
}

void
trigger_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* The value of the first argument "name=value", or NULL. */
const char *
trigger_argument(char **args, int nargs, const char *name)
{
	size_t		len = strlen(name);

	for (int i = 0; i < nargs; i++)
		if (strncmp(args[i], name, len) == 0 && args[i][len] == '=')
			return args[i] + len + 1;
	return NULL;
}

static int
current_trigger_depth(void)
{
	LOCAL_FCINFO(fcinfo, 0);

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	return DatumGetInt32(pg_trigger_depth(fcinfo));
}

/*
 * Types whose output is the same under every setting.  The text of any other
 * value is made with fixed settings, as it names the tenant.
 */
static bool
output_is_stable(Oid output)
{
	switch (output)
	{
		case F_UUID_OUT:
		case F_INT2OUT:
		case F_INT4OUT:
		case F_INT8OUT:
		case F_OIDOUT:
		case F_NUMERIC_OUT:
		case F_BOOLOUT:
		case F_ENUM_OUT:
		case F_NAMEOUT:
		case F_CHAROUT:
		case F_TEXTOUT:
		case F_BPCHAROUT:
		case F_VARCHAROUT:
		case F_INET_OUT:
		case F_CIDR_OUT:
			return true;
		default:
			return false;
	}
}

static void
prepare_tenant_column(TriggerConfig *config, Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	attnum = SPI_fnumber(desc, name);
	Form_pg_attribute attr;
	Oid			type;
	bool		is_varlena;

	if (attnum <= 0)
		return;					/* gone or renamed: changes are shared */
	attr = TupleDescAttr(desc, attnum - 1);
	type = getBaseType(attr->atttypid);
	config->tenant_column = attnum;
	config->tenant_byval = attr->attbyval;
	config->tenant_len = attr->attlen;
	config->tenant_is_text = type == TEXTOID || type == VARCHAROID;
	getTypeOutputInfo(type, &config->tenant_output, &is_varlena);
	config->tenant_needs_settings = !output_is_stable(config->tenant_output);
	fmgr_info_cxt(config->tenant_output, &config->tenant_output_info,
				  config->context);
}

static void
prepare_columns(TriggerConfig *config, Relation rel, Trigger *trigger)
{
	const size_t len = strlen("column=");

	config->columns = palloc(Max(trigger->tgnargs, 1) * sizeof(AttrNumber));
	for (int i = 0; i < trigger->tgnargs; i++)
	{
		AttrNumber	attnum;

		if (strncmp(trigger->tgargs[i], "column=", len) != 0)
			continue;
		attnum = SPI_fnumber(RelationGetDescr(rel), trigger->tgargs[i] + len);
		if (attnum <= 0)
		{
			config->ncolumns = 0;	/* gone or renamed: every column counts */
			return;
		}
		config->columns[config->ncolumns++] = attnum;
	}
}

/* The columns of the primary key, whose values payloads are to tell. */
static void
prepare_key_columns(TriggerConfig *config, Relation rel)
{
	HeapTuple	tuple;
	Form_pg_index index;

	list_free(RelationGetIndexList(rel));	/* sets rd_pkindex */
	if (!OidIsValid(rel->rd_pkindex))
		return;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(rel->rd_pkindex));
	if (!HeapTupleIsValid(tuple))
		return;
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < index->indnkeyatts; i++)
		config->key_columns[config->nkey_columns++] = index->indkey.values[i];
	ReleaseSysCache(tuple);
}

/* The context is the configuration's own, so that it can go as a whole. */
static TriggerConfig *
create_config(TriggerData *trigdata)
{
	Trigger    *trigger = trigdata->tg_trigger;
	Relation	rel = trigdata->tg_relation;
	char	  **args = trigger->tgargs;
	int			nargs = trigger->tgnargs;
	const char *domain = trigger_argument(args, nargs, "domain");
	const char *tenant_column = trigger_argument(args, nargs, "tenant_column");
	const char *granularity = trigger_argument(args, nargs, "granularity");
	const char *tenant_setting = trigger_argument(args, nargs, "tenant_setting");
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "cache_notify trigger",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TriggerConfig *config = palloc0(sizeof(TriggerConfig));

	/* Only a trigger made by hand can lack a domain, or have too long a one. */
	if (domain == NULL || strlen(domain) >= NAMEDATALEN)
		domain = RelationGetRelationName(rel);
	config->context = context;
	config->relid = RelationGetRelid(rel);
	config->domain = domain_lookup(domain);
	config->domains_forgotten = cascade_domains_forgotten();
	config->per_statement = granularity != NULL &&
		strcmp(granularity, "statement") == 0;
	if (tenant_setting != NULL)
		config->tenant_setting = pstrdup(tenant_setting);
	else if (tenant_column != NULL)
		prepare_tenant_column(config, rel, tenant_column);
	prepare_columns(config, rel, trigger);
	config->fields = route_fields(args, nargs) &
		(FIELD_OPERATIONS | FIELD_KEYS);
	if (config->fields & FIELD_KEYS)
		prepare_key_columns(config, rel);
	config->valid = true;
	MemoryContextSwitchTo(old);
	return config;
}

/* A statement may be using it: it goes when the transaction ends. */
static void
drop_config(TriggerConfig *config)
{
	TriggerConfig **link = &all_configs;

	while (*link != config)
		link = &(*link)->next;
	*link = config->next;
	MemoryContextSetParent(config->context, TopTransactionContext);
}

static void
drop_all_configs(void)
{
	while (all_configs != NULL)
		drop_config(all_configs);
	config_table_destroy(configs);
	configs = NULL;
}

static ConfigEntry *
find_config_entry(Oid trigger)
{
	ConfigEntry *entry;
	bool		found;

	if (configs != NULL && configs->members >= MAX_CONFIGS)
		drop_all_configs();
	if (configs == NULL)
		configs = config_table_create(TopMemoryContext, 64, NULL);
	entry = config_table_insert(configs, trigger, &found);
	if (!found)
		entry->config = NULL;
	return entry;
}

static TriggerConfig *
get_config(TriggerData *trigdata)
{
	ConfigEntry *entry = find_config_entry(trigdata->tg_trigger->tgoid);
	TriggerConfig *config = entry->config;

	if (config != NULL && config->valid &&
		config->domains_forgotten == cascade_domains_forgotten())
		return config;

	config = create_config(trigdata);
	if (entry->config != NULL)
		drop_config(entry->config);
	MemoryContextSetParent(config->context, TopMemoryContext);
	config->next = all_configs;
	all_configs = entry->config = config;
	return config;
}

/* The state of the trigger that called, which is new for each statement. */
static inline TriggerState *
get_trigger_state(FunctionCallInfo fcinfo, const char *function)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
	{
		TriggerState *state;

		if (!CALLED_AS_TRIGGER(fcinfo))
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("%s() must be called as a trigger", function),
					 errhint("Use %s.setup_table_invalidation().",
							 EXTENSION_SCHEMA)));
		state = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(TriggerState));
		state->config = get_config((TriggerData *) fcinfo->context);
		state->depth = current_trigger_depth();
		state->context = flinfo->fn_mcxt;
		change_set_open_statement(state->depth, flinfo->fn_mcxt);
		flinfo->fn_extra = state;
	}
	return flinfo->fn_extra;
}

/*
 * The text of a tenant whose type is written differently under different
 * settings.  pg_dump and postgres_fdw fix the same ones.
 */
static char *
output_with_fixed_settings(FmgrInfo *output, Datum value)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO, YMD"},
		{"timezone", "UTC"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"}
	};
	int			level = NewGUCNestLevel();
	char	   *result;

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1],
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	result = OutputFunctionCall(output, value);
	AtEOXact_GUC(true, level);
	return result;
}

/* The key of a tenant that is not the one seen last. */
static ChangeKey *
key_of_tenant(TriggerState *state, Datum value)
{
	ChangeKey  *key;
	const char *tenant;
	int			len;

	if (state->config->tenant_is_text)
	{
		text	   *t = DatumGetTextPP(value);

		tenant = VARDATA_ANY(t);
		len = VARSIZE_ANY_EXHDR(t);
	}
	else
	{
		tenant = state->config->tenant_needs_settings ?
			output_with_fixed_settings(&state->config->tenant_output_info, value) :
			OutputFunctionCall(&state->config->tenant_output_info, value);
		len = strlen(tenant);
		if (state->config->tenant_output == F_BPCHAROUT)
			while (len > 0 && tenant[len - 1] == ' ')
				len--;			/* as the cast to text does */
	}

	key = change_set_key(state->config->domain, tenant, len);
	if (key->tenant == NULL && change_set_full())
		state->overflow_key = key;
	return key;
}

/* Keep the tenant, to recognize it in the next row. */
static void
remember_tenant(TriggerState *state, ChangeKey *key, Datum value)
{
	state->last_key = NULL;
	if (state->config->tenant_byval)
		state->last_tenant = value;
	else
	{
		Size		size = datumGetSize(value, false, state->config->tenant_len);

		if (size > state->last_size)
		{
			if (state->last_size > 0)
				pfree(DatumGetPointer(state->last_tenant));
			state->last_size = 0;
			state->last_tenant =
				PointerGetDatum(MemoryContextAlloc(state->context, size));
			state->last_size = size;
		}
		memcpy(DatumGetPointer(state->last_tenant), DatumGetPointer(value),
			   size);
	}
	state->last_key = key;
}

/* A shared change, or one whose tenant is in a setting: one key for all rows. */
static ChangeKey *
key_of_statement(TriggerState *state)
{
	if (state->last_key == NULL)
	{
		const char *tenant = state->config->tenant_setting ?
			GetConfigOption(state->config->tenant_setting, true, false) : NULL;

		/* SET LOCAL leaves an empty string behind: no tenant then. */
		if (tenant != NULL && tenant[0] == '\0')
			tenant = NULL;
		state->last_key = change_set_key(state->config->domain, tenant,
										 tenant ? strlen(tenant) : 0);
	}
	return state->last_key;
}

/*
 * Is this the tenant seen last, bit for bit?  What datumIsEqual() does, without
 * its calls: this runs twice for each updated row.
 */
static inline bool
is_last_tenant(const TriggerState *state, Datum value)
{
	const char *a,
			   *b;

	if (state->config->tenant_byval)
		return value == state->last_tenant;
	a = DatumGetPointer(value);
	b = DatumGetPointer(state->last_tenant);
	if (state->config->tenant_len > 0)
		return memcmp(a, b, state->config->tenant_len) == 0;
	if (state->config->tenant_len == -2)
		return strcmp(a, b) == 0;
	return VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0;
}

static ChangeKey *
key_of_row(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value;
	ChangeKey  *key;

	if (state->config->tenant_column == 0)
		return key_of_statement(state);
	value = heap_getattr(tuple, state->config->tenant_column, desc, &isnull);
	if (isnull)
		return change_set_key(state->config->domain, NULL, 0);
	if (state->last_key != NULL && is_last_tenant(state, value))
		return state->last_key;
	key = key_of_tenant(state, value);
	remember_tenant(state, key, value);
	return key;
}

/* Are the columns that count the same in both rows? */
static bool
same_columns(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	for (int i = 0; i < state->config->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, state->config->columns[i] - 1);
		bool		old_null,
					new_null;
		Datum		old_value,
					new_value;

		old_value = heap_getattr(old, state->config->columns[i], desc, &old_null);
		new_value = heap_getattr(new, state->config->columns[i], desc, &new_null);
		if (old_null != new_null)
			return false;
		if (!old_null &&
			!datum_image_eq(old_value, new_value, attr->attbyval, attr->attlen))
			return false;
	}
	return true;
}

/* Is nothing in the row different, bit for bit?  May say no too often. */
static bool
same_row(HeapTuple old, HeapTuple new)
{
	HeapTupleHeader a = old->t_data;
	HeapTupleHeader b = new->t_data;

	return old->t_len == new->t_len &&
		a->t_hoff == b->t_hoff &&
		HeapTupleHeaderGetNatts(a) == HeapTupleHeaderGetNatts(b) &&
		((a->t_infomask ^ b->t_infomask) & ~HEAP_XACT_MASK) == 0 &&
		memcmp((char *) a + SizeofHeapTupleHeader,
			   (char *) b + SizeofHeapTupleHeader,
			   old->t_len - SizeofHeapTupleHeader) == 0;
}

/* The primary key of a row as JSON: a string, or an array of them. */
static char *
key_as_json(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (state->config->nkey_columns > 1)
		appendStringInfoChar(&buf, '[');
	for (int i = 0; i < state->config->nkey_columns; i++)
	{
		char	   *value = SPI_getvalue(tuple, desc, state->config->key_columns[i]);

		if (i > 0)
			appendStringInfoString(&buf, ", ");
		escape_json(&buf, value ? value : "");
	}
	if (state->config->nkey_columns > 1)
		appendStringInfoChar(&buf, ']');
	return buf.data;
}

/* Note what payloads are to tell beside the version. */
static void
note_extra(TriggerState *state, ChangeKey *key, HeapTuple tuple,
		   TupleDesc desc, int operation)
{
	ExtraFields *extra = &key->extra;

	extra->wanted = true;
	extra->operations |= operation;
	if (state->config->nkey_columns == 0)
		extra->all_keys = true;
	else if (!extra->all_keys)
		extra_add_key(extra, key_as_json(state, tuple, desc));
}

static void
touch_row(TriggerState *state, ChangeKey *key, HeapTuple tuple,
		  TupleDesc desc, int operation)
{
	change_set_touch(key, state->depth);
	if (state->config->fields == 0)
		key->extra.all_keys = true;
	else
		note_extra(state, key, tuple, desc, operation);
}

static void
update_change(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	ChangeKey  *new_key = key_of_row(state, new, desc);
	ChangeKey  *old_key = key_of_row(state, old, desc);

	if (state->config->fields == 0 &&
		change_set_touched(old_key, state->depth) &&
		change_set_touched(new_key, state->depth))
		return;

	/* A row that moves between tenants has changed, whatever columns count. */
	if (old_key == new_key &&
		(state->config->ncolumns > 0 ? same_columns(state, old, new, desc) :
		 same_row(old, new)))
		return;
	touch_row(state, old_key, old, desc, OPERATION_UPDATE);
	if (old_key != new_key || state->config->fields & FIELD_KEYS)
		touch_row(state, new_key, new, desc, OPERATION_UPDATE);
}

/* AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW */
Datum
cache_notify_row_change(PG_FUNCTION_ARGS)
{
	TriggerState *state = get_trigger_state(fcinfo, "row_change");
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);

	trigger_rows_seen++;

	/* Too many tenants: the shared key speaks for all rows to come. */
	if (state->overflow_key != NULL &&
		change_set_touched(state->overflow_key, state->depth))
		return PointerGetDatum(NULL);

	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		update_change(state, trigdata->tg_trigtuple, trigdata->tg_newtuple,
					  desc);
	else
		touch_row(state, key_of_row(state, trigdata->tg_trigtuple, desc),
				  trigdata->tg_trigtuple, desc,
				  TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ?
				  OPERATION_INSERT : OPERATION_DELETE);
	return PointerGetDatum(NULL);
}

/* AFTER TRUNCATE [OR INSERT OR UPDATE OR DELETE] ... FOR EACH STATEMENT */
Datum
cache_notify_statement_change(PG_FUNCTION_ARGS)
{
	TriggerState *state = get_trigger_state(fcinfo, "statement_change");
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
	{
		ChangeKey  *key = change_set_key(state->config->domain, NULL, 0);

		change_set_bump_statement(key, GetCurrentCommandId(true));
		if (state->config->fields != 0)
		{
			key->extra.wanted = true;
			key->extra.operations |= OPERATION_TRUNCATE;
		}
	}
	else if (state->config->per_statement)
		change_set_bump_statement(key_of_statement(state),
								  GetCurrentCommandId(true));
	return PointerGetDatum(NULL);
}
