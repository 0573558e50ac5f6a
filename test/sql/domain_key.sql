-- Keys: versions and tokens of single rows.
\set VERBOSITY terse
CREATE SCHEMA key;
SET search_path = key;
CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id text, name text);
SELECT cache_notify.setup_table_invalidation('tv_contract', keys => '{id}');
CREATE FUNCTION versions(VARIADIC names text[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce((cache_notify.version(n, 'a') - cache_notify.version_origin())::text, 'NULL'), ' ' ORDER BY i)
	FROM unnest(names) WITH ORDINALITY AS u (n, i) $$;

-- The domain's version moves once per statement, a key's when its row does.
INSERT INTO tv_contract SELECT i, 'a', 'x' FROM generate_series(1, 3) i;
SELECT versions('contract', 'contract/1', 'contract/2', 'contract/999');
UPDATE tv_contract SET name = 'y' WHERE id = 1;
SELECT versions('contract', 'contract/1', 'contract/2', 'contract/999');
UPDATE tv_contract SET id = 4 WHERE id = 3;
SELECT versions('contract', 'contract/3', 'contract/4', 'contract/2');
DELETE FROM tv_contract WHERE id = 4;
UPDATE tv_contract SET name = name WHERE id = 2;
SELECT versions('contract', 'contract/4', 'contract/2');
-- Another tenant's row, and one that moves.
INSERT INTO tv_contract VALUES (5, 'b', 'x');
SELECT versions('contract/5'), cache_notify.version('contract/5', 'b') - cache_notify.version_origin() AS b;
UPDATE tv_contract SET tenant_id = 'a' WHERE id = 5;
SELECT versions('contract/5'), cache_notify.version('contract/5', 'b') - cache_notify.version_origin() AS b;

-- Tokens.
SELECT cache_notify.token('a', 'contract/1') AS one, cache_notify.token('a', 'contract/2') AS two,
	cache_notify.token('a', 'contract/1', 'contract/2') AS both, cache_notify.token('a', 'contract') AS domain,
	cache_notify.etag('a', 'contract/1') AS etag \gset
SELECT cache_notify.token('a', 'contract/2', 'contract/1') = :'both' AS same,
	cache_notify.token('a', 'contract/1', 'contract/1') = :'one' AS folded,
	cache_notify.token('a', 'contract/1') <> :'two' AS differs;
UPDATE tv_contract SET name = 'z' WHERE id = 1;
SELECT cache_notify.is_current(:'one') AS one, cache_notify.is_current(:'two') AS two,
	cache_notify.is_current(:'both') AS both, cache_notify.is_current(:'domain') AS domain,
	cardinality(cache_notify.stale(ARRAY[:'one', :'two', :'both', :'domain'])) AS stale,
	cache_notify.matches(:'etag', 'a', 'contract/1') AS etag;
SELECT domain, version - cache_notify.version_origin() AS version, shared_version - cache_notify.version_origin() AS shared_version
	FROM cache_notify.versions('a', 'contract', 'contract/1', 'contract/2');
-- In a transaction that has changed another key, or this one.
BEGIN;
UPDATE tv_contract SET name = 'other' WHERE id = 1;
SELECT cache_notify.token('a', 'contract/1') IS NULL AS one, cache_notify.is_current(:'two') AS two,
	cache_notify.token('a', 'contract/2') = :'two' AS two, cache_notify.token('a', 'contract') IS NULL AS domain;
SELECT versions('contract', 'contract/1', 'contract/2');
UPDATE tv_contract SET name = 'again' WHERE id = 1;
SELECT versions('contract', 'contract/1', 'contract/2');
SAVEPOINT s;
UPDATE tv_contract SET name = 'more' WHERE id = 1;
UPDATE tv_contract SET name = 'more' WHERE id = 2;
SELECT versions('contract', 'contract/1', 'contract/2');
ROLLBACK TO s;
SELECT versions('contract', 'contract/1', 'contract/2');
SAVEPOINT t;
TRUNCATE tv_contract;
SELECT versions('contract', 'contract/1', 'contract/2');
ROLLBACK TO t;
COMMIT;
SELECT versions('contract', 'contract/1', 'contract/2');

-- What reaches every key: many rows, TRUNCATE, DDL, a key that is NULL, invalidate().
SELECT versions('contract', 'contract/1', 'contract/999');
INSERT INTO tv_contract SELECT i, 'a', 'x' FROM generate_series(1001, 2000) i;
SELECT versions('contract', 'contract/1', 'contract/999');
SELECT count(*) < 20 AS few_counters FROM _cache_notify.version_counter WHERE domain LIKE '%/contract';
-- many statements of one transaction, each with few rows
DO $$ BEGIN FOR i IN 1001..1300 LOOP UPDATE key.tv_contract SET name = 'loop' WHERE id = i; END LOOP; END $$;
SELECT versions('contract', 'contract/1', 'contract/999');
SELECT count(*) < 20 AS few_counters FROM _cache_notify.version_counter WHERE domain LIKE '%/contract';
DELETE FROM tv_contract WHERE id > 1000;
ALTER TABLE tv_contract ALTER name TYPE varchar(5) USING upper(name);
SELECT versions('contract', 'contract/1', 'contract/999');
TRUNCATE tv_contract;
SELECT versions('contract', 'contract/1', 'contract/999');
SELECT cache_notify.invalidate('contract', 'a');
SELECT versions('contract', 'contract/1', 'contract/999');
SELECT cache_notify.invalidate('contract/999', 'a');
SELECT versions('contract', 'contract/1', 'contract/999');
SELECT cache_notify.invalidate('contract/1');
SELECT versions('contract', 'contract/1', 'contract/999'), cache_notify.version('contract/1', 'never was') - cache_notify.version_origin() AS shared;

-- Several columns, types, and what must be escaped.
CREATE TABLE part (id serial, k text, l date, m uuid, n numeric(6, 2), note text);
SELECT cache_notify.setup_table_invalidation('part', keys => '{k,l}', buckets => 1048576);
SELECT cache_notify.setup_table_invalidation('part', 'by_uuid', keys => '{m}');
SELECT cache_notify.setup_table_invalidation('part', 'by/number', keys => '{n}');
SELECT cache_notify.setup_table_invalidation('part', 'by_number', keys => '{n}');
SET datestyle = 'SQL, DMY';
INSERT INTO part (k, l, m, n) VALUES ('a/b', '2024-02-01', '550E8400-E29B-41D4-A716-446655440000', 1.5);
RESET datestyle;
SELECT versions('part', 'part/a%2Fb/2024-02-01', 'part/a/b/2024-02-01', 'part/a%2Fb', 'part/a%2fb/2024-02-01');
SELECT versions('by_uuid/550e8400-e29b-41d4-a716-446655440000', 'by_uuid/550E8400-E29B-41D4-A716-446655440000', 'by_uuid/0');
SELECT versions('by_number', 'by_number/1.50', 'by_number/2.50');
SELECT cache_notify.key_name('by/number', 1.50::text), cache_notify.key_name('100%/', '50%', 'a/b', ''),
	cache_notify.key_name('contract'), cache_notify.key_name('contract', NULL) AS no_key;
INSERT INTO part (k) VALUES ('50%'), ('');
SELECT versions('part', 'part/50%/x');
UPDATE part SET l = '2024-01-01' WHERE k = '50%';
SELECT versions('part', 'part/x/x');
UPDATE part SET note = 'n' WHERE k = '50%';
SELECT versions('part', 'part/50%/2024-01-01', 'part/50%25/2024-01-01', 'part/x/x');
ALTER TABLE part RENAME l TO day;
UPDATE part SET note = 'o' WHERE k = '50%';
SELECT versions('part', 'part/50%25/2024-01-01', 'part/x/x');
ALTER TABLE part DROP day;
UPDATE part SET note = 'p' WHERE k = '50%';
SELECT versions('part', 'part/50%25/2024-01-01', 'part/x/x');
SELECT domain, keys, buckets, problem FROM cache_notify.v_invalidation_status WHERE table_name = 'part'::regclass ORDER BY 1;

-- Keys are spread over all buckets that were asked for.
CREATE TABLE spread (id int);
SELECT cache_notify.setup_table_invalidation('spread', keys => '{id}', buckets => 64);
DO $$ BEGIN
	FOR i IN 1..1000 LOOP
		INSERT INTO spread SELECT i;
		COMMIT;
	END LOOP;
END $$;
SELECT count(DISTINCT domain) AS buckets FROM _cache_notify.version_counter WHERE domain ~ '^cache_notify/key/.*/spread$';

-- One row without a key reaches every key of its tenant, first, last or between; and
-- rows of two tenants, in turns, are keys of two.
CREATE TABLE partly (id int, tenant_id text, twice int GENERATED ALWAYS AS (2 * id) STORED);
SELECT cache_notify.setup_table_invalidation('partly', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('partly', 'doubled', keys => '{twice}');
INSERT INTO partly VALUES (1, 'a'), (2, 'a');
SELECT versions('partly', 'partly/1', 'partly/2', 'partly/9', 'doubled/2', 'doubled/1');
INSERT INTO partly VALUES (1, 'a'), (NULL, 'a');
SELECT versions('partly', 'partly/1', 'partly/2', 'partly/9');
INSERT INTO partly VALUES (NULL, 'a'), (1, 'a');
SELECT versions('partly', 'partly/1', 'partly/2', 'partly/9');
BEGIN;
INSERT INTO partly VALUES (1, 'a'), (NULL, 'a'), (1, 'a'), (2, 'a');
SELECT versions('partly', 'partly/1', 'partly/2', 'partly/9');
COMMIT;
SELECT versions('partly', 'partly/1', 'partly/2', 'partly/9');
INSERT INTO partly VALUES (1, 'b'), (2, 'a'), (2, 'b'), (1, 'a');
SELECT versions('partly', 'partly/1', 'partly/2', 'partly/9');
SELECT n, cache_notify.version(n, 'b') - cache_notify.version_origin() AS b
FROM unnest('{partly,partly/1,partly/2,partly/9}'::text[]) AS u (n);

-- Many keys of many tenants in one statement.
CREATE TABLE grid (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('grid', keys => '{id}');
INSERT INTO grid SELECT k, 't' || t FROM generate_series(1, 100) AS k, generate_series(1, 50) AS t;
SELECT count(*) FILTER (WHERE cache_notify.version('grid/' || id, tenant_id) = cache_notify.version_origin() + 1) AS told, count(*) FROM grid;

-- Names of domains that have no keys: their version.
CREATE TABLE plain (id int);
SELECT cache_notify.setup_table_invalidation('plain');
INSERT INTO plain VALUES (1);
SELECT versions('plain', 'plain/1', 'plain/2');
SELECT cache_notify.invalidate('by/number');
SELECT versions('by', 'by/number', 'by/1');
SELECT cache_notify.invalidate('by%2Fnumber');
SELECT cache_notify.invalidate('cache_notify/key/1029/7/contract');
SELECT cache_notify.invalidate('cache_notify/definition/1');
SELECT cache_notify.token('a', 'cache_notify/key/1029/7/contract');
SELECT cache_notify.version('cache_notify/definition/1') >= cache_notify.version_origin() AS of_definition;
SELECT cache_notify.version('/1');
SELECT cache_notify.version(repeat('x', 64) || '/1');
SELECT versions(repeat('x', 63) || '/1');

-- Two tables of one domain; a table without keys reaches every key.
CREATE TABLE extra (contract int, tenant_id text, note text);
SELECT cache_notify.setup_table_invalidation('extra', 'contract', keys => '{contract}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('extra', 'contract', keys => '{contract}');
SELECT versions('contract', 'contract/7', 'contract/8');
INSERT INTO extra VALUES (7, 'a', 'x');
SELECT versions('contract', 'contract/7', 'contract/8');
SELECT cache_notify.setup_table_invalidation('extra', 'contract', fields => '{keys}');
SELECT cache_notify.setup_table_invalidation('extra', 'contract');
SELECT versions('contract', 'contract/7', 'contract/8');
INSERT INTO extra VALUES (7, 'a', 'x');
SELECT versions('contract', 'contract/7', 'contract/8');
-- One statement that changes both.
WITH a AS (INSERT INTO tv_contract VALUES (7, 'a', 'x') RETURNING 1)
	INSERT INTO extra VALUES (7, 'a', 'x');
SELECT versions('contract', 'contract/7', 'contract/8');
SELECT cache_notify.remove_table_invalidation('extra', all_domains => true);
SELECT versions('contract', 'contract/7', 'contract/8');

-- Other buckets, other columns, no keys and keys again: versions go on, and no
-- token survives.
SELECT cache_notify.token('a', 'contract/7') AS t \gset
SELECT cache_notify.setup_table_invalidation('tv_contract', keys => '{id}', buckets => 64);
SELECT cache_notify.is_current(:'t'), versions('contract', 'contract/7', 'contract/8');
UPDATE tv_contract SET name = 'w' WHERE id = 7;
SELECT versions('contract', 'contract/7', 'contract/8');
SELECT cache_notify.token('a', 'contract/7') AS t \gset
SELECT cache_notify.setup_table_invalidation('tv_contract', keys => '{name}', buckets => 64);
SELECT cache_notify.is_current(:'t'), versions('contract', 'contract/7', 'contract/8');
SELECT cache_notify.setup_table_invalidation('tv_contract');
SELECT versions('contract', 'contract/7', 'contract/8');
SELECT cache_notify.token('a', 'contract/7') AS t \gset
SELECT cache_notify.setup_table_invalidation('tv_contract', keys => '{id}');
SELECT versions('contract', 'contract/7', 'contract/8');
UPDATE tv_contract SET name = 'u' WHERE id = 7;
SELECT cache_notify.is_current(:'t'), versions('contract', 'contract/7', 'contract/8');

-- Cascades.
CREATE TABLE summary (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE list (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('summary', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('list', keys => '{id}');
INSERT INTO cache_notify.cascade_rules VALUES
	('contract', 'summary', 'invalidate', 'same'), ('contract', 'list', 'invalidate', 'all'), ('summary', 'key page', 'invalidate', 'same');
SELECT versions('contract/7', 'contract/8', 'summary/7', 'summary/8', 'list', 'list/7', 'key page/7');
UPDATE tv_contract SET name = 't' WHERE id = 7;
SELECT versions('contract/7', 'contract/8', 'summary/7', 'summary/8', 'list', 'list/7', 'key page/7');
SELECT cache_notify.invalidate('contract/8', 'a');
SELECT versions('contract/7', 'contract/8', 'summary/7', 'summary/8', 'list', 'list/7', 'key page/7');
-- In one statement, what the target's own table has changed, too.
WITH a AS (INSERT INTO summary VALUES (8, 'a', 1) RETURNING 1)
	UPDATE tv_contract SET name = 's' WHERE id = 7;
SELECT versions('summary', 'summary/7', 'summary/8', 'summary/9');
TRUNCATE tv_contract;
SELECT versions('summary', 'summary/7', 'summary/8', 'summary/9');
-- A rule back by another way reaches all keys of the source.
INSERT INTO cache_notify.cascade_rules VALUES ('list', 'contract');
INSERT INTO tv_contract VALUES (7, 'a', 'x');
SELECT versions('contract', 'contract/7', 'contract/8', 'summary/8');
DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'list';
-- Fewer buckets than the source will do, more will not.
SELECT cache_notify.setup_table_invalidation('summary', keys => '{id}', buckets => 2048);
SELECT versions('summary/7', 'summary/8');
UPDATE tv_contract SET name = 'r' WHERE id = 7;
SELECT versions('summary/7', 'summary/8');
SELECT cache_notify.setup_table_invalidation('summary', keys => '{id}', buckets => 256);
SELECT versions('summary/7', 'summary/8');
UPDATE tv_contract SET name = 'q' WHERE id = 7;
SELECT versions('summary/7', 'summary/8');
INSERT INTO cache_notify.cascade_rules VALUES ('a', 'b', 'invalidate', 'some');

-- Buckets are not seen.
SELECT domain FROM cache_notify.v_domain_versions WHERE domain LIKE 'cache_notify%';
SELECT count(*) FROM cache_notify.changes_since(cache_notify.current_position());
SELECT cache_notify.current_position() AS position \gset
UPDATE tv_contract SET name = 'p' WHERE id = 7;
SELECT tenant_id, domain FROM cache_notify.changes_since(:'position') ORDER BY 1, 2;
SELECT tenant_id, domain FROM cache_notify.changes_since(:'position', 'a', 'contract/7', 'contract/8', 'plain/1');

-- Equal numbers are one key, however they are written.
CREATE TABLE number (n numeric, f float8, x int);
SELECT cache_notify.setup_table_invalidation('number', keys => '{n,f}');
INSERT INTO number VALUES (1.00, '-0');
SELECT cache_notify.token(NULL, 'number/1/0') AS one, cache_notify.token(NULL, 'number/1.0/-0.0') AS other,
	cache_notify.token(NULL, 'number/100/0') AS hundred, cache_notify.token(NULL, 'number/1.01/0') AS more \gset
UPDATE number SET x = 1 WHERE n = 1 AND f = 0;
SELECT cache_notify.is_current(:'one') AS one, cache_notify.is_current(:'other') AS other,
	cache_notify.is_current(:'hundred') AS hundred, cache_notify.is_current(:'more') AS more;

-- Where equal values may be written differently, a change reaches every key.
CREATE TABLE loose (i interval, j jsonb, x int);
SELECT cache_notify.setup_table_invalidation('loose', 'loose_i', keys => '{i}');
SELECT cache_notify.setup_table_invalidation('loose', 'loose_j', keys => '{j}');
INSERT INTO loose VALUES ('24 hours', '1.00');
SELECT cache_notify.token(NULL, 'loose_i/1 day') AS i, cache_notify.token(NULL, 'loose_j/{"a": 1}') AS j \gset
UPDATE loose SET x = 1;
SELECT cache_notify.is_current(:'i') AS i, cache_notify.is_current(:'j') AS j;

-- A value that cannot be written as text: a change of it reaches every key, and
-- every tenant, and no write is refused.
CREATE TABLE huge (id int, a bytea);
SELECT cache_notify.setup_table_invalidation('huge', keys => '{a}');
INSERT INTO huge VALUES (1, decode(repeat('00', 70000), 'hex'));
SELECT cache_notify.token(NULL, 'huge/x') AS key \gset
UPDATE huge SET id = 2;
SELECT cache_notify.is_current(:'key') AS key;
DROP TABLE huge;
CREATE TYPE fickle AS (a int, b int);
CREATE FUNCTION fickle_text(fickle) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN IF $1.a < 0 THEN RAISE 'negative'; END IF; RETURN $1.a; END $$;
CREATE CAST (fickle AS text) WITH FUNCTION fickle_text(fickle);
CREATE TABLE by_user (id fickle, x int);
SELECT cache_notify.setup_table_invalidation('by_user', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('by_user', 'user_tenant', tenant_column => 'id');
SELECT versions('by_user/1', 'by_user/2', 'user_tenant');
INSERT INTO by_user VALUES ((1, 1));
SELECT versions('by_user/1', 'by_user/2', 'user_tenant');
BEGIN;
SAVEPOINT s;
INSERT INTO by_user VALUES ((-1, 1)), ((1, 1));
ROLLBACK TO s;
SELECT versions('by_user/1', 'by_user/2', 'user_tenant');
INSERT INTO by_user VALUES ((-1, 1)), ((1, 1));
COMMIT;
SELECT versions('by_user/1', 'by_user/2', 'user_tenant');

-- Errors at set-up.
SELECT cache_notify.setup_table_invalidation('plain', buckets => 64);
SELECT cache_notify.setup_table_invalidation('plain', keys => '{}');
SELECT cache_notify.setup_table_invalidation('plain', keys => '{nothing}');
SELECT cache_notify.setup_table_invalidation('plain', keys => '{id,NULL}');
SELECT cache_notify.setup_table_invalidation('plain', keys => '{id}', buckets => 100);
SELECT cache_notify.setup_table_invalidation('plain', keys => '{id}', buckets => 8);
SELECT cache_notify.setup_table_invalidation('plain', keys => '{id}', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('plain', 'cache_notify', keys => '{id}');
-- a domain that no name could stand for
SELECT cache_notify.setup_table_invalidation('plain', 'a%2fb');
INSERT INTO cache_notify.cascade_rules VALUES ('plain', '50%25');
CREATE MATERIALIZED VIEW m AS SELECT 1 AS id;
SELECT cache_notify.setup_table_invalidation('m', keys => '{id}');

DELETE FROM cache_notify.cascade_rules;
DROP SCHEMA key CASCADE;
