-- ------------------------------------------- what a query depends on

CREATE FUNCTION cache_notify.domains_of(
		query text,
		OUT domain text, OUT source text, OUT certainty text, OUT reason text, OUT per_tenant boolean)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT d.domain, d.source, d.certainty, d.reason, d.per_tenant
	FROM _cache_notify.domains_of_query($1, false, 0) d;
END;
COMMENT ON FUNCTION cache_notify.domains_of(text) IS
'The domains that the result of a query depends on, with views and SQL functions looked into, as the caller''s session would run it. The query must be a SELECT; $1 and so on are allowed. One row for each domain and source, by certainty:
exact: the source is watched, and every change of what the query reads of it bumps the domain (of one tenant only, if per_tenant).
definition: a view, a function, an operator, a type, text search, or roles where row security looks at them: what redefines it bumps the domain. Such a domain is for tokens: it begins with cache_notify/ and is in no view; listeners of the channel cache_notify_definition hear of it.
unwatched: a relation some changes of which are not seen; reason says why.
opaque: a function that cannot be looked into.
volatile: the result changes by itself, with time or by chance.
session: the result depends on who asks and with which settings, so a cache''s key must contain them.
domain is NULL for the last four. Error if the caller may not run the query. What no certainty can tell: something that is created later and takes the name of a function or operator of the server, casts between types of the server, roles that are changed in another database or in sessions that have not loaded the library, and row security, which is looked at as it is for the caller.';

CREATE FUNCTION cache_notify.token_for(query text, tenant_id text DEFAULT NULL)
	RETURNS text
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT CASE
		WHEN bool_or(d.certainty IN ('unwatched', 'opaque', 'volatile')) THEN NULL
		WHEN count(d.domain) > 0 THEN
			cache_notify.token($2, VARIADIC array_agg(DISTINCT
				CASE d.certainty WHEN 'definition' THEN d.domain ELSE cache_notify.key_name(d.domain) END)
				FILTER (WHERE d.domain IS NOT NULL))
		END
	FROM cache_notify.domains_of($1) d;
END;
COMMENT ON FUNCTION cache_notify.token_for(text, text) IS
'A token for the result of a query, see token() and domains_of(): take it before the query, or in the same statement. tenant_id says that the query returns rows of this tenant, and of none, only; without it, the token is of the whole domains, whichever tenants'' rows change. NULL means do not cache: also if a change of something that the query reads might not be seen, or the result changes by itself. Whoever runs the query many times keeps the domains of domains_of() and calls token().';

-- No SET search_path: see domains_of_query().
CREATE FUNCTION cache_notify.setup_view_invalidation(
	view regclass,
	domain_name text DEFAULT NULL,
	channel text DEFAULT NULL,
	payload text DEFAULT NULL)
	RETURNS text
	LANGUAGE sql VOLATILE
BEGIN ATOMIC
	SELECT _cache_notify.setup_view($1, $2, $3, $4, current_setting('search_path'));
END;
COMMENT ON FUNCTION cache_notify.setup_view_invalidation(regclass, text, text, text) IS
'Gives a view a domain that moves whenever its result may have changed: watches the tables it reads that are not watched yet, with the defaults of setup_table_invalidation(), carries their changes on into the view''s domain (see v_cascade_rules), and bumps it when the view is redefined. Returns the domain.
domain_name: NULL: the domain it has, else the view''s name without a leading tv_, tb_ or v_.
channel, payload: as for setup_table_invalidation().
If tables that it reads have tenants, and the view has no column of the same name, it is one result for all tenants: then each tenant''s change is a shared one of the view''s domain.
Call it again when the view, or one that it reads, has changed: what it depends on is found anew. Warns of what it cannot see changes of. Needs ownership of the view, and the right to watch its tables.';

CREATE FUNCTION cache_notify.remove_view_invalidation(view regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	old _cache_notify.watch_options := (SELECT l.options FROM _cache_notify.watching_label l WHERE l.relation = view);
BEGIN
	PERFORM _cache_notify.check_view(view);
	IF old.domain_name IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('view %s has no domain', view),
			HINT = 'See cache_notify.v_invalidation_status.';
	END IF;
	PERFORM _cache_notify.label_relation(view, NULL);
	PERFORM _cache_notify.forget_name(view, old.domain_name);
	PERFORM _cache_notify.note_view(view, old.domain_name, NULL);
	PERFORM _cache_notify.configuration_changed();
END
$$;
COMMENT ON FUNCTION cache_notify.remove_view_invalidation(regclass) IS
'Undoes setup_view_invalidation(), but its tables stay watched. Error if it was not called.';

CREATE FUNCTION cache_notify.unwatched_dependencies(
		OUT object text, OUT source text, OUT certainty text, OUT reason text)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH candidate (object, query, owner) AS (
		SELECT c.oid::regclass::text, format('SELECT * FROM %s', c.oid::regclass), c.relowner
		FROM pg_class c WHERE c.relkind = 'v' AND c.oid >= 16384
		AND c.relnamespace <> ALL ('{cache_notify,_cache_notify}'::regnamespace[]) AND c.relpersistence <> 't'
		AND has_table_privilege(c.oid, 'SELECT') AND pg_has_role(c.relowner, 'USAGE')
		UNION ALL
		SELECT p.oid::regprocedure::text,
			format('SELECT %s(%s)', p.oid::regproc, array_to_string(ARRAY(
				SELECT 'NULL::' || format_type(t, NULL) FROM unnest(p.proargtypes) AS u (t)), ', ')),
			p.proowner
		FROM pg_proc p WHERE p.prokind = 'f' AND p.oid >= 16384
		AND p.pronamespace <> ALL ('{cache_notify,_cache_notify}'::regnamespace[])
		AND p.prorettype <> ALL ('{trigger,event_trigger}'::regtype[])
		AND p.provolatile <> 'i' AND has_function_privilege(p.oid, 'EXECUTE') AND pg_has_role(p.proowner, 'USAGE')
		AND NOT EXISTS (SELECT FROM pg_depend d
			WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
	)
	SELECT c.object, d.source, d.certainty, d.reason
	FROM candidate c
	CROSS JOIN LATERAL _cache_notify.try_domains_of(c.query, current_setting('search_path'), c.owner) d
	WHERE d.certainty IN ('unwatched', 'opaque', 'error')
	ORDER BY 1, 3, 2;
END;
COMMENT ON FUNCTION cache_notify.unwatched_dependencies() IS
'The views and functions (object) that the caller may use and change (they are looked into as their owners) and that read something whose changes are not all seen, as domains_of() reports it; error: it could not be looked into, for the reason given. Functions of extensions, IMMUTABLE ones and those of this extension are left out. Looks at every view and function: not for frequent use.';

CREATE FUNCTION cache_notify.suggest_cascades(
		OUT source_domain text, OUT target_domain text, OUT keys text, OUT reason text, OUT statement text)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH feeds AS (
		SELECT w.relation, w.domain, nullif(w.keys, '{}') AS keys, w.buckets
		FROM _cache_notify.watched_relation w WHERE NOT w.inherited
	), suggestion AS (
		SELECT p.domain AS source, c.domain AS target,
			format('%s references %s (%s)', k.conrelid::regclass, k.confrelid::regclass, k.conname) AS reason,
			NULL::text AS view,
			coalesce(_cache_notify.reference_keeps_key(k.oid, p.keys, c.keys) AND c.buckets <= p.buckets, false) AS same
		FROM pg_constraint k
		JOIN feeds p ON p.relation = k.confrelid
		JOIN feeds c ON c.relation = k.conrelid
		WHERE k.contype = 'f' AND k.conparentid = 0
		UNION ALL
		SELECT d.domain, coalesce(l.domain, _cache_notify.default_domain(v.oid)),
			format('view %s reads %s', v.oid::regclass, d.source), v.oid::regclass::text, false
		FROM pg_class v
		LEFT JOIN _cache_notify.watching_label l ON l.relation = v.oid
		CROSS JOIN LATERAL _cache_notify.try_domains_of(
			format('SELECT * FROM %s', v.oid::regclass), current_setting('search_path'), v.relowner) d
		WHERE v.relkind = 'v' AND v.oid >= 16384 AND v.relpersistence <> 't'
		AND v.relnamespace <> ALL ('{cache_notify,_cache_notify}'::regnamespace[])
		AND has_table_privilege(v.oid, 'SELECT') AND pg_has_role(v.relowner, 'USAGE') AND d.certainty = 'exact'
	)
	SELECT s.source, s.target, CASE WHEN bool_and(s.same) THEN 'same' ELSE 'all' END,
		string_agg(DISTINCT s.reason, '; '),
		CASE WHEN min(s.view) IS NOT NULL
			THEN format('SELECT cache_notify.setup_view_invalidation(%L, %L);', min(s.view), s.target)
			WHEN bool_and(s.same)
			THEN format('INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, keys) VALUES (%L, %L, ''same'');',
				s.source, s.target)
			ELSE format('INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES (%L, %L);',
				s.source, s.target) END
	FROM suggestion s
	WHERE s.source <> s.target AND NOT EXISTS (
		SELECT FROM cache_notify.v_cascade_rules r
		WHERE r.source_domain = s.source AND r.target_domain = s.target)
	GROUP BY s.source, s.target
	ORDER BY 1, 2;
END;
COMMENT ON FUNCTION cache_notify.suggest_cascades() IS
'Cascade rules that the schema suggests and that are not there: from the domain of a table to that of a table whose foreign key references it, and from the tables that a view reads to the view. keys is same if the key columns of both tables are those of the foreign key, so that a change of one row need not reach every key of the target. statement does it; nothing is ever done by itself.';
