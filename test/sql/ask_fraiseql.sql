-- The second extension: what FraiseQL reads and calls. Its client itself runs
-- in test/interop/fraiseql.
\set SHOW_CONTEXT never
CREATE EXTENSION pg_fraiseql_cache;
SELECT extname FROM pg_extension WHERE extname = 'pg_fraiseql_cache';

CREATE TABLE tv_user (id int PRIMARY KEY, tenant_id uuid, name text);
CREATE TABLE permission (id int PRIMARY KEY, owner_id uuid);
SELECT fraiseql_cache.setup_table_invalidation('tv_user', NULL, 'tenant_id');
SELECT fraiseql_cache.setup_table_invalidation('public.permission', 'permission', NULL);
-- The client's default, in a table that has no such column.
SELECT fraiseql_cache.setup_table_invalidation('permission', 'permission', 'tenant_id');
-- Any other column must be there, and so must the table.
SELECT fraiseql_cache.setup_table_invalidation('permission', NULL, 'owner');
SELECT fraiseql_cache.setup_table_invalidation('nowhere', NULL, NULL);
SELECT fraiseql_cache.setup_table_invalidation(NULL, NULL, NULL);
SELECT table_name, domain, tenant_column FROM fraiseql_cache.v_invalidation_status ORDER BY domain;

-- ------------------------------------------------------------ versions
PREPARE versions (uuid, text[]) AS
	SELECT domain, version - cache_notify.version_origin() AS version
	FROM fraiseql_cache.domain_version
	WHERE tenant_id = $1 AND domain = ANY ($2) ORDER BY domain;
\set acme '''11111111-1111-1111-1111-111111111111'''
\set globex '''22222222-2222-2222-2222-222222222222'''

INSERT INTO tv_user VALUES (1, :acme, 'a'), (2, :acme, 'b'), (3, :globex, 'c');
UPDATE tv_user SET name = 'd' WHERE id = 1;
EXECUTE versions (:acme, '{user,permission}');
EXECUTE versions (:globex, '{user,permission}');
-- A shared change concerns every tenant, also in a domain that the tenant
-- never changed itself.
TRUNCATE tv_user;
INSERT INTO permission VALUES (1);
EXECUTE versions (:acme, '{user,permission}');
EXECUTE versions (:globex, '{permission}');
EXECUTE versions (:globex, '{user}');
-- Nobody else has a row.
EXECUTE versions ('33333333-3333-3333-3333-333333333333', '{user,permission}');
-- What this transaction has changed is seen, and goes with a rollback.
BEGIN;
INSERT INTO tv_user VALUES (1, :acme, 'a');
INSERT INTO permission VALUES (2);
EXECUTE versions (:acme, '{user,permission}');
INSERT INTO tv_user VALUES (2, '33333333-3333-3333-3333-333333333333', 'a');
EXECUTE versions ('33333333-3333-3333-3333-333333333333', '{user,permission}');
ROLLBACK;
EXECUTE versions (:acme, '{user,permission}');

-- Tenants that are not UUIDs are left out, however near they come.
SELECT count(*) FROM (SELECT cache_notify.invalidate('odd', t) FROM unnest(ARRAY[
	'acme', '', '1111', '11111111-1111-1111-1111-11111111111', '{11111111-1111-1111-1111-111111111111',
	'11111111-1111-1111-1111-111111111111}', '11111111-1111-1111-1111-1111111111111',
	'g1111111-1111-1111-1111-111111111111', E'11111111-1111-1111-1111-111111111111\n',
	' 11111111-1111-1111-1111-111111111111', '-11111111-1111-1111-1111-111111111111',
	'1-1111111-1111-1111-1111-111111111111', '11111111-1111-1111-1111-111111111111-',
	repeat('1', 255)]) AS t) AS s;
SELECT count(*) FROM fraiseql_cache.domain_version WHERE domain = 'odd';
-- All that the server takes for a UUID is one.
SELECT count(*) FROM (SELECT cache_notify.invalidate('odd', t) FROM unnest(ARRAY[
	'aaaaaaaa-1111-1111-1111-111111111111', 'AAAAAAAA-1111-1111-1111-111111111111',
	'{aaaaaaaa-1111-1111-1111-111111111111}', 'aaaaaaaa111111111111111111111111',
	'aaaa-aaaa-1111-1111-1111-1111-1111-1111', '{AAAAAAAA-11111111-11111111-11111111}']) AS t) AS s;
EXECUTE versions ('aaaaaaaa-1111-1111-1111-111111111111', '{odd}');
SELECT count(*) FROM fraiseql_cache.v_recent_invalidations WHERE domain = 'odd';
SELECT domain, tenants FROM fraiseql_cache.v_domain_versions
	WHERE domain IN ('odd', 'permission', 'user') ORDER BY domain;

-- With many tenants the read looks at a few pages.
-- Nobody writes state by SQL: for a moment it passes for a table.
CREATE FUNCTION writable(relation regclass, yes boolean) RETURNS void LANGUAGE sql
	SET allow_system_table_mods = on
	AS $$UPDATE pg_class SET relkind = CASE WHEN yes THEN 'r' ELSE 'm' END::"char", relhasrules = NOT yes WHERE oid = relation$$;
SELECT writable('_cache_notify.version_counter', true);
INSERT INTO _cache_notify.version_counter (n, last_modified, domain, tenant_id, row_id, bucket_layout, keyed, moves)
	SELECT 1, now(), 'user', md5(i::text)::uuid, i, 0, 0, 0 FROM generate_series(1, 100000) i;
SELECT writable('_cache_notify.version_counter', false);
ANALYZE _cache_notify.version_counter;
CREATE FUNCTION pages_read(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) ' || query INTO plan;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
END $$;
SELECT pages_read('SELECT domain, version FROM fraiseql_cache.domain_version'
	' WHERE tenant_id = md5(''7'')::uuid AND domain = ANY (''{user,permission}'')') < 100 AS few;
SET plan_cache_mode = force_generic_plan;
SELECT pages_read($$EXECUTE versions (md5('7')::uuid, '{user,permission}')$$) < 100 AS few;
RESET plan_cache_mode;
SELECT writable('_cache_notify.version_counter', true);
DELETE FROM _cache_notify.version_counter;
SELECT writable('_cache_notify.version_counter', false);
DROP FUNCTION writable(regclass, boolean);

-- ------------------------------------------------------------ rules
INSERT INTO fraiseql_cache.cascade_rules (source_domain, target_domain, rule_type)
	VALUES ('permission', 'user', 'notify')
	ON CONFLICT (source_domain, target_domain) DO UPDATE SET rule_type = EXCLUDED.rule_type;
INSERT INTO fraiseql_cache.cascade_rules (source_domain, target_domain, rule_type)
	VALUES ('permission', 'user', 'invalidate'), ('permission', 'role', 'invalidate')
	ON CONFLICT (source_domain, target_domain) DO UPDATE SET rule_type = EXCLUDED.rule_type;
INSERT INTO fraiseql_cache.cascade_rules (source_domain, target_domain)
	VALUES ('permission', 'user') ON CONFLICT (source_domain, target_domain) DO NOTHING;
SELECT * FROM cache_notify.cascade_rules ORDER BY target_domain;
INSERT INTO tv_user VALUES (1, :acme, 'a');
UPDATE permission SET owner_id = :acme;
EXECUTE versions (:acme, '{user,permission,role}');
DELETE FROM fraiseql_cache.cascade_rules WHERE source_domain = 'permission';

-- ------------------------------------------------------------ rights
CREATE ROLE fraiseql_app;
SET ROLE fraiseql_app;
SELECT count(*) > 0 FROM fraiseql_cache.v_invalidation_status;
SELECT count(*) FROM fraiseql_cache.domain_version;
INSERT INTO fraiseql_cache.cascade_rules VALUES ('a', 'b');
RESET ROLE;
GRANT SELECT ON fraiseql_cache.domain_version TO fraiseql_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON fraiseql_cache.cascade_rules TO fraiseql_app;
SET ROLE fraiseql_app;
EXECUTE versions (:acme, '{user}');
INSERT INTO fraiseql_cache.cascade_rules VALUES ('a', 'b') ON CONFLICT (source_domain, target_domain) DO NOTHING;
DELETE FROM fraiseql_cache.cascade_rules;
RESET ROLE;
DROP OWNED BY fraiseql_app;
DROP ROLE fraiseql_app;

-- ------------------------------------------------------------ and gone
DROP EXTENSION pg_fraiseql_cache;
SELECT count(*) FROM pg_index WHERE indrelid = '_cache_notify.version_counter'::regclass;
INSERT INTO tv_user VALUES (2, :acme, 'a');
CREATE EXTENSION pg_fraiseql_cache;
EXECUTE versions (:acme, '{user}');
DROP EXTENSION pg_fraiseql_cache;
DROP FUNCTION pages_read;
DROP TABLE tv_user, permission;
