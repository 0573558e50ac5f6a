BEGIN;
UPDATE price SET amount = 99 WHERE id = 1 RETURNING amount, ask('price') AS price, ask('shop') AS shop, ask('tag') AS tag, ask('part1') AS part1;
-- and when it is through, as for any change
SELECT ask('price') AS price, ask('tag') AS tag;
ROLLBACK;
SELECT d, ask(d) FROM before ORDER BY d;
BEGIN;
INSERT INTO price VALUES (3, 'acme', 30) RETURNING ask('price');
ROLLBACK;
BEGIN;
DELETE FROM price WHERE id = 2 RETURNING ask('price') AS price, ask('tag') AS tag;
ROLLBACK;
BEGIN;
INSERT INTO price VALUES (1, 'acme', 30) ON CONFLICT (id) DO UPDATE SET amount = 1 RETURNING ask('price');
ROLLBACK;
BEGIN;
WITH u AS (UPDATE price SET amount = 98 RETURNING amount) SELECT amount, ask('price') AS price, ask('tag') AS tag FROM u;
ROLLBACK;
BEGIN;
WITH u AS (UPDATE price SET amount = 98 RETURNING ask('price')), d AS (DELETE FROM tag RETURNING ask('tag')) SELECT u.*, d.* FROM u, d LIMIT 1;
ROLLBACK;
-- rows that go to a partition, and granularity statement
BEGIN;
INSERT INTO part VALUES (1, 1) RETURNING ask('part1') AS part1, ask('price') AS price;
INSERT INTO plain VALUES (1) RETURNING ask('plain');
UPDATE tag SET name = 'y' WHERE id = 2 RETURNING ask('tag') AS tag, ask('tag/1') AS key;
ROLLBACK;
-- in a function, in its cursor, and after a savepoint
BEGIN;
DO $$
DECLARE
	said text;
BEGIN
	UPDATE price SET amount = 1 WHERE id = 1 RETURNING ask('price') INTO said;
	RAISE INFO 'within: %', said;
	BEGIN
		UPDATE tag SET name = 'x' WHERE 1 / (id - 2) < 3 AND ask('tag') = 'x';
	EXCEPTION WHEN division_by_zero THEN
		RAISE INFO 'the failed one: %', ask('tag');
	END;
END $$;
ROLLBACK;
SELECT d, ask(d) FROM before ORDER BY d;
-- triggers: before, and after, in front of ours; what foreign keys do is part of the statement
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON price FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER a_after AFTER INSERT OR UPDATE OR DELETE ON price FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER a_truncate AFTER TRUNCATE ON price FOR EACH STATEMENT EXECUTE FUNCTION note();
BEGIN;
UPDATE price SET amount = 97 WHERE id = 1;
DELETE FROM price WHERE id = 3;
ROLLBACK;
BEGIN;
DROP TRIGGER a ON price;	-- would skip the row
DELETE FROM price WHERE id = 1;
ROLLBACK;
BEGIN;
COPY price FROM STDIN;
5	acme	5
\.
TRUNCATE price CASCADE;
ROLLBACK;
DROP TRIGGER a ON price;
DROP TRIGGER a_after ON price;
DROP TRIGGER a_truncate ON price;
SELECT d, ask(d) FROM before ORDER BY d;
