-- ------------------------------------------------------------------ views

CREATE VIEW _cache_notify.counter_total AS
	SELECT domain, tenant_id, sum(n)::bigint AS n, max(last_modified) AS last_modified
	FROM (SELECT domain::text, tenant_id::text, n, last_modified
		  FROM _cache_notify.version_counter
		  UNION ALL
		  SELECT domain COLLATE "C", tenant_id COLLATE "C", n, now()
		  FROM cache_notify.pending_changes()) AS part
	WHERE NOT starts_with(domain, 'cache_notify/')
	GROUP BY domain, tenant_id;
COMMENT ON VIEW _cache_notify.counter_total IS
'The counters summed by domain and tenant, with what this transaction has changed itself. Internal domains, which begin with cache_notify/, are not listed. A tenant''s version is version_origin() plus its counter plus the shared one (tenant_id NULL).';
