-- Rules are noted by what feeds their domains, so that each dump of it says which
-- there are to be.  A failure shows as a note that is missing, or that outlives its rule.
CREATE EXTENSION IF NOT EXISTS cache_notify;
SET client_min_messages = warning;
CREATE ROLE note_owner;
CREATE SCHEMA note AUTHORIZATION note_owner;
SET search_path = note, public;
SET ROLE note_owner;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE page (id int, tenant_id text);
CREATE TABLE part (id int, tenant_id text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM item;
CREATE VIEW v AS SELECT * FROM item;
SELECT cache_notify.setup_table_invalidation('item', 'n_item', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('page', 'n_page');
SELECT cache_notify.setup_table_invalidation('part', 'n_part');
SELECT cache_notify.setup_table_invalidation('total', 'n_total');
SELECT cache_notify.setup_view_invalidation('v', 'n_v');
RESET ROLE;
CREATE VIEW noted AS
	SELECT relation::regclass, domain, unnest(rules) AS note FROM _cache_notify.noting_watch
	WHERE domain LIKE 'n\_%' ORDER BY relation::regclass::text COLLATE "C", 3;
CREATE TEMP TABLE before AS
	SELECT oid, tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'item'::regclass;
CREATE TEMP TABLE version AS SELECT d, cache_notify.version(d) AS n FROM unnest('{n_item,n_page,n_part,n_total,n_v}'::text[]) AS u (d);

SET ROLE note_owner;
SELECT cache_notify.set_cascade_rule('n_item', 'n_page', keys => 'same');
RESET ROLE;
INSERT INTO cache_notify.cascade_rules VALUES
	('n_hand', 'n_v'), ('n_page', 'n_a'), ('n_a', 'n_b'), ('n_b', 'n_total'), ('n_hand', 'n_b');
INSERT INTO cache_notify.cascade_rules VALUES ('n_part', 'n_total', 'notify');
SELECT * FROM noted;
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'page'::regclass ORDER BY tgname;
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'part1'::regclass ORDER BY tgname;

-- Nothing else is changed by that.
SELECT count(*) FROM before b JOIN pg_trigger t USING (oid, tgname, tgenabled);
SELECT d FROM version WHERE cache_notify.version(d) <> n;
SELECT table_name, domain, problem FROM cache_notify.v_invalidation_status WHERE domain LIKE 'n\_%' AND problem <> '' ORDER BY table_name::text COLLATE "C", domain, problem;
SET client_min_messages = notice;
SELECT cache_notify.setup_table_invalidation('page', 'n_page');
SELECT cache_notify.setup_table_invalidation('total', 'n_total');
SET client_min_messages = warning;
SELECT cache_notify.inherit_triggers('part');
SELECT cache_notify.setup_view_invalidation('v');
SELECT * FROM noted;
SELECT d FROM version WHERE cache_notify.version(d) <> n;

-- Another form of a rule, another target, none.
UPDATE cache_notify.cascade_rules SET keys = 'all', tenants = 'all' WHERE target_domain = 'n_page';
UPDATE cache_notify.cascade_rules SET source_domain = 'n_part' WHERE target_domain = 'n_v';
SELECT cache_notify.remove_cascade_rule('n_b', 'n_total');
SELECT * FROM noted;

-- Rules that are lost: as if the entries had not been in the dump.
CREATE FUNCTION pg_temp.lose(source text, target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('DROP TRIGGER %I ON cache_notify.configuration', 'cascade_rule_' || md5(source || E'\n' || target));
	PERFORM _cache_notify.refill_rules();
END
$$;
ALTER TABLE cache_notify.cascade_rules DISABLE TRIGGER rule_is_written, DISABLE TRIGGER rules_deleted;
SELECT pg_temp.lose('n_item', 'n_page'), pg_temp.lose('n_part', 'n_v'), pg_temp.lose('n_page', 'n_a'), pg_temp.lose('n_part', 'n_total');
ALTER TABLE cache_notify.cascade_rules ENABLE ALWAYS TRIGGER rule_is_written, ENABLE ALWAYS TRIGGER rules_deleted;
SELECT table_name, domain, problem FROM cache_notify.v_invalidation_status WHERE domain LIKE 'n\_%' AND problem <> '' ORDER BY table_name::text COLLATE "C", domain, problem;
SELECT object, problem, advice FROM cache_notify.doctor() WHERE object ~ 'n_' ORDER BY object COLLATE "C", problem;
SELECT domain, known FROM cache_notify.versions('a', 'n_item', 'n_page', 'n_part', 'n_total', 'n_v');
-- Setting up again forgets none, and other rules are still noted.
SELECT cache_notify.setup_table_invalidation('item', 'n_item', keys => '{id}');
SELECT cache_notify.setup_view_invalidation('v');
INSERT INTO cache_notify.cascade_rules VALUES ('n_item', 'n_c');
SELECT * FROM noted WHERE domain <> 'n_total';
SELECT domain, known FROM cache_notify.versions('a', 'n_page', 'n_v');
SET ROLE note_owner;
SELECT cache_notify.remove_cascade_rule('n_item', 'n_page') AS lost_one, cache_notify.remove_cascade_rule('n_item', 'n_page') AS not_any_more;
RESET ROLE;
SELECT cache_notify.repair();
SELECT source_domain, target_domain, rule_type, keys, tenants FROM cache_notify.cascade_rules WHERE source_domain LIKE 'n\_%' ORDER BY 1, 2;
SELECT table_name, problem FROM cache_notify.v_invalidation_status WHERE domain LIKE 'n\_%' AND problem <> '' ORDER BY table_name::text COLLATE "C", domain, problem;

-- What is written by hand does no harm.
CREATE TABLE hand (id int);
CREATE TRIGGER s AFTER INSERT ON hand FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.statement_change('domain=n_hand_made', 'granularity=statement',
	'rule=', 'rule=invalidate/all/same', 'rule=invalidate/all/same/', 'rule=invalidate/all/same/t/', 'rule=x/all/same/t/s');
SELECT domain, problem FROM cache_notify.v_invalidation_status WHERE table_name = 'hand'::regclass;
INSERT INTO cache_notify.cascade_rules VALUES ('n_hand_made', 'n_c');
SELECT * FROM noted WHERE relation = 'hand'::regclass;

-- Whoever may not write the table has his own tables note his rules, and locks nobody else's.
CREATE ROLE note_mallory;
GRANT ALL ON SCHEMA note TO note_mallory;
SET ROLE note_mallory;
CREATE TABLE mine (id int);
SELECT cache_notify.setup_table_invalidation('mine', 'n_mine');
BEGIN;
SELECT cache_notify.set_cascade_rule('n_mine', 'n_page');
SELECT relation::regclass, mode FROM pg_locks WHERE locktype = 'relation' AND relation IN ('mine'::regclass, 'page'::regclass);
COMMIT;
RESET ROLE;
SELECT * FROM noted WHERE note ~ 'n_mine';
SELECT cache_notify.repair();
SELECT * FROM noted WHERE note ~ 'n_mine';
SET ROLE note_mallory;
SELECT cache_notify.remove_cascade_rule('n_mine', 'n_page');
RESET ROLE;
SELECT * FROM noted WHERE note ~ 'n_mine';
SELECT cache_notify.token(NULL, 'n_page') IS NOT NULL AS proven;

DELETE FROM cache_notify.cascade_rules WHERE source_domain LIKE 'n\_%';
SELECT * FROM noted;
DROP SCHEMA note CASCADE;
DROP ROLE note_owner, note_mallory;
