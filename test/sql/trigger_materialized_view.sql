-- A materialized view can be watched: each REFRESH is a change.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
CREATE SCHEMA mat;
SET search_path = mat;
CREATE FUNCTION bumps(command text, domain text DEFAULT 'totals') RETURNS bigint
	LANGUAGE plpgsql AS $$
DECLARE
	before bigint := _cache_notify.counted(domain);
BEGIN
	EXECUTE command;
	RETURN _cache_notify.counted(domain) - before;
END $$;
CREATE TABLE sale (id int, tenant_id text);
CREATE MATERIALIZED VIEW totals AS SELECT tenant_id, count(*) FROM sale GROUP BY 1;
CREATE UNIQUE INDEX ON totals (tenant_id);
SELECT cache_notify.setup_table_invalidation('totals', channel => 'mv');
SELECT table_name, domain, tenant_column, granularity, channel, payload, enabled, problem
FROM cache_notify.v_invalidation_status;
SELECT provider, objtype, objname, label FROM pg_seclabels;
SELECT c, bumps(c) FROM unnest(ARRAY[
	'REFRESH MATERIALIZED VIEW totals',
	'REFRESH MATERIALIZED VIEW CONCURRENTLY totals',
	'REFRESH MATERIALIZED VIEW totals WITH NO DATA',
	'SELECT cache_notify.setup_table_invalidation(''totals'', channel => ''mv2'')',
	'ALTER MATERIALIZED VIEW totals RENAME TO sums',
	'ALTER MATERIALIZED VIEW sums RENAME COLUMN count TO n',
	'ALTER MATERIALIZED VIEW sums SET (fillfactor = 50)',
	'ALTER MATERIALIZED VIEW sums SET SCHEMA public',
	'ALTER MATERIALIZED VIEW public.sums SET SCHEMA mat',
	'SELECT cache_notify.remove_table_invalidation(''sums'', ''totals'')',
	'REFRESH MATERIALIZED VIEW sums',
	'SELECT cache_notify.setup_table_invalidation(''sums'', ''totals'')',
	'DROP MATERIALIZED VIEW sums']) WITH ORDINALITY AS u (c, i) ORDER BY i;
SELECT count(*) FROM pg_seclabels WHERE provider = 'cache_notify';
CREATE MATERIALIZED VIEW totals AS SELECT tenant_id, count(*) FROM sale GROUP BY 1;
-- what goes wrong
SELECT cache_notify.setup_table_invalidation('totals', tenant_column => 'tenant_id');
SELECT cache_notify.setup_table_invalidation('totals', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('totals', columns => '{count}');
SELECT cache_notify.setup_table_invalidation('totals', tenant_setting => 'a.b');
SELECT cache_notify.setup_table_invalidation('totals', 'one');
SELECT cache_notify.setup_table_invalidation('totals', 'two');
SELECT cache_notify.remove_table_invalidation('totals', 'two');
SELECT cache_notify.remove_table_invalidation('totals', 'one');
SELECT cache_notify.remove_table_invalidation('totals', all_domains => true);
CREATE ROLE regress_cn_mat;
GRANT USAGE ON SCHEMA mat TO regress_cn_mat;
SET ROLE regress_cn_mat;
SELECT cache_notify.setup_table_invalidation('totals');
RESET ROLE;
-- labels by hand
SECURITY LABEL FOR cache_notify ON TABLE sale IS '{domain=x}';
SECURITY LABEL FOR cache_notify ON MATERIALIZED VIEW totals IS '{domain';
SECURITY LABEL FOR cache_notify ON COLUMN totals.count IS '{domain=x}';
DROP SCHEMA mat CASCADE;
DROP ROLE regress_cn_mat;
