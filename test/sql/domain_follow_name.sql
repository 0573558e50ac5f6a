-- The option follow_name: whatever takes over the name of a watched table is watched
-- as that was, in the same transaction, so nothing is missed and tokens go on.
-- A failure shows as a domain that is not known, or a change that moves nothing.
\set ECHO none
\i test/include/moved.sql
CREATE SCHEMA swap;
SET search_path = swap;
CREATE FUNCTION told(domain text DEFAULT 'price') RETURNS text LANGUAGE sql AS
	$$SELECT CASE WHEN cache_notify.token(NULL, domain) IS NULL THEN 'unknown' ELSE 'known' END$$;
\set ECHO all
CREATE TABLE price (id int PRIMARY KEY, tenant_id text, n int, m int);
SELECT cache_notify.setup_table_invalidation('price', columns => '{n}', keys => '{id}', fire_on_replica => true, follow_name => true);
INSERT INTO price VALUES (1, 'a', 1, 1), (2, 'b', 1, 1);
SELECT cache_notify.token('a', 'price') AS token \gset
-- Copied, changed and swapped, in several transactions.
CREATE TABLE price_new (LIKE price INCLUDING ALL);
INSERT INTO price_new SELECT * FROM price;
SELECT told(), cache_notify.is_current(:'token');
ALTER TABLE price RENAME TO price_old;
ALTER TABLE price_new RENAME TO price;
SELECT told(), cache_notify.is_current(:'token');
SELECT table_name, domain, columns, keys, fire_on_replica, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY table_name;
:moved
UPDATE price SET n = 2 WHERE id = 1;
:moved
UPDATE price SET m = 2;
:moved
-- The old one feeds the domain until it is gone.
UPDATE price_old SET n = 2 WHERE id = 2;
:moved
DROP TABLE price_old;
SELECT told();
-- In one transaction, with the change in it; and rolled back.
SELECT cache_notify.token('a', 'price') AS token \gset
BEGIN;
CREATE TABLE price_new (LIKE price);
INSERT INTO price_new VALUES (1, 'a', 3, 3);
ALTER TABLE price RENAME TO price_old;
ALTER TABLE price_new RENAME TO price;
UPDATE price SET n = 4;
SAVEPOINT s;
DROP TABLE price_old;
ROLLBACK TO s;
COMMIT;
SELECT told(), cache_notify.is_current(:'token');
:moved
UPDATE price SET n = 5;
:moved
DROP TABLE price_old;
BEGIN;
ALTER TABLE price RENAME TO other;
CREATE TABLE price ();
ROLLBACK;
SELECT told();
-- Dropped and created anew, without some of its columns: coarser.
BEGIN;
DROP TABLE price;
CREATE TABLE price (id int, tenant_id text, x int);
COMMIT;
SELECT told();
SELECT table_name, columns, problem FROM cache_notify.v_invalidation_status;
:moved
INSERT INTO price VALUES (1, 'c', 1), (2, 'c', 1);
:moved
SELECT cache_notify.token('c', 'price/1') AS one, cache_notify.token('c', 'price/2') AS two \gset
UPDATE price SET x = 2 WHERE id = 1;
SELECT cache_notify.is_current(:'one') AS one, cache_notify.is_current(:'two') AS two;
-- As the result of a query; partitioned; a foreign table is the same.
DROP TABLE price;
CREATE TABLE price AS SELECT 1 AS id, 'a' AS tenant_id, 1 AS n;
SELECT told();
UPDATE price SET n = 2;
:moved
BEGIN;
ALTER TABLE price RENAME TO price_1;
CREATE TABLE price (id int, tenant_id text, n int) PARTITION BY RANGE (id);
ALTER TABLE price ATTACH PARTITION price_1 FOR VALUES FROM (0) TO (10);
COMMIT;
SELECT told();
:moved
UPDATE price SET n = 3;
:moved
SELECT table_name, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY table_name;
DROP TABLE price;
-- From another schema, and a schema that takes over a name.
CREATE SCHEMA swap_next;
CREATE TABLE swap_next.price (id int, tenant_id text, n int);
ALTER TABLE swap_next.price SET SCHEMA swap;
SELECT told();
CREATE TABLE swap_next.price (id int, tenant_id text, n int);
ALTER SCHEMA swap RENAME TO swap_old;
ALTER SCHEMA swap_next RENAME TO swap;
:moved
INSERT INTO swap.price VALUES (1, 'd', 1);
:moved
SELECT swap_old.told();
ALTER SCHEMA swap RENAME TO swap_next;
ALTER SCHEMA swap_old RENAME TO swap;
DROP SCHEMA swap_next CASCADE;
-- A materialized view, whose definition can be changed in no other way.
CREATE TABLE base (n int);
CREATE MATERIALIZED VIEW m AS SELECT n FROM base;
SELECT cache_notify.setup_table_invalidation('m', follow_name => true);
SELECT cache_notify.token(NULL, 'm') AS token \gset
BEGIN;
DROP MATERIALIZED VIEW m;
CREATE MATERIALIZED VIEW m AS SELECT n + 1 AS n FROM base;
COMMIT;
SELECT told('m'), cache_notify.is_current(:'token');
:moved
REFRESH MATERIALIZED VIEW m;
:moved
-- A view is none of these: somebody must say.
DROP TABLE price;
CREATE VIEW price AS SELECT n FROM base;
SELECT told();
DROP VIEW price;
CREATE TABLE price (id int, tenant_id text, n int);
SELECT told();
-- Without the option once more, and gone.
SELECT cache_notify.setup_table_invalidation('price');
DROP TABLE price;
CREATE TABLE price (id int);
SELECT told();
SELECT cache_notify.remove_table_invalidation('price');
-- Whoever owns the table that takes over need not know of us; nobody else can ask for that.
SELECT cache_notify.setup_table_invalidation('price', follow_name => true);
CREATE ROLE regress_other;
GRANT ALL ON SCHEMA swap TO regress_other;
ALTER TABLE price RENAME TO price_old;
SET ROLE regress_other;
CREATE TABLE price (id int);
INSERT INTO price VALUES (1);
SELECT _cache_notify.note_name('price_old', 'price', '{domain=theirs}');
RESET ROLE;
SELECT told();
:moved
SELECT domain, relation_name, arguments FROM _cache_notify.watched_name WHERE domain = 'price' ORDER BY 2;
\set ECHO none
SET client_min_messages = error;
DROP SCHEMA swap CASCADE;
DROP ROLE regress_other;
