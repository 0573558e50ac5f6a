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
CREATE FUNCTION _cache_notify.domains_near(
		domains text[], OUT domain text, OUT goes_on boolean)
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
	), near (domain, goes_on) AS (
		SELECT d COLLATE "C", true FROM unnest($1) AS u (d)
		UNION
		SELECT w.there, w.there NOT IN (SELECT x.domain FROM watched x)
		FROM near n JOIN way w ON w.here = n.domain WHERE n.goes_on
	)
	SELECT n.domain, bool_or(n.goes_on) FROM near n GROUP BY n.domain;
END;
COMMENT ON FUNCTION _cache_notify.domains_near(text[]) IS
'These domains, and those that rules connect them with, in either direction: directly, or by domains that no relation feeds. goes_on: nothing feeds it, or it was given.';

CREATE FUNCTION _cache_notify.rules_to_note(domain text, former text[]) RETURNS text[]
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	WITH near AS MATERIALIZED (
		SELECT n.domain FROM _cache_notify.domains_near(ARRAY[$1]) n WHERE n.goes_on
	), noted (note, own) AS (
		SELECT r.rule_type || '/' || r.keys || '/' || r.tenants || '/' || r.target_domain || '/' || r.source_domain,
			$1 IN (r.source_domain, r.target_domain)
		FROM cache_notify.cascade_rules r
		WHERE $1 IN (r.source_domain, r.target_domain)
		OR r.source_domain IN (SELECT n.domain FROM near n) AND r.target_domain IN (SELECT n.domain FROM near n)
		UNION
		SELECT f COLLATE "C", true FROM unnest($2) AS u (f) CROSS JOIN LATERAL _cache_notify.noted_rule(f) n
		WHERE NOT EXISTS (SELECT FROM cache_notify.cascade_rules r
			WHERE r.source_domain = n.source_domain AND r.target_domain = n.target_domain)
	)
	SELECT ARRAY(SELECT n.note COLLATE "default" FROM noted n ORDER BY n.own DESC, n.note LIMIT 256);
END;
COMMENT ON FUNCTION _cache_notify.rules_to_note(text, text[]) IS
'The notes of rules that a relation which feeds the domain is to have: the rules from and into it, those between domains that nothing feeds and that rules connect with it, and of its former notes those whose rule is not there. At most 256.';

CREATE FUNCTION _cache_notify.note_rules_of(relation regclass, domain text, former text[]) RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_note_rules_of'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.note_rules_of(regclass, text, text[]) IS
'Has a relation say which rules there are, see rules_to_note(); whether it said anything else before. Does nothing for roles that cannot set it up.';

CREATE FUNCTION _cache_notify.note_rule(source text, target text, dropped boolean) RETURNS boolean
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	domains text[] := ARRAY[source, target];
	watch record;
	any_written boolean := false;
BEGIN
	IF NOT EXISTS (SELECT FROM _cache_notify.noting_watch w WHERE w.domain = ANY (domains)) THEN
		domains := ARRAY(SELECT n.domain FROM _cache_notify.domains_near(domains) n WHERE NOT n.goes_on);
	END IF;
	FOR watch IN
		SELECT w.relation, w.domain, ARRAY(
			SELECT u.note FROM unnest(w.rules) AS u (note) CROSS JOIN LATERAL _cache_notify.noted_rule(u.note) n
			WHERE NOT dropped OR n.source_domain <> source OR n.target_domain <> target) AS kept
		FROM _cache_notify.noting_watch w
		WHERE w.domain = ANY (domains) OR dropped AND EXISTS (
			SELECT FROM unnest(w.rules) AS u (note) CROSS JOIN LATERAL _cache_notify.noted_rule(u.note) n
			WHERE n.source_domain = source AND n.target_domain = target)
	LOOP
		any_written := _cache_notify.note_rules_of(watch.relation, watch.domain, watch.kept) OR any_written;
	END LOOP;
	RETURN any_written;
END
$$;
COMMENT ON FUNCTION _cache_notify.note_rule(text, text, boolean) IS
'A rule has been written, or dropped: those relations say so that feed its domains, or if none does, those that it is near to. Whether any said anything else before.';

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
	RETURN _cache_notify.note_rule(source, target, true) OR was_there;
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
REVOKE EXECUTE ON FUNCTION _cache_notify.domains_near(text[]), _cache_notify.rules_to_note(text, text[]),
	_cache_notify.note_rule(text, text, boolean), _cache_notify.remove_rule(text, text),
	_cache_notify.write_lost_rule(regclass, text), _cache_notify.write_lost_rules() FROM PUBLIC;
