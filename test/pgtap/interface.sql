-- Serves the SQL interface as the README shows it: its functions, tables and views
-- exist with the columns and defaults that callers rely on.
-- A failure shows as a test that is "not ok" and names what is missing.
BEGIN;
SELECT plan(45);

SELECT has_extension('cache_notify');
SELECT has_schema('cache_notify');
SELECT has_function('cache_notify'::name, 'setup_table_invalidation'::name);
SELECT is(pg_get_function_result('cache_notify.setup_table_invalidation'::regproc), 'text', 'it returns the domain');
SELECT has_function('cache_notify', 'remove_table_invalidation', ARRAY['regclass', 'text', 'boolean', 'boolean']);
SELECT function_returns('cache_notify', 'remove_table_invalidation', ARRAY['regclass', 'text', 'boolean', 'boolean'], 'void');
SELECT has_function('cache_notify', 'invalidate', ARRAY['text', 'text']);
SELECT function_returns('cache_notify', 'invalidate', ARRAY['text', 'text'], 'void');
SELECT volatility_is('cache_notify', 'invalidate', ARRAY['text', 'text'], 'volatile');
SELECT has_function('cache_notify', 'version', ARRAY['text', 'text']);
SELECT function_returns('cache_notify', 'version', ARRAY['text', 'text'], 'bigint');
SELECT volatility_is('cache_notify', 'version', ARRAY['text', 'text'], 'stable');
SELECT has_function('cache_notify', 'cascade_closure', ARRAY['text']);
SELECT has_function('cache_notify', 'cascade_graph', ARRAY[]::text[]);
SELECT is((pronargs - pronargdefaults)::int, 1, 'setup_table_invalidation needs the table only')
	FROM pg_proc WHERE oid = 'cache_notify.setup_table_invalidation'::regproc;
-- The first three are called by position. There may be more options than these.
SELECT is(proargnames[1:8], '{table_name,domain_name,tenant_column,channel,payload,granularity,tenant_setting,columns}',
	'names of its arguments') FROM pg_proc WHERE oid = 'cache_notify.setup_table_invalidation'::regproc;
SELECT is(proargnames, '{table_name,domain_name,if_exists,all_domains}', 'names of remove_table_invalidation''s arguments')
	FROM pg_proc WHERE oid = 'cache_notify.remove_table_invalidation'::regproc;
SELECT is(proargnames, '{domain,tenant_id}', 'names of ' || proname || '''s arguments')
	FROM pg_proc WHERE oid IN ('cache_notify.version'::regproc, 'cache_notify.invalidate'::regproc)
	ORDER BY proname;
SELECT is(count(*), 0::bigint, 'no function of ours is SECURITY DEFINER')
	FROM pg_proc WHERE pronamespace IN ('cache_notify'::regnamespace, '_cache_notify'::regnamespace) AND prosecdef;

SELECT has_table('cache_notify', 'cascade_rules', 'the rules are a table');
SELECT columns_are('cache_notify', 'cascade_rules', ARRAY['source_domain', 'target_domain', 'rule_type', 'keys', 'tenants']);
SELECT col_is_pk('cache_notify', 'cascade_rules', ARRAY['source_domain', 'target_domain'], 'its primary key');
SELECT col_default_is('cache_notify', 'cascade_rules', 'rule_type', 'invalidate', 'the default rule_type');
SELECT col_not_null('cache_notify', 'cascade_rules', 'rule_type', 'rule_type is not null');
SELECT has_view('cache_notify', 'domain_version', 'domain_version is a view');
SELECT columns_are('cache_notify', 'domain_version', ARRAY['tenant_id', 'domain', 'version', 'last_modified']);
SELECT col_type_is('cache_notify', 'domain_version', 'version', 'bigint', 'versions are bigint');
SELECT has_view('cache_notify', 'v_domain_versions', 'v_domain_versions is a view');
SELECT has_view('cache_notify', 'v_invalidation_status', 'v_invalidation_status is a view');
SELECT has_view('cache_notify', 'v_recent_invalidations', 'v_recent_invalidations is a view');
SELECT ok(NOT has_function_privilege('public', 'cache_notify.invalidate(text, text)', 'EXECUTE'), 'invalidate is not for all');
SELECT ok(has_function_privilege('public', 'cache_notify.version(text, text)', 'EXECUTE'), 'version is for all');
SELECT ok(has_table_privilege('pg_monitor', 'cache_notify.domain_version', 'SELECT'), 'pg_monitor lists versions');
SELECT ok(NOT has_table_privilege('public', 'cache_notify.domain_version', 'SELECT'), 'others do not');
SELECT ok(NOT has_table_privilege('public', '_cache_notify.version_counter', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE'),
	'counters are the owner''s');

SELECT is(cache_notify.version('nothing'), NULL::bigint, 'the first call of a session loads the settings');
SELECT is(current_setting('cache_notify.channel'), 'cache_invalidation', 'the default channel');
SELECT is(current_setting('cache_notify.delivery'), 'auto', 'the default delivery');
SELECT is(current_setting('cache_notify.max_keys'), '10000', 'the default limit of keys');
SELECT is(current_setting('cache_notify.inline_triggers'), 'on', 'rows are noted while they are changed');

SELECT is(reltoastrelid::int, 0, 'counters have no TOAST table, which only who has a snapshot may change')
	FROM pg_class WHERE oid = '_cache_notify.version_counter'::regclass;
-- What C and SQL say of the same columns must agree.
CREATE FUNCTION pg_temp.other_statistics(OUT bumps bigint, OUT delivered bigint) RETURNS SETOF record
	AS '$libdir/cache_notify', 'cache_notify_statistics' LANGUAGE C;
SELECT throws_ok('SELECT * FROM pg_temp.other_statistics()', '42804',
	'column "bumps" is not where the library of extension "cache_notify" expects it', 'statistics() looks at its columns');
CREATE TYPE pg_temp.other_options AS (domain_name text, channel text);
CREATE FUNCTION pg_temp.other_options(text[], oid) RETURNS pg_temp.other_options
	AS '$libdir/cache_notify', 'cache_notify_watch_options' LANGUAGE C;
SELECT throws_ok('SELECT pg_temp.other_options(''{}'', 0)', '42804', NULL, 'and so does watch_options()');
SELECT is(cache_notify.payload_fields(), '{lsn,xid,operations,keys}', 'the fields of payloads');
SELECT * FROM finish();
ROLLBACK;
