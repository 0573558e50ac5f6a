-- DDL that changes what a table returns bumps its domains, once per command;
-- DDL that does not, does not.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
CREATE SCHEMA se;
SET search_path = se;
CREATE TABLE moved (line int, command text, bumps bigint);
-- Runs a command and says how far the domain moved.
CREATE FUNCTION bumps(command text, domain text DEFAULT 'item') RETURNS bigint
	LANGUAGE plpgsql AS $$
DECLARE
	before bigint := _cache_notify.counted(domain);
BEGIN
	EXECUTE command;
	RETURN _cache_notify.counted(domain) - before;
END $$;

CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN dpair AS pair;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, name text, price int, mood mood, pair pair, pairs dpair[]);
INSERT INTO item VALUES (1, 'a', 'one', 1, 'sad', (1, 2));
SELECT cache_notify.setup_table_invalidation('item', columns => '{name,price}');
-- no history: watching it is not a change
SELECT cache_notify.version('item');

SELECT c, bumps(c) FROM unnest(ARRAY[
	'ALTER TABLE item ADD COLUMN extra int',
	'ALTER TABLE item ADD COLUMN extra2 timestamptz DEFAULT clock_timestamp(), ADD COLUMN extra3 int',
	'ALTER TABLE item DROP COLUMN extra2, DROP COLUMN extra3',
	'ALTER TABLE item ALTER price TYPE bigint USING price * 2',
	'ALTER TABLE item ALTER name TYPE varchar(40)',
	'ALTER TABLE item RENAME extra TO extra4',
	'ALTER TABLE item RENAME TO thing',
	'ALTER TABLE thing RENAME TO item',
	'ALTER TABLE item ENABLE ROW LEVEL SECURITY',
	'CREATE POLICY p ON item USING (id > 1)',
	'ALTER POLICY p ON item USING (id > 2)',
	'ALTER POLICY p ON item RENAME TO q',
	'DROP POLICY q ON item',
	'ALTER TABLE item FORCE ROW LEVEL SECURITY',
	'ALTER TABLE item DISABLE ROW LEVEL SECURITY',
	'ALTER TYPE mood RENAME VALUE ''sad'' TO ''bad''',
	'ALTER TYPE mood ADD VALUE ''fine''',
	'ALTER TYPE pair ADD ATTRIBUTE c int',
	'ALTER TYPE pair RENAME ATTRIBUTE c TO d',
	'ALTER TABLE item ALTER price SET DEFAULT 1',
	'ALTER TABLE item ALTER price SET NOT NULL',
	'ALTER TABLE item ADD CHECK (price > 0)',
	'ALTER TABLE item SET (fillfactor = 70)',
	'ALTER TABLE item ALTER price SET STATISTICS 10',
	'ALTER TABLE item SET UNLOGGED',
	'ALTER TABLE item SET LOGGED',
	'CREATE INDEX item_name ON item (name)',
	'ALTER TABLE item CLUSTER ON item_name',
	'CLUSTER item',
	'ANALYZE item',
	'COMMENT ON TABLE item IS ''x''',
	'GRANT SELECT ON item TO PUBLIC',
	'CREATE TABLE other (a int)',
	'ALTER TABLE other ADD COLUMN b int',
	'DROP TABLE other',
	'CREATE SCHEMA se2',
	'ALTER TABLE item SET SCHEMA se2',
	'ALTER SCHEMA se2 RENAME TO se3',
	'ALTER TABLE se3.item SET SCHEMA se'
]) WITH ORDINALITY AS u (c, i) ORDER BY i;
DROP SCHEMA se3;

-- The tenant column and a column that counts get new names.
ALTER TABLE item RENAME tenant_id TO org;
ALTER TABLE item RENAME name TO label;
SELECT tenant_column, columns, enabled, problem FROM cache_notify.v_invalidation_status WHERE domain = 'item';
SELECT cache_notify.version('item', 'a') - cache_notify.version('item', 'never was') AS a;
UPDATE item SET label = 'two';
UPDATE item SET mood = 'glad';	-- does not count
SELECT cache_notify.version('item', 'a') - cache_notify.version('item', 'never was') AS a;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'item'::regclass ORDER BY 1;
-- Without them every change is shared, and every column counts.
SELECT bumps('ALTER TABLE item DROP COLUMN org'), bumps('ALTER TABLE item DROP COLUMN label');
SELECT tenant_column, columns, enabled, problem FROM cache_notify.v_invalidation_status WHERE domain = 'item';
SELECT bumps('UPDATE item SET mood = ''bad''');

-- Typed tables
CREATE TYPE row_type AS (id int, tenant_id text, v int);
CREATE TABLE typed OF row_type;
SELECT cache_notify.setup_table_invalidation('typed');
SELECT bumps('ALTER TYPE row_type ALTER ATTRIBUTE v TYPE bigint CASCADE', 'typed'),
	bumps('ALTER TYPE row_type RENAME ATTRIBUTE tenant_id TO org CASCADE', 'typed');
SELECT tenant_column, problem FROM cache_notify.v_invalidation_status WHERE domain = 'typed';

-- Triggers that are disabled are shown; what happened meanwhile counts afterwards.
SELECT c, bumps(c) FROM unnest(ARRAY[
	'ALTER TABLE item DISABLE TRIGGER ALL',
	'UPDATE item SET price = 7']) WITH ORDINALITY AS u (c, i) ORDER BY i;
SELECT enabled, problem FROM cache_notify.v_invalidation_status WHERE domain = 'item';
SELECT c, bumps(c) FROM unnest(ARRAY[
	'ALTER TABLE item ENABLE TRIGGER ALL',
	'ALTER TABLE item ENABLE TRIGGER ALL',
	'ALTER TABLE item DISABLE TRIGGER cache_notify_row_item',
	'ALTER TABLE item ENABLE REPLICA TRIGGER cache_notify_row_item']) WITH ORDINALITY AS u (c, i) ORDER BY i;
SELECT enabled, problem FROM cache_notify.v_invalidation_status WHERE domain = 'item';
ALTER TABLE item ENABLE TRIGGER cache_notify_row_item;
SELECT enabled, problem FROM cache_notify.v_invalidation_status WHERE domain = 'item';
-- A table that was not watched for a while has changed unseen.
SELECT bumps($$SELECT cache_notify.setup_table_invalidation('item')$$) AS still_watched;
SELECT bumps($$SELECT cache_notify.remove_table_invalidation('item')$$) AS removed;
SELECT bumps($$SELECT cache_notify.setup_table_invalidation('item')$$) AS watched_again;

-- Dropping
CREATE TABLE item2 (id int REFERENCES item);
SELECT cache_notify.setup_table_invalidation('item2', 'item');
SELECT bumps('DROP TABLE item, item2');
SELECT table_name, domain FROM cache_notify.v_invalidation_status;
CREATE SCHEMA se4
	CREATE TABLE item (id int);
SELECT cache_notify.setup_table_invalidation('se4.item');
SELECT bumps('DROP SCHEMA se4 CASCADE');
DROP TYPE row_type CASCADE;
SELECT table_name, domain FROM cache_notify.v_invalidation_status;
-- made, watched and dropped in one transaction; rolled back
BEGIN;
CREATE TABLE item (id int);
SELECT cache_notify.setup_table_invalidation('item');
SAVEPOINT s;
SELECT bumps('DROP TABLE item');
ROLLBACK TO s;
SELECT bumps('ALTER TABLE item ADD x int');
COMMIT;
BEGIN;
SELECT bumps('DROP TABLE item');
ROLLBACK;
SELECT bumps('SELECT 1') AS rolled_back;
DROP TABLE item;

-- Redefining a view or function bumps a domain of its own; creating one does not.
CREATE FUNCTION definition(oid) RETURNS text LANGUAGE sql AS $$ SELECT 'cache_notify/definition/' || $1::bigint % 1024 $$;
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE VIEW v AS SELECT 1 AS a;
CREATE TEMP TABLE d AS SELECT definition('v'::regclass::oid) AS v, definition('f()'::regprocedure::oid) AS f;
SELECT cache_notify.version(v), cache_notify.version(f) FROM d;
SELECT c, bumps(c, v) AS view, bumps('SELECT 1', f) FROM d, unnest(ARRAY[
	'CREATE OR REPLACE VIEW v AS SELECT 2 AS a',
	'ALTER VIEW v RENAME a TO b',
	'ALTER VIEW v SET (security_barrier)',
	'ALTER VIEW v RENAME TO w',
	'DROP VIEW w']) AS c;
SELECT c, bumps(c, f) AS function FROM d, unnest(ARRAY[
	'CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS ''SELECT 2''',
	'ALTER FUNCTION f() STABLE',
	'ALTER FUNCTION f() RENAME TO g',
	'DROP FUNCTION g']) AS c;

-- Temporary tables are nobody else's business.
CREATE TEMP TABLE t (a int);
ALTER TABLE t ADD b int;
DROP TABLE t;
SELECT count(*) FROM cache_notify.pending_changes();
-- An event trigger that is off is reported.
CREATE TABLE item (id int);
SELECT cache_notify.setup_table_invalidation('item');
ALTER EVENT TRIGGER cache_notify_command_end DISABLE;
SELECT problem FROM cache_notify.v_invalidation_status;
ALTER EVENT TRIGGER cache_notify_command_end ENABLE ALWAYS;
-- In a session that replays changes, too.
SET session_replication_role = replica;
SELECT bumps('ALTER TABLE item ADD x int');
RESET session_replication_role;
-- Called by hand
SELECT _cache_notify.schema_event();
DROP SCHEMA se CASCADE;
