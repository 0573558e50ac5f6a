-- What FraiseQL's PostgresCache reads and calls, on top of cache_notify.

-- Complain if the script is read by psql rather than by CREATE EXTENSION.
\echo Use "CREATE EXTENSION pg_fraiseql_cache" to load this file. \quit

-- Whoever owns the schema can put a function beside ours that fits a call better, and
-- superusers call ours. CREATE EXTENSION takes a schema that is there already.
DO $$
DECLARE
	owner name;
BEGIN
	SELECT r.rolname INTO owner
	FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'fraiseql_cache' AND NOT r.rolsuper;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = pg_catalog.format('schema fraiseql_cache belongs to %s, who is not a superuser', owner),
			HINT = 'Drop the schema, or give it to a superuser once nobody else has put anything into it.';
	END IF;
END
$$;

-- ------------------------------------------------- versions by UUID

-- FraiseQL's tenants are UUIDs, those of cache_notify any text.  The pattern
-- takes every way to write a UUID that the server reads, so the cast cannot
-- fail.  The expression is repeated in the view below, which the index serves.
CREATE INDEX version_counter_fraiseql ON _cache_notify.version_counter
	((CASE WHEN tenant_id ~ '^([0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$|^\{([0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}\}$'
	  THEN tenant_id::text::uuid END), domain);
COMMENT ON INDEX _cache_notify.version_counter_fraiseql IS
'finds the counters of a tenant that is a UUID; goes with the extension pg_fraiseql_cache';
ALTER INDEX _cache_notify.version_counter_fraiseql DEPENDS ON EXTENSION pg_fraiseql_cache;

CREATE VIEW fraiseql_cache.tenant_counter AS
	SELECT CASE WHEN tenant_id ~ '^([0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$|^\{([0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}\}$'
		THEN tenant_id::text::uuid END AS tenant_id,
		domain, n, last_modified
	FROM (SELECT c.tenant_id::text, c.domain::text, c.n, c.last_modified
		  FROM _cache_notify.version_counter c
		  UNION ALL
		  SELECT p.tenant_id COLLATE "C", p.domain COLLATE "C", p.n, now()
		  FROM cache_notify.pending_changes() p) AS part;
COMMENT ON VIEW fraiseql_cache.tenant_counter IS
'The rows of _cache_notify.version_counter with the tenant as a UUID, or NULL if it is something else, and what this transaction has changed itself.';

-- A tenant that has a row for any domain gets one for every shared domain:
-- FraiseQL takes a domain that it is not told of for one that never changes.
CREATE VIEW fraiseql_cache.domain_version AS
	SELECT tenant_id, domain,
		cache_notify.version_origin() + sum(n)::bigint AS version,
		max(last_modified) AS last_modified
	FROM (SELECT tenant_id, domain, n, last_modified
		  FROM fraiseql_cache.tenant_counter
		  WHERE tenant_id IS NOT NULL
		  UNION ALL
		  SELECT own.tenant_id, shared.domain, shared.n, shared.last_modified
		  FROM (SELECT DISTINCT tenant_id FROM fraiseql_cache.tenant_counter
				WHERE tenant_id IS NOT NULL) AS own
		  CROSS JOIN _cache_notify.counter_total AS shared
		  WHERE shared.tenant_id IS NULL) AS part
	GROUP BY tenant_id, domain;
COMMENT ON VIEW fraiseql_cache.domain_version IS
'The version of each domain as each tenant sees it, for tenants that are UUIDs: read it by WHERE tenant_id = $1 AND domain = ANY ($2). A tenant that has changed anything has a row for every domain that it or a shared change has moved. Other tenants have none.';
COMMENT ON COLUMN fraiseql_cache.domain_version.tenant_id IS 'the tenant; tenants that are not UUIDs are left out';
COMMENT ON COLUMN fraiseql_cache.domain_version.version IS 'only goes forward; includes shared changes';
COMMENT ON COLUMN fraiseql_cache.domain_version.last_modified IS 'when the last transaction that changed it was about to commit';

-- ------------------------------------------------- rules and watched tables

CREATE VIEW fraiseql_cache.cascade_rules AS
	SELECT source_domain, target_domain, rule_type
	FROM cache_notify.cascade_rules;
COMMENT ON VIEW fraiseql_cache.cascade_rules IS
'cache_notify.cascade_rules, to read and to change: INSERT ... ON CONFLICT (source_domain, target_domain) works.';

CREATE FUNCTION fraiseql_cache.setup_table_invalidation(
	table_name text,
	domain_name text DEFAULT NULL,
	tenant_column text DEFAULT NULL)
	RETURNS text
	LANGUAGE sql VOLATILE
	-- Bound here, and no search_path of its own: the caller's finds the table, and
	-- nothing else. The client names tenant_id unless it is told another column.
	RETURN cache_notify.setup_table_invalidation(
		table_name::regclass, domain_name,
		CASE WHEN tenant_column <> 'tenant_id' OR EXISTS (
			SELECT FROM pg_catalog.pg_attribute a
			WHERE a.attrelid = table_name::regclass
			AND a.attname = 'tenant_id' AND a.attnum > 0 AND NOT a.attisdropped)
		THEN tenant_column END);
COMMENT ON FUNCTION fraiseql_cache.setup_table_invalidation(text, text, text) IS
'Watches a table: cache_notify.setup_table_invalidation() as FraiseQL calls it. Returns the domain.
table_name: the table, looked up in the search path if it names no schema; error if there is none, or if NULL.
domain_name: the domain that it feeds; NULL: the table''s name without a leading tv_, tb_ or v_.
tenant_column: the column that holds the tenant; NULL, or tenant_id in a table that has no such column: tenant_id if there is one, else changes concern all tenants. Error if any other column does not exist.';

-- ------------------------------------------------- views for operators

CREATE VIEW fraiseql_cache.v_domain_versions AS
	SELECT domain, shared_version, tenants, changes, last_modified
	FROM cache_notify.v_domain_versions;
COMMENT ON VIEW fraiseql_cache.v_domain_versions IS
'cache_notify.v_domain_versions: one row for each domain.';

CREATE VIEW fraiseql_cache.v_invalidation_status AS
	SELECT table_name, domain, tenant_column, tenant_setting, granularity,
		columns, channel, payload, enabled, problem, fields
	FROM cache_notify.v_invalidation_status;
COMMENT ON VIEW fraiseql_cache.v_invalidation_status IS
'cache_notify.v_invalidation_status: what is watched, how, and what is wrong with it.';

CREATE VIEW fraiseql_cache.v_recent_invalidations AS
	SELECT tenant_id, domain, version, last_modified, age
	FROM cache_notify.v_recent_invalidations;
COMMENT ON VIEW fraiseql_cache.v_recent_invalidations IS
'cache_notify.v_recent_invalidations: what changed last, newest first, tenants of every kind.';

-- ------------------------------------------------- privileges

-- As in cache_notify: what is watched is for everybody to read, the rest for
-- those who operate the server and for the roles that the application is
-- granted it for.
GRANT USAGE ON SCHEMA fraiseql_cache TO PUBLIC;
GRANT SELECT ON fraiseql_cache.v_invalidation_status TO PUBLIC;
GRANT SELECT ON fraiseql_cache.domain_version, fraiseql_cache.cascade_rules,
	fraiseql_cache.v_domain_versions, fraiseql_cache.v_recent_invalidations TO pg_monitor;
