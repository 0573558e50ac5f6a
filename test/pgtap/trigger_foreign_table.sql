-- Serves foreign tables: what this server writes through one moves the version.
-- It needs postgres_fdw, and connects to this database as if it were another one.
-- A failure shows as a version that did not move, or moved twice.
BEGIN;
SELECT count(*) > 0 AS has_fdw FROM pg_available_extensions WHERE name = 'postgres_fdw' \gset
\if :has_fdw
SELECT plan(7);
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
SELECT format('CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
	current_setting('unix_socket_directories'), current_setting('port'), current_database()) \gexec
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback;
-- A table that is there for the other connection, too, and rolls back with us.
CREATE FOREIGN TABLE remote_rule (source_domain text, target_domain text, rule_type text)
	SERVER loopback OPTIONS (schema_name 'cache_notify', table_name 'cascade_rules');
SELECT is(cache_notify.setup_table_invalidation('remote_rule', 'remote', 'source_domain'), 'remote', 'set up');
INSERT INTO remote_rule VALUES ('a', '1', 'notify'), ('a', '2', 'notify'), ('b', '1', 'notify');
SELECT is(cache_notify.version('remote', 'a'), 1::bigint, 'INSERT, once for each tenant');
SELECT is(cache_notify.version('remote', 'b'), 1::bigint, 'INSERT, the other tenant');
UPDATE remote_rule SET rule_type = 'invalidate' WHERE source_domain = 'a';
SELECT is(cache_notify.version('remote', 'a'), 2::bigint, 'UPDATE');
UPDATE remote_rule SET rule_type = 'invalidate' WHERE source_domain = 'a';
SELECT is(cache_notify.version('remote', 'a'), 2::bigint, 'UPDATE that changes nothing');
DELETE FROM remote_rule;
SELECT is(cache_notify.version('remote', 'a'), 3::bigint, 'DELETE');
SELECT is(cache_notify.version('remote', 'never was'), 0::bigint, 'nothing was shared');
\else
SELECT plan(1);
SELECT skip('no postgres_fdw');
\endif
SELECT * FROM finish();
ROLLBACK;
