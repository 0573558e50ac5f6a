-- Serves G1, cascades and the messages of set-up, tested as a user would test his
-- own schema: one transaction, nothing left behind.
-- A failure shows as a test that is "not ok", with the version found and expected.
BEGIN;
SET client_min_messages = warning;
SELECT plan(43);

CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id uuid, name text, price numeric);
CREATE TABLE tb_order_line (id int PRIMARY KEY, contract int REFERENCES tv_contract ON DELETE CASCADE, tenant_id uuid);
CREATE VIEW v_contract AS SELECT * FROM tv_contract;
\set acme '\'5d7a9ed4-8e9a-4a4c-a7a1-2b7c2ec0a001\''
\set zen '\'5d7a9ed4-8e9a-4a4c-a7a1-2b7c2ec0a002\''

-- Setting up.
SELECT is(cache_notify.setup_table_invalidation('tv_contract'), 'contract', 'the domain is the table''s name without tv_');
SELECT is(cache_notify.setup_table_invalidation('tb_order_line', 'line', 'tenant_id'), 'line', 'or what was asked for');
SELECT has_trigger('tv_contract', 'cache_notify_row_contract');
SELECT has_trigger('tv_contract', 'cache_notify_statement_contract');
SELECT lives_ok($$SELECT cache_notify.setup_table_invalidation('public.tv_contract', NULL, 'tenant_id')$$, 'again');
SELECT triggers_are('public', 'tv_contract', ARRAY['cache_notify_row_contract', 'cache_notify_statement_contract'],
	'still one set of triggers');
SELECT results_eq($$SELECT domain, tenant_column, granularity, enabled, problem FROM cache_notify.v_invalidation_status
	WHERE table_name IN ('tv_contract'::regclass, 'tb_order_line'::regclass) ORDER BY domain$$,
	$$VALUES ('contract', 'tenant_id', 'row', true, NULL), ('line', 'tenant_id', 'row', true, NULL)$$, 'the status says so');

-- What is refused, by SQLSTATE and message.
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('v_contract')$$, '42809', 'cannot watch view public.v_contract');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('pg_class')$$, '42809', 'cannot watch system catalog pg_class');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('missing')$$, '42P01', NULL, 'a table that is not there');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation(NULL)$$, '42P01', 'table_name must not be null');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('tv_contract', 'contract', 'tenant')$$, '42703',
	'column tenant of table public.tv_contract does not exist');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('tv_contract', repeat('x', 64))$$, '42622', NULL, 'a domain of 64 bytes');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('tv_contract', payload => 'xml')$$, '22023',
	'unknown payload format "xml"');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('tv_contract', granularity => 'table')$$, '22023',
	'unknown granularity "table"');
SELECT throws_ok($$SELECT cache_notify.setup_table_invalidation('tv_contract', 'contract', 'tenant_id', tenant_setting => 'a.b')$$,
	'22023', 'tenant_column and tenant_setting exclude each other');
SELECT throws_ok($$SELECT cache_notify.remove_table_invalidation('tv_contract', 'price')$$, '42704',
	'table public.tv_contract is not watched for domain "price"');
SELECT throws_ok($$SELECT cache_notify.invalidate(NULL)$$, '22004', 'domain must not be null');
SELECT throws_ok($$SELECT cache_notify.version(repeat('x', 64))$$, '42622', NULL, 'a version of a long domain');
SELECT throws_ok($$INSERT INTO cache_notify.cascade_rules VALUES ('a', 'a')$$, '23514', NULL, 'a rule from a domain to itself');
SELECT throws_ok($$INSERT INTO cache_notify.cascade_rules VALUES ('a', 'b', 'c')$$, '23514', NULL, 'a rule of an unknown type');

-- Versions.
SELECT is(cache_notify.version('contract', :acme), 0::bigint, 'nothing has changed yet');
INSERT INTO tv_contract SELECT i, CASE WHEN i <= 100 THEN :acme::uuid ELSE :zen::uuid END, 'c' || i, i FROM generate_series(1, 10000) AS i;
SELECT is(cache_notify.version('contract', :acme), 1::bigint, 'an insert of many rows is one bump');
SELECT is(cache_notify.version('contract', :zen), 1::bigint, 'for each tenant');
UPDATE tv_contract SET price = price + 1;
SELECT is(cache_notify.version('contract', :zen), 2::bigint, 'so is an update of 10,000 rows');
UPDATE tv_contract SET price = price;
UPDATE tv_contract SET price = 0 WHERE id = -1;
SELECT is(cache_notify.version('contract', :zen), 2::bigint, 'one that changes nothing is none');
UPDATE tv_contract SET price = 0 WHERE id = 1;
-- The view's text has collation "C"; results_eq() compares with the default one.
SELECT results_eq(format($$SELECT domain COLLATE "default", version FROM cache_notify.domain_version
	WHERE tenant_id = %L AND domain = ANY ('{contract,line}')$$, :acme), $$VALUES ('contract', 3::bigint)$$, 'the view agrees');
SAVEPOINT s;
UPDATE tv_contract SET price = 1 WHERE id = 1;
SELECT is(cache_notify.version('contract', :acme), 4::bigint, 'inside a savepoint');
ROLLBACK TO s;
SELECT is(cache_notify.version('contract', :acme), 3::bigint, 'rolled back');
INSERT INTO tb_order_line VALUES (1, 1, :acme), (2, 200, :zen);
DELETE FROM tv_contract WHERE id = 200;
SELECT is(cache_notify.version('line', :zen), 2::bigint, 'ON DELETE CASCADE bumps the other table''s domain');
SELECT is(cache_notify.version('line', :acme), 1::bigint, 'for the tenants of its rows');
TRUNCATE tv_contract CASCADE;
SELECT is(cache_notify.version('contract', 'never was'), 1::bigint, 'TRUNCATE is a change for all');
SELECT is(cache_notify.version('contract', 'unknown'), 1::bigint, 'tenants never seen included');

-- Cascades.
INSERT INTO cache_notify.cascade_rules VALUES ('contract', 'price');
INSERT INTO cache_notify.cascade_rules VALUES ('contract', 'price', 'invalidate'), ('price', 'page', 'notify')
	ON CONFLICT (source_domain, target_domain) DO UPDATE SET rule_type = EXCLUDED.rule_type;
SELECT results_eq($$SELECT target_domain COLLATE "default", rule_type, depth, path FROM cache_notify.cascade_closure('contract') ORDER BY depth$$,
	$$VALUES ('price'::text, 'invalidate'::text, 1, '{contract,price}'::text[]), ('page', 'notify', 2, '{contract,price,page}')$$,
	'the closure and its paths');
SELECT is(cache_notify.cascade_graph(), E'graph LR\n    d1["contract"]\n    d2["page"]\n    d3["price"]\n    d1 --> d3\n    d3 -.-> d2',
	'the graph');
INSERT INTO tv_contract VALUES (1, :acme, 'x', 1);
SELECT is(cache_notify.version('price', :acme), 1::bigint, 'the target moves');
SELECT is(cache_notify.version('page', :acme), NULL::bigint, 'what is only notified does not');
SELECT cache_notify.invalidate('contract', :acme);
SELECT is(cache_notify.version('price', :acme), 2::bigint, 'invalidate() cascades');
SELECT is(cache_notify.version('price', :zen), 0::bigint, 'within the tenant');
SELECT cache_notify.invalidate('contract');
SELECT is(cache_notify.version('price', :zen), 1::bigint, 'and for all without one');

-- Ceasing.
SELECT lives_ok($$SELECT cache_notify.remove_table_invalidation('tv_contract')$$, 'removed');
SELECT hasnt_trigger('tv_contract', 'cache_notify_row_contract');
INSERT INTO tv_contract VALUES (2, :acme, 'x', 1);
SELECT is((SELECT n FROM cache_notify.pending_changes() WHERE domain = 'contract' AND tenant_id = :acme), 5::bigint,
	'and nothing moves any more');

SELECT * FROM finish();
ROLLBACK;
