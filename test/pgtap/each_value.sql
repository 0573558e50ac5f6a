-- Serves G4, G8 and G9: where there is a list of values, each of them, not the first.
-- A failure shows as a value that is taken for another one.
BEGIN;
SELECT plan(48);

CREATE TABLE t (id int, a int, b int, c int, tenant_id text);

-- What no name could stand for is refused, wherever it stands in the domain.
SELECT throws_like(format('SELECT cache_notify.setup_table_invalidation(''t'', %L)', d), '%cannot be named%', 'domain ' || d)
FROM unnest('{a%2Fb,a%2fb,a%25b,%25,b%2F}'::text[]) AS u (d);
SELECT lives_ok(format('SELECT cache_notify.setup_table_invalidation(''t'', %L)', d), 'domain ' || d)
FROM unnest('{a%b,a%26,100%}'::text[]) AS u (d);
SELECT throws_like(format('SELECT cache_notify.setup_table_invalidation(''t'', %L)', d), '%has a slash%', 'domain ' || d)
FROM unnest('{a/b,/a,a/,/}'::text[]) AS u (d);
SELECT throws_like(format('SELECT cache_notify.setup_table_invalidation(''t'', %L)', d), '%is reserved%', 'domain ' || d)
FROM unnest('{cache_notify/,cache_notify/key/1029/7/t,cache_notify/definition/1,cache_notify/by_hand/t}'::text[]) AS u (d);
SELECT throws_like(format('SELECT cache_notify.setup_table_invalidation(''t'', payload_suffix => %L)', s), '%is not ASCII%', 'suffix ' || s)
FROM unnest('{é,x東}'::text[]) AS u (s);

-- Each way to ask for the time, or for the session, makes a result that cannot be kept.
SELECT results_eq(format('SELECT certainty FROM cache_notify.domains_of(%L)', 'SELECT ' || v), '{volatile}'::text[], v)
FROM unnest('{current_date,current_time,current_time(2),current_timestamp,current_timestamp(2),localtime,localtime(2),localtimestamp,localtimestamp(2)}'::text[]) AS u (v);

SELECT results_eq(format('SELECT certainty FROM cache_notify.domains_of(%L)', 'SELECT ' || v), '{session}'::text[], v)
FROM unnest('{current_role,current_user,user,session_user,current_catalog,current_schema}'::text[]) AS u (v);

-- Each of the columns that count does, also from NULL and to NULL.
SELECT cache_notify.setup_table_invalidation('t', 'counted', columns => '{a,b,c}');
INSERT INTO t VALUES (1);
CREATE FUNCTION moved(sql text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := cache_notify.version('counted', NULL);
BEGIN
	EXECUTE sql;
	RETURN cache_notify.version('counted', NULL) - before;
END $$;
SELECT is(moved(format('UPDATE t SET %I = 1', c)), 1::bigint, c || ' from NULL')
	|| E'\n' || is(moved(format('UPDATE t SET %I = 2', c)), 1::bigint, c || ' changes')
	|| E'\n' || is(moved(format('UPDATE t SET %I = NULL', c)), 1::bigint, c || ' to NULL')
FROM unnest('{a,b,c}'::text[]) AS u (c);

-- Where one of them is gone, every column counts.
ALTER TABLE t DROP COLUMN b, ADD COLUMN d int;
SELECT is(moved(format('UPDATE t SET %I = 1', c)), 1::bigint, c || ' when b is gone') FROM unnest('{a,c,d}'::text[]) AS u (c);

-- A column of another type reads otherwise, in a session that knew it as it was.
CREATE TABLE typed (id int, tenant_id int, n int);
SELECT cache_notify.setup_table_invalidation('typed', keys => '{id}');
INSERT INTO typed VALUES (1, 2, 3);
UPDATE typed SET n = 4;
ALTER TABLE typed ALTER id TYPE text USING 'key ' || id, ALTER tenant_id TYPE text USING 'tenant ' || tenant_id;
CREATE FUNCTION moved_for(tenant text, name text, sql text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := cache_notify.version(name, tenant);
BEGIN
	EXECUTE sql;
	RETURN cache_notify.version(name, tenant) - before;
END $$;
SELECT is(moved_for('tenant 2', n, 'UPDATE typed SET n = n + 1'), 1::bigint, n || ' of another type')
FROM unnest('{typed,typed/key 1}'::text[]) AS u (n);
SELECT is(moved_for('tenant 3', 'typed', 'UPDATE typed SET n = n + 1'), 0::bigint, 'and of nobody else');

SELECT * FROM finish();
ROLLBACK;
