/*-------------------------------------------------------------------------
 *
 * trigger.c
 *	  The triggers of watched tables: from a row to a scope of the change set.
 *
 * A watched table has, for each domain it feeds, one AFTER ROW trigger
 * (row_change; not with granularity 'statement') and one AFTER STATEMENT
 * trigger (statement_change), for TRUNCATE and, with granularity 'statement',
 * for everything.
 *
 * The work per row is what counts for large statements, that per statement
 * for small ones.  What a trigger is to do is prepared once per backend
 * (trigger_config.c).  What a statement has seen so far is in fn_extra, which
 * lives as long as the statement's executor state.  A row whose tenant is the
 * one seen last, in a scope that the statement has bumped, costs one
 * comparison.
 *
 *-------------------------------------------------------------------------
 */
#include "trigger/trigger_config.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/rel.h"


PG_FUNCTION_INFO_V1(cache_notify_row_change);
PG_FUNCTION_INFO_V1(cache_notify_statement_change);

/* How many triggers deep are we?  1 in a trigger of a top-level statement. */
int
trigger_depth(void)
{
	LOCAL_FCINFO(fcinfo, 0);

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	return DatumGetInt32(pg_trigger_depth(fcinfo));
}

/* Complain about a trigger that setup_table_invalidation() did not make. */
static void
check_called_well(FunctionCallInfo fcinfo, const char *function, bool for_row)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) == for_row)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() must be called as an AFTER trigger for each %s",
						function, for_row ? "row" : "statement"),
				 errhint("Use %s.setup_table_invalidation().",
						 EXTENSION_SCHEMA)));
}

/* The state of the trigger that called, which is new for each statement. */
static inline TriggerState *
get_trigger_state(FunctionCallInfo fcinfo, const char *function, bool for_row)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;

	if (flinfo->fn_extra == NULL)
	{
		TriggerData *trigdata = (TriggerData *) fcinfo->context;
		TriggerState *state;

		check_called_well(fcinfo, function, for_row);
		state = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(TriggerState));
		state->context = flinfo->fn_mcxt;
		trigger_config_use(state, trigdata->tg_relation, trigdata->tg_trigger);
		state->depth = trigger_depth();
		flinfo->fn_extra = state;
	}
	return flinfo->fn_extra;
}

/* The scope of a tenant that is not the one seen last. */
static ScopeChange *
scope_of_tenant(TriggerState *state, Datum value)
{
	int			len;
	const char *tenant = column_text(&state->config->tenant, value, &len);
	ScopeChange *scope = change_set_scope(state->config->domain, tenant,
										  tenant ? len : 0);

	if (scope->counter.tenant == NULL && change_set_full())
		state->overflow_scope = scope;
	return scope;
}

/* Keep the tenant, to recognize it in the next row. */
static void
remember_tenant(TriggerState *state, ScopeChange *scope, Datum value)
{
	state->last_scope = NULL;
	if (state->config->tenant.byval)
		state->last_tenant = value;
	else
	{
		Size		size = datumGetSize(value, false, state->config->tenant.len);

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
	state->last_scope = scope;
}

/*
 * The tenant in a setting, NULL if there is none.  Whoever may create triggers
 * on a table names the setting, and the tenant is told to listeners: a setting
 * that not everybody may read holds no tenant.  It is read as a tenant that a
 * caller writes is, by what other tables of the domain have.
 */
static const char *
tenant_in_setting(const Domain *domain, const char *name)
{
	const char *tenant;

	if (GetConfigOptionFlags(name, true) & GUC_SUPERUSER_ONLY)
		return NULL;
	tenant = GetConfigOption(name, true, false);

	/* SET LOCAL leaves an empty string behind. */
	if (tenant == NULL || tenant[0] == '\0')
		return NULL;

	/* What comes with a connection request is not checked by the server. */
	if (!pg_verifymbstr(tenant, strlen(tenant), true))
		return NULL;
	naming_load();
	return naming_tenant(domain, tenant);
}

/* A shared change, or one whose tenant is in a setting: one scope for all rows. */
static ScopeChange *
scope_of_statement(TriggerState *state)
{
	if (state->last_scope == NULL)
	{
		const char *tenant = state->config->tenant_setting ?
			tenant_in_setting(state->config->domain,
							  state->config->tenant_setting) : NULL;

		state->last_scope = change_set_scope(state->config->domain, tenant,
											 tenant ? strlen(tenant) : 0);
	}
	return state->last_scope;
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

	if (state->config->tenant.byval)
		return value == state->last_tenant;
	a = DatumGetPointer(value);
	b = DatumGetPointer(state->last_tenant);
	if (state->config->tenant.len > 0)
		return memcmp(a, b, state->config->tenant.len) == 0;
	if (state->config->tenant.len == -2)
		return strcmp(a, b) == 0;
	return VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0;
}

/* The scope that a row belongs to. */
ScopeChange *
scope_of_row(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value;
	ScopeChange *scope;

	if (!state->config->has_tenant_column)
		return scope_of_statement(state);
	value = heap_getattr(tuple, state->config->tenant.attnum, desc, &isnull);
	if (isnull)
		return change_set_scope(state->config->domain, NULL, 0);
	if (state->last_scope != NULL && is_last_tenant(state, value))
		return state->last_scope;
	if (value_too_long(&state->config->tenant, value))
		return change_set_scope(state->config->domain, NULL, 0);
	scope = scope_of_tenant(state, value);
	remember_tenant(state, scope, value);
	return scope;
}

/* The primary key of a row as JSON: a string, or an array of them. */
static char *
pk_as_json(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (state->config->npk_columns > 1)
		appendStringInfoChar(&buf, '[');
	for (int i = 0; i < state->config->npk_columns; i++)
	{
		char	   *value = SPI_getvalue(tuple, desc, state->config->pk_columns[i]);

		if (i > 0)
			appendStringInfoString(&buf, ", ");
		escape_json(&buf, value ? value : "");
	}
	if (state->config->npk_columns > 1)
		appendStringInfoChar(&buf, ']');
	return buf.data;
}

/* Note what payloads are to tell beside the version. */
static void
add_extra(TriggerState *state, ScopeChange *scope, HeapTuple tuple,
		  TupleDesc desc, int operation)
{
	TriggerConfig *config = state->config;
	char	   *json = NULL;

	if (config->fields != 0)
	{
		scope->extra.wanted = true;
		scope->extra.operations |= operation;
	}
	if ((config->fields & FIELD_KEYS) && !scope->extra.all_keys)
		json = config->bucket_layout != 0 ? row_key_as_json(state, tuple, desc) :
			config->npk_columns > 0 ? pk_as_json(state, tuple, desc) : NULL;
	if (json != NULL)
		extra_add_key(&scope->extra, json);
	else
		scope->extra.all_keys = true;
	if (config->bucket_layout != 0)
		change_set_tell_key(scope, json);
}

/* The primary key of a row as the payload format writes it, or NULL. */
static char *
pk_as_event(TriggerState *state, HeapTuple tuple, TupleDesc desc)
{
	StringInfoData buf;

	if (tuple == NULL || state->config->npk_columns == 0)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < state->config->npk_columns; i++)
	{
		AttrNumber	column = state->config->pk_columns[i];
		char	   *value = SPI_getvalue(tuple, desc, column);

		state->config->event_format->write_pk_column(&buf,
													 NameStr(TupleDescAttr(desc, column - 1)->attname),
													 value ? value : "");
	}
	if (buf.len > MAX_ROW_LEN)
		return NULL;			/* too long to be told */
	return buf.data;
}

/* Note what happened to the table, or to one of its rows, if that is told. */
static void
add_table_event(TriggerState *state, ScopeChange *scope, HeapTuple tuple,
				TupleDesc desc, int operation)
{
	const PayloadFormat *format = state->config->event_format;
	TableEvent	event = {0};

	if (format == NULL)
		return;
	if (!table_event_full())
	{
		event.table = state->config->event_table;
		event.of_rows = format->write_pk_column != NULL;
		event.row = event.of_rows ? pk_as_event(state, tuple, desc) : NULL;
		event.operations = event.of_rows && event.row == NULL ?
			OPERATION_TRUNCATE : operation;
		event.statement_no = change_set_statement_no(state->depth);
	}
	if (table_event_full() || !table_event_add(&event))
		scope->extra.events_incomplete = true;
	state->told_operations |= operation;
}

static void
bump_row(TriggerState *state, ScopeChange *scope, HeapTuple tuple,
		 TupleDesc desc, int operation)
{
	if (state->config->bucket_layout != 0)
		bump_row_key(state, scope, tuple, desc);
	else
		change_set_bump_once(scope, state->depth);
	FAULT_POINT("trigger");
	add_extra(state, scope, tuple, desc, operation);
	add_table_event(state, scope, tuple, desc, operation);
}

/* The statement changed rows that nobody has looked at. */
static void
bump_whole(TriggerState *state, ScopeChange *scope, int operation)
{
	change_set_bump_once(scope, state->depth);
	scope->extra.wanted |= state->config->fields != 0;
	scope->extra.all_keys = true;
	add_table_event(state, scope, NULL, NULL, operation);
}

/* Does it make a difference which rows the statement changes? */
static inline bool
rows_matter(const TriggerState *state)
{
	return state->config->fields != 0 ||
		(state->config->event_format != NULL &&
		 state->config->event_format->write_pk_column != NULL);
}

/* Once its scopes are bumped: has the statement more to tell of this operation? */
static inline bool
is_told(const TriggerState *state, int operation)
{
	return !rows_matter(state) &&
		(state->config->event_format == NULL || state->told_operations & operation);
}

static void
update_change(TriggerState *state, HeapTuple old, HeapTuple new, TupleDesc desc)
{
	ScopeChange *new_scope = scope_of_row(state, new, desc);
	ScopeChange *old_scope = scope_of_row(state, old, desc);
	bool		same_key;

	if (is_told(state, OPERATION_UPDATE) &&
		change_set_is_bumped(old_scope, state->depth) &&
		change_set_is_bumped(new_scope, state->depth))
		return;

	/* A row that moves to another tenant or key has changed in any case. */
	same_key = old_scope == new_scope && same_row_key(state, old, new, desc);
	if (same_key && same_content(state, old, new, desc))
		return;
	bump_row(state, old_scope, old, desc, OPERATION_UPDATE);
	if (!same_key || rows_matter(state))
		bump_row(state, new_scope, new, desc, OPERATION_UPDATE);
}

static inline int
operation_of(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_INSERT(event) ? OPERATION_INSERT :
		TRIGGER_FIRED_BY_UPDATE(event) ? OPERATION_UPDATE :
		TRIGGER_FIRED_BY_DELETE(event) ? OPERATION_DELETE : OPERATION_TRUNCATE;
}

/* AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW */
Datum
cache_notify_row_change(PG_FUNCTION_ARGS)
{
	TriggerState *state = get_trigger_state(fcinfo, "row_change", true);
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	int			operation = operation_of(trigdata->tg_event);

	change_set_see_row();

	/* Too many tenants: the shared scope speaks for all rows to come. */
	if (state->overflow_scope != NULL && is_told(state, operation) &&
		change_set_is_bumped(state->overflow_scope, state->depth))
		return PointerGetDatum(NULL);

	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		update_change(state, trigdata->tg_trigtuple, trigdata->tg_newtuple,
					  desc);
	else
		bump_row(state, scope_of_row(state, trigdata->tg_trigtuple, desc),
				 trigdata->tg_trigtuple, desc, operation);
	return PointerGetDatum(NULL);
}

/* AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ... FOR EACH STATEMENT */
Datum
cache_notify_statement_change(PG_FUNCTION_ARGS)
{
	TriggerState *state = get_trigger_state(fcinfo, "statement_change", false);
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
	{
		ScopeChange *scope = change_set_scope(state->config->domain, NULL, 0);

		bump_whole(state, scope, OPERATION_TRUNCATE);
		scope->extra.operations |= OPERATION_TRUNCATE;
	}
	else if (state->config->per_statement)
		bump_whole(state, scope_of_statement(state),
				   operation_of(trigdata->tg_event));
	return PointerGetDatum(NULL);
}
