-- ------------------------------------------------------ what caches ask

CREATE FUNCTION cache_notify.token(tenant_id text, VARIADIC domains text[])
	RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_token'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.token(text, text[]) IS
'A token for these domains as a tenant sees them, or (NULL) for the whole of them, all tenants included, in the snapshot of the query. Take it before the query whose result you cache, or in the same statement, and store it with the result. NULL if this transaction has changed one of the domains, or the statement that asks changes a table of one, or one of them is not known: then do not cache. What functions change that the same statement calls later cannot be known: ask in statements that only read. A domain is known if a watched table or view, a schema listener, a rule or a past invalidate() feeds it, and if every domain that rules carry into it is known; see v_invalidation_status. Opaque, safe in URLs; the same state gives the same token, whatever the order of the domains. Error if no domain is named or a domain is NULL, empty or longer than 63 bytes.';

CREATE FUNCTION cache_notify.is_current(token text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_is_current'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.is_current(text) IS
'Whether nothing has changed in the token''s domains since it was taken, as the query''s snapshot sees it. False as well if this transaction has changed one of them or one is not known (any more), and for tokens of another database or from before a fork (see version_origin()). NULL if token is NULL. Error for a string that token() never returned.';

CREATE FUNCTION cache_notify.stale(tokens text[]) RETURNS text[]
	AS 'MODULE_PATHNAME', 'cache_notify_stale'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.stale(text[]) IS
'Those of the tokens that are not current, in the order given; an empty array if all are. NULL elements are left out. One call for thousands of tokens is much cheaper than is_current() for each. NULL if tokens is NULL. Error if one of them is a string that token() never returned.';

CREATE FUNCTION cache_notify.etag(tenant_id text, VARIADIC domains text[])
	RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_etag'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.etag(text, text[]) IS
'A value for an ETag header, quotes included, that changes whenever token() for the same arguments does. NULL if token() is: then send no ETag. Errors as token().';

CREATE FUNCTION cache_notify.matches(if_none_match text, tenant_id text, VARIADIC domains text[])
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_matches'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.matches(text, text, text[]) IS
'Whether the value of an If-None-Match header names etag() of the domains, so that the answer is 304 Not Modified. Takes lists, weak tags (W/"...") and *. False if there is no header (NULL), if it cannot be understood, or if this transaction has changed one of the domains. Errors as token(), for the domains only.';

CREATE FUNCTION cache_notify.versions(for_tenant text, VARIADIC domains text[],
		OUT domain text, OUT version bigint, OUT shared_version bigint,
		OUT known boolean, OUT tenant_id text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_versions'
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 3;
COMMENT ON FUNCTION cache_notify.versions(text, text[]) IS
'The versions of these domains, each once, as a tenant sees them: version, to compare with payloads that name the tenant, and shared_version, to compare with payloads whose tenant_id is null. Without a tenant (NULL), version is that of the whole domain. Take them before the query whose result you cache. Both are NULL if this transaction has changed the domain, or the domain is not known: then do not cache. known: something feeds the domain, see token(). domain and tenant_id are as payloads name them, whatever spelling was asked for (01 for 1, capitals in a UUID); domain is without a key, or tenant_id NULL, if it cannot be told exactly which one is meant: then it is all of them. Errors as token().';

CREATE FUNCTION cache_notify.near_versions(for_tenant text, VARIADIC names text[],
		OUT tenant_id text, OUT domain text, OUT key text,
		OUT version bigint, OUT shared_version bigint, OUT known boolean)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_near_versions'
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 3;
COMMENT ON FUNCTION cache_notify.near_versions(text, text[]) IS
'What a near cache keeps with a result that was made from these domains and keys (''price/42''), one row each: the tenant, domain and key as payloads name them (key NULL: the whole domain), and the domain''s version and shared_version to compare with payloads. The rest is as for versions(), errors included.';

CREATE FUNCTION cache_notify.current_position() RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_current_position'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.current_position() IS
'A position for changes_since(): the snapshot of the query. Waits until what the snapshot sees is on disk. Opaque, safe in URLs.';

CREATE FUNCTION cache_notify.changes_since(since text,
		OUT tenant_id text, OUT domain text, OUT version bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_changes_since'
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION cache_notify.changes_since(text) IS
'What has changed between the snapshot of a position and that of the query: each key that moved, once, with the version it has now, just as a payload says it (tenant_id NULL: a shared change, which concerns every tenant). Nothing is left out, whatever transactions were running. A single row whose domain is NULL means: drop everything; the position is NULL or from before a fork (see version_origin()). Take the next position before, or in the same statement. Lists every tenant, so PUBLIC may not execute it. Error for a string that current_position() never returned.';
REVOKE EXECUTE ON FUNCTION cache_notify.changes_since(text) FROM PUBLIC;

CREATE FUNCTION cache_notify.changes_since(since text, for_tenant text, VARIADIC domains text[],
		OUT tenant_id text, OUT domain text, OUT version bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_changes_since_named'
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 3;
COMMENT ON FUNCTION cache_notify.changes_since(text, text, text[]) IS
'changes_since() for these domains of one tenant and their shared changes. Without a tenant (NULL) one row for each domain that has changed for anybody: tenant_id is NULL, and version that of the whole domain, as versions() tells it. Reads these keys only, and tells nothing about names that the caller does not know. Errors as changes_since(text) and token().';
