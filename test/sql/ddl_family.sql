-- Partitions and child tables: what the server does not clone is there by itself.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
CREATE SCHEMA fam;
SET search_path = fam;
CREATE FUNCTION bumps(command text, domain text DEFAULT 'log') RETURNS bigint
	LANGUAGE plpgsql AS $$
DECLARE
	before bigint := cache_notify.version(domain);
BEGIN
	EXECUTE command;
	RETURN cache_notify.version(domain) - before;
END $$;
CREATE VIEW family AS
	SELECT tgrelid::regclass::text AS relation, string_agg(
		replace(function, '_change', '') || CASE WHEN tgparentid <> 0 THEN ' (clone)' WHEN inherited THEN ' (inherited)' ELSE '' END
		|| CASE tgenabled WHEN 'O' THEN '' ELSE ' ' || tgenabled::text END, ', ' ORDER BY function) AS triggers, domain
	FROM _cache_notify.watching_trigger GROUP BY tgrelid, domain ORDER BY 1, 3;

CREATE TABLE log (day int, id int, tenant_id text) PARTITION BY RANGE (day);
CREATE TABLE log1 PARTITION OF log FOR VALUES FROM (1) TO (2);
SELECT cache_notify.setup_table_invalidation('log');
CREATE TABLE log2 PARTITION OF log FOR VALUES FROM (2) TO (3) PARTITION BY LIST (id);
CREATE TABLE log2a PARTITION OF log2 FOR VALUES IN (1);
CREATE TABLE log3 (LIKE log);
INSERT INTO log3 VALUES (3, 1);
SELECT c, bumps(c) FROM unnest(ARRAY[
	'CREATE TABLE log4 PARTITION OF log FOR VALUES FROM (4) TO (5)',
	'ALTER TABLE log ATTACH PARTITION log3 FOR VALUES FROM (3) TO (4)',
	'TRUNCATE log3',
	'TRUNCATE log4, log1',
	'TRUNCATE log',
	'INSERT INTO log2a VALUES (2, 1)',
	'UPDATE log SET day = 1 WHERE day = 2',
	'ALTER TABLE log DETACH PARTITION log4',
	'TRUNCATE log4',
	'INSERT INTO log4 VALUES (4)',
	'DROP TABLE log3',
	'ALTER TABLE log1 RENAME TO log_1',
	'ALTER TABLE log DETACH PARTITION log2',
	'INSERT INTO log2a VALUES (2, 1)']) WITH ORDINALITY AS u (c, i) ORDER BY i;
SELECT * FROM family;
-- Attached again, with its own partitions; and one that is watched by itself.
SELECT cache_notify.setup_table_invalidation('log4', 'log');
SELECT cache_notify.setup_table_invalidation('log4', 'four');
SELECT bumps('ALTER TABLE log ATTACH PARTITION log2 FOR VALUES FROM (2) TO (3)'),
	bumps('ALTER TABLE log ATTACH PARTITION log4 FOR VALUES FROM (4) TO (5)');
SELECT * FROM family;
-- Attaching an index, and failing to attach
CREATE INDEX ON ONLY log (id);
CREATE INDEX log_1_id ON log_1 (id);
ALTER INDEX log_id_idx ATTACH PARTITION log_1_id;
\set VERBOSITY sqlstate
ALTER TABLE log ATTACH PARTITION family FOR VALUES FROM (7) TO (8);
\set VERBOSITY default
ALTER TABLE log ATTACH PARTITION nobody FOR VALUES FROM (7) TO (8);
-- DETACH CONCURRENTLY bumps when the partition goes out of sight, and when it is gone.
SELECT cache_notify.version('log') AS before \gset
ALTER TABLE log DETACH PARTITION log2 CONCURRENTLY;
SELECT cache_notify.version('log') - :before AS bumps;
SELECT * FROM family WHERE relation LIKE 'log2%';
-- One that is watched by itself goes on being so.
SELECT bumps('INSERT INTO log4 VALUES (4)');
ALTER TABLE log DETACH PARTITION log4;
SELECT bumps('INSERT INTO log4 VALUES (4)');
ALTER TABLE log ATTACH PARTITION log4 FOR VALUES FROM (4) TO (5);
-- A partition cannot leave by itself; a new configuration goes to all, and
-- replaces what partitions had for this domain.
SELECT cache_notify.remove_table_invalidation('log_1', all_domains => true);
SELECT cache_notify.setup_table_invalidation('log', channel => 'other', granularity => 'statement', fire_on_replica => true);
SELECT * FROM family;
SELECT bumps('INSERT INTO log4 VALUES (4)');
SELECT cache_notify.remove_table_invalidation('log', all_domains => true);
SELECT * FROM family;
DROP TABLE log, log2, log4;

-- Inheritance
CREATE TABLE base (id int, tenant_id text);
CREATE TABLE child1 (x int) INHERITS (base);
CREATE TABLE grandchild (y int) INHERITS (child1);
SELECT cache_notify.setup_table_invalidation('base', 'log');
CREATE TABLE child2 (x int) INHERITS (base);
CREATE TEMP TABLE mine () INHERITS (base);
CREATE TABLE loner (id int, tenant_id text);
INSERT INTO loner VALUES (1);
SELECT * FROM family;
SELECT c, bumps(c) FROM unnest(ARRAY[
	'INSERT INTO child1 VALUES (1)',
	'INSERT INTO grandchild VALUES (1)',
	'INSERT INTO child2 VALUES (1)',
	'UPDATE base SET id = 2',
	'TRUNCATE child2',
	'TRUNCATE base',
	'ALTER TABLE loner INHERIT base',
	'UPDATE loner SET id = 3',
	'ALTER TABLE loner NO INHERIT base',
	'UPDATE loner SET id = 4',
	'ALTER TABLE child1 NO INHERIT base',
	'INSERT INTO grandchild VALUES (1)',
	'ALTER TABLE child1 INHERIT base',
	'INSERT INTO grandchild VALUES (1)',
	'ALTER TABLE base RENAME tenant_id TO org',
	'ALTER TABLE child2 ADD more int',
	'DROP TABLE grandchild',
	'DROP TABLE loner']) WITH ORDINALITY AS u (c, i) ORDER BY i;
SELECT * FROM family;
INSERT INTO child1 VALUES (1, 'o');
SELECT cache_notify.version('log', 'o') - cache_notify.version('log', 'never was') AS o;
SELECT cache_notify.remove_table_invalidation('base', all_domains => true);
SELECT * FROM family;

-- Whoever makes a table a child need have no rights on cache_notify's side,
-- nor the right to create triggers.
CREATE ROLE regress_cn_family;
GRANT CREATE, USAGE ON SCHEMA fam TO regress_cn_family;
CREATE TABLE log (day int) PARTITION BY RANGE (day);
SELECT cache_notify.setup_table_invalidation('log');
ALTER TABLE log OWNER TO regress_cn_family;
SET ROLE regress_cn_family;
REVOKE TRIGGER ON log FROM regress_cn_family;
CREATE TABLE log1 PARTITION OF log FOR VALUES FROM (1) TO (2);
RESET ROLE;
SELECT * FROM family;
-- If it cannot be done, the command succeeds all the same, with a warning.
ALTER FUNCTION cache_notify.inherit_triggers(regclass) RENAME TO gone;
SET ROLE regress_cn_family;
SET client_min_messages = notice;
CREATE TABLE log2 PARTITION OF log FOR VALUES FROM (2) TO (3);
SET client_min_messages = warning;
RESET ROLE;
ALTER FUNCTION cache_notify.gone(regclass) RENAME TO inherit_triggers;
SELECT table_name, enabled, problem FROM cache_notify.v_invalidation_status;
SELECT cache_notify.inherit_triggers('log');
SELECT table_name, enabled, problem FROM cache_notify.v_invalidation_status;
DROP SCHEMA fam CASCADE;
DROP ROLE regress_cn_family;
