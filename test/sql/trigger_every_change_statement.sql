-- Every way to change what a SELECT returns, seen by statement.
\set options ', granularity => ''statement'''
\set tenant NULL
\i test/include/every_change.sql
SELECT count(*), count(current) AS with_token, count(*) FILTER (WHERE token IS NULL) AS not_tried FROM way;
-- The rule; nothing here is an exception.
SELECT * FROM way WHERE changed AND current;
-- Whatever the status has a complaint about has no token.
SELECT * FROM way WHERE token AND status LIKE '%: %' AND status NOT LIKE '%: no problem';
SELECT kind, count(*), count(*) FILTER (WHERE token) AS tokens, count(*) FILTER (WHERE NOT current) AS outdated, count(*) FILTER (WHERE moved) AS moved
	FROM way GROUP BY kind ORDER BY min(n);
SELECT kind, change, moved, reason, status FROM way WHERE NOT token ORDER BY n;
DROP SCHEMA every, cn_every2 CASCADE;
DROP ROLE regress_cn_every;
