-- ------------------------------------------------------------------ keys

CREATE FUNCTION cache_notify.key_name(domain text, VARIADIC key text[] DEFAULT '{}')
	RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_key_name'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cache_notify.key_name(text, text[]) IS
'The name of a key of a domain, for version(), token() and all that take names: key_name(''contract'', 123::text) is contract/123. One value for each key column, as text, in any spelling that the column''s type reads as ISO 8601 or without settings. Slashes and per cent signs in the domain and the values become %2F and %25. NULL if domain or a value is.';
