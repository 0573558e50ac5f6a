-- What nobody feeds has no version and no token (G8), and its tokens are stale.
\set ECHO none
\i test/include/moved.sql
\set ECHO none
-- Whether a domain is known, as all functions say.
CREATE FUNCTION pg_temp.told(domain text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s%s', CASE WHEN v.known THEN 'known' ELSE 'unknown' END,
		CASE WHEN v.known <> (cache_notify.token('a', domain) IS NOT NULL)
			OR v.known <> (cache_notify.token(NULL, domain) IS NOT NULL)
			OR v.known <> (cache_notify.etag('a', domain) IS NOT NULL)
			OR v.known <> (cache_notify.version(domain, 'a') IS NOT NULL)
			OR v.known <> (cache_notify.version(domain) IS NOT NULL)
			OR v.known <> (v.version IS NOT NULL) OR v.known <> (v.shared_version IS NOT NULL)
			OR v.known <> cache_notify.matches('*', 'a', domain)
			THEN ' CONTRADICTED' END)
	FROM cache_notify.versions('a', domain) AS v
$$;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE part (LIKE item);
\set ECHO all
-- A table; a name that is mistyped, or a tenant's.
SELECT cache_notify.setup_table_invalidation('item', keys => '{id}');
SELECT pg_temp.told('item'), pg_temp.told('item/1'), pg_temp.told('itme'), pg_temp.told('itme/1'), pg_temp.told('a');
SELECT cache_notify.token('item', 'a') AS swapped, cache_notify.token('a', 'item', 'itme') AS one_of_two;
-- A token goes when what feeds the domain does.
SELECT cache_notify.token('a', 'item') AS token \gset
SELECT cache_notify.is_current(:'token');
SELECT cache_notify.remove_table_invalidation('item');
SELECT pg_temp.told('item'), cache_notify.is_current(:'token'), cardinality(cache_notify.stale(ARRAY[:'token']));
SELECT cache_notify.setup_table_invalidation('item');
SELECT pg_temp.told('item'), cache_notify.is_current(:'token');

-- By hand: from the commit on, for good; not if it is rolled back.
BEGIN;
SELECT cache_notify.invalidate('hand', 'a');
SELECT cache_notify.version('hand', 'a'), cache_notify.version('hand'), (cache_notify.versions('a', 'hand')).known;
ROLLBACK;
SELECT pg_temp.told('hand');
BEGIN;
SAVEPOINT s;
SELECT cache_notify.invalidate('hand');
ROLLBACK TO s;
SELECT pg_temp.told('hand');
SELECT count(cache_notify.invalidate('other', t)) FROM unnest('{a,b,c}'::text[]) AS t;
COMMIT;
SELECT pg_temp.told('hand'), pg_temp.told('other');
SELECT cache_notify.invalidate('hand', 'a');
SELECT pg_temp.told('hand'), pg_temp.told('hand/1');
-- One that was taken back does not make what else moves the domain one by hand.
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'taken back');
BEGIN;
SAVEPOINT s;
SELECT cache_notify.invalidate('taken back', 'a');
ROLLBACK TO s;
INSERT INTO item VALUES (7, 'a', 1);
SELECT count(cache_notify.invalidate('hand'));
COMMIT;
SELECT pg_temp.told('taken back');
DELETE FROM cache_notify.cascade_rules;
DELETE FROM item;
SELECT pg_temp.told('taken back');
-- What is watched is not marked as fed by hand, or it would outlive its table.
SELECT cache_notify.invalidate('item');
BEGIN;
DROP TABLE item;
SELECT pg_temp.told('item'), pg_temp.told('other');
ROLLBACK;

-- Rules carry on what is known, within the transaction as well.
INSERT INTO cache_notify.cascade_rules VALUES
	('item', 'page', 'invalidate'), ('page', 'site', 'invalidate'), ('site', 'heard', 'notify');
SELECT pg_temp.told('page'), pg_temp.told('site'), pg_temp.told('heard');
-- One from a domain that nothing feeds would be silent for ever.
SELECT cache_notify.token(NULL, 'page') AS page, cache_notify.token('a', 'site') AS site \gset
INSERT INTO cache_notify.cascade_rules VALUES ('itme', 'page');
SELECT pg_temp.told('page'), pg_temp.told('site'), pg_temp.told('item');
SELECT cache_notify.is_current(:'page') AS page, cache_notify.is_current(:'site') AS site, cardinality(cache_notify.stale(ARRAY[:'page', :'site'])) AS stale;
SELECT cache_notify.invalidate('itme');
SELECT pg_temp.told('page'), pg_temp.told('site');
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules VALUES ('round', 'about'), ('about', 'round');
SELECT pg_temp.told('round'), pg_temp.told('about');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'about');
SELECT pg_temp.told('round'), pg_temp.told('about');
DELETE FROM cache_notify.cascade_rules;

-- Triggers that do not fire let changes through.
ALTER TABLE item DISABLE TRIGGER ALL;
SELECT pg_temp.told('item');
ALTER TABLE item ENABLE TRIGGER ALL;
SELECT pg_temp.told('item');
ALTER TABLE item ENABLE REPLICA TRIGGER cache_notify_row_item;
SELECT pg_temp.told('item');
ALTER TABLE item ENABLE ALWAYS TRIGGER cache_notify_row_item;
SELECT pg_temp.told('item');
DROP TRIGGER cache_notify_row_item ON item;
SELECT pg_temp.told('item');
SELECT cache_notify.setup_table_invalidation('item', granularity => 'statement');
SELECT pg_temp.told('item');
-- A domain that two tables feed needs both.
SELECT cache_notify.setup_table_invalidation('item', 'both'), cache_notify.setup_table_invalidation('part', 'both');
ALTER TABLE part DISABLE TRIGGER ALL;
SELECT pg_temp.told('both');
ALTER TABLE part ENABLE TRIGGER ALL;
SELECT pg_temp.told('both');

-- Who can keep us from hearing of DDL can take triggers away unheard, which the status
-- says. When they are there again, tokens of before are stale.
CREATE TABLE quiet (id int);
SELECT cache_notify.setup_table_invalidation('quiet');
INSERT INTO quiet VALUES (1);
SELECT cache_notify.token(NULL, 'quiet') AS token \gset
ALTER EVENT TRIGGER cache_notify_command_start DISABLE;
ALTER EVENT TRIGGER cache_notify_command_end DISABLE;
ALTER EVENT TRIGGER cache_notify_drop DISABLE;
DROP TRIGGER cache_notify_row_quiet ON quiet;
DROP TRIGGER cache_notify_statement_quiet ON quiet;
INSERT INTO quiet VALUES (2);
ALTER EVENT TRIGGER cache_notify_command_start ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_notify_command_end ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_notify_drop ENABLE ALWAYS;
SELECT cache_notify.setup_table_invalidation('quiet');
SELECT pg_temp.told('quiet'), cache_notify.is_current(:'token');
DROP TABLE quiet;

-- Changes of the schema, a materialized view, a view.
SELECT pg_temp.told('schema');
SELECT cache_notify.setup_schema_invalidation('postgrest');
SELECT pg_temp.told('schema');
SELECT cache_notify.remove_schema_invalidation();
SELECT pg_temp.told('schema');
CREATE MATERIALIZED VIEW sums AS SELECT tenant_id, sum(n) FROM item GROUP BY 1;
SELECT cache_notify.setup_table_invalidation('sums');
CREATE VIEW v_list AS SELECT id FROM item;
SELECT cache_notify.setup_view_invalidation('v_list');
SELECT pg_temp.told('sums'), pg_temp.told('list');
DROP MATERIALIZED VIEW sums;
SELECT pg_temp.told('sums'), pg_temp.told('list');
SELECT cache_notify.remove_view_invalidation('v_list');
SELECT pg_temp.told('list');

-- Without a tenant: the whole domain, whichever tenant's part changes.
DELETE FROM item;
SELECT cache_notify.setup_table_invalidation('part', keys => '{id}');
SELECT cache_notify.version('part') AS before, cache_notify.token(NULL, 'part') AS whole,
	cache_notify.token(NULL, 'part/1') AS whole_key, cache_notify.etag(NULL, 'part') AS etag,
	cache_notify.token('c', 'part') AS other, cache_notify.current_position() AS position \gset
INSERT INTO part VALUES (1, 'a', 1), (2, 'b', 1);
SELECT cache_notify.version('part') - :before AS both_tenants, cache_notify.version('part', 'a') - :before AS a;
SELECT cache_notify.is_current(:'whole') AS whole, cache_notify.is_current(:'whole_key') AS key,
	cache_notify.matches(:'etag', NULL, 'part') AS etag, cache_notify.is_current(:'other') AS other;
SELECT tenant_id, domain, version - :before AS more FROM cache_notify.changes_since(:'position', NULL, 'part', 'both') ORDER BY 2;
SELECT version - :before AS more, shared_version - :before AS shared FROM cache_notify.versions(NULL, 'part');
BEGIN;
UPDATE part SET n = 2 WHERE tenant_id = 'b';
SELECT cache_notify.version('part') - :before AS with_own, cache_notify.token(NULL, 'part') AS token, cache_notify.token('a', 'part') IS NOT NULL AS of_a;
ROLLBACK;
-- A key, with the keys of all tenants.
SELECT cache_notify.token(NULL, 'part/1') AS one, cache_notify.token(NULL, 'part/2') AS two, cache_notify.version('part/1') AS n \gset
UPDATE part SET n = 3 WHERE id = 1;
SELECT cache_notify.is_current(:'one') AS one, cache_notify.is_current(:'two') AS two, cache_notify.version('part/1') - :n AS by;
UPDATE part SET tenant_id = 'c' WHERE id = 1;
SELECT cache_notify.version('part/1') - :n AS by;
-- What reads tables with tenants has a token without one.
SELECT cache_notify.token_for('SELECT count(*) FROM part') AS token \gset
SELECT cache_notify.is_current(:'token');
UPDATE part SET n = 4 WHERE id = 2;
SELECT cache_notify.is_current(:'token');
DROP VIEW v_list;
DROP TABLE item, part;
-- A table that feeds a known domain and one that is not.
CREATE TABLE twice (n int);
SELECT cache_notify.setup_table_invalidation('twice'), cache_notify.setup_table_invalidation('twice', 'second');
INSERT INTO cache_notify.cascade_rules VALUES ('secnod', 'second');
SELECT domain, certainty, reason FROM cache_notify.domains_of('SELECT * FROM twice');
SELECT cache_notify.token_for('SELECT * FROM twice') IS NOT NULL AS token;
SELECT table_name, domain, problem FROM cache_notify.v_invalidation_status WHERE problem IS NOT NULL;
DROP TABLE twice;
