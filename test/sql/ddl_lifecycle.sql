-- Serves the extension as an object: everything has a comment, the right tables
-- are dumped, DROP EXTENSION asks before it unwatches, and a transaction outlives it.
-- A failure shows as the name of an object without a comment, another list of
-- tables, or an error of a write or a commit.
\set ECHO none
\i test/include/moved.sql

-- Every object of the extension has a comment, columns of its tables included.
SELECT pg_describe_object(classid, objid, 0) AS without_comment
	FROM pg_depend d
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cache_notify')
	AND NOT (classid = 'pg_type'::regclass)
	AND obj_description(objid, classid::regclass::name) IS NULL
	ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C";
SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relnamespace IN ('cache_notify'::regnamespace, '_cache_notify'::regnamespace) AND c.relkind = 'r'
	AND a.attnum > 0 AND NOT a.attisdropped AND col_description(a.attrelid, a.attnum) IS NULL
	ORDER BY a.attrelid::regclass::text COLLATE "C", a.attnum;
SELECT t.tgrelid::regclass, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace IN ('cache_notify'::regnamespace, '_cache_notify'::regnamespace) AND NOT t.tgisinternal
	AND obj_description(t.oid, 'pg_trigger') IS NULL;
SELECT count(*) > 10 AS objects FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cache_notify');
SELECT obj_description(oid, 'pg_extension') IS NOT NULL AS comment FROM pg_extension WHERE extname = 'cache_notify';
-- Everything that a schema can hold is in the two schemas, which cannot be others.
SELECT DISTINCT (pg_identify_object(classid, objid, 0)).schema
	FROM pg_depend WHERE classid <> ALL ('{pg_event_trigger,pg_namespace}'::regclass[]) AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cache_notify');
SELECT extrelocatable FROM pg_extension WHERE extname = 'cache_notify';
CREATE SCHEMA elsewhere;
DROP EXTENSION cache_notify;
CREATE EXTENSION cache_notify SCHEMA elsewhere;
DROP SCHEMA elsewhere;
CREATE EXTENSION cache_notify;
SELECT c::regclass FROM pg_extension, unnest(extconfig) AS c WHERE extname = 'cache_notify' ORDER BY c::regclass::text COLLATE "C";

-- DROP EXTENSION is refused while tables are watched.
CREATE TABLE item (id int PRIMARY KEY, tenant_id text);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO item VALUES (1, 'a');
\set VERBOSITY sqlstate
DROP EXTENSION cache_notify;
\set VERBOSITY default
INSERT INTO item VALUES (2, 'a');
SELECT cache_notify.version('item', 'a');
-- With CASCADE the triggers go, the rows stay.
DROP EXTENSION cache_notify CASCADE;
INSERT INTO item VALUES (3, 'a');
SELECT count(*) FROM item;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'item'::regclass;

-- Back again it starts from nothing, in the same session.
CREATE EXTENSION cache_notify;
SELECT cache_notify.version('item', 'a');
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page');
UPDATE item SET id = id + 10;
SELECT cache_notify.version('item', 'a'), cache_notify.version('page', 'a');

-- Dropped in a transaction that has changes pending: it commits all the same.
BEGIN;
UPDATE item SET id = id + 10;
DROP EXTENSION cache_notify CASCADE;
COMMIT;
SELECT min(id) FROM item;
CREATE EXTENSION cache_notify;
SELECT cache_notify.setup_table_invalidation('item');
-- Dropped and rolled back: the change counts.
BEGIN;
UPDATE item SET id = id + 10;
SAVEPOINT s;
DROP EXTENSION cache_notify CASCADE;
ROLLBACK TO s;
UPDATE item SET id = id + 10;
COMMIT;
SELECT cache_notify.version('item', 'a');
BEGIN;
DROP EXTENSION cache_notify CASCADE;
UPDATE item SET id = id + 10;
ROLLBACK;
UPDATE item SET id = id + 10;
SELECT cache_notify.version('item', 'a');
-- Dropped and created anew in the transaction that has changes pending.
BEGIN;
UPDATE item SET id = id + 10;
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
SELECT cache_notify.setup_table_invalidation('item');
UPDATE item SET id = id + 10;
COMMIT;
SELECT cache_notify.version('item', 'a') > 0 AS moved;
-- Created, used and rolled back in one.
DROP TABLE item;
DROP EXTENSION cache_notify;
BEGIN;
CREATE EXTENSION cache_notify;
CREATE TABLE item (id int);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO item VALUES (1);
SELECT cache_notify.version('item');
ROLLBACK;
BEGIN;
CREATE EXTENSION cache_notify;
CREATE TABLE item (id int);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO item VALUES (1);
COMMIT;
SELECT cache_notify.version('item');

-- Counters moved to other files, as VACUUM FULL does, lose nothing.
VACUUM FULL _cache_notify.version_counter;
INSERT INTO item VALUES (2);
REINDEX INDEX _cache_notify.version_counter_key;
INSERT INTO item VALUES (3);
SELECT cache_notify.version('item');
BEGIN;
INSERT INTO item VALUES (4);
CLUSTER _cache_notify.version_counter USING version_counter_key;
INSERT INTO item VALUES (5);
COMMIT;
SELECT cache_notify.version('item');

-- Replication role: sessions that replay fire no triggers unless told to.
SET session_replication_role = replica;
INSERT INTO item VALUES (6);
RESET session_replication_role;
SELECT cache_notify.version('item');
DROP TABLE item;
