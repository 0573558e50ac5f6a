-- Batch operations on watched tables: what each pattern costs the caches.
--
-- Run it against an empty database with the extension installed:
--   tools/with-server psql -X -v ON_ERROR_STOP=1 -f examples/batch/batch.sql
-- The expected output is in batch.out.

\set QUIET on
\pset footer off
CREATE EXTENSION IF NOT EXISTS cache_notify;
CREATE TABLE price (id int PRIMARY KEY, tenant_id text NOT NULL, amount int);
CREATE TABLE price_import (LIKE price);
SELECT cache_notify.setup_table_invalidation('price') AS domain;

\echo === One statement for many rows is one bump for each tenant it touches
INSERT INTO price SELECT i, CASE i % 2 WHEN 0 THEN 'acme' ELSE 'globex' END, i FROM generate_series(1, 10000) i;
SELECT domain, tenant_id, version FROM cache_notify.domain_version ORDER BY tenant_id;

\echo === COPY is one statement as well
COPY price FROM stdin (DELIMITER ' ');
10001 acme 1
10002 acme 2
\.
SELECT domain, tenant_id, version FROM cache_notify.domain_version ORDER BY tenant_id;

\echo === Many statements in one transaction: every bump counts, listeners hear once
BEGIN;
UPDATE price SET amount = amount + 1 WHERE id = 2;
UPDATE price SET amount = amount + 1 WHERE id = 4;
UPDATE price SET amount = amount + 1 WHERE id = 6;
SELECT domain, tenant_id, n FROM cache_notify.pending_changes();
COMMIT;
SELECT cache_notify.version('price', 'acme');

\echo === Change what differs only: rows that stay the same touch nobody
INSERT INTO price_import SELECT id, tenant_id, CASE id WHEN 1 THEN 100 ELSE amount END FROM price;
INSERT INTO price SELECT * FROM price_import
	ON CONFLICT (id) DO UPDATE SET amount = excluded.amount
	WHERE (price.*) IS DISTINCT FROM (excluded.*);
SELECT domain, tenant_id, version FROM cache_notify.domain_version ORDER BY tenant_id;

\echo === Large batches in pieces: readers see each piece, caches are refilled in between
-- One transaction for all of it invalidates once. Pieces invalidate once each:
-- choose them as large as the locks that they hold allow.
DO $$
BEGIN
	FOR piece IN 0..3 LOOP
		UPDATE price SET amount = amount + 1
		WHERE tenant_id = 'globex' AND id BETWEEN piece * 2500 + 1 AND (piece + 1) * 2500;
		COMMIT;
	END LOOP;
END
$$;
SELECT domain, tenant_id, version FROM cache_notify.domain_version ORDER BY tenant_id;

\echo === A table that is loaded often and as a whole: look at statements, not at rows
-- No cost for each row. The tenant comes from a setting, or all are concerned.
CREATE TABLE exchange_rate (currency text PRIMARY KEY, rate numeric);
SELECT cache_notify.setup_table_invalidation('exchange_rate', granularity => 'statement') AS domain;
INSERT INTO exchange_rate SELECT 'X' || i, i FROM generate_series(1, 10000) i;
SELECT cache_notify.version('exchange_rate');

\echo === A load with the triggers disabled: enabling them again concerns all tenants
BEGIN;
ALTER TABLE price DISABLE TRIGGER USER;
UPDATE price SET amount = amount + 1;
ALTER TABLE price ENABLE TRIGGER USER;
COMMIT;
SELECT domain, tenant_id, version FROM cache_notify.domain_version WHERE domain = 'price' ORDER BY tenant_id;

\echo === For one tenant, in a session that replicates: invalidate by hand
BEGIN;
SET LOCAL session_replication_role = replica;	-- triggers do not fire
UPDATE price SET amount = amount + 1 WHERE tenant_id = 'acme';
SELECT cache_notify.invalidate('price', 'acme');
COMMIT;
SELECT domain, tenant_id, version FROM cache_notify.domain_version WHERE domain = 'price' ORDER BY tenant_id;
