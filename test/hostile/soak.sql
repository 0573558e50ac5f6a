-- pgbench: what soak's writers do. Rows are locked in the order of id, so that nobody
-- is caught in a deadlock.
\set id random(1, 20000)
\set tenant random(1, 100)
\set how random(1, 20)
\if :how <= 11
UPDATE shop.stock SET n = n + 1 WHERE id = :id;
\elif :how <= 13
BEGIN;
UPDATE shop.stock SET n = n + 1 WHERE id = :id;
SAVEPOINT a;
UPDATE shop.stock SET n = n + 1 WHERE id = :id + 1;
ROLLBACK TO a;
SAVEPOINT b;
UPDATE shop.stock SET n = n + 1 WHERE id = :id + 2;
COMMIT;
\elif :how = 14
UPDATE shop.stock SET n = n + 1 WHERE id IN
	(SELECT id FROM shop.stock WHERE id BETWEEN :id AND :id + 300 ORDER BY id FOR UPDATE);
\elif :how = 15
BEGIN;
INSERT INTO shop.feed VALUES (:id % 1000, 't' || :tenant, 'x');
DELETE FROM shop.feed WHERE id = :id % 1000;
COMMIT;
\elif :how = 16
DO $$
BEGIN
	FOR i IN 1 .. 20 LOOP
		BEGIN
			UPDATE shop.stock SET n = n + 1 WHERE id = 20000 + i;
			IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END
$$;
\elif :how = 17
BEGIN;
UPDATE shop.stock SET n = n + 1 WHERE id = :id;
ROLLBACK;
\elif :how = 18
SELECT cache_notify.is_current(cache_notify.token('t' || :tenant, 'stock', 'feed', 'stock/' || :id));
\elif :how = 19
SELECT count(*) FROM cache_notify.changes_since(cache_notify.current_position(), 't' || :tenant, 'stock');
\else
SELECT cache_notify.claim_refresh('r' || :id, cache_notify.token('t' || :tenant, 'stock'), '1 second');
\endif
