-- Serves G1 and G4: every form in which SQL writes a table moves the version of
-- what it changed, once, and of nothing else.
-- A failure shows as "nothing" where a row changed (a cache would stay wrong),
-- as more than +1, or as another tenant that moved.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, price int);
CREATE TABLE plain (id int PRIMARY KEY, price int);
SELECT cache_notify.setup_table_invalidation('item');
SELECT cache_notify.setup_table_invalidation('plain', granularity => 'statement');

-- COPY.
COPY item FROM stdin;
1	a	10
2	b	20
3	a	30
\.
:moved
COPY item (id, price) FROM stdin WHERE id > 5;
4	40
5	50
\.
:moved
COPY item (id, price) FROM stdin;
6	60
\.
:moved
COPY plain FROM stdin;
1	10
\.
:moved

-- INSERT ... ON CONFLICT: nothing, update, both, neither.
INSERT INTO item VALUES (1, 'a', 11) ON CONFLICT DO NOTHING;
:moved
INSERT INTO item VALUES (1, 'a', 11), (7, 'c', 70) ON CONFLICT DO NOTHING;
:moved
INSERT INTO item VALUES (1, 'a', 11) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
:moved
INSERT INTO item VALUES (1, 'a', 11) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
:moved
INSERT INTO item VALUES (1, 'a', 12), (8, 'a', 80) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
:moved
INSERT INTO item VALUES (1, 'a', 13) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price WHERE false;
:moved
-- The tenant is that of the row, not of the one proposed; it can move.
INSERT INTO item VALUES (1, 'z', 14) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
:moved
INSERT INTO item VALUES (1, 'z', 14) ON CONFLICT (id) DO UPDATE SET tenant_id = EXCLUDED.tenant_id;
:moved
-- The same at statement granularity: one bump, although two triggers fire.
INSERT INTO plain VALUES (1, 11), (2, 22) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
:moved
BEGIN;
INSERT INTO plain VALUES (1, 12), (3, 33) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
INSERT INTO plain VALUES (1, 13), (4, 44) ON CONFLICT (id) DO UPDATE SET price = EXCLUDED.price;
:moved
COMMIT;

-- UPDATE ... FROM, DELETE ... USING, RETURNING, EXECUTE, EXPLAIN ANALYZE, a view.
UPDATE item SET price = 0 FROM plain WHERE plain.id = item.id AND item.id = 2 RETURNING item.id;
:moved
DELETE FROM item USING plain WHERE plain.id = item.id AND item.id = 3;
:moved
PREPARE put (int) AS UPDATE item SET price = $1 WHERE id = 2;
EXECUTE put (1);
EXECUTE put (2);
EXECUTE put (2);
:moved
DEALLOCATE put;
DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE UPDATE item SET price = 3 WHERE id = 2'; END $$;
:moved
DO $$ BEGIN EXECUTE 'EXPLAIN UPDATE item SET price = 4 WHERE id = 2'; END $$;
:moved
CREATE VIEW cheap AS SELECT * FROM item WHERE price < 10;
UPDATE cheap SET price = 5;
:moved
DROP VIEW cheap;
-- A cursor.
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM item WHERE id = 2 FOR UPDATE;
MOVE c;
UPDATE item SET price = 6 WHERE CURRENT OF c;
:moved
COMMIT;
-- SELECT INTO and CREATE TABLE AS of a watched table change nothing.
CREATE TABLE copied AS SELECT * FROM item;
DROP TABLE copied;
:moved

-- TRUNCATE: the shared counter; twice is twice; of two tables, each its own.
TRUNCATE item;
:moved
TRUNCATE item;
TRUNCATE item;
:moved
TRUNCATE item, plain;
:moved
BEGIN;
INSERT INTO item VALUES (1, 'a', 1);
TRUNCATE item;
INSERT INTO item VALUES (1, 'a', 1);
:moved
ROLLBACK;
:moved
-- Two tables of one domain; TRUNCATE ... CASCADE.
CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item, tenant_id text);
SELECT cache_notify.setup_table_invalidation('part');
SELECT cache_notify.setup_table_invalidation('part', 'item');
TRUNCATE item CASCADE;
:moved
SELECT cache_notify.remove_table_invalidation('part', 'item');

-- Foreign keys: what they change counts, for the tenants of the rows they change.
ALTER TABLE part DROP CONSTRAINT part_item_fkey,
	ADD FOREIGN KEY (item) REFERENCES item ON DELETE CASCADE ON UPDATE CASCADE;
INSERT INTO item SELECT i, 'a', i FROM generate_series(1, 5) AS i;
INSERT INTO part SELECT i * 10 + j, i, 'p' || j FROM generate_series(1, 5) AS i, generate_series(1, 2) AS j;
:moved
DELETE FROM item WHERE id = 1;
:moved
DELETE FROM item WHERE id IN (2, 3);
:moved
UPDATE item SET id = 40 WHERE id = 4;
:moved
UPDATE item SET price = -1 WHERE id = 40;
:moved
ALTER TABLE part DROP CONSTRAINT part_item_fkey,
	ADD FOREIGN KEY (item) REFERENCES item ON DELETE SET NULL;
DELETE FROM item WHERE id = 40;
:moved
ALTER TABLE part DROP CONSTRAINT part_item_fkey,
	ALTER COLUMN item SET DEFAULT 6,
	ADD FOREIGN KEY (item) REFERENCES item ON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED;
INSERT INTO item VALUES (6, 'a', 6);
:moved
BEGIN;
DELETE FROM item WHERE id = 5;
COMMIT;
:moved
-- A row that refers to another one of its own table, three levels deep.
CREATE TABLE node (id int PRIMARY KEY, parent int REFERENCES node ON DELETE CASCADE);
SELECT cache_notify.setup_table_invalidation('node');
INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 3);
:moved
DELETE FROM node WHERE id = 1;
:moved
SELECT count(*) FROM node;
DROP TABLE node;

-- CTEs that write: one statement, on one table and on several.
TRUNCATE item CASCADE;
:moved
WITH a AS (INSERT INTO item VALUES (1, 'a', 1) RETURNING id),
	 b AS (INSERT INTO item VALUES (2, 'a', 2), (3, 'b', 3) RETURNING id)
	SELECT count(*) FROM a, b;
:moved
WITH gone AS (DELETE FROM item WHERE id = 3 RETURNING id, tenant_id)
	INSERT INTO part SELECT id, NULL, tenant_id FROM gone;
:moved
WITH one AS (UPDATE item SET price = 9 WHERE id = 1), two AS (DELETE FROM part) SELECT 1;
:moved
-- One that nobody reads is run all the same.
WITH unread AS (UPDATE item SET price = 10 RETURNING id) SELECT 1;
:moved
DROP TABLE part, item, plain;
