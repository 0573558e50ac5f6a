-- Versions, tokens and positions when the history of the counters is broken.
-- test/t tests what takes more than one server.
CREATE DATABASE cache_notify_history;
\c cache_notify_history
CREATE EXTENSION cache_notify;
SET search_path = cache_notify, _cache_notify, public;

-- A new extension: versions are plain numbers.
SELECT origin, timeline, database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS here,
	counter_oid = 'version_counter'::regclass AS counter, asynchronous,
	system_identifier = (SELECT system_identifier FROM pg_control_system()) AS cluster
FROM history;
SELECT invalidate('a', 't1'), invalidate('b');
SELECT version('a', 't1'), version('a'), version('never', 't1');
SELECT current_position() AS position \gset

-- Nobody writes state by SQL, and REFRESH does not empty it.
INSERT INTO version_counter (n, last_modified, domain, tenant_id) VALUES (5, now(), 'a', 't1');
UPDATE version_counter SET n = 0;
DELETE FROM history;
TRUNCATE owed_delivery;
COPY version_counter FROM stdin;
\.
REFRESH MATERIALIZED VIEW version_counter;
REFRESH MATERIALIZED VIEW history WITH NO DATA;
REFRESH MATERIALIZED VIEW owed_delivery WITH NO DATA;
SELECT version('a', 't1'), version('a'), version_origin();

-- A trigger that comes from a dump begins a new history, if versions start at 0: drop
-- everything, say no more.
SELECT token('t1', 'a') AS token, version('a', 't1') AS version \gset
CREATE TABLE public.item (id int);
SELECT setup_table_invalidation('public.item');
SELECT is_current(:'token'), version_origin() AS origin;
SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger WHERE tgrelid = 'public.item'::regclass ORDER BY tgname LIMIT 1 \gset
DROP TRIGGER cache_notify_row_item ON public.item;
BEGIN;
:definition;
ROLLBACK;
SELECT is_current(:'token'), version_origin() AS origin;
:definition;
SELECT is_current(:'token'), version('a', 't1') > :version AS forward, version_origin() > 0 AS origin;
-- But only once, and not by whoever owns the table.
SELECT token('t1', 'a') AS token \gset
DROP TRIGGER cache_notify_row_item ON public.item;
:definition;
SELECT is_current(:'token');
DROP TABLE public.item;
SELECT * FROM changes_since(:'position');
SELECT * FROM changes_since(:'position', 't1', 'a');
SELECT * FROM changes_since(NULL);
SELECT * FROM changes_since(NULL, 't1', 'a');
SELECT current_position() AS position \gset
SELECT invalidate('a', 't1');
SELECT domain, tenant_id, version = version(domain, coalesce(tenant_id, 'never was')) AS exact FROM changes_since(:'position');

-- The views say the same as the functions.
SELECT bool_and(version = version(domain, coalesce(tenant_id, 'never was'))) AS exact, count(*) > 0 AS some FROM domain_version;
SELECT domain, shared_version = version(domain, 'never was') AS exact FROM v_domain_versions WHERE domain = 'b';

-- By order.
SELECT token('t1', 'a') AS token, version('a', 't1') AS version \gset
SELECT new_history();
SELECT is_current(:'token'), version('a', 't1') > :version AS forward, version('a', 't1') < 2^53 AS exact_in_json;
BEGIN READ ONLY;
SELECT new_history();
ROLLBACK;
SELECT version_origin() + 2^40::bigint AS elsewhere \gset
SELECT new_history(:elsewhere);
SELECT version_origin() > :elsewhere AS above_that, version('a', 't1') < 2^53 AS exact_in_json;
SELECT new_history(-1);

-- Nobody knows the version of a domain while the extension is not there.
DROP EXTENSION cache_notify;
-- 19 words the hint otherwise.
\set VERBOSITY terse
SELECT cache_notify.version('a', 't1');
\set VERBOSITY default
CREATE EXTENSION cache_notify;
SELECT invalidate('a', 't1'), invalidate('b');

-- A copy of the database is another history than the original.
SELECT token('t1', 'a') AS token, version('a', 't1') AS version, current_position() AS position \gset
\c contrib_regression
CREATE DATABASE cache_notify_copy TEMPLATE cache_notify_history;
\c cache_notify_copy
SET search_path = cache_notify, _cache_notify, public;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT is_current(:'token'), version('a', 't1') > :version AS forward;
SELECT token('t1', 'a') AS provisional, version('a', 't1') AS provisional_version \gset
SELECT is_current(:'provisional');
COMMIT;
SELECT count(*) AS rows FROM history \gset
BEGIN;
SELECT is_current(:'provisional'), version('a', 't1') > :provisional_version AS forward;
SELECT version('a', 't1') AS version \gset
ROLLBACK;
SELECT version('a', 't1') = :version AS not_rolled_back, count(*) - :rows AS noted FROM history;
SELECT * FROM changes_since(:'position');
\c cache_notify_history
SELECT cache_notify.is_current(:'token');

-- A commit that a crash may lose is noted, once.
SELECT count(*) AS rows FROM _cache_notify.history \gset
SELECT cache_notify.version_origin() AS origin, cache_notify.token('t1', 'b') AS token \gset
SET synchronous_commit = off;
SELECT cache_notify.invalidate('a', 't1');
SELECT cache_notify.invalidate('a', 't1');
SELECT count(*) - :rows AS noted, (SELECT count(*) FROM _cache_notify.running) AS running,
	cache_notify.version_origin() = :origin AS same_origin, cache_notify.is_current(:'token')
FROM _cache_notify.history;
-- What a crash does to an unlogged table.
TRUNCATE _cache_notify.running;
\c cache_notify_history
SELECT cache_notify.is_current(:'token'), cache_notify.version_origin() > :origin AS forward;
SELECT count(*) - :rows AS noted, cache_notify.version_origin() = max(origin) AS stays FROM _cache_notify.history;

\c contrib_regression
DROP DATABASE cache_notify_copy;
DROP DATABASE cache_notify_history;
