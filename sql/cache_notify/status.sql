-- ------------------------------------------------------- what is watched, and how

CREATE VIEW cache_notify.v_invalidation_status AS
	SELECT relation::pg_catalog.regclass AS table_name, domain,
		tenant_column, tenant_setting, granularity,
		nullif(columns, '{}') AS columns,
		coalesce(channel, (_cache_notify.payload_format(payload)).channel,
			current_setting('cache_notify.channel', true)) AS channel,
		coalesce(payload, (cache_notify.payload_formats())[1]) AS payload,
		enabled, coalesce(problem,
			CASE relkind WHEN 'v' THEN _cache_notify.problem_of_view(relation, current_setting('search_path')) END,
			coarser) AS problem,
		nullif(fields, '{}') AS fields, fire_on_replica, payload_suffix,
		nullif(keys, '{}') AS keys, buckets, lane.lane, whole_counter
	FROM _cache_notify.watched_relation
	CROSS JOIN cache_notify.lane_in_effect() AS lane
	-- A partition or child is shown only if it is watched by itself, or has a problem.
	WHERE NOT inherited OR problem IS NOT NULL
	UNION ALL
	SELECT relation::pg_catalog.regclass, domain, NULL, NULL, NULL, NULL, NULL, NULL, false, problem,
		NULL, false, NULL, NULL, NULL, NULL, false
	FROM _cache_notify.name_problem
	UNION ALL
	SELECT NULL, domain, NULL, NULL, NULL, NULL, NULL, NULL, false, problem,
		NULL, false, NULL, NULL, NULL, NULL, false
	FROM _cache_notify.rule_problem
	UNION ALL
	SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true, problem,
		NULL, false, NULL, NULL, NULL, NULL, false
	FROM _cache_notify.delivery_problem() AS d (problem) WHERE problem IS NOT NULL;
COMMENT ON VIEW cache_notify.v_invalidation_status IS
'Every watched table and materialized view with its configuration, read from pg_trigger and pg_seclabel: what you see is what happens. granularity is row, statement, refresh (a materialized view) or cascade (a view, see setup_view_invalidation()). enabled is false while changes are missed; problem says why, or what is not seen, or what makes invalidation coarser than asked for; doctor() says what to do. lane is the one in effect, see lane_in_effect(). Other rows have nothing but a domain that has no tokens, and why: another table has taken over the name of a watched one, or (table_name NULL) a cascade rule comes from a domain that nothing feeds. A row without a table and a domain says why changes are not delivered as cache_notify.delivery says.';
