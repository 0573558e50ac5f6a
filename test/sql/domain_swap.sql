-- G8: a table that takes over the name of a watched one is not watched, and queries
-- read it all the same. The domain has no tokens until somebody says what is right.
\set ECHO none
\i test/include/moved.sql
\set ECHO none
CREATE SCHEMA swap;
SET search_path = swap;
CREATE FUNCTION told(domain text DEFAULT 'price') RETURNS text LANGUAGE sql AS
	$$SELECT CASE WHEN cache_notify.token(NULL, domain) IS NULL THEN 'unknown' ELSE 'known' END$$;
\set ECHO all
CREATE TABLE price (id int PRIMARY KEY, n int);
SELECT cache_notify.setup_table_invalidation('price');
INSERT INTO price VALUES (1, 1);
SELECT cache_notify.token(NULL, 'price') AS token \gset

-- Copied, changed and swapped, in several transactions.
CREATE TABLE price_new (LIKE price INCLUDING ALL);
INSERT INTO price_new SELECT * FROM price;
SELECT told(), cache_notify.is_current(:'token');
ALTER TABLE price RENAME TO price_old;
-- Nobody can read it by its name now.
SELECT told(), cache_notify.is_current(:'token');
ALTER TABLE price_new RENAME TO price;
SELECT told(), cache_notify.is_current(:'token');
SELECT table_name, domain, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY table_name;
UPDATE price SET n = 2;
SELECT told();
SELECT cache_notify.setup_table_invalidation('price');
SELECT told(), cache_notify.is_current(:'token');
DROP TABLE price_old;
SELECT told();

-- In one.
SELECT cache_notify.token(NULL, 'price') AS token \gset
BEGIN;
CREATE TABLE price_new (LIKE price INCLUDING ALL);
ALTER TABLE price RENAME TO price_old;
ALTER TABLE price_new RENAME TO price;
SELECT told();
SAVEPOINT s;
SELECT cache_notify.setup_table_invalidation('price');
ROLLBACK TO s;
DROP TABLE price_old;
COMMIT;
SELECT told(), cache_notify.is_current(:'token');
-- It need not be watched: then nothing feeds the domain, unless it is fed by hand.
SELECT cache_notify.remove_table_invalidation('price');
SELECT told();
SELECT cache_notify.invalidate('price');
SELECT told();
SELECT cache_notify.setup_table_invalidation('price');

-- Dropped and created anew, also beside another table that feeds the domain.
CREATE TABLE other (n int);
SELECT cache_notify.setup_table_invalidation('other', 'price');
DROP TABLE price;
SELECT told();
CREATE TABLE price (id int, n int);
SELECT told();
SELECT cache_notify.remove_table_invalidation('price');
SELECT told();
DROP TABLE price;
ALTER TABLE other RENAME TO price;
SELECT told();
CREATE VIEW other AS SELECT n FROM price;
SELECT told();
SELECT cache_notify.setup_view_invalidation('other', 'price');
SELECT told();
DROP TABLE price CASCADE;

-- A materialized view, whose definition can be changed in no other way.
CREATE TABLE base (n int);
CREATE MATERIALIZED VIEW m AS SELECT n FROM base;
SELECT cache_notify.setup_table_invalidation('m');
SELECT told('m');
BEGIN;
DROP MATERIALIZED VIEW m;
CREATE MATERIALIZED VIEW m AS SELECT n + 1 AS n FROM base;
SELECT told('m');
COMMIT;
SELECT told('m');
SELECT cache_notify.setup_table_invalidation('m');
SELECT told('m');

-- Another schema takes over the name of one.
CREATE SCHEMA swap_live; CREATE SCHEMA swap_next;
CREATE TABLE swap_live.stock (n int); CREATE TABLE swap_next.stock (n int);
SELECT cache_notify.setup_table_invalidation('swap_live.stock');
SELECT told('stock');
ALTER SCHEMA swap_live RENAME TO swap_old;
ALTER SCHEMA swap_next RENAME TO swap_live;
SELECT told('stock');
ALTER SCHEMA swap_live RENAME TO swap_next;
ALTER SCHEMA swap_old RENAME TO swap_live;
SELECT told('stock');
ALTER TABLE swap_live.stock SET SCHEMA swap;
SELECT told('stock');
ALTER TABLE swap_next.stock SET SCHEMA swap_live;
SELECT told('stock');

-- A table becomes a partition of another that takes its name.
CREATE TABLE log (day int, n int);
SELECT cache_notify.setup_table_invalidation('log');
BEGIN;
ALTER TABLE log RENAME TO log_1;
CREATE TABLE log (day int, n int) PARTITION BY RANGE (day);
ALTER TABLE log ATTACH PARTITION log_1 FOR VALUES FROM (0) TO (10);
COMMIT;
SELECT told('log');
SELECT cache_notify.setup_table_invalidation('log');
SELECT told('log');
-- A watch that was lost, as in a restore without triggers.
DROP TRIGGER cache_notify_statement_log ON log; DROP TRIGGER cache_notify_row_log ON log;
SELECT told('log');
\set ECHO none
SET client_min_messages = error;
DROP SCHEMA swap, swap_live, swap_next CASCADE;
