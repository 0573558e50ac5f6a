-- ------------------------------------------- what a query depends on

CREATE FUNCTION cache_notify.query_dependencies(
		query text,
		OUT kind text, OUT classid oid, OUT objid oid, OUT columns int2[], OUT reason text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_query_dependencies'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cache_notify.query_dependencies(text) IS
'What a query reads, without saying whether it is watched: see domains_of(). columns: those that it reads of a relation; NULL if it may be any.';

CREATE FUNCTION cache_notify.definition_domain(object oid) RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_definition_domain'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cache_notify.definition_domain(oid) IS
'The domain that is bumped when this view or function is redefined, renamed or dropped: one of 1,024 that all share. It is internal: tokens prove it, cascade rules can start from it, and listeners are not told. NULL if object is.';

-- The ways in which a relation is watched, for what reads these columns of it.
-- Planning this takes longer than running it, so the plan is kept.
CREATE FUNCTION cache_notify.domains_of_relation(
		relation oid, columns int2[],
		OUT domain text, OUT usable boolean, OUT reason text, OUT per_tenant boolean)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT w.domain,
		w.enabled AND w.problem IS NULL AND gap.problem IS NULL AND unseen.reason IS NULL,
		coalesce(w.problem, gap.problem, unseen.reason),
		(w.tenant_column IS NOT NULL OR w.tenant_setting IS NOT NULL)
	FROM cache_notify.watched_relation w
	LEFT JOIN LATERAL (
		WITH RECURSIVE family (relid) AS (
			SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = $1
			UNION
			SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.relid)
		SELECT format('%s: %s', f.relid::regclass, c.problem) AS problem
		FROM family f JOIN cache_notify.watched_relation c ON c.relation = f.relid
		WHERE c.domain = w.domain AND c.problem IS NOT NULL LIMIT 1) AS gap ON true
	LEFT JOIN LATERAL (
		SELECT 'UPDATE of some columns that it reads does not count'::text AS reason
		WHERE w.columns <> '{}' AND ($2 IS NULL OR EXISTS (
			SELECT FROM pg_attribute a WHERE a.attrelid = w.relation
			AND a.attnum = ANY ($2) AND a.attname::text <> ALL (w.columns)))) AS unseen ON true
	WHERE w.relation = $1 AND w.relkind <> 'v';
END
$$;
COMMENT ON FUNCTION cache_notify.domains_of_relation(oid, int2[]) IS
'The domains that a relation feeds. usable: every change of these columns (NULL: of any) is seen; otherwise reason says why not. per_tenant: changes may concern one tenant only.';

-- No SET search_path: the query is for the caller's.  The body is kept parsed,
-- so no search_path can change what it means.
CREATE FUNCTION cache_notify.domains_of(
		query text,
		OUT domain text, OUT source text, OUT certainty text, OUT reason text, OUT per_tenant boolean)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH dependency AS (
		SELECT DISTINCT d.kind, d.classid, d.objid, d.columns, d.reason
		FROM cache_notify.query_dependencies($1) d
	), relation AS (
		SELECT d.objid, r.domain, r.usable, r.per_tenant, coalesce(r.reason,
			CASE WHEN d.objid < 16384 THEN 'system catalog'
				WHEN c.relpersistence = 't' THEN 'temporary table'
				WHEN c.relkind = 'S' THEN 'sequence'
				WHEN r.domain IS NULL THEN 'not watched' END) AS reason,
			bool_or(r.usable) OVER (PARTITION BY d.objid, d.columns) AS covered
		FROM dependency d
		JOIN pg_class c ON c.oid = d.objid
		LEFT JOIN LATERAL cache_notify.domains_of_relation(d.objid, d.columns) r ON true
		WHERE d.kind = 'relation'
	)
	SELECT r.domain, r.objid::regclass::text, 'exact'::text, NULL::text, r.per_tenant
	FROM relation r WHERE r.usable
	UNION
	SELECT NULL, r.objid::regclass::text, 'unwatched', r.reason, NULL
	FROM relation r WHERE r.covered IS NOT TRUE
	UNION
	SELECT CASE d.kind WHEN 'definition' THEN cache_notify.definition_domain(d.objid) END,
		CASE d.classid WHEN 'pg_class'::regclass THEN d.objid::regclass::text
			WHEN 'pg_proc'::regclass THEN d.objid::regprocedure::text END,
		d.kind, d.reason, NULL
	FROM dependency d WHERE d.kind <> 'relation'
	ORDER BY 3, 2, 1;
END;
COMMENT ON FUNCTION cache_notify.domains_of(text) IS
'The domains that the result of a query depends on, with views and SQL functions looked into, as the caller''s session would run it. The query must be a SELECT; $1 and so on are allowed. One row for each domain and source, by certainty:
exact: the source is watched, and every change of what the query reads of it bumps the domain (of one tenant only, if per_tenant).
definition: a view or function, whose redefinition bumps the domain. Such a domain is for tokens: it begins with cache_notify/, is in no view, and no listener hears of it.
unwatched: a relation some changes of which are not seen; reason says why.
opaque: a function that cannot be looked into.
volatile: the result changes by itself, with time or by chance.
session: the result depends on who asks and with which settings, so a cache''s key must contain them.
domain is NULL for the last four. Error if the caller may not run the query. What no certainty can tell: an object that is created later and takes a name over, and row security, which is looked at as it is for the caller.';

CREATE FUNCTION cache_notify.token_for(query text, tenant_id text DEFAULT NULL)
	RETURNS text
	LANGUAGE sql STABLE
BEGIN ATOMIC
	SELECT CASE
		WHEN bool_or(d.certainty IN ('unwatched', 'opaque', 'volatile')
			OR d.per_tenant AND $2 IS NULL) THEN NULL
		WHEN count(d.domain) > 0 THEN
			cache_notify.token($2, VARIADIC array_agg(DISTINCT
				CASE d.certainty WHEN 'definition' THEN d.domain ELSE cache_notify.key_name(d.domain) END)
				FILTER (WHERE d.domain IS NOT NULL))
		END
	FROM cache_notify.domains_of($1) d;
END;
COMMENT ON FUNCTION cache_notify.token_for(text, text) IS
'A token for the result of a query, see token() and domains_of(): take it before the query, or in the same statement. tenant_id says that the query returns rows of this tenant, and of none, only: without it, the token of a query that reads tables with tenants is NULL. NULL means do not cache: also if a change of something that the query reads might not be seen, or the result changes by itself. Whoever runs the query many times keeps the domains of domains_of() and calls token().';

-- ------------------------------------------------------------------- views

CREATE FUNCTION cache_notify.check_view(view regclass) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF view IS NULL OR NOT EXISTS (SELECT FROM pg_class WHERE oid = view AND relkind = 'v') THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = coalesce(view::text || ' is not a view', 'view must not be null'),
			HINT = 'Tables and materialized views are watched with setup_table_invalidation().';
	END IF;
END
$$;
COMMENT ON FUNCTION cache_notify.check_view(regclass) IS
'Error unless it is a view.';

CREATE FUNCTION cache_notify.adjust_rules(domain_name text, old text[], new text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM cache_notify.cascade_rules
	WHERE target_domain = domain_name AND source_domain = ANY (old) AND source_domain <> ALL (new);
	INSERT INTO cache_notify.cascade_rules (source_domain, target_domain)
	SELECT s, domain_name FROM unnest(new) AS u (s)
	ON CONFLICT (source_domain, target_domain) DO UPDATE SET rule_type = 'invalidate'
	WHERE cascade_rules.rule_type <> 'invalidate';
END
$$;
COMMENT ON FUNCTION cache_notify.adjust_rules(text, text[], text[]) IS
'Makes a domain depend on the domains in new, and no longer on those in old that new has not.';

CREATE FUNCTION cache_notify.setup_view_invalidation(
	view regclass,
	domain_name text DEFAULT NULL,
	channel text DEFAULT NULL,
	payload text DEFAULT NULL)
	RETURNS text
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	query text := format('SELECT * FROM %s', view);
	old text[] := (SELECT l.arguments FROM cache_notify.watching_label l WHERE l.relation = view);
	old_domain text := cache_notify.argument(old, 'domain');
	old_sources text[] := ARRAY(SELECT substr(a, 8) FROM unnest(old) AS u (a) WHERE a LIKE 'source=%');
	sources text[];
	dependency record;
BEGIN
	PERFORM cache_notify.check_view(view);
	domain_name := coalesce(domain_name, old_domain, cache_notify.default_domain(view));
	FOR dependency IN
		SELECT DISTINCT d.objid::regclass AS relation
		FROM cache_notify.query_dependencies(query) d
		JOIN pg_class c ON c.oid = d.objid
		WHERE d.kind = 'relation' AND c.relkind IN ('r', 'p', 'm', 'f')
		AND c.oid >= 16384 AND c.relpersistence <> 't'
		AND NOT EXISTS (SELECT FROM cache_notify.watched_relation w WHERE w.relation = c.oid)
		ORDER BY 1
	LOOP
		PERFORM cache_notify.setup_table_invalidation(dependency.relation);
	END LOOP;
	FOR dependency IN
		SELECT d.source, d.certainty, d.reason FROM cache_notify.domains_of(query) d
		WHERE d.certainty IN ('unwatched', 'opaque', 'volatile')
	LOOP
		RAISE WARNING USING
			MESSAGE = format('some changes of view %s are not seen, because of %s: %s',
				view, coalesce(dependency.source, 'an expression'), dependency.reason),
			HINT = 'See cache_notify.domains_of().';
	END LOOP;

	sources := ARRAY(SELECT DISTINCT d.domain FROM cache_notify.domains_of(query) d
		WHERE d.domain <> domain_name
		-- its own definition bumps it by the label
		AND NOT (d.certainty = 'definition' AND d.source = view::text) ORDER BY 1);
	IF old_domain <> domain_name THEN
		PERFORM cache_notify.adjust_rules(old_domain, old_sources, '{}');
		old_sources := '{}';
	END IF;
	PERFORM cache_notify.adjust_rules(domain_name, old_sources, sources);
	PERFORM cache_notify.label_relation(view,
		cache_notify.watch_arguments(view, domain_name, NULL, channel, payload, 'statement', NULL, NULL, NULL)
		|| ARRAY(SELECT 'source=' || s FROM unnest(sources) AS u (s)));
	PERFORM cache_notify.configuration_changed();
	RETURN domain_name;
END
$$;
COMMENT ON FUNCTION cache_notify.setup_view_invalidation(regclass, text, text, text) IS
'Gives a view a domain that moves whenever its result may have changed: watches the tables it reads that are not watched yet, with the defaults of setup_table_invalidation(), adds cascade rules from their domains into the view''s, and bumps it when the view is redefined. Returns the domain.
domain_name: NULL: the domain it has, else the view''s name without a leading tv_, tb_ or v_.
channel, payload: as for setup_table_invalidation().
Call it again when the view, or one that it reads, has changed: rules that it added and that no longer apply are removed, others left alone. Warns of what it cannot see changes of. Needs ownership of the view, the right to watch its tables and to write cascade_rules.';

CREATE FUNCTION cache_notify.remove_view_invalidation(view regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	old text[] := (SELECT l.arguments FROM cache_notify.watching_label l WHERE l.relation = view);
BEGIN
	PERFORM cache_notify.check_view(view);
	IF old IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('view %s has no domain', view),
			HINT = 'See cache_notify.v_invalidation_status.';
	END IF;
	PERFORM cache_notify.adjust_rules(cache_notify.argument(old, 'domain'),
		ARRAY(SELECT substr(a, 8) FROM unnest(old) AS u (a) WHERE a LIKE 'source=%'), '{}');
	PERFORM cache_notify.label_relation(view, NULL);
	PERFORM cache_notify.configuration_changed();
END
$$;
COMMENT ON FUNCTION cache_notify.remove_view_invalidation(regclass) IS
'Undoes setup_view_invalidation(), but its tables stay watched. Error if it was not called.';

-- ----------------------------------------------------------- looking for gaps

-- domains_of() for a query that may fail, under another search_path.
CREATE FUNCTION cache_notify.try_domains_of(
		query text, path text,
		OUT domain text, OUT source text, OUT certainty text, OUT reason text)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM set_config('search_path', path, true);
	RETURN QUERY SELECT d.domain, d.source, d.certainty, d.reason
		FROM cache_notify.domains_of(query) AS d;
EXCEPTION WHEN OTHERS THEN
	RETURN QUERY SELECT NULL::pg_catalog.text, NULL::pg_catalog.text, 'error'::pg_catalog.text,
		SQLERRM::pg_catalog.text;
END
$$;
COMMENT ON FUNCTION cache_notify.try_domains_of(text, text) IS
'domains_of() with an error as a row (certainty error).';

CREATE FUNCTION cache_notify.unwatched_dependencies(
		OUT object text, OUT source text, OUT certainty text, OUT reason text)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH candidate (object, query) AS (
		SELECT c.oid::regclass::text, format('SELECT * FROM %s', c.oid::regclass)
		FROM pg_class c WHERE c.relkind = 'v' AND c.oid >= 16384
		AND c.relnamespace <> 'cache_notify'::regnamespace AND c.relpersistence <> 't'
		AND has_table_privilege(c.oid, 'SELECT')
		UNION ALL
		SELECT p.oid::regprocedure::text,
			format('SELECT %s(%s)', p.oid::regproc, array_to_string(ARRAY(
				SELECT 'NULL::' || format_type(t, NULL) FROM unnest(p.proargtypes) AS u (t)), ', '))
		FROM pg_proc p WHERE p.prokind = 'f' AND p.oid >= 16384
		AND p.pronamespace <> 'cache_notify'::regnamespace
		AND p.prorettype <> ALL ('{trigger,event_trigger}'::regtype[])
		AND p.provolatile <> 'i' AND has_function_privilege(p.oid, 'EXECUTE')
		AND NOT EXISTS (SELECT FROM pg_depend d
			WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
	)
	SELECT c.object, d.source, d.certainty, d.reason
	FROM candidate c
	CROSS JOIN LATERAL cache_notify.try_domains_of(c.query, current_setting('search_path')) d
	WHERE d.certainty IN ('unwatched', 'opaque', 'error')
	ORDER BY 1, 3, 2;
END;
COMMENT ON FUNCTION cache_notify.unwatched_dependencies() IS
'The views and functions (object) that the caller may use and that read something whose changes are not all seen, as domains_of() reports it; error: it could not be looked into, for the reason given. Functions of extensions, IMMUTABLE ones and those of this extension are left out. Looks at every view and function: not for frequent use.';

-- Would a change of the parent's key be told as the same key of the child?
-- Types by whose equality two values may differ as text are left out.
CREATE FUNCTION cache_notify.reference_keeps_key(
		reference oid, parent_keys text[], child_keys text[]) RETURNS boolean
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT cardinality(parent_keys) = cardinality(child_keys) AND bool_and(EXISTS (
		SELECT FROM pg_constraint r
		CROSS JOIN LATERAL unnest(r.confkey, r.conkey) AS pair (parent, child)
		JOIN pg_attribute p ON p.attrelid = r.confrelid AND p.attnum = pair.parent
		JOIN pg_attribute c ON c.attrelid = r.conrelid AND c.attnum = pair.child
		WHERE r.oid = reference AND p.attname::text = k.parent AND c.attname::text = k.child
		AND (p.atttypid = ANY ('{int2,int4,int8}'::regtype[]) AND c.atttypid = ANY ('{int2,int4,int8}'::regtype[])
			OR p.atttypid = ANY ('{text,varchar}'::regtype[]) AND c.atttypid = ANY ('{text,varchar}'::regtype[])
			OR p.atttypid = c.atttypid AND (p.atttypid = ANY ('{uuid,date,bool,oid,name}'::regtype[])
				OR EXISTS (SELECT FROM pg_type t WHERE t.oid = p.atttypid AND t.typtype = 'e')))
		AND NOT EXISTS (SELECT FROM pg_collation l
			WHERE l.oid IN (p.attcollation, c.attcollation) AND NOT l.collisdeterministic)))
	FROM unnest(parent_keys, child_keys) AS k (parent, child);
END;
COMMENT ON FUNCTION cache_notify.reference_keeps_key(oid, text[], text[]) IS
'Whether a foreign key (its OID in pg_constraint) makes the key columns of the referenced table and those of the referencing one read the same: each pair of them belongs to it, in this order, and has types whose equal values have equal texts. NULL if one of them has no key.';

CREATE FUNCTION cache_notify.suggest_cascades(
		OUT source_domain text, OUT target_domain text, OUT keys text, OUT reason text, OUT statement text)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH feeds AS (
		SELECT w.relation, w.domain, nullif(w.keys, '{}') AS keys, w.buckets
		FROM cache_notify.watched_relation w WHERE NOT w.inherited
	), suggestion AS (
		SELECT p.domain AS source, c.domain AS target,
			format('%s references %s (%s)', k.conrelid::regclass, k.confrelid::regclass, k.conname) AS reason,
			NULL::text AS view,
			coalesce(cache_notify.reference_keeps_key(k.oid, p.keys, c.keys) AND c.buckets <= p.buckets, false) AS same
		FROM pg_constraint k
		JOIN feeds p ON p.relation = k.confrelid
		JOIN feeds c ON c.relation = k.conrelid
		WHERE k.contype = 'f' AND k.conparentid = 0
		UNION ALL
		SELECT d.domain, coalesce(l.domain, cache_notify.default_domain(v.oid)),
			format('view %s reads %s', v.oid::regclass, d.source), v.oid::regclass::text, false
		FROM pg_class v
		LEFT JOIN cache_notify.watching_label l ON l.relation = v.oid
		CROSS JOIN LATERAL cache_notify.try_domains_of(
			format('SELECT * FROM %s', v.oid::regclass), current_setting('search_path')) d
		WHERE v.relkind = 'v' AND v.oid >= 16384 AND v.relpersistence <> 't'
		AND v.relnamespace <> 'cache_notify'::regnamespace
		AND has_table_privilege(v.oid, 'SELECT') AND d.certainty = 'exact'
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
		SELECT FROM cache_notify.cascade_rules r
		WHERE r.source_domain = s.source AND r.target_domain = s.target)
	GROUP BY s.source, s.target
	ORDER BY 1, 2;
END;
COMMENT ON FUNCTION cache_notify.suggest_cascades() IS
'Cascade rules that the schema suggests and that are not there: from the domain of a table to that of a table whose foreign key references it, and from the tables that a view reads to the view. keys is same if the key columns of both tables are those of the foreign key, so that a change of one row need not reach every key of the target. statement does it; nothing is ever done by itself. Needs the right to read cascade_rules.';
