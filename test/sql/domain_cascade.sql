-- Serves cascades: what a rule names moves with its source, in the same statement
-- and for the same tenant, however the rules are connected. And G4: a domain that
-- a rule only notifies still moves when it changes itself.
-- A failure shows as a target that did not move, moved more than once for one
-- statement, or moved for somebody else.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO item VALUES (1, 'a', 0), (2, 'b', 0), (3, NULL, 0);
:moved

-- The rules' table.
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'price');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, rule_type)
	VALUES ('item', 'price', 'notify'), ('price', 'offer', 'invalidate')
	ON CONFLICT (source_domain, target_domain) DO UPDATE SET rule_type = EXCLUDED.rule_type;
TABLE cache_notify.cascade_rules ORDER BY source_domain, target_domain;
INSERT INTO cache_notify.cascade_rules VALUES ('x', 'x');
INSERT INTO cache_notify.cascade_rules VALUES ('', 'x');
INSERT INTO cache_notify.cascade_rules VALUES ('x', '');
INSERT INTO cache_notify.cascade_rules VALUES (repeat('x', 64), 'y');
INSERT INTO cache_notify.cascade_rules VALUES ('y', repeat('ü', 32));
INSERT INTO cache_notify.cascade_rules VALUES ('x', 'y', 'refresh');
INSERT INTO cache_notify.cascade_rules VALUES ('x', NULL);
INSERT INTO cache_notify.cascade_rules VALUES ('x', 'y', NULL);
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'price');
DELETE FROM cache_notify.cascade_rules;
:moved

-- A chain, within the tenant; shared from shared.
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'price'), ('price', 'offer'), ('offer', 'page');
UPDATE item SET n = 1 WHERE id = 1;
:moved
UPDATE item SET n = 2 WHERE id = 3;
:moved
UPDATE item SET n = 3;
:moved
UPDATE item SET n = 3;
:moved
UPDATE item SET tenant_id = 'c' WHERE id = 2;
:moved
TRUNCATE item;
:moved
INSERT INTO item VALUES (1, 'a', 0), (2, 'b', 0);
:moved
BEGIN;
UPDATE item SET n = 4 WHERE id = 1;
:moved
UPDATE item SET n = 5 WHERE id = 1;
:moved
ROLLBACK;
:moved
-- By hand, from the middle.
SELECT cache_notify.invalidate('price', 'z');
:moved

-- A diamond, and a diamond with a longer side: once for each statement.
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules VALUES
	('item', 'left'), ('item', 'right'), ('left', 'bottom'), ('right', 'middle'), ('middle', 'bottom');
UPDATE item SET n = n + 1;
:moved
BEGIN;
UPDATE item SET n = n + 1 WHERE id = 1;
UPDATE item SET n = n + 1 WHERE id = 1;
COMMIT;
:moved

-- Cycles end: of two, of three, with a tail; the source is not bumped again.
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'two'), ('two', 'item');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
SELECT cache_notify.invalidate('two', 'a');
:moved
INSERT INTO cache_notify.cascade_rules VALUES ('two', 'three'), ('three', 'item'), ('three', 'tail');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
SELECT cache_notify.invalidate('three');
:moved

-- A rule that only notifies bumps nothing and goes no further.
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'heard', 'notify'), ('heard', 'further', 'invalidate');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
SELECT cache_notify.invalidate('heard', 'a');
:moved
-- Where both kinds of rule lead to a target, it is bumped.
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'via', 'invalidate'), ('via', 'heard', 'invalidate');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
DELETE FROM cache_notify.cascade_rules;

-- What was notified and then changes in the same statement moves, with all that
-- depends on it, whichever comes first.
CREATE TABLE other (id int PRIMARY KEY, tenant_id text);
SELECT cache_notify.setup_table_invalidation('other');
INSERT INTO cache_notify.cascade_rules VALUES
	('item', 'other', 'notify'), ('other', 'after_other', 'invalidate');
WITH x AS (UPDATE item SET n = n + 1 WHERE id = 1 RETURNING id)
	INSERT INTO other SELECT 10 + id, 'a' FROM x;
:moved
WITH x AS (INSERT INTO other VALUES (20, 'a') RETURNING id)
	UPDATE item SET n = n + 1 FROM x WHERE item.id = 1;
:moved
-- One table that feeds both: the first one's trigger must not hide the second.
SELECT cache_notify.setup_table_invalidation('item', 'zitem');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'zitem', 'notify'), ('zitem', 'after_zitem', 'invalidate');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
-- Two sources, one that notifies the target and one that bumps it.
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'target', 'notify'), ('zitem', 'target', 'invalidate');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'target', 'invalidate'), ('zitem', 'target', 'notify');
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
-- Both bump it: once.
UPDATE cache_notify.cascade_rules SET rule_type = 'invalidate';
UPDATE item SET n = n + 1 WHERE id = 1;
:moved
TRUNCATE item;
:moved
SELECT cache_notify.remove_table_invalidation('item', 'zitem');
DELETE FROM cache_notify.cascade_rules;

-- Rules of the same transaction count for its later statements, until they are
-- rolled back or changed again.
INSERT INTO item VALUES (1, 'a', 0);
:moved
BEGIN;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'new');
UPDATE item SET n = 1;
:moved
SAVEPOINT s;
UPDATE cache_notify.cascade_rules SET target_domain = 'newer';
UPDATE item SET n = 2;
:moved
ROLLBACK TO s;
UPDATE item SET n = 3;
:moved
UPDATE cache_notify.cascade_rules SET rule_type = 'notify';
UPDATE item SET n = 4;
:moved
DELETE FROM cache_notify.cascade_rules;
UPDATE item SET n = 5;
:moved
ROLLBACK;
:moved
UPDATE item SET n = 6;
:moved
-- TRUNCATE and COPY change rules, too.
COPY cache_notify.cascade_rules (source_domain, target_domain, rule_type) FROM stdin;
item	copied	invalidate
\.
UPDATE item SET n = 7;
:moved
TRUNCATE cache_notify.cascade_rules;
UPDATE item SET n = 8;
:moved
-- A rule made after the change and before the commit is heeded at the commit.
BEGIN;
UPDATE item SET n = 9;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'late'), ('late', 'later');
:moved
COMMIT;
:moved

DELETE FROM cache_notify.cascade_rules;
DROP TABLE item, other;

-- Every tenant's change into the target's shared version, and on from there; also
-- where another path stays within the tenant, and back to the source.
CREATE TABLE bill (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('bill', keys => '{id}');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, tenants) VALUES ('bill', 'total', 'all');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES ('total', 'page'), ('bill', 'own');
INSERT INTO bill VALUES (1, 'a', 1), (2, 'b', 1), (3, NULL, 1);
:moved
UPDATE bill SET n = 2 WHERE id = 1;
:moved
SELECT cache_notify.invalidate('bill/2', 'b');
:moved
TRUNCATE bill;
:moved
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES ('own', 'page');
INSERT INTO bill VALUES (1, 'a', 1);
:moved
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, rule_type, tenants) VALUES ('own', 'heard', 'notify', 'all');
UPDATE bill SET n = 3;
:moved
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES ('page', 'bill');
UPDATE bill SET n = 4;
:moved
SELECT cache_notify.invalidate('bill');
:moved
SELECT cache_notify.invalidate('bill', 'z');
:moved
DELETE FROM cache_notify.cascade_rules;
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, tenants) VALUES ('bill', 'total', 'none');
-- A view over tables with tenants that does not say whose its rows are.
CREATE VIEW v_turnover AS SELECT sum(n) AS n FROM bill;
CREATE VIEW v_turnovers AS SELECT tenant_id, sum(n) AS n FROM bill GROUP BY 1;
SELECT cache_notify.setup_view_invalidation('v_turnover'), cache_notify.setup_view_invalidation('v_turnovers');
UPDATE bill SET n = 5;
:moved
DROP VIEW v_turnover, v_turnovers;
DROP TABLE bill;
