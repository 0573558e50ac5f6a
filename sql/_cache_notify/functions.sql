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
'Trigger of cascade_rules: makes every session read the rules again.';
