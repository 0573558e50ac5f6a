-- ------------------------------------------------- which history this is

CREATE FUNCTION cache_notify.version_origin() RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_version_origin'
	LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cache_notify.version_origin() IS
'What versions start at: 0, and more once the database may have forked, that is, once commits may have been lost or may go on elsewhere (failover, point-in-time recovery, a dump restored, CREATE DATABASE ... TEMPLATE, pg_upgrade, a crash after commits with synchronous_commit = off). Only goes forward. Versions stay below 2^53.';

CREATE FUNCTION cache_notify.new_history() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_new_history'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.new_history() IS
'Declares that the database has forked: when this transaction commits, every version moves far forward and every token and position is stale. The server notices by itself whatever gives it a new timeline, cluster, database or counter table. It cannot notice that its files were copied and are now running twice or were put back (a snapshot of a virtual machine or of a file system, pg_resetwal): call this then, in each copy, before anything else.';
REVOKE EXECUTE ON FUNCTION cache_notify.new_history() FROM PUBLIC;

CREATE FUNCTION cache_notify.counters_edited() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_counters_edited' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.counters_edited() IS
'Trigger of version_counter and history: whoever loads a dump or edits counters by hand begins a new history. The extension itself writes these tables without firing triggers.';

SELECT cache_notify.new_history();

CREATE TRIGGER counters_edited
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cache_notify.version_counter
	FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.counters_edited();
ALTER TABLE cache_notify.version_counter ENABLE ALWAYS TRIGGER counters_edited;
COMMENT ON TRIGGER counters_edited ON cache_notify.version_counter IS
'Begins a new history when counters are loaded or edited by hand.';

CREATE FUNCTION cache_notify.counter_inserted() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_counter_inserted' LANGUAGE C;
COMMENT ON FUNCTION cache_notify.counter_inserted() IS
'Trigger of version_counter: a row that is loaded or inserted by hand gets a row_id that no other row has.';

CREATE TRIGGER counter_inserted
	BEFORE INSERT ON cache_notify.version_counter
	FOR EACH ROW EXECUTE FUNCTION cache_notify.counter_inserted();
ALTER TABLE cache_notify.version_counter ENABLE ALWAYS TRIGGER counter_inserted;
COMMENT ON TRIGGER counter_inserted ON cache_notify.version_counter IS
'Gives each row that is loaded or inserted by hand a row_id of its own.';

CREATE TRIGGER counters_edited
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cache_notify.history
	FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.counters_edited();
ALTER TABLE cache_notify.history ENABLE ALWAYS TRIGGER counters_edited;
COMMENT ON TRIGGER counters_edited ON cache_notify.history IS
'Begins a new history when the rows of another one are loaded.';
