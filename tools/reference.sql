-- What doc/reference.md shows of each function: statements that tools/make-reference
-- runs, in this order, on a new database, with what they print. "-- to NAME" says of
-- which function or relation they are an example.

-- to setup_table_invalidation
CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id text, name text);
SELECT cache_notify.setup_table_invalidation('tv_contract', keys => '{id}', fields => '{keys}');
LISTEN cache_invalidation;
INSERT INTO tv_contract VALUES (1, 'acme', 'first'), (2, 'globex', 'second');

-- to version
SELECT cache_notify.version('contract', 'acme') AS acme, cache_notify.version('contract') AS whole_domain;

-- to invalidate
SELECT cache_notify.invalidate('contract', 'acme');
SELECT cache_notify.version('contract', 'acme');

-- to token
SELECT cache_notify.token('acme', 'contract') IS NOT NULL AS cache_it, cache_notify.token('acme', 'typo') IS NULL AS do_not;

-- to is_current
SELECT cache_notify.token('acme', 'contract/1') AS token \gset
SELECT cache_notify.is_current(:'token');
UPDATE tv_contract SET name = 'changed' WHERE id = 1;
SELECT cache_notify.is_current(:'token');

-- to stale
SELECT cache_notify.stale(ARRAY[:'token', cache_notify.token('globex', 'contract/2')]) = ARRAY[:'token'] AS the_first;

-- to etag
SELECT cache_notify.etag('acme', 'contract') AS etag \gset
SELECT :'etag' LIKE '"%"' AS quoted;

-- to matches
SELECT cache_notify.matches(:'etag', 'acme', 'contract') AS not_modified;

-- to versions
SELECT * FROM cache_notify.versions('acme', 'contract', 'typo');

-- to near_versions
SELECT * FROM cache_notify.near_versions('acme', 'contract/1');

-- to current_position
SELECT cache_notify.current_position() AS position \gset

-- to changes_since
DELETE FROM tv_contract WHERE id = 2;
SELECT * FROM cache_notify.changes_since(:'position');
SELECT * FROM cache_notify.changes_since(:'position', 'acme', 'contract');

-- to claim_refresh
SELECT cache_notify.claim_refresh('top ten', :'token');

-- to finish_refresh
SELECT cache_notify.finish_refresh('top ten', :'token');

-- to key_name
SELECT cache_notify.key_name('contract', 'a/b') AS key, cache_notify.key_name('contract', 12::text) AS number;

-- to pending_changes
BEGIN;
UPDATE tv_contract SET name = 'mine';
SELECT * FROM cache_notify.pending_changes();
ROLLBACK;

-- to cascade_rules
INSERT INTO cache_notify.cascade_rules VALUES ('contract', 'dashboard');
UPDATE tv_contract SET name = 'renamed';

-- to set_cascade_rule
SELECT cache_notify.set_cascade_rule('contract', 'report', tenants => 'all');

-- to cascade_closure
SELECT * FROM cache_notify.cascade_closure('contract');

-- to remove_cascade_rule
SELECT cache_notify.remove_cascade_rule('contract', 'report');

-- to v_cascade_rules
SELECT * FROM cache_notify.v_cascade_rules;

-- to cascade_graph
SELECT cache_notify.cascade_graph();

-- to domains_of
SELECT * FROM cache_notify.domains_of('SELECT name, now() FROM tv_contract WHERE tenant_id = $1');

-- to token_for
SELECT cache_notify.token_for('SELECT name FROM tv_contract', 'acme') IS NOT NULL AS cache_it;

-- to setup_view_invalidation
CREATE VIEW v_names AS SELECT tenant_id, name FROM tv_contract;
SELECT cache_notify.setup_view_invalidation('v_names');

-- to remove_view_invalidation
SELECT cache_notify.remove_view_invalidation('v_names');

-- to unwatched_dependencies
CREATE TABLE loose (id int);
CREATE VIEW v_loose AS SELECT id FROM loose;
SELECT object, source, certainty FROM cache_notify.unwatched_dependencies();

-- to suggest_cascades
SELECT source_domain, target_domain, statement FROM cache_notify.suggest_cascades();

-- to v_invalidation_status
SELECT table_name, domain, tenant_column, keys, enabled, problem, lane FROM cache_notify.v_invalidation_status;

-- to doctor
ALTER TABLE tv_contract DISABLE TRIGGER cache_notify_row_contract;
SELECT object, problem, advice FROM cache_notify.doctor() WHERE severity = 'error' AND object ~ 'tv_contract';
ALTER TABLE tv_contract ENABLE TRIGGER cache_notify_row_contract;

-- to lane_in_effect
SELECT * FROM cache_notify.lane_in_effect();

-- to domain_version
SELECT tenant_id, domain, version FROM cache_notify.domain_version ORDER BY 2, 1;

-- to v_domain_versions
SELECT domain, shared_version, tenants, changes FROM cache_notify.v_domain_versions ORDER BY 1;

-- to v_recent_invalidations
SELECT tenant_id, domain, version FROM cache_notify.v_recent_invalidations LIMIT 1;

-- to stats
SELECT bumps, delivered, lane, waiting FROM cache_notify.stats;

-- to setup_schema_invalidation
SELECT cache_notify.setup_schema_invalidation('postgrest');

-- to v_schema_invalidation
SELECT * FROM cache_notify.v_schema_invalidation;

-- to schema_presets
SELECT preset, channel, payload FROM cache_notify.schema_presets();

-- to remove_schema_invalidation
SELECT cache_notify.remove_schema_invalidation('postgrest');

-- to payload_formats
SELECT cache_notify.payload_formats();

-- to payload_fields
SELECT cache_notify.payload_fields();

-- to version_origin
SELECT cache_notify.version_origin();

-- to compact
SELECT cache_notify.compact();

-- to inherit_triggers
SELECT cache_notify.inherit_triggers('tv_contract');

-- to remove_table_invalidation
SELECT cache_notify.remove_table_invalidation('tv_contract');
SELECT cache_notify.version('contract', 'acme');

-- to repair
SELECT cache_notify.repair();

-- to clear_statistics
SELECT cache_notify.clear_statistics();

-- to new_history
SELECT cache_notify.new_history();
SELECT cache_notify.version_origin() > 0 AS far_ahead;

-- to trigger_arguments
SELECT cache_notify.trigger_arguments('a=b\000c=d\000');
