-- setup_schema_invalidation(): what may be asked for, by whom; what is shown; what
-- the domain "schema" counts. What is sent: test/t/delivery_schema_payloads.pl.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT * FROM cache_notify.schema_presets();

-- Errors
\set VERBOSITY default
SELECT cache_notify.setup_schema_invalidation();
SELECT cache_notify.setup_schema_invalidation('postgres');
SELECT cache_notify.setup_schema_invalidation(channel => 'x');
SELECT cache_notify.setup_schema_invalidation(payload => 'x');
SELECT cache_notify.setup_schema_invalidation('postgraphile', payload => 'x');
SELECT cache_notify.setup_schema_invalidation('postgrest', channel => '');
SELECT cache_notify.setup_schema_invalidation('postgrest', channel => repeat('x', 64));
SELECT cache_notify.setup_schema_invalidation('postgrest', payload_suffix => repeat('x', 64));
SELECT cache_notify.setup_schema_invalidation('postgrest', payload => repeat('x', 7999), payload_suffix => 'x');
SELECT cache_notify.remove_schema_invalidation('postgrest');
SELECT cache_notify.remove_schema_invalidation(channel => 'x');
SELECT cache_notify.remove_schema_invalidation('postgrest', 'x');
SELECT cache_notify.remove_schema_invalidation();
SELECT cache_notify.schema_change();
SELECT count(*) FROM cache_notify.v_schema_invalidation;
SELECT count(*) FROM _cache_notify.schema_event_trigger WHERE evtname IS NOT NULL;

-- Who may not create event triggers is told so, also when they are there.
CREATE ROLE regress_cn_nobody;
SET ROLE regress_cn_nobody;
SELECT cache_notify.setup_schema_invalidation('postgrest');
RESET ROLE;
SELECT cache_notify.setup_schema_invalidation('postgrest');
SET ROLE regress_cn_nobody;
SELECT cache_notify.setup_schema_invalidation('postgrest', 'mine');
SELECT cache_notify.remove_schema_invalidation('postgrest');
SELECT cache_notify.remove_schema_invalidation();
SELECT * FROM cache_notify.v_schema_invalidation;
RESET ROLE;

-- What is set up again is replaced.
SELECT cache_notify.setup_schema_invalidation('postgrest', payload => '', payload_suffix => '.');
SELECT cache_notify.setup_schema_invalidation('postgraphile', 'other');
SELECT cache_notify.setup_schema_invalidation(channel => 'other', payload => repeat('x', 7999));
SELECT cache_notify.setup_schema_invalidation('postgraphile');
SELECT channel, preset, length(payload), payload_suffix, enabled, problem FROM cache_notify.v_schema_invalidation ORDER BY 1;
SELECT evtname, evtevent, evtenabled FROM pg_event_trigger WHERE evtname ~ 'schema' ORDER BY 1;

-- Problems are shown, and mended by setting it up again.
ALTER EVENT TRIGGER cache_notify_schema_sql_drop DISABLE;
SELECT channel, enabled, problem FROM cache_notify.v_schema_invalidation WHERE channel = 'pgrst';
ALTER EVENT TRIGGER cache_notify_schema_ddl_command_end RENAME TO renamed;
SELECT channel, enabled, problem FROM cache_notify.v_schema_invalidation WHERE channel = 'pgrst';
DROP EVENT TRIGGER renamed;
SELECT channel, enabled, problem FROM cache_notify.v_schema_invalidation WHERE channel = 'pgrst';
SELECT cache_notify.setup_schema_invalidation('postgrest');
SELECT channel, enabled, problem FROM cache_notify.v_schema_invalidation WHERE channel = 'pgrst';

-- The domain moves once for each command that any preset counts.
CREATE TABLE item (a int, b int);
SELECT cache_notify.version('schema') AS before \gset
BEGIN;
ALTER TABLE item ADD c int;
ALTER TABLE item DROP c;	-- alters and drops
SELECT cache_notify.version('schema') - :before AS in_transaction, cache_notify.token(NULL, 'schema') AS token;
SAVEPOINT s;
DROP TABLE item;
SELECT cache_notify.version('schema') - :before AS in_savepoint;
ROLLBACK TO s;
COMMIT;
SELECT cache_notify.version('schema') - :before AS committed;
CREATE TEMP TABLE item2 (a int);
DROP TABLE item2;
INSERT INTO item VALUES (1);
SELECT cache_notify.version('schema') - :before AS still;
-- It cascades like every domain.
INSERT INTO cache_notify.cascade_rules VALUES ('schema', 'api_document');
DROP TABLE item;
SELECT cache_notify.version('schema') - :before AS schema, cache_notify.version('api_document') AS api_document;

SELECT cache_notify.remove_schema_invalidation('postgrest', 'pgrst');
SELECT cache_notify.remove_schema_invalidation(channel => 'other');
SELECT channel FROM cache_notify.v_schema_invalidation;
SELECT cache_notify.remove_schema_invalidation('postgraphile');
CREATE TABLE item (a int);
DROP TABLE item;
SELECT _cache_notify.counted('schema') - :before AS schema;
SELECT evtname FROM pg_event_trigger WHERE evtname ~ 'schema';

DELETE FROM cache_notify.cascade_rules;
DROP ROLE regress_cn_nobody;
