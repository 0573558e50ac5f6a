-- Layouts of buckets, as set-ups choose them and as triggers made by hand bring them:
-- each set-up's is new, the oldest trigger's counts, what the domain has left never
-- comes back (G3), and keys go on being told apart (G7).
--
-- A failure shows as a version that goes back, a layout that was there before, or a key
-- that moves with another one.
\set ECHO none
\i test/include/moved.sql
\set ECHO none
CREATE SCHEMA layout;
SET search_path = layout;
CREATE TABLE item (id int, tenant_id text);
-- The layout that the set-up of a table has chosen
CREATE FUNCTION layout_of(relation regclass) RETURNS bigint LANGUAGE sql AS
	$$SELECT (options).bucket_layout FROM _cache_notify.watching_trigger WHERE tgrelid = relation AND function = 'statement_change'$$;
-- What anybody can do who owns a table
CREATE FUNCTION by_hand(name text, layout bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE %I (id int, tenant_id text)', name);
	EXECUTE format('CREATE TRIGGER r AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION'
		' cache_notify.row_change(''domain=item'', ''key=id'', ''bucket_layout=%s'', ''tenant_column=tenant_id'')', name, layout);
	EXECUTE format('CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION'
		' cache_notify.statement_change(''domain=item'', ''key=id'', ''bucket_layout=%s'', ''tenant_column=tenant_id'')', name, layout);
END $$;
-- Have versions gone back since this was asked last?
CREATE TABLE highest (name text, version bigint);
CREATE FUNCTION back() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SELECT string_agg(format('%s: %s after %s', n, v, h.version), ', ') INTO result
	FROM (SELECT n, cache_notify.version(n, 'a') AS v FROM unnest('{item,item/1,item/2,item/3}'::text[]) AS u (n)) AS now
	JOIN highest h ON h.name = n AND v < h.version;
	INSERT INTO highest SELECT n, cache_notify.version(n, 'a') FROM unnest('{item,item/1,item/2,item/3}'::text[]) AS u (n);
	RETURN coalesce(result, 'no');
END $$;
-- A change of key 1: by how much that moves keys 1 and 2.
CREATE FUNCTION apart() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	one bigint := cache_notify.version('item/1', 'a');
	two bigint := cache_notify.version('item/2', 'a');
BEGIN
	INSERT INTO layout.item VALUES (1, 'a');
	RETURN format('%s %s', cache_notify.version('item/1', 'a') - one, cache_notify.version('item/2', 'a') - two);
END $$;
CREATE TABLE layouts (i serial, generation bigint);
CREATE FUNCTION set_up(buckets int) RETURNS void LANGUAGE sql AS $$
	SELECT cache_notify.setup_table_invalidation('layout.item', keys => '{id}', buckets => set_up.buckets);
	INSERT INTO layout.item VALUES (2, 'a');
	INSERT INTO layout.layouts (generation) SELECT layout.layout_of('layout.item') >> 5;
$$;
\set ECHO all
-- Each layout is above those before, in other transactions and in the same one.
SELECT set_up(64);
SELECT set_up(128);
SELECT set_up(64);
BEGIN;
SELECT set_up(128), set_up(64), set_up(128);
SELECT back();
COMMIT;
SELECT bool_and(coalesce(l.generation > before.generation, true)) AS each_is_new
FROM layouts l LEFT JOIN layouts before ON before.i = l.i - 1;
SELECT apart(), back();
SELECT apart(), back();

-- Another layout, by hand: it changes neither the domain's nor what was counted in it.
SELECT layout_of('item') AS first \gset
SELECT by_hand('above', :first + 64), by_hand('below', :first - 64);
SELECT apart(), back();
INSERT INTO above VALUES (3, 'a');
INSERT INTO below VALUES (3, 'a');
SELECT back();
SELECT apart(), back();
SELECT layout_of('item') = :first AS same;

-- The domain's own goes: it has the next one's, and never that one again.
SELECT cache_notify.remove_table_invalidation('item');
SELECT back();
SELECT by_hand('again', :first);
SELECT back();
DROP TABLE above, below;
SELECT back();
INSERT INTO again VALUES (1, 'a');
SELECT back();
-- Nor does who sets up get it.
SELECT cache_notify.setup_table_invalidation('item', keys => '{id}');
SELECT layout_of('item') <> :first AS another, apart(), back();
DROP TABLE again;
SELECT apart(), back();

SET client_min_messages = warning;
DROP SCHEMA layout CASCADE;
