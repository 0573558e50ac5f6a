-- pgbench: changes of ledger that are counted in its rows, in every way that makes
-- a difference to the change set; none of them may fail.
\set id random(1, 50)
\set other random(1, 50)
\set how random(1, 10)
BEGIN;
\if :how = 1
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
SAVEPOINT s;
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
ROLLBACK TO s;
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
\elif :how = 2
SAVEPOINT a;
SAVEPOINT b;
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
RELEASE b;
RELEASE a;
\elif :how = 3
INSERT INTO shop.entry SELECT i, 'tenant ' || i FROM generate_series(1, 20) i;
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
DELETE FROM shop.entry WHERE id = :other % 20 + 1;
\elif :how = 4
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
ROLLBACK;
BEGIN;
\else
UPDATE shop.ledger SET written = written + 1 WHERE id = :id;
\endif
COMMIT;
