-- Included with options, what setup_table_invalidation() gets beside the table, and
-- tenant, whose tokens are taken. Leaves what happened in the table way.
\set ECHO none
\set SHOW_CONTEXT never
\o /dev/null
SET client_min_messages = warning;
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
CREATE SCHEMA every;
SET search_path = every, public;
CREATE EXTENSION postgres_fdw SCHEMA every;
CREATE ROLE regress_cn_every;
CREATE TABLE way (
	n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind text,			-- of relation
	query text,			-- whose result is cached
	change text,		-- what changes it
	back text,			-- how to undo it, if others need that
	prepare text,		-- what goes before
	changed boolean,	-- did the result?
	moved boolean,		-- did a domain that it depends on, as far as is known?
	token boolean,		-- was there one?
	current boolean,	-- and afterwards?
	others boolean,		-- is another tenant's, afterwards?
	reason text,		-- why there was none
	status text);		-- what v_invalidation_status said of what it reads

CREATE FUNCTION result_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT coalesce(string_agg(row_to_json(r)::text, E''\n'' ORDER BY r::text), '''') FROM (%s) AS r', query) INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN 'error ' || SQLERRM;
END $$;

-- Each change is a transaction of its own.
CREATE PROCEDURE try_all(tenant text) LANGUAGE plpgsql AS $$
DECLARE
	w way;
	before text;
	taken text;
	theirs text;
	sources text[];
	domains text[];
	versions bigint;
BEGIN
	FOR w IN SELECT * FROM way ORDER BY n LOOP
		IF w.prepare IS NOT NULL THEN
			EXECUTE w.prepare;
			COMMIT;
		END IF;
		before := result_of(w.query);
		taken := cache_notify.token_for(w.query, tenant);
		theirs := cache_notify.token_for(w.query, 'another');
		sources := ARRAY(SELECT DISTINCT d.source FROM cache_notify.domains_of(w.query) d);
		domains := ARRAY(SELECT DISTINCT d.domain FROM cache_notify.domains_of(w.query) d WHERE d.domain IS NOT NULL
			UNION SELECT s.domain FROM cache_notify.v_invalidation_status s WHERE s.table_name::text = ANY (sources));
		versions := (SELECT sum(_cache_notify.counted(d)) FROM unnest(domains) AS u (d));
		w.status := coalesce((SELECT string_agg(s.table_name || ': ' || coalesce(s.problem, 'no problem'), '; ' ORDER BY s.table_name::text)
			FROM cache_notify.v_invalidation_status s WHERE s.table_name::text = ANY (sources)), 'not listed');
		IF taken IS NULL THEN
			w.reason := (SELECT string_agg(d.source || ': ' || d.reason, '; ')
				FROM cache_notify.domains_of(w.query) d WHERE d.certainty IN ('unwatched', 'opaque', 'volatile'));
		END IF;
		EXECUTE w.change;
		COMMIT;
		UPDATE way SET changed = before <> result_of(w.query),
			moved = versions <> (SELECT sum(_cache_notify.counted(d)) FROM unnest(domains) AS u (d)), token = taken IS NOT NULL,
			current = cache_notify.is_current(taken),
			others = cache_notify.is_current(theirs), reason = w.reason, status = w.status WHERE n = w.n;
		COMMIT;
		IF w.back IS NOT NULL THEN
			EXECUTE w.back;
			COMMIT;
		END IF;
	END LOOP;
END $$;

CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE point3 AS (x int, y int);
CREATE TYPE item_type AS (id int, x int);
CREATE TABLE main (id int PRIMARY KEY, x int, color color, p point3);
CREATE TABLE plain (id int PRIMARY KEY, x int, main int REFERENCES main ON DELETE CASCADE ON UPDATE CASCADE, color color, p point3,
	twice int GENERATED ALWAYS AS (x * 2) STORED);
CREATE TABLE typed OF item_type;
CREATE SCHEMA cn_every2
	CREATE TABLE gizmo (id int);
CREATE TABLE part (id int, x int) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (1) TO (10);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20);
CREATE TABLE part3 (id int, x int);
CREATE TABLE base (id int, x int);
CREATE TABLE child () INHERITS (base);
CREATE TABLE other (id int, x bigint, y int);
CREATE TABLE remote (id int, x int);
CREATE UNLOGGED TABLE fast (id int, x int);
CREATE TABLE unwatched (id int);
CREATE TABLE lonely (id int);
CREATE SEQUENCE seq;
INSERT INTO main SELECT g, g, 'red', ROW(g, g)::point3 FROM generate_series(1, 20) g;
INSERT INTO plain (id, x, main, color, p) SELECT g, g, g, 'red', ROW(g, g)::point3 FROM generate_series(1, 20) g;
INSERT INTO typed SELECT g, g FROM generate_series(1, 5) g;
INSERT INTO part SELECT g, g FROM generate_series(1, 19) g;
INSERT INTO part3 VALUES (20, 20);
INSERT INTO base VALUES (1, 1);
INSERT INTO child VALUES (2, 2);
INSERT INTO other VALUES (3, 3);
INSERT INTO remote VALUES (1, 1);
CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw;
DO $$ BEGIN
	EXECUTE format('ALTER SERVER loop OPTIONS (ADD dbname %L, ADD port %L, ADD host %L)',
		current_database(), current_setting('port'), split_part(current_setting('unix_socket_directories'), ',', 1));
END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER loop OPTIONS (user 'postgres');
CREATE FOREIGN TABLE far (id int, x int) SERVER loop OPTIONS (schema_name 'every', table_name 'remote');
CREATE MATERIALIZED VIEW mat AS SELECT count(*) AS n FROM plain;
CREATE UNIQUE INDEX ON mat (n);
CREATE FUNCTION f() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT sum(x) FROM every.plain';
CREATE FUNCTION g() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM every.unwatched); END';
CREATE FUNCTION h(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE VIEW v AS SELECT id, x FROM plain;
CREATE VIEW vv AS SELECT * FROM v WHERE id < 100;
CREATE TABLE hidden (id int, x int);
INSERT INTO hidden VALUES (1, 1);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON hidden TO regress_cn_every;
CREATE VIEW v_hidden AS SELECT * FROM hidden;
ALTER VIEW v_hidden OWNER TO regress_cn_every;
GRANT USAGE ON SCHEMA every TO regress_cn_every;
SELECT count(cache_notify.setup_table_invalidation(t::regclass :options)) FROM unnest(
	'{main,plain,typed,part,base,far,fast,hidden,lonely,cn_every2.gizmo}'::text[]) AS t;
SELECT cache_notify.setup_table_invalidation('mat');

INSERT INTO way (kind, query, change, back) VALUES
	('table', 'TABLE plain', 'INSERT INTO every.plain VALUES (101)', NULL),
	('table', 'TABLE plain', 'INSERT INTO every.plain (id) SELECT g FROM generate_series(110, 120) g', NULL),
	('table', 'TABLE plain', 'UPDATE every.plain SET x = 100 WHERE id = 1', NULL),
	('table', 'TABLE plain', 'UPDATE every.plain p SET x = 7 FROM every.main m WHERE m.id = p.id AND m.id = 2', NULL),
	('table', 'TABLE plain', 'DELETE FROM every.plain WHERE id = 3', NULL),
	('table', 'TABLE plain', 'INSERT INTO every.plain VALUES (4, 9) ON CONFLICT (id) DO UPDATE SET x = 99', NULL),
	('table', 'TABLE plain', 'INSERT INTO every.plain VALUES (130, 9) ON CONFLICT DO NOTHING', NULL),
	('table', 'TABLE plain', 'WITH d AS (DELETE FROM every.plain WHERE id = 130) SELECT 1', NULL),
	('table', 'TABLE plain', 'DO $x$ BEGIN UPDATE every.plain SET x = 8 WHERE id = 5; END $x$', NULL),
	('table', 'TABLE plain', 'COPY every.plain (id) FROM PROGRAM ''echo 131''', NULL),
	('table', 'TABLE plain', 'DELETE FROM every.main WHERE id = 6', NULL),
	('table', 'TABLE plain', 'UPDATE every.main SET id = 70 WHERE id = 7', NULL),
	('table', 'SELECT twice FROM plain', 'UPDATE every.plain SET x = 1000 WHERE id = 8', NULL),
	('table', 'TABLE plain', 'ALTER TABLE every.plain ADD COLUMN y int', 'ALTER TABLE every.plain DROP COLUMN y'),
	('table', 'TABLE plain', 'ALTER TABLE every.plain ADD COLUMN y timestamptz DEFAULT clock_timestamp()', NULL),
	('table', 'TABLE plain', 'ALTER TABLE every.plain DROP COLUMN y', NULL),
	('table', 'SELECT x FROM base', 'ALTER TABLE every.base ALTER x TYPE bigint USING -x', NULL),
	('table', 'TABLE plain', 'ALTER TABLE every.plain RENAME main TO m', NULL),
	('table', 'TABLE main', 'ALTER TABLE every.main RENAME TO main2', 'ALTER TABLE every.main2 RENAME TO main'),
	('table', 'TABLE main', 'ALTER TABLE every.main SET SCHEMA cn_every2', 'ALTER TABLE cn_every2.main SET SCHEMA every'),
	('table', 'SELECT color FROM main', 'ALTER TYPE every.color RENAME VALUE ''red'' TO ''pink''', NULL),
	('table', 'SELECT p FROM main', 'ALTER TYPE every.point3 ADD ATTRIBUTE z int', NULL),
	('table', 'SELECT row_to_json(p) FROM main', 'ALTER TYPE every.point3 RENAME ATTRIBUTE z TO zz', NULL),
	('table', 'TABLE main', 'DROP TYPE every.point3 CASCADE', NULL),
	('typed table', 'TABLE typed', 'ALTER TYPE every.item_type ALTER ATTRIBUTE x TYPE numeric(8,2) CASCADE', NULL),
	('typed table', 'TABLE typed', 'ALTER TYPE every.item_type RENAME ATTRIBUTE x TO xx CASCADE', NULL),
	('table', 'SELECT x FROM hidden', 'ALTER TABLE every.hidden DISABLE TRIGGER ALL; UPDATE every.hidden SET x = 2; ALTER TABLE every.hidden ENABLE TRIGGER ALL', NULL),
	('row security', 'TABLE v_hidden', 'CREATE POLICY p ON every.hidden USING (x > 0)', NULL),
	('row security', 'TABLE v_hidden', 'ALTER POLICY p ON every.hidden USING (x < 0)', NULL),
	('row security', 'TABLE v_hidden', 'ALTER TABLE every.hidden DISABLE ROW LEVEL SECURITY', 'ALTER TABLE every.hidden ENABLE ROW LEVEL SECURITY; ALTER POLICY p ON every.hidden USING (true)'),
	('row security', 'TABLE v_hidden', 'DROP POLICY p ON every.hidden', NULL),
	('row security', 'TABLE v_hidden', 'ALTER TABLE every.hidden OWNER TO regress_cn_every', 'ALTER TABLE every.hidden OWNER TO postgres'),
	('partitioned', 'TABLE part', 'INSERT INTO every.part VALUES (9, 9)', NULL),
	('partitioned', 'TABLE part', 'UPDATE every.part SET id = 15 WHERE id = 5', NULL),
	('partitioned', 'TABLE part', 'INSERT INTO every.part2 VALUES (19, 9)', NULL),
	('partitioned', 'TABLE part', 'TRUNCATE every.part2', NULL),
	('partitioned', 'TABLE part2', 'INSERT INTO every.part VALUES (12, 9)', NULL),
	('partitioned', 'TABLE part', 'ALTER TABLE every.part ATTACH PARTITION every.part3 FOR VALUES FROM (20) TO (30)', NULL),
	('partitioned', 'TABLE part', 'UPDATE every.part3 SET x = 5', NULL),
	('partitioned', 'TABLE part', 'TRUNCATE every.part3', 'INSERT INTO every.part3 VALUES (21, 1)'),
	('partitioned', 'TABLE part', 'ALTER TABLE every.part DETACH PARTITION every.part3', NULL),
	('partitioned', 'TABLE part', 'CREATE TABLE every.part4 PARTITION OF every.part FOR VALUES FROM (40) TO (50); INSERT INTO every.part4 VALUES (41)', NULL),
	('partitioned', 'TABLE part', 'TRUNCATE every.part4', 'INSERT INTO every.part4 VALUES (42)'),
	('partitioned', 'TABLE part', 'DROP TABLE every.part4', NULL),
	('partitioned', 'TABLE part', 'ALTER TABLE every.part RENAME x TO xx', NULL),
	('partitioned', 'TABLE part', 'TRUNCATE every.part', NULL),
	('inheritance', 'TABLE child', 'ALTER TABLE every.base ADD y int', NULL),
	('inheritance', 'TABLE base', 'UPDATE every.child SET x = 5', NULL),
	('inheritance', 'TABLE base', 'ALTER TABLE every.other INHERIT every.base', NULL),
	('inheritance', 'TABLE base', 'DELETE FROM every.other', 'INSERT INTO every.other VALUES (3)'),
	('inheritance', 'TABLE base', 'ALTER TABLE every.other NO INHERIT every.base', NULL),
	('inheritance', 'TABLE base', 'CREATE TABLE every.child2 () INHERITS (every.base); INSERT INTO every.child2 VALUES (7)', NULL),
	('inheritance', 'TABLE base', 'TRUNCATE every.child2', 'INSERT INTO every.child2 VALUES (8)'),
	('inheritance', 'TABLE base', 'DROP TABLE every.child2', NULL),
	('materialized', 'TABLE mat', 'REFRESH MATERIALIZED VIEW every.mat', NULL),
	('materialized', 'TABLE mat', 'INSERT INTO every.plain VALUES (140); REFRESH MATERIALIZED VIEW CONCURRENTLY every.mat', NULL),
	('materialized', 'TABLE mat', 'REFRESH MATERIALIZED VIEW every.mat WITH NO DATA', 'REFRESH MATERIALIZED VIEW every.mat'),
	('materialized', 'TABLE mat', 'ALTER MATERIALIZED VIEW every.mat RENAME n TO m', NULL),
	('materialized', 'TABLE mat', 'ALTER MATERIALIZED VIEW every.mat RENAME TO mat2', 'ALTER MATERIALIZED VIEW every.mat2 RENAME TO mat'),
	('materialized', 'TABLE mat', 'DROP MATERIALIZED VIEW every.mat', NULL),
	('view', 'TABLE vv', 'UPDATE every.plain SET x = 77 WHERE id = 9', NULL),
	('view', 'TABLE vv', 'CREATE OR REPLACE VIEW every.v AS SELECT id, x + 1 AS x FROM every.plain', NULL),
	('view', 'TABLE vv', 'ALTER VIEW every.vv RENAME x TO xx', NULL),
	('view', 'TABLE vv', 'ALTER VIEW every.vv RENAME TO vvv', 'ALTER VIEW every.vvv RENAME TO vv'),
	('view', 'TABLE vv', 'DROP VIEW every.vv', NULL),
	('function', 'SELECT f()', 'UPDATE every.plain SET x = 78 WHERE id = 9', NULL),
	('function', 'SELECT f()', 'CREATE OR REPLACE FUNCTION every.f() RETURNS bigint STABLE LANGUAGE sql AS ''SELECT -1''', NULL),
	('function', 'SELECT h(1)', 'CREATE OR REPLACE FUNCTION every.h(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS ''BEGIN RETURN 2; END''', NULL),
	('function', 'SELECT h(1)', 'DROP FUNCTION every.h(int)', NULL),
	('table', 'TABLE typed', 'DROP TABLE every.typed', NULL),
	('table', 'SELECT id FROM plain', 'TRUNCATE every.plain', NULL),
	('table', 'SELECT id FROM main', 'DROP TABLE every.main CASCADE', NULL),
	('schema', 'TABLE cn_every2.gizmo', 'ALTER SCHEMA cn_every2 RENAME TO cn_every3', 'ALTER SCHEMA cn_every3 RENAME TO cn_every2'),
	-- what cannot be seen has no token
	('foreign', 'TABLE far', 'INSERT INTO every.far VALUES (2, 2)', NULL),
	('foreign', 'TABLE far', 'INSERT INTO every.remote VALUES (3, 3)', NULL),
	('unlogged', 'TABLE fast', 'INSERT INTO every.fast VALUES (3, 3)', NULL),
	('unwatched', 'TABLE unwatched', 'INSERT INTO every.unwatched VALUES (1)', NULL),
	('procedural', 'SELECT g()', 'INSERT INTO every.unwatched VALUES (2)', NULL),
	('sequence', 'SELECT last_value, is_called FROM seq', 'SELECT nextval(''every.seq'')', NULL),
	('catalog', 'SELECT count(*) FROM pg_class', 'CREATE TABLE every.another (a int)', NULL),
	('time', 'SELECT clock_timestamp()', 'SELECT 1', NULL),
	('temporary', 'SELECT * FROM mine', 'INSERT INTO pg_temp.mine VALUES (1)', NULL);
INSERT INTO way (kind, query, change, prepare, back) VALUES
	('disabled', 'TABLE lonely', 'INSERT INTO every.lonely VALUES (1)',
		'ALTER TABLE every.lonely DISABLE TRIGGER ALL', 'ALTER TABLE every.lonely ENABLE TRIGGER ALL'),
	('enabled', 'TABLE lonely', 'INSERT INTO every.lonely VALUES (2)', NULL, NULL),
	('replica', 'TABLE lonely', 'INSERT INTO every.lonely VALUES (3)',
		'ALTER TABLE every.lonely ENABLE REPLICA TRIGGER cache_notify_statement_lonely', NULL),
	('dropped', 'TABLE lonely', 'INSERT INTO every.lonely VALUES (4)',
		'SELECT cache_notify.remove_table_invalidation(''every.lonely'')', NULL);
CREATE TEMP TABLE mine (a int);
CALL try_all(:tenant);
\o
\set ECHO all
