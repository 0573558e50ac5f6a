-- ------------------------------------------- what a query depends on

CREATE FUNCTION _cache_notify.query_dependencies(
		query text,
		OUT kind text, OUT classid oid, OUT objid oid, OUT columns int2[], OUT reason text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'cache_notify_query_dependencies'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION _cache_notify.query_dependencies(text) IS
'What a query reads, without saying whether it is watched: see domains_of(). columns: those that it reads of a relation; NULL if it may be any.';

CREATE FUNCTION _cache_notify.definition_domain(object oid) RETURNS text
	AS 'MODULE_PATHNAME', 'cache_notify_definition_domain'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION _cache_notify.definition_domain(oid) IS
'The domain that is bumped when this view or function is redefined, renamed or dropped: one of 1,024 that all share. It is internal: tokens prove it, cascade rules can start from it, and listeners are not told. NULL if object is.';

-- The ways in which a relation is watched, for what reads these columns of it.
-- Planning this takes longer than running it, so the plan is kept.
CREATE FUNCTION _cache_notify.domains_of_relation(
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
	FROM _cache_notify.watched_relation w
	LEFT JOIN LATERAL (
		WITH RECURSIVE family (relid) AS (
			SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = $1
			UNION
			SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.relid)
		SELECT format('%s: %s', f.relid::regclass, c.problem) AS problem
		FROM family f JOIN _cache_notify.watched_relation c ON c.relation = f.relid
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

-- ------------------------------------------------------------------- views

CREATE FUNCTION _cache_notify.check_view(view regclass) RETURNS void
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
COMMENT ON FUNCTION _cache_notify.check_view(regclass) IS
'Error unless it is a view.';

CREATE FUNCTION _cache_notify.adjust_rules(domain_name text, old text[], new text[]) RETURNS void
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
COMMENT ON FUNCTION _cache_notify.adjust_rules(text, text[], text[]) IS
'Makes a domain depend on the domains in new, and no longer on those in old that new has not.';

-- ----------------------------------------------------------- looking for gaps

-- domains_of() for a query that may fail, under another search_path.
CREATE FUNCTION _cache_notify.try_domains_of(
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
COMMENT ON FUNCTION _cache_notify.try_domains_of(text, text) IS
'domains_of() with an error as a row (certainty error).';

-- Would a change of the parent's key be told as the same key of the child?
-- Types by whose equality two values may differ as text are left out.
CREATE FUNCTION _cache_notify.reference_keeps_key(
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
COMMENT ON FUNCTION _cache_notify.reference_keeps_key(oid, text[], text[]) IS
'Whether a foreign key (its OID in pg_constraint) makes the key columns of the referenced table and those of the referencing one read the same: each pair of them belongs to it, in this order, and has types whose equal values have equal texts. NULL if one of them has no key.';
