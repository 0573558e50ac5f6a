-- ------------------------------------------------- which history this is

CREATE FUNCTION _cache_notify.counters_edited() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_counters_edited' LANGUAGE C;
COMMENT ON FUNCTION _cache_notify.counters_edited() IS
'Trigger of version_counter and history: whoever loads a dump or edits counters by hand begins a new history. The extension itself writes these tables without firing triggers.';

CREATE TRIGGER counters_edited
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _cache_notify.version_counter
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.counters_edited();
ALTER TABLE _cache_notify.version_counter ENABLE ALWAYS TRIGGER counters_edited;
COMMENT ON TRIGGER counters_edited ON _cache_notify.version_counter IS
'Begins a new history when counters are loaded or edited by hand.';

CREATE FUNCTION _cache_notify.counter_inserted() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_counter_inserted' LANGUAGE C;
COMMENT ON FUNCTION _cache_notify.counter_inserted() IS
'Trigger of version_counter: a row that is loaded or inserted by hand gets a row_id that no other row has.';

CREATE TRIGGER counter_inserted
	BEFORE INSERT ON _cache_notify.version_counter
	FOR EACH ROW EXECUTE FUNCTION _cache_notify.counter_inserted();
ALTER TABLE _cache_notify.version_counter ENABLE ALWAYS TRIGGER counter_inserted;
COMMENT ON TRIGGER counter_inserted ON _cache_notify.version_counter IS
'Gives each row that is loaded or inserted by hand a row_id of its own.';

CREATE TRIGGER counters_edited
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _cache_notify.history
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.counters_edited();
ALTER TABLE _cache_notify.history ENABLE ALWAYS TRIGGER counters_edited;
COMMENT ON TRIGGER counters_edited ON _cache_notify.history IS
'Begins a new history when the rows of another one are loaded.';
