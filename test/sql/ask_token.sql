-- Tokens, ETags and versions: what a cache asks for, in one session.
-- Nothing here prints a token: they differ from one database to the next.
CREATE DATABASE cache_notify_token;
\c cache_notify_token
CREATE EXTENSION cache_notify;
SET search_path = cache_notify, _cache_notify, public;

-- What nothing feeds has no token: silence is not freshness.
SELECT token('t', 'a') AS token, token('a', 't') AS swapped, etag(NULL, 'a') AS etag,
	matches('*', 't', 'a'), version('a', 't'), token_for('SELECT 1') IS NULL AS nothing_read;
SELECT * FROM versions('t', 'a');
BEGIN;
SELECT invalidate('a', 't');
SELECT version('a', 't'), token('t', 'a') AS token;
ROLLBACK;
SELECT version('a', 't');
SELECT count(invalidate(d)) FROM unnest(ARRAY['a', 'b', 'c', E'd\u00f6main']) AS d;

-- A token is current until something changes, whatever is asked in what order.
SELECT token('t', 'a', 'b') AS token \gset
SELECT is_current(:'token'), :'token' = token('t', 'b', 'a', 'a') AS same_token,
	:'token' ~ '^[A-Za-z0-9_-]+$' AS url_safe, length(:'token') < 60 AS compact;
SELECT invalidate('c', 't'), invalidate('a', 'other');
SELECT is_current(:'token'), :'token' = token('t', 'a', 'b') AS same_token;
SELECT invalidate('a', 't');
SELECT is_current(:'token'), :'token' = token('t', 'a', 'b') AS same_token;

-- A shared change concerns every tenant, and a cascade is a change.
SELECT token('t', 'b') AS token, token(NULL, 'b') AS shared \gset
SELECT invalidate('b');
SELECT is_current(:'token'), is_current(:'shared');
SELECT token('t', 'b') AS token, token(NULL, 'b') AS shared \gset
INSERT INTO cascade_rules VALUES ('c', 'b', 'invalidate'), ('d', 'b', 'notify');
SELECT invalidate('d', 't');
SELECT is_current(:'token');
SELECT invalidate('c', 't');
SELECT is_current(:'token'), is_current(:'shared');

-- A transaction that has changed a domain gets no token for it.
SELECT token('t', 'a') AS a, token('t', 'b') AS b, token('u', 'a') AS u \gset
BEGIN;
SAVEPOINT s;
SELECT invalidate('a', 't');
SELECT token('t', 'a') IS NULL AS no_token, token('t', 'a', 'b') IS NULL AS nor_together,
	etag('t', 'a') IS NULL AS no_etag, is_current(:'a') AS a, is_current(:'b') AS b,
	is_current(:'u') AS u, matches('*', 't', 'a') AS matches,
	stale(ARRAY[:'a', :'b', :'u']) = ARRAY[:'a'] AS stale;
SELECT * FROM versions('t', 'b', 'a');
ROLLBACK TO s;
SELECT token('t', 'a') = :'a' AS token_again, is_current(:'a');
SELECT invalidate('c', 't');
SELECT token('t', 'b') IS NULL AS no_token_by_cascade;
SELECT invalidate('a');
SELECT token('u', 'a') IS NULL AS no_token_by_shared_change;
ROLLBACK;
SELECT is_current(:'a'), is_current(:'b'), is_current(:'u');

-- Many at once.
SELECT stale('{}'), stale(ARRAY[NULL, :'a', NULL]), stale(NULL);
SELECT invalidate('a', 't');
SELECT stale(ARRAY[:'b', :'a', :'u', :'a']) = ARRAY[:'a', :'a'] AS stale;
SELECT cardinality(stale(array_agg(token('t' || i, 'a', 'b')))) FROM generate_series(1, 1000) AS i;

-- is_current() and stale() see the snapshot of the query, and so do tokens.
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT is_current(:'b'), is_current(token('t', 'b')), current_position() IS NOT NULL AS position;
COMMIT;

-- A tenant with odd characters; one that is too long has shared changes only.
SELECT token(E'\u00e4"\\\n', E'd\u00f6main') AS token, token(repeat('x', 256), 'a') AS long \gset
SELECT is_current(:'token'), is_current(:'long'), :'long' = token(NULL, 'a') AS as_whole;
SELECT invalidate(E'd\u00f6main', E'\u00e4"\\\n'), invalidate('a', repeat('x', 256));
SELECT is_current(:'token'), is_current(:'long');

-- An empty tenant is a tenant.
SELECT token('', 'a') AS token \gset
SELECT :'token' = token(NULL, 'a') AS same, is_current(:'token');
SELECT invalidate('a', '');
SELECT is_current(:'token');

-- HTTP.
SELECT etag('t', 'a') AS etag \gset
SELECT :'etag' ~ '^"[A-Za-z0-9_-]{22}"$' AS strong, :'etag' = etag('t', 'a', 'a') AS same,
	:'etag' = etag('u', 'a') AS other_tenant, :'etag' = etag('t', 'b') AS other_domain;
SELECT label, matches(header, 't', 'a')
FROM (VALUES (1, 'the tag', :'etag'),
	(2, 'weak', 'W/' || :'etag'),
	(3, 'last of a list', '"x", ' || :'etag'),
	(4, 'amid a list', '"a,b" ,, W/' || :'etag' || ' , "y"'),
	(5, 'before garbage', :'etag' || ' y'),
	(6, 'any', '*'),
	(7, 'any, with blanks', E' *\t'),
	(8, 'any, and more', '*, "x"'),
	(9, 'another', '"x"'),
	(10, 'another, weak', 'W/"x"'),
	(11, 'longer', left(:'etag', -1) || 'x"'),
	(12, 'nothing', ''),
	(13, 'a quote', '"'),
	(14, 'without quotes', trim('"' FROM :'etag')),
	(15, 'after garbage', 'y ' || :'etag'),
	(16, 'no header', NULL)) AS v (i, label, header) ORDER BY i;
SELECT invalidate('a', 't');
SELECT matches(:'etag', 't', 'a'), :'etag' = etag('t', 'a') AS same;

-- Versions for near caches: the same numbers as version() and the payloads.
SELECT v.*, v.version = version(v.domain, 't') AS as_version,
	v.shared_version = version(v.domain, 'never was') AS as_shared_version
FROM versions('t', 'b', 'a', 'never', 'a') AS v;
SELECT * FROM versions(NULL, 'a', 'b');

-- What token() never made is an error; what is merely foreign is stale.
SELECT is_current('');
SELECT is_current('garbage');
SELECT is_current(left(:'b', -1));
SELECT is_current(:'b' || 'A');
SELECT is_current(:'b' || ' ');
SELECT is_current(translate(:'b', 'ABCDEFGH', 'BCDEFGHA'));
SELECT is_current(repeat('A', 100000));
SELECT stale(ARRAY[:'b', 'garbage']);
SELECT is_current(current_position());
SELECT is_current(NULL);
-- 19 words the hint otherwise.
\set VERBOSITY terse
SELECT token('t');
\set VERBOSITY default
SELECT token('t', VARIADIC NULL);
SELECT token('t', VARIADIC '{}');
SELECT token('t', 'a', NULL);
SELECT token('t', '');
SELECT token('t', repeat('x', 64));
SELECT versions('t', NULL);
SELECT matches('*', 't', '');
SELECT * FROM changes_since('garbage');
SELECT * FROM changes_since(:'b');
SELECT * FROM changes_since(current_position(), 't', 'a', NULL);

-- PUBLIC may ask for what it can name, and for nothing else.
CREATE ROLE cache_notify_reader;
SET ROLE cache_notify_reader;
SELECT token('t', 'a') IS NOT NULL AS token, is_current(token('t', 'a')), stale(ARRAY[token('t', 'a')]),
	etag('t', 'a') IS NOT NULL AS etag, matches('*', 't', 'a'), version_origin();
SELECT current_position() AS position \gset
SELECT * FROM changes_since(:'position', 't', 'a');
SELECT * FROM changes_since(:'position');
SELECT new_history();
SELECT * FROM history;
RESET ROLE;
GRANT pg_monitor TO cache_notify_reader;
SET ROLE cache_notify_reader;
SELECT * FROM changes_since(:'position');
SELECT count(*) > 0 AS history FROM history;
SELECT count(*) > 0 AS domains, bool_and(version = version(domain, coalesce(tenant_id, 'never was'))) AS exact FROM domain_version;
RESET ROLE;
REVOKE pg_monitor FROM cache_notify_reader;
DROP ROLE cache_notify_reader;

\c contrib_regression
DROP DATABASE cache_notify_token;
