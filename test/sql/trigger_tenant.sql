-- Serves G9 for tenants of any type, by their text form, and G5 and G7 for tenants.
-- A failure shows as a counter under another text (a session with other settings
-- would move another key), an error in a write, or a tenant told from another.
\set ECHO none
\i test/include/moved.sql

-- One table with a tenant of each type; all values are written and then changed.
CREATE TYPE plan AS ENUM ('free', 'gold');
CREATE DOMAIN tenant_uuid AS uuid;
CREATE DOMAIN tenant_code AS char(6) CHECK (VALUE <> '');
CREATE TYPE pair AS (code text, number int);
CREATE TABLE tenant_types (type text PRIMARY KEY, value text);
INSERT INTO tenant_types VALUES
	('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), ('smallint', '-5'), ('int', '2147483647'),
	('bigint', '-9223372036854775808'), ('numeric', '12345678901234567890.1230'), ('boolean', 'yes'),
	('text', 'plain text'), ('varchar(20)', 'ends in blanks  '), ('char(6)', 'ab'), ('"char"', 'x'),
	('name', 'a name'), ('plan', 'gold'), ('tenant_uuid', 'a0eebc999c0b4ef8bb6d6bb9bd380a12'),
	('tenant_code', 'cd'), ('date', '2024-02-29'), ('timestamptz', '2024-02-29 12:00:00+02'),
	('timestamp', '2024-02-29 12:00'), ('timetz', '12:00+02'), ('interval', '1 year 2 days -03:00'),
	('real', '0.1'), ('double precision', '0.1'), ('bytea', '\x00ff'), ('inet', '10.0.0.1'), ('cidr', '10.0.0.0/8'),
	('macaddr', '08-00-2b-01-02-03'), ('jsonb', '{"b":1,"a":[2]}'), ('int[]', '{1,2}'),
	('timestamptz[]', '{2024-02-29 12:00:00+02}'), ('pair', '(x,1)'), ('tstzrange', '[2024-01-01 00:00+00,)'),
	('bit(4)', '1010'), ('oid', '17'), ('money', '1234.5'), ('regclass', 'tenant_types');
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT type, value, 'type ' || type AS name FROM tenant_types LOOP
		EXECUTE format('CREATE TABLE %I (tenant_id %s, n int)', t.name, t.type);
		EXECUTE format('INSERT INTO %I VALUES (%L, 1)', t.name, t.value);
		PERFORM cache_notify.setup_table_invalidation(quote_ident(t.name)::regclass);
		EXECUTE format('UPDATE %I SET n = 2', t.name);
	END LOOP;
END
$$;
SELECT c.domain, '<' || c.tenant_id || '>', c.n FROM _cache_notify.counter_total c
	WHERE c.domain LIKE 'type %' AND c.domain NOT IN ('type money', 'type regclass')
	ORDER BY c.domain COLLATE "C";
-- Where the text does not depend on settings it is that of the cast to text, so
-- that version(domain, tenant_id::text) asks for the right tenant.
DO $$
DECLARE
	t record;
	tenant text;
BEGIN
	FOR t IN SELECT 'type ' || type AS name FROM tenant_types
		WHERE type !~ '^(real|double|date|time|interval|tstz|bytea|money|regclass|pair|bit|"char")' LOOP
		EXECUTE format('SELECT tenant_id::text FROM %I', t.name) INTO tenant;
		IF cache_notify.version(t.name, tenant) <> 1 THEN
			RAISE WARNING '%: % is not known as %', t.name, tenant,
				(SELECT tenant_id FROM _cache_notify.counter_total WHERE domain = t.name);
		END IF;
	END LOOP;
END
$$;

-- A session with other settings moves the same keys. None may have two texts.
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Kathmandu';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = -10;
SET bytea_output = 'escape';
SET lc_monetary = 'C';
SET search_path = pg_catalog;
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT 'type ' || type AS name FROM public.tenant_types LOOP
		EXECUTE format('UPDATE public.%I SET n = 3', t.name);
	END LOOP;
END
$$;
RESET search_path;
SELECT domain, count(*) AS texts, sum(n) AS moved FROM _cache_notify.counter_total
	WHERE domain LIKE 'type %' GROUP BY domain HAVING count(*) > 1 OR sum(n) <> 2 ORDER BY domain COLLATE "C";
-- And they are left as they were.
SELECT now()::text LIKE '__/__/____ % +0545' AS datestyle_and_timezone, interval '1 day' AS intervalstyle,
	pi() AS extra_float_digits, '\x0061'::bytea AS bytea_output;
RESET ALL;
SET client_min_messages = warning;
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT 'type ' || type AS name FROM tenant_types LOOP
		EXECUTE format('DROP TABLE %I', t.name);
	END LOOP;
END
$$;
DROP TABLE tenant_types;
DROP TYPE plan, pair;
DROP DOMAIN tenant_uuid, tenant_code;
SELECT pg_temp.moved() LIKE '%DISAGREE' AS disagree;

-- Values of every sort in a text column. None is refused, all are told apart;
-- up to 255 bytes they are their own tenant, above it the change is shared.
CREATE TABLE item (id serial PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO item (tenant_id) VALUES (''), (' '), ('null'), ('NULL'), ('''";--'), (E'\\'), (E'\\000'),
	(E'\u0001\u0008\n\r\t\u001f\u007f'), (E'\u2028\u2029\ufeff'), ('🙂'), ('é'), (E'e\u0301'), ('Ünï'), ('ünï'),
	(repeat('x', 255)), (repeat('ü', 127) || 'y'), ('{"tenant_id": null}');
SELECT count(*) AS tenants, bool_and(cache_notify.version('item', tenant_id) = 1) AS moved,
	cache_notify.version('item', 'never was') AS shared FROM item;
SELECT pg_temp.moved() LIKE '%DISAGREE' AS disagree;
INSERT INTO item (tenant_id) VALUES (repeat('x', 256));
:moved
INSERT INTO item (tenant_id) VALUES (repeat('ü', 128));
:moved
INSERT INTO item (tenant_id) SELECT repeat(md5(i::text), 320) FROM generate_series(1, 3) AS i;
:moved
UPDATE item SET tenant_id = 'short' WHERE tenant_id = repeat('x', 256);
:moved
-- A tenant that is stored out of line, long and short.
INSERT INTO item (tenant_id) SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i;
:moved
-- Asking for such a tenant gives the shared version.
SELECT cache_notify.version('item', repeat('x', 256)) = cache_notify.version('item', 'never was') AS shared;
TRUNCATE item;
:moved

-- Neighbours in a statement: the tenant changes from row to row and back.
INSERT INTO item (tenant_id) VALUES ('a'), ('b'), ('a'), (NULL), ('a'), ('aa'), ('a'), (repeat('x', 300)), ('a');
:moved
DROP TABLE item;

-- The tenant from a setting: unset, set, empty, local, changed in between.
CREATE TABLE note (id int PRIMARY KEY, tenant_id text, body text);
SELECT cache_notify.setup_table_invalidation('note', tenant_setting => 'app.tenant_id');
INSERT INTO note VALUES (1, 'ignored', 'x');
:moved
SET app.tenant_id = 'acme';
INSERT INTO note VALUES (2, 'ignored', 'x'), (3, 'ignored', 'x');
:moved
UPDATE note SET body = 'y', tenant_id = 'other' WHERE id = 2;
:moved
UPDATE note SET body = body;
:moved
SET app.tenant_id = '';
DELETE FROM note WHERE id = 3;
:moved
BEGIN;
SET LOCAL app.tenant_id = 'local';
UPDATE note SET body = 'z' WHERE id = 2;
:moved
SET LOCAL app.tenant_id = 'local2';
UPDATE note SET body = 'zz' WHERE id = 2;
:moved
COMMIT;
UPDATE note SET body = 'zzz' WHERE id = 2;
:moved
SELECT set_config('app.tenant_id', repeat('x', 10000), false) IS NULL;
UPDATE note SET body = 'long' WHERE id = 2;
:moved
SET app.tenant_id = 'acme';
TRUNCATE note;
:moved
SELECT cache_notify.setup_table_invalidation('note', granularity => 'statement', tenant_setting => 'app.tenant_id');
INSERT INTO note VALUES (1), (2);
:moved
RESET app.tenant_id;
INSERT INTO note VALUES (3);
:moved
DROP TABLE note;
