-- ------------------------------------------------------- what is watched, and how

CREATE VIEW _cache_notify.watched_relation AS
	WITH watch AS (
		SELECT tgrelid, domain,
			-- what a child asks for itself, if it does
			array_remove(coalesce(min(arguments) FILTER (WHERE function = 'statement_change' AND NOT inherited),
				min(arguments) FILTER (WHERE function = 'statement_change')), 'inherited=true') AS arguments,
			array_remove(coalesce(min(arguments) FILTER (WHERE function = 'row_change' AND NOT inherited AND tgparentid = 0),
				min(arguments) FILTER (WHERE function = 'row_change')), 'inherited=true') AS row_arguments,
			min(tgenabled::text) FILTER (WHERE function = 'statement_change') AS statement_enabled,
			min(tgenabled::text) FILTER (WHERE function = 'row_change') AS row_enabled,
			bool_and(inherited OR tgparentid <> 0) AS inherited,
			min((options).rules) FILTER (WHERE function = 'statement_change' AND NOT inherited) AS rules
		FROM _cache_notify.watching_trigger
		GROUP BY tgrelid, domain
		UNION ALL
		-- children that have nothing of what their parents have
		SELECT i.inhrelid, p.domain, p.arguments, NULL, NULL, NULL, true, NULL
		FROM _cache_notify.watching_trigger p
		JOIN pg_catalog.pg_inherits i ON i.inhparent = p.tgrelid AND NOT i.inhdetachpending
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relpersistence <> 't'
		WHERE p.function = 'statement_change' AND NOT EXISTS (
			SELECT FROM _cache_notify.watching_trigger w
			WHERE w.tgrelid = i.inhrelid AND w.domain = p.domain)
		UNION ALL
		SELECT relation, domain, arguments, NULL, 'O', NULL, false, (options).rules
		FROM _cache_notify.watching_label
	), configured AS (
		SELECT w.*,
			c.relkind, c.relpersistence,
			CASE c.relkind WHEN 'm' THEN 'refresh' WHEN 'v' THEN 'cascade'
				ELSE coalesce(o.granularity, 'row') END AS granularity,
			o.tenant_column, o.tenant_setting, o.channel, o.payload, o.payload_suffix,
			o.columns, o.fields, o.keys, _cache_notify.bucket_count(o.bucket_layout) AS buckets, o.bucket_layout, o.whole_counter, o.cascades,
			o.problem AS arguments_problem, lost.rules AS lost_rules,
			(SELECT u.note FROM unnest(lost.rules) AS u (note) WHERE split_part(u.note, '/', 4) = w.domain LIMIT 1) AS lost_into_it
		FROM watch w
		JOIN pg_catalog.pg_class c ON c.oid = w.tgrelid
		CROSS JOIN LATERAL _cache_notify.watch_options(coalesce(w.arguments, w.row_arguments), w.tgrelid) AS o
		CROSS JOIN LATERAL _cache_notify.lost_rules(w.rules) AS lost (rules)
	), checked AS (
		SELECT *, CASE
			WHEN row_enabled IS NULL AND statement_enabled IS NULL
			THEN 'not watched, although its parent is: call cache_notify.inherit_triggers()'
			WHEN granularity = 'row' AND row_enabled IS NULL THEN 'the row trigger is missing'
			WHEN statement_enabled IS NULL THEN 'the statement trigger is missing'
			WHEN granularity = 'row' AND row_enabled = 'D' THEN 'the row trigger is disabled'
			WHEN statement_enabled = 'D' THEN 'the statement trigger is disabled'
			WHEN granularity = 'row' AND row_enabled = 'R' OR statement_enabled = 'R'
			THEN 'only changes by replication count'
			WHEN granularity = 'row' AND row_arguments <> arguments THEN 'the triggers'' arguments differ'
			WHEN arguments_problem IS NOT NULL THEN arguments_problem
			WHEN lost_into_it IS NOT NULL THEN _cache_notify.lost_rule_problem(lost_into_it)
			WHEN bucket_layout >> 5 < _cache_notify.layout_floor(domain)
			THEN 'its keys are of a bucket layout that the domain has left: call cache_notify.setup_table_invalidation() again'
			WHEN NOT _cache_notify.route_is_told(tgrelid, domain)
			THEN 'nobody is told on this channel, or in this format: the owner has 32 others of the domain'
			WHEN tenant_column IS NOT NULL AND NOT EXISTS (
				SELECT FROM pg_catalog.pg_attribute WHERE attrelid = tgrelid
				AND attname = tenant_column AND attnum > 0 AND NOT attisdropped)
			THEN format('tenant column %I does not exist: every change concerns all tenants', tenant_column)
			WHEN EXISTS (SELECT FROM unnest(columns) AS u (c) WHERE NOT EXISTS (
				SELECT FROM pg_catalog.pg_attribute WHERE attrelid = tgrelid
				AND attname = c AND attnum > 0 AND NOT attisdropped))
			THEN 'a column that counts does not exist: every column counts'
			WHEN EXISTS (SELECT FROM unnest(keys) AS u (c) WHERE NOT EXISTS (
				SELECT FROM pg_catalog.pg_attribute WHERE attrelid = tgrelid
				AND attname = c AND attnum > 0 AND NOT attisdropped))
			THEN 'a key column does not exist: every change reaches all keys'
			WHEN (_cache_notify.payload_format(payload)).tells = 'rows' AND NOT EXISTS (
				SELECT FROM pg_catalog.pg_index WHERE indrelid = tgrelid AND indisprimary)
			THEN 'there is no primary key: payloads do not tell which rows changed'
			WHEN EXISTS (SELECT FROM pg_catalog.pg_event_trigger
				WHERE evtfoid = pg_catalog.to_regprocedure('_cache_notify.schema_event()') AND evtenabled IN ('D', 'R'))
			THEN 'an event trigger of cache_notify is disabled: DDL is not seen'
			WHEN current_setting('event_triggers', true) = 'off' THEN 'event_triggers is off: DDL is not seen'
			WHEN relkind IN ('r', 'p') AND coalesce(row_enabled, statement_enabled) = 'O' AND EXISTS (
				SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid = tgrelid)
			THEN 'a subscription fills it, which counts only with fire_on_replica'
			WHEN granularity = 'statement' AND statement_enabled IN ('A', 'R')
			THEN 'replication applies rows, which fires no statement trigger: only TRUNCATE and the initial copy are seen'
			-- Chunks lie in a schema of their extension; what pg_ivm maintains has its triggers.
			WHEN pg_catalog.current_setting('cache_notify.waiting_scopes', true) IS NULL AND (EXISTS (
					SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
					JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
						AND d.objid = c.relnamespace AND d.deptype = 'e'
					WHERE i.inhparent = tgrelid)
				OR EXISTS (
					SELECT FROM pg_catalog.pg_trigger t
					JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
						AND d.objid = t.tgfoid AND d.deptype = 'e'
					JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
					WHERE t.tgrelid = configured.tgrelid AND e.extname IN ('timescaledb', 'pg_ivm')))
			THEN 'an extension changes its rows by functions in C, which only sessions see that have preloaded cache_notify'
			WHEN relkind = 'f' THEN 'changes that the remote server makes by itself are not seen'
			WHEN relpersistence = 'u' THEN 'unlogged: that a crash emptied it is not seen'
			END AS problem,
			-- What makes it coarser than asked for is no reason not to trust it, nor what
			-- concerns another domain, which has no tokens for that.
			CASE
			WHEN NOT inherited AND _cache_notify.missing_rule(domain, cascades) IS NOT NULL
			THEN format('the rule into domain "%s", which its set-up asks for, is missing: call cache_notify.repair(), or cache_notify.setup_table_invalidation() again',
				_cache_notify.missing_rule(domain, cascades))
			WHEN lost_rules <> '{}' THEN _cache_notify.lost_rule_problem(lost_rules[1])
			WHEN tenant_column IS NOT NULL AND _cache_notify.naming_type_of(tgrelid, tenant_column) IS NULL
			THEN format('equal values of tenant column %I may have different texts: every change concerns all tenants', tenant_column)
			WHEN EXISTS (SELECT FROM unnest(keys) AS u (c) WHERE _cache_notify.naming_type_of(tgrelid, c) IS NULL)
			THEN 'equal values of a key column may have different texts: every change reaches all keys'
			END AS coarser,
			coalesce(row_enabled IS DISTINCT FROM 'D' AND row_enabled IS DISTINCT FROM 'R'
				AND statement_enabled NOT IN ('D', 'R')
				AND (granularity <> 'row' OR row_enabled IS NOT NULL), false) AS enabled
		FROM configured
	)
	SELECT tgrelid AS relation, relkind, domain, inherited,
		tenant_column, tenant_setting, granularity, columns, channel, payload,
		coalesce(granularity IN ('row', 'statement')
			AND coalesce(row_enabled, statement_enabled) IN ('A', 'R'), false) AS fire_on_replica,
		enabled, problem, fields, payload_suffix, keys, buckets, coarser,
		tenant_setting IS NOT NULL
			OR _cache_notify.naming_type_of(tgrelid, tenant_column) IS NOT NULL AS per_tenant,
		whole_counter IS NOT NULL AS whole_counter,
		cascades, coalesce(lost_into_it, lost_rules[1]) AS lost_rule
	FROM checked;
COMMENT ON VIEW _cache_notify.watched_relation IS
'What v_invalidation_status is made of, with every partition and child table.';

-- What took over the name of something that was set up, and is not.
CREATE VIEW _cache_notify.name_problem AS
	SELECT c.oid AS relation, w.domain COLLATE "default" AS domain,
		format('not watched, and a relation of this name was: call cache_notify.%s(), or remove_table_invalidation() if it need not be',
			CASE c.relkind WHEN 'v' THEN 'setup_view_invalidation' ELSE 'setup_table_invalidation' END) AS problem
	FROM (
		SELECT n.domain, n.schema_name::text, n.relation_name::text FROM _cache_notify.watched_name n
		UNION
		SELECT v.domain, v.schema_name, v.relation_name FROM _cache_notify.stored_view v) AS w
	JOIN pg_catalog.pg_namespace s ON s.nspname = w.schema_name
	JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = w.relation_name
	WHERE NOT EXISTS (SELECT FROM _cache_notify.watching_trigger t WHERE t.tgrelid = c.oid AND t.domain = w.domain)
	AND NOT EXISTS (SELECT FROM _cache_notify.watching_label l WHERE l.relation = c.oid AND l.domain = w.domain);
COMMENT ON VIEW _cache_notify.name_problem IS
'Relations that have the name of one which was set up to feed a domain, and do not feed it: the domain is not known.';

-- Rules from domains that are silent.
CREATE VIEW _cache_notify.rule_problem AS
	SELECT r.target_domain COLLATE "default" AS domain,
		format('the rule from domain "%s" carries nothing, as nothing feeds that: ', r.source_domain)
		|| CASE WHEN strpos(r.source_domain, '/') > 0
			THEN 'rules start from domains, not from keys'
			ELSE 'watch a table for it, call cache_notify.invalidate() for it, or delete the rule' END AS problem
	FROM _cache_notify.stored_rule r
	WHERE r.rule_type = 'invalidate' AND NOT starts_with(r.source_domain, 'cache_notify/')
	AND pg_catalog.has_table_privilege('cache_notify.cascade_rules', 'SELECT')
	AND NOT EXISTS (SELECT FROM cache_notify.versions(NULL, cache_notify.key_name(r.source_domain)) v WHERE v.known);
COMMENT ON VIEW _cache_notify.rule_problem IS
'Rules from domains that are not known, for whoever may read the rules. Their targets are not known either.';

-- What it reads is looked into anew, as its owner, with the search_path of its set-up.
CREATE FUNCTION _cache_notify.problem_of_view(view regclass, path text) RETURNS text
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	options _cache_notify.watch_options := (SELECT l.options FROM _cache_notify.watching_label l WHERE l.relation = view);
	problem text;
BEGIN
	IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = view), 'USAGE') THEN
		RETURN NULL;
	END IF;
	WITH dependency AS MATERIALIZED (
		SELECT d.* FROM _cache_notify.dependencies_of_view(view, coalesce(options.search_path, path)) d
	), carried (domain) AS (
		SELECT options.domain_name UNION ALL SELECT unnest(options.sources)
	), found (rank, problem) AS (
		SELECT 1, format('some changes of %s that it reads are not seen: %s', coalesce(d.source, 'an expression'), d.reason)
		FROM dependency d WHERE d.certainty IN ('unwatched', 'opaque', 'volatile')
		UNION ALL
		SELECT 2, format('no rule carries changes of %s, which it reads: call cache_notify.setup_view_invalidation() again',
			coalesce(d.source, 'a definition'))
		FROM dependency d WHERE d.certainty IN ('exact', 'definition')
		GROUP BY d.source, CASE d.certainty WHEN 'definition' THEN d.domain END
		HAVING bool_and(d.domain NOT IN (SELECT c.domain FROM carried c))
		UNION ALL
		SELECT 3, 'its rows are of several tenants, and rules carry only the tenant''s own: call cache_notify.setup_view_invalidation() again'
		WHERE NOT options.all_tenants AND _cache_notify.mixes_tenants(view, ARRAY(SELECT d.relation FROM dependency d))
		UNION ALL
		SELECT 4, format('a rule carries changes of domain "%s", which nothing feeds: call cache_notify.setup_view_invalidation() again', c.domain)
		FROM carried c
		WHERE NOT starts_with(c.domain, 'cache_notify/') AND c.domain <> options.domain_name AND NOT EXISTS (
			SELECT FROM cache_notify.versions(NULL, cache_notify.key_name(c.domain)) v WHERE v.known)
		UNION ALL
		SELECT 5, format('a rule carries changes of %s, which it does not read: call cache_notify.setup_view_invalidation() again',
			CASE WHEN starts_with(c.domain, 'cache_notify/') THEN 'a definition' ELSE format('domain "%s"', c.domain) END)
		FROM carried c
		WHERE c.domain <> options.domain_name AND c.domain NOT IN (SELECT d.domain FROM dependency d WHERE d.domain IS NOT NULL)
	)
	SELECT f.problem INTO problem FROM found f ORDER BY f.rank, f.problem LIMIT 1;
	RETURN problem;
EXCEPTION WHEN OTHERS THEN
	RETURN 'what it reads cannot be looked into: ' || SQLERRM;
END
$$;
COMMENT ON FUNCTION _cache_notify.problem_of_view(regclass, text) IS
'What is wrong with the rules that the set-up of a view made: it reads now what they do not carry, or no longer what they do. path is the caller''s search_path, for labels that have none. NULL for roles without the rights of its owner.';

CREATE FUNCTION _cache_notify.delivery_problem() RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_delivery_problem'
	LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.delivery_problem() IS
'Why changes are not delivered as cache_notify.delivery says; NULL: they are, or nothing has been delivered since the server started.';

-- Compiling the plan of all this would take many times as long as running it.
CREATE FUNCTION _cache_notify.invalidation_status(
		OUT table_name regclass, OUT domain text, OUT tenant_column text, OUT tenant_setting text,
		OUT granularity text, OUT columns text[], OUT channel text, OUT payload text,
		OUT enabled boolean, OUT problem text, OUT fields text[], OUT fire_on_replica boolean,
		OUT payload_suffix text, OUT keys text[], OUT buckets int, OUT lane text, OUT whole_counter boolean, OUT cascades text[])
	RETURNS SETOF record
	LANGUAGE sql STABLE
	SET jit = off
BEGIN ATOMIC
	SELECT relation::pg_catalog.regclass, domain,
		tenant_column, tenant_setting, granularity,
		nullif(columns, '{}'),
		coalesce(channel, (_cache_notify.payload_format(payload)).channel,
			current_setting('cache_notify.channel', true)),
		coalesce(payload, (cache_notify.payload_formats())[1]),
		enabled, coalesce(problem,
			CASE relkind WHEN 'v' THEN _cache_notify.problem_of_view(relation, current_setting('search_path')) END,
			coarser),
		nullif(fields, '{}'), fire_on_replica, payload_suffix,
		nullif(keys, '{}'), buckets, lane.lane, whole_counter, nullif(cascades, '{}')
	FROM _cache_notify.watched_relation
	CROSS JOIN cache_notify.lane_in_effect() AS lane
	-- A partition or child is shown only if it is watched by itself, or has a problem.
	WHERE NOT inherited OR problem IS NOT NULL
	UNION ALL
	SELECT relation::pg_catalog.regclass, domain, NULL, NULL, NULL, NULL, NULL, NULL, false, problem,
		NULL, false, NULL, NULL, NULL, NULL, false, NULL
	FROM _cache_notify.name_problem
	UNION ALL
	SELECT NULL, domain, NULL, NULL, NULL, NULL, NULL, NULL, false, problem,
		NULL, false, NULL, NULL, NULL, NULL, false, NULL
	FROM _cache_notify.rule_problem
	UNION ALL
	SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true, problem,
		NULL, false, NULL, NULL, NULL, NULL, false, NULL
	FROM _cache_notify.delivery_problem() AS d (problem) WHERE problem IS NOT NULL;
END;
COMMENT ON FUNCTION _cache_notify.invalidation_status() IS
'What v_invalidation_status shows.';
