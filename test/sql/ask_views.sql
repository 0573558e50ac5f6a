-- Serves the views: their columns as promised, versions that agree with version(),
-- and the index that makes the client's query cheap.
-- A failure shows as another list of columns, a row count of disagreements, a
-- wrong age or order, or f for the use of the index.
\set ECHO none
\i test/include/moved.sql
SELECT c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.oid IN ('cache_notify.domain_version'::regclass, 'cache_notify.v_domain_versions'::regclass,
		'cache_notify.v_recent_invalidations'::regclass, 'cache_notify.cascade_rules'::regclass)
	GROUP BY c.relname ORDER BY c.relname COLLATE "C";
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
	WHERE attrelid = 'cache_notify.v_invalidation_status'::regclass AND attnum BETWEEN 1 AND 10;

-- Nothing yet.
SELECT count(*) FROM cache_notify.domain_version;
SELECT count(*) FROM cache_notify.v_domain_versions;
SELECT count(*) FROM cache_notify.v_recent_invalidations;

CREATE TABLE item (id int PRIMARY KEY, tenant_id text);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page');
INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, NULL);
UPDATE item SET id = -id WHERE tenant_id = 'b';
SELECT cache_notify.invalidate('page');
SELECT tenant_id, domain, version FROM cache_notify.domain_version ORDER BY domain, tenant_id;
SELECT domain, shared_version, tenants, changes, last_modified <= clock_timestamp() AS dated
	FROM cache_notify.v_domain_versions ORDER BY domain;

-- The client's query; a tenant that changed nothing sees the shared version.
SELECT domain, version FROM cache_notify.domain_version
	WHERE tenant_id = 'b' AND domain = ANY ('{item,page,none}') ORDER BY domain;
PREPARE client (text, text[]) AS SELECT domain, version - cache_notify.version_origin() AS version FROM cache_notify.domain_version
	WHERE tenant_id = $1 AND domain = ANY ($2) ORDER BY domain;
EXECUTE client ('a', '{page,item}');
EXECUTE client ('a', '{}');
EXECUTE client ('a', NULL);
SELECT cache_notify.version('item', 'unseen');

-- Inside a transaction: what it changed itself is in every view.
BEGIN;
UPDATE item SET id = id + 10 WHERE tenant_id = 'a';
INSERT INTO item VALUES (4, 'new');
EXECUTE client ('a', '{page,item}');
EXECUTE client ('new', '{page,item}');
SELECT domain, shared_version, tenants, changes FROM cache_notify.v_domain_versions ORDER BY domain;
TRUNCATE item;
EXECUTE client ('b', '{page,item}');
SELECT count(*) AS disagreements FROM cache_notify.domain_version
	WHERE version <> cache_notify.version(domain, coalesce(tenant_id, 'never was'));
SELECT tenant_id, domain, version FROM cache_notify.domain_version ORDER BY domain, tenant_id;
ROLLBACK;
SELECT count(*) AS disagreements FROM cache_notify.domain_version
	WHERE version <> cache_notify.version(domain, coalesce(tenant_id, 'never was'));
SELECT count(*) AS disagreements FROM cache_notify.domain_version v
	JOIN cache_notify.v_recent_invalidations r USING (domain)
	WHERE r.tenant_id IS NOT DISTINCT FROM v.tenant_id AND (r.version, r.last_modified) <> (v.version, v.last_modified);

-- The newest comes first, and its age is the time since then.
SELECT cache_notify.invalidate('old', 'a');
SELECT cache_notify.invalidate('new', 'a');
SELECT domain, tenant_id, version, age >= '0' AND age < '1 hour' AS young FROM cache_notify.v_recent_invalidations LIMIT 2;
SELECT bool_and(last_modified >= next) AS newest_first FROM (
	SELECT last_modified, lead(last_modified) OVER () AS next FROM cache_notify.v_recent_invalidations) AS pairs;
-- A change of what has changed before is news as well.
SELECT max(last_modified) AS last_modified FROM cache_notify.domain_version \gset
SELECT cache_notify.invalidate('new', 'a');
SELECT domain, tenant_id, last_modified > :'last_modified' AS newer FROM cache_notify.v_recent_invalidations LIMIT 1;
-- A shared change is news for every tenant.
SELECT cache_notify.invalidate('old');
SELECT count(*) FROM cache_notify.v_recent_invalidations WHERE domain = 'old'
	AND last_modified = (SELECT max(last_modified) FROM _cache_notify.version_counter WHERE domain = 'old');

-- 100,000 keys, and some counters in several rows, as concurrent commits leave
-- them. The client's query goes by the index, planned once or each time.
-- Counters written by hand begin a new history: versions start at its origin.
-- Nobody writes state by SQL: for a moment it passes for a table.
CREATE FUNCTION writable(relation regclass, yes boolean) RETURNS void LANGUAGE sql
	SET allow_system_table_mods = on
	AS $$UPDATE pg_class SET relkind = CASE WHEN yes THEN 'r' ELSE 'm' END::"char", relhasrules = NOT yes WHERE oid = relation$$;
SELECT writable('_cache_notify.version_counter', true);
INSERT INTO _cache_notify.version_counter (domain, tenant_id, n, last_modified, row_id, bucket_layout, keyed, moves)
	SELECT 'domain ' || i % 20, 'tenant ' || i / 20, 1 + i % 3, '2024-01-01'::timestamptz, i, 0, 0, 0 FROM generate_series(0, 99999) AS i
	UNION ALL SELECT 'domain ' || i % 20, NULL, 5, '2024-01-02', i, 0, 0, 0 FROM generate_series(0, 39) AS i;
SELECT writable('_cache_notify.version_counter', false);
ANALYZE _cache_notify.version_counter;
CREATE FUNCTION uses_index(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
	index boolean := false;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		index := index OR line LIKE '%version_counter_key%';
		IF line LIKE '%Seq Scan on version_counter%' THEN
			RETURN false;
		END IF;
	END LOOP;
	RETURN index;
END
$$;
SELECT uses_index('SELECT * FROM cache_notify.domain_version WHERE tenant_id = ''tenant 17'' AND domain = ANY (''{domain 1,domain 2}'')');
SELECT uses_index('EXECUTE client (''tenant 17'', ''{domain 1,domain 2}'')');
SET plan_cache_mode = force_generic_plan;
SELECT uses_index('EXECUTE client (''tenant 17'', ''{domain 1,domain 2}'')');
RESET plan_cache_mode;
SELECT uses_index('SELECT * FROM cache_notify.domain_version WHERE tenant_id = ''tenant 17'' AND domain = ''domain 1''');
SELECT uses_index('SELECT * FROM cache_notify.domain_version WHERE tenant_id IS NULL AND domain = ''domain 1''');
EXECUTE client ('tenant 17', '{domain 1,domain 2}');
SELECT tenant_id, domain, version - cache_notify.version_origin() AS version, last_modified = '2024-01-02' AS last_modified FROM cache_notify.domain_version
	WHERE domain = 'domain 3' AND (tenant_id = 'tenant 0' OR tenant_id IS NULL) ORDER BY tenant_id;
SELECT shared_version - cache_notify.version_origin() AS shared_version, tenants, changes FROM cache_notify.v_domain_versions WHERE domain = 'domain 3';
-- A bump goes to one of the rows and is in the sum.
SELECT cache_notify.invalidate('domain 3');
SELECT cache_notify.version('domain 3') - cache_notify.version_origin(), count(*), min(n), max(n) FROM _cache_notify.version_counter
	WHERE domain = 'domain 3' AND tenant_id IS NULL;

DROP FUNCTION uses_index(text), writable(regclass, boolean);
DROP TABLE item;
