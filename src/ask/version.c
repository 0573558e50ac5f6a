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
