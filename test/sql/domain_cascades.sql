-- The option cascades: the rules that a table's changes are to be carried on by are
-- written with its set-up, and said by its triggers.  A lost rule is seen, proves
-- nothing, and one call writes it again.
CREATE EXTENSION IF NOT EXISTS cache_notify;
SET client_min_messages = warning;
CREATE ROLE cascades_owner;
CREATE SCHEMA cascades AUTHORIZATION cascades_owner;
SET search_path = cascades, public;
SET ROLE cascades_owner;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text);
CREATE TABLE part (tenant_id text) PARTITION BY LIST (tenant_id);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE page (id int, tenant_id text);
CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM item;
SELECT cache_notify.setup_table_invalidation('item', cascades => '{c_page,c_board}');
SELECT cache_notify.setup_table_invalidation('part', 'c_part', cascades => '{c_page}');
SELECT cache_notify.setup_table_invalidation('total', 'c_total', cascades => '{c_page}');
SELECT cache_notify.setup_table_invalidation('page', 'c_page');
CREATE VIEW rule AS
	SELECT source_domain, target_domain, rule_type, keys FROM cache_notify.v_cascade_rules
	WHERE source_domain LIKE 'c\_%' OR source_domain = 'item' ORDER BY 1, 2;
CREATE VIEW status AS
	SELECT table_name, domain, cascades, problem FROM cache_notify.v_invalidation_status
	WHERE domain LIKE 'c\_%' OR domain = 'item' ORDER BY table_name::text COLLATE "C", 2;
SELECT * FROM rule;
SELECT * FROM status;
INSERT INTO item VALUES (1, 'a');
SELECT domain, known, version FROM cache_notify.versions('a', 'item', 'c_page', 'c_board');

-- A rule that is there stays as it is, and what is no longer asked for, too.
SELECT cache_notify.set_cascade_rule('item', 'c_board', 'notify');
SELECT cache_notify.setup_table_invalidation('item', cascades => '{c_board}');
SELECT * FROM rule;
SELECT cache_notify.remove_cascade_rule('item', 'c_board');
SELECT cache_notify.setup_table_invalidation('item', cascades => '{c_page,c_board}');

-- Bad ones are refused.
SELECT cache_notify.setup_table_invalidation('item', cascades => '{""}');
SELECT cache_notify.setup_table_invalidation('item', cascades => '{a/b}');
SELECT cache_notify.setup_table_invalidation('item', cascades => '{item}');
SELECT cache_notify.setup_table_invalidation('item', cascades => ARRAY[repeat('x', 64)]);
SELECT cache_notify.setup_table_invalidation('item', cascades => ARRAY(SELECT 'c_' || i FROM generate_series(1, 33) AS i));

-- The rules are lost.
RESET ROLE;
DELETE FROM cache_notify.cascade_rules WHERE source_domain IN ('item', 'c_part', 'c_total');
SELECT * FROM rule;
SELECT * FROM status;
SELECT object, problem, advice FROM cache_notify.doctor() WHERE object ~ 'item';
SELECT cache_notify.token('a', 'c_page') IS NULL AS page, cache_notify.token('a', 'c_board') IS NULL AS board,
	cache_notify.token('a', 'item') IS NULL AS item;
SET ROLE cascades_owner;
SELECT cache_notify.setup_table_invalidation('item', cascades => '{c_page,c_board}');
RESET ROLE;
SELECT cache_notify.repair();
SELECT * FROM rule;
SELECT * FROM status WHERE problem IS NOT NULL;
SELECT cache_notify.token('a', 'c_page') IS NULL AS page, cache_notify.token('a', 'c_board') IS NULL AS board;

-- Nobody gets a rule by a trigger that he could not have written himself.
CREATE TABLE foreign_item (id int, tenant_id text);
GRANT TRIGGER ON foreign_item TO cascades_owner;
SELECT cache_notify.setup_table_invalidation('foreign_item', 'c_foreign');
SET ROLE cascades_owner;
CREATE TABLE mine (id int, tenant_id text);
CREATE TRIGGER r AFTER INSERT OR UPDATE OR DELETE ON mine FOR EACH ROW
	EXECUTE FUNCTION cache_notify.row_change('domain=c_foreign', 'cascade=c_page');
CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mine FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=c_foreign', 'cascade=c_page');
RESET ROLE;
SET client_min_messages = warning;
SELECT cache_notify.repair();
SELECT * FROM rule WHERE source_domain = 'c_foreign';
SELECT current_user = session_user AS myself;

DROP SCHEMA cascades CASCADE;
DELETE FROM cache_notify.cascade_rules WHERE source_domain IN ('item', 'c_part', 'c_total');
DROP ROLE cascades_owner;
