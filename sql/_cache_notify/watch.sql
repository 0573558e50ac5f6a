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

-- Called by the event trigger, as the extension's owner.
CREATE FUNCTION _cache_notify.follow_names() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	taken record;
	kind text;
	enabled "char";
	watch text[];
BEGIN
	FOR taken IN
		SELECT n.domain COLLATE "default" AS domain, n.arguments, c.oid::regclass AS relation, c.relkind
		FROM _cache_notify.watched_name n
		JOIN pg_namespace s ON s.nspname = n.schema_name
		JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = n.relation_name
		WHERE n.arguments IS NOT NULL
		AND NOT EXISTS (SELECT FROM _cache_notify.watching_trigger t WHERE t.tgrelid = c.oid AND t.domain = n.domain)
		AND NOT EXISTS (SELECT FROM _cache_notify.watching_label l WHERE l.relation = c.oid)
		-- Of another kind, somebody must say how it is to be watched.
		AND (c.relkind IN ('r', 'p', 'f') OR c.relkind = 'm' AND _cache_notify.option_not_for_labels(n.arguments) IS NULL)
	LOOP
		IF taken.relkind = 'm' THEN
			PERFORM _cache_notify.label_relation(taken.relation, taken.arguments);
		ELSE
			enabled := CASE WHEN 'fire_on_replica=true' = ANY (taken.arguments) THEN 'A' ELSE 'O' END;
			-- What counters it had, the domain may have left.
			watch := ARRAY(
				SELECT CASE WHEN starts_with(u.a, 'bucket_layout=') THEN 'bucket_layout='
						|| _cache_notify.choose_bucket_layout(taken.relation, taken.domain, _cache_notify.bucket_count(substr(u.a, 15)::bigint))
					WHEN starts_with(u.a, 'whole_counter=') THEN 'whole_counter=' || _cache_notify.whole_counter_number(taken.domain)
					ELSE u.a END
				FROM unnest(array_remove(taken.arguments, 'fire_on_replica=true')) WITH ORDINALITY AS u (a, i) ORDER BY u.i);
			FOREACH kind IN ARRAY CASE WHEN 'granularity=statement' = ANY (watch) THEN '{statement}'::text[] ELSE '{row,statement}' END LOOP
				PERFORM _cache_notify.add_watching_trigger(taken.relation, kind, taken.domain, watch, enabled);
			END LOOP;
			PERFORM cache_notify.inherit_triggers(taken.relation);
		END IF;
		PERFORM _cache_notify.note_name(taken.relation, taken.domain, taken.arguments);
	END LOOP;
	PERFORM _cache_notify.configuration_changed();
END
$$;
COMMENT ON FUNCTION _cache_notify.follow_names() IS
'Watches what has taken over the name of a relation that was set up with follow_name, as that was watched.';
REVOKE EXECUTE ON FUNCTION _cache_notify.follow_names() FROM PUBLIC;
