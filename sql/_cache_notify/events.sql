-- ---------------------------------------------------------- event triggers

-- The last part: what the others create would fire them.
CREATE FUNCTION _cache_notify.schema_event() RETURNS event_trigger
	AS 'MODULE_PATHNAME', 'cache_notify_schema_event' LANGUAGE C;
COMMENT ON FUNCTION _cache_notify.schema_event() IS
'Event trigger: turns DDL that changes what a watched relation returns into bumps of its domains, and keeps the triggers of partitions and child tables as their parents'' are. Never fails a command.';

CREATE EVENT TRIGGER cache_notify_command_start ON ddl_command_start
	WHEN tag IN ('ALTER TABLE', 'DROP EXTENSION', 'DROP OWNED', 'DROP SCHEMA')
	EXECUTE FUNCTION _cache_notify.schema_event();
COMMENT ON EVENT TRIGGER cache_notify_command_start IS
'Bumps before DETACH PARTITION CONCURRENTLY, makes way for ATTACH PARTITION, and locks the watched tables before the extension is dropped.';

CREATE EVENT TRIGGER cache_notify_command_end ON ddl_command_end
	-- Commands that only create or arrange things are not even looked at.
	WHEN tag IN (
		'ALTER AGGREGATE', 'ALTER COLLATION', 'ALTER DOMAIN', 'ALTER EXTENSION', 'ALTER FOREIGN DATA WRAPPER', 'ALTER FOREIGN TABLE',
		'ALTER FUNCTION', 'ALTER INDEX', 'ALTER MATERIALIZED VIEW', 'ALTER OPERATOR', 'ALTER OPERATOR FAMILY', 'ALTER POLICY',
		'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER SCHEMA', 'ALTER SERVER', 'ALTER TABLE',
		'ALTER TEXT SEARCH CONFIGURATION', 'ALTER TEXT SEARCH DICTIONARY', 'ALTER TEXT SEARCH PARSER',
		'ALTER TEXT SEARCH TEMPLATE', 'ALTER TYPE', 'ALTER USER MAPPING', 'ALTER VIEW', 'CREATE AGGREGATE',
		'CREATE CAST', 'CREATE COLLATION', 'CREATE DOMAIN', 'CREATE FOREIGN TABLE', 'CREATE FUNCTION', 'CREATE MATERIALIZED VIEW',
		'CREATE OPERATOR', 'CREATE OPERATOR CLASS', 'CREATE POLICY', 'CREATE PROCEDURE', 'CREATE RULE', 'CREATE SCHEMA', 'CREATE TABLE',
		'CREATE TABLE AS', 'CREATE TRIGGER', 'CREATE TYPE', 'CREATE USER MAPPING', 'CREATE VIEW', 'IMPORT FOREIGN SCHEMA',
		'REFRESH MATERIALIZED VIEW', 'REVOKE', 'SECURITY LABEL', 'SELECT INTO')
	EXECUTE FUNCTION _cache_notify.schema_event();
COMMENT ON EVENT TRIGGER cache_notify_command_end IS
'Bumps the domains of relations that DDL has changed, and gives new partitions and child tables their triggers.';

CREATE EVENT TRIGGER cache_notify_drop ON sql_drop
	EXECUTE FUNCTION _cache_notify.schema_event();
COMMENT ON EVENT TRIGGER cache_notify_drop IS
'Bumps the domains of watched relations that were dropped.';

-- Also for sessions with session_replication_role = replica.
ALTER EVENT TRIGGER cache_notify_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_notify_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_notify_drop ENABLE ALWAYS;
