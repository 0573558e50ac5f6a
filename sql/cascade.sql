-- ------------------------------------------------------- looking at cascades

CREATE FUNCTION cache_notify.cascade_closure(
		domain text,
		OUT target_domain text, OUT rule_type text, OUT depth int, OUT path text[])
	RETURNS SETOF record
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE reached (target_domain, rule_type, path) AS (
		SELECT r.target_domain, r.rule_type, ARRAY[r.source_domain::text, r.target_domain::text]
		FROM cache_notify.cascade_rules r
		WHERE r.source_domain = $1
	UNION ALL
		SELECT r.target_domain, r.rule_type, p.path || r.target_domain::text
		FROM reached p
		JOIN cache_notify.cascade_rules r ON r.source_domain = p.target_domain
		WHERE p.rule_type = 'invalidate' AND r.target_domain <> ALL (p.path)
	)
	SELECT DISTINCT ON (r.target_domain)
		r.target_domain, r.rule_type, cardinality(r.path) - 1, r.path
	FROM reached r
	-- 'invalidate' wins over 'notify', then the shortest path
	ORDER BY r.target_domain, r.rule_type, cardinality(r.path), r.path;
END;
COMMENT ON FUNCTION cache_notify.cascade_closure(text) IS
'What a change of a domain reaches by the cascade rules: each target domain once, whether it is bumped (invalidate) or only delivered (notify), in how many steps (depth), and by which path, the shortest one. Nothing if domain is NULL or has no rules. Needs the right to read cascade_rules.';

CREATE FUNCTION cache_notify.cascade_graph() RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH node AS (
		SELECT d, 'd' || row_number() OVER (ORDER BY d) AS id
		FROM (SELECT r.source_domain FROM cache_notify.cascade_rules r
			  UNION SELECT r.target_domain FROM cache_notify.cascade_rules r) AS u (d)
	), line (kind, a, b, text) AS (
		SELECT 0, '', '', 'graph LR'
		UNION ALL
		SELECT 1, d, '', format('    %s["%s"]', id,
			replace(replace(replace(replace(d, '#', '#35;'), '"', '#quot;'), '<', '#lt;'), '>', '#gt;'))
		FROM node
		UNION ALL
		SELECT 2, r.source_domain, r.target_domain,
			format('    %s %s %s', s.id, CASE r.rule_type WHEN 'notify' THEN '-.->' ELSE '-->' END, t.id)
		FROM cache_notify.cascade_rules r
		JOIN node s ON s.d = r.source_domain
		JOIN node t ON t.d = r.target_domain
	)
	SELECT string_agg(text, E'\n' ORDER BY kind, a COLLATE "C", b COLLATE "C") FROM line;
END;
COMMENT ON FUNCTION cache_notify.cascade_graph() IS
'The cascade rules as a Mermaid graph: solid arrows invalidate, dotted ones only notify. Needs the right to read cascade_rules.';

