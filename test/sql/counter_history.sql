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

-- Loading counters by hand begins a new history: drop everything, say no more.
SELECT token('t1', 'a') AS token, version('a', 't1') AS version \gset
BEGIN;
INSERT INTO version_counter (n, last_modified, domain, tenant_id) VALUES (5, now(), 'a', 't1');
ROLLBACK;
SELECT is_current(:'token'), version_origin() AS origin;
UPDATE version_counter SET n = n WHERE domain = 'a' AND tenant_id = 't1';
SELECT is_current(:'token'), version('a', 't1') > :version AS forward, version_origin() > 0 AS origin;
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

-- A new extension with the old counters is a new history, too.
SELECT token('t1', 'a') AS token, version('a', 't1') AS version, current_position() AS position \gset
CREATE TABLE public.saved_counter AS TABLE version_counter;
CREATE TABLE public.saved_history AS TABLE history;
DROP EXTENSION cache_notify;
-- 19 words the hint otherwise.
\set VERBOSITY terse
SELECT cache_notify.version('a', 't1');
\set VERBOSITY default
CREATE EXTENSION cache_notify;
SELECT is_current(:'token'), version_origin() AS origin;
INSERT INTO version_counter TABLE public.saved_counter;
INSERT INTO history TABLE public.saved_history;
SELECT is_current(:'token'), version('a', 't1') > :version AS forward;
SELECT * FROM changes_since(:'position');

-- The same without the triggers, as pg_restore --disable-triggers does it.
SELECT token('t1', 'a') AS token, version('a', 't1') AS version, current_position() AS position \gset
DROP TABLE public.saved_counter, public.saved_history;
CREATE TABLE public.saved_counter AS TABLE version_counter;
CREATE TABLE public.saved_history AS TABLE history;
DROP EXTENSION cache_notify;
CREATE EXTENSION cache_notify;
ALTER TABLE version_counter DISABLE TRIGGER ALL;
ALTER TABLE history DISABLE TRIGGER ALL;
INSERT INTO version_counter TABLE public.saved_counter;
INSERT INTO history TABLE public.saved_history;
SELECT is_current(:'token'), version('a', 't1') > :version AS forward;
SELECT * FROM changes_since(:'position');

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
