-- G3, G4: names that are hashed alike are as many as they are, in a transaction, in its
-- counters, in what a session remembers of them, and in answers about several.
--
-- A failure shows as a change of one that moved the other, or was counted nowhere.
\set ECHO none
\i test/include/moved.sql
\set ECHO all
CREATE TABLE item (tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item');
-- The server's own hash of a text is the one that is used.
CREATE TABLE alike AS
	SELECT min(name) AS a, max(name) AS b FROM (SELECT 'n' || i AS name FROM generate_series(1, 400000) AS i) AS names
	GROUP BY length(name), hashtext(name) HAVING count(*) > 1 ORDER BY 1 LIMIT 5;
SELECT count(*), bool_and(a <> b AND hashtext(a) = hashtext(b)) AS alike FROM alike;
CREATE FUNCTION versions() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s-%s', cache_notify.version('item', a) - cache_notify.version_origin(),
		cache_notify.version('item', b) - cache_notify.version_origin()), ' ' ORDER BY a) FROM alike $$;

-- As tenants: one after the other, both in a statement, both in a transaction.
INSERT INTO item SELECT a FROM alike;
SELECT versions();
INSERT INTO item SELECT b FROM alike;
INSERT INTO item SELECT b FROM alike;
SELECT versions();
INSERT INTO item SELECT a FROM alike;
SELECT versions();
INSERT INTO item SELECT a FROM alike UNION ALL SELECT b FROM alike;
SELECT versions();
-- Few in a transaction are kept otherwise than many.
INSERT INTO item SELECT unnest(ARRAY[a, b]) FROM (SELECT * FROM alike ORDER BY a LIMIT 1) AS one;
SELECT versions();
BEGIN;
INSERT INTO item SELECT a FROM alike;
SELECT versions(), count(*) FROM cache_notify.pending_changes();
INSERT INTO item SELECT b FROM alike;
INSERT INTO item SELECT b FROM alike;
SELECT versions(), count(*) FROM cache_notify.pending_changes();
COMMIT;
SELECT versions();
-- What the table has, without us
SELECT count(*) FILTER (WHERE tenant_id = a) AS rows_a, count(*) FILTER (WHERE tenant_id = b) AS rows_b FROM item, (SELECT * FROM alike LIMIT 1) AS one;

-- Questions about both at once.
CREATE TABLE tokens AS SELECT a, b, cache_notify.token(a, 'item') AS of_a, cache_notify.token(b, 'item') AS of_b FROM alike;
SELECT cache_notify.current_position() AS position \gset
INSERT INTO item SELECT b FROM alike;
SELECT bool_and(cache_notify.is_current(of_a)) AS a, bool_or(cache_notify.is_current(of_b)) AS b FROM tokens;
SELECT cache_notify.stale(array_agg(t ORDER BY a, t = of_b)) = array_agg(of_b ORDER BY a) FILTER (WHERE t = of_b) AS stale
FROM tokens, unnest(ARRAY[of_a, of_b]) AS t;
SELECT cache_notify.stale(array_agg(t ORDER BY a, t = of_a)) = array_agg(of_b ORDER BY a) FILTER (WHERE t = of_b) AS stale
FROM tokens, unnest(ARRAY[of_a, of_b]) AS t;
SELECT array_agg(tenant_id ORDER BY tenant_id) = (SELECT array_agg(b ORDER BY b) FROM alike) AS told FROM cache_notify.changes_since(:'position');
SELECT cache_notify.current_position() AS position \gset
INSERT INTO item SELECT a FROM alike UNION ALL SELECT b FROM alike;
SELECT count(*), bool_and(version = cache_notify.version('item', tenant_id)) AS right FROM cache_notify.changes_since(:'position');

-- As domains.
SELECT count(cache_notify.invalidate(a)) FROM alike;
SELECT count(cache_notify.invalidate(b)), count(cache_notify.invalidate(b)) FROM alike;
SELECT count(cache_notify.invalidate(a)), count(cache_notify.invalidate(b)) FROM alike;
SELECT cache_notify.version(a) - cache_notify.version_origin() AS a, cache_notify.version(b) - cache_notify.version_origin() AS b FROM alike;
:moved

DROP TABLE item, alike, tokens CASCADE;
DROP FUNCTION versions;
