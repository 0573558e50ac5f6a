-- What the result of a query depends on, as far as can be known.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
CREATE SCHEMA dep;
SET search_path = dep;
CREATE TABLE customer (id int PRIMARY KEY, name text, secret text);
CREATE TABLE contract (id int PRIMARY KEY, tenant_id text, customer int REFERENCES customer, price int);
CREATE TABLE line (contract int REFERENCES contract, day int, x int) PARTITION BY RANGE (day);
CREATE TABLE line1 PARTITION OF line FOR VALUES FROM (1) TO (10);
CREATE TABLE plain (a int);
CREATE TABLE narrow (id int, a int, b int);
CREATE UNLOGGED TABLE unsafe (a int);
CREATE TEMP TABLE mine (a int);
CREATE SEQUENCE seq;
CREATE MATERIALIZED VIEW mat AS SELECT count(*) FROM contract;
CREATE MATERIALIZED VIEW mat_plain AS SELECT count(*) FROM contract;
SELECT cache_notify.setup_table_invalidation(t::regclass) FROM unnest('{customer,contract,line,mat,unsafe}'::text[]) AS t;
SELECT cache_notify.setup_table_invalidation('narrow', columns => '{a}');
CREATE VIEW v AS SELECT c.id, c.price, k.name FROM contract c JOIN customer k ON k.id = c.customer;
CREATE VIEW vv AS SELECT *, (SELECT sum(x) FROM line WHERE contract = v.id) AS total FROM v;
CREATE VIEW v_plain AS SELECT * FROM plain;

CREATE FUNCTION f_sql(i int) RETURNS int STABLE LANGUAGE sql AS 'SELECT price FROM contract WHERE id = i';
CREATE FUNCTION f_set() RETURNS SETOF customer STABLE LANGUAGE sql AS 'SELECT * FROM customer';
CREATE FUNCTION f_atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM line; END;
CREATE FUNCTION f_return() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM contract);
CREATE FUNCTION f_nested() RETURNS bigint LANGUAGE sql AS 'SELECT f_atomic() + count(*) FROM f_set()';
CREATE FUNCTION f_plpgsql() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM plain); END';
CREATE FUNCTION f_volatile() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION f_immutable(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN i + 1; END';
CREATE FUNCTION f_writes() RETURNS int LANGUAGE sql AS 'INSERT INTO plain VALUES (1) RETURNING a';
CREATE FUNCTION f_path() RETURNS bigint STABLE LANGUAGE sql SET search_path = dep AS 'SELECT count(*) FROM customer';
CREATE FUNCTION f_any(a anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT a FROM plain';
CREATE FUNCTION f_recursive(i int) RETURNS int STABLE LANGUAGE sql AS 'SELECT i';
CREATE OR REPLACE FUNCTION f_recursive(i int) RETURNS int STABLE LANGUAGE sql
	AS 'SELECT CASE WHEN i > 0 THEN f_recursive(i - 1) ELSE (SELECT a FROM plain) END';
CREATE FUNCTION add_plain(a bigint, b int) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT $1 + $2 + count(*) FROM plain';
CREATE AGGREGATE agg(int) (SFUNC = add_plain, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION f_versions() RETURNS bigint LANGUAGE sql AS $$ SELECT cache_notify.version('x') $$;
CREATE OPERATOR @@@ (FUNCTION = f_sql, RIGHTARG = int);

-- definition domains have numbers that differ from run to run
CREATE FUNCTION d(query text) RETURNS TABLE (domain text, source text, certainty text, reason text, per_tenant bool)
	LANGUAGE sql AS $$
	SELECT regexp_replace(domain, '/\d+', '/N'), source, certainty, reason, per_tenant
	FROM cache_notify.domains_of(query) $$;

SELECT * FROM d('SELECT * FROM contract');
SELECT * FROM d('SELECT * FROM vv');
SELECT * FROM d('SELECT * FROM plain');
SELECT * FROM d('SELECT 1');
-- A child with a problem that its parent has not.
CREATE TABLE clan (a int);
CREATE UNLOGGED TABLE clan_unlogged () INHERITS (clan);
SELECT cache_notify.setup_table_invalidation('clan');
SELECT * FROM d('SELECT * FROM clan');
SELECT cache_notify.token_for('SELECT * FROM clan') IS NULL AS no_token;
DROP TABLE clan_unlogged;
SELECT * FROM d('SELECT * FROM clan');
SELECT cache_notify.token_for('SELECT * FROM clan') IS NULL AS no_token;
DROP TABLE clan;
SELECT q, domain, source, certainty, reason FROM unnest(ARRAY[
	'TABLE customer',
	'VALUES (1)',
	'SELECT * FROM line1',
	'SELECT * FROM ONLY contract WHERE false',
	'WITH x AS (SELECT * FROM customer) SELECT * FROM x WHERE EXISTS (SELECT FROM line)',
	'SELECT id FROM customer UNION SELECT id FROM contract ORDER BY 1 LIMIT 1',
	'SELECT * FROM contract WHERE id = $1 FOR SHARE',
	'SELECT * FROM mat', 'SELECT * FROM mat_plain',
	'SELECT * FROM unsafe', 'SELECT * FROM mine', 'SELECT last_value FROM seq',
	'SELECT relname FROM pg_class',
	'SELECT a FROM narrow', 'SELECT a, b FROM narrow', 'SELECT narrow FROM narrow', 'SELECT count(*) FROM narrow', 'SELECT ctid FROM narrow',
	'SELECT f_sql(1)', 'SELECT * FROM f_set()', 'SELECT f_atomic()', 'SELECT f_return()', 'SELECT f_nested()',
	'SELECT f_plpgsql()', 'SELECT f_volatile()', 'SELECT f_immutable(1)', 'SELECT f_writes()', 'SELECT f_path()',
	'SELECT f_any(1)', 'SELECT f_recursive(3)', 'SELECT agg(id) FROM customer', 'SELECT @@@ 1', 'SELECT f_versions()',
	'SELECT now()', 'SELECT current_date', 'SELECT random()', 'SELECT nextval(''seq'')', 'SELECT current_user, current_setting(''a.b'', true)',
	'SELECT table_to_xml(''plain'', false, false, '''')', 'SELECT * FROM customer TABLESAMPLE SYSTEM (10)',
	'SELECT * FROM customer TABLESAMPLE SYSTEM (10) REPEATABLE (1)',
	'SELECT upper(name), jsonb_build_object(''a'', id), sum(id) OVER (), name ~ ''x'' FROM customer'
]) WITH ORDINALITY AS u (q, i), d(q) ORDER BY i, certainty, source, domain;

-- What is wrong with a query
SELECT cache_notify.domains_of('');
SELECT cache_notify.domains_of('SELECT 1; SELECT 2');
SELECT cache_notify.domains_of('INSERT INTO plain VALUES (1)');
SELECT cache_notify.domains_of('WITH x AS (DELETE FROM plain RETURNING a) SELECT * FROM x');
SELECT cache_notify.domains_of('EXPLAIN SELECT 1');
SELECT cache_notify.domains_of('SELECT * FROM nowhere');
SELECT cache_notify.domains_of('SELEC');
SELECT count(*) FROM cache_notify.domains_of(NULL);

-- Who may not read may not ask; a view reads as its owner.
CREATE ROLE regress_cn_dep;
GRANT USAGE ON SCHEMA dep TO regress_cn_dep;
GRANT SELECT ON v, line TO regress_cn_dep;
GRANT SELECT (id) ON customer TO regress_cn_dep;
CREATE FUNCTION f_definer() RETURNS bigint STABLE SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM contract';
CREATE FUNCTION f_denied() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION f_denied() FROM PUBLIC;
SET ROLE regress_cn_dep;
SELECT * FROM d('SELECT * FROM v');
SELECT * FROM d('SELECT id FROM customer');
SELECT * FROM d('SELECT f_definer()');
SELECT * FROM d('SELECT * FROM customer');
SELECT * FROM d('SELECT * FROM contract');
SELECT * FROM d('SELECT f_sql(1)');
SELECT * FROM d('SELECT f_denied()');
RESET ROLE;
-- Row security, and what its policy reads
CREATE TABLE allowed (who name, line int);
CREATE POLICY p ON line USING (x IN (SELECT a.line FROM allowed a WHERE who = current_user));
ALTER TABLE line ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON allowed TO regress_cn_dep;
SET ROLE regress_cn_dep;
SELECT * FROM d('SELECT * FROM line');
RESET ROLE;
SELECT * FROM d('SELECT * FROM line');
ALTER TABLE line DISABLE ROW LEVEL SECURITY;
-- Other search paths: decoys cannot mislead, and temporary tables come first
SET search_path = public, pg_temp;
CREATE TEMP TABLE pg_class (oid oid);
CREATE TEMP TABLE customer (id int);
SELECT domain, source, certainty FROM cache_notify.domains_of('SELECT dep.f_path()') WHERE certainty = 'exact';
SELECT domain, source, certainty FROM cache_notify.domains_of('SELECT * FROM dep.customer');
SET search_path = pg_temp, dep;
SELECT domain, source, certainty, reason FROM cache_notify.domains_of('SELECT * FROM customer');
DROP TABLE pg_temp.customer, pg_temp.pg_class;
SET search_path = dep;

-- Tokens: NULL for what might change unseen.
INSERT INTO customer VALUES (1, 'n');
SELECT q, t, cache_notify.token_for(q, t) IS NOT NULL AS token FROM (VALUES
	('SELECT * FROM customer', NULL), ('SELECT * FROM v', 'a'), ('SELECT * FROM v', NULL), ('SELECT * FROM plain', NULL),
	('SELECT f_plpgsql()', NULL), ('SELECT now(), * FROM customer', NULL), ('SELECT current_user, * FROM customer', NULL),
	('SELECT 1', NULL), (NULL, NULL), ('SELECT f_immutable(1)', NULL)) AS u (q, t);
CREATE TABLE tokens AS SELECT cache_notify.token_for('SELECT * FROM vv', 'a') AS t;
SELECT cache_notify.is_current(t) FROM tokens;
INSERT INTO contract VALUES (1, 'b', 1, 1);
SELECT cache_notify.is_current(t) FROM tokens;	-- of another tenant
INSERT INTO line1 VALUES (1, 1, 1);
SELECT cache_notify.is_current(t) FROM tokens;
UPDATE tokens SET t = cache_notify.token_for('SELECT * FROM vv', 'a');
CREATE OR REPLACE VIEW v AS SELECT c.id, c.price + 1 AS price, k.name FROM contract c JOIN customer k ON k.id = c.customer;
SELECT cache_notify.is_current(t) FROM tokens;
-- A table some part of which is not watched
ALTER TABLE line1 DISABLE TRIGGER ALL;
SELECT * FROM d('SELECT * FROM line');
ALTER TABLE line1 ENABLE TRIGGER ALL;

-- Views: their tables are watched, their domains cascade.
SELECT object, source, certainty, reason FROM cache_notify.unwatched_dependencies() WHERE object NOT LIKE 'd(%';
SELECT * FROM cache_notify.suggest_cascades();
SELECT cache_notify.setup_view_invalidation('vv', channel => 'views');
SELECT cache_notify.setup_view_invalidation('v_plain', 'flat');
SELECT table_name, domain, granularity, channel, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY table_name::text;
SELECT regexp_replace(source_domain, '/\d+', '/N') AS source, target_domain, rule_type FROM cache_notify.v_cascade_rules ORDER BY 2, 1;
SELECT cache_notify.version('vv') AS before \gset
UPDATE customer SET name = 'm';
SELECT cache_notify.version('vv') - :before AS bumps;
CREATE OR REPLACE VIEW vv AS SELECT *, 1::bigint AS total FROM v;
SELECT cache_notify.version('vv') - :before AS bumps;
CREATE OR REPLACE VIEW v AS SELECT c.id, c.price, NULL::text AS name FROM contract c;
SELECT cache_notify.version('vv') - :before AS bumps;
-- again, after the views have changed: the rules are adjusted, others are left alone
INSERT INTO cache_notify.cascade_rules VALUES ('other', 'vv');
SELECT cache_notify.setup_view_invalidation('vv', channel => 'views');
SELECT regexp_replace(source_domain, '/\d+', '/N') AS source, target_domain, rule_type FROM cache_notify.v_cascade_rules ORDER BY 2, 1;
SELECT cache_notify.setup_view_invalidation('vv', 'other_name');
SELECT regexp_replace(source_domain, '/\d+', '/N') AS source, target_domain, rule_type FROM cache_notify.v_cascade_rules ORDER BY 2, 1;
SELECT cache_notify.remove_view_invalidation('vv');
SELECT cache_notify.remove_view_invalidation('vv');
SELECT regexp_replace(source_domain, '/\d+', '/N') AS source, target_domain, rule_type FROM cache_notify.v_cascade_rules ORDER BY 2, 1;
CREATE VIEW v_bad AS SELECT f_plpgsql(), now() FROM customer, pg_class;
SELECT cache_notify.setup_view_invalidation('v_bad');
SELECT cache_notify.setup_view_invalidation('customer');
SELECT cache_notify.setup_view_invalidation(NULL);
SELECT object, source, certainty, reason FROM cache_notify.unwatched_dependencies() WHERE object NOT LIKE 'd(%';
SELECT * FROM cache_notify.suggest_cascades();
-- Keys: the same ones, where the foreign key says that they read the same.
DELETE FROM cache_notify.cascade_rules;
DROP SCHEMA dep CASCADE;
CREATE SCHEMA dep;
CREATE TABLE parent (tenant_id text, id int UNIQUE, code text UNIQUE, amount numeric UNIQUE, PRIMARY KEY (tenant_id, id));
CREATE TABLE child (id int PRIMARY KEY, tenant_id text, parent bigint REFERENCES parent (id));
CREATE TABLE of_code (code varchar(9) REFERENCES parent (code));
CREATE TABLE of_amount (amount numeric REFERENCES parent (amount));
CREATE TABLE pair (tenant_id text, parent int, FOREIGN KEY (tenant_id, parent) REFERENCES parent (tenant_id, id));
CREATE VIEW of_parent AS SELECT id, code FROM parent;
SELECT count(cache_notify.setup_table_invalidation(t, d, keys => k, buckets => b)) FROM (VALUES
	('parent'::regclass, 'parent', '{id}'::text[], 64),
	('parent', 'codes', '{code}', 64), ('parent', 'amounts', '{amount}', 64), ('parent', 'both', '{tenant_id,id}', 64),
	('child', 'child', '{id}', 64), ('child', 'children_of_parent', '{parent}', 64), ('child', 'many_buckets', '{parent}', 128),
	('child', 'no_keys', NULL, NULL), ('of_code', 'of_code', '{code}', 16), ('of_amount', 'of_amount', '{amount}', 64),
	('pair', 'pairs', '{parent}', 64), ('pair', 'pairs_of_both', '{tenant_id,parent}', 64), ('pair', 'pairs_turned', '{parent,tenant_id}', 64))
	AS v (t, d, k, b);
SELECT target_domain, string_agg(source_domain, ' ' ORDER BY source_domain) FILTER (WHERE keys = 'same') AS same,
	string_agg(source_domain, ' ' ORDER BY source_domain) FILTER (WHERE keys = 'all') AS "all"
	FROM cache_notify.suggest_cascades() GROUP BY 1 ORDER BY 1;
SELECT keys, statement FROM cache_notify.suggest_cascades() WHERE source_domain = 'parent' AND target_domain IN ('child', 'children_of_parent', 'of_parent');
-- what it suggests does what it says
SELECT statement FROM cache_notify.suggest_cascades() WHERE source_domain = 'parent' AND target_domain = 'children_of_parent' \gexec
INSERT INTO parent VALUES ('t', 1, 'a', 1), ('t', 2, 'b', 2);
SELECT cache_notify.token('t', 'children_of_parent/1') AS one, cache_notify.token('t', 'children_of_parent/2') AS two \gset
UPDATE parent SET code = 'c' WHERE id = 1;
SELECT cache_notify.is_current(:'one') AS one, cache_notify.is_current(:'two') AS two;
-- another foreign key into the same domains, that of a key column to another one: all
CREATE TABLE second (parent int, other int REFERENCES parent (id));
SELECT cache_notify.setup_table_invalidation('second', 'pairs', keys => '{parent}');
SELECT keys, reason FROM cache_notify.suggest_cascades() WHERE source_domain = 'parent' AND target_domain = 'pairs';
DELETE FROM cache_notify.cascade_rules;
DROP SCHEMA dep CASCADE;
DROP ROLE regress_cn_dep;

-- What a view depends on is known by name, as dumps have it, and renames are followed.
-- An owner who has no rights of ours does all that.
CREATE ROLE regress_cn_dep;
CREATE SCHEMA dep AUTHORIZATION regress_cn_dep;
SET ROLE regress_cn_dep;
CREATE TABLE base (id int);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
CREATE VIEW inner_view AS SELECT id FROM base;
CREATE VIEW outer_view AS SELECT twice(id) AS id FROM inner_view;
SELECT cache_notify.setup_view_invalidation('outer_view');
SELECT source_domain ~ '^cache_notify/definition/(1[0-9]|20)[0-9][0-9]$' AS definition,
	CASE WHEN source_domain NOT LIKE '%/%' THEN source_domain END AS source, target_domain, carried_by
	FROM cache_notify.v_cascade_rules ORDER BY 2 NULLS LAST;
SELECT reason, statement FROM cache_notify.suggest_cascades();
SELECT cache_notify.cascade_graph() LIKE '%"base"%' AS drawn;
CREATE FUNCTION moved(what text) RETURNS TABLE (command text, moves bool) LANGUAGE plpgsql AS $$
DECLARE
	before bigint := cache_notify.version('outer_view');
BEGIN
	EXECUTE what;
	RETURN QUERY SELECT what, cache_notify.version('outer_view') > before;
END
$$;
SELECT m.* FROM unnest(ARRAY[
	'INSERT INTO base VALUES (1)',
	'CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE sql AS ''SELECT 3 * $1''',
	'CREATE OR REPLACE VIEW inner_view AS SELECT id + 1 AS id FROM base',
	'ALTER FUNCTION twice(int) RENAME TO thrice',
	'CREATE OR REPLACE FUNCTION thrice(int) RETURNS int LANGUAGE sql AS ''SELECT 4 * $1''',
	'ALTER VIEW inner_view RENAME TO innermost',
	'CREATE OR REPLACE VIEW innermost AS SELECT id + 2 AS id FROM base',
	'CREATE VIEW unrelated AS SELECT 1 AS one',
	'CREATE OR REPLACE VIEW outer_view AS SELECT 5 * id AS id FROM innermost']) AS u (c), moved(c) AS m;
RESET ROLE;
-- Only a command that names our provider makes it known.
\c -
LOAD 'cache_notify';
SECURITY LABEL ON TABLE dep.base IS 'x';
DROP SCHEMA dep CASCADE;
DROP ROLE regress_cn_dep;
