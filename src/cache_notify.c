/*-------------------------------------------------------------------------
 *
 * cache_notify.c
 *	  Entry point, settings, and what every file needs.
 *
 *-------------------------------------------------------------------------
 */
#include "base/cache_notify.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "base/fault.h"

PG_MODULE_MAGIC;

#define DEFAULT_CHANNEL		"cache_invalidation"
#define DEFAULT_MAX_KEYS	10000
#define MIN_MAX_KEYS		1
#define MAX_MAX_KEYS		1000000

void		_PG_init(void);

char	   *default_channel;
int			max_keys;

static bool
check_channel(char **newval, void **extra, GucSource source)
{
	size_t		len = strlen(*newval);

	if (len > 0 && len < NAMEDATALEN)
		return true;
	GUC_check_errdetail("A channel name has 1 to %d bytes.", NAMEDATALEN - 1);
	return false;
}

static void
define_settings(void)
{
	DefineCustomStringVariable("cache_notify.channel",
							   "Channel of domains that no watched table names a channel for.",
							   NULL,
							   &default_channel,
							   DEFAULT_CHANNEL,
							   PGC_SIGHUP, 0,
							   check_channel, NULL, NULL);
	DefineCustomIntVariable("cache_notify.max_keys",
							"Tenants that one transaction tells apart.",
							"Changes of further tenants count as changes of the whole domain.",
							&max_keys,
							DEFAULT_MAX_KEYS, MIN_MAX_KEYS, MAX_MAX_KEYS,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	inline_trigger_init();
	delivery_init();
	worker_init();
	waiting_init();
	fault_init();
	compat_reserve_guc_prefix("cache_notify");
}

void
_PG_init(void)
{
	define_settings();
	trigger_init();
	cascade_init();
	counter_init();
	commit_init();
	utility_init();
	watched_init();
	route_init();
	epoch_init();
}

/* A table or index of the extension, or InvalidOid if it is not there. */
Oid
extension_relation(const char *schema, const char *name)
{
	Oid			oid = get_namespace_oid(schema, true);

	return OidIsValid(oid) ? get_relname_relid(name, oid) : InvalidOid;
}

/* Is this one of the extension's own schemas? */
bool
extension_has_schema(Oid schema)
{
	return OidIsValid(schema) &&
		(schema == get_namespace_oid(EXTENSION_SCHEMA, true) ||
		 schema == get_namespace_oid(INTERNAL_SCHEMA, true));
}

/*
 * Open a table or index of the extension; NULL if it is not there.  Another
 * session may have dropped and created the extension since our catalog cache
 * last heard: taking the lock takes that in, so look again.
 */
Relation
extension_open(const char *schema, const char *name, LOCKMODE lockmode)
{
	Oid			tried = InvalidOid;

	for (;;)
	{
		Oid			oid = extension_relation(schema, name);
		Relation	rel;

		if (!OidIsValid(oid) || oid == tried)
			return NULL;
		rel = try_relation_open(oid, lockmode);
		if (rel != NULL)
			return rel;
		tried = oid;
	}
}

/* Complain about a domain that cannot exist. */
void
check_domain_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("domain must not be empty")));
	if (strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("domain \"%s\" is too long", name),
				 errhint("A domain has at most %d bytes.", NAMEDATALEN - 1)));
}
