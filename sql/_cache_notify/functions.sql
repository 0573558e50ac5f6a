-- ---------------------------------------------------------- C functions

CREATE FUNCTION _cache_notify.payload_format(name text, OUT tells text, OUT channel text)
	AS 'MODULE_PATHNAME', 'cache_notify_payload_format'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.payload_format(text) IS
'What a payload format tells of: scopes (a version for each tenant and domain), tables (that something was done to a table) or rows (the same for each row); and the channel it goes to unless another one is named (NULL: cache_notify.channel). Both NULL if there is no such format, or name is NULL.';

CREATE FUNCTION _cache_notify.configuration_changed() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_configuration_changed'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.configuration_changed() IS
'Makes every session read the cascade rules and the watched tables'' channels again, once this transaction has committed. Called by the functions that change them.';

CREATE FUNCTION _cache_notify.route_is_told(relation oid, domain text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_route_is_told'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _cache_notify.route_is_told(oid, text) IS
'Is a domain told as the relation asks for? Not if its owner, who is no superuser, has 32 other channels or formats of the domain.';

CREATE FUNCTION _cache_notify.rules_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_rules_changed' LANGUAGE C;
COMMENT ON FUNCTION _cache_notify.rules_changed() IS
'Trigger of cascade_rules: makes every session read the rules again.';

CREATE FUNCTION _cache_notify.note_name(relation regclass, domain text, arguments text[] DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_note_name'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.note_name(regclass, text, text[]) IS
'Notes the name by which a relation was set up to feed a domain, if it was, and how whatever takes it over is to be watched.';

CREATE FUNCTION _cache_notify.forget_name(relation regclass, domain text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_forget_name'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.forget_name(regclass, text) IS
'Says that a relation which does not feed a domain (any more) need not, although one of its name was set up to. False if none was. Needs ownership of the relation.';

CREATE FUNCTION _cache_notify.counted(domain text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_counted'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _cache_notify.counted(text) IS
'How many changes a domain has counted in this history, of all tenants and shared, whether or not anything still feeds it; 0 if none. domain is not a name: a slash and a per cent sign stand for themselves. NULL if it is.';

-- ------------------------------------------- options of watched relations

-- An attribute for each row of option_table[] in option.c, in its order.
CREATE TYPE _cache_notify.watch_options AS (
	domain_name text,
	tenant_column text,
	tenant_setting text,
	granularity text,
	channel text,
	payload text,
	payload_suffix text,
	columns text[],
	fields text[],
	keys text[],
	bucket_layout bigint,
	whole_counter bigint,
	cascades text[],
	rules text[],
	inherited boolean,
	sources text[],
	all_tenants boolean,
	search_path text,
	problem text
);
COMMENT ON TYPE _cache_notify.watch_options IS
'What the arguments of a trigger, or those in a label, ask for. NULL, or an empty array: not given. problem: the first argument that cannot be used, and why.';

CREATE FUNCTION _cache_notify.watch_options(arguments text[], relation oid)
	RETURNS _cache_notify.watch_options
	AS 'MODULE_PATHNAME', 'cache_notify_watch_options'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.watch_options(text[], oid) IS
'Reads the arguments that a relation is watched with. They may be anybody''s: what cannot be used is left out, and no error is raised because of them. NULL if an argument is.';

CREATE FUNCTION _cache_notify.label_arguments(label text) RETURNS text[]
	AS 'MODULE_PATHNAME', 'cache_notify_label_arguments'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.label_arguments(text) IS
'The arguments in a security label of ours. NULL if it is NULL.';

CREATE FUNCTION _cache_notify.option(name text, VARIADIC value text[]) RETURNS text[]
	AS 'MODULE_PATHNAME', 'cache_notify_option'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.option(text, text[]) IS
'The arguments that stand for an option of setup_table_invalidation(): none if the value is NULL. Error, with a hint, if it cannot be used.';

CREATE FUNCTION _cache_notify.option_not_for_labels(arguments text[]) RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_option_not_for_labels'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.option_not_for_labels(text[]) IS
'An option among these arguments that a view or materialized view cannot have; NULL if there is none.';
