-- Serves G1 and G4 for MERGE, which PostgreSQL has from 15 on: one bump for each
-- tenant whatever the statement did to its rows.
-- A failure shows as a version that differs from the number of MERGE statements
-- that changed a row of the tenant.
BEGIN;
SELECT current_setting('server_version_num')::int >= 150000 AS has_merge \gset
\if :has_merge
SELECT plan(11);
CREATE TABLE stock (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE plain (id int PRIMARY KEY, n int);
SELECT cache_notify.setup_table_invalidation('stock');
SELECT cache_notify.setup_table_invalidation('plain', granularity => 'statement');
CREATE TEMP TABLE delivery (id int, tenant_id text, n int);
INSERT INTO delivery VALUES (1, 'a', 1), (2, 'a', 2), (3, 'b', 3);

PREPARE merge_stock AS
	MERGE INTO stock USING delivery d ON d.id = stock.id
	WHEN MATCHED AND d.n = 0 THEN DELETE
	WHEN MATCHED THEN UPDATE SET n = d.n
	WHEN NOT MATCHED AND d.n < 100 THEN INSERT VALUES (d.id, d.tenant_id, d.n);
EXECUTE merge_stock;
SELECT is(cache_notify.version('stock', 'a'), 1::bigint, 'two rows inserted');
SELECT is(cache_notify.version('stock', 'b'), 1::bigint, 'one row inserted');
EXECUTE merge_stock;
SELECT is(cache_notify.version('stock', 'a'), 1::bigint, 'rows updated to what they are');
UPDATE delivery SET n = n + 1 WHERE id = 1;
INSERT INTO delivery VALUES (4, 'a', 4), (5, 'c', 100);
EXECUTE merge_stock;
SELECT is(cache_notify.version('stock', 'a'), 2::bigint, 'insert and update in one');
SELECT is(cache_notify.version('stock', 'b'), 1::bigint, 'of which the other tenant had none');
SELECT is(cache_notify.version('stock', 'c'), 0::bigint, 'DO NOTHING');
UPDATE delivery SET n = 0 WHERE id = 2;
UPDATE delivery SET n = 9 WHERE id = 1;
INSERT INTO delivery VALUES (6, 'a', 6);
EXECUTE merge_stock;
SELECT is(cache_notify.version('stock', 'a'), 3::bigint, 'insert, update and delete in one');
MERGE INTO stock USING delivery d ON d.id = stock.id WHEN MATCHED AND d.id = 3 THEN UPDATE SET tenant_id = 'moved';
SELECT is(cache_notify.version('stock', 'b'), 2::bigint, 'the tenant that a row leaves');
SELECT is(cache_notify.version('stock', 'moved'), 1::bigint, 'and the one that it comes to');
SELECT is(cache_notify.version('stock', 'never was'), 0::bigint, 'nothing was shared');
MERGE INTO plain USING delivery d ON d.id = plain.id
	WHEN MATCHED THEN UPDATE SET n = d.n WHEN NOT MATCHED THEN INSERT VALUES (d.id, d.n);
SELECT is(cache_notify.version('plain'), 1::bigint, 'once at statement granularity, although two triggers fire');
\else
SELECT plan(1);
SELECT pass('no MERGE before PostgreSQL 15');
\endif
SELECT * FROM finish();
ROLLBACK;
