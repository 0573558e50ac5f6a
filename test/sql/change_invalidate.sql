-- Serves invalidate() and version(): by hand on the same path as a change, and
-- what a tenant's version is made of.
-- A failure shows as a counter that moved by another amount, an argument that is
-- taken, or a version that is not the tenant's part plus the shared one.
\set ECHO none
\i test/include/moved.sql
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page', 'invalidate'), ('item', 'heard', 'notify');

-- Nothing ever changed.
SELECT cache_notify.version('item'), cache_notify.version('item', 'a'), cache_notify.version('never heard of');

-- A tenant, another one, all of them.
SELECT cache_notify.invalidate('item', 'a');
:moved
SELECT cache_notify.invalidate('item', 'b');
SELECT cache_notify.invalidate('item', NULL);
SELECT cache_notify.invalidate('item');
:moved
SELECT cache_notify.version('item') AS shared, cache_notify.version('item', 'a') AS a,
	cache_notify.version('item', 'b') AS b, cache_notify.version('item', 'c') AS c,
	cache_notify.version('page', 'a') AS page_a, cache_notify.version('heard', 'a') AS heard_a;
-- Names of arguments, and any text as a tenant.
SELECT cache_notify.invalidate(domain => 'item', tenant_id => '');
SELECT cache_notify.version(domain => 'item', tenant_id => '');
SELECT cache_notify.invalidate('item', repeat('x', 255)), cache_notify.invalidate('item', repeat('x', 256));
:moved
SELECT cache_notify.invalidate('größe🙂', E'\\''"\n');
:moved

-- In a transaction: seen at once, kept, rolled back, rolled back to a savepoint.
BEGIN;
SELECT cache_notify.invalidate('item', 'a');
:moved
SELECT cache_notify.invalidate('item', 'a');
:moved
SAVEPOINT s;
SELECT cache_notify.invalidate('item', 'a');
:moved
ROLLBACK TO s;
COMMIT;
:moved
BEGIN;
SELECT cache_notify.invalidate('item', 'a');
ROLLBACK;
:moved
-- The version of a query is that of the query, also of the one that changes it.
SELECT cache_notify.version('once') AS before, cache_notify.invalidate('once') IS NOT NULL AS done,
	cache_notify.version('once') AS after;

-- What is refused.
SELECT cache_notify.invalidate(NULL);
SELECT cache_notify.invalidate('');
SELECT cache_notify.invalidate(repeat('d', 64));
SELECT cache_notify.invalidate(repeat('ü', 32), 'a');
SELECT cache_notify.invalidate(repeat('d', 63));
SELECT cache_notify.version('');
SELECT cache_notify.version(repeat('d', 64));
SELECT cache_notify.version(repeat('d', 63)), cache_notify.version(NULL), cache_notify.version(NULL, 'a');
BEGIN READ ONLY;
SELECT cache_notify.version('item');
SAVEPOINT s;
SELECT cache_notify.invalidate('item');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT cache_notify.invalidate('late');
SET TRANSACTION READ ONLY;
COMMIT;
:moved
-- Also inside a function that is declared STABLE.
CREATE FUNCTION declared_stable() RETURNS void STABLE LANGUAGE plpgsql AS
	$$BEGIN PERFORM cache_notify.invalidate('item', 'a'); END$$;
SELECT declared_stable();
:moved
DROP FUNCTION declared_stable();

-- At every isolation level: the snapshot's version and what oneself has done.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cache_notify.version('item', 'rr');
SELECT cache_notify.invalidate('item', 'rr');
SELECT cache_notify.version('item', 'rr');
SELECT cache_notify.invalidate('item', 'rr');
:moved
COMMIT;
:moved
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cache_notify.version('item', 'rr');
SELECT cache_notify.invalidate('item', 'rr');
SELECT cache_notify.version('item', 'rr');
:moved
COMMIT;
:moved
-- Many row versions of one counter, live and dead, read at each level.
DO $$ BEGIN FOR i IN 1..300 LOOP PERFORM cache_notify.invalidate('hot', 'a'); COMMIT; END LOOP; END $$;
DO $$ BEGIN FOR i IN 1..100 LOOP PERFORM cache_notify.invalidate('hot', 'a'); ROLLBACK; END LOOP; END $$;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cache_notify.version('hot', 'a');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cache_notify.version('hot', 'a');
COMMIT;
SELECT cache_notify.version('hot', 'a');
:moved
