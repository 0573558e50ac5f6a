-- The tables of test/hostile: one of each kind that can be watched, with rows, so
-- that whoever finds a table finds one of ours. "ledger" belongs to the writers
-- alone: what its rows say was written is compared with its versions at the end; so does "entry".
\set ON_ERROR_STOP 1
CREATE EXTENSION IF NOT EXISTS cache_notify;
CREATE SCHEMA shop;
SET search_path = shop, public;

CREATE TABLE item (id int PRIMARY KEY, tenant_id text, name text, price numeric, tags text[]);
CREATE TABLE line (id bigserial PRIMARY KEY, item_id int REFERENCES item ON DELETE CASCADE,
	tenant_id uuid, amount int CHECK (amount >= 0), said jsonb);
CREATE TABLE part (id int, tenant_id varchar(40), day date, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (n);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (500);
CREATE TABLE part_high PARTITION OF part DEFAULT;
CREATE TABLE parent (id int, tenant_id text);
CREATE TABLE child (extra text) INHERITS (parent);
CREATE TABLE plain (id int, t text, b bytea, at timestamptz DEFAULT now());
CREATE TABLE bulk (id int, tenant_id text, payload text);
CREATE MATERIALIZED VIEW summary AS
	SELECT tenant_id, count(*) AS items, sum(price) AS price FROM item GROUP BY tenant_id;
CREATE VIEW overview AS SELECT i.*, l.amount FROM item i LEFT JOIN line l ON l.item_id = i.id;

INSERT INTO item SELECT i, 'tenant ' || i % 7, 'item ' || i, i * 1.5, ARRAY['a', i::text] FROM generate_series(1, 300) i;
INSERT INTO line (item_id, tenant_id, amount, said)
	SELECT i, md5((i % 5)::text)::uuid, i, jsonb_build_object('i', i) FROM generate_series(1, 300) i;
INSERT INTO part SELECT i, CASE WHEN i % 3 > 0 THEN 'p' || i % 3 END, '2020-01-01', i * 4 FROM generate_series(1, 200) i;
INSERT INTO parent SELECT i, 't' || i FROM generate_series(1, 20) i;
INSERT INTO child SELECT i, 't' || i, 'more' FROM generate_series(1, 20) i;
INSERT INTO plain SELECT i, repeat('x', i), '\x00' FROM generate_series(1, 50) i;
INSERT INTO bulk SELECT i, 'tenant ' || i, 'y' FROM generate_series(1, 1000) i;
REFRESH MATERIALIZED VIEW summary;

SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', fields => '{operations,keys,xid,lsn}') \g /dev/null
SELECT cache_notify.setup_table_invalidation('item', 'catalogue', columns => '{name,price}', channel => 'c:{domain}:{tenant}') \g /dev/null
SELECT cache_notify.setup_table_invalidation('line', 'lines_of_item', keys => '{item_id}', buckets => 16) \g /dev/null
SELECT cache_notify.setup_table_invalidation('part', keys => '{id,n}') \g /dev/null
SELECT cache_notify.setup_table_invalidation('parent') \g /dev/null
SELECT cache_notify.setup_table_invalidation('plain', payload => 'oid', granularity => 'statement') \g /dev/null
SELECT cache_notify.setup_table_invalidation('bulk', tenant_setting => 'shop.tenant') \g /dev/null
SELECT cache_notify.setup_table_invalidation('summary') \g /dev/null
SELECT cache_notify.setup_view_invalidation('overview') \g /dev/null
SELECT cache_notify.setup_schema_invalidation('postgrest') \g /dev/null
SELECT cache_notify.setup_schema_invalidation('postgraphile') \g /dev/null
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, rule_type, keys) VALUES
	('item', 'page', 'invalidate', 'all'), ('page', 'site', 'notify', 'all'),
	('page', 'item', 'invalidate', 'all'), ('item', 'lines_of_item', 'invalidate', 'same')
	ON CONFLICT DO NOTHING;

CREATE TABLE ledger (id int PRIMARY KEY, tenant_id text, written bigint NOT NULL DEFAULT 0);
CREATE TABLE entry (id int, tenant_id text);
CREATE INDEX ON entry (id);
INSERT INTO ledger SELECT i, 't' || i FROM generate_series(1, 50) i;
SELECT cache_notify.setup_table_invalidation('ledger', keys => '{id}', buckets => 64) \g /dev/null
SELECT cache_notify.setup_table_invalidation('entry') \g /dev/null
