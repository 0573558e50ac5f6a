/*-------------------------------------------------------------------------
 *
 * trigger.c
 *	  The triggers of watched tables: from a row to a key of the change set.
 *
 * A watched table has, for each domain it feeds, one AFTER ROW trigger
 * (row_change; not with granularity 'statement') and one AFTER STATEMENT
 * trigger (statement_change), which also has TRUNCATE.  Their arguments are
 * "name=value" strings that setup_table_invalidation() writes:
 *
 *	  domain			which domain the table feeds
 *	  tenant_column		column that holds the tenant; none: shared changes
 *	  tenant_setting	setting that holds it instead
 *	  column			one for each column that counts; none: all do
 *	  granularity		'statement': bump for each statement, seen rows or not
 *	  channel, payload	see route.c
 *	  inherited			'true': a parent is watched, see inheritance.c
 *
 * What is wrong with them at this point (a tenant column that is gone) makes
 * a change coarser, never an error.
 *
 * The work per row is what counts here.  What a trigger needs is prepared
 * once per statement and kept in fn_extra, which lives as long as the
 * statement's executor state.  A row whose tenant is the one seen last, in a
 * key that the statement has touched, costs one comparison.
 *
 *-------------------------------------------------------------------------
 */
#include "cache_notify.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cache_notify_row_change);
PG_FUNCTION_INFO_V1(cache_notify_statement_change);

typedef struct TriggerState
{
	Domain	   *domain;
	int			depth;			/* trigger depth, see change_set.c */

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

	/* the tenant seen last */
	ChangeKey  *last_key;
	Datum		last_tenant;
	Size		last_size;		/* allocated for it, if by reference */
	MemoryContext context;

	/* set once tenants of the statement do not fit into the change set */
	ChangeKey  *overflow_key;
} TriggerState;

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
prepare_tenant_column(TriggerState *state, Relation rel, const char *name)
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
	state->tenant_column = attnum;
	state->tenant_byval = attr->attbyval;
	state->tenant_len = attr->attlen;
	state->tenant_is_text = type == TEXTOID || type == VARCHAROID;
	getTypeOutputInfo(type, &state->tenant_output, &is_varlena);
	state->tenant_needs_settings = !output_is_stable(state->tenant_output);
	fmgr_info_cxt(state->tenant_output, &state->tenant_output_info,
				  state->context);
}

static void
prepare_columns(TriggerState *state, Relation rel, Trigger *trigger)
{
	const size_t len = strlen("column=");

	state->columns = palloc(Max(trigger->tgnargs, 1) * sizeof(AttrNumber));
	for (int i = 0; i < trigger->tgnargs; i++)
	{
		AttrNumber	attnum;

		if (strncmp(trigger->tgargs[i], "column=", len) != 0)
			continue;
		attnum = SPI_fnumber(RelationGetDescr(rel), trigger->tgargs[i] + len);
		if (attnum <= 0)
		{
			state->ncolumns = 0;	/* gone or renamed: every column counts */
			return;
		}
		state->columns[state->ncolumns++] = attnum;
	}
}

static TriggerState *
create_trigger_state(TriggerData *trigdata, MemoryContext context)
{
	Trigger    *trigger = trigdata->tg_trigger;
	MemoryContext old = MemoryContextSwitchTo(context);
	TriggerState *state = palloc0(sizeof(TriggerState));
	const char *domain = trigger_argument(trigger->tgargs, trigger->tgnargs,
										  "domain");
	const char *tenant_column = trigger_argument(trigger->tgargs,
												 trigger->tgnargs,
												 "tenant_column");

	/* Only a trigger made by hand can lack a domain, or have too long a one. */
	if (domain == NULL || strlen(domain) >= NAMEDATALEN)
		domain = RelationGetRelationName(trigdata->tg_relation);
	state->context = context;
	state->domain = domain_lookup(domain);
	state->depth = current_trigger_depth();
	state->tenant_setting = trigger_argument(trigger->tgargs, trigger->tgnargs,
											 "tenant_setting");
	if (state->tenant_setting == NULL && tenant_column != NULL)
		prepare_tenant_column(state, trigdata->tg_relation, tenant_column);
	prepare_columns(state, trigdata->tg_relation, trigger);
	MemoryContextSwitchTo(old);
	return state;
}

/* The prepared state of the trigger that called, once per statement. */
static TriggerState *
get_trigger_state(FunctionCallInfo fcinfo, const char *function)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
	{
		if (!CALLED_AS_TRIGGER(fcinfo))
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("%s() must be called as a trigger", function),
					 errhint("Use %s.setup_table_invalidation().",
							 EXTENSION_SCHEMA)));
		flinfo->fn_extra =
			create_trigger_state((TriggerData *) fcinfo->context,
								 flinfo->fn_mcxt);
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

	if (state->tenant_is_text)
	{
		text	   *t = DatumGetTextPP(value);

		tenant = VARDATA_ANY(t);
		len = VARSIZE_ANY_EXHDR(t);
	}
	else
	{
		tenant = state->tenant_needs_settings ?
			output_with_fixed_settings(&state->tenant_output_info, value) :
			OutputFunctionCall(&state->tenant_output_info, value);
		len = strlen(tenant);
		if (state->tenant_output == F_BPCHAROUT)
			while (len > 0 && tenant[len - 1] == ' ')
				len--;			/* as the cast to text does */
	}

	key = change_set_key(state->domain, tenant, len);
	if (key->tenant == NULL && change_set_full())
		state->overflow_key = key;
	return key;
}

/* Keep the tenant, to recognize it in the next row. */
static void
remember_tenant(TriggerState *state, ChangeKey *key, Datum value)
{
	state->last_key = NULL;
	if (state->tenant_byval)
		state->last_tenant = value;
	else
	{
		Size		size = datumGetSize(value, false, state->tenant_len);

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
		const char *tenant = state->tenant_setting ?
			GetConfigOption(state->tenant_setting, true, false) : NULL;

		/* SET LOCAL leaves an empty string behind: no tenant then. */
		if (tenant != NULL && tenant[0] == '\0')
			tenant = NULL;
		state->last_key = change_set_key(state->domain, tenant,
										 tenant ? strlen(tenant) : 0);
	}
	return state->last_key;
}

static ChangeKey *
key_of_row(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value;
	ChangeKey  *key;

	if (state->tenant_column == 0)
		return key_of_statement(state);
	value = heap_getattr(tuple, state->tenant_column, desc, &isnull);
	if (isnull)
		return change_set_key(state->domain, NULL, 0);
	if (state->last_key != NULL &&
		datumIsEqual(value, state->last_tenant, state->tenant_byval,
					 state->tenant_len))
		return state->last_key;
	key = key_of_tenant(state, value);
	remember_tenant(state, key, value);
	return key;
}

/* Are the columns that count the same in both rows? */
static bool
same_columns(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	for (int i = 0; i < state->ncolumns; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, state->columns[i] - 1);
		bool		old_null,
					new_null;
		Datum		old_value,
					new_value;

		old_value = heap_getattr(old, state->columns[i], desc, &old_null);
		new_value = heap_getattr(new, state->columns[i], desc, &new_null);
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

static void
update_change(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	ChangeKey  *old_key = key_of_row(state, old, desc);
	ChangeKey  *new_key = key_of_row(state, new, desc);

	if (change_set_touched(old_key, state->depth) &&
		change_set_touched(new_key, state->depth))
		return;

	/* A row that moves between tenants has changed, whatever columns count. */
	if (old_key == new_key &&
		(state->ncolumns > 0 ? same_columns(state, old, new, desc) :
		 same_row(old, new)))
		return;
	change_set_touch(old_key, state->depth);
	change_set_touch(new_key, state->depth);
}

/* AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW */
Datum
cache_notify_row_change(PG_FUNCTION_ARGS)
{
	TriggerState *state = get_trigger_state(fcinfo, "row_change");
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);

	/* Too many tenants: the shared key speaks for all rows to come. */
	if (state->overflow_key != NULL &&
		change_set_touched(state->overflow_key, state->depth))
		return PointerGetDatum(NULL);

	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		update_change(state, trigdata->tg_trigtuple, trigdata->tg_newtuple,
					  desc);
	else
		change_set_touch(key_of_row(state, trigdata->tg_trigtuple, desc),
						 state->depth);
	return PointerGetDatum(NULL);
}

/* AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ... FOR EACH STATEMENT */
Datum
cache_notify_statement_change(PG_FUNCTION_ARGS)
{
	TriggerState *state = get_trigger_state(fcinfo, "statement_change");
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Trigger    *trigger = trigdata->tg_trigger;
	const char *granularity = trigger_argument(trigger->tgargs,
											   trigger->tgnargs,
											   "granularity");

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		change_set_bump_statement(change_set_key(state->domain, NULL, 0),
								  GetCurrentCommandId(true));
	else if (granularity != NULL && strcmp(granularity, "statement") == 0)
		change_set_bump_statement(key_of_statement(state),
								  GetCurrentCommandId(true));
	change_set_close_statement(state->depth);
	return PointerGetDatum(NULL);
}
