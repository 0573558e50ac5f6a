-- The setting cache_notify.separate_schemas: of schemas that are in no search path
-- together, what is made in one takes no name of what is in another; so a new tenant's
-- schema empties no other tenant's caches. All else is as without the setting.
-- A failure shows as a token that is lost, or one that is not.
\set ECHO none
\i test/include/moved.sql
CREATE SCHEMA tenant_1;
CREATE SCHEMA tenant_2;
CREATE SCHEMA "x,3";
CREATE SCHEMA common;
CREATE FUNCTION make(s text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I.item (id int, n int)', s);
	EXECUTE format('CREATE TYPE %I.mood AS ENUM (''sad'')', s);
	EXECUTE format('CREATE FUNCTION %I.one(i int) RETURNS int IMMUTABLE LANGUAGE sql AS ''SELECT 1''', s);
	EXECUTE format('CREATE OPERATOR %I.@@+ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)', s);
	EXECUTE format('CREATE COLLATION %I.coll FROM "C"', s);
	EXECUTE format('CREATE VIEW %I.v_item AS SELECT id FROM %1$I.item', s);
END $$;
CREATE TEMP TABLE asked (q text PRIMARY KEY, token text);
INSERT INTO asked VALUES ('SELECT * FROM item'), ('SELECT ''sad''::mood FROM item'), ('SELECT one(id) FROM item'), ('SELECT id @@+ 1 FROM item'),
	('SELECT min(id::text COLLATE coll) FROM item'), ('SELECT * FROM v_item');
CREATE FUNCTION ask() RETURNS bigint LANGUAGE sql AS
	'UPDATE asked SET token = cache_notify.token_for(q); SELECT count(token) FROM asked';
CREATE FUNCTION lost() RETURNS text LANGUAGE sql AS
	'SELECT count(*) FILTER (WHERE NOT cache_notify.is_current(token)) || '' of '' || count(*) FROM asked';
SELECT make('tenant_1');
SELECT cache_notify.setup_table_invalidation('tenant_1.item');
\set ECHO all
SET search_path = tenant_1, common, public;
SELECT ask();
-- Without it, any other schema may come first in somebody's search path.
SELECT make('tenant_2');
SELECT lost();
SELECT ask();
DROP SCHEMA tenant_2 CASCADE;
CREATE SCHEMA tenant_2;
SET cache_notify.separate_schemas = 'other, "tenant_%","%,3"';
SELECT ask();
SELECT make('tenant_2');
SELECT lost();
-- By any of the ways in which a name can be taken.
ALTER TABLE tenant_2.item RENAME TO item_old;
CREATE TABLE common.new_item (id int);
CREATE TABLE tenant_2.item AS SELECT 1 AS id;
ALTER TABLE tenant_2.item RENAME TO item_older;
SELECT lost();
ALTER SCHEMA tenant_2 RENAME TO tenant_4;
SELECT lost();
-- What is not apart takes names as ever: a schema of all, one of another pattern,
-- the same schema.
SELECT make('x,3');
SELECT lost();
SELECT ask();
SELECT make('common');
SELECT lost();
SELECT ask();
ALTER TABLE common.item RENAME TO item_of_all;
ALTER FUNCTION tenant_1.one(int) RENAME TO two;
SELECT lost();
ALTER FUNCTION tenant_1.two(int) RENAME TO one;
SELECT ask();
CREATE FUNCTION tenant_1.one(i int, j int DEFAULT 0) RETURNS int LANGUAGE sql AS 'SELECT 2';
SELECT lost();
DROP FUNCTION tenant_1.one(int, int);
SELECT ask();
-- Out of the apart ones into the schema of all.
ALTER SCHEMA common RENAME TO common_old;
ALTER SCHEMA tenant_4 RENAME TO common;
SELECT ask();
ALTER TABLE common.item_old RENAME TO item;
SELECT lost();
-- A list that cannot be read, and who may set it.
SET cache_notify.separate_schemas = 'a, "b';
CREATE ROLE regress_separate;
SET ROLE regress_separate;
SET cache_notify.separate_schemas = '%';
RESET ROLE;
\set ECHO none
DROP ROLE regress_separate;
RESET cache_notify.separate_schemas;
RESET search_path;
DROP SCHEMA tenant_1, "x,3", common, common_old CASCADE;
