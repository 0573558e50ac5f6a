-- ------------------------------- the family of a table, and materialized views

CREATE FUNCTION _cache_notify.set_firing(
	table_name regclass, trigger_name name, enabled "char") RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
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

CREATE FUNCTION _cache_notify.lock_family(table_name regclass, exclusive boolean) RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_lock_family'
	LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION _cache_notify.lock_family(regclass, boolean) IS
'Locks a table and all its partitions or child tables, from the top down, before triggers are created (SHARE ROW EXCLUSIVE) or dropped (exclusive: ACCESS EXCLUSIVE): writers lock the parent first, and so does nobody end in a deadlock with them. Does nothing if the caller may not do what it is for.';

CREATE FUNCTION _cache_notify.equip_simple_members(relation regclass) RETURNS oid[]
	AS 'MODULE_PATHNAME', 'cache_notify_equip_simple_members'
	LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION _cache_notify.equip_simple_members(regclass) IS
'What equip_members() does, for those partitions and child tables of a relation that have nothing but what their one parent asks for. Returns the others, parents first: those that are watched by themselves, or have several parents, or parents with several triggers of a kind for a domain, and what is below these.';

CREATE FUNCTION _cache_notify.equip_members(members oid[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	child record;
	trig record;
BEGIN
	FOR child IN
		SELECT m.relid::regclass AS relid, c.relispartition
		FROM unnest(members) WITH ORDINALITY AS m (relid, i)
		JOIN pg_class c ON c.oid = m.relid
		WHERE c.relpersistence <> 't' ORDER BY m.i
	LOOP
		-- A partition that is watched by itself, too, lost its own row trigger to the
		-- server's clone, which may ask for less, or be gone.
		FOR trig IN
			SELECT w.domain, w.arguments, w.tgenabled FROM _cache_notify.watching_trigger w
			WHERE w.tgrelid = child.relid AND w.function = 'statement_change' AND NOT w.inherited
			AND (w.options).granularity IS DISTINCT FROM 'statement'
			AND NOT EXISTS (
				SELECT FROM _cache_notify.watching_trigger r
				WHERE r.tgrelid = child.relid AND r.function = 'row_change' AND r.domain = w.domain
				AND (r.arguments = w.arguments OR NOT r.inherited AND r.tgparentid = 0))
		LOOP
			PERFORM _cache_notify.add_watching_trigger(child.relid, 'row', trig.domain, trig.arguments, trig.tgenabled);
		END LOOP;

		-- What parents ask for, and the child does not itself: the triggers of both
		-- fire, and a statement moves a scope once.
		FOR trig IN
			SELECT DISTINCT ON (p.domain, p.function, a.arguments)
				p.domain, replace(p.function, '_change', '') AS kind, p.tgenabled, a.arguments
			FROM pg_inherits i
			JOIN _cache_notify.watching_trigger p ON p.tgrelid = i.inhparent
			CROSS JOIN LATERAL (SELECT array_remove(p.arguments, 'inherited=true')
				|| _cache_notify.option('inherited', 'true')) AS a (arguments)
			WHERE i.inhrelid = child.relid AND NOT i.inhdetachpending
			-- The server clones row triggers to partitions.
			AND (p.function = 'statement_change' OR NOT child.relispartition)
			AND NOT EXISTS (
				SELECT FROM _cache_notify.watching_trigger w
				WHERE w.tgrelid = child.relid AND w.domain = p.domain AND w.function = p.function
				AND NOT w.inherited AND _cache_notify.covers(w.function, w.options, p.options))
			ORDER BY p.domain, p.function, a.arguments,
				-- what fires on most occasions
				strpos('AORD', p.tgenabled::text), i.inhseqno
		LOOP
			CONTINUE WHEN EXISTS (
				SELECT FROM _cache_notify.watching_trigger w
				WHERE w.tgrelid = child.relid AND w.domain = trig.domain
				AND w.function = trig.kind || '_change' AND w.arguments = trig.arguments AND w.tgenabled = trig.tgenabled);
			PERFORM _cache_notify.add_watching_trigger(child.relid, trig.kind, trig.domain, trig.arguments, trig.tgenabled);
		END LOOP;

		FOR trig IN
			SELECT w.tgname FROM _cache_notify.watching_trigger w
			WHERE w.tgrelid = child.relid AND w.inherited AND w.tgparentid = 0
			AND (w.arguments NOT IN (
				SELECT array_remove(p.arguments, 'inherited=true') || _cache_notify.option('inherited', 'true')
				FROM pg_inherits i
				JOIN _cache_notify.watching_trigger p ON p.tgrelid = i.inhparent
				WHERE i.inhrelid = child.relid AND NOT i.inhdetachpending
				AND p.domain = w.domain AND p.function = w.function)
			OR EXISTS (
				SELECT FROM _cache_notify.watching_trigger o
				WHERE o.tgrelid = child.relid AND o.domain = w.domain AND o.function = w.function
				AND NOT o.inherited AND o.tgparentid = 0 AND _cache_notify.covers(o.function, o.options, w.options)))
		LOOP
			EXECUTE format('DROP TRIGGER %I ON %s', trig.tgname, child.relid);
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION _cache_notify.equip_members(oid[]) IS
'Gives each of these tables, parents first, the triggers that its parents'' being watched asks for, and drops those it no longer does.';

CREATE FUNCTION _cache_notify.doomed_triggers(
		table_name regclass, domain_name text, granularity text,
		OUT relation regclass, OUT tgname name)
	RETURNS SETOF record
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT w.tgrelid::regclass, w.tgname
	FROM pg_partition_tree(table_name) t
	CROSS JOIN LATERAL (
		SELECT * FROM _cache_notify.watching_trigger w WHERE w.tgrelid = t.relid OFFSET 0) w
	WHERE t.level > 0 AND w.domain = $2 AND w.tgparentid = 0 AND NOT w.inherited
	UNION ALL
	SELECT w.tgrelid::regclass, w.tgname
	FROM _cache_notify.watching_trigger w
	WHERE w.tgrelid = $1 AND w.domain = $2 AND w.tgparentid = 0 AND NOT w.inherited
	AND (w.function = 'row_change' AND $3 = 'statement'
		OR starts_with(w.tgname, 'cache_notify_')
			AND w.tgname <> _cache_notify.trigger_name(replace(w.function, '_change', ''), w.domain));
END;
COMMENT ON FUNCTION _cache_notify.doomed_triggers(regclass, text, text) IS
'The triggers that go when a table is set up: a row trigger that is not to be there, and what partitions have for the domain by themselves.';

CREATE FUNCTION _cache_notify.label_relation(table_name regclass, arguments text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
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
	SET jit = off
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
		PERFORM _cache_notify.note_rules_of(taken.relation, taken.domain, '{}');
	END LOOP;
	PERFORM _cache_notify.configuration_changed();
END
$$;
COMMENT ON FUNCTION _cache_notify.follow_names() IS
'Watches what has taken over the name of a relation that was set up with follow_name, as that was watched.';
REVOKE EXECUTE ON FUNCTION _cache_notify.follow_names() FROM PUBLIC;

CREATE FUNCTION _cache_notify.set_up_lost_view(relation regclass, domain text, label text) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	before text := current_setting('role');
	arguments text[] := nullif(label, '')::text[];
	options _cache_notify.watch_options := _cache_notify.watch_options(coalesce(arguments, '{}'), relation);
	view pg_class;
BEGIN
	SELECT * INTO view FROM pg_class c WHERE c.oid = relation;
	PERFORM set_config('role', pg_get_userbyid(view.relowner), true);
	IF view.relkind = 'v' THEN
		PERFORM _cache_notify.setup_view(relation, domain, options.channel, options.payload, coalesce(options.search_path, current_setting('search_path')));
	ELSE
		PERFORM _cache_notify.label_relation(relation, coalesce(arguments, _cache_notify.option('domain_name', domain)));
		PERFORM _cache_notify.note_name(relation, domain);
	END IF;
	PERFORM set_config('role', before, true);
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING USING
		MESSAGE = format('%s is not set up for domain "%s": %s', relation, domain, SQLERRM),
		HINT = 'Do as cache_notify.doctor() says.';
END
$$;
COMMENT ON FUNCTION _cache_notify.set_up_lost_view(regclass, text, text) IS
'Sets up a view or materialized view that has lost its label, as its owner.';

CREATE FUNCTION _cache_notify.set_up_lost_views() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	PERFORM _cache_notify.set_up_lost_view(c.oid, v.domain, v.label)
	FROM _cache_notify.stored_view v
	JOIN pg_namespace s ON s.nspname = v.schema_name
	JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = v.relation_name
	WHERE c.relkind IN ('v', 'm') AND NOT EXISTS (
		SELECT FROM pg_seclabel l WHERE l.provider = 'cache_notify' AND l.classoid = 'pg_class'::regclass AND l.objoid = c.oid AND l.objsubid = 0);
END
$$;
COMMENT ON FUNCTION _cache_notify.set_up_lost_views() IS
'Sets up views that the configuration says were, and that have no label; what a dump without security labels leaves.';
REVOKE EXECUTE ON FUNCTION _cache_notify.set_up_lost_view(regclass, text, text), _cache_notify.set_up_lost_views() FROM PUBLIC;
