-- A child that is set up with other options than its parent, for the same domain: what
-- both ask for counts, each change once, whichever was set up first.
-- A failure shows as a change that does not move what somebody has asked for.
\set ECHO none
\i test/include/moved.sql
CREATE SCHEMA fam;
SET search_path = fam;
CREATE FUNCTION triggers(relation regclass) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(function || CASE WHEN tgparentid <> 0 THEN ' (clone)' WHEN inherited THEN ' (inherited)' ELSE '' END
		|| coalesce(' ' || (options).columns::text, '') || coalesce(' by ' || (options).tenant_column, ''), ', '
		ORDER BY function, inherited, tgparentid <> 0, arguments)
	FROM _cache_notify.watching_trigger WHERE tgrelid = relation
$$;
\set ECHO all
-- Columns.
CREATE TABLE g (id int, x int, y int, z int);
CREATE TABLE p () INHERITS (g);
SELECT cache_notify.setup_table_invalidation('g', 'd', columns => '{x}');
SELECT cache_notify.setup_table_invalidation('p', 'd', columns => '{y}');
SELECT triggers('p');
INSERT INTO p VALUES (1, 1, 1, 1);
:moved
UPDATE g SET x = 2;
:moved
UPDATE p SET x = 3;
:moved
UPDATE p SET y = 2;
:moved
UPDATE g SET x = 4, y = 4;
:moved
UPDATE g SET z = 2;
:moved
TRUNCATE p;
:moved
SELECT table_name, domain, columns, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY 1;
SELECT cache_notify.token(NULL, 'd') IS NOT NULL AS known;
-- What the child asked for goes, and what the parent did stays; and the other way round.
SELECT cache_notify.remove_table_invalidation('p', 'd');
SELECT triggers('p');
INSERT INTO p VALUES (1, 1, 1, 1);
:moved
UPDATE p SET y = 5;
:moved
UPDATE p SET x = 5;
:moved
SELECT cache_notify.setup_table_invalidation('p', 'd', columns => '{y}');
SELECT cache_notify.remove_table_invalidation('g', 'd');
SELECT triggers('p');
:moved
UPDATE p SET x = 6;
:moved
UPDATE g SET y = 6;
:moved
-- Set up again with what covers both: one trigger of a kind.
SELECT cache_notify.setup_table_invalidation('g', 'd', columns => '{x}');
SELECT triggers('p');
SELECT cache_notify.setup_table_invalidation('p', 'd');
SELECT triggers('p');
:moved
UPDATE g SET x = 7;
:moved
-- It leaves the family, and comes back.
SELECT cache_notify.setup_table_invalidation('p', 'd', columns => '{y}');
ALTER TABLE p NO INHERIT g;
SELECT triggers('p');
ALTER TABLE p INHERIT g;
SELECT triggers('p');
:moved
UPDATE g SET x = 8;
:moved
DROP TABLE p, g;

-- Tenants: the parent's rows are of tenants by one column, or by none.
CREATE TABLE g (id int, a text, b text);
CREATE TABLE p () INHERITS (g);
SELECT cache_notify.setup_table_invalidation('p', 'd', tenant_column => 'b');
SELECT cache_notify.setup_table_invalidation('g', 'd', tenant_column => 'a');
SELECT triggers('p');
:moved
INSERT INTO p VALUES (1, 'one', 'two');
:moved
INSERT INTO p VALUES (2, 'one', 'three'), (3, NULL, 'four');
:moved
SELECT cache_notify.setup_table_invalidation('g', 'd', tenant_column => '');
:moved
UPDATE p SET a = 'x' WHERE id = 1;
:moved
-- Keys.
SELECT cache_notify.setup_table_invalidation('g', 'd', tenant_column => '', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('p', 'd', tenant_column => '', keys => '{a}');
SELECT cache_notify.token(NULL, 'd/1') AS one, cache_notify.token(NULL, 'd/x') AS x, cache_notify.token(NULL, 'd/7') AS other \gset
UPDATE p SET b = 'y' WHERE id = 1;
SELECT cache_notify.is_current(:'one') AS one, cache_notify.is_current(:'x') AS x, cache_notify.is_current(:'other') AS other;
-- Statements, of either.
SELECT cache_notify.setup_table_invalidation('g', 'd', tenant_column => '');
SELECT cache_notify.setup_table_invalidation('p', 'd', granularity => 'statement');
:moved
UPDATE g SET b = 'z' WHERE id = 1;
:moved
UPDATE p SET b = 'z' WHERE id = 7;
:moved
SELECT cache_notify.setup_table_invalidation('p', 'd', columns => '{id}');
SELECT cache_notify.setup_table_invalidation('g', 'd', granularity => 'statement');
:moved
UPDATE p SET b = 'w';
:moved
UPDATE g SET b = 'v' WHERE id = 7;
:moved
DROP TABLE p, g;

-- Two parents that ask for different things.
CREATE TABLE g (x int, y int);
CREATE TABLE h (x int, y int);
CREATE TABLE p () INHERITS (g, h);
SELECT cache_notify.setup_table_invalidation('g', 'd', columns => '{x}');
SELECT cache_notify.setup_table_invalidation('h', 'd', columns => '{y}');
SELECT triggers('p');
INSERT INTO p VALUES (1, 1);
:moved
UPDATE p SET x = 2;
UPDATE p SET y = 2;
:moved
SELECT cache_notify.setup_table_invalidation('g', 'd', columns => '{x}', channel => 'c');
SELECT triggers('p');
ALTER TABLE p NO INHERIT g;
SELECT triggers('p');
:moved
UPDATE p SET x = 3;
UPDATE h SET y = 3;
:moved
DROP TABLE p, g, h;

-- A partition that was watched by itself when it was attached.
CREATE TABLE g (id int, x int, y int) PARTITION BY LIST (id);
CREATE TABLE p (id int, x int, y int);
SELECT cache_notify.setup_table_invalidation('g', 'd', columns => '{x}');
SELECT cache_notify.setup_table_invalidation('p', 'd', columns => '{y}');
ALTER TABLE g ATTACH PARTITION p FOR VALUES IN (1);
SELECT triggers('p');
INSERT INTO g VALUES (1, 1, 1);
:moved
UPDATE g SET y = 2;
:moved
UPDATE p SET x = 2;
:moved
SELECT table_name, domain, columns, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY 1;
SELECT cache_notify.token(NULL, 'd') IS NOT NULL AS known;
ALTER TABLE g DETACH PARTITION p;
SELECT triggers('p');
:moved
UPDATE p SET y = 3;
UPDATE p SET x = 3;
:moved
SELECT cache_notify.setup_table_invalidation('p', 'd', columns => '{x}');
SELECT triggers('p');
\set ECHO none
SET client_min_messages = error;
DROP SCHEMA fam CASCADE;
