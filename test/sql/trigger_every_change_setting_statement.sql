-- Every way to change what a SELECT returns, seen by statement, by a tenant that is
-- in a setting: a change of rows is his own, any other is everybody's.
\set options ', tenant_setting => ''app.tenant'', granularity => ''statement'''
\set tenant '''acme'''
SET app.tenant = 'acme';
\i test/include/every_change.sql
SELECT count(*), count(current) AS with_token, count(*) FILTER (WHERE token IS NULL) AS not_tried FROM way;
-- The rule; nothing here is an exception.
SELECT * FROM way WHERE changed AND current;
-- Whatever the status has a complaint about has no token.
SELECT * FROM way WHERE token AND status LIKE '%: %' AND status NOT LIKE '%: no problem';
-- Another tenant's token.
SELECT kind, change, others FROM way WHERE token AND others ORDER BY n;
SELECT kind, change, changed, others FROM way WHERE token AND NOT others ORDER BY n;
SELECT kind, change, moved, reason, status FROM way WHERE NOT token ORDER BY n;
DROP SCHEMA every, cn_every2 CASCADE;
DROP ROLE regress_cn_every;
