-- Serves G1: one bump per statement and (tenant, domain), the second statement's
-- bump visible right after it, none for a statement that changes nothing.
-- A failure shows as a counter that moved by another amount than +1, or moved
-- where nothing changed, or did not move.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, name text, price int, big text);
SELECT cache_notify.setup_table_invalidation('item');

-- Many rows, one bump for each tenant.
INSERT INTO item SELECT i, CASE i % 2 WHEN 0 THEN 'even' ELSE 'odd' END, 'name ' || i, i
	FROM generate_series(1, 10000) AS i;
:moved
UPDATE item SET price = price + 1;
:moved
DELETE FROM item WHERE id > 100;
:moved
UPDATE item SET price = 0 WHERE id = 1;
:moved

-- Two statements bump twice, and the transaction sees each at once.
BEGIN;
UPDATE item SET price = 1 WHERE id = 1;
SELECT version FROM cache_notify.domain_version WHERE tenant_id = 'odd' AND domain = ANY ('{item}');
:moved
UPDATE item SET price = 2 WHERE id = 1;
SELECT cache_notify.version('item', 'odd');
:moved
SELECT * FROM cache_notify.pending_changes();
COMMIT;
:moved
SELECT cache_notify.version('item', 'odd'), cache_notify.version('item', 'even');
SELECT * FROM cache_notify.pending_changes();

-- A rolled-back transaction leaves nothing; an aborted one neither.
BEGIN;
UPDATE item SET price = 3 WHERE id = 1;
:moved
ROLLBACK;
:moved
BEGIN;
UPDATE item SET price = 3 WHERE id = 1;
SELECT 1 / 0;
COMMIT;
:moved
-- A statement that fails half way.
UPDATE item SET id = 1 WHERE id IN (1, 2, 3);
:moved

-- No row, no bump.
UPDATE item SET price = 3 WHERE false;
DELETE FROM item WHERE id = -1;
INSERT INTO item SELECT * FROM item WHERE false;
SELECT count(*) FROM (SELECT * FROM item WHERE id = 1 FOR UPDATE) AS locked;
:moved

-- Rows that stay as they are: no bump. One that does not: a bump for its tenant.
UPDATE item SET price = price, name = name;
:moved
UPDATE item SET price = CASE id WHEN 7 THEN 7000 ELSE price END;
:moved
UPDATE item SET name = NULL WHERE id = 8;
:moved
UPDATE item SET name = NULL WHERE id = 8;
:moved
UPDATE item SET name = '' WHERE id = 8;
:moved

-- A value stored out of line, kept and changed, in its last byte only.
UPDATE item SET big = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) AS i) WHERE id = 1;
:moved
UPDATE item SET big = big, price = price WHERE id = 1;
:moved
UPDATE item SET big = overlay(big PLACING '!' FROM length(big)) WHERE id = 1;
:moved

-- A row that moves to another tenant changes both; to the same one, none.
UPDATE item SET tenant_id = 'new' WHERE id IN (1, 3);
:moved
UPDATE item SET tenant_id = 'new' WHERE id IN (1, 3);
:moved
UPDATE item SET tenant_id = CASE tenant_id WHEN 'odd' THEN 'even' ELSE 'odd' END WHERE tenant_id IN ('odd', 'even');
:moved

-- No tenant: the shared counter, which every tenant's version includes.
INSERT INTO item VALUES (20000, NULL, 'for all');
:moved
SELECT cache_notify.version('item', 'new') - 1 = n AS includes_shared FROM _cache_notify.counter_total
	WHERE domain = 'item' AND tenant_id = 'new';
UPDATE item SET tenant_id = 'new' WHERE id = 20000;
:moved
UPDATE item SET tenant_id = NULL WHERE id = 20000;
:moved
UPDATE item SET tenant_id = NULL WHERE id = 20000;
:moved

-- Only some columns count, out of line ones too; moving to a tenant always does.
SELECT cache_notify.setup_table_invalidation('item', columns => '{name,big}');
UPDATE item SET price = price + 1;
:moved
UPDATE item SET name = 'x' || name WHERE id = 8;
:moved
UPDATE item SET big = big, price = 4 WHERE id = 1;
:moved
UPDATE item SET big = left(big, -1) WHERE id = 1;
:moved
UPDATE item SET big = NULL WHERE id = 1;
:moved
UPDATE item SET tenant_id = 'old', price = 5 WHERE id = 1;
:moved
INSERT INTO item VALUES (20001, 'new');
DELETE FROM item WHERE id = 20001;
:moved
-- A column that is gone makes every column count.
ALTER TABLE item DROP COLUMN big;
UPDATE item SET price = price + 1 WHERE id = 8;
:moved
UPDATE item SET price = price WHERE id = 8;
:moved
SELECT cache_notify.setup_table_invalidation('item');

-- A column added with a default, which is in no old row.
ALTER TABLE item ADD COLUMN stock int DEFAULT 5;
UPDATE item SET stock = 6 WHERE id = 8;
:moved
-- A generated column as the tenant.
CREATE TABLE region (id int PRIMARY KEY, code text, tenant_id text GENERATED ALWAYS AS (left(code, 2)) STORED);
SELECT cache_notify.setup_table_invalidation('region');
INSERT INTO region VALUES (1, 'de-by'), (2, 'fr-75');
:moved
UPDATE region SET code = 'fr-13' WHERE id = 1;
:moved
DROP TABLE region;

-- Granularity 'statement' counts statements, also those that touch no row.
SELECT cache_notify.setup_table_invalidation('item', granularity => 'statement');
UPDATE item SET price = price + 1;
:moved
UPDATE item SET price = 3 WHERE false;
:moved
BEGIN;
DELETE FROM item WHERE id = 10;
DELETE FROM item WHERE id = 11;
:moved
ROLLBACK;
:moved

-- Two commands that fire triggers in one transaction are two statements.
BEGIN;
COPY item (id, tenant_id) FROM stdin;
1001	odd
1003	odd
\.
COPY item (id, tenant_id) FROM stdin;
1005	odd
\.
COMMIT;
:moved
BEGIN;
TRUNCATE item;
TRUNCATE item;
COMMIT;
:moved

-- A commit leaves the session's settings as they were.
SET lock_timeout = '7s';
INSERT INTO item (id, tenant_id) VALUES (1007, 'odd');
SHOW lock_timeout;
RESET lock_timeout;

DROP TABLE item;
