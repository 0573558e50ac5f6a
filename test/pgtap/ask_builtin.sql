-- What domains_of() says of the server's own functions: it goes over pg_proc, so
-- that what a new version adds is marked until somebody has looked at it.
\set QUIET 1
\pset format unaligned
\pset tuples_only on
\pset pager off
BEGIN;
SELECT plan(6);
SET search_path = pg_catalog, public;

CREATE TEMP TABLE builtin AS
	SELECT p.oid, p.oid::regprocedure::text AS signature, p.provolatile AS kind, coalesce(b.mark, 'unknown') AS mark, b.signature AS written,
		format('SELECT %s(%s)', p.oid::regproc, (
			SELECT string_agg(CASE WHEN p.provariadic <> 0 AND p.provariadic <> '"any"'::regtype AND i = p.pronargs THEN 'VARIADIC ' ELSE '' END
				|| CASE t::regtype::text WHEN '"any"' THEN 'NULL::int' WHEN 'anyelement' THEN 'NULL::int' WHEN 'anynonarray' THEN 'NULL::int'
				WHEN 'anyarray' THEN 'NULL::int[]' WHEN 'anycompatiblearray' THEN 'NULL::int[]' WHEN 'anycompatible' THEN 'NULL::int'
				WHEN 'anyrange' THEN 'NULL::int4range' WHEN 'anymultirange' THEN 'NULL::int4multirange' WHEN 'record' THEN 'ROW(1)'
				WHEN 'anyenum' THEN 'NULL::pg_temp.mood'
				ELSE 'NULL::' || t::regtype::text END, ', ' ORDER BY i)
			FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, i))) AS query,
		EXISTS (SELECT FROM unnest(p.proargtypes) AS a (t) JOIN pg_type y ON y.oid = t
			WHERE y.typtype = 'p' AND y.typname NOT IN ('any', 'anyelement', 'anynonarray', 'anyarray', 'anyenum', 'anycompatible', 'anycompatiblearray',
				'anyrange', 'anymultirange', 'record', 'cstring'))
			OR p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) OR p.prokind NOT IN ('f', 'a')
			OR p.proargtypes::oid[] && '{anycompatiblerange,anycompatiblemultirange}'::regtype[]::oid[] AS uncallable
	FROM pg_proc p LEFT JOIN _cache_notify.builtin_functions() b ON b.function = p.oid
	WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace;
CREATE TYPE pg_temp.mood AS ENUM ('ok');

SELECT is_empty($$SELECT signature, written FROM builtin WHERE written <> signature$$,
	'each OID in the table is that of the function it names');
SELECT is_empty($$SELECT signature FROM builtin
	WHERE kind = 'i' AND mark <> 'unknown' AND signature NOT IN ('date_trunc(text,timestamp with time zone,text)' /* since 16 */, 'interval_out(interval)' /* until 14 */, 'byteaout(bytea)', 'float4out(real)', 'float8out(double precision)')$$,
	'those in the table are not IMMUTABLE, except for the text of some values');
SELECT results_eq('SELECT function FROM _cache_notify.builtin_functions() AS b (function)',
	'SELECT function FROM _cache_notify.builtin_functions() AS b (function) ORDER BY 1', 'and is in order');

-- The whole of pg_proc, called: what is not known to be harmless has a mark.
CREATE TEMP TABLE said AS
	SELECT b.*, d.certainty, d.reason FROM builtin b
	LEFT JOIN LATERAL _cache_notify.try_domains_of(b.query, 'pg_catalog', 0) d ON d.certainty <> 'definition' OR b.mark = 'text search'
	WHERE NOT uncallable AND kind <> 'i' AND mark NOT IN ('harmless', 'output', 'json', 'input');
SELECT is_empty($$SELECT signature, kind, mark, certainty, reason FROM said s
	WHERE certainty IS NULL OR certainty = 'error' OR mark = 'unknown' AND NOT EXISTS (
		SELECT FROM said t WHERE t.oid = s.oid AND t.certainty IN ('opaque', 'volatile'))$$,
	'every other STABLE or VOLATILE function is marked');
SELECT is_empty($$SELECT signature, d.certainty, d.reason FROM builtin b
	CROSS JOIN LATERAL _cache_notify.try_domains_of(b.query, 'pg_catalog', 0) d
	WHERE mark = 'harmless' AND NOT uncallable AND d.certainty <> 'definition'$$, 'the harmless ones have none');
SELECT cmp_ok((SELECT count(DISTINCT oid) FROM said), '>', 300::bigint, 'which ' || (SELECT count(DISTINCT oid) FROM said) || ' functions were asked about');
SELECT * FROM finish();
ROLLBACK;
