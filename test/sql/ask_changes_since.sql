-- What changed between two positions, in one session.
CREATE DATABASE cache_notify_changes;
\c cache_notify_changes
CREATE EXTENSION cache_notify;
SET search_path = cache_notify, _cache_notify, public;

-- The changes since a position, and whether each has its present version.
CREATE FUNCTION since(since text) RETURNS TABLE (tenant_id text, domain text, exact boolean)
LANGUAGE sql STABLE AS $$
	SELECT c.tenant_id, c.domain, c.version = cache_notify.version(c.domain, coalesce(c.tenant_id, 'never was'))
	FROM cache_notify.changes_since($1) AS c ORDER BY c.domain, c.tenant_id;
$$;

-- Nothing yet.
SELECT current_position() AS position, current_position() ~ '^[A-Za-z0-9_-]+$' AS url_safe \gset
SELECT :'url_safe' AS url_safe;
SELECT * FROM changes_since(:'position');
SELECT * FROM changes_since(:'position', 't', 'a', 'b');

-- Each key that moved, once; what was rolled back did not move.
SELECT invalidate('a', 't1'), invalidate('a', 't1'), invalidate('b');
SELECT invalidate('a', 't1'), invalidate('b', 't2');
BEGIN;
SELECT invalidate('rolled back', 't1');
ROLLBACK;
SELECT * FROM since(:'position');
SELECT * FROM changes_since(:'position', 't1', 'a', 'b');
SELECT * FROM changes_since(:'position', 't2', 'a', 'b');
SELECT * FROM changes_since(:'position', NULL, 'a', 'b');
SELECT * FROM changes_since(:'position', repeat('t', 256), 'b');

-- From there on.
SELECT current_position() AS second \gset
SELECT * FROM since(:'second');
SELECT invalidate('b', 't2');
SELECT * FROM since(:'second');
SELECT count(*) AS since_the_first FROM since(:'position');

-- What this transaction has changed comes when it has committed, not before;
-- a position taken inside it does not hide it.
BEGIN;
SELECT invalidate('c', 't1');
SELECT current_position() AS inside \gset
SELECT pg_current_xact_id() IS NOT NULL AS has_xid;
SELECT current_position() AS inside_with_xid \gset
SELECT * FROM since(:'second') WHERE domain = 'c';
COMMIT;
SELECT * FROM since(:'second');
SELECT * FROM since(:'inside');
SELECT * FROM since(:'inside_with_xid');

-- A statement sees one state: position and changes fit together.
SELECT c.domain, p.next IS NOT NULL AS next
FROM (SELECT current_position() AS next) AS p, changes_since(:'inside') AS c;

-- Many keys, on many pages, of which few change.
SELECT count(invalidate('many', 'tenant ' || i)) FROM generate_series(1, 3000) AS i;
CHECKPOINT;
SELECT current_position() AS position \gset
SELECT invalidate('many', 'tenant ' || i) FROM generate_series(1, 3000, 1000) AS i;
SELECT * FROM since(:'position');
SELECT count(*) FROM since(:'second') WHERE domain = 'many';

-- A prepared transaction wrote its counters before the checkpoint that this
-- session goes by.
BEGIN;
SELECT invalidate('many', 'tenant 2500');
PREPARE TRANSACTION 'cache_notify_changes';
CHECKPOINT;
\c
SET search_path = cache_notify, _cache_notify, public;
SELECT current_position() AS while_prepared \gset
SELECT * FROM since(:'while_prepared');
COMMIT PREPARED 'cache_notify_changes';
SELECT * FROM since(:'while_prepared');

-- Freezing, rewriting and moving the table hide nothing and add nothing.
VACUUM (FREEZE) version_counter;
SELECT * FROM since(:'position');
VACUUM FULL version_counter;
SELECT * FROM since(:'position');
SELECT invalidate('many', 'tenant 500');
SELECT * FROM since(:'position');
SELECT current_position() AS position \gset
VACUUM (FREEZE) version_counter;
SELECT invalidate('many', 'tenant 501');
SELECT * FROM since(:'position');
VACUUM FULL version_counter;
SELECT * FROM since(:'position');

\c contrib_regression
DROP DATABASE cache_notify_changes;
