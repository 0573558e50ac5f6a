-- What changes no result moves nothing: rows that are written back as they were,
-- whatever has become of their bytes.
SET client_min_messages = warning;
CREATE SCHEMA same;
SET search_path = same;
CREATE TABLE doc (id int PRIMARY KEY, body text, more text, n int);
SELECT cache_notify.setup_table_invalidation('doc');
CREATE FUNCTION long(seed text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT string_agg(md5(seed || i), '') FROM generate_series(1, 300) AS i $$;
CREATE TABLE result (n serial, change text, inline bool, bumps bigint);
-- Each change twice, with rows noted inline and without; both start from the same rows.
CREATE PROCEDURE try(change text) LANGUAGE plpgsql AS $$
DECLARE
	before bigint;
	i bool;
BEGIN
	FOR i IN SELECT * FROM (VALUES (true), (false)) AS v LOOP
		PERFORM set_config('cache_notify.inline_triggers', i::text, false);
		before := cache_notify.version('doc');
		EXECUTE change;
		INSERT INTO result (change, inline, bumps) VALUES (change, i, cache_notify.version('doc') - before);
	END LOOP;
END $$;
INSERT INTO doc SELECT i, same.long('a' || i), repeat('x', 5000), i FROM generate_series(1, 3) AS i;
SELECT pg_column_size(body) > 8000 AS out_of_line, pg_column_size(more) < 1000 AS compressed FROM doc WHERE id = 1;

-- the full save of an object: values come from the client, as they were or not
CALL try('UPDATE doc SET body = same.long(''a'' || id), more = repeat(''x'', 5000), n = n');
CALL try('UPDATE doc SET body = body, n = n');
CALL try('UPDATE doc SET body = body || '''', more = more || ''''');
CALL try('UPDATE doc SET n = n + 1');
CALL try('UPDATE doc SET body = same.long(''a'' || id), n = n + 1 WHERE id = 2');
CALL try('UPDATE doc SET body = same.long(''a'' || id) || '' '' || clock_timestamp() WHERE id = 2');
CALL try('UPDATE doc SET body = overlay(body PLACING md5(clock_timestamp()::text) FROM 9000) WHERE id = 3');
CALL try('UPDATE doc SET body = CASE WHEN body IS NULL THEN same.long(''a'' || id) END WHERE id = 2');
CALL try('INSERT INTO doc VALUES (1, same.long(''a1''), repeat(''x'', 5000), 3) ON CONFLICT (id) DO UPDATE SET body = excluded.body, more = excluded.more, n = excluded.n');

-- columns that came or went since the row was written
ALTER TABLE doc ADD COLUMN added int;
CALL try('UPDATE doc SET n = n WHERE id = 1');
CALL try('UPDATE doc SET body = body');
ALTER TABLE doc ADD COLUMN filled text DEFAULT 'here';
CALL try('UPDATE doc SET n = n WHERE id = 1');
ALTER TABLE doc ADD COLUMN another text DEFAULT 'there';
CALL try('UPDATE doc SET another = ''there'' WHERE id = 2');
CALL try('UPDATE doc SET another = another || ''x'' WHERE id = 2');
ALTER TABLE doc DROP COLUMN filled, DROP COLUMN added;
CALL try('UPDATE doc SET n = n WHERE id = 1');
CALL try('UPDATE doc SET n = NULL WHERE id = 2');
CALL try('UPDATE doc SET n = coalesce(n, 0) + 1 WHERE id = 2');
-- the second of a pair finds the row as the first has left it
SELECT change, string_agg(bumps::text, ' ' ORDER BY n) AS inline_and_not FROM result GROUP BY change, (n - 1) / 2 ORDER BY min(n);
RESET cache_notify.inline_triggers;
DROP SCHEMA same CASCADE;
