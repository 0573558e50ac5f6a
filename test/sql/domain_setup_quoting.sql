-- Serves G5 and setup_table_invalidation(): names of any text. Table, column,
-- domain, channel and setting pass through SQL text, trigger arguments and back.
-- A failure shows as an error, a value that comes back changed (f where t is
-- expected), or a counter under another name.
\set ECHO none
\i test/include/moved.sql

-- Every name is hostile in its own way: quotes, backslash, newline, a format
-- code, an equals sign, the name of an argument, characters beyond ASCII.
CREATE TABLE hostile (name text PRIMARY KEY);
INSERT INTO hostile VALUES ('it''s'), ('say "hi"'), (E'back\\slash\\000'), (E'new\nline\ttab'),
	('%I %s %1$L'), ('a=b'), ('domain=x'), ('column=y'), ('tenant_column=z'), ('größe🙂'),
	('$1; DROP TABLE hostile; --'), ('{"a",NULL}'), (' '), (E'\u0001\u001f\u007f'), ('UPPER');

-- Each name as table, tenant column, counting column, domain and channel.
DO $$
DECLARE
	n text;
BEGIN
	FOR n IN SELECT name FROM hostile LOOP
		EXECUTE format('CREATE TABLE %I (id int, %I text, %I text)', n, n, n || '2');
		PERFORM cache_notify.setup_table_invalidation(quote_ident(n)::regclass, n, n,
			channel => n, columns => ARRAY[n || '2', n]);
		EXECUTE format('INSERT INTO %I VALUES (1, %L, %L)', n, n, n);
	END LOOP;
END
$$;
SELECT count(*) AS names, bool_and(cache_notify.version(name, name) = 1) AS moved,
	bool_and(cache_notify.version(name, 'never was') = 0) AS not_shared FROM hostile;
SELECT count(*), bool_and(s.table_name = quote_ident(h.name)::regclass) AS "table",
	bool_and(s.tenant_column = h.name) AS tenant_column, bool_and(s.channel = h.name) AS channel,
	bool_and(s.columns = ARRAY[h.name || '2', h.name]) AS columns,
	bool_and(s.enabled AND s.problem IS NULL) AS enabled
	FROM cache_notify.v_invalidation_status s JOIN hostile h ON s.domain = h.name;

-- A tenant moves for a column that counts, and only for that.
SELECT pg_temp.moved() LIKE '%DISAGREE' AS disagree;
UPDATE "domain=x" SET id = 2;
:moved
UPDATE "domain=x" SET "domain=x2" = 'new';
:moved
TRUNCATE "domain=x";
:moved

-- Without a domain, the table's name is one.
SELECT cache_notify.setup_table_invalidation(quote_ident(E'new\nline\ttab')::regclass) = E'new\nline\ttab' AS same;

-- A table that another one of the same name hides, and a domain named the same.
CREATE SCHEMA hidden CREATE TABLE pg_class (id int) CREATE TABLE hostile (id int);
SELECT cache_notify.setup_table_invalidation('hidden.pg_class');
SELECT cache_notify.setup_table_invalidation('hidden.hostile', 'hidden');
INSERT INTO hidden.pg_class VALUES (1);
INSERT INTO hidden.hostile VALUES (1);
:moved
-- Functions of the caller's search_path do not get in between.
CREATE FUNCTION hidden.quote_literal(text) RETURNS text LANGUAGE sql AS 'SELECT (1 / 0)::text';
CREATE FUNCTION hidden.octet_length(text) RETURNS int LANGUAGE sql AS 'SELECT 1 / 0';
SET search_path = hidden, pg_catalog;
SELECT cache_notify.setup_table_invalidation('hidden.hostile', 'hidden');
INSERT INTO hidden.hostile VALUES (1);
RESET search_path;
:moved
DROP SCHEMA hidden CASCADE;

-- Long domains: trigger names stay apart although names end at 63 bytes.
CREATE TABLE long_domain (id int);
SELECT cache_notify.setup_table_invalidation('long_domain', repeat('d', 62) || i)
	FROM generate_series(1, 2) AS i;
SELECT count(*), count(DISTINCT tgname), max(octet_length(tgname::text)) <= 63 AS fits
	FROM _cache_notify.watching_trigger WHERE tgrelid = 'long_domain'::regclass;
INSERT INTO long_domain VALUES (1);
:moved
SELECT cache_notify.remove_table_invalidation('long_domain', repeat('d', 62) || 1);
INSERT INTO long_domain VALUES (1);
:moved
-- Every length around the limits where trigger names change their form.
SELECT cache_notify.setup_table_invalidation('long_domain', repeat('ü', i / 2) || repeat('x', i % 2))
	IS NULL AS failed FROM generate_series(36, 63) AS i GROUP BY 1;
INSERT INTO long_domain VALUES (1);
SELECT count(*) AS moved FROM _cache_notify.counter_total WHERE domain LIKE 'ü%' AND n = 1;
DROP TABLE long_domain;

DO $$
DECLARE
	n text;
BEGIN
	FOR n IN SELECT name FROM hostile LOOP
		PERFORM cache_notify.remove_table_invalidation(quote_ident(n)::regclass);
		EXECUTE format('DROP TABLE %I', n);
	END LOOP;
END
$$;
DROP TABLE hostile;
:triggers
