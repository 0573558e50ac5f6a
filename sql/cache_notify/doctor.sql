-- ------------------------------------------------------ what is wrong, and what to do

CREATE FUNCTION cache_notify.doctor(
		domains text[] DEFAULT NULL, cache_role name DEFAULT NULL, patience interval DEFAULT '1 minute',
		OUT severity text, OUT object text, OUT problem text, OUT advice text)
	RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	monitor boolean := pg_has_role('pg_monitor', 'USAGE');
	pid int;
BEGIN
	-- Before anything else: it loads the library, and with it the settings.
	PERFORM cache_notify.lane_in_effect();
	IF cache_role IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = cache_role) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('role "%s" does not exist', cache_role),
			HINT = 'Name the role that a cache connects as, or leave cache_role out.';
	END IF;
	RETURN QUERY SELECT f.severity, f.object, f.problem, f.advice FROM _cache_notify.watch_finding f;
	RETURN QUERY SELECT f.severity, f.object, f.problem, f.advice FROM _cache_notify.setting_finding f;
	RETURN QUERY SELECT f.severity, f.object, f.problem, f.advice FROM _cache_notify.rights_finding f;

	RETURN QUERY
		SELECT 'error', format('domain %s', u.domain), 'is not known: it has no version and no token, so nothing of it is cached'::text,
			'Watch a table for it: SELECT cache_notify.setup_table_invalidation(...); or correct the name. Another row may say what is missing.'::text
		FROM unnest(domains) AS u (domain)
		CROSS JOIN LATERAL cache_notify.versions(NULL, u.domain) AS v
		WHERE NOT v.known;
	RETURN QUERY
		SELECT f.severity, format('role %I', cache_role), 'runs a cache, and lacks ' || f.lacks, format(f.advice, quote_ident(cache_role))
		FROM (
			SELECT 'error' AS severity, 'USAGE on schema cache_notify' AS lacks, 'GRANT USAGE ON SCHEMA cache_notify TO %s;' AS advice
			WHERE NOT has_schema_privilege(cache_role, 'cache_notify', 'USAGE')
			UNION ALL
			SELECT 'error', format('EXECUTE on %s, by which it asks for versions', p.oid::regprocedure),
				'GRANT EXECUTE ON FUNCTION ' || p.oid::regprocedure || ' TO %s;'
			FROM pg_proc p WHERE p.pronamespace = 'cache_notify'::regnamespace
			AND p.proname IN ('token', 'versions', 'near_versions', 'stale', 'is_current', 'current_position', 'domains_of')
			AND NOT has_function_privilege(cache_role, p.oid, 'EXECUTE')
			UNION ALL
			SELECT 'warning', 'EXECUTE on cache_notify.changes_since(text): it drops everything whenever its connection was lost',
				'GRANT EXECUTE ON FUNCTION cache_notify.changes_since(text) TO %s;'
			WHERE NOT has_function_privilege(cache_role, 'cache_notify.changes_since(text)', 'EXECUTE')) AS f
		WHERE cache_role IS NOT NULL;

	IF has_table_privilege('cache_notify.cascade_rules', 'SELECT') AND NOT pg_is_in_recovery() THEN
		RETURN QUERY
			SELECT 'warning', 'table cache_notify.cascade_rules',
				format('does not show the %s rules that are in force', (SELECT count(*) FROM _cache_notify.stored_rule)),
				'SELECT cache_notify.repair();'::text
			WHERE EXISTS (
				(SELECT s.source_domain, s.target_domain, s.rule_type, s.keys, s.tenants FROM _cache_notify.stored_rule s
				 EXCEPT SELECT r.source_domain, r.target_domain, r.rule_type, r.keys, r.tenants FROM cache_notify.cascade_rules r)
				UNION ALL
				(SELECT r.source_domain, r.target_domain, r.rule_type, r.keys, r.tenants FROM cache_notify.cascade_rules r
				 EXCEPT SELECT s.source_domain, s.target_domain, s.rule_type, s.keys, s.tenants FROM _cache_notify.stored_rule s));
	END IF;
	IF has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') THEN
		RETURN QUERY
			SELECT 'warning', format('setting %s', f.name),
				format('is set and not in force (%s, line %s): %s', f.sourcefile, f.sourceline, f.error),
				'Correct it, and reload: SELECT pg_reload_conf();'::text
			FROM pg_file_settings f
			WHERE f.error IS NOT NULL AND f.name ~ '^cache_notify\.'
			AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = f.name AND s.pending_restart);
	END IF;
	IF NOT monitor THEN
		RETURN;
	END IF;

	RETURN QUERY SELECT f.severity, f.object, f.problem, f.advice FROM _cache_notify.activity_finding f;
	-- A listener in a transaction hears nothing and lets nobody's notifications be forgotten.
	RETURN QUERY
		SELECT 'warning', format('process %s', a.pid),
			format('listens, and has been in a transaction for %s: it hears nothing meanwhile', date_trunc('second', clock_timestamp() - a.xact_start)),
			format('End its transaction, or: SELECT pg_terminate_backend(%s);', a.pid)
		FROM pg_stat_activity a
		WHERE a.datname = current_database() AND starts_with(a.state, 'idle in transaction')
		AND a.query ~* '^\s*listen\M' AND clock_timestamp() - a.xact_start > patience;
	RETURN QUERY
		SELECT 'warning', format('prepared transaction %s', p.gid),
			format('has waited for %s, and its changes are not told before', date_trunc('second', clock_timestamp() - p.prepared)),
			format('COMMIT PREPARED %L; or ROLLBACK PREPARED %1$L;', p.gid)
		FROM pg_prepared_xacts p
		JOIN pg_locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction
		JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NULL
		WHERE p.database = current_database() AND x.pid IS NULL AND l.relation = '_cache_notify.version_counter'::regclass
		AND clock_timestamp() - p.prepared > patience
		GROUP BY p.gid, p.prepared;
	-- One that is just being started is no problem.
	FOR n IN 1 .. 20 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM cache_notify.stats s WHERE s.waiting > 0 AND s.worker_pid IS NULL);
		PERFORM pg_sleep(0.1);
		IF n = 20 THEN
			RETURN QUERY SELECT 'error', 'cache_notify worker'::text, 'does not come up, and changes wait for it'::text,
				'Look into the server''s log for the reason.'::text;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION cache_notify.doctor(text[], name, interval) IS
'What is wrong, and what to do about it: a row for each finding, none if all is well. severity: error (changes are missed, not told, or a domain has no tokens) or warning (coarser, slower, or soon to be wrong). object: what it is about. advice: SQL where that is enough.
domains: names that caches use, each of which must be known.
cache_role: a role that runs a near cache: which rights it lacks.
patience: for how long a listener may sit in a transaction, and a prepared transaction wait.
Owners of tables see what is wrong with theirs and with settings; pg_monitor sees all tables, deliveries, prepared transactions, histories; errors in postgresql.conf take a superuser. Changes nothing, and waits for two seconds at most, if a worker is to come up. Error if there is no such role, or a name is empty or longer than 63 bytes.';
