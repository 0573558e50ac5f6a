-- ---------------------------------------------------------- C functions

CREATE FUNCTION cache_notify.row_change() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_row_change' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.row_change() IS
'Row trigger of a watched table; setup_table_invalidation() creates it. Its arguments ("name=value") are the table''s configuration. Never fails a write.';

CREATE FUNCTION cache_notify.statement_change() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_statement_change' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.statement_change() IS
'Statement trigger of a watched table, for TRUNCATE and granularity statement; setup_table_invalidation() creates it. Its arguments ("name=value") are the table''s configuration. Never fails a write.';

CREATE FUNCTION cache_notify.schema_change() RETURNS event_trigger
	AS 'MODULE_PATHNAME', 'cache_notify_schema_change' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.schema_change() IS
'Event trigger that setup_schema_invalidation() creates: tells the listeners of schema_listener, once the transaction has committed, that the schema has changed, and bumps the domain schema. Never fails a command.';

CREATE FUNCTION cache_notify.version(domain text, tenant_id text DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_version'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.version(text, text) IS
'The version of a domain as a tenant sees it: statements that changed the tenant''s part plus those that changed the domain for all tenants. Without tenant_id (NULL) that of the whole domain: all statements that changed it, whichever tenant''s part. As long as the database has not forked (see version_origin()), 0 if nothing ever changed. NULL if nothing feeds the domain, see token(). Answers for the snapshot of the query, plus what this transaction has changed itself. NULL if domain is NULL. Error if domain is empty or longer than 63 bytes.';

CREATE FUNCTION cache_notify.invalidate(domain text, tenant_id text DEFAULT NULL)
	RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_invalidate'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.invalidate(text, text) IS
'Moves the version of a domain forward by hand, just as a statement that changes a watched table does: cascades, delivery and rollback included. Without tenant_id (NULL) for all tenants. A tenant_id over 255 bytes counts as all tenants. Error if domain is NULL, empty or longer than 63 bytes, or in a read-only transaction.';

CREATE FUNCTION cache_notify.pending_changes(
		OUT domain text, OUT tenant_id text, OUT n bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_pending_changes'
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION cache_notify.pending_changes() IS
'What the current transaction has changed and will add to the counters when it commits: statements (n) by domain and tenant (NULL: all tenants).';

CREATE FUNCTION cache_notify.lane_in_effect(OUT lane text, OUT reason text)
	AS 'MODULE_PATHNAME', 'cache_notify_lane_in_effect'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.lane_in_effect() IS
'By which lane listeners hear of this database''s changes at present: worker, commit or wal, several of them with commas, or off. reason: why that is not what cache_notify.delivery asks for (NULL: it is): the library is not preloaded, or no worker could be started when one was wanted last.';

CREATE FUNCTION cache_notify.payload_formats() RETURNS text[]
	AS 'MODULE_PATHNAME', 'cache_notify_payload_formats'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cache_notify.payload_formats() IS
'The payload formats that setup_table_invalidation() takes, the default first.';

CREATE FUNCTION cache_notify.payload_fields() RETURNS text[]
	AS 'MODULE_PATHNAME', 'cache_notify_payload_fields'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cache_notify.payload_fields() IS
'The payload fields that setup_table_invalidation() takes.';

CREATE FUNCTION cache_notify.cascade_rule() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_cascade_rule' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.cascade_rule() IS
'A trigger of the view cache_notify.configuration that calls this is a cascade rule, with the columns of cascade_rules for arguments ("name=value"). It is never fired.';
REVOKE EXECUTE ON FUNCTION cache_notify.cascade_rule() FROM PUBLIC;

CREATE FUNCTION cache_notify.schema_listener() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_schema_listener' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.schema_listener() IS
'A trigger of the view cache_notify.configuration that calls this is what setup_schema_invalidation() was called with. It is never fired.';
REVOKE EXECUTE ON FUNCTION cache_notify.schema_listener() FROM PUBLIC;

CREATE FUNCTION cache_notify.watched_view() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_watched_view' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.watched_view() IS
'A trigger of the view cache_notify.configuration that calls this says that a view or materialized view of this name was set up, and how. It is never fired.';
REVOKE EXECUTE ON FUNCTION cache_notify.watched_view() FROM PUBLIC;

CREATE FUNCTION cache_notify.trigger_arguments(tgargs bytea) RETURNS text[]
	AS 'MODULE_PATHNAME', 'cache_notify_trigger_arguments'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_notify.trigger_arguments(bytea) IS
'The arguments of a trigger, from pg_trigger.tgargs: none if they have more than 128 kB. NULL if it is NULL.';

CREATE TRIGGER rules_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cache_notify.cascade_rules
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rules_changed();
COMMENT ON TRIGGER rules_changed ON cache_notify.cascade_rules IS
'Makes every session read the rules again.';

CREATE FUNCTION cache_notify.compact() RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_compact'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.compact() IS
'Merges the rows of every counter into one, and returns how many rows are gone. Versions do not change and nobody waits: rows that a transaction is writing are left alone. changes_since() may report the merged keys once more. The worker does this by itself for keys that have cooled down; call it after a peak where there is no worker, in a transaction of its own: until that ends, commits that change the same keys insert rows of their own. Error in a REPEATABLE READ or SERIALIZABLE transaction, and on a standby.';
REVOKE EXECUTE ON FUNCTION cache_notify.compact() FROM PUBLIC;
