-- Serves G1 and G3 with savepoints: what a rolled-back savepoint changed leaves
-- nothing, what was changed before it and after it stays, at every depth.
-- A failure shows as a counter that moved by more or less than the statements
-- that were kept; at the end, as a walk whose count differs.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO cache_notify.cascade_rules VALUES
	('item', 'item_target', 'invalidate'), ('item', 'item_heard', 'notify');
INSERT INTO item VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0);
:moved

-- Rolled back: nothing left.
BEGIN;
SAVEPOINT s;
UPDATE item SET n = 1 WHERE id = 1;
:moved
ROLLBACK TO s;
:moved
COMMIT;
:moved

-- The same key before, inside and after.
BEGIN;
UPDATE item SET n = 2 WHERE id = 1;
:moved
SAVEPOINT s;
UPDATE item SET n = 3 WHERE id = 1;
UPDATE item SET n = 4 WHERE id = 1;
:moved
ROLLBACK TO s;
SELECT * FROM cache_notify.pending_changes() ORDER BY domain COLLATE "C";
UPDATE item SET n = 5 WHERE id = 1;
RELEASE s;
UPDATE item SET n = 6 WHERE id = 1;
:moved
COMMIT;
:moved

-- Nested: released into one that is rolled back, and into one that is kept.
BEGIN;
SAVEPOINT s1;
UPDATE item SET n = 7 WHERE id = 1;
SAVEPOINT s2;
UPDATE item SET n = 7 WHERE id = 2;
SAVEPOINT s3;
UPDATE item SET n = 9 WHERE id IN (2, 3);
RELEASE s3;
SELECT * FROM cache_notify.pending_changes() WHERE domain = 'item' ORDER BY tenant_id;
ROLLBACK TO s2;
SELECT * FROM cache_notify.pending_changes() WHERE domain = 'item' ORDER BY tenant_id;
UPDATE item SET n = 8 WHERE id = 3;
SAVEPOINT s4;
UPDATE item SET n = 8 WHERE id = 2;
RELEASE s1;
COMMIT;
:moved

-- The inner one kept, the outer one not; a level without changes in between.
BEGIN;
UPDATE item SET n = 10 WHERE id = 1;
SAVEPOINT s1;
SAVEPOINT s2;
SAVEPOINT s3;
UPDATE item SET n = 11 WHERE id = 1;
RELEASE s3;
RELEASE s2;
UPDATE item SET n = 12 WHERE id = 1;
ROLLBACK TO s1;
UPDATE item SET n = 13 WHERE id = 1;
:moved
COMMIT;

-- Rolled back twice to the same savepoint.
BEGIN;
SAVEPOINT s;
UPDATE item SET n = 14 WHERE id = 1;
ROLLBACK TO s;
UPDATE item SET n = 15 WHERE id = 1;
ROLLBACK TO s;
UPDATE item SET n = 16 WHERE id = 1;
COMMIT;
:moved

-- A statement that fails half way, and goes on after the savepoint.
BEGIN;
SAVEPOINT s;
UPDATE item SET n = 1 / (3 - id);
ROLLBACK TO s;
UPDATE item SET n = 17 WHERE id = 1;
COMMIT;
:moved
-- One that fails after our row triggers have fired and before the statement's.
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN IF (SELECT sum(n) FROM item) = 54 THEN RAISE '54'; END IF; RETURN NULL; END$$;
CREATE TRIGGER a_fail AFTER UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION fail();
BEGIN;
SAVEPOINT s;
UPDATE item SET n = 18;
ROLLBACK TO s;
:moved
UPDATE item SET n = 19 WHERE id = 1;
:moved
COMMIT;
DROP TRIGGER a_fail ON item;

-- TRUNCATE, invalidate() and statement granularity roll back as well.
BEGIN;
SELECT cache_notify.invalidate('item', 'a');
SAVEPOINT s;
TRUNCATE item;
SELECT cache_notify.invalidate('item', 'a');
SELECT cache_notify.invalidate('item');
ROLLBACK TO s;
SELECT cache_notify.invalidate('item', 'b');
COMMIT;
:moved
SELECT cache_notify.setup_table_invalidation('item', 'by_statement', granularity => 'statement');
BEGIN;
SAVEPOINT s;
DELETE FROM item;
ROLLBACK TO s;
UPDATE item SET n = 20 WHERE id = 1;
COMMIT;
:moved
SELECT cache_notify.remove_table_invalidation('item', 'by_statement');

-- Exception blocks of PL/pgSQL are savepoints, also in a loop and in a trigger.
DO $$
BEGIN
	FOR i IN 1..2000 LOOP
		BEGIN
			UPDATE item SET n = n + 1 WHERE id = 1 + i % 3;
			IF i % 2 = 0 THEN
				RAISE 'undo';
			END IF;
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END
$$;
:moved

-- A random walk through nested blocks. What should be left is counted in
-- variables that a rollback restores with the block; the seed is fixed.
CREATE FUNCTION walk(depth int, INOUT expected bigint[]) LANGUAGE plpgsql AS $$
DECLARE
	saved bigint[];
	which int;
BEGIN
	FOR step IN 1..4 LOOP
		which := 1 + floor(random() * 3);
		IF random() < 0.5 THEN
			UPDATE item SET n = n + 1 WHERE id = which;
			expected[which] := expected[which] + 1;
		END IF;
		IF depth < 7 AND random() < 0.6 THEN
			saved := expected;
			BEGIN
				expected := walk(depth + 1, expected);
				IF random() < 0.4 THEN
					RAISE 'undo';
				END IF;
			EXCEPTION WHEN raise_exception THEN
				expected := saved;
			END;
		END IF;
		IF expected <> ARRAY(SELECT cache_notify.version('item', t) FROM unnest('{a,b,c}'::text[]) AS t) THEN
			RAISE EXCEPTION 'expected %, found %', expected,
				ARRAY(SELECT cache_notify.version('item', t) FROM unnest('{a,b,c}'::text[]) AS t)
				USING ERRCODE = 'assert_failure';
		END IF;
	END LOOP;
END
$$;
SELECT setseed(0.5) IS NULL;
DO $$
DECLARE
	expected bigint[];
BEGIN
	FOR i IN 1..20 LOOP
		expected := ARRAY(SELECT cache_notify.version('item', t) FROM unnest('{a,b,c}'::text[]) AS t);
		expected := walk(1, expected);
		ASSERT expected = ARRAY(SELECT cache_notify.version('item', t) FROM unnest('{a,b,c}'::text[]) AS t);
		COMMIT;
		ASSERT expected = ARRAY(SELECT cache_notify.version('item', t) FROM unnest('{a,b,c}'::text[]) AS t);
	END LOOP;
END
$$;
SELECT count(*) FROM cache_notify.pending_changes();
-- Everything went by cascade, too.
SELECT cache_notify.version('item_target', t) - cache_notify.version('item', t) AS difference
	FROM unnest('{a,b,c}'::text[]) AS t;
SELECT cache_notify.version('item_heard', 'a');

-- A trigger by hand that is deferred, and fires once more when what it did is taken back.
CREATE TABLE late (n int);
CREATE CONSTRAINT TRIGGER r AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change('domain=late');
BEGIN;
INSERT INTO late VALUES (1);
SAVEPOINT s;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO s;
SET CONSTRAINTS ALL IMMEDIATE;
COMMIT;
SELECT _cache_notify.counted('late');
DROP TABLE late;

DROP TABLE item;
DROP FUNCTION walk, fail;
DELETE FROM cache_notify.cascade_rules;
