-- Serves "Privileges" and G7: writers need no rights, nobody but the owner changes
-- counters, a named version is open to all, listing them is not.
-- A failure shows as an SQLSTATE where a statement should work, or a result where
-- 42501 (insufficient privilege) should be.
\set ECHO none
\i test/include/moved.sql
SELECT count(*) AS left_over FROM pg_roles WHERE rolname ~ '^regress_cn_';
CREATE ROLE regress_cn_owner;
CREATE ROLE regress_cn_trigger;
CREATE ROLE regress_cn_writer;
CREATE ROLE regress_cn_nobody;
CREATE ROLE regress_cn_monitor IN ROLE pg_monitor;
CREATE SCHEMA shop AUTHORIZATION regress_cn_owner;
GRANT USAGE ON SCHEMA shop TO PUBLIC;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page');
\set VERBOSITY sqlstate

-- The owner of a table watches it, replaces that, and unwatches it.
SET ROLE regress_cn_owner;
CREATE TABLE shop.item (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE shop.secret (id int);
SELECT cache_notify.setup_table_invalidation('shop.item', 'owners');
SELECT cache_notify.setup_table_invalidation('shop.item', 'owners', granularity => 'statement');
SELECT cache_notify.remove_table_invalidation('shop.item', 'owners');
GRANT TRIGGER ON shop.item TO regress_cn_trigger;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON shop.item TO regress_cn_writer;

-- Who has TRIGGER on it may watch it, also again with other options.
SET ROLE regress_cn_trigger;
SELECT cache_notify.setup_table_invalidation('shop.item');
SELECT cache_notify.setup_table_invalidation('shop.item', channel => 'c');
SELECT cache_notify.setup_table_invalidation('shop.item', tenant_column => 'tenant_id');
-- Dropping a trigger takes the owner, as everywhere.
SELECT cache_notify.setup_table_invalidation('shop.item', granularity => 'statement');
SELECT cache_notify.remove_table_invalidation('shop.item');
SELECT cache_notify.setup_table_invalidation('shop.secret');

-- Who has neither may not; nor on tables of the extension or the server.
SET ROLE regress_cn_writer;
SELECT cache_notify.setup_table_invalidation('shop.item');
SELECT cache_notify.setup_table_invalidation('shop.item', 'writers', granularity => 'statement');
SELECT cache_notify.remove_table_invalidation('shop.item');
SELECT cache_notify.remove_table_invalidation('shop.item', 'item');

-- A writer without any right here moves versions in every way there is.
INSERT INTO shop.item VALUES (1, 'a', 1), (2, 'b', 2);
UPDATE shop.item SET n = 3 WHERE id = 1;
INSERT INTO shop.item VALUES (1, 'a', 4) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;
DELETE FROM shop.item WHERE id = 2;
TRUNCATE shop.item;
RESET ROLE;
:moved
-- Even one who may not use the schema, and with row security on the way.
REVOKE USAGE ON SCHEMA cache_notify FROM PUBLIC;
SET ROLE regress_cn_writer;
SET row_security = off;
INSERT INTO shop.item VALUES (1, 'a', 1);
SELECT cache_notify.version('item');
RESET row_security;
RESET ROLE;
GRANT USAGE ON SCHEMA cache_notify TO PUBLIC;
:moved

-- Anybody may ask for what he can name, and see what is watched.
SET ROLE regress_cn_nobody;
SELECT cache_notify.version('item'), cache_notify.version('item', 'a'), cache_notify.version('page', 'a');
SELECT * FROM cache_notify.pending_changes();
SELECT table_name, domain, enabled FROM cache_notify.v_invalidation_status;
SELECT (cache_notify.payload_formats())[1];
-- Nobody may list tenants or rules, change counters, or invalidate for others.
SELECT * FROM _cache_notify.version_counter;
SELECT * FROM _cache_notify.owed_delivery;
SELECT * FROM cache_notify.domain_version;
SELECT * FROM cache_notify.domain_version WHERE tenant_id = 'a' AND domain = 'item';
SELECT * FROM cache_notify.v_domain_versions;
SELECT * FROM cache_notify.v_recent_invalidations;
SELECT * FROM _cache_notify.counter_total;
SELECT * FROM cache_notify.cascade_rules;
SELECT * FROM cache_notify.cascade_closure('item');
SELECT cache_notify.cascade_graph();
SELECT cache_notify.invalidate('item', 'a');
INSERT INTO _cache_notify.version_counter (n, last_modified, domain, tenant_id)
	VALUES (1, now(), 'item', 'a');
UPDATE _cache_notify.version_counter SET n = 0;
DELETE FROM _cache_notify.version_counter;
TRUNCATE _cache_notify.version_counter;
SELECT * FROM _cache_notify.version_counter FOR UPDATE;
BEGIN;
LOCK TABLE _cache_notify.version_counter IN ACCESS SHARE MODE;
ROLLBACK;
INSERT INTO _cache_notify.owed_delivery VALUES ('item');
DELETE FROM _cache_notify.owed_delivery;
INSERT INTO cache_notify.cascade_rules VALUES ('a', 'b');
DELETE FROM cache_notify.cascade_rules;
TRUNCATE cache_notify.cascade_rules;
CREATE TABLE cache_notify.mine ();
CREATE TRIGGER t AFTER INSERT ON _cache_notify.version_counter FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change();
ALTER TABLE _cache_notify.version_counter DISABLE TRIGGER ALL;
DROP EXTENSION cache_notify;
SET cache_notify.delivery = 'off';
SET cache_notify.max_keys = 1;
SET cache_notify.channel = 'mine';

-- pg_monitor lists and changes nothing.
SET ROLE regress_cn_monitor;
SELECT tenant_id, domain, version FROM cache_notify.domain_version WHERE domain = 'item' ORDER BY tenant_id;
SELECT domain, shared_version, tenants, changes FROM cache_notify.v_domain_versions WHERE domain = 'item';
SELECT count(*) > 0 AS listed FROM cache_notify.v_recent_invalidations;
SELECT count(*) FROM cache_notify.cascade_rules;
SELECT target_domain FROM cache_notify.cascade_closure('item');
SELECT cache_notify.cascade_graph() IS NOT NULL AS drawn;
SELECT cache_notify.invalidate('item', 'a');
UPDATE _cache_notify.version_counter SET n = 0;
INSERT INTO cache_notify.cascade_rules VALUES ('a', 'b');

-- Rights can be given: rules to one, invalidation to another.
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON cache_notify.cascade_rules TO regress_cn_writer;
GRANT EXECUTE ON FUNCTION cache_notify.invalidate(text, text) TO regress_cn_writer;
SET ROLE regress_cn_writer;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'list');
SELECT cache_notify.invalidate('item', 'b');
RESET ROLE;
:moved
REVOKE ALL ON cache_notify.cascade_rules FROM regress_cn_writer;
REVOKE ALL ON FUNCTION cache_notify.invalidate(text, text) FROM regress_cn_writer;

-- A writer who calls through a function of the owner's.
SET ROLE regress_cn_owner;
CREATE FUNCTION shop.sell() RETURNS void SECURITY DEFINER LANGUAGE sql AS 'UPDATE shop.item SET n = n + 1';
SET ROLE regress_cn_nobody;
SELECT count(shop.sell()) >= 0 AS sold;
RESET ROLE;
:moved
\set VERBOSITY default
DROP SCHEMA shop CASCADE;
DELETE FROM cache_notify.cascade_rules;
DROP ROLE regress_cn_owner, regress_cn_trigger, regress_cn_writer, regress_cn_nobody, regress_cn_monitor;
