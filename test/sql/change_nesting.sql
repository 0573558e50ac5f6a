-- Serves G1 and G4 for statements inside functions and triggers: each counts for
-- itself, whatever runs before, inside or after it.
-- A failure shows as a sum that differs from the number of statements that
-- changed a row, or as "nothing".
\set ECHO none
\i test/include/moved.sql
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO item VALUES (1, 'a', 0), (2, 'b', 0);
:moved

-- Statements of a function, a loop, and a function called by a statement.
DO $$
BEGIN
	FOR i IN 1..5 LOOP
		UPDATE item SET n = i WHERE id = 1;
		ASSERT cache_notify.version('item', 'a') = 1 + i;
	END LOOP;
END
$$;
:moved
CREATE FUNCTION touch(which int) RETURNS int LANGUAGE plpgsql AS
	$$BEGIN UPDATE item SET n = n + 1 WHERE id = which; RETURN n FROM item WHERE id = which; END$$;
SELECT sum(touch(1)) > 0 FROM generate_series(1, 3);
:moved
-- The inner statements and the outer one, which writes another tenant or the same.
UPDATE item SET n = touch(1) WHERE id = 2;
:moved
INSERT INTO item SELECT 10 + i, 'a', touch(1) FROM generate_series(1, 3) AS i;
:moved
CREATE FUNCTION touch_sql(int) RETURNS int LANGUAGE sql AS
	$$UPDATE item SET n = n + 1 WHERE id = $1; UPDATE item SET n = n + 1 WHERE id = $1 RETURNING n$$;
SELECT touch_sql(2) > 0;
:moved
-- A procedure that commits on its way.
CREATE PROCEDURE step_by_step() LANGUAGE plpgsql AS $$
BEGIN
	UPDATE item SET n = -1 WHERE id = 1;
	COMMIT;
	UPDATE item SET n = -2 WHERE id = 1;
	ROLLBACK;
	UPDATE item SET n = -3 WHERE id = 1;
	UPDATE item SET n = -4 WHERE id = 1;
END
$$;
CALL step_by_step();
:moved
DROP PROCEDURE step_by_step();

-- A row trigger that writes another watched table: one statement for each row.
CREATE TABLE audit (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('audit');
CREATE FUNCTION write_audit() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO audit VALUES (NEW.id, NEW.tenant_id); RETURN NULL; END$$;
CREATE TRIGGER z_audit AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION write_audit();
UPDATE item SET n = 0 WHERE id IN (1, 2);
:moved
DROP TRIGGER z_audit ON item;
-- The same as a statement trigger, before and after those of ours by name.
CREATE FUNCTION write_audit_once() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO audit VALUES (0, 'once'); RETURN NULL; END$$;
CREATE TRIGGER a_audit AFTER UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION write_audit_once();
CREATE TRIGGER z_audit BEFORE UPDATE ON item FOR EACH STATEMENT EXECUTE FUNCTION write_audit_once();
UPDATE item SET n = 1 WHERE id IN (1, 2);
:moved
DROP TRIGGER a_audit ON item;
DROP TRIGGER z_audit ON item;

-- A row trigger that writes the table it is on, the same tenant: the statement
-- and one more for each row, whether it fires before ours or after.
CREATE FUNCTION touch_again() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN UPDATE item SET n = n + 100 WHERE id = NEW.id; RETURN NULL; END$$;
CREATE TRIGGER a_again AFTER UPDATE ON item FOR EACH ROW WHEN (NEW.n < 100) EXECUTE FUNCTION touch_again();
UPDATE item SET n = 0 WHERE tenant_id = 'a';
:moved
ALTER TRIGGER a_again ON item RENAME TO z_again;
UPDATE item SET n = 1 WHERE tenant_id = 'a';
:moved
DROP TRIGGER z_again ON item;

-- A trigger that calls itself down to some depth: as many statements as levels.
CREATE FUNCTION count_down() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN UPDATE item SET n = n - 1 WHERE id = NEW.id; RETURN NULL; END$$;
UPDATE item SET n = 0 WHERE id = 2;
:moved
CREATE TRIGGER z_count AFTER UPDATE ON item FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION count_down();
UPDATE item SET n = 1 WHERE id = 2;
:moved
UPDATE item SET n = 2 WHERE id = 2;
:moved
UPDATE item SET n = 3 WHERE id = 2;
:moved
ALTER TRIGGER z_count ON item RENAME TO a_count;
UPDATE item SET n = 3 WHERE id = 2;
:moved
UPDATE item SET n = 7 WHERE id = 2;
:moved
-- Deeper than four, what was counted already may be counted once for all levels
-- below, but a tenant that only the deepest level changes is never lost.
ALTER TRIGGER a_count ON item RENAME TO z_count;
CREATE FUNCTION at_the_bottom() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO audit VALUES (0, 'deep'); RETURN NULL; END$$;
CREATE TRIGGER y_bottom AFTER UPDATE ON item FOR EACH ROW WHEN (NEW.n = 0) EXECUTE FUNCTION at_the_bottom();
SELECT cache_notify.version('item', 'b') AS before \gset
UPDATE item SET n = 9 WHERE id = 2;
SELECT cache_notify.version('item', 'b') - :before BETWEEN 4 AND 10 AS counted;
SELECT cache_notify.version('audit', 'deep');
SELECT pg_temp.moved() LIKE '%DISAGREE' AS disagree;
DROP TRIGGER z_count ON item;
DROP TRIGGER y_bottom ON item;

-- BEFORE triggers: one that cancels, one that restores, one that changes.
CREATE FUNCTION before_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.n = -1 THEN
		RETURN NULL;
	ELSIF NEW.n = -2 THEN
		RETURN OLD;
	ELSIF NEW.n = -3 THEN
		NEW.tenant_id := 'moved';
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER z_before BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION before_item();
UPDATE item SET n = -1 WHERE id = 1;
INSERT INTO item VALUES (50, 'a', -1);
:moved
UPDATE item SET n = -2 WHERE id = 1;
:moved
UPDATE item SET n = -3 WHERE id = 1;
:moved
-- One that writes the table itself, before the row it is for.
CREATE OR REPLACE FUNCTION before_item() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN IF NEW.id = 2 THEN UPDATE item SET n = n + 1 WHERE id = 11; END IF; RETURN NEW; END$$;
UPDATE item SET n = 5 WHERE id = 2;
:moved
DROP TRIGGER z_before ON item;

-- A deferred constraint trigger writes when the transaction commits.
CREATE CONSTRAINT TRIGGER z_deferred AFTER UPDATE ON item DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION write_audit();
BEGIN;
UPDATE item SET n = 6 WHERE id = 2;
:moved
COMMIT;
:moved
BEGIN;
UPDATE item SET n = 7 WHERE id = 2;
SET CONSTRAINTS ALL IMMEDIATE;
:moved
ROLLBACK;
:moved
-- One that fails takes the whole transaction with it.
CREATE OR REPLACE FUNCTION write_audit() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO audit VALUES (1, 'x'); RAISE 'no'; END$$;
UPDATE item SET n = 8 WHERE id = 2;
:moved

DROP TABLE item, audit;
DROP FUNCTION touch, touch_sql, write_audit, write_audit_once, touch_again, count_down, before_item, at_the_bottom;
