-- Serves G5: more tenants in one transaction than cache_notify.max_keys become
-- shared changes. A write of a million tenants neither fails nor grows.
-- A failure shows as an error, a tenant whose version stood still although its
-- row changed, or memory beyond the bound.
\set ECHO none
\i test/include/moved.sql
SHOW cache_notify.max_keys;
CREATE TABLE crowd (id int, tenant_id text) WITH (autovacuum_enabled = off);
SELECT cache_notify.setup_table_invalidation('crowd');
INSERT INTO cache_notify.cascade_rules VALUES ('crowd', 'crowd_target');

-- As many keys as there may be: every tenant for itself. The target
-- of the rule takes as many again, so half as many tenants fit.
BEGIN;
INSERT INTO crowd SELECT i, 'tenant ' || i FROM generate_series(1, 5000) AS i;
SELECT domain, count(*), sum(n), count(*) FILTER (WHERE tenant_id IS NULL) AS shared
	FROM cache_notify.pending_changes() GROUP BY domain ORDER BY domain;
-- Those known stay themselves, new ones are shared.
UPDATE crowd SET id = -id WHERE id = 17;
SELECT cache_notify.version('crowd', 'tenant 17'), cache_notify.version('crowd', 'tenant 18');
INSERT INTO crowd VALUES (0, 'one too many');
SELECT cache_notify.version('crowd', 'one too many'), cache_notify.version('crowd', 'never was'),
	cache_notify.version('crowd_target', 'one too many'), cache_notify.version('crowd_target', 'never was');
-- A savepoint that is rolled back takes its keys' bumps along.
SAVEPOINT s;
UPDATE crowd SET id = id + 1;
ROLLBACK TO s;
SELECT cache_notify.version('crowd', 'tenant 18'), cache_notify.version('crowd', 'never was');
ROLLBACK;
SELECT count(*) FROM _cache_notify.counter_total WHERE domain LIKE 'crowd%';

-- A million, in one statement.
CREATE FUNCTION own_memory() RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name LIKE 'cache_notify%'
$$;
BEGIN;
INSERT INTO crowd SELECT i, i::text FROM generate_series(1, 1000000) AS i;
SELECT own_memory() BETWEEN 1 AND 10 * 1024 * 1024 AS bounded;
SELECT domain, count(tenant_id) <= 10000 AS bounded, count(*) FILTER (WHERE tenant_id IS NULL) AS shared
	FROM cache_notify.pending_changes() GROUP BY domain ORDER BY domain;
-- Seen and unseen tenants move, by the second statement as well.
SELECT cache_notify.version('crowd', '1') AS first, cache_notify.version('crowd', '1000000') AS last
	\gset before_
UPDATE crowd SET id = -id WHERE id IN (1, 1000000);
SELECT cache_notify.version('crowd', '1') > :before_first AS first,
	cache_notify.version('crowd', '1000000') > :before_last AS last;
-- An unseen tenant whose row stays as it is does not hide the next one's.
SELECT cache_notify.version('crowd', '999999') AS before \gset
UPDATE crowd SET id = CASE id WHEN 999999 THEN -id ELSE id END WHERE id BETWEEN 999990 AND 999999;
SELECT cache_notify.version('crowd', '999999') > :before AS moved;
COMMIT;
SELECT own_memory() < 1024 * 1024 AS given_back;
SELECT count(*) AS unmoved FROM crowd WHERE id % 100 = 1
	AND (cache_notify.version('crowd', tenant_id) = 0 OR cache_notify.version('crowd_target', tenant_id) = 0);
SELECT count(*) <= 10002 AS bounded FROM _cache_notify.version_counter WHERE domain IN ('crowd', 'crowd_target');

DELETE FROM cache_notify.cascade_rules;
DROP TABLE crowd;
DROP FUNCTION own_memory();
