-- A walk along our own paths, for valgrind: what sessions call and write, in each
-- lane, with what is odd about it (nulls, long values, savepoints, errors, DDL).
-- "write.sql" and the regression tests do the rest of it.
SET search_path = shop, public;
SET client_min_messages = warning;

-- Every kind of write, of every kind of table.
UPDATE item SET price = price + 1 WHERE id <= 20;
UPDATE item SET tenant_id = 'tenant 9' WHERE id = 3;
UPDATE item SET tenant_id = NULL WHERE id = 4;
UPDATE item SET tenant_id = repeat('long ', 100) WHERE id = 5;
UPDATE item SET id = id + 100000 WHERE id BETWEEN 290 AND 300;
DELETE FROM line WHERE id % 10 = 1;
INSERT INTO line (item_id, tenant_id, amount) VALUES (NULL, NULL, 0), (7, md5('x')::uuid, 3);
INSERT INTO item (id, name) VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
UPDATE part SET n = n + 400 WHERE id < 100;
INSERT INTO child VALUES (77, E'quote " back \\ line \n end', 'x');
UPDATE parent SET tenant_id = tenant_id || '!';
UPDATE plain SET t = t WHERE id = 1;
SET shop.tenant = 'from a setting';
INSERT INTO bulk SELECT i, 'x', 'y' FROM generate_series(1, 500) i;
TRUNCATE bulk;
COPY item (id, tenant_id, name) FROM stdin;
70001	tenant 1	copied
70002	\N	copied
\.

-- Savepoints, and what an error leaves of them.
BEGIN;
SAVEPOINT a;
UPDATE item SET price = 0 WHERE id < 10;
SAVEPOINT b;
UPDATE line SET amount = amount + 1 WHERE id < 10;
SELECT count(*) FROM cache_notify.pending_changes();
ROLLBACK TO b;
SELECT 1 / 0;
ROLLBACK TO a;
UPDATE item SET price = 1 WHERE id < 5;
RELEASE a;
COMMIT;
DO $$ BEGIN UPDATE shop.line SET amount = -1; EXCEPTION WHEN check_violation THEN NULL; END $$;

-- Many keys, more than fit, and prepared transactions.
INSERT INTO item SELECT i, 'many ' || i FROM generate_series(200001, 203000) i;
BEGIN;
UPDATE item SET price = 7 WHERE id = 8;
PREPARE TRANSACTION 'walk';
COMMIT PREPARED 'walk';
BEGIN;
UPDATE item SET price = 8 WHERE id = 8;
PREPARE TRANSACTION 'walk';
ROLLBACK PREPARED 'walk';

-- What caches ask.
SELECT cache_notify.version('item', 'tenant 1'), cache_notify.version('item/7', 'tenant 1'), cache_notify.version(NULL);
SELECT cache_notify.token('tenant 1', 'item', 'item/7', 'lines_of_item/3', 'nobody') AS token \gset
SELECT cache_notify.is_current(:'token'), cache_notify.is_current('nonsense'), cache_notify.is_current('');
SELECT cache_notify.is_current(left(:'token', i)) FROM generate_series(0, length(:'token')) i;
SELECT cache_notify.stale(ARRAY[:'token', NULL, 'x']);
SELECT cache_notify.etag('tenant 1', 'item') AS etag \gset
SELECT cache_notify.matches(:'etag', 'tenant 1', 'item'), cache_notify.matches('*, "x', 'tenant 1', 'item');
SELECT * FROM cache_notify.versions('tenant 1', 'item', 'page', 'item/7');
SELECT cache_notify.claim_refresh('r', :'token'), cache_notify.claim_refresh('r', :'token');
SELECT cache_notify.finish_refresh('r', :'token');
SELECT cache_notify.current_position() AS position \gset
UPDATE item SET price = 11 WHERE id = 11;
SELECT count(*) FROM cache_notify.changes_since(:'position');
SELECT count(*) FROM cache_notify.changes_since(:'position', 'tenant 4', 'item', 'page');
SELECT count(*) FROM cache_notify.changes_since(NULL);
SELECT cache_notify.changes_since('nonsense');
SELECT cache_notify.key_name('item', '7', 'a/b%'), cache_notify.key_name(NULL);
SELECT count(*) FROM cache_notify.domain_version WHERE tenant_id = 'tenant 1';
SELECT count(*) FROM cache_notify.v_domain_versions;
SELECT count(*) FROM cache_notify.v_recent_invalidations;
SELECT count(*) FROM cache_notify.v_invalidation_status;
SELECT count(*) FROM cache_notify.stats;
SELECT cache_notify.cascade_graph() IS NOT NULL;
SELECT count(*) FROM cache_notify.cascade_closure('item');
SELECT count(*) FROM cache_notify.domains_of('SELECT *, now() FROM shop.overview o JOIN shop.summary USING (tenant_id)');
SELECT count(*) FROM cache_notify.domains_of('SELECT broken (');
SELECT cache_notify.token_for('SELECT * FROM shop.item', 'tenant 1') IS NOT NULL;
SELECT count(*) FROM cache_notify.suggest_cascades();
SELECT count(*) FROM cache_notify.unwatched_dependencies();
SELECT cache_notify.invalidate('item'), cache_notify.invalidate('item/7', 'tenant 1');
SELECT cache_notify.compact();
SELECT cache_notify.new_history();
SELECT cache_notify.is_current(:'token');

-- DDL.
CREATE TABLE part_more PARTITION OF part FOR VALUES FROM (5000) TO (6000);
ALTER TABLE part DETACH PARTITION part_more;
ALTER TABLE part_more RENAME COLUMN tenant_id TO renamed;
DROP TABLE part_more;
ALTER TABLE parent ALTER COLUMN id TYPE bigint;
ALTER TABLE plain ADD COLUMN more int;
ALTER TABLE plain RENAME TO plainer;
REFRESH MATERIALIZED VIEW summary;
CREATE OR REPLACE VIEW overview AS SELECT i.*, l.amount FROM item i JOIN line l ON l.item_id = i.id;
UPDATE cache_notify.cascade_rules SET rule_type = 'invalidate';
SELECT cache_notify.setup_table_invalidation('plainer', 'plain', granularity => 'row', payload => 'json', fields => '{xid,lsn}');
UPDATE plainer SET t = 'new';
SELECT cache_notify.remove_table_invalidation('plainer');
SELECT cache_notify.remove_view_invalidation('overview');
SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', buckets => 256);
UPDATE item SET price = 12 WHERE id = 12;
DROP TABLE line;
