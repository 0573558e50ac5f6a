-- ------------------------------------------- what a query depends on

CREATE FUNCTION _cache_notify.query_dependencies(
		query text, every_role boolean, owner oid,
		OUT kind text, OUT classid oid, OUT objid oid, OUT columns int2[], OUT reason text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_query_dependencies'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.query_dependencies(text, boolean, oid) IS
'What a query reads, without saying whether it is watched: see domains_of(). every_role: with what the row security policies of every role read, not only those of the caller, who need not be allowed to run the query either. owner: the role that has written the query, whose rights the caller must have, as parsing it runs code; 0: the caller''s own. columns: those that it reads of a relation; NULL if it may be any.';

CREATE FUNCTION _cache_notify.builtin_functions(
		OUT function oid, OUT signature text, OUT mark text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_builtin_functions'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.builtin_functions() IS
'The functions of the server, of all its versions, that are not IMMUTABLE and of which domains_of() knows what their results depend on. All others count as functions that cannot be looked into.';

CREATE FUNCTION _cache_notify.definition_domain(object oid) RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_definition_domain'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.definition_domain(oid) IS
'The domain that is bumped when this view or function is redefined, renamed or dropped: one of 1,024 that all share. It is internal: tokens prove it, cascade rules can start from it, and listeners are not told. NULL if object is.';

CREATE FUNCTION _cache_notify.definition_name_domain(class oid, object oid) RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_definition_name_domain'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.definition_name_domain(oid, oid) IS
'The same by the object''s name, which stays what it is in a dump: what the set-up of views depends on. NULL if an argument is.';

CREATE FUNCTION _cache_notify.odd_members(relation oid, domain text) RETURNS oid[]
	AS 'MODULE_PATHNAME', 'cache_notify_odd_members'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION _cache_notify.odd_members(oid, text) IS
'The partitions and child tables of a relation that are not watched for the domain in just the way that it is itself: these may have a problem of their own.';

-- The ways in which a relation is watched, for what reads these columns of it.
-- Planning this takes longer than running it, so the plan is kept.
CREATE FUNCTION _cache_notify.domains_of_relation(
		relation oid, columns int2[],
		OUT domain text, OUT usable boolean, OUT reason text, OUT per_tenant boolean)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
	SET jit = off
	SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT w.domain,
		w.enabled AND w.problem IS NULL AND gap.problem IS NULL AND unseen.reason IS NULL AND v.known,
		coalesce(w.problem, gap.problem, unseen.reason,
			CASE WHEN NOT v.known THEN format('domain "%s" is not known: see cache_notify.v_invalidation_status', w.domain) END),
		w.per_tenant
	FROM _cache_notify.watched_relation w
	CROSS JOIN LATERAL cache_notify.versions(NULL, cache_notify.key_name(w.domain)) AS v
	LEFT JOIN LATERAL (
		SELECT format('%s: %s', f.relid::regclass, c.problem) AS problem
		FROM unnest(_cache_notify.odd_members($1, w.domain)) AS f (relid)
		CROSS JOIN LATERAL (SELECT * FROM _cache_notify.watched_relation c WHERE c.relation = f.relid OFFSET 0) c
		WHERE c.domain = w.domain AND c.problem IS NOT NULL LIMIT 1) AS gap ON true
	LEFT JOIN LATERAL (
		SELECT 'UPDATE of some columns that it reads does not count'::text AS reason
		WHERE w.columns <> '{}' AND ($2 IS NULL OR EXISTS (
			SELECT FROM pg_attribute a WHERE a.attrelid = w.relation
			AND a.attnum = ANY ($2) AND a.attname::text <> ALL (w.columns)))) AS unseen ON true
	WHERE w.relation = $1 AND w.relkind <> 'v';
END
$$;
COMMENT ON FUNCTION _cache_notify.domains_of_relation(oid, int2[]) IS
'The domains that a relation feeds. usable: every change of these columns (NULL: of any) is seen; otherwise reason says why not. per_tenant: changes may concern one tenant only.';

-- No SET search_path: the query is for the caller's.  The body is kept parsed,
-- so no search_path can change what it means.
CREATE FUNCTION _cache_notify.domains_of_query(
		query text, every_role boolean, owner oid,
		OUT domain text, OUT source text, OUT certainty text, OUT reason text, OUT per_tenant boolean)
	RETURNS SETOF record
	LANGUAGE sql STABLE
BEGIN ATOMIC
	WITH dependency AS (
		SELECT DISTINCT d.kind, d.classid, d.objid, d.columns, d.reason
		FROM _cache_notify.query_dependencies($1, $2, $3) d
	), relation AS (
		SELECT d.objid, r.domain, r.usable, r.per_tenant, coalesce(r.reason,
			CASE WHEN d.objid < 16384 THEN 'system catalog'
				WHEN c.relpersistence = 't' THEN 'temporary table'
				WHEN c.relkind = 'S' THEN 'sequence'
				WHEN r.domain IS NULL THEN 'not watched' END) AS reason,
			bool_or(r.usable) OVER (PARTITION BY d.objid, d.columns) AS covered
		FROM dependency d
		JOIN pg_class c ON c.oid = d.objid
		LEFT JOIN LATERAL _cache_notify.domains_of_relation(d.objid, d.columns) r ON true
		WHERE d.kind = 'relation'
	)
	SELECT r.domain, r.objid::regclass::text, 'exact'::text, NULL::text, r.per_tenant
	FROM relation r WHERE r.usable
	UNION
	SELECT NULL, r.objid::regclass::text, 'unwatched', r.reason, NULL
	FROM relation r WHERE r.covered IS NOT TRUE
	UNION
	SELECT CASE d.kind WHEN 'definition' THEN _cache_notify.definition_domain(d.objid) END,
		CASE d.classid WHEN 'pg_class'::regclass THEN d.objid::regclass::text
			WHEN 'pg_proc'::regclass THEN d.objid::regprocedure::text
			WHEN 'pg_type'::regclass THEN format_type(d.objid, NULL)
			WHEN 'pg_operator'::regclass THEN d.objid::regoperator::text
			WHEN 'pg_collation'::regclass THEN d.objid::regcollation::text
			WHEN 'pg_opfamily'::regclass THEN (SELECT f.opfname::text FROM pg_opfamily f WHERE f.oid = d.objid)
			WHEN 'pg_authid'::regclass THEN 'roles'
			WHEN 'pg_ts_config'::regclass THEN 'text search' END,
		d.kind, d.reason, NULL
	FROM dependency d WHERE d.kind <> 'relation'
	ORDER BY 3, 2, 1;
END;
COMMENT ON FUNCTION _cache_notify.domains_of_query(text, boolean, oid) IS
'What domains_of() returns; every_role, owner: see query_dependencies().';

-- ------------------------------------------------------------------- views

CREATE FUNCTION _cache_notify.check_view(view regclass) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	IF view IS NULL OR NOT EXISTS (SELECT FROM pg_class WHERE oid = view AND relkind = 'v') THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = coalesce(view::text || ' is not a view', 'view must not be null'),
			HINT = 'Tables and materialized views are watched with setup_table_invalidation().';
	END IF;
END
$$;
COMMENT ON FUNCTION _cache_notify.check_view(regclass) IS
'Error unless it is a view.';

-- What a view depends on: its functions are looked into with the caller's
-- search_path, as they will run with that of whoever reads the view.
CREATE FUNCTION _cache_notify.dependencies_of_view(
		view regclass, path text,
		OUT domain text, OUT relation oid, OUT source text, OUT certainty text, OUT reason text)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	query text := format('SELECT * FROM %s', view);
	owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = view);
BEGIN
	PERFORM set_config('search_path', path, true);
	RETURN QUERY
		SELECT NULL::pg_catalog.text, q.objid, NULL::pg_catalog.text, q.kind, NULL::pg_catalog.text
		FROM _cache_notify.query_dependencies(query, true, owner) AS q
		WHERE q.kind OPERATOR(pg_catalog.=) 'relation'::pg_catalog.text
		UNION
		SELECT _cache_notify.definition_name_domain(q.classid, q.objid), NULL, NULL::pg_catalog.text, q.kind, NULL::pg_catalog.text
		FROM _cache_notify.query_dependencies(query, true, owner) AS q
		WHERE q.kind OPERATOR(pg_catalog.=) 'definition'::pg_catalog.text
		-- its own definition bumps it by the label
		AND q.objid OPERATOR(pg_catalog.<>) view::pg_catalog.oid
		UNION
		SELECT d.domain, NULL, d.source, d.certainty, d.reason
		FROM _cache_notify.domains_of_query(query, true, owner) AS d
		WHERE d.certainty OPERATOR(pg_catalog.<>) 'definition'::pg_catalog.text;
END
$$;
COMMENT ON FUNCTION _cache_notify.dependencies_of_view(regclass, text) IS
'What domains_of() says of a view under another search_path, whichever role reads it, and the relations (certainty relation) that it reads. For roles that have the rights of its owner, as whom it is looked into.';

CREATE FUNCTION _cache_notify.mixes_tenants(view regclass, relations oid[]) RETURNS boolean
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT count(w.tenant_column) > 0 AND count(w.tenant_setting) = 0 AND count(a.attname) = 0
	FROM _cache_notify.watched_relation w
	LEFT JOIN pg_attribute a ON a.attrelid = view AND a.attname::text = w.tenant_column AND a.attnum > 0
	WHERE w.relation = ANY (relations);
END;
COMMENT ON FUNCTION _cache_notify.mixes_tenants(regclass, oid[]) IS
'Whether a view that reads these relations has rows of several tenants and does not say whose they are: it is one result for all of them.';

CREATE FUNCTION _cache_notify.setup_view(
	view regclass, domain_name text, channel text, payload text, path text)
	RETURNS text
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
DECLARE
	old _cache_notify.watch_options := (SELECT l.options FROM _cache_notify.watching_label l WHERE l.relation = view);
	old_domain text := old.domain_name;
	sources text[];
	all_tenants boolean;
	arguments text[];
	dependency record;
BEGIN
	PERFORM _cache_notify.check_view(view);
	domain_name := coalesce(domain_name, old_domain, _cache_notify.default_domain(view));
	FOR dependency IN
		SELECT DISTINCT d.relation::regclass AS relation
		FROM _cache_notify.dependencies_of_view(view, path) d
		JOIN pg_class c ON c.oid = d.relation
		WHERE c.relkind IN ('r', 'p', 'm', 'f')
		AND c.oid >= 16384 AND c.relpersistence <> 't'
		AND NOT EXISTS (SELECT FROM _cache_notify.watched_relation w WHERE w.relation = c.oid)
		ORDER BY 1
	LOOP
		PERFORM cache_notify.setup_table_invalidation(dependency.relation);
	END LOOP;
	FOR dependency IN
		SELECT d.source, d.certainty, d.reason FROM _cache_notify.dependencies_of_view(view, path) d
		WHERE d.certainty IN ('unwatched', 'opaque', 'volatile')
		ORDER BY d.source COLLATE "C", d.reason COLLATE "C"
	LOOP
		RAISE WARNING USING
			MESSAGE = format('some changes of view %s are not seen, because of %s: %s',
				view, coalesce(dependency.source, 'an expression'), dependency.reason),
			HINT = 'See cache_notify.domains_of().';
	END LOOP;

	sources := ARRAY(SELECT DISTINCT d.domain FROM _cache_notify.dependencies_of_view(view, path) d
		WHERE d.domain <> domain_name ORDER BY 1);
	all_tenants := _cache_notify.mixes_tenants(view,
		ARRAY(SELECT d.relation FROM _cache_notify.dependencies_of_view(view, path) d));
	arguments := _cache_notify.option('domain_name', domain_name)
		|| _cache_notify.option('channel', channel)
		|| _cache_notify.option('payload', payload)
		|| _cache_notify.option('sources', VARIADIC sources)
		|| CASE WHEN all_tenants THEN _cache_notify.option('all_tenants', 'true') END
		|| CASE WHEN octet_length(path) <= 1000 THEN _cache_notify.option('search_path', path) END;
	PERFORM _cache_notify.check_options(view, _cache_notify.watch_options(arguments, view));
	PERFORM _cache_notify.label_relation(view, arguments);
	PERFORM _cache_notify.note_name(view, domain_name);
	PERFORM _cache_notify.note_view(view, domain_name, arguments::text);
	IF old_domain <> domain_name THEN
		PERFORM _cache_notify.note_view(view, old_domain, NULL);
	END IF;
	PERFORM _cache_notify.note_rules_of(view, domain_name, CASE WHEN old_domain = domain_name THEN old.rules ELSE '{}' END);
	PERFORM _cache_notify.configuration_changed();
	RETURN domain_name;
END
$$;
COMMENT ON FUNCTION _cache_notify.setup_view(regclass, text, text, text, text) IS
'setup_view_invalidation() with the search_path that the functions in the view are looked into with.';

-- ----------------------------------------------------------- looking for gaps

-- domains_of() for a query that may fail, under another search_path, as its owner.
CREATE FUNCTION _cache_notify.try_domains_of(
		query text, path text, owner oid,
		OUT domain text, OUT source text, OUT certainty text, OUT reason text)
	RETURNS SETOF record
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
AS $$
BEGIN
	PERFORM set_config('search_path', path, true);
	RETURN QUERY SELECT d.domain, d.source, d.certainty, d.reason
		FROM _cache_notify.domains_of_query(query, false, owner) AS d;
EXCEPTION WHEN OTHERS THEN
	RETURN QUERY SELECT NULL::pg_catalog.text, NULL::pg_catalog.text, 'error'::pg_catalog.text,
		SQLERRM::pg_catalog.text;
END
$$;
COMMENT ON FUNCTION _cache_notify.try_domains_of(text, text, oid) IS
'domains_of() with an error as a row (certainty error); owner: see query_dependencies().';

-- Would a change of the parent's key be told as the same key of the child?
CREATE FUNCTION _cache_notify.reference_keeps_key(
		reference oid, parent_keys text[], child_keys text[]) RETURNS boolean
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	SET jit = off
BEGIN ATOMIC
	SELECT cardinality(parent_keys) = cardinality(child_keys) AND bool_and(EXISTS (
		SELECT FROM pg_constraint r
		CROSS JOIN LATERAL unnest(r.confkey, r.conkey) AS pair (parent, child)
		JOIN pg_attribute p ON p.attrelid = r.confrelid AND p.attnum = pair.parent
		JOIN pg_attribute c ON c.attrelid = r.conrelid AND c.attnum = pair.child
		WHERE r.oid = reference AND p.attname::text = k.parent AND c.attname::text = k.child
		AND _cache_notify.naming_type(p.atttypid, p.attcollation)
			= _cache_notify.naming_type(c.atttypid, c.attcollation)))
	FROM unnest(parent_keys, child_keys) AS k (parent, child);
END;
COMMENT ON FUNCTION _cache_notify.reference_keeps_key(oid, text[], text[]) IS
'Whether a foreign key (its OID in pg_constraint) makes the key columns of the referenced table and those of the referencing one read the same: each pair of them belongs to it, in this order, and has types whose equal values have equal names. NULL if one of them has no key.';
