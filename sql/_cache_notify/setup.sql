-- ------------------------------------------------ checks and triggers of a watch

CREATE FUNCTION _cache_notify.default_domain(table_name regclass) RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN (SELECT coalesce(nullif(regexp_replace(relname, '^(tv|tb|v)_', ''), ''), relname)
			FROM pg_class WHERE oid = table_name);
COMMENT ON FUNCTION _cache_notify.default_domain(regclass) IS
'The domain of a table that is not given one: its name without a leading tv_, tb_ or v_. NULL if there is no such table.';

CREATE FUNCTION _cache_notify.trigger_name(kind text, domain text) RETURNS name
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN CASE
		WHEN octet_length('cache_notify_' || kind || '_' || domain) <= 63
		THEN 'cache_notify_' || kind || '_' || domain
		ELSE 'cache_notify_' || kind || '_' || md5(domain)
	END;
COMMENT ON FUNCTION _cache_notify.trigger_name(text, text) IS
'The name of a watched table''s trigger: kind is "row" or "statement".';

-- The triggers of this extension, with their configuration.
CREATE VIEW _cache_notify.watching_trigger AS
	SELECT t.oid AS trigger_oid, t.tgrelid, t.tgname, t.tgenabled, t.tgparentid,
		p.proname::text AS function,
		-- Notes of rules are no part of how it is watched.
		CASE WHEN o.rules = '{}' THEN a.arguments
			ELSE ARRAY(SELECT u.a FROM unnest(a.arguments) WITH ORDINALITY AS u (a, i) WHERE NOT starts_with(u.a, 'rule=') ORDER BY u.i)
			END AS arguments,
		o AS options, o.domain_name AS domain, o.inherited
	FROM pg_catalog.pg_trigger t
	JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
	CROSS JOIN LATERAL (SELECT cache_notify.trigger_arguments(t.tgargs)) AS a (arguments)
	CROSS JOIN LATERAL _cache_notify.watch_options(a.arguments, t.tgrelid) AS o
	WHERE t.tgfoid IN ('cache_notify.row_change()'::pg_catalog.regprocedure,
					   'cache_notify.statement_change()'::pg_catalog.regprocedure);
COMMENT ON VIEW _cache_notify.watching_trigger IS
'The triggers of watched tables, partitions and other child tables included, read from pg_trigger. inherited: made because a parent is watched.';

-- Views have no such triggers; their configuration is in a security label.
CREATE VIEW _cache_notify.watching_label AS
	SELECT c.oid AS relation, c.relkind, a.arguments, o AS options, o.domain_name AS domain
	FROM pg_catalog.pg_seclabel l
	JOIN pg_catalog.pg_class c ON c.oid = l.objoid
	CROSS JOIN LATERAL (SELECT _cache_notify.label_arguments(l.label)) AS a (arguments)
	CROSS JOIN LATERAL _cache_notify.watch_options(a.arguments, c.oid) AS o
	WHERE l.provider = 'cache_notify'
	AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.objsubid = 0;
COMMENT ON VIEW _cache_notify.watching_label IS
'Watched materialized views, and views that setup_view_invalidation() gave a domain, read from pg_seclabel.';

CREATE FUNCTION _cache_notify.check_watchable(table_name regclass) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	rel pg_class;
BEGIN
	SELECT * INTO rel FROM pg_class WHERE oid = table_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_table',
			MESSAGE = CASE WHEN table_name IS NULL THEN 'table_name must not be null'
				ELSE format('there is no table with OID %s', table_name::oid) END,
			HINT = 'Name an existing table, for example setup_table_invalidation(''tv_contract'').';
	ELSIF rel.relkind = 'v' THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('cannot watch view %s', table_name),
			HINT = format('Watch the tables it reads: cache_notify.setup_view_invalidation(%L) does.', table_name);
	ELSIF rel.relkind NOT IN ('r', 'p', 'f', 'm') THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s is not a table', table_name),
			HINT = 'Only tables, partitioned tables, foreign tables and materialized views can be watched.';
	ELSIF rel.oid < 16384 OR rel.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('cannot watch system catalog %s', table_name),
			HINT = 'The server fires no triggers on its catalogs.';
	ELSIF rel.relnamespace IN ('cache_notify'::regnamespace, '_cache_notify'::regnamespace) THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('cannot watch %s, which belongs to cache_notify', table_name),
			HINT = 'Watch the tables whose rows are cached.';
	ELSIF rel.relpersistence = 't' THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('cannot watch temporary table %s', table_name),
			HINT = 'No other session can see its rows, so nobody else can cache them.';
	ELSIF rel.relkind <> 'm' AND NOT has_table_privilege(table_name, 'TRIGGER') THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = format('permission denied for table %s', rel.relname),
			HINT = format('Its owner watches it, or grants it: GRANT TRIGGER ON %s TO %I.', table_name, current_user);
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_watchable(regclass) IS
'Error, with a hint, unless the table can be watched: views, system catalogs and temporary tables cannot.';

CREATE FUNCTION _cache_notify.check_not_watched_through(table_name regclass, domain_name text) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	parent regclass := (
		SELECT a.relid FROM pg_partition_ancestors(table_name) AS a (relid)
		JOIN _cache_notify.watching_trigger w ON w.tgrelid = a.relid
		WHERE a.relid <> table_name
		AND w.domain = coalesce(check_not_watched_through.domain_name, w.domain) LIMIT 1);
BEGIN
	IF parent IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('partition %s is watched through %s', table_name, parent),
			HINT = format('Call the function for %s, or with another domain.', parent);
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_not_watched_through(regclass, text) IS
'Error, with a hint, if a table that this one is a partition of is watched for the domain; NULL: for any.';

CREATE FUNCTION _cache_notify.check_column(table_name regclass, column_name text) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = table_name
				   AND attname = column_name AND attnum > 0 AND NOT attisdropped) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_column',
			MESSAGE = format('column %s of table %s does not exist',
				coalesce(quote_ident(column_name), 'NULL'), table_name),
			HINT = (SELECT 'The table has: ' || string_agg(quote_ident(attname), ', ' ORDER BY attnum) || '.'
					FROM pg_attribute WHERE attrelid = table_name AND attnum > 0 AND NOT attisdropped);
	END IF;
	IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = table_name
			   AND attname = column_name AND attgenerated = 'v') THEN
		RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
			MESSAGE = format('column %I of table %s is a virtual generated column', column_name, table_name),
			HINT = 'A trigger does not see its value: name the columns that it is computed from.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_column(regclass, text) IS
'Error, with the table''s columns as a hint, unless the column exists.';

CREATE FUNCTION _cache_notify.check_columns(table_name regclass, VARIADIC columns text[]) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	column_name text;
BEGIN
	FOREACH column_name IN ARRAY coalesce(columns, '{}') LOOP
		PERFORM _cache_notify.check_column(table_name, column_name);
	END LOOP;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_columns(regclass, text[]) IS
'Error, with the table''s columns as a hint, unless all these columns exist.';

CREATE FUNCTION _cache_notify.check_payload(
	table_name regclass, options _cache_notify.watch_options) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	payload text := options.payload;
	tells text := coalesce((_cache_notify.payload_format(payload)).tells, 'scopes');
BEGIN
	IF tells = 'rows' AND (SELECT relname ~ '[^[:ascii:]]' FROM pg_class WHERE oid = table_name) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_name',
			MESSAGE = format('payload "%s" cannot name %s', payload, table_name),
			HINT = 'Use payload ''json'' or ''pgcachewatch'', which say every letter in ASCII, or give the table another name.';
	ELSIF tells <> 'scopes' AND options.fields <> '{}' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('payload "%s" has no room for fields', payload),
			HINT = 'Its listeners expect nothing else. Leave out fields, or use payload ''json''.';
	ELSIF tells <> 'scopes' AND position('{tenant}' IN options.channel) > 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('payload "%s" has no tenant for channel "%s"', payload, options.channel),
			HINT = 'It tells of a table, whoever''s rows have changed.';
	ELSIF regexp_replace(options.channel, '\{(domain|tenant)\}', '', 'g') ~ '\{(\w+\}|(domain|tenant))' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('channel "%s" has a placeholder that there is not', options.channel),
			HINT = 'A template has {domain} and {tenant}.';
	ELSIF tells = 'rows' AND NOT EXISTS (
			SELECT FROM pg_index WHERE indrelid = table_name AND indisprimary) THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_table_definition',
			MESSAGE = format('payload "%s" needs a primary key, which %s does not have', payload, table_name),
			HINT = 'Add a primary key, or use another payload format.';
	ELSIF tells = 'rows' AND options.granularity = 'statement' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('granularity ''statement'' cannot tell rows, as payload "%s" does', payload),
			HINT = 'A statement trigger sees no rows: use granularity ''row''.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_payload(regclass, _cache_notify.watch_options) IS
'Error, with a hint, if a payload format does not go with the table or the other options.';

-- Each value has been checked by itself, see option.c.
CREATE FUNCTION _cache_notify.check_options(
	table_name regclass, options _cache_notify.watch_options) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	PERFORM _cache_notify.check_payload(table_name, options);
	IF options.tenant_setting IS NOT NULL AND options.tenant_column IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'tenant_column and tenant_setting exclude each other',
			HINT = 'Take the tenant either from a column or from a setting.';
	ELSIF options.granularity = 'statement' AND options.tenant_column IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'granularity ''statement'' cannot take the tenant from a column',
			HINT = 'A statement trigger sees no rows: use tenant_setting, or granularity ''row''.';
	ELSIF options.granularity = 'statement' AND options.columns <> '{}' THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = 'granularity ''statement'' cannot tell which columns changed',
			HINT = 'A statement trigger sees no rows: leave out columns, or use granularity ''row''.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_options(regclass, _cache_notify.watch_options) IS
'Error, with a hint, if options contradict each other.';

CREATE FUNCTION _cache_notify.check_route(table_name regclass, domain_name text) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	IF NOT _cache_notify.route_is_told(table_name, domain_name) THEN
		RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
			MESSAGE = format('domain "%s" is told on too many channels', domain_name),
			HINT = 'Each is a message more for whoever changes the domain: tables of one owner, who is no superuser, can have it told on 32 channels or formats.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_route(regclass, text) IS
'Error, with a hint, if a domain is not told as the table asks for; see route_is_told().';

CREATE FUNCTION _cache_notify.create_watching_trigger(
	table_name regclass, kind text, domain_name text, arguments text[], name_kind text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	truncatable boolean := current_setting('server_version_num')::int >= 160000
		OR (SELECT relkind <> 'f' FROM pg_class WHERE oid = table_name);
BEGIN
	PERFORM _cache_notify.trigger_follows();
	EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION cache_notify.%I(%s)',
		_cache_notify.trigger_name(coalesce(name_kind, kind), domain_name),
		-- What the row trigger sees, the statement trigger need not.
		CASE WHEN kind = 'row' OR NOT truncatable THEN 'INSERT OR UPDATE OR DELETE'
			WHEN 'granularity=statement' = ANY (arguments) THEN 'INSERT OR UPDATE OR DELETE OR TRUNCATE'
			ELSE 'TRUNCATE' END,
		table_name, kind, kind || '_change',
		(SELECT string_agg(quote_literal(a), ', ' ORDER BY i)
		 FROM unnest(arguments) WITH ORDINALITY AS u (a, i)));
END
$$;
COMMENT ON FUNCTION _cache_notify.create_watching_trigger(regclass, text, text, text[], text) IS
'Creates or replaces one trigger of a watched table: kind is "row" or "statement", name_kind what its name says. Foreign tables have no TRUNCATE triggers before PostgreSQL 16.';

-- A name for each ask: two of one domain are two triggers.
CREATE FUNCTION _cache_notify.add_watching_trigger(
	table_name regclass, kind text, domain_name text, arguments text[], enabled "char")
	RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	name_kind text := kind;
BEGIN
	IF EXISTS (
		SELECT FROM _cache_notify.watching_trigger w
		WHERE w.tgrelid = table_name AND w.tgname = _cache_notify.trigger_name(kind, domain_name)
		AND w.arguments <> add_watching_trigger.arguments
		-- One that is inherited, and that no parent asks for any more, is replaced.
		AND (NOT w.inherited OR w.tgparentid <> 0 OR EXISTS (
			SELECT FROM pg_inherits i
			JOIN _cache_notify.watching_trigger p ON p.tgrelid = i.inhparent
			WHERE i.inhrelid = table_name AND p.domain = w.domain AND p.function = w.function
			AND array_remove(p.arguments, 'inherited=true') = array_remove(w.arguments, 'inherited=true')))) THEN
		name_kind := kind || '_' || left(md5(arguments::text), 8);
	END IF;
	PERFORM _cache_notify.create_watching_trigger(table_name, kind, domain_name, arguments, name_kind);
	PERFORM _cache_notify.set_firing(table_name, _cache_notify.trigger_name(name_kind, domain_name), enabled);
END
$$;
COMMENT ON FUNCTION _cache_notify.add_watching_trigger(regclass, text, text, text[], "char") IS
'Adds a trigger to a table that may have one of its kind for the domain, with other arguments, which stays: each counts what it asks for. enabled: as in pg_trigger.tgenabled.';

CREATE FUNCTION _cache_notify.covers(
	function text, own _cache_notify.watch_options, asked _cache_notify.watch_options) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN CASE WHEN function = 'statement_change' AND asked.granularity IS DISTINCT FROM 'statement'
			THEN true	-- TRUNCATE, which concerns all
		WHEN own.granularity IS DISTINCT FROM asked.granularity THEN false
		WHEN own.columns <> '{}' AND (asked.columns = '{}' OR NOT asked.columns <@ own.columns) THEN false
		WHEN own.tenant_column IS NULL AND own.tenant_setting IS NULL AND own.keys = '{}' THEN true
		ELSE (own.tenant_column, own.tenant_setting) IS NOT DISTINCT FROM (asked.tenant_column, asked.tenant_setting)
			AND (own.keys = '{}' OR own.keys = asked.keys AND own.bucket_layout = asked.bucket_layout) END;
COMMENT ON FUNCTION _cache_notify.covers(text, _cache_notify.watch_options, _cache_notify.watch_options) IS
'Whether a trigger with its own options counts every change that another one asks for, for all whom it concerns.';

CREATE FUNCTION _cache_notify.notice_defaults(
	table_name regclass, domain_name text, arguments text[], fire_on_replica boolean) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	lost text := (
		SELECT string_agg(DISTINCT CASE o.name WHEN 'column' THEN 'columns' WHEN 'field' THEN 'fields' WHEN 'key' THEN 'keys'
			ELSE o.name END, ', ')
		FROM _cache_notify.watching_trigger w
		CROSS JOIN LATERAL (
			SELECT split_part(a, '=', 1) FROM unnest(w.arguments) AS u (a)
			UNION ALL SELECT 'fire_on_replica' WHERE w.tgenabled = 'A' AND NOT notice_defaults.fire_on_replica) AS o (name)
		WHERE w.tgrelid = notice_defaults.table_name AND w.domain = domain_name AND w.function = 'statement_change' AND NOT w.inherited
		AND o.name <> ALL (ARRAY(SELECT split_part(a, '=', 1) FROM unnest(notice_defaults.arguments || '{inherited=,bucket_layout=}'::text[]) AS u (a))));
BEGIN
	IF lost IS NOT NULL THEN
		RAISE NOTICE USING
			MESSAGE = format('table %s is set up again for domain "%s" without: %s', table_name, domain_name, lost),
			HINT = 'Options that are not named have their defaults: setting up replaces what was there.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.notice_defaults(regclass, text, text[], boolean) IS
'A notice of the options that a table had and is set up again without.';
