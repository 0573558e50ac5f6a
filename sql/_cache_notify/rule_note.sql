-- -------------------- cascade rules that watched relations say there are: rule_note.c

CREATE VIEW _cache_notify.noting_watch AS
	SELECT t.tgrelid AS relation, t.domain COLLATE "C" AS domain, (t.options).rules AS rules
	FROM _cache_notify.watching_trigger t WHERE t.function = 'statement_change' AND NOT t.inherited
	UNION ALL
	SELECT l.relation, l.domain COLLATE "C", (l.options).rules FROM _cache_notify.watching_label l;
COMMENT ON VIEW _cache_notify.noting_watch IS
'What may say which rules there are: the statement trigger of a watched table, the label of a view; and the notes of rules that it has.';

CREATE FUNCTION _cache_notify.noted_rule(
		note text, OUT source_domain text, OUT target_domain text, OUT rule_type text, OUT keys text, OUT tenants text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT p[5], p[4], p[1], p[2], p[3]
	FROM regexp_match($1, '^([^/]*)/([^/]*)/([^/]*)/([^/]*)/(.+)$') AS m (p);
END;
COMMENT ON FUNCTION _cache_notify.noted_rule(text) IS
'The rule that a note says there is.';

CREATE FUNCTION _cache_notify.lost_rules(notes text[]) RETURNS text[]
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN CASE WHEN notes <> '{}' THEN ARRAY(
		SELECT u.note FROM unnest(notes) WITH ORDINALITY AS u (note, i)
		CROSS JOIN LATERAL _cache_notify.noted_rule(u.note) n
		WHERE (n.source_domain COLLATE "C", n.target_domain COLLATE "C") NOT IN (
			SELECT r.source_domain, r.target_domain FROM _cache_notify.stored_rule r)
		ORDER BY u.i) ELSE '{}' END;
COMMENT ON FUNCTION _cache_notify.lost_rules(text[]) IS
'Those of these notes whose rule is not there.';

CREATE FUNCTION _cache_notify.lost_rule_problem(note text) RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN (SELECT format('a rule from domain "%s" into "%s" has been there, and is lost: call cache_notify.repair(), or cache_notify.remove_cascade_rule() if it need not be',
		n.source_domain, n.target_domain) FROM _cache_notify.noted_rule(note) n);
COMMENT ON FUNCTION _cache_notify.lost_rule_problem(text) IS
'How v_invalidation_status says that a rule is not there any more.';

-- Where nothing watches a domain, the way goes on.
CREATE FUNCTION _cache_notify.rules_to_note(domains text[], OUT domain text, OUT notes text[])
	RETURNS SETOF record
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	WITH RECURSIVE watched AS MATERIALIZED (
		SELECT DISTINCT w.domain FROM _cache_notify.noting_watch w
	), way (here, there) AS MATERIALIZED (
		SELECT r.source_domain, r.target_domain FROM cache_notify.cascade_rules r
		UNION ALL
		SELECT r.target_domain, r.source_domain FROM cache_notify.cascade_rules r
	), wanted AS MATERIALIZED (
		SELECT DISTINCT d COLLATE "C" AS domain FROM unnest($1) AS u (d)
	), near (start, domain) AS (
		SELECT d.domain, w.there FROM wanted d JOIN way w ON w.here = d.domain
		WHERE w.there NOT IN (SELECT x.domain FROM watched x)
		UNION
		SELECT n.start, w.there FROM near n JOIN way w ON w.here = n.domain
		WHERE w.there <> n.start AND w.there NOT IN (SELECT x.domain FROM watched x)
	), noted (domain, source_domain, target_domain, own) AS (
		SELECT d.domain, r.source_domain, r.target_domain, true
		FROM wanted d JOIN cache_notify.cascade_rules r ON r.source_domain = d.domain
		UNION ALL
		SELECT d.domain, r.source_domain, r.target_domain, true
		FROM wanted d JOIN cache_notify.cascade_rules r ON r.target_domain = d.domain
		WHERE r.source_domain NOT IN (SELECT x.domain FROM watched x)
		UNION ALL
		SELECT n.start, r.source_domain, r.target_domain, false
		FROM near n JOIN cache_notify.cascade_rules r ON r.source_domain = n.domain
		JOIN near m ON m.start = n.start AND m.domain = r.target_domain
	), ranked AS (
		SELECT n.domain, r.rule_type || '/' || r.keys || '/' || r.tenants || '/' || r.target_domain || '/' || r.source_domain AS note,
			row_number() OVER (PARTITION BY n.domain ORDER BY n.own DESC, r.target_domain, r.source_domain) AS i
		FROM noted n JOIN cache_notify.cascade_rules r USING (source_domain, target_domain)
	)
	SELECT d.domain, coalesce(array_agg(k.note COLLATE "default" ORDER BY k.i) FILTER (WHERE k.i <= 256), '{}')
	FROM wanted d LEFT JOIN ranked k ON k.domain = d.domain GROUP BY d.domain;
END;
COMMENT ON FUNCTION _cache_notify.rules_to_note(text[]) IS
'For each of these domains the notes of rules that what feeds it is to have: the rules from it, those into it from a domain that no relation feeds, and those between such domains that rules connect with it by such domains only. At most 256.';

-- What a relation has noted that is not there may be lost.
CREATE FUNCTION _cache_notify.with_lost_rules(notes text[], former text[]) RETURNS text[]
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT CASE WHEN $2 = '{}' THEN $1 ELSE ($1 || ARRAY(
		SELECT u.note FROM unnest($2) AS u (note) CROSS JOIN LATERAL _cache_notify.noted_rule(u.note) n
		WHERE NOT EXISTS (SELECT FROM cache_notify.cascade_rules r
			WHERE r.source_domain = n.source_domain AND r.target_domain = n.target_domain)
		ORDER BY u.note COLLATE "C"))[1:256] END;
END;
COMMENT ON FUNCTION _cache_notify.with_lost_rules(text[], text[]) IS
'These notes, and those of the former ones whose rule is not there.';

CREATE FUNCTION _cache_notify.notes_of_domain(domain text, former text[]) RETURNS text[]
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT _cache_notify.with_lost_rules(n.notes, $2) FROM _cache_notify.rules_to_note(ARRAY[$1]) n;
END;
COMMENT ON FUNCTION _cache_notify.notes_of_domain(text, text[]) IS
'What a relation that is set up for a domain is to note, and what it had.';

CREATE FUNCTION _cache_notify.note_rules_of(relation regclass, domain text, former text[]) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_note_rules_of'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.note_rules_of(regclass, text, text[]) IS
'Has a relation say which rules there are, see notes_of_domain(); whether it said anything else before. Does nothing for roles that cannot set it up.';

CREATE FUNCTION _cache_notify.write_rule_notes(relation regclass, domain text, notes text[]) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_write_rule_notes'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.write_rule_notes(regclass, text, text[]) IS
'Has a relation say that there are these rules; whether it said anything else before.';

CREATE FUNCTION _cache_notify.note_rules(sources text[], targets text[], gone_sources text[], gone_targets text[])
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	gone text[] := ARRAY(SELECT g.target || '/' || g.source FROM unnest(gone_sources, gone_targets) AS g (source, target));
	domains text[];
	watch record;
	any_written boolean := false;
BEGIN
	-- A rule that concerns nothing watched is noted wherever it is near.
	WITH RECURSIVE watched AS MATERIALIZED (
		SELECT DISTINCT w.domain FROM _cache_notify.noting_watch w
	), pair AS MATERIALIZED (
		SELECT p.source COLLATE "C" AS source, p.target COLLATE "C" AS target FROM unnest(sources, targets) AS p (source, target)
		UNION ALL
		SELECT p.source, p.target FROM unnest(gone_sources, gone_targets) AS p (source, target)
	), way (here, there) AS MATERIALIZED (
		SELECT r.source_domain, r.target_domain FROM cache_notify.cascade_rules r
		UNION ALL
		SELECT r.target_domain, r.source_domain FROM cache_notify.cascade_rules r
	), near (domain) AS (
		SELECT u.domain FROM pair p CROSS JOIN LATERAL (VALUES (p.source), (p.target)) AS u (domain)
		WHERE p.source NOT IN (SELECT w.domain FROM watched w) AND p.target NOT IN (SELECT w.domain FROM watched w)
		UNION
		SELECT w.there FROM near n JOIN way w ON w.here = n.domain WHERE n.domain NOT IN (SELECT x.domain FROM watched x)
	)
	SELECT array_agg(w.domain) INTO domains FROM watched w
	WHERE sources IS NULL OR w.domain IN (
		SELECT p.source FROM pair p UNION ALL SELECT p.target FROM pair p UNION ALL SELECT n.domain FROM near n
		UNION ALL
		SELECT x.domain FROM _cache_notify.noting_watch x WHERE gone <> '{}' AND EXISTS (
			SELECT FROM unnest(x.rules) AS u (note) WHERE regexp_replace(u.note, '^[^/]*/[^/]*/[^/]*/', '') = ANY (gone)));
	FOR watch IN
		SELECT w.relation, w.domain, _cache_notify.with_lost_rules(n.notes, ARRAY(
			SELECT u.note FROM unnest(w.rules) AS u (note)
			WHERE regexp_replace(u.note, '^[^/]*/[^/]*/[^/]*/', '') <> ALL (gone))) AS notes
		FROM _cache_notify.noting_watch w
		JOIN _cache_notify.rules_to_note(domains) n ON n.domain COLLATE "C" = w.domain
	LOOP
		any_written := _cache_notify.write_rule_notes(watch.relation, watch.domain, watch.notes) OR any_written;
	END LOOP;
	RETURN any_written;
END
$$;
COMMENT ON FUNCTION _cache_notify.note_rules(text[], text[], text[], text[]) IS
'Rules between these sources and targets have been written, and others are gone: those relations say so that feed one of the domains, or that such a rule is near to. sources NULL: all relations say which rules there are. Whether any said anything else before.';

CREATE FUNCTION _cache_notify.remove_rule(source text, target text) RETURNS boolean
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	was_there boolean;
BEGIN
	DELETE FROM cache_notify.cascade_rules r WHERE r.source_domain = source AND r.target_domain = target;
	was_there := FOUND;
	RETURN _cache_notify.note_rules('{}', '{}', ARRAY[source], ARRAY[target]) OR was_there;
END
$$;
COMMENT ON FUNCTION _cache_notify.remove_rule(text, text) IS
'What remove_cascade_rule() does, as the extension''s owner.';

-- Nobody gets a rule by a note that he could not have written himself.
CREATE FUNCTION _cache_notify.write_lost_rule(relation regclass, note text) RETURNS text
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	before text := current_setting('role');
BEGIN
	PERFORM set_config('role', pg_get_userbyid(c.relowner), true) FROM pg_class c WHERE c.oid = relation;
	PERFORM cache_notify.set_cascade_rule(n.source_domain, n.target_domain, n.rule_type, n.keys, n.tenants)
	FROM _cache_notify.noted_rule(note) n;
	PERFORM set_config('role', before, true);
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END
$$;
COMMENT ON FUNCTION _cache_notify.write_lost_rule(regclass, text) IS
'Writes a rule that a relation says there is, as its owner. Returns why not; NULL: it has.';

CREATE FUNCTION _cache_notify.write_lost_rules() RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	lost record;
	reason text;
BEGIN
	FOR lost IN
		SELECT u.note, array_agg(w.relation::regclass ORDER BY w.relation) AS relations
		FROM _cache_notify.noting_watch w CROSS JOIN LATERAL unnest(_cache_notify.lost_rules(w.rules)) AS u (note)
		GROUP BY u.note ORDER BY u.note COLLATE "C"
	LOOP
		FOR i IN 1 .. cardinality(lost.relations) LOOP
			reason := _cache_notify.write_lost_rule(lost.relations[i], lost.note);
			EXIT WHEN reason IS NULL;
		END LOOP;
		IF reason IS NOT NULL THEN
			RAISE WARNING USING
				MESSAGE = (SELECT format('rule from domain "%s" into "%s" is not written: %s', n.source_domain, n.target_domain, reason)
					FROM _cache_notify.noted_rule(lost.note) n),
				HINT = 'If it is to be, do as cache_notify.doctor() says.';
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION _cache_notify.write_lost_rules() IS
'Writes the rules that relations say there are, and that are not there, each as an owner of such a relation.';
REVOKE EXECUTE ON FUNCTION _cache_notify.rules_to_note(text[]), _cache_notify.with_lost_rules(text[], text[]),
	_cache_notify.notes_of_domain(text, text[]), _cache_notify.write_rule_notes(regclass, text, text[]),
	_cache_notify.note_rules(text[], text[], text[], text[]), _cache_notify.remove_rule(text, text),
	_cache_notify.write_lost_rule(regclass, text), _cache_notify.write_lost_rules() FROM PUBLIC;
