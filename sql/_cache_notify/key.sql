-- ------------------------------------------------------------------ keys

CREATE FUNCTION _cache_notify.bucket_count(bucket_layout bigint) RETURNS int
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN 1 << (bucket_layout & 31)::int;
COMMENT ON FUNCTION _cache_notify.bucket_count(bigint) IS
'How many buckets the keys of a domain with this bucket layout fall into.';

CREATE FUNCTION _cache_notify.whole_counter_number(domain text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_whole_counter_number'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.whole_counter_number(text) IS
'The number of the counter that a domain has as a whole, or that it is to have: this transaction''s. NULL if domain is.';

CREATE FUNCTION _cache_notify.start_whole_counters() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_start_whole_counters'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.start_whole_counters() IS
'Adds up the counters of domains that have one for the whole, so that this can be read instead, unless that has been done or transactions run that do not know of it. The worker does it by itself.';
REVOKE EXECUTE ON FUNCTION _cache_notify.start_whole_counters() FROM PUBLIC;

-- What somebody else has set up must not keep anybody from setting up his own.
CREATE FUNCTION _cache_notify.same_owner(one oid, other oid) RETURNS boolean
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN (SELECT relowner FROM pg_class WHERE oid = one) = (SELECT relowner FROM pg_class WHERE oid = other);
COMMENT ON FUNCTION _cache_notify.same_owner(oid, oid) IS
'Do two relations belong to one role?';

CREATE FUNCTION _cache_notify.layout_floor(domain text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cache_notify_layout_floor'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _cache_notify.layout_floor(text) IS
'The first generation (bucket_layout >> 5) of bucket layouts that a domain may still use: earlier ones it has left. NULL if domain is.';

-- The bucket layout for a table that is to feed a domain with so many buckets
-- (NULL: as many as it has, or the default). It is that of the oldest trigger, as
-- watch_load.c has it: who names the domain later can neither change it nor, by
-- what he has set up, keep others from setting up theirs. The number of a new one
-- is above all that were counted in before.
CREATE FUNCTION _cache_notify.choose_bucket_layout(
	table_name regclass, domain_name text, buckets int) RETURNS bigint
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	present record;
	other regclass;
BEGIN
	IF buckets NOT BETWEEN 16 AND 1048576 OR buckets & (buckets - 1) <> 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s is not a number of buckets', buckets),
			HINT = 'It is a power of two from 16 to 1048576.';
	END IF;
	SELECT w.tgrelid::regclass AS relation, (w.options).bucket_layout AS layout,
		_cache_notify.bucket_count((w.options).bucket_layout) AS buckets,
		_cache_notify.same_owner(w.tgrelid, table_name) AS own INTO present
	FROM _cache_notify.watching_trigger w
	WHERE w.domain = domain_name AND w.function = 'statement_change' AND NOT w.inherited
	AND (w.options).bucket_layout >> 5 >= _cache_notify.layout_floor(domain_name)
	ORDER BY w.trigger_oid LIMIT 1;
	IF buckets IS NULL OR buckets = present.buckets THEN
		IF present.layout IS NOT NULL THEN
			RETURN present.layout;
		END IF;
	ELSIF NOT present.own THEN
		RAISE NOTICE USING
			MESSAGE = format('domain "%s" has %s buckets', domain_name, present.buckets),
			DETAIL = format('Table %s, which somebody else owns, has fed it for longer.', present.relation);
		RETURN present.layout;
	END IF;
	SELECT w.tgrelid INTO other FROM _cache_notify.watching_trigger w
	WHERE w.domain = domain_name AND w.tgrelid <> table_name AND NOT w.inherited AND w.tgparentid = 0
	AND (w.options).bucket_layout >> 5 >= _cache_notify.layout_floor(domain_name)
	AND _cache_notify.same_owner(w.tgrelid, table_name) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('domain "%s" has %s buckets', domain_name, present.buckets),
			DETAIL = format('Table %s feeds it, too.', other),
			HINT = 'Tables that feed one domain have the same number of buckets: leave it out, or call remove_table_invalidation() for the others first.';
	END IF;
	buckets := coalesce(buckets, 1024);
	IF present.layout >= 999999999999999000 THEN
		RETURN present.layout;	-- somebody has written it by hand, and there is none above it
	END IF;
	RETURN (greatest(present.layout >> 5, _cache_notify.counted(domain_name), _cache_notify.layout_floor(domain_name)) + 1) << 5
		| (SELECT e FROM generate_series(0, 20) AS g (e) WHERE 1 << e = buckets);
END
$$;
COMMENT ON FUNCTION _cache_notify.choose_bucket_layout(regclass, text, int) IS
'The bucket layout of a domain''s keys: the one that it has, if that has so many buckets or somebody else''s table has fed it for longer, else a new one. Error if another table of the same owner feeds the domain with another number of buckets.';

CREATE FUNCTION _cache_notify.key_arguments(
	table_name regclass, domain_name text, granularity text,
	keys text[], buckets int, fields text[]) RETURNS text[]
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	other regclass;
BEGIN
	IF keys IS NULL AND buckets IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'buckets are for keys',
			HINT = 'Say which columns make the key: keys => ''{id}''.';
	ELSIF keys = '{}' OR array_ndims(keys) > 1 OR cardinality(keys) > 32 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'keys must be a list of 1 to 32 columns',
			HINT = 'Leave out keys if the domain has none.';
	ELSIF keys IS NOT NULL AND domain_name = 'cache_notify' THEN
		RAISE EXCEPTION USING ERRCODE = 'reserved_name',
			MESSAGE = 'domain "cache_notify" cannot have keys',
			HINT = 'Names that begin with cache_notify/ are reserved.';
	ELSIF keys IS NOT NULL AND granularity = 'statement' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'granularity ''statement'' cannot tell which keys changed',
			HINT = 'A statement trigger sees no rows: leave out keys, or use granularity ''row''.';
	END IF;
	PERFORM _cache_notify.check_columns(table_name, VARIADIC keys);

	-- Listeners must know what the keys in a payload are keys of.
	SELECT w.tgrelid INTO other FROM _cache_notify.watching_trigger w
	WHERE w.domain = domain_name AND w.tgrelid <> table_name
	AND _cache_notify.same_owner(w.tgrelid, table_name)
	AND CASE WHEN keys IS NULL THEN 'keys' = ANY (fields)
			AND (w.options).bucket_layout IS NOT NULL
		ELSE 'keys' = ANY ((w.options).fields)
			AND (w.options).bucket_layout IS NULL END;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('tables %s and %s cannot both feed domain "%s" like this', table_name, other, domain_name),
			DETAIL = 'One has keys, and the other tells its primary keys in the payload.',
			HINT = 'Give both keys, or leave ''keys'' out of the fields of the one that has none.';
	END IF;
	IF keys IS NULL THEN
		RETURN '{}';
	END IF;
	RETURN _cache_notify.option('keys', VARIADIC keys)
		|| _cache_notify.option('bucket_layout',
			_cache_notify.choose_bucket_layout(table_name, domain_name, buckets)::text);
END
$$;
COMMENT ON FUNCTION _cache_notify.key_arguments(regclass, text, text, text[], int, text[]) IS
'Checks the options of setup_table_invalidation() that concern keys and returns the trigger arguments that stand for them.';

CREATE FUNCTION _cache_notify.naming_type(type oid, collation_oid oid) RETURNS oid
	AS 'MODULE_PATHNAME', 'cache_notify_naming_type'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.naming_type(oid, oid) IS
'The type by which the names of tenants or keys are read that are values of this type, with this collation (0: none). Two columns for which it is the same call equal values the same. NULL if values of the type cannot name anything, because equal ones may read differently, or NULL is passed.';

CREATE FUNCTION _cache_notify.naming_type_of(table_name oid, column_name text) RETURNS oid
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN (SELECT _cache_notify.naming_type(a.atttypid, a.attcollation) FROM pg_attribute a
			WHERE a.attrelid = table_name AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped);
COMMENT ON FUNCTION _cache_notify.naming_type_of(oid, text) IS
'naming_type() of a column. NULL also if there is no such column.';

CREATE FUNCTION _cache_notify.notice_vague_names(table_name regclass, arguments text[]) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	named record;
BEGIN
	FOR named IN
		SELECT split_part(u.a, '=', 1) AS kind, c.attname, format_type(c.atttypid, c.atttypmod) AS type
		FROM unnest(arguments) AS u (a)
		JOIN pg_attribute c ON c.attrelid = table_name AND c.attname = substr(u.a, position('=' IN u.a) + 1)
		WHERE split_part(u.a, '=', 1) IN ('tenant_column', 'key') AND NOT c.attisdropped
		AND _cache_notify.naming_type(c.atttypid, c.attcollation) IS NULL
	LOOP
		RAISE NOTICE USING
			MESSAGE = CASE named.kind
				WHEN 'key' THEN format('changes of table %s reach every key', table_name)
				ELSE format('changes of table %s concern all tenants', table_name) END,
			DETAIL = format('Equal values of column %I, of type %s, may have different texts.', named.attname, named.type),
			HINT = 'Use a column of a type such as integer, uuid or text.';
	END LOOP;
END
$$;
COMMENT ON FUNCTION _cache_notify.notice_vague_names(regclass, text[]) IS
'A NOTICE for each column among a trigger''s arguments whose values cannot name tenants or keys.';
