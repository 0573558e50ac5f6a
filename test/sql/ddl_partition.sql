-- Serves partitioned tables: a statement on the table, on a partition and on one
-- below it bumps once, with the tenant of the row; options and removal reach all.
-- A failure shows as a list of triggers with one too many or missing, as +2 where
-- one statement ran, or as "nothing".
\set ECHO none
\i test/include/moved.sql
CREATE TABLE sale (id int, region text, tenant_id text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sale_de PARTITION OF sale FOR VALUES IN ('de');
CREATE TABLE sale_us PARTITION OF sale FOR VALUES IN ('us-e', 'us-w') PARTITION BY LIST (region);
CREATE TABLE sale_us_e PARTITION OF sale_us FOR VALUES IN ('us-e');
-- Other columns at other places, and some that are gone.
CREATE TABLE sale_us_w (gone1 int, n int, tenant_id text, gone2 text, region text NOT NULL, id int NOT NULL);
ALTER TABLE sale_us_w DROP COLUMN gone1, DROP COLUMN gone2;
ALTER TABLE sale_us ATTACH PARTITION sale_us_w FOR VALUES IN ('us-w');

SELECT cache_notify.setup_table_invalidation('sale');
:triggers
SELECT table_name, domain, tenant_column, granularity, enabled, problem FROM cache_notify.v_invalidation_status;

-- Through the root.
INSERT INTO sale VALUES (1, 'de', 'a', 0), (2, 'us-e', 'a', 0), (3, 'us-w', 'b', 0), (4, 'us-w', 'a', 0);
:moved
UPDATE sale SET n = n + 1;
:moved
UPDATE sale SET n = n;
:moved
-- Through a partition, one in the middle, and the lowest ones.
UPDATE sale_us SET n = n + 1;
:moved
UPDATE sale_us_w SET n = n + 1;
:moved
BEGIN;
UPDATE sale_us_e SET n = n + 1;
UPDATE sale_us_e SET n = n + 1;
:moved
UPDATE sale_us_w SET n = n + 1 WHERE tenant_id = 'a';
UPDATE sale_us SET n = n + 1 WHERE tenant_id = 'a';
UPDATE sale SET n = n + 1 WHERE tenant_id = 'a';
:moved
ROLLBACK;
COPY sale_de FROM stdin;
5	de	c	0
\.
:moved
COPY sale FROM stdin;
6	us-e	c	0
7	de	c	0
8	us-w	c	0
\.
:moved
-- Rows that move to another partition, within a tenant and to another one.
UPDATE sale SET region = 'us-w' WHERE id = 1;
:moved
UPDATE sale SET region = 'de', tenant_id = 'z' WHERE id = 3;
:moved
UPDATE sale_us SET region = 'us-e' WHERE region = 'us-w' AND tenant_id = 'c';
:moved
INSERT INTO sale VALUES (5, 'de', 'c', 9) ON CONFLICT (id, region) DO UPDATE SET n = EXCLUDED.n;
:moved
DELETE FROM sale WHERE tenant_id = 'c';
:moved
-- TRUNCATE of the whole, of a branch, of a leaf: shared, once.
TRUNCATE sale;
:moved
TRUNCATE sale_us;
:moved
TRUNCATE sale_us_w;
:moved
TRUNCATE sale_us_e, sale_us_w;
:moved

-- Columns that count are found by name in each partition.
SELECT cache_notify.setup_table_invalidation('sale', columns => '{n}');
INSERT INTO sale SELECT i, 'us-' || w, 'a', 0 FROM generate_series(1, 3) AS i, unnest('{e,w}'::text[]) AS w;
:moved
UPDATE sale SET id = id + 10;
:moved
UPDATE sale SET n = 1 WHERE region = 'us-w' AND id = 11;
:moved
-- A row that moves to another partition is deleted here and inserted there.
UPDATE sale SET region = 'us-e', id = 100 WHERE region = 'us-w' AND id = 11;
:moved

-- Statement granularity: one bump at every level, no row triggers left.
SELECT cache_notify.setup_table_invalidation('sale', granularity => 'statement');
:triggers
UPDATE sale SET n = n + 1;
:moved
UPDATE sale_us SET n = n + 1;
:moved
UPDATE sale_us_w SET n = n + 1;
:moved
UPDATE sale SET region = 'us-e', id = 101 WHERE region = 'us-w' AND id = 12;
:moved
WITH x AS (UPDATE sale_us_e SET n = n + 1) UPDATE sale_us_w SET n = n + 1;
:moved
SELECT cache_notify.remove_table_invalidation('sale', all_domains => true);
:triggers

-- A partition that is watched by itself, for a domain of its own, keeps that.
SELECT cache_notify.setup_table_invalidation('sale_us', 'us');
SELECT cache_notify.setup_table_invalidation('sale_us_e', 'us_e', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('sale');
UPDATE sale SET n = n + 1;
:moved
UPDATE sale_us_e SET n = n + 1;
:moved
SELECT table_name, domain, granularity, enabled, problem FROM cache_notify.v_invalidation_status
	ORDER BY table_name::text COLLATE "C", domain;
SELECT cache_notify.remove_table_invalidation('sale', all_domains => true);
:triggers
SELECT cache_notify.remove_table_invalidation('sale_us', all_domains => true);
SELECT cache_notify.remove_table_invalidation('sale_us_e', all_domains => true);

-- Watching the whole for the domain that a partition already has replaces that.
SELECT cache_notify.setup_table_invalidation('sale_us_e', 'sale', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('sale', 'sale');
UPDATE sale_us_e SET n = n + 1;
:moved
SELECT cache_notify.remove_table_invalidation('sale', all_domains => true);
:triggers
SELECT cache_notify.setup_table_invalidation('sale_us_e', 'sale');
SELECT cache_notify.setup_table_invalidation('sale', 'sale', granularity => 'statement');
:triggers
UPDATE sale_us_e SET n = n + 1;
:moved
SELECT cache_notify.remove_table_invalidation('sale', all_domains => true);
:triggers

-- What is watched as part of the whole is not changed at a partition.
SELECT cache_notify.setup_table_invalidation('sale');
DO $$
BEGIN
	PERFORM cache_notify.setup_table_invalidation('sale_us_e', 'sale', columns => '{n}');
	RAISE WARNING 'taken';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'refused';
END
$$;
DO $$
BEGIN
	PERFORM cache_notify.remove_table_invalidation('sale_us_e', 'sale');
	RAISE WARNING 'taken';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'refused';
END
$$;
SELECT count(*) FROM _cache_notify.watching_trigger;
SELECT table_name, problem FROM cache_notify.v_invalidation_status;

-- A partition that is detached is not watched any more.
ALTER TABLE sale_us DETACH PARTITION sale_us_w;
UPDATE sale SET n = n + 1;
:moved
SELECT table_name, enabled, problem IS NOT NULL AS problem FROM cache_notify.v_invalidation_status
	ORDER BY table_name::text COLLATE "C";
DROP TABLE sale, sale_us_w;
:triggers
