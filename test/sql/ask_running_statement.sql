-- Within the statement that changes a domain nobody gets a token of it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA running;
SET search_path = running;
CREATE TABLE price (id int PRIMARY KEY, tenant_id text, amount int);
CREATE TABLE tag (id int PRIMARY KEY, price int REFERENCES price ON DELETE CASCADE, name text);
CREATE TABLE part (id int, x int) PARTITION BY LIST (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1, 2, 3);
CREATE TABLE plain (id int);
INSERT INTO price VALUES (1, 'acme', 10), (2, 'acme', 20);
INSERT INTO tag VALUES (1, 1, 'one'), (2, 2, 'two');
SELECT cache_notify.setup_table_invalidation(t) FROM unnest('{price,part1}'::regclass[]) AS t;
SELECT cache_notify.setup_table_invalidation('tag', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('plain', granularity => 'statement');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES ('price', 'shop');

CREATE TABLE before AS SELECT d, cache_notify.token('acme', d) AS t FROM unnest('{price,tag,tag/1,shop,part1,plain}'::text[]) AS d;

-- What a cache would be told: has the domain a token, is the one from before current? x: neither
CREATE FUNCTION ask(domain text) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN cache_notify.token('acme', domain) IS NULL AND cache_notify.etag('acme', domain) IS NULL
			AND (SELECT v.version FROM cache_notify.versions('acme', domain) AS v) IS NULL
			AND NOT cache_notify.is_current(t) AND NOT cache_notify.matches(cache_notify.etag('acme', domain), 'acme', domain)
			AND cache_notify.stale(ARRAY[t]) <> '{}' THEN 'x'
		WHEN cache_notify.token('acme', domain) = t AND cache_notify.is_current(t)
			AND cache_notify.stale(ARRAY[t]) = '{}' THEN 'as before'
		ELSE 'both' END
	FROM running.before WHERE d = domain $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE INFO '% % %: price %, tag %, part1 %', TG_WHEN, TG_OP, TG_TABLE_NAME, running.ask('price'), running.ask('tag'), running.ask('part1');
	RETURN NEW;
END $$;
\i test/include/running_statement.sql
SET cache_notify.inline_triggers = off;
\i test/include/running_statement.sql
RESET cache_notify.inline_triggers;
-- A session whose first question comes from within such a statement
\c -
SET search_path = running;
UPDATE price SET amount = 1 WHERE id = 1 RETURNING ask('price') AS price, ask('part1') AS any;
SELECT ask('part1');
\c -
SELECT running.ask('part1');
DELETE FROM cache_notify.cascade_rules;
SET client_min_messages = warning;
DROP SCHEMA running CASCADE;
