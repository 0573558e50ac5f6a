-- Serves G8 by v_invalidation_status: it says what is watched and how, and names every
-- reason why changes are missed or coarser than asked for; and each such state
-- makes a write coarser, never an error.
-- A failure shows as enabled (t) where a change moves nothing, as a problem that
-- is not told (NULL), or as an error of the write.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, name text, price int);
CREATE TABLE plain (id int PRIMARY KEY);
\set status 'SELECT table_name, domain, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY table_name::text COLLATE "C", domain COLLATE "C";'
:status

-- Every column, with and without options.
SELECT cache_notify.setup_table_invalidation('item');
SELECT cache_notify.setup_table_invalidation('item', 'zitem', channel => 'c', payload => 'json', columns => '{name,price}');
SELECT cache_notify.setup_table_invalidation('plain', granularity => 'statement', tenant_setting => 'app.tenant');
\pset tuples_only off
SELECT table_name, domain, tenant_column, tenant_setting, granularity, columns, channel, payload, enabled, problem
	FROM cache_notify.v_invalidation_status ORDER BY table_name::text COLLATE "C", domain COLLATE "C";
\pset tuples_only on
SELECT cache_notify.remove_table_invalidation('item', 'zitem');

-- Disabled triggers: nothing moves, and it says so.
ALTER TABLE item DISABLE TRIGGER cache_notify_row_item;
INSERT INTO item VALUES (1, 'a', 'x', 1);
:moved
:status
ALTER TABLE item ENABLE TRIGGER cache_notify_row_item;
ALTER TABLE item DISABLE TRIGGER cache_notify_statement_item;
:status
ALTER TABLE item DISABLE TRIGGER USER;
ALTER TABLE plain DISABLE TRIGGER ALL;
:status
TRUNCATE item;
INSERT INTO plain VALUES (1);
:moved
ALTER TABLE item ENABLE TRIGGER USER;
ALTER TABLE plain ENABLE TRIGGER ALL;
:status
-- Triggers that fire for replication only miss what this session writes.
ALTER TABLE item ENABLE REPLICA TRIGGER cache_notify_row_item;
INSERT INTO item VALUES (1, 'a', 'x', 1);
:moved
SELECT table_name, enabled, problem IS NOT NULL AS problem FROM cache_notify.v_invalidation_status WHERE domain = 'item';
-- And those that fire always are as good as usual ones.
ALTER TABLE item ENABLE ALWAYS TRIGGER cache_notify_row_item;
ALTER TABLE item ENABLE ALWAYS TRIGGER cache_notify_statement_item;
UPDATE item SET name = 'y';
:moved
:status
SET session_replication_role = replica;
UPDATE item SET name = 'z';
:moved
RESET session_replication_role;
-- Setting up again mends what was switched off.
ALTER TABLE item DISABLE TRIGGER ALL;
SELECT cache_notify.setup_table_invalidation('item');
:status
UPDATE item SET name = 'mended';
:moved

-- A trigger that is missing.
DROP TRIGGER cache_notify_row_item ON item;
:status
UPDATE item SET name = 'missed';
:moved
SELECT cache_notify.setup_table_invalidation('item');
DROP TRIGGER cache_notify_statement_item ON item;
:status
-- Rows still move the version; what no statement trigger closed counts once.
UPDATE item SET name = 'row only';
UPDATE item SET name = 'row only again';
:moved
SELECT cache_notify.setup_table_invalidation('item');
-- Triggers that do not agree with each other.
CREATE OR REPLACE TRIGGER cache_notify_row_item AFTER INSERT OR UPDATE OR DELETE ON item
	FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change('domain=item');
:status
SELECT cache_notify.setup_table_invalidation('item', columns => '{name}');
:status

-- A tenant column that has another name is followed.
ALTER TABLE item RENAME tenant_id TO customer;
:status
:moved
UPDATE item SET name = 'renamed';
:moved
-- One that is gone: changes concern all tenants.
ALTER TABLE item DROP COLUMN customer;
:status
:moved
UPDATE item SET name = 'dropped';
:moved
-- A column that counts is followed, and when it is gone every column counts.
SELECT cache_notify.setup_table_invalidation('item', columns => '{name}');
ALTER TABLE item RENAME name TO title;
:status
:moved
UPDATE item SET price = 16;
:moved
ALTER TABLE item DROP COLUMN title;
:status
:moved
UPDATE item SET price = 17;
:moved
-- Another type, another place.
ALTER TABLE item ADD tenant_id text;
SELECT cache_notify.setup_table_invalidation('item');
UPDATE item SET tenant_id = '5';
:moved
ALTER TABLE item ALTER tenant_id TYPE bigint USING tenant_id::bigint;
UPDATE item SET price = 18;
:moved
:status
-- The table's other name.
ALTER TABLE item RENAME TO article;
UPDATE article SET price = 19;
:moved
:status

-- Triggers made by hand, with odd arguments or none, do not fail the write.
CREATE TABLE hand (id int);
CREATE TRIGGER h1 AFTER INSERT ON hand FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change();
CREATE TRIGGER h2 AFTER INSERT ON hand FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.statement_change();
INSERT INTO hand VALUES (1);
:moved
CREATE OR REPLACE TRIGGER h1 AFTER INSERT ON hand FOR EACH ROW
	EXECUTE FUNCTION cache_notify.row_change('', 'domain', 'tenant_column=', 'column=', 'payload=?', 'channel=');
CREATE OR REPLACE TRIGGER h2 AFTER INSERT ON hand FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=hand', 'payload=?', 'granularity=?');
INSERT INTO hand VALUES (2);
:moved
SELECT count(*) >= 0 AS readable FROM cache_notify.v_invalidation_status;
DROP TABLE hand, article, plain;
:status
