-- G8: v_invalidation_status says when what a view reads is not what the rules of its
-- set-up carry, and when they would do; and nothing of a view's rules outlives it (G10).
-- A failure shows as a problem that is not told (NULL), or one that is not there.
\set ECHO none
\i test/include/moved.sql
CREATE SCHEMA s;
SET search_path = s;
CREATE TABLE bill (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE rate (id int PRIMARY KEY, n int);
CREATE TABLE other (id int PRIMARY KEY, n int);
CREATE FUNCTION factor() RETURNS int LANGUAGE sql STABLE AS 'SELECT max(n) FROM rate';
CREATE VIEW v_due AS SELECT tenant_id, n * factor() AS n FROM bill;
CREATE FUNCTION told() RETURNS TABLE (domain text, enabled boolean, problem text) LANGUAGE sql AS $$
	SELECT domain, enabled, problem FROM cache_notify.v_invalidation_status
	WHERE table_name = 'v_due'::regclass
$$;
\set ECHO all
SELECT cache_notify.setup_view_invalidation('v_due');
SELECT * FROM told();
-- Whoever asks, with whatever search_path: the one of the set-up counts.
CREATE ROLE regress_stranger;
GRANT USAGE ON SCHEMA s TO regress_stranger;
SET ROLE regress_stranger;
SET search_path = pg_catalog;
SELECT domain, problem FROM cache_notify.v_invalidation_status WHERE domain = 'due';
RESET ROLE;
-- Nobody is told of it who may not act as its owner: that would need code of the owner's.
REVOKE USAGE ON SCHEMA s FROM regress_stranger;
SET ROLE regress_stranger;
SELECT domain, problem FROM cache_notify.v_invalidation_status WHERE domain = 'due';
RESET ROLE;
DROP ROLE regress_stranger;
SET search_path = s;

-- A function in it, or the view itself, reads another table now: watched or not.
CREATE OR REPLACE FUNCTION factor() RETURNS int LANGUAGE sql STABLE AS 'SELECT max(n) FROM other';
SELECT * FROM told();
SELECT cache_notify.setup_table_invalidation('other');
SELECT * FROM told();
SELECT cache_notify.setup_view_invalidation('v_due');
SELECT * FROM told();
CREATE OR REPLACE VIEW v_due AS SELECT tenant_id, n * factor() + (SELECT max(n) FROM rate) AS n FROM bill;
SELECT * FROM told();
-- What it does not read any more: a rule too many, or one that makes it unknown.
CREATE OR REPLACE VIEW v_due AS SELECT tenant_id, n FROM bill;
SELECT * FROM told();
SELECT cache_notify.remove_table_invalidation('other');
SELECT * FROM told(), cache_notify.token('a', 'due');
SELECT cache_notify.setup_view_invalidation('v_due');
SELECT * FROM told();
SELECT cache_notify.token('a', 'due') IS NOT NULL AS token;
-- A type that it returns, a function that is new in it.
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 2 * n';
CREATE OR REPLACE VIEW v_due AS SELECT tenant_id, twice(n) AS n FROM bill;
SELECT * FROM told();
CREATE OR REPLACE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 2 * n; END';
SELECT * FROM told();
CREATE OR REPLACE VIEW v_due AS SELECT tenant_id, n FROM bill;

-- A source is no longer watched, or disabled, or has another domain.
SELECT cache_notify.setup_view_invalidation('v_due');
ALTER TABLE bill DISABLE TRIGGER cache_notify_row_bill;
SELECT * FROM told();
ALTER TABLE bill ENABLE TRIGGER ALL;
SELECT cache_notify.setup_table_invalidation('bill', 'bills');
SELECT * FROM told();
SELECT cache_notify.remove_table_invalidation('bill');
SELECT * FROM told();
SELECT cache_notify.setup_view_invalidation('v_due');
SELECT * FROM told();
SELECT cache_notify.remove_table_invalidation('bill', 'bills');
SELECT * FROM told();
SELECT cache_notify.setup_view_invalidation('v_due');

-- Rules that somebody has taken out of the label.
SECURITY LABEL FOR cache_notify ON VIEW v_due IS '{domain=due,all_tenants=false}';
SELECT * FROM told();
SECURITY LABEL FOR cache_notify ON VIEW v_due IS '{domain=due,source=bill,"search_path=no such"}';
SELECT * FROM told();
-- It does not say any more whose its rows are.
SELECT cache_notify.setup_view_invalidation('v_due');
DROP VIEW v_due;
CREATE VIEW v_due AS SELECT sum(n) AS n FROM bill;
SELECT cache_notify.setup_table_invalidation('bill', tenant_column => '');
SELECT cache_notify.setup_view_invalidation('v_due');
SELECT * FROM told();
SELECT cache_notify.setup_table_invalidation('bill');
SELECT * FROM told();

-- Its rules go with it, and by remove_view_invalidation().
SELECT source_domain, target_domain, carried_by FROM cache_notify.v_cascade_rules
	WHERE source_domain NOT LIKE 'cache_notify/%' ORDER BY 1, 2;
SELECT cache_notify.remove_view_invalidation('v_due');
SELECT count(*) FROM cache_notify.v_cascade_rules;
SELECT cache_notify.setup_view_invalidation('v_due');
DROP VIEW v_due;
SELECT count(*) FROM cache_notify.v_cascade_rules;
UPDATE bill SET n = 1;
:moved
INSERT INTO bill VALUES (1, 'a', 1);
:moved
-- Rolled back, they are there again; with its schema, or its tables, they go.
CREATE VIEW v_due AS SELECT sum(n) AS n FROM bill;
SELECT cache_notify.setup_view_invalidation('v_due');
BEGIN;
DROP TABLE bill CASCADE;
SELECT count(*) FROM cache_notify.v_cascade_rules;
ROLLBACK;
SELECT count(*) > 0 AS there FROM cache_notify.v_cascade_rules;
\set ECHO none
SET client_min_messages = error;
DROP SCHEMA s CASCADE;
\set ECHO all
SELECT count(*) FROM cache_notify.v_cascade_rules;
SELECT domain, problem FROM cache_notify.v_invalidation_status;
