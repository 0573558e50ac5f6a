-- ------------------------------------------------ what doctor() knows how to mend

CREATE FUNCTION _cache_notify.one_line(literal text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	RETURN CASE WHEN literal ~ '[\n\r]' AND starts_with(literal, '''') THEN 'E' ELSE '' END
		|| replace(replace(literal, chr(10), '\n'), chr(13), '\r');
COMMENT ON FUNCTION _cache_notify.one_line(text) IS
'A literal of quote_literal() without line breaks.';

-- The call that sets up a watched relation as it is, but for what cannot be.
CREATE FUNCTION _cache_notify.setup_call(
	watched _cache_notify.watched_relation, changes jsonb DEFAULT '{}') RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT format('SELECT cache_notify.setup_table_invalidation(%s);', string_agg(o.argument, ', ' ORDER BY o.n))
	FROM (
		SELECT n, CASE WHEN name IS NULL THEN coalesce($2 ->> 'relation', value)
			WHEN $2 ? name THEN format('%s => %s', name, $2 ->> name)
			ELSE format('%s => %s', name, value) END
		FROM (VALUES
			(1, NULL, quote_literal(($1).relation::regclass)),
			(2, 'domain_name', quote_literal(($1).domain)),
			(3, 'tenant_column', quote_literal(coalesce(($1).tenant_column,
				-- What it would take by default.
				CASE WHEN ($1).tenant_setting IS NULL AND ($1).granularity = 'row' THEN (
					SELECT '' FROM pg_attribute a WHERE a.attrelid = ($1).relation
					AND a.attname = 'tenant_id' AND NOT a.attisdropped) END))),
			(4, 'channel', quote_literal(($1).channel)),
			(5, 'payload', quote_literal(($1).payload)),
			(6, 'granularity', CASE ($1).granularity WHEN 'statement' THEN quote_literal(($1).granularity) END),
			(7, 'tenant_setting', quote_literal(($1).tenant_setting)),
			(8, 'columns', quote_literal(nullif(($1).columns, '{}'))),
			(9, 'fields', quote_literal(nullif(($1).fields, '{}'))),
			(10, 'fire_on_replica', CASE WHEN ($1).fire_on_replica THEN 'true' END),
			(11, 'payload_suffix', _cache_notify.one_line(quote_literal(nullif(($1).payload_suffix, '')))),
			(12, 'keys', quote_literal(nullif(($1).keys, '{}'))),
			(13, 'buckets', ($1).buckets::text),
			(14, 'whole_counter', CASE WHEN ($1).whole_counter THEN 'true' END),
			(15, 'follow_name', CASE WHEN EXISTS (
				SELECT FROM _cache_notify.watched_name n
				JOIN pg_class c ON c.relname = n.relation_name AND c.oid = ($1).relation
				JOIN pg_namespace s ON s.oid = c.relnamespace AND s.nspname = n.schema_name
				WHERE n.domain = ($1).domain AND n.arguments IS NOT NULL) THEN 'true' END),
			(16, 'cascades', quote_literal(nullif(($1).cascades, '{}')))) AS v (n, name, value)
		-- JSON's null leaves an argument out.
		WHERE CASE WHEN $2 ? name THEN $2 ->> name ELSE value END IS NOT NULL) AS o (n, argument);
END;
COMMENT ON FUNCTION _cache_notify.setup_call(_cache_notify.watched_relation, jsonb) IS
'The call of setup_table_invalidation() that watches a relation as it is watched. changes: other arguments, as SQL by their names; null: without that one.';

-- What is wrong with a watched relation begins with one of these.
CREATE VIEW _cache_notify.advice AS
	SELECT * FROM (VALUES
		('not watched, although its parent is', 'inherit', false),
		('the row trigger is missing', 'set up', false),
		('the statement trigger is missing', 'set up', false),
		('the row trigger is disabled', 'enable', false),
		('the statement trigger is disabled', 'enable', false),
		('only changes by replication count', 'enable', false),
		('the triggers'' arguments differ', 'set up', false),
		('the rule into domain', 'set up', true),
		('a rule from domain', 'lost rule', true),
		('its keys are of a bucket layout', 'set up without buckets', false),
		('tenant column', 'set up without tenant', false),
		('a column that counts does not exist', 'set up without columns', false),
		('a key column does not exist', 'set up without keys', false),
		('there is no primary key', 'primary key', false),
		('an event trigger of cache_notify is disabled', 'event trigger', true),
		('event_triggers is off', 'event_triggers', true),
		('a subscription fills it', 'set up on replica', true),
		('replication applies rows, which fires no statement trigger', 'set up by row', true),
		('an extension changes its rows by functions in C', 'preload', true),
		('changes that the remote server makes', 'foreign', false),
		('unlogged', 'logged', false),
		('equal values of tenant column', 'tenant type', false),
		('equal values of a key column', 'key type', false),
		('not watched, and a relation of this name was', 'set up anew', false),
		('nobody is told on this channel', 'fewer channels', true),
		('some changes of', 'view, when all is watched', true),
		('no rule carries changes of', 'view', true),
		('its rows are of several tenants', 'view', true),
		('a rule carries changes of', 'view', false),
		('what it reads cannot be looked into', 'look into', true)) AS v (problem, remedy, missed);
COMMENT ON VIEW _cache_notify.advice IS
'How doctor() mends what v_invalidation_status says: by the first words of a problem, the name of a remedy. missed: changes are, although the relation counts as watched.';

CREATE FUNCTION _cache_notify.remedy(
	remedy text, watched _cache_notify.watched_relation, relation regclass, domain text) RETURNS text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT CASE $1
		WHEN 'inherit' THEN format('SELECT cache_notify.inherit_triggers(%L);', $3)
		WHEN 'set up' THEN CASE WHEN ($2).inherited
			THEN format('SELECT cache_notify.inherit_triggers(%L);', $3)
			ELSE _cache_notify.setup_call($2) END
		WHEN 'enable' THEN (
			SELECT format('ALTER %sTABLE %s %s;', CASE ($2).relkind WHEN 'f' THEN 'FOREIGN ' ELSE '' END, $3,
				string_agg(format('ENABLE TRIGGER %I', t.tgname), ', ' ORDER BY t.tgname))
			FROM _cache_notify.watching_trigger t
			WHERE t.tgrelid = $3 AND t.domain = $4 AND t.tgenabled IN ('D', 'R'))
		WHEN 'set up without buckets' THEN _cache_notify.setup_call($2, '{"buckets": null}')
		WHEN 'set up without tenant' THEN _cache_notify.setup_call($2, '{"tenant_column": "''''"}')
		WHEN 'set up without columns' THEN _cache_notify.setup_call($2, '{"columns": null}')
		WHEN 'set up without keys' THEN _cache_notify.setup_call($2, '{"keys": null, "buckets": null}')
		WHEN 'primary key' THEN format('Give %s a primary key: ALTER TABLE %1$s ADD PRIMARY KEY (...);', $3)
		WHEN 'event_triggers' THEN 'ALTER SYSTEM SET event_triggers = on; SELECT pg_reload_conf(); and have no role or database set it.'
		WHEN 'set up on replica' THEN _cache_notify.setup_call($2, '{"fire_on_replica": "true"}')
		WHEN 'set up by row' THEN _cache_notify.setup_call($2, '{"granularity": null}')
		WHEN 'preload' THEN 'Add cache_notify to shared_preload_libraries, and restart the server.'
		WHEN 'foreign' THEN format('Call cache_notify.invalidate(%L) after such changes; or cease to watch it: SELECT cache_notify.remove_table_invalidation(%L, %1$L);', $4, $3)
		WHEN 'logged' THEN format('ALTER TABLE %s SET LOGGED;', $3)
		WHEN 'tenant type' THEN format('Give the column a type whose equal values have one text, or be content: %s',
			_cache_notify.setup_call($2, '{"tenant_column": "''''"}'))
		WHEN 'key type' THEN format('Give the column a type whose equal values have one text, or be content: %s',
			_cache_notify.setup_call($2, '{"keys": null, "buckets": null}'))
		WHEN 'view' THEN format('SELECT cache_notify.setup_view_invalidation(%s);', concat_ws(', ', quote_literal($3), quote_literal($4),
			'channel => ' || quote_literal(($2).channel), 'payload => ' || quote_literal(($2).payload)))
		WHEN 'view, when all is watched' THEN format('Watch what is not, or have the view do without it; cease to cache it: SELECT cache_notify.remove_view_invalidation(%L);', $3)
		WHEN 'lost rule' THEN (
			SELECT format('SELECT cache_notify.set_cascade_rule(%L, %L, %L, %L, %L); or, if it need not be: SELECT cache_notify.remove_cascade_rule(%1$L, %2$L);',
				n.source_domain, n.target_domain, n.rule_type, n.keys, n.tenants) FROM _cache_notify.noted_rule(($2).lost_rule) n)
		WHEN 'fewer channels' THEN format('Let fewer channels and formats hear of the domain; do without this one: SELECT cache_notify.remove_table_invalidation(%L, %L);', $3, $4)
		WHEN 'look into' THEN format('Mend what the error says, so that SELECT * FROM %s works; or: SELECT cache_notify.remove_view_invalidation(%1$L);', $3)
		WHEN 'set up anew' THEN format('SELECT cache_notify.%s(%L, %L); or, if it need not be watched: SELECT cache_notify.remove_table_invalidation(%2$L, %3$L);',
			CASE (SELECT c.relkind FROM pg_class c WHERE c.oid = $3) WHEN 'v' THEN 'setup_view_invalidation' ELSE 'setup_table_invalidation' END, $3, $4)
		END;
END;
COMMENT ON FUNCTION _cache_notify.remedy(text, _cache_notify.watched_relation, regclass, text) IS
'What to do about a problem, by the name of the remedy, as SQL where it can be. NULL: there is none of this name.';

CREATE VIEW _cache_notify.watch_finding AS
	SELECT DISTINCT
		CASE WHEN s.enabled AND s.table_name IS NOT NULL AND a.missed IS NOT TRUE THEN 'warning' ELSE 'error' END AS severity,
		CASE WHEN a.remedy = 'event trigger' THEN format('event trigger %I', e.evtname)
			WHEN a.remedy = 'event_triggers' THEN 'setting event_triggers'
			WHEN s.table_name IS NULL THEN format('domain %s', s.domain)
			ELSE format('%s (domain %s)', s.table_name, s.domain) END AS object,
		split.problem,
		CASE WHEN a.remedy = 'event trigger' THEN format('ALTER EVENT TRIGGER %I ENABLE;', e.evtname)
			ELSE coalesce(
				_cache_notify.remedy(a.remedy, w, s.table_name, s.domain),
				split.advice,
				CASE WHEN w.inherited THEN _cache_notify.remedy('inherit', w, s.table_name, s.domain)
					WHEN w.relation IS NOT NULL AND w.relkind <> 'v' THEN _cache_notify.setup_call(w) END,
				'See cache_notify.v_invalidation_status.') END AS advice
	FROM cache_notify.v_invalidation_status s
	LEFT JOIN _cache_notify.watched_relation w ON w.relation = s.table_name AND w.domain = s.domain
	LEFT JOIN _cache_notify.advice a ON starts_with(s.problem, a.problem)
	LEFT JOIN pg_catalog.pg_event_trigger e ON a.remedy = 'event trigger'
		AND e.evtfoid = pg_catalog.to_regprocedure('_cache_notify.schema_event()') AND e.evtenabled IN ('D', 'R')
	CROSS JOIN LATERAL (
		SELECT coalesce(part[1], s.problem) AS problem, upper(left(part[2], 1)) || substr(part[2], 2) || '.' AS advice
		FROM (SELECT pg_catalog.regexp_match(s.problem, '^(.*): ((?:call|watch|set|delete|rules) [^:]*)$')) AS m (part)) AS split
	-- What else it says of the lane is a setting_finding.
	WHERE s.problem IS NOT NULL AND (s.table_name IS NOT NULL OR s.domain IS NOT NULL)
	AND (s.table_name IS NULL OR pg_catalog.pg_has_role('pg_monitor', 'USAGE') OR EXISTS (
		SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.table_name AND pg_catalog.pg_has_role(c.relowner, 'USAGE')));
COMMENT ON VIEW _cache_notify.watch_finding IS
'What doctor() says of what is watched: all of it to pg_monitor, to others of what they own.';

CREATE VIEW _cache_notify.setting_finding AS
	WITH lane AS (
		SELECT l.lane, l.reason,
			EXISTS (SELECT FROM _cache_notify.watched_relation) AS watching
		FROM cache_notify.lane_in_effect() AS l
	)
	SELECT 'warning' AS severity, 'setting cache_notify.delivery' AS object,
		'is off: versions move, and nobody is told' AS problem,
		'ALTER SYSTEM SET cache_notify.delivery = auto; SELECT pg_reload_conf();' AS advice
	FROM lane WHERE watching AND lane = 'off'
	UNION ALL
	SELECT 'warning', 'lane ' || lane,
		'is in effect, in which transactions that notify commit one at a time: ' || reason,
		CASE WHEN reason ~ 'preloaded'
			THEN 'Add cache_notify to shared_preload_libraries, and restart the server.'
			ELSE 'Raise max_worker_processes, and restart the server; it is tried again with the next change.' END
	FROM lane WHERE watching AND reason IS NOT NULL
	UNION ALL
	SELECT 'error', 'setting cache_notify.delivery', d.problem,
		CASE WHEN d.problem ~ 'wal_level' THEN 'ALTER SYSTEM SET wal_level = logical; and restart the server.'
			ELSE 'Look into the server''s log for the reason.' END
	FROM lane, _cache_notify.delivery_problem() AS d (problem)
	WHERE d.problem IS NOT NULL AND (lane.reason IS NULL OR d.problem ~ 'wal_level')
	UNION ALL
	SELECT 'warning', 'setting ' || s.name, 'was changed, and takes effect when the server is restarted', 'Restart the server.'
	FROM pg_catalog.pg_settings s
	WHERE s.pending_restart AND (starts_with(s.name, 'cache_notify.')
		OR s.name IN ('shared_preload_libraries', 'max_worker_processes', 'wal_level'))
	UNION ALL
	SELECT 'warning', 'extension ' || e.extname,
		format('its objects are of version %s, and the library is of %s', e.extversion, a.default_version),
		format('ALTER EXTENSION %I UPDATE;', e.extname)
	FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname
	WHERE e.extname IN ('cache_notify', 'pg_fraiseql_cache') AND e.extversion <> a.default_version
	UNION ALL
	SELECT 'error', coalesce('channel ' || l.channel, 'domain schema'), split_part(l.problem, ': call ', 1),
		CASE WHEN l.channel IS NULL THEN 'SELECT cache_notify.setup_schema_invalidation(...) for whoever listened; or, if nobody does: SELECT cache_notify.remove_schema_invalidation();'
		ELSE format('SELECT cache_notify.setup_schema_invalidation(preset => %L, channel => %L, payload => %L, payload_suffix => %s);',
			l.preset, l.channel, CASE WHEN l.preset IS DISTINCT FROM 'postgraphile' THEN l.payload END, _cache_notify.one_line(quote_nullable(nullif(l.payload_suffix, '')))) END
	FROM cache_notify.v_schema_invalidation l WHERE l.problem IS NOT NULL;
COMMENT ON VIEW _cache_notify.setting_finding IS
'What doctor() says of settings, of the lane, and of who hears of DDL.';

CREATE VIEW _cache_notify.rights_finding AS
	SELECT 'error' AS severity, format('role %I', o.rolname) AS object,
		format('owns watched relations, and cannot set them up: it lacks USAGE on schema %I', n.nspname) AS problem,
		format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, o.rolname) AS advice
	FROM (SELECT DISTINCT c.relowner FROM _cache_notify.watched_relation w JOIN pg_catalog.pg_class c ON c.oid = w.relation) AS owner
	JOIN pg_catalog.pg_roles o ON o.oid = owner.relowner
	JOIN pg_catalog.pg_namespace n ON n.nspname IN ('cache_notify', '_cache_notify')
	WHERE NOT pg_catalog.has_schema_privilege(o.oid, n.oid, 'USAGE')
	UNION ALL
	SELECT 'warning', format('%s', m.oid::pg_catalog.regclass),
		'holds state of this server, which logical decoding shows to output plugins',
		'SELECT cache_notify.repair();'
	FROM pg_catalog.pg_class m
	WHERE m.relnamespace = pg_catalog.to_regnamespace('_cache_notify') AND m.relkind = 'm' AND m.relrewrite = 0
	AND current_setting('wal_level') = 'logical';
COMMENT ON VIEW _cache_notify.rights_finding IS
'What doctor() says of owners'' rights, and of state that others would see.';

-- Only for pg_monitor.
CREATE VIEW _cache_notify.activity_finding AS
	SELECT CASE WHEN q.usage > 0.5 THEN 'error' ELSE 'warning' END AS severity, 'notification queue' AS object,
		format('is %s %% full, as a listener does not read', round(q.usage::numeric * 100)) AS problem,
		'Terminate the listener that sits in a transaction, or whose client hangs: SELECT pg_terminate_backend(...); see pg_stat_activity.' AS advice
	FROM pg_catalog.pg_notification_queue_usage() AS q (usage)
	WHERE q.usage > 0.1
	UNION ALL
	SELECT severity, object, problem, advice FROM cache_notify.stats s
	CROSS JOIN LATERAL (VALUES
		(s.overflows > 0, 'warning', 'setting cache_notify.waiting_scopes',
			format('was too small %s times, and listeners were told to drop everything', s.overflows),
			'Raise it and restart the server; or, if that was a load that does not come again: SELECT cache_notify.clear_statistics();'),
		(s.worker_restarts > 0, 'warning', 'cache_notify worker', format('has died %s times', s.worker_restarts),
			'Look into the server''s log for the reason, then: SELECT cache_notify.clear_statistics();')
		) AS f (found, severity, object, problem, advice)
	WHERE found
	UNION ALL
	SELECT 'warning', 'history',
		format('%s histories began within a day, and with each all caches were empty', count(*)),
		'Look for what forks the database: failovers, restores, crashes after commits with synchronous_commit = off. Then: SELECT cache_notify.clear_statistics();'
	FROM _cache_notify.history h
	WHERE h.since > greatest(now() - interval '1 day', (SELECT s.cleared_at FROM cache_notify.stats s))
	HAVING count(*) > 2;
COMMENT ON VIEW _cache_notify.activity_finding IS
'What doctor() says to pg_monitor of deliveries and histories.';
