-- ------------------------------------------------------------- privileges

-- Writers of watched tables need no rights here: triggers fire regardless.
-- PUBLIC may ask for a version that it can name, and set up its own tables.
GRANT USAGE ON SCHEMA cache_notify TO PUBLIC;

-- Anybody could invalidate everybody's caches; grant it to those who may.
REVOKE EXECUTE ON FUNCTION cache_notify.invalidate(text, text) FROM PUBLIC;

-- Rules are for those who may read them.
REVOKE EXECUTE ON FUNCTION cache_notify.cascade_closure(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cache_notify.cascade_closure(text) TO pg_monitor;

-- What is watched is in the catalogs for everybody to read.
GRANT SELECT ON cache_notify.v_invalidation_status, cache_notify.v_schema_invalidation TO PUBLIC;

-- Listing tenants and what they did last is for those who operate the server.
GRANT SELECT ON cache_notify.domain_version, cache_notify.v_domain_versions,
	cache_notify.v_recent_invalidations, cache_notify.cascade_rules TO pg_monitor;

REVOKE EXECUTE ON FUNCTION cache_notify.clear_statistics() FROM PUBLIC;
GRANT SELECT ON cache_notify.stats TO pg_monitor;
GRANT EXECUTE ON FUNCTION cache_notify.changes_since(text) TO pg_monitor;
