-- ---------------------------------------------------------- C functions

CREATE FUNCTION _cache_notify.payload_format(name text, OUT tells text, OUT channel text)
	AS 'MODULE_PATHNAME', 'cache_notify_payload_format'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.payload_format(text) IS
'What a payload format tells of: keys (a version for each tenant and domain), tables (that something was done to a table) or rows (the same for each row); and the channel it goes to unless another one is named (NULL: cache_notify.channel). Both NULL if there is no such format, or name is NULL.';

CREATE FUNCTION _cache_notify.configuration_changed() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_configuration_changed'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.configuration_changed() IS
'Makes every session read the cascade rules and the watched tables'' channels again, once this transaction has committed. Called by the functions that change them.';

CREATE FUNCTION _cache_notify.rules_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_rules_changed' LANGUAGE C;
COMMENT ON FUNCTION _cache_notify.rules_changed() IS
'Trigger of cascade_rules and schema_listener: makes every session read them again.';

CREATE TRIGGER rules_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _cache_notify.schema_listener
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rules_changed();
COMMENT ON TRIGGER rules_changed ON _cache_notify.schema_listener IS
'Makes every session know whether the domain schema is fed.';

CREATE FUNCTION _cache_notify.counted(domain text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_counted'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _cache_notify.counted(text) IS
'How many changes a domain has counted in this history, of all tenants and shared, whether or not anything still feeds it; 0 if none. domain is not a name: a slash and a per cent sign stand for themselves. NULL if it is.';
