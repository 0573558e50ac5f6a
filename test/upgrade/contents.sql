-- Everything that the extension consists of, as text, to compare an upgraded one with a
-- new one.
WITH member AS (
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'cache_notify'
), relation AS (
	SELECT c.* FROM pg_class c JOIN member ON classid = 'pg_class'::regclass AND objid = c.oid
), line (what) AS (
	SELECT concat_ws(' ', pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::name))
	FROM member
	UNION ALL
	SELECT concat_ws(' ', 'function', CASE WHEN prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END, proacl)
	FROM pg_proc p JOIN member ON classid = 'pg_proc'::regclass AND objid = p.oid
	UNION ALL
	SELECT concat_ws(' ', 'relation', oid::regclass, relkind, relpersistence, reloptions, relacl,
		CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END)
	FROM relation
	UNION ALL
	SELECT concat_ws(' ', 'column', attrelid::regclass, attnum, attname, format_type(atttypid, atttypmod),
		attcollation::regcollation, attnotnull, attacl, pg_get_expr(adbin, adrelid),
		col_description(attrelid, attnum))
	FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	WHERE attrelid IN (SELECT oid FROM relation) AND attnum > 0 AND NOT attisdropped
	UNION ALL
	SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class'))
	FROM pg_index WHERE indrelid IN (SELECT oid FROM relation)
	UNION ALL
	SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid),
		obj_description(oid, 'pg_constraint'))
	FROM pg_constraint WHERE conrelid IN (SELECT oid FROM relation)
	UNION ALL
	SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(oid), tgenabled, obj_description(oid, 'pg_trigger'))
	FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relation) AND NOT tgisinternal
	UNION ALL
	SELECT concat_ws(' ', 'event trigger', evtname, evtevent, evtfoid::regprocedure, evttags, evtenabled)
	FROM pg_event_trigger JOIN member ON classid = 'pg_event_trigger'::regclass AND objid = pg_event_trigger.oid
	UNION ALL
	SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace WHERE nspname IN ('cache_notify', '_cache_notify')
	UNION ALL
	SELECT concat_ws(' ', 'dumped', u.config::regclass, u.condition)
	FROM pg_extension, unnest(extconfig, extcondition) AS u (config, condition)
	WHERE extname = 'cache_notify'
)
SELECT what FROM line ORDER BY what COLLATE "C";
