-- Serves the payload formats as options of setup_table_invalidation(): what goes
-- together, where it goes, and what v_invalidation_status says of it.
-- A failure shows as a combination that is taken (it prints its domain), another
-- message or hint, or another channel or problem.
\set SHOW_CONTEXT never
SELECT unnest(cache_notify.payload_formats()) AS name;
SELECT name, (_cache_notify.payload_format(name)).* FROM unnest(cache_notify.payload_formats()) AS name;
SELECT * FROM _cache_notify.payload_format('none');
SELECT * FROM _cache_notify.payload_format(NULL);

CREATE TABLE item (id int PRIMARY KEY, name text);
CREATE TABLE loose (id int);
CREATE VIEW item_view AS SELECT * FROM item;

SELECT cache_notify.setup_table_invalidation('item', payload => 'oid', fields => '{xid}');
SELECT cache_notify.setup_table_invalidation('item', payload => 'oid', channel => 'c:{tenant}');
SELECT cache_notify.setup_table_invalidation('item', payload => 'tcn', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('loose', payload => 'tcn');
SELECT cache_notify.setup_table_invalidation('item', payload_suffix => repeat('x', 64));
SELECT cache_notify.setup_view_invalidation('item_view', payload => 'tcn');
SELECT count(*) FROM cache_notify.v_invalidation_status;

SELECT cache_notify.setup_table_invalidation('item', 'a', payload => 'oid');
SELECT cache_notify.setup_table_invalidation('item', 'b', payload => 'pgcachewatch', granularity => 'statement', payload_suffix => '.');
SELECT cache_notify.setup_table_invalidation('item', 'c', payload => 'tcn', channel => 'of {domain}', payload_suffix => '');
SELECT cache_notify.setup_table_invalidation('item', 'd', payload_suffix => repeat('x', 63));
SELECT domain, channel, payload, payload_suffix, problem FROM cache_notify.v_invalidation_status ORDER BY domain;
ALTER TABLE item DROP CONSTRAINT item_pkey;
SELECT domain, channel, payload, payload_suffix, problem FROM cache_notify.v_invalidation_status ORDER BY domain;
INSERT INTO item VALUES (1, 'x');
SELECT domain, cache_notify.version(domain) > 0 AS moved FROM unnest('{a,b,c,d}'::text[]) AS domain;

DROP VIEW item_view;
DROP TABLE item, loose CASCADE;
