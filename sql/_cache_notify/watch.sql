-- ------------------------------- the family of a table, and materialized views

CREATE FUNCTION _cache_notify.set_firing(
	table_name regclass, trigger_name name, enabled "char") RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = table_name
			   AND t.tgname = trigger_name AND t.tgenabled <> enabled) THEN
		EXECUTE format('ALTER TABLE ONLY %s %s TRIGGER %I', table_name,
			CASE enabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE'
				WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' END,
			trigger_name);
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.set_firing(regclass, name, "char") IS
'Makes a trigger fire as pg_trigger.tgenabled says: O, D, R or A.';

CREATE FUNCTION _cache_notify.lock_family(table_name regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_class WHERE oid = table_name AND relhassubclass AND relkind IN ('r', 'p')) THEN
		EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', table_name);
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.lock_family(regclass) IS
'Locks a table that has partitions or child tables, before triggers of these are dropped: writers lock the parent first, and so does nobody end in a deadlock with them.';

CREATE FUNCTION _cache_notify.label_relation(table_name regclass, arguments text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('SECURITY LABEL FOR cache_notify ON %s %s IS %s',
		(SELECT CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END
		 FROM pg_class WHERE oid = table_name),
		table_name, quote_nullable(arguments::text));
END
$$;
COMMENT ON FUNCTION _cache_notify.label_relation(regclass, text[]) IS
'Writes the configuration of a view or materialized view; NULL removes it.';

CREATE FUNCTION _cache_notify.watch_materialized_view(
	table_name regclass, domain_name text, arguments text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	option text := _cache_notify.option_not_for_labels(arguments);
	present text := (SELECT l.domain FROM _cache_notify.watching_label l WHERE l.relation = table_name);
BEGIN
	IF option IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('materialized view %s cannot be watched with option %s', table_name, option),
			HINT = 'REFRESH changes it as a whole: only domain_name, channel, payload and fields apply.';
	ELSIF present <> domain_name THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('materialized view %s is watched for domain "%s"', table_name, present),
			HINT = 'It feeds one domain: call remove_table_invalidation() first, or carry its changes on with rows in cache_notify.cascade_rules.';
	END IF;
	PERFORM _cache_notify.label_relation(table_name, arguments);
END
$$;
COMMENT ON FUNCTION _cache_notify.watch_materialized_view(regclass, text, text[]) IS
'What setup_table_invalidation() does for a materialized view: each REFRESH bumps the domain.';
