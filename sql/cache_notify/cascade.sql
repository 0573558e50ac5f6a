-- ------------------------------------------------------- looking at cascades

CREATE FUNCTION cache_notify.cascade_closure(
		domain text,
		OUT target_domain text, OUT rule_type text, OUT depth int, OUT path text[])
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_cascade_closure'
	LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION cache_notify.cascade_closure(text) IS
'What a change of a domain reaches by the cascade rules: each target domain once, whether it is bumped (invalidate) or only delivered (notify), in how many steps (depth), and by which path, a shortest one. Nothing if domain is NULL or has no rules. Error if domain is empty or longer than 63 bytes.';

CREATE VIEW cache_notify.v_cascade_rules AS
	SELECT r.source_domain, r.target_domain, r.rule_type, r.keys, r.tenants, NULL::regclass AS carried_by
	FROM _cache_notify.stored_rule r
	UNION ALL
	SELECT s COLLATE "C", l.domain COLLATE "C", 'invalidate', 'all',
		CASE WHEN (l.options).all_tenants THEN 'all' ELSE 'same' END, l.relation::regclass
	FROM _cache_notify.watching_label l, unnest((l.options).sources) AS u (s);
COMMENT ON VIEW cache_notify.v_cascade_rules IS
'Every cascade rule: those of the table cascade_rules, and those that the set-up of a view carries into its domain. Works on a standby, too.';
COMMENT ON COLUMN cache_notify.v_cascade_rules.carried_by IS 'the view that depends on source_domain; NULL: the rule is in cascade_rules';
GRANT SELECT ON cache_notify.v_cascade_rules TO PUBLIC;

-- Called as the user: rule_table.c.
CREATE FUNCTION _cache_notify.check_rule_of_user(source text, target text) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	others record;
BEGIN
	IF has_table_privilege('cache_notify.cascade_rules', 'INSERT')
		AND has_table_privilege('cache_notify.cascade_rules', 'UPDATE')
		AND has_table_privilege('cache_notify.cascade_rules', 'DELETE') THEN
		RETURN;
	ELSIF NOT EXISTS (SELECT FROM cache_notify.v_invalidation_status s WHERE s.domain = source) THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = format('no table or view of yours feeds domain "%s"', source),
			HINT = 'Watch one before, or ask for the right to write cache_notify.cascade_rules.';
	END IF;
	WITH RECURSIVE feeding (domain) AS (
		SELECT source COLLATE "C"
		UNION
		SELECT r.source_domain FROM feeding f
		JOIN cache_notify.v_cascade_rules r ON r.target_domain = f.domain
	)
	SELECT s.table_name, f.domain INTO others
	FROM feeding f
	LEFT JOIN cache_notify.v_invalidation_status s ON s.domain COLLATE "C" = f.domain
	LEFT JOIN pg_class c ON c.oid = s.table_name
	WHERE f.domain !~ '^cache_notify/' AND (c.oid IS NULL OR NOT pg_has_role(c.relowner, 'USAGE'))
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = format('not only tables and views of yours feed domain "%s"', source),
			DETAIL = CASE WHEN others.table_name IS NULL
				THEN format('A cascade rule carries changes of domain "%s" on into it.', others.domain)
				ELSE format('%s feeds domain "%s".', others.table_name, others.domain) END,
			HINT = 'Ask for the right to write cache_notify.cascade_rules.';
	ELSIF (SELECT count(*) FROM cache_notify.v_cascade_rules r
		   WHERE r.source_domain = source AND r.target_domain <> target AND r.carried_by IS NULL) >= 32 THEN
		RAISE EXCEPTION USING ERRCODE = 'configuration_limit_exceeded',
			MESSAGE = format('domain "%s" has 32 cascade rules already', source),
			HINT = 'It takes the right to write cache_notify.cascade_rules to give it more.';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_rule_of_user(text, text) IS
'Error unless the current user may write a rule of this source domain: he may write the table, or nothing but his own tables and views feeds it, in however many steps, and it has fewer than 32 with other targets than this one (NULL: does not matter).';

CREATE FUNCTION cache_notify.set_cascade_rule(
		source_domain text, target_domain text, rule_type text DEFAULT 'invalidate', keys text DEFAULT 'all', tenants text DEFAULT 'same')
	RETURNS void
	AS 'MODULE_PATHNAME', 'cache_notify_set_cascade_rule'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.set_cascade_rule(text, text, text, text, text) IS
'Writes a row of cascade_rules, or changes the one of these domains: changes of source_domain are carried on into target_domain. For whoever owns all tables and views that feed source_domain, directly and by rules; others need the right to write the table. Error if not, or if the table refuses the row.';

CREATE FUNCTION cache_notify.remove_cascade_rule(source_domain text, target_domain text)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'cache_notify_remove_cascade_rule'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.remove_cascade_rule(text, text) IS
'Deletes a row of cascade_rules, or says that a rule which is lost, as v_invalidation_status shows, need not be; whether there was one. The same rights as for set_cascade_rule().';

CREATE FUNCTION cache_notify.cascade_graph() RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	WITH node AS (
		SELECT d, 'd' || row_number() OVER (ORDER BY d) AS id
		FROM (SELECT r.source_domain FROM cache_notify.v_cascade_rules r
			  UNION SELECT r.target_domain FROM cache_notify.v_cascade_rules r) AS u (d)
	), line (kind, a, b, text) AS (
		SELECT 0, '', '', 'graph LR'
		UNION ALL
		SELECT 1, d, '', format('    %s["%s"]', id,
			replace(replace(replace(replace(d, '#', '#35;'), '"', '#quot;'), '<', '#lt;'), '>', '#gt;'))
		FROM node
		UNION ALL
		SELECT 2, r.source_domain, r.target_domain,
			format('    %s %s %s', s.id, CASE r.rule_type WHEN 'notify' THEN '-.->' ELSE '-->' END, t.id)
		FROM cache_notify.v_cascade_rules r
		JOIN node s ON s.d = r.source_domain
		JOIN node t ON t.d = r.target_domain
	)
	SELECT string_agg(text, E'\n' ORDER BY kind, a COLLATE "C", b COLLATE "C") FROM line;
END;
COMMENT ON FUNCTION cache_notify.cascade_graph() IS
'The cascade rules as a Mermaid graph: solid arrows invalidate, dotted ones only notify.';
