-- The option whole_counter: the version of the whole domain is the same as without it,
-- whatever has been counted before, by rules, by hand, in a savepoint, or once the
-- option is gone; and it is read from one counter.
-- A failure shows as a DIFFERS, or as a counter that is (not) read where it should (not).
\set ECHO none
\i test/include/moved.sql
-- Versions of the whole against the sum of all counters, and whether it has a base.
CREATE FUNCTION pg_temp.whole(domain text DEFAULT 'bill') RETURNS text LANGUAGE sql AS $$
	SELECT format('%s%s%s', v.version - cache_notify.version_origin(),
		CASE WHEN v.version <> cache_notify.version_origin() + (
			SELECT coalesce(sum(n), 0) FROM _cache_notify.version_counter c WHERE c.domain = whole.domain)
			THEN ' DIFFERS' END,
		CASE WHEN EXISTS (SELECT FROM _cache_notify.version_counter c
				WHERE c.domain LIKE 'cache\_notify/whole\_base/%/' || whole.domain
				AND NOT EXISTS (SELECT FROM _cache_notify.version_counter e
					WHERE e.domain = replace(c.domain, 'whole_base', 'whole_end')))
			THEN ' from one counter' END)
	FROM cache_notify.versions(NULL, domain) v
$$;
CREATE TABLE bill (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
\set ECHO all
SELECT cache_notify.setup_table_invalidation('bill');
INSERT INTO bill VALUES (1, 'a', 1), (2, 'b', 1), (3, NULL, 1);
SELECT pg_temp.whole();
SELECT cache_notify.setup_table_invalidation('bill', whole_counter => true);
SELECT table_name, domain, whole_counter, problem FROM cache_notify.v_invalidation_status;
SELECT pg_temp.whole();
-- The first that writes looks which transactions may not know; the next one counts.
UPDATE bill SET n = 2;
SELECT pg_temp.whole();
UPDATE bill SET n = 3 WHERE id = 1;
SELECT pg_temp.whole();
SELECT cache_notify.token(NULL, 'bill') AS whole, cache_notify.token('b', 'bill') AS b \gset
UPDATE bill SET n = 4 WHERE id = 1;
SELECT pg_temp.whole(), cache_notify.is_current(:'whole') AS whole, cache_notify.is_current(:'b') AS b;
SELECT cache_notify.token(NULL, 'bill') AS whole \gset
SELECT cache_notify.is_current(:'whole') AS whole, cache_notify.stale(ARRAY[:'whole']);
-- By a rule, by hand, in savepoints, not in what is rolled back.
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'bill');
INSERT INTO item VALUES (1, 'c', 1), (2, NULL, 1);
SELECT pg_temp.whole(), cache_notify.is_current(:'whole');
SELECT cache_notify.invalidate('bill', 'd');
SELECT cache_notify.invalidate('bill');
SELECT pg_temp.whole();
BEGIN;
UPDATE bill SET n = 5;
SAVEPOINT s;
UPDATE bill SET n = 6;
ROLLBACK TO s;
UPDATE bill SET n = 7 WHERE id = 2;
SELECT cache_notify.version('bill') - cache_notify.version_origin() AS with_own;
COMMIT;
SELECT pg_temp.whole();
BEGIN; UPDATE bill SET n = 8; ROLLBACK;
TRUNCATE bill;
SELECT pg_temp.whole();
-- DDL.
ALTER TABLE bill ADD m int;
SELECT pg_temp.whole();
-- Set up again, it goes on; another table that feeds the domain shares it.
SELECT cache_notify.setup_table_invalidation('bill', columns => '{n}', whole_counter => true);
SELECT cache_notify.setup_table_invalidation('item', 'bill', whole_counter => true);
SELECT count(DISTINCT _cache_notify.entry_value(arguments, 'whole_counter')) FROM _cache_notify.watching_trigger WHERE domain = 'bill';
INSERT INTO item VALUES (3, 'e', 1);
SELECT pg_temp.whole();
DELETE FROM cache_notify.cascade_rules;
DROP TABLE item;
SELECT pg_temp.whole();
-- Without it, versions go on; with it once more, from a new counter.
SELECT cache_notify.token(NULL, 'bill') AS whole, cache_notify.version('bill') AS version \gset
SELECT cache_notify.setup_table_invalidation('bill');
SELECT pg_temp.whole(), cache_notify.is_current(:'whole'), cache_notify.version('bill') > :version AS forward;
INSERT INTO bill VALUES (4, 'f', 1);
SELECT pg_temp.whole();
SELECT cache_notify.setup_table_invalidation('bill', whole_counter => true);
SELECT pg_temp.whole();
INSERT INTO bill VALUES (5, 'g', 1);
INSERT INTO bill VALUES (6, 'g', 1);
SELECT pg_temp.whole();
-- In one transaction: taken away and given again.
BEGIN;
SELECT cache_notify.remove_table_invalidation('bill');
SELECT cache_notify.setup_table_invalidation('bill', whole_counter => true);
INSERT INTO bill VALUES (7, 'g', 1);
COMMIT;
SELECT pg_temp.whole();
INSERT INTO bill VALUES (8, 'h', 1);
INSERT INTO bill VALUES (9, 'h', 1);
SELECT pg_temp.whole();
BEGIN;
SAVEPOINT s;
SELECT cache_notify.remove_table_invalidation('bill');
ROLLBACK TO s;
INSERT INTO bill VALUES (10, 'h', 1);
COMMIT;
SELECT pg_temp.whole();
-- Somebody else's trigger asks for another counter: none is read, and none is when it goes.
CREATE TABLE foreign_one (n int);
CREATE TRIGGER t AFTER TRUNCATE ON foreign_one FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=bill', 'granularity=statement', 'whole_counter=7');
SELECT pg_temp.whole();
INSERT INTO bill VALUES (11, 'i', 1);
SELECT pg_temp.whole();
DROP TABLE foreign_one;
INSERT INTO bill VALUES (12, 'i', 1);
INSERT INTO bill VALUES (13, 'i', 1);
SELECT pg_temp.whole();
SELECT cache_notify.setup_table_invalidation('bill', whole_counter => true);
INSERT INTO bill VALUES (14, 'i', 1);
INSERT INTO bill VALUES (15, 'i', 1);
SELECT pg_temp.whole();
-- More tenants than a writer goes over: repair() does, or the worker.
CREATE TABLE many (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('many');
INSERT INTO many SELECT i, i FROM generate_series(1, 2000) AS i;
SELECT cache_notify.setup_table_invalidation('many', whole_counter => true);
INSERT INTO many VALUES (0, 'a');
INSERT INTO many VALUES (0, 'b');
SELECT pg_temp.whole('many');
SELECT cache_notify.repair();
SELECT pg_temp.whole('many');
INSERT INTO many VALUES (0, 'c');
SELECT pg_temp.whole('many');
-- What cannot be.
CREATE MATERIALIZED VIEW mat AS SELECT 1 AS n;
SELECT cache_notify.setup_table_invalidation('mat', whole_counter => true);
SELECT cache_notify.setup_table_invalidation('bill');
DROP MATERIALIZED VIEW mat;
DROP TABLE bill, many;
