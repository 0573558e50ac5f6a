-- ------------------------------------------------------------- privileges

-- The functions that set something up run with the rights of whoever calls them,
-- and call functions here.
GRANT USAGE ON SCHEMA _cache_notify TO PUBLIC;

-- Whoever may execute a trigger function can have a table of his own call it.
REVOKE EXECUTE ON FUNCTION _cache_notify.rules_changed() FROM PUBLIC;

-- What is watched is in the catalogs for everybody to read.
GRANT SELECT ON _cache_notify.stored_entry, _cache_notify.stored_rule,
	_cache_notify.schema_listener, _cache_notify.watched_name, _cache_notify.name_problem,
	_cache_notify.rule_problem, _cache_notify.watching_trigger, _cache_notify.watching_label, _cache_notify.noting_watch,
	_cache_notify.watched_relation, _cache_notify.schema_event_trigger, _cache_notify.advice,
	_cache_notify.watch_finding, _cache_notify.setting_finding, _cache_notify.rights_finding TO PUBLIC;

-- Listing tenants and what they did last is for those who operate the server.
GRANT SELECT ON _cache_notify.counter_total TO pg_monitor;

REVOKE EXECUTE ON FUNCTION _cache_notify.statistics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cache_notify.statistics() TO pg_monitor;
GRANT SELECT ON _cache_notify.history, _cache_notify.activity_finding TO pg_monitor;
