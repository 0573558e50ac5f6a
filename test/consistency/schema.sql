-- What the checker's writers change and its readers cache.
CREATE EXTENSION cache_notify;

CREATE TABLE item (cell int PRIMARY KEY, tenant_id text, n bigint NOT NULL);
CREATE TABLE price (cell int PRIMARY KEY, tenant_id text, n bigint NOT NULL);
CREATE TABLE setting (cell int PRIMARY KEY, n bigint NOT NULL);

SELECT cache_notify.setup_table_invalidation('item', keys => '{cell}', fields => '{keys}');
SELECT cache_notify.setup_table_invalidation('price', keys => '{cell}', buckets => 16, fields => '{keys}');
SELECT cache_notify.setup_table_invalidation('setting');
INSERT INTO cache_notify.cascade_rules VALUES ('price', 'offer'), ('setting', 'offer');

CREATE ROLE reader LOGIN IN ROLE pg_monitor;
CREATE ROLE writer LOGIN;
GRANT SELECT ON item, price, setting TO reader, writer;
GRANT UPDATE ON item, price, setting TO reader, writer;
