/*-------------------------------------------------------------------------
 *
 * invalidate.c
 *	  Move a version by hand.
 *
 *-------------------------------------------------------------------------
 */
#include "change/change_set.h"

#include "tcop/utility.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cache_notify_invalidate);

/* invalidate(domain text, tenant_id text) returns void */
Datum
cache_notify_invalidate(PG_FUNCTION_ARGS)
{
	char	   *tenant = PG_ARGISNULL(1) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(1));
	VersionName *name;
	ScopeChange *scope;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("domain must not be null")));
	PreventCommandIfReadOnly("invalidate()");
	PreventCommandIfParallelMode("invalidate()");
	name = parse_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), tenant);
	if (is_internal_domain(name->domain))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("domain \"%s\" is reserved", name->domain),
				 errhint("Redefining a view or function moves it.")));
	scope = change_set_scope(domain_lookup(name->domain), name->tenant,
							 name->tenant ? strlen(name->tenant) : 0);
	by_hand_note(scope);
	if (name->bucket_layout != 0)
		change_set_bump_key(scope, name);
	else
		change_set_bump(scope);
	PG_RETURN_VOID();
}
