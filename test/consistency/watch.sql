-- What is watched of schema.sql.
SELECT cache_notify.setup_table_invalidation('item', keys => '{cell}', fields => '{keys}',
	fire_on_replica => true);
SELECT cache_notify.setup_table_invalidation('price', keys => '{cell}', buckets => 16, fields => '{keys}',
	fire_on_replica => true);
SELECT cache_notify.setup_table_invalidation('setting', fire_on_replica => true);
INSERT INTO cache_notify.cascade_rules VALUES ('price', 'offer'), ('setting', 'offer');
