-- What the tests in test/sql share. A test includes it with ECHO off.
--
--   :moved     prints the counters that moved since it was asked last, by how
--              much: "price/acme +1" for a tenant, "price +1" for the shared
--              counter. It looks at all of them, so what should not have moved
--              shows as well, and it compares the view with the function:
--              DISAGREE means that domain_version and version() differ.
--   :triggers  lists the triggers of all watched tables with their arguments.
--
-- The extension is created anew, so files do not depend on each other.
-- What was seen is kept in a temporary table, so a rollback forgets that too.
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' | '
\pset null NULL
\set SHOW_CONTEXT never
SET client_min_messages = warning;

DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
CREATE TEMP TABLE seen AS
	SELECT domain, tenant_id, n FROM _cache_notify.counter_total;

CREATE FUNCTION pg_temp.moved() RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	result text;
BEGIN
	SELECT coalesce(string_agg(format('%s%s %s%s', domain, '/' || left(tenant_id, 40),
			CASE WHEN by > 0 THEN '+' END, by), ', '
			ORDER BY domain COLLATE "C", tenant_id COLLATE "C"), 'nothing')
		INTO result
		FROM (SELECT domain, tenant_id, sum(n) AS by
			  FROM (SELECT domain, tenant_id, n FROM _cache_notify.counter_total
					UNION ALL SELECT domain, tenant_id, -n FROM seen) AS both_times
			  GROUP BY domain, tenant_id
			  HAVING sum(n) <> 0) AS difference;
	IF EXISTS (SELECT FROM cache_notify.domain_version v
			   -- A tenant that never was sees the shared part; what nothing feeds has no version.
			   WHERE v.version <> cache_notify.version(cache_notify.key_name(v.domain),
				coalesce(v.tenant_id, 'never was'))) THEN
		result := result || ' DISAGREE';
	END IF;
	DELETE FROM seen;
	INSERT INTO seen SELECT domain, tenant_id, n FROM _cache_notify.counter_total;
	RETURN result;
END
$$;

\set moved 'SELECT pg_temp.moved();'
\set triggers 'SELECT w.tgrelid::regclass, w.tgname, array_to_string(w.arguments, \', \') FROM _cache_notify.watching_trigger w ORDER BY w.tgrelid::regclass::text COLLATE "C", w.tgname COLLATE "C";'
\set ECHO all
