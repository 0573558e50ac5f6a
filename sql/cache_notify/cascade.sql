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

CREATE FUNCTION cache_notify.cascade_graph() RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
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
