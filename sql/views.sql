-- ------------------------------------------------------------------ views

CREATE VIEW cache_notify.counter_total AS
	SELECT domain, tenant_id, sum(n)::bigint AS n, max(last_modified) AS last_modified
	FROM (SELECT domain, tenant_id, n, last_modified
		  FROM cache_notify.version_counter
		  UNION ALL
		  SELECT domain COLLATE "C", tenant_id COLLATE "C", n, now()
		  FROM cache_notify.pending_changes()) AS part
	GROUP BY domain, tenant_id;
COMMENT ON VIEW cache_notify.counter_total IS
'The counters summed by domain and tenant, with what this transaction has changed itself. A tenant''s version is version_origin() plus its counter plus the shared one (tenant_id NULL).';

-- OFFSET 0 keeps the planner from joining all shared counters at once: one
-- index look-up for each row is what a client's read of a few domains needs.
CREATE VIEW cache_notify.domain_version AS
	SELECT own.tenant_id, own.domain,
		cache_notify.version_origin() + own.n + coalesce(shared.n, 0) AS version,
		greatest(own.last_modified, shared.last_modified) AS last_modified
	FROM cache_notify.counter_total AS own
	LEFT JOIN LATERAL (
		SELECT s.n, s.last_modified FROM cache_notify.counter_total s
		WHERE s.domain = own.domain AND s.tenant_id IS NULL
		AND own.tenant_id IS NOT NULL
		OFFSET 0) AS shared ON true;
COMMENT ON VIEW cache_notify.domain_version IS
'The version of every domain that has ever changed, as each tenant sees it; tenant_id NULL is the shared version, which every tenant''s version includes. A tenant that never changed anything has no row: its version is the shared one.';
COMMENT ON COLUMN cache_notify.domain_version.last_modified IS 'when the last transaction that changed it was about to commit';

CREATE VIEW cache_notify.v_domain_versions AS
	SELECT domain,
		cache_notify.version_origin() + max(n) FILTER (WHERE tenant_id IS NULL) AS shared_version,
		count(tenant_id) AS tenants,
		sum(n)::bigint AS changes,
		max(last_modified) AS last_modified
	FROM cache_notify.counter_total
	GROUP BY domain;
COMMENT ON VIEW cache_notify.v_domain_versions IS
'One row for each domain that has ever changed: its shared version (NULL: never a shared change), how many tenants changed it, and how many changes there were in all.';

CREATE VIEW cache_notify.v_recent_invalidations AS
	SELECT tenant_id, domain, version, last_modified,
		clock_timestamp() - last_modified AS age
	FROM cache_notify.domain_version
	ORDER BY last_modified DESC;
COMMENT ON VIEW cache_notify.v_recent_invalidations IS
'What changed last, newest first, with its age. Sorts every key there is: add a WHERE if there are many, and expect some seconds for a million keys.';

CREATE VIEW cache_notify.v_invalidation_status AS
	WITH watch AS (
		SELECT tgrelid, domain,
			min(arguments) FILTER (WHERE function = 'statement_change') AS arguments,
			min(arguments) FILTER (WHERE function = 'row_change') AS row_arguments,
			min(tgenabled::text) FILTER (WHERE function = 'statement_change') AS statement_enabled,
			min(tgenabled::text) FILTER (WHERE function = 'row_change') AS row_enabled
		FROM cache_notify.watching_trigger
		GROUP BY tgrelid, domain
	), configured AS (
		SELECT w.*,
			c.relname, c.relkind, c.relispartition,
			coalesce(cache_notify.argument(coalesce(arguments, row_arguments), 'granularity'), 'row') AS granularity,
			cache_notify.argument(coalesce(arguments, row_arguments), 'tenant_column') AS tenant_column,
			cache_notify.argument(coalesce(arguments, row_arguments), 'tenant_setting') AS tenant_setting,
			cache_notify.argument(coalesce(arguments, row_arguments), 'channel') AS channel,
			cache_notify.argument(coalesce(arguments, row_arguments), 'payload') AS payload,
			ARRAY(SELECT substr(a, 8) FROM unnest(coalesce(arguments, row_arguments)) AS u (a)
				  WHERE a LIKE 'column=%') AS columns,
			ARRAY(SELECT substr(a, 7) FROM unnest(coalesce(arguments, row_arguments)) AS u (a)
				  WHERE a LIKE 'field=%') AS fields
		FROM watch w
		JOIN pg_catalog.pg_class c ON c.oid = w.tgrelid
	), checked AS (
		SELECT *, CASE
			WHEN granularity = 'row' AND row_enabled IS NULL THEN 'the row trigger is missing'
			WHEN statement_enabled IS NULL THEN 'the statement trigger is missing'
			WHEN granularity = 'row' AND row_enabled = 'D' THEN 'the row trigger is disabled'
			WHEN statement_enabled = 'D' THEN 'the statement trigger is disabled'
			WHEN 'R' IN (row_enabled, statement_enabled) THEN 'fires on a replica only'
			WHEN granularity = 'row' AND row_arguments <> arguments THEN 'the triggers'' arguments differ'
			WHEN tenant_column IS NOT NULL AND NOT EXISTS (
				SELECT FROM pg_catalog.pg_attribute WHERE attrelid = tgrelid
				AND attname = tenant_column AND attnum > 0 AND NOT attisdropped)
			THEN format('tenant column %I does not exist: every change concerns all tenants', tenant_column)
			WHEN EXISTS (SELECT FROM unnest(columns) AS u (c) WHERE NOT EXISTS (
				SELECT FROM pg_catalog.pg_attribute WHERE attrelid = tgrelid
				AND attname = c AND attnum > 0 AND NOT attisdropped))
			THEN 'a column that counts does not exist: every column counts'
			END AS problem,
			coalesce(statement_enabled IN ('O', 'A')
				AND (granularity = 'statement' OR row_enabled IN ('O', 'A')), false) AS enabled
		FROM configured
	)
	SELECT tgrelid::pg_catalog.regclass AS table_name, domain,
		tenant_column, tenant_setting, granularity,
		nullif(columns, '{}') AS columns,
		coalesce(channel, current_setting('cache_notify.channel', true)) AS channel,
		coalesce(payload, (cache_notify.payload_formats())[1]) AS payload,
		enabled, problem,
		nullif(fields, '{}') AS fields
	FROM checked
	-- A partition is shown only if it is watched by itself, or has a problem.
	WHERE NOT relispartition OR problem IS NOT NULL OR NOT EXISTS (
		SELECT FROM pg_catalog.pg_partition_ancestors(tgrelid) AS a (relid)
		JOIN cache_notify.watching_trigger p ON p.tgrelid = a.relid
		WHERE a.relid <> checked.tgrelid AND p.domain = checked.domain);
COMMENT ON VIEW cache_notify.v_invalidation_status IS
'Every watched table with its configuration, read from pg_trigger: what you see is what happens. enabled is false while changes are missed; problem says why, or what makes invalidation coarser than asked for.';

