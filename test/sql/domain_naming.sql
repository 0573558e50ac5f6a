-- Serves G9: which tenants and keys are called the same where several tables or
-- rules feed a domain, whatever the settings, and what is told of it.
-- test/t/domain_name_types.pl goes over the types.
-- A failure shows as a name that stale() lacks although a row with that tenant
-- or key has changed.
\set ECHO none
\i test/include/moved.sql
CREATE SCHEMA naming;
SET search_path = naming;
-- Is each token current? Names of tokens to their text.
CREATE TABLE kept (name text PRIMARY KEY, token text);
CREATE FUNCTION keep(tenant text, VARIADIC names text[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO naming.kept VALUES (coalesce(tenant, 'any') || ' of ' || array_to_string(names, ', '), cache_notify.token(tenant, VARIADIC names)) $$;
CREATE FUNCTION stale() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text := (SELECT coalesce(string_agg(name, '; ' ORDER BY name COLLATE "C"), 'none')
		FROM naming.kept WHERE cache_notify.is_current(token) IS NOT true);
BEGIN
	DELETE FROM naming.kept;
	RETURN result;
END $$;
\set ECHO all

-- What callers write is read by the column's type.
CREATE TABLE numbers (tenant numeric, k int, lang text, x int);
SELECT cache_notify.setup_table_invalidation('numbers', 'page', 'tenant', keys => '{k,lang}');
INSERT INTO numbers VALUES (1.00, 1, 'en', 1), (2, 2, 'en', 1);
SELECT keep('1', 'page'), keep('1.0', 'page'), keep('2', 'page'), keep('1', 'page/1/en'), keep('1', 'page/01/en'),
	keep('1', 'page/1.0/en'), keep('1', 'page/2/en'), keep('1', 'page/1/EN');
UPDATE numbers SET x = 2 WHERE k = 1;
SELECT stale();
-- A key with another number of columns is the whole domain.
SELECT keep('1', 'page/1'), keep('1', 'page/1/en/x'), keep('1', 'page/1/'), keep('1', 'page/7/en');
UPDATE numbers SET x = 3 WHERE k = 1;
SELECT stale();
-- What is no value matches no row, and is no error.
SELECT keep('one', 'page'), keep('1', 'page/one/en'), keep('1e400000', 'page'), keep('1', 'page/99999999999999999999/en');
UPDATE numbers SET x = 4 WHERE k = 1;
SELECT stale();
SELECT domain, version - cache_notify.version_origin() AS version, known, tenant_id
	FROM cache_notify.versions('1.0', 'page', 'page/01/en', 'page/1/en', 'page/1', 'page/1/en/x', 'page/1/a%2Fb');
SELECT cache_notify.token('1.0', 'page/01/en') = cache_notify.token('1', 'page/1/en') AS same,
	cache_notify.etag('1.0', 'page/01/en') = cache_notify.etag('1', 'page/1/en') AS etag,
	cache_notify.matches(cache_notify.etag('1', 'page/1/en'), '1.0', 'page/01/en') AS matches,
	cache_notify.version('page/01/en', '1.0') = cache_notify.version('page/1/en', '1') AS version;
SELECT cache_notify.current_position() AS position \gset
UPDATE numbers SET x = 5 WHERE k = 1;
SELECT tenant_id, domain FROM cache_notify.changes_since(:'position');
SELECT tenant_id, domain FROM cache_notify.changes_since(:'position', '1.000', 'page/01/en');
:moved
SELECT cache_notify.invalidate('page/01/en', '1.0');
:moved
SELECT keep('1', 'page/1/en'), keep('1', 'page/2/en'), keep('2', 'page');
SELECT cache_notify.invalidate('page/001/en', '01');
SELECT stale();

-- Two tables of a domain. What both call the same is a tenant of its own, what
-- they do not is the whole domain.
CREATE TABLE by_uuid (tenant uuid, x int);
CREATE TABLE by_text (tenant text, x int);
SELECT cache_notify.setup_table_invalidation('by_uuid', 'both', 'tenant');
INSERT INTO by_uuid VALUES ('550e8400-e29b-41d4-a716-446655440000', 1), ('650e8400-e29b-41d4-a716-446655440000', 1);
SELECT keep('550E8400-E29B-41D4-A716-446655440000', 'both');
UPDATE by_uuid SET x = 2 WHERE tenant = '650e8400-e29b-41d4-a716-446655440000';
SELECT stale();
SELECT cache_notify.token('550e8400-e29b-41d4-a716-446655440000', 'both') AS before \gset
SELECT cache_notify.setup_table_invalidation('by_text', 'both', 'tenant');
SELECT cache_notify.is_current(:'before');
INSERT INTO by_text VALUES ('550E8400-E29B-41D4-A716-446655440000', 1), ('acme', 1);
SELECT keep('550e8400-e29b-41d4-a716-446655440000', 'both'), keep('acme', 'both'), keep('650e8400-e29b-41d4-a716-446655440000', 'both'),
	keep('550E8400-E29B-41D4-A716-446655440000', 'both');
UPDATE by_uuid SET x = 3 WHERE tenant = '550e8400-e29b-41d4-a716-446655440000';
SELECT stale();
SELECT keep('550e8400-e29b-41d4-a716-446655440000', 'both'), keep('acme', 'both'), keep('650e8400-e29b-41d4-a716-446655440000', 'both'),
	keep('550E8400-E29B-41D4-A716-446655440000', 'both');
UPDATE by_text SET x = 3 WHERE tenant = '550E8400-E29B-41D4-A716-446655440000';
SELECT stale();
-- One tenant, called differently by two domains, in one token.
SELECT keep('550E8400-E29B-41D4-A716-446655440000', 'both', 'page'), keep('1.0', 'both', 'page'), keep('1', 'both', 'page');
UPDATE numbers SET x = 6 WHERE tenant = 1;
SELECT stale();

-- What rules carry on is called as in its source.
CREATE TABLE target (tenant text, k text, x int);
SELECT cache_notify.setup_table_invalidation('target', 'target', 'tenant', keys => '{k}');
SELECT cache_notify.setup_table_invalidation('numbers', 'source', 'tenant', keys => '{k}');
INSERT INTO target VALUES ('1', '1', 1), ('1.0', '1', 1);
SELECT keep('1.0', 'target'), keep('1', 'target/1'), keep('1', 'target/2'), keep('2', 'target');
INSERT INTO cache_notify.cascade_rules VALUES ('source', 'target', 'invalidate', 'same');
SELECT stale();
SELECT keep('1.0', 'target'), keep('1', 'target'), keep('2', 'target'), keep('1', 'target/1'), keep('1', 'target/01'), keep('1', 'target/2');
UPDATE numbers SET x = 7 WHERE tenant = 1;
SELECT stale();
INSERT INTO cache_notify.cascade_rules VALUES ('source', 'far', 'invalidate', 'all'), ('far', 'further', 'invalidate', 'all');
SELECT keep('1.0', 'further'), keep('2.0', 'further'), keep('1', 'far');
UPDATE numbers SET x = 8 WHERE tenant = 1;
SELECT stale();

-- One that makes every tenant's change a shared one brings no tenants along.
CREATE TABLE summary (tenant text, x int);
SELECT cache_notify.setup_table_invalidation('summary', 'summary', 'tenant');
INSERT INTO summary VALUES ('1', 1), ('1.0', 1);
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, tenants) VALUES ('source', 'summary', 'all');
SELECT keep('1.0', 'summary'), keep('2', 'summary');
UPDATE summary SET x = 2 WHERE tenant = '1';
SELECT stale();
SELECT keep('1.0', 'summary'), keep('2', 'summary');
UPDATE numbers SET x = 8 WHERE tenant = 2;
SELECT stale();

-- A tenant in a setting is read by what other tables of the domain have.
CREATE TABLE by_setting (x int);
SELECT cache_notify.setup_table_invalidation('by_setting', 'page', tenant_setting => 'app.tenant');
SET app.tenant = '1.0';
SELECT keep('1', 'page'), keep('2', 'page');
INSERT INTO by_setting VALUES (1);
SELECT stale();
SELECT cache_notify.remove_table_invalidation('by_setting', 'page');
-- And so it is in the domains that rules carry its changes on to, where these have
-- tenants of another type; so are keys, and the tenants of a text column.
CREATE TABLE id_target (tenant uuid, k uuid, x int);
CREATE TABLE text_source (tenant text, k text, x int);
SELECT cache_notify.setup_table_invalidation('by_setting', 'set', tenant_setting => 'app.tenant'),
	cache_notify.setup_table_invalidation('text_source', 'texts', 'tenant', keys => '{k}'),
	cache_notify.setup_table_invalidation('id_target', 'ids', 'tenant', keys => '{k}');
INSERT INTO cache_notify.cascade_rules VALUES ('set', 'mid', 'invalidate', 'all'), ('mid', 'ids', 'invalidate', 'all'),
	('texts', 'ids', 'invalidate', 'same');
SET app.tenant = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11';
SELECT keep('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ids'), keep('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'ids'),
	keep('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'set'), keep('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'set');
INSERT INTO by_setting VALUES (1);
SELECT stale();
SELECT keep('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ids'), keep('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ids');
SET app.tenant = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
INSERT INTO by_setting VALUES (1);
SELECT stale();
SELECT keep('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ids'), keep('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ids/b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
INSERT INTO text_source VALUES ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'B0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 1);
SELECT stale();
DELETE FROM cache_notify.cascade_rules WHERE target_domain IN ('mid', 'ids');
SELECT cache_notify.remove_table_invalidation('by_setting', 'set'), cache_notify.remove_table_invalidation('text_source', 'texts');
RESET app.tenant;

-- A column that gets another type takes its tokens with it, whether or not
-- anything else tells.
SELECT keep('1', 'page'), keep('1', 'page/1/en');
ALTER TABLE numbers ALTER tenant TYPE text USING tenant::int;
SELECT stale();
SELECT keep('1', 'page'), keep('1.0', 'page'), keep('1', 'page/1.0/en');
UPDATE numbers SET x = 9 WHERE k = 1;
SELECT stale();

-- Types that cannot name anything: changes are shared, and that is said.
SET client_min_messages = notice;
CREATE TABLE vague (tenant jsonb, k interval, x int, y int);
SELECT cache_notify.setup_table_invalidation('vague', tenant_column => 'tenant', columns => '{x}');
SELECT cache_notify.setup_table_invalidation('vague', 'vague keys', keys => '{k}', columns => '{x}');
SET client_min_messages = warning;
SELECT domain, enabled, problem FROM cache_notify.v_invalidation_status WHERE table_name = 'vague'::regclass ORDER BY 1;
SELECT domain, certainty, per_tenant FROM cache_notify.domains_of('SELECT x FROM vague') WHERE domain NOT LIKE 'cache_notify%' ORDER BY 1;
SELECT domain, certainty, per_tenant FROM cache_notify.domains_of('SELECT x FROM numbers') WHERE domain NOT LIKE 'cache_notify%' ORDER BY 1;
INSERT INTO vague VALUES ('{"a": 1}', '1 day', 1, 1), ('{"a": 2}', '2 days', 1, 1);
SELECT keep('{"a":1}', 'vague'), keep('{"a": 1.0}', 'vague'), keep('b', 'vague'), keep(NULL, 'vague keys/24 hours'), keep(NULL, 'vague keys/1 day');
UPDATE vague SET x = 2 WHERE tenant = '{"a": 1}';
SELECT stale();
SELECT keep('{"a":1}', 'vague'), keep(NULL, 'vague keys/24 hours');
SELECT cache_notify.invalidate('vague', '{"a": 1}'), cache_notify.invalidate('vague keys/1 day');
SELECT stale();
-- A row that moves to another tenant or key has changed, whichever columns count.
SELECT keep('{"a":1}', 'vague'), keep(NULL, 'vague keys/24 hours');
UPDATE vague SET tenant = '{"a": 3}', k = '3 days' WHERE tenant = '{"a": 1}';
SELECT stale();
SELECT keep('{"a":1}', 'vague'), keep(NULL, 'vague keys/24 hours');
UPDATE vague SET y = 2;
SELECT stale();

-- No setting changes what a name means.
CREATE TABLE timed (t timestamptz, d date, f float8, b bytea, x int);
SELECT cache_notify.setup_table_invalidation('timed', 'at', 't'), cache_notify.setup_table_invalidation('timed', 'on', 'd'),
	cache_notify.setup_table_invalidation('timed', 'real', 'f'), cache_notify.setup_table_invalidation('timed', 'bytes', 'b');
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German, DMY';
SET bytea_output = 'escape';
SET extra_float_digits = -5;
INSERT INTO timed VALUES ('2024-02-01 12:00+00', '2024-02-01', 0.1, '\x00ff', 1);
:moved
SELECT keep('2024-02-01 21:00+09', 'at'), keep('2024-02-01', 'on'), keep('01.02.2024', 'on'), keep('2024-01-02', 'on'),
	keep('2024-02-01 12:00', 'at'), keep('0.10', 'real'), keep('0.2', 'real'), keep('\x00FF', 'bytes'), keep('\000\377', 'bytes');
RESET timezone; RESET datestyle; RESET bytea_output; RESET extra_float_digits;
UPDATE timed SET x = 2;
SELECT stale();
\set ECHO none
DELETE FROM cache_notify.cascade_rules;
DROP SCHEMA naming CASCADE;
