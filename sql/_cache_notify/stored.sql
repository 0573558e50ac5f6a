-- --------------------------- configuration that no watched table carries: stored.c

CREATE FUNCTION _cache_notify.trigger_follows() RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_trigger_follows'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.trigger_follows() IS
'Says that the next trigger of ours that this transaction creates is not from a dump. One that comes without this begins a new history, if versions start at 0.';

CREATE FUNCTION _cache_notify.entry_value(arguments text[], name text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN (SELECT substr(a, length(name) + 2)
			FROM unnest(arguments) WITH ORDINALITY AS u (a, i)
			WHERE starts_with(a, name || '=')
			ORDER BY i LIMIT 1);
COMMENT ON FUNCTION _cache_notify.entry_value(text[], text) IS
'The value of the first "name=value" in an entry of the configuration; NULL if there is none.';

CREATE VIEW _cache_notify.stored_entry AS
	SELECT t.tgname AS name, p.proname::text AS kind,
		cache_notify.trigger_arguments(t.tgargs) AS arguments
	FROM pg_catalog.pg_trigger t
	JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
	WHERE t.tgrelid = pg_catalog.to_regclass('cache_notify.configuration')
	AND t.tgfoid IN ('cache_notify.cascade_rule()'::pg_catalog.regprocedure,
					 'cache_notify.schema_listener()'::pg_catalog.regprocedure,
					 'cache_notify.watched_view()'::pg_catalog.regprocedure);
COMMENT ON VIEW _cache_notify.stored_entry IS
'The entries of the configuration: triggers of the view cache_notify.configuration, which carry it through dumps.';

CREATE VIEW _cache_notify.stored_rule AS
	SELECT _cache_notify.entry_value(e.arguments, 'source') COLLATE "C" AS source_domain,
		_cache_notify.entry_value(e.arguments, 'target') COLLATE "C" AS target_domain,
		coalesce(_cache_notify.entry_value(e.arguments, 'rule_type'), 'invalidate') AS rule_type,
		coalesce(_cache_notify.entry_value(e.arguments, 'keys'), 'all') AS keys,
		coalesce(_cache_notify.entry_value(e.arguments, 'tenants'), 'same') AS tenants
	FROM _cache_notify.stored_entry e WHERE e.kind = 'cascade_rule';
COMMENT ON VIEW _cache_notify.stored_rule IS
'The cascade rules that are entries of the configuration. The table cascade_rules has the same, but in crash recovery and on a standby.';

CREATE VIEW _cache_notify.schema_listener AS
	SELECT _cache_notify.entry_value(e.arguments, 'channel') COLLATE "C" AS channel,
		_cache_notify.entry_value(e.arguments, 'preset') AS preset,
		_cache_notify.entry_value(e.arguments, 'payload') AS payload,
		coalesce(_cache_notify.entry_value(e.arguments, 'payload_suffix'), '') AS payload_suffix
	FROM _cache_notify.stored_entry e WHERE e.kind = 'schema_listener';
COMMENT ON VIEW _cache_notify.schema_listener IS
'Which channels hear of changes to the schema; setup_schema_invalidation() writes it.';
COMMENT ON COLUMN _cache_notify.schema_listener.channel IS 'where to notify';
COMMENT ON COLUMN _cache_notify.schema_listener.preset IS 'which changes count and how the payload looks, see schema_presets(); NULL: every change that a preset counts';
COMMENT ON COLUMN _cache_notify.schema_listener.payload IS 'what to say; NULL: what the preset says';
COMMENT ON COLUMN _cache_notify.schema_listener.payload_suffix IS 'added to the end of each payload';

CREATE VIEW _cache_notify.stored_view AS
	SELECT _cache_notify.entry_value(e.arguments, 'domain') COLLATE "C" AS domain,
		_cache_notify.entry_value(e.arguments, 'schema') AS schema_name,
		_cache_notify.entry_value(e.arguments, 'name') AS relation_name,
		_cache_notify.entry_value(e.arguments, 'label') AS label
	FROM _cache_notify.stored_entry e WHERE e.kind = 'watched_view';
COMMENT ON VIEW _cache_notify.stored_view IS
'By which names views and materialized views were set up, and with which label: a dump without security labels has this.';

CREATE FUNCTION _cache_notify.note_view(relation regclass, domain text, label text) RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_note_view'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.note_view(regclass, text, text) IS
'store_view() for the owner of a view or materialized view; does nothing for others, or for a table.';

CREATE FUNCTION _cache_notify.store(kind text, key text, arguments text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	trigger_name text := kind || '_' || md5(key);
	present text[] := (SELECT e.arguments FROM _cache_notify.stored_entry e WHERE e.name = trigger_name);
BEGIN
	PERFORM _cache_notify.configuration_changed();
	arguments := array_remove(arguments, NULL);
	IF arguments IS NOT DISTINCT FROM present THEN
		RETURN;
	ELSIF arguments IS NULL THEN
		EXECUTE format('DROP TRIGGER %I ON cache_notify.configuration', trigger_name);
		RETURN;
	END IF;
	IF to_regclass('cache_notify.configuration') IS NULL THEN
		PERFORM pg_advisory_xact_lock('cache_notify.row_change()'::regprocedure::oid::bigint);
	END IF;
	IF to_regclass('cache_notify.configuration') IS NULL THEN
		CREATE VIEW cache_notify.configuration AS SELECT NULL::text AS nothing WHERE false;
		COMMENT ON VIEW cache_notify.configuration IS
		'Its triggers are cascade rules and schema listeners of cache_notify, so that every dump contains them. Change them with cascade_rules and setup_schema_invalidation().';
	END IF;
	PERFORM _cache_notify.trigger_follows();
	EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON cache_notify.configuration'
		' FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.%I(%s)', trigger_name, kind,
		(SELECT string_agg(quote_literal(a), ', ' ORDER BY i) FROM unnest(arguments) WITH ORDINALITY AS u (a, i)));
END
$$;
COMMENT ON FUNCTION _cache_notify.store(text, text, text[]) IS
'Writes an entry of the configuration; arguments NULL removes it.';
CREATE FUNCTION _cache_notify.store_view(domain text, schema_name text, relation_name text, label text) RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT _cache_notify.store('watched_view', concat_ws(E'\n', $1, $2, $3), CASE WHEN $4 IS NOT NULL
		THEN ARRAY['domain=' || $1, 'schema=' || $2, 'name=' || $3, 'label=' || $4] END)
	WHERE $4 IS NOT NULL OR EXISTS (SELECT FROM _cache_notify.stored_view v
		WHERE (v.domain, v.schema_name, v.relation_name) = ($1, $2, $3));
END;
COMMENT ON FUNCTION _cache_notify.store_view(text, text, text, text) IS
'Writes into the configuration that a view of this name was set up; label NULL: that it need not be.';

REVOKE EXECUTE ON FUNCTION _cache_notify.store(text, text, text[]), _cache_notify.store_view(text, text, text, text) FROM PUBLIC;

-- ------------------------------------------------------------------ cascade rules

CREATE FUNCTION _cache_notify.missing_rule(source text, targets text[]) RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN (SELECT min(u.target COLLATE "C") FROM unnest(targets) AS u (target)
			WHERE NOT EXISTS (SELECT FROM _cache_notify.stored_rule r
				WHERE r.source_domain = source AND r.target_domain = u.target));
COMMENT ON FUNCTION _cache_notify.missing_rule(text, text[]) IS
'The first of these domains that there is no rule into; NULL: there is one into each.';

CREATE FUNCTION _cache_notify.write_missing_rules(source text, targets text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	target text := _cache_notify.missing_rule(source, targets);
BEGIN
	WHILE target IS NOT NULL LOOP
		PERFORM cache_notify.set_cascade_rule(source, target);
		targets := array_remove(targets, target);
		target := _cache_notify.missing_rule(source, targets);
	END LOOP;
END
$$;
COMMENT ON FUNCTION _cache_notify.write_missing_rules(text, text[]) IS
'Writes a rule into each of these domains, if there is none, with the rights of the current user.';

-- Nobody gets rules by what he writes into a trigger that he could not have written himself.
CREATE FUNCTION _cache_notify.write_rules_of(relation regclass, source text, targets text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	before text := current_setting('role');
BEGIN
	PERFORM set_config('role', pg_get_userbyid(c.relowner), true) FROM pg_class c WHERE c.oid = relation;
	PERFORM _cache_notify.write_missing_rules(source, targets);
	PERFORM set_config('role', before, true);
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING USING
		MESSAGE = format('rule from domain "%s" into "%s" is not written: %s', source, _cache_notify.missing_rule(source, targets), SQLERRM),
		HINT = 'If it is to be, write it into cache_notify.cascade_rules.';
END
$$;
COMMENT ON FUNCTION _cache_notify.write_rules_of(regclass, text, text[]) IS
'Writes the rules that the set-up of a relation asks for, as its owner.';
REVOKE EXECUTE ON FUNCTION _cache_notify.write_rules_of(regclass, text, text[]) FROM PUBLIC;

CREATE FUNCTION _cache_notify.refill_rules() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	-- The INSERT's own trigger may have come here as well.
	INSERT INTO cache_notify.cascade_rules
	SELECT * FROM _cache_notify.stored_rule r
	WHERE NOT EXISTS (SELECT FROM cache_notify.cascade_rules c
		WHERE (c.source_domain, c.target_domain) = (r.source_domain, r.target_domain))
	ON CONFLICT (source_domain, target_domain) DO NOTHING;
	UPDATE cache_notify.cascade_rules c SET rule_type = r.rule_type, keys = r.keys, tenants = r.tenants
	FROM _cache_notify.stored_rule r
	WHERE (c.source_domain, c.target_domain) = (r.source_domain, r.target_domain)
	AND (c.rule_type, c.keys, c.tenants) <> (r.rule_type, r.keys, r.tenants);
	DELETE FROM cache_notify.cascade_rules c
	WHERE (c.source_domain, c.target_domain) NOT IN (
		SELECT r.source_domain, r.target_domain FROM _cache_notify.stored_rule r);
END
$$;
COMMENT ON FUNCTION _cache_notify.refill_rules() IS
'Makes the table cascade_rules what the configuration says, after a crash has emptied it, or a dump was restored.';
REVOKE EXECUTE ON FUNCTION _cache_notify.refill_rules() FROM PUBLIC;

-- What the triggers of cascade_rules call, as the extension's owner: rule_table.c.
CREATE FUNCTION _cache_notify.begin_writing_rules(inserting boolean) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	IF pg_trigger_depth() > 1 OR EXISTS (SELECT FROM cache_notify.cascade_rules)
		OR NOT EXISTS (SELECT FROM _cache_notify.stored_rule) THEN
		RETURN;
	ELSIF inserting THEN
		PERFORM _cache_notify.refill_rules();
	ELSE
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'table cascade_rules is empty since a crash, though there are rules',
			HINT = 'Call cache_notify.repair(), and do it again.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.begin_writing_rules(boolean) IS
'Whoever changes rules must see those that there are: fills the table again before INSERT, and complains before UPDATE and DELETE.';

CREATE FUNCTION _cache_notify.write_rule(
	old_source text, old_target text, old_type text, old_keys text, old_tenants text,
	source text, target text, rule_type text, keys text, tenants text) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	IF (old_source, old_target) IS DISTINCT FROM (source, target) AND old_source IS NOT NULL THEN
		PERFORM _cache_notify.store('cascade_rule', old_source || E'\n' || old_target, NULL);
	END IF;
	IF source IS NOT NULL THEN
		PERFORM _cache_notify.store('cascade_rule', source || E'\n' || target, ARRAY[
			'source=' || source, 'target=' || target, 'rule_type=' || rule_type, 'keys=' || keys, 'tenants=' || tenants]);
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.write_rule(text, text, text, text, text, text, text, text, text, text) IS
'Writes a row of cascade_rules into the configuration: what it was (NULL: it is new), and what it is (NULL: it is deleted).';

CREATE FUNCTION _cache_notify.remove_rules() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	PERFORM _cache_notify.store('cascade_rule', r.source_domain || E'\n' || r.target_domain, NULL)
	FROM _cache_notify.stored_rule r;
	PERFORM _cache_notify.write_rule_notes(w.relation, w.domain, '{}') FROM _cache_notify.noting_watch w WHERE w.rules <> '{}';
END
$$;
COMMENT ON FUNCTION _cache_notify.remove_rules() IS
'Takes all rules, and the notes of them, out of the configuration.';
REVOKE EXECUTE ON FUNCTION _cache_notify.begin_writing_rules(boolean),
	_cache_notify.write_rule(text, text, text, text, text, text, text, text, text, text), _cache_notify.remove_rules() FROM PUBLIC;

CREATE FUNCTION _cache_notify.rule_written() RETURNS trigger
	AS 'MODULE_PATHNAME', 'cache_notify_rule_written' LANGUAGE C;
COMMENT ON FUNCTION _cache_notify.rule_written() IS
'Trigger of cascade_rules: writes what is done to the table into the configuration.';
REVOKE EXECUTE ON FUNCTION _cache_notify.rule_written() FROM PUBLIC;

CREATE TRIGGER rules_are_written
	BEFORE INSERT OR UPDATE OR DELETE ON cache_notify.cascade_rules
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rule_written();
CREATE TRIGGER rule_is_written
	AFTER INSERT OR UPDATE OR DELETE ON cache_notify.cascade_rules
	FOR EACH ROW EXECUTE FUNCTION _cache_notify.rule_written();
CREATE TRIGGER rules_are_truncated
	AFTER TRUNCATE ON cache_notify.cascade_rules
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rule_written();
CREATE TRIGGER rules_inserted
	AFTER INSERT ON cache_notify.cascade_rules REFERENCING NEW TABLE AS written
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rule_written();
CREATE TRIGGER rules_updated
	AFTER UPDATE ON cache_notify.cascade_rules REFERENCING OLD TABLE AS gone NEW TABLE AS written
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rule_written();
CREATE TRIGGER rules_deleted
	AFTER DELETE ON cache_notify.cascade_rules REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION _cache_notify.rule_written();
ALTER TABLE cache_notify.cascade_rules ENABLE ALWAYS TRIGGER rules_inserted,
	ENABLE ALWAYS TRIGGER rules_updated, ENABLE ALWAYS TRIGGER rules_deleted;
COMMENT ON TRIGGER rules_inserted ON cache_notify.cascade_rules IS 'Has watched relations say which rules there are.';
COMMENT ON TRIGGER rules_updated ON cache_notify.cascade_rules IS 'Has watched relations say which rules there are.';
COMMENT ON TRIGGER rules_deleted ON cache_notify.cascade_rules IS 'Has watched relations say which rules there are.';
ALTER TABLE cache_notify.cascade_rules ENABLE ALWAYS TRIGGER rules_are_written,
	ENABLE ALWAYS TRIGGER rule_is_written, ENABLE ALWAYS TRIGGER rules_are_truncated;
COMMENT ON TRIGGER rules_are_written ON cache_notify.cascade_rules IS
'Fills the table again, or asks for that.';
COMMENT ON TRIGGER rule_is_written ON cache_notify.cascade_rules IS
'Writes the rule into the configuration, where every session and every dump finds it.';
COMMENT ON TRIGGER rules_are_truncated ON cache_notify.cascade_rules IS
'Takes the rules out of the configuration.';
