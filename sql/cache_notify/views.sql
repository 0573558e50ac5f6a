-- ------------------------------------------------------------------ views

-- OFFSET 0 keeps the planner from joining all shared counters at once: one
-- index look-up for each row is what a client's read of a few domains needs.
CREATE VIEW cache_notify.domain_version AS
	SELECT own.tenant_id, own.domain,
		cache_notify.version_origin() + own.n + coalesce(shared.n, 0) AS version,
		greatest(own.last_modified, shared.last_modified) AS last_modified
	FROM _cache_notify.counter_total AS own
	LEFT JOIN LATERAL (
		SELECT s.n, s.last_modified FROM _cache_notify.counter_total s
		WHERE s.domain = own.domain AND s.tenant_id IS NULL
		AND own.tenant_id IS NOT NULL
		OFFSET 0) AS shared ON true;
COMMENT ON VIEW cache_notify.domain_version IS
'The version of every domain that has ever changed, as each tenant sees it; tenant_id NULL is the shared version, which every tenant''s version includes. A tenant that never changed a domain has no row for it: its version is the shared one, which versions() tells by itself.';
COMMENT ON COLUMN cache_notify.domain_version.last_modified IS 'when the last transaction that changed it was about to commit';

CREATE VIEW cache_notify.v_domain_versions AS
	SELECT domain,
		cache_notify.version_origin() + max(n) FILTER (WHERE tenant_id IS NULL) AS shared_version,
		count(tenant_id) AS tenants,
		sum(n)::bigint AS changes,
		max(last_modified) AS last_modified
	FROM _cache_notify.counter_total
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
