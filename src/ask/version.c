/*-------------------------------------------------------------------------
 *
 * version.c
 *	  Versions as seen from SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "ask/question.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cache_notify_version);
PG_FUNCTION_INFO_V1(cache_notify_versions);
PG_FUNCTION_INFO_V1(cache_notify_near_versions);
PG_FUNCTION_INFO_V1(cache_notify_counted);
PG_FUNCTION_INFO_V1(cache_notify_pending_changes);

/* A text argument that may be NULL. */
static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * version(domain text, tenant_id text) returns bigint
 *
 * The query's snapshot, plus what this transaction has changed itself and
 * will write when it commits.
 */
Datum
cache_notify_version(PG_FUNCTION_ARGS)
{
	char	   *domain = text_argument(fcinfo, 0);
	Question	question;
	VersionName *name;
	bool		known;
	int64		version = 0;

	if (domain == NULL)
		PG_RETURN_NULL();
	if (!begin_question(&question))
		PG_RETURN_NULL();
	name = parse_name(domain, text_argument(fcinfo, 1));
	known = name_is_known(&question, name);
	if (known)
	{
		version = question.history.origin + name_total(&question, name);
		if (name->tenant == NULL)
			version += pending_bumps(name, ALL_TENANTS);
		else
			version += pending_bumps(name, NULL) +
				pending_bumps(name, name->tenant);
	}
	end_question(&question);
	if (!known)
		PG_RETURN_NULL();
	PG_RETURN_INT64(version);
}

/* counted(domain text) returns bigint, strict: what a domain has ever counted */
Datum
cache_notify_counted(PG_FUNCTION_ARGS)
{
	VersionName name = {.domain = text_to_cstring(PG_GETARG_TEXT_PP(0))};
	Question	question;
	int64		total;

	if (!begin_question(&question))
		PG_RETURN_NULL();
	total = name_total(&question, &name) +
		pending_bumps(&name, ALL_TENANTS);
	end_question(&question);
	PG_RETURN_INT64(total);
}

/* pending_changes() returns setof (domain, tenant_id, n) */
Datum
cache_notify_pending_changes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *scopes = change_set_pending();
	ListCell   *lc;

	compat_materialize_result(fcinfo);
	foreach(lc, scopes)
	{
		ScopeChange *scope = lfirst(lc);
		Datum		values[3] = {0};
		bool		nulls[3] = {false, scope->counter.tenant == NULL, false};

		if (scope->bumps == 0 || is_internal_domain(scope->domain->name))
			continue;
		values[0] = CStringGetTextDatum(scope->domain->name);
		if (scope->counter.tenant != NULL)
			values[1] = CStringGetTextDatum(scope->counter.tenant);
		values[2] = Int64GetDatum(scope->bumps);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* What versions() and near_versions() return of one name. */
typedef struct NameState
{
	bool		known;
	bool		none;			/* no versions: do not cache */
	int64		version;
	int64		shared_version;
} NameState;

/* of_domain: a key's versions are to be those of its domain. */
static NameState
name_state(Question *question, const VersionName *name, bool of_domain)
{
	NameState	state = {0};
	VersionName counted = *name;

	CHECK_FOR_INTERRUPTS();
	state.known = name_is_known(question, name);
	state.none = !state.known || name_is_pending(name);
	if (state.none)
		return state;
	if (of_domain)
		counted.bucket_layout = 0;
	state.version = question->history.origin + name_total(question, &counted);
	state.shared_version = question->history.origin +
		name_sum(question->table, &counted, NULL, question->snapshot);
	return state;
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* Fills one row of what a function returns. */
typedef void (*StateRow) (const VersionName *name, const NameState *state,
						  Datum *values, bool *nulls);

#define MAX_STATE_COLUMNS 6

/* A row for each of the names that the function at hand is given. */
static Datum
return_states(FunctionCallInfo fcinfo, bool of_domain, StateRow fill)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Question	question;
	ListCell   *lc;

	compat_materialize_result(fcinfo);
	if (!begin_question(&question))
		return (Datum) 0;
	foreach(lc, name_arguments(fcinfo, 0, 1))
	{
		VersionName *name = lfirst(lc);
		NameState	state = name_state(&question, name, of_domain);
		Datum		values[MAX_STATE_COLUMNS] = {0};
		bool		nulls[MAX_STATE_COLUMNS] = {false};

		fill(name, &state, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	end_question(&question);
	return (Datum) 0;
}

static void
fill_version(const VersionName *name, const NameState *state, Datum *values,
			 bool *nulls)
{
	values[0] = CStringGetTextDatum(name_as_told(name));
	values[1] = Int64GetDatum(state->version);
	values[2] = Int64GetDatum(state->shared_version);
	nulls[1] = nulls[2] = state->none;
	values[3] = BoolGetDatum(state->known);
	values[4] = text_or_null(name->tenant, &nulls[4]);
}

static void
fill_near_version(const VersionName *name, const NameState *state,
				  Datum *values, bool *nulls)
{
	values[0] = text_or_null(name->tenant, &nulls[0]);
	values[1] = CStringGetTextDatum(name->domain);
	values[2] = text_or_null(name->key, &nulls[2]);
	values[3] = Int64GetDatum(state->version);
	values[4] = Int64GetDatum(state->shared_version);
	nulls[3] = nulls[4] = state->none;
	values[5] = BoolGetDatum(state->known);
}

/*
 * versions(for_tenant text, VARIADIC domains text[])
 * returns setof (domain text, version bigint, shared_version bigint,
 * known boolean, tenant_id text)
 */
Datum
cache_notify_versions(PG_FUNCTION_ARGS)
{
	return return_states(fcinfo, false, fill_version);
}

/*
 * near_versions(for_tenant text, VARIADIC names text[])
 * returns setof (tenant_id text, domain text, key text, version bigint,
 * shared_version bigint, known boolean)
 *
 * What payloads are compared with: they tell the domain's version, and which
 * keys moved.
 */
Datum
cache_notify_near_versions(PG_FUNCTION_ARGS)
{
	return return_states(fcinfo, true, fill_near_version);
}
