-- Serves G1 where one statement reaches the same (domain, tenant) in several
-- ways: through two tables, two triggers, two cascades, a foreign key.
-- A failure shows as +2 where one statement ran, or as "nothing", or as +1 where
-- two statements ran.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE a (id int PRIMARY KEY, tenant_id text, v int);
CREATE TABLE b (id int PRIMARY KEY, tenant_id text, v int);
INSERT INTO a SELECT i, 't', i FROM generate_series(1, 3) AS i;
INSERT INTO b SELECT i, 't', i FROM generate_series(1, 3) AS i;

-- Two tables of one domain, written by one statement.
SELECT cache_notify.setup_table_invalidation('a', 'both');
SELECT cache_notify.setup_table_invalidation('b', 'both');
WITH x AS (UPDATE a SET v = v + 1) UPDATE b SET v = v + 1;
:moved
WITH x AS (UPDATE a SET v = v + 1 RETURNING id) UPDATE b SET v = v + 1 FROM x WHERE x.id = b.id;
:moved
WITH x AS (UPDATE a SET v = v + 1 RETURNING id) INSERT INTO b SELECT id + 10, 't', 0 FROM x;
:moved
WITH x AS (DELETE FROM b WHERE id > 10 RETURNING id - 10 AS id), y AS (SELECT id FROM x ORDER BY id)
	UPDATE a SET v = v + 1 FROM y WHERE y.id = a.id;
:moved
BEGIN;
WITH x AS (UPDATE a SET v = v + 1) UPDATE b SET v = v + 1;
WITH x AS (UPDATE a SET v = v + 1) UPDATE b SET v = v + 1;
:moved
COMMIT;
TRUNCATE a, b;
:moved
INSERT INTO a SELECT i, 't', i FROM generate_series(1, 3) AS i;
INSERT INTO b SELECT i, 't', i FROM generate_series(1, 3) AS i;
:moved

-- The same at statement granularity.
SELECT cache_notify.setup_table_invalidation('a', 'both', granularity => 'statement');
SELECT cache_notify.setup_table_invalidation('b', 'both', granularity => 'statement');
WITH x AS (UPDATE a SET v = v + 1) UPDATE b SET v = v + 1;
:moved
BEGIN;
UPDATE a SET v = v + 1;
UPDATE b SET v = v + 1;
:moved
COMMIT;
-- One table by rows, the other by statements.
SELECT cache_notify.setup_table_invalidation('a', 'both');
WITH x AS (UPDATE a SET v = v + 1) UPDATE b SET v = v + 1;
:moved
SELECT cache_notify.remove_table_invalidation('a', all_domains => true);
SELECT cache_notify.remove_table_invalidation('b', all_domains => true);

-- Two domains that cascade to the same third one, and one to the other.
SELECT cache_notify.setup_table_invalidation('a', 'one_a');
SELECT cache_notify.setup_table_invalidation('b', 'one_b');
INSERT INTO cache_notify.cascade_rules VALUES ('one_a', 'one_c'), ('one_b', 'one_c');
WITH x AS (UPDATE a SET v = v + 1) UPDATE b SET v = v + 1;
:moved
TRUNCATE a, b;
:moved
INSERT INTO cache_notify.cascade_rules VALUES ('one_a', 'one_b');
TRUNCATE a, b;
:moved
INSERT INTO a VALUES (1, 't', 1), (2, 't', 2);
:moved
WITH x AS (UPDATE a SET v = v + 1 RETURNING id) INSERT INTO b SELECT id, 't', 0 FROM x;
:moved
DELETE FROM cache_notify.cascade_rules;
SELECT cache_notify.remove_table_invalidation('a', all_domains => true);
SELECT cache_notify.remove_table_invalidation('b', all_domains => true);

-- A foreign key between two tables of one domain: still one statement.
CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE, tenant_id text);
INSERT INTO child VALUES (1, 1, 't'), (2, 1, 't'), (3, 2, 't');
SELECT cache_notify.setup_table_invalidation('a', 'family');
SELECT cache_notify.setup_table_invalidation('child', 'family');
UPDATE a SET id = id + 10;
:moved
DELETE FROM a;
:moved
SELECT count(*) FROM child;
DROP TABLE child;

-- A statement trigger of the user's that writes, between those of ours.
CREATE TABLE log (event text);
CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END$$;
CREATE TRIGGER z AFTER INSERT OR UPDATE OR TRUNCATE ON b FOR EACH STATEMENT EXECUTE FUNCTION write_log();
CREATE TRIGGER a AFTER INSERT OR UPDATE OR TRUNCATE ON b FOR EACH STATEMENT EXECUTE FUNCTION write_log();
SELECT cache_notify.setup_table_invalidation('b', granularity => 'statement');
INSERT INTO b VALUES (1, 't', 1), (9, 't', 9) ON CONFLICT (id) DO UPDATE SET v = 0;
:moved
TRUNCATE b, a;
:moved
DROP TABLE a, b, log;
DROP FUNCTION write_log();
