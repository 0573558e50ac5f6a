-- Serves G7 and G10: whoever owns all that feeds a domain writes its rules, and nobody
-- else does.
-- A failure shows as a rule where an error should be, or the other way round.
CREATE ROLE regress_cn_owner;
CREATE ROLE regress_cn_member IN ROLE regress_cn_owner;
CREATE ROLE regress_cn_mallory;
CREATE SCHEMA owner_rules;
GRANT ALL ON SCHEMA owner_rules TO PUBLIC;
SET search_path = owner_rules;
SET ROLE regress_cn_owner;
CREATE TABLE item (id int);
CREATE VIEW v AS SELECT id FROM item;
SELECT cache_notify.setup_table_invalidation('item');
SELECT cache_notify.setup_view_invalidation('v');
SELECT cache_notify.set_cascade_rule('item', 'page');
SELECT cache_notify.set_cascade_rule('v', 'page', keys => 'all', tenants => 'all');
SELECT cache_notify.set_cascade_rule('item', 'page', 'notify');
INSERT INTO item VALUES (1);
SELECT * FROM cache_notify.v_cascade_rules WHERE source_domain !~ '/' ORDER BY 1, 2;
SELECT cache_notify.version('page') > 0 AS moved;

-- What else he can, and cannot, as the README says.
CREATE TABLE line (id int, item_id int);
ALTER TABLE item ADD PRIMARY KEY (id);
ALTER TABLE line ADD FOREIGN KEY (item_id) REFERENCES item;
SELECT cache_notify.setup_table_invalidation('line');
SELECT source_domain, target_domain FROM cache_notify.suggest_cascades() WHERE source_domain = 'item';
SELECT cache_notify.cascade_graph() ~ 'page' AS graph;
ALTER TABLE line DISABLE TRIGGER USER;
SELECT object, problem FROM cache_notify.doctor() WHERE object ~ 'line';
DROP TABLE line;
ALTER TABLE item DROP CONSTRAINT item_pkey;
SELECT cache_notify.invalidate('item');
SELECT cache_notify.repair();
SELECT cache_notify.new_history();
SELECT cache_notify.setup_schema_invalidation('postgrest');
SELECT * FROM cache_notify.domain_version;
SELECT * FROM cache_notify.stats;

-- What the table refuses, and what is not fed.
SELECT cache_notify.set_cascade_rule('item', 'item');
SELECT cache_notify.set_cascade_rule('item', 'page', 'x');
SELECT cache_notify.set_cascade_rule('item', 'cache_notify/definition/1');
SELECT cache_notify.set_cascade_rule('nothing', 'page');
SELECT cache_notify.set_cascade_rule('page', 'site');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'site');

-- A member of the owner may, others may not, whatever they put in the way.
SET ROLE regress_cn_member;
SELECT cache_notify.set_cascade_rule('item', 'site');
SELECT cache_notify.remove_cascade_rule('item', 'site'), cache_notify.remove_cascade_rule('item', 'site');
SET ROLE regress_cn_mallory;
SELECT cache_notify.set_cascade_rule('item', 'mine');
SELECT cache_notify.remove_cascade_rule('item', 'page');
CREATE TABLE cascade_rules (source_domain text);
CREATE TABLE pg_class (oid oid);
SET search_path = owner_rules, pg_catalog;
SELECT cache_notify.set_cascade_rule('item', 'mine');
CREATE TABLE mine (id int);
SELECT cache_notify.setup_table_invalidation('mine', 'item');

-- Now somebody else feeds it as well; and by a rule.
SET ROLE regress_cn_owner;
SELECT cache_notify.set_cascade_rule('item', 'more');
SELECT cache_notify.set_cascade_rule('v', 'more');
SET ROLE regress_cn_mallory;
SELECT cache_notify.remove_table_invalidation('mine', 'item');
SELECT cache_notify.setup_table_invalidation('mine');
SET ROLE regress_cn_owner;
SELECT cache_notify.set_cascade_rule('item', 'more'), cache_notify.remove_cascade_rule('item', 'more');
RESET ROLE;
INSERT INTO cache_notify.cascade_rules VALUES ('mine', 'item');
SET ROLE regress_cn_owner;
SELECT cache_notify.set_cascade_rule('item', 'more');
RESET ROLE;
DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'mine';

-- Who may only delete rules may not write any.
GRANT DELETE ON cache_notify.cascade_rules TO regress_cn_mallory;
SET ROLE regress_cn_mallory;
SELECT cache_notify.set_cascade_rule('item', 'more');
RESET ROLE;

-- Not without end.
SET ROLE regress_cn_owner;
SELECT count(cache_notify.set_cascade_rule('item', 't' || i)) FROM generate_series(1, 30) AS i;
SELECT cache_notify.set_cascade_rule('item', 't31');
SELECT cache_notify.set_cascade_rule('item', 't32');
SELECT cache_notify.set_cascade_rule('item', 't31', 'notify'), cache_notify.remove_cascade_rule('item', 't30');
RESET ROLE;
SELECT count(cache_notify.set_cascade_rule('item', 't' || i)) FROM generate_series(40, 50) AS i;
SELECT cache_notify.set_cascade_rule('whatever', 'page');
SELECT count(*) FROM cache_notify.cascade_rules;
DELETE FROM cache_notify.cascade_rules;
SET client_min_messages = error;
DROP SCHEMA owner_rules CASCADE;
DROP OWNED BY regress_cn_owner, regress_cn_member, regress_cn_mallory;
DROP ROLE regress_cn_owner, regress_cn_member, regress_cn_mallory;
