-- Serves cascade_closure() and cascade_graph(): what they show is what happens.
-- A failure shows as a domain that moved and is not in the closure, or the other
-- way round, or as a closure that does not end in the time that it has.
\set ECHO none
\i test/include/moved.sql
SELECT * FROM cache_notify.cascade_closure('a');
SELECT cache_notify.cascade_graph();
INSERT INTO cache_notify.cascade_rules VALUES
	('a', 'b', 'invalidate'), ('b', 'c', 'invalidate'), ('c', 'a', 'invalidate'),
	('a', 'c', 'notify'), ('c', 'd', 'notify'), ('d', 'e', 'invalidate'), ('b', 'd', 'notify');
SELECT * FROM cache_notify.cascade_closure('a');
SELECT * FROM cache_notify.cascade_closure('d');
SELECT * FROM cache_notify.cascade_closure('e');
SELECT * FROM cache_notify.cascade_closure('nobody knows');
SELECT * FROM cache_notify.cascade_closure(NULL);
SELECT cache_notify.cascade_graph();
-- Names that Mermaid would take for syntax.
INSERT INTO cache_notify.cascade_rules VALUES
	('say "hi"', '<b>#1;<i>', 'notify'), ('end', 'graph LR', 'invalidate'), ('a]', '%%x', 'notify');
SELECT cache_notify.cascade_graph();

-- Random graphs: each domain in turn is invalidated, and what moved is compared
-- with its closure. The seed is fixed.
CREATE FUNCTION compare(domains int, rules int) RETURNS TABLE (what text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM cache_notify.cascade_rules;
	INSERT INTO cache_notify.cascade_rules
		SELECT DISTINCT ON (s, t) 'g' || s, 'g' || t, CASE WHEN random() < 0.7 THEN 'invalidate' ELSE 'notify' END
		FROM (SELECT floor(random() * domains)::int AS s, floor(random() * domains)::int AS t
			  FROM generate_series(1, rules)) AS pairs
		WHERE s <> t;
	CREATE TEMP TABLE happened (source text, target text, by bigint);
	FOR i IN 0 .. domains - 1 LOOP
		BEGIN
			PERFORM cache_notify.invalidate('g' || i, 'tenant');
			INSERT INTO pg_temp.happened
				SELECT 'g' || i, p.domain, p.n FROM cache_notify.pending_changes() p WHERE p.domain <> 'g' || i;
			RAISE 'undo' USING DETAIL = coalesce(
				(SELECT json_agg(h)::text FROM pg_temp.happened h WHERE source = 'g' || i), '[]');
		EXCEPTION WHEN raise_exception THEN
			DECLARE
				kept text;
			BEGIN
				GET STACKED DIAGNOSTICS kept = PG_EXCEPTION_DETAIL;
				INSERT INTO pg_temp.happened
					SELECT r.source, r.target, r.by FROM json_to_recordset(kept::json) AS r (source text, target text, by bigint);
			END;
		END;
	END LOOP;
	RETURN QUERY
		WITH shown AS (
			SELECT 'g' || i AS source, c.target_domain AS target, c.rule_type, c.depth, c.path
			FROM generate_series(0, domains - 1) AS i, cache_notify.cascade_closure('g' || i) AS c
		)
		SELECT 'moved, not shown', count(*) FROM pg_temp.happened h WHERE NOT EXISTS (
			SELECT FROM shown s WHERE s.source = h.source AND s.target = h.target AND s.rule_type = 'invalidate')
		UNION ALL SELECT 'shown, not moved', count(*) FROM shown s WHERE s.rule_type = 'invalidate' AND NOT EXISTS (
			SELECT FROM pg_temp.happened h WHERE s.source = h.source AND s.target = h.target)
		UNION ALL SELECT 'moved more than once', count(*) FROM pg_temp.happened WHERE by <> 1
		UNION ALL SELECT 'wrong path', count(*) FROM shown WHERE path[1] <> source
			OR path[cardinality(path)] <> target OR depth <> cardinality(path) - 1
			OR EXISTS (SELECT FROM generate_series(1, cardinality(path) - 1) AS k WHERE NOT EXISTS (
				SELECT FROM cache_notify.cascade_rules r WHERE r.source_domain = path[k] AND r.target_domain = path[k + 1]
				AND (r.rule_type = 'invalidate' OR k = cardinality(path) - 1)))
		UNION ALL SELECT 'some of both', least((SELECT count(*) FROM shown WHERE rule_type = 'invalidate'),
			(SELECT count(*) FROM shown WHERE rule_type = 'notify'), 1);
	DROP TABLE pg_temp.happened;
END
$$;
SELECT setseed(0.25) IS NULL;
SELECT what, sum(n) FROM generate_series(1, 20), compare(10, 12) GROUP BY what ORDER BY what;
SELECT what, sum(n) FROM compare(12, 30) GROUP BY what ORDER BY what;
DROP FUNCTION compare;

-- Rules with many paths: forty diamonds in a row have 2^40 of them, and thirty
-- domains that all lead to each other have more.
SET statement_timeout = '120s';
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules
	SELECT 'd' || i, 'd' || i || side FROM generate_series(1, 40) AS i, unnest('{l,r}'::text[]) AS side
	UNION ALL SELECT 'd' || i || side, 'd' || i + 1 FROM generate_series(1, 40) AS i, unnest('{l,r}'::text[]) AS side;
SELECT cache_notify.invalidate('d1');
SELECT count(*), max(n) FROM _cache_notify.counter_total WHERE domain LIKE 'd%';
SELECT count(*), max(depth) FROM cache_notify.cascade_closure('d1');
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules
	SELECT 'm' || i, 'm' || j FROM generate_series(1, 30) AS i, generate_series(1, 30) AS j WHERE i <> j;
SELECT count(*), max(depth) FROM cache_notify.cascade_closure('m1');
RESET statement_timeout;
DELETE FROM cache_notify.cascade_rules;
