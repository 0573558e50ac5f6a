-- Serves G1 and G8: whom it concerns that a definition changes, and whom it does not.
-- A failure shows as a domain that stays where it is, or one that moves for nothing.
BEGIN;
SELECT plan(19);

CREATE FUNCTION moves(domains text[], sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before bigint[] := ARRAY(SELECT cache_notify.version(d) FROM unnest(domains) WITH ORDINALITY AS u (d, i) ORDER BY i);
BEGIN
	EXECUTE sql;
	RETURN (SELECT string_agg((cache_notify.version(d) - before[i])::text, ' ' ORDER BY i) FROM unnest(domains) WITH ORDINALITY AS u (d, i));
END $$;

-- A policy's function decides what its table returns.
CREATE FUNCTION may_see(owner text) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT owner = current_user';
CREATE TABLE secret (id int, owner text);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secret USING (may_see(owner));
SELECT cache_notify.setup_table_invalidation('secret');
SELECT is(moves('{secret}', $$CREATE OR REPLACE FUNCTION may_see(owner text) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT true'$$), '1',
	'the function of a policy');
CREATE VIEW seen AS SELECT id FROM secret;
CREATE POLICY by_view ON secret USING (id IN (SELECT id FROM seen));
SELECT is(moves('{secret}', 'CREATE OR REPLACE VIEW seen AS SELECT id FROM secret WHERE id > 1'), '1', 'the view of a policy');

-- Rights: what is given changes no result.
CREATE ROLE reader_of_secrets;
SELECT is(moves('{secret}', 'GRANT SELECT ON secret TO reader_of_secrets'), '0', 'a right that is given');
SELECT is(moves('{secret}', 'GRANT SELECT (owner), UPDATE (id) ON secret TO reader_of_secrets'), '0', 'rights on columns that are given');
SELECT is(moves('{secret}', 'REVOKE SELECT (owner) ON secret FROM reader_of_secrets'), '1', 'a right on a column that is taken');
SELECT is(moves('{secret}', 'REVOKE SELECT ON secret FROM reader_of_secrets'), '1', 'a right that is taken');

-- Types made of a type.
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN good_mood AS mood;
CREATE TYPE moods AS (now mood);
CREATE TABLE plain_mood (m mood);
CREATE TABLE list_of_moods (m mood[]);
CREATE TABLE list_of_composites (m moods[]);
CREATE TABLE domain_of_moods (m good_mood);
CREATE TABLE row_of_moods (m list_of_moods);
SELECT cache_notify.setup_table_invalidation(t) FROM unnest('{plain_mood,list_of_moods,list_of_composites,domain_of_moods,row_of_moods}'::regclass[]) AS u (t);
SELECT is(moves('{plain_mood,list_of_moods,list_of_composites,domain_of_moods,row_of_moods}', $$ALTER TYPE mood RENAME VALUE 'sad' TO 'bad'$$),
	'1 1 1 1 1', 'a value of an enum has another name: columns of it, of arrays, composites, domains and rows');
SELECT is(moves('{plain_mood,list_of_moods,list_of_composites,domain_of_moods,row_of_moods}', 'ALTER TYPE moods ADD ATTRIBUTE since date'),
	'0 0 1 0 0', 'a composite type has another part: those who have it');

-- Children with a domain of their own.
CREATE TABLE parent (id int, n int);
CREATE TABLE child () INHERITS (parent);
CREATE TABLE grandchild () INHERITS (child);
SELECT cache_notify.setup_table_invalidation('parent');
SELECT cache_notify.setup_table_invalidation('grandchild', 'own');
SELECT is(moves('{parent,own}', 'ALTER TABLE parent ALTER n TYPE bigint'), '1 1', 'a type in a whole family');
SELECT is(moves('{parent,own}', 'ALTER TABLE parent RENAME n TO m'), '1 1', 'a name in a whole family');
SELECT is(moves('{parent,own}', 'ALTER TABLE ONLY parent SET (fillfactor = 80)'), '0 0', 'and what changes no result');

-- What is in a schema has another name when that has.
CREATE SCHEMA s;
CREATE TABLE s.t (id int);
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
SELECT cache_notify.setup_table_invalidation('s.t', 'of_schema');
SELECT ok(cache_notify.token_for('SELECT s.f()') IS NOT NULL, 'a query of the function alone has a token');
SELECT cache_notify.token_for('SELECT s.f()') AS token \gset
SELECT is(moves('{of_schema}', 'ALTER SCHEMA s RENAME TO s2'), '1', 'a schema has another name: its tables');
SELECT ok(NOT cache_notify.is_current(:'token'), 'and its functions');

-- Those who keep a copy of the schema need not hear that a table is watched.
SELECT cache_notify.setup_schema_invalidation('postgrest');
CREATE TABLE told (id int);
SELECT is(moves('{schema}', 'CREATE TABLE told_of (id int)'), '1', 'a listener of the schema hears of a table');
SELECT is(moves('{schema}', $$SELECT cache_notify.setup_table_invalidation('told')$$), '0', 'not that it is watched');
SELECT is(moves('{schema}', 'ALTER TABLE told DISABLE TRIGGER cache_notify_row_told'), '0', 'nor that a trigger of ours rests');
SELECT is(moves('{schema}', $$SELECT cache_notify.remove_table_invalidation('told')$$), '0', 'nor that it is watched no longer');

-- The library looks whether it returns what the SQL says.
CREATE FUNCTION other_columns(OUT bumps bigint, OUT other int) LANGUAGE c AS '$libdir/cache_notify', 'cache_notify_statistics';
SELECT throws_like('SELECT * FROM other_columns()', '%not where the library%', 'columns of another version');

SELECT * FROM finish();
ROLLBACK;
