-- Who can do what, role by role: doc/security.md says it, and this shows it. Beside
-- what test/sql/domain_privileges.sql has (rights on tables and views), roles that go around
-- the interface: triggers made by hand, settings, names that are code, row security.
-- A failure shows as a test that is "not ok" and names who could do what.
\set ON_ERROR_STOP 1
BEGIN;
SELECT * FROM no_plan();

CREATE ROLE cn_owner;		-- owns tables, is no superuser
CREATE ROLE cn_writer;		-- writes them, and has no other right
CREATE ROLE cn_reader;		-- asks for versions
CREATE ROLE cn_tenant_a;	-- sees its own rows only
CREATE ROLE cn_tenant_b;
CREATE ROLE cn_monitor IN ROLE pg_monitor;
CREATE SCHEMA shop AUTHORIZATION cn_owner;
GRANT USAGE ON SCHEMA shop TO PUBLIC;

CREATE FUNCTION pg_temp.denied(statement text, name text) RETURNS text LANGUAGE sql
	AS 'SELECT throws_ok(statement, ''42501'', NULL, name)';

-- What goes wrong with a statement; NULL: nothing.
CREATE FUNCTION pg_temp.sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

SET ROLE cn_owner;
CREATE TABLE shop.item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
ALTER TABLE shop.item ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.item TO cn_tenant_a, cn_tenant_b
	USING ('cn_tenant_' || tenant_id = current_user);
CREATE POLICY writer ON shop.item TO cn_writer USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.item TO cn_writer, cn_tenant_a, cn_tenant_b;

-- ------------------------------------------------- the owner of a table

SELECT is(cache_notify.setup_table_invalidation('shop.item', 'item'), 'item', 'an owner watches his table');
SELECT throws_ok('SELECT cache_notify.setup_table_invalidation(''_cache_notify.history'')', '42809', NULL,
	'he watches no table of the extension');
SELECT pg_temp.denied('SELECT cache_notify.new_history()', 'he begins no history');
SELECT pg_temp.denied('CREATE TRIGGER t AFTER INSERT ON shop.item EXECUTE FUNCTION _cache_notify.rules_changed()',
	'no trigger of his has rules read again');
SELECT pg_temp.denied('SELECT _cache_notify.hide_state()', 'he leaves our catalog rows alone');
SELECT pg_temp.denied('REFRESH MATERIALIZED VIEW _cache_notify.version_counter WITH NO DATA', 'he empties no state');
SELECT pg_temp.denied('SELECT cache_notify.compact()', 'he merges no counters');
SELECT pg_temp.denied('SELECT cache_notify.clear_statistics()', 'he resets no statistics');
SELECT pg_temp.denied('SELECT * FROM cache_notify.changes_since(NULL)', 'he lists no changes');
SELECT pg_temp.denied('SELECT cache_notify.invalidate(''item'')', 'he invalidates nothing by hand');

-- Triggers made by hand: their arguments are his, what they tell must be his as well.
CREATE TABLE shop.spy (n int);
CREATE TRIGGER spy AFTER INSERT ON shop.spy FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=spy', 'tenant_setting=data_directory', 'granularity=statement');
INSERT INTO shop.spy VALUES (1);
SELECT results_eq('SELECT domain, tenant_id FROM cache_notify.pending_changes()', $$VALUES ('spy', NULL::text)$$,
	'a setting that he may not read is no tenant');
DROP TRIGGER spy ON shop.spy;
CREATE TRIGGER spy AFTER INSERT ON shop.spy FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=spy', 'tenant_setting=shop.tenant', 'granularity=statement');
SET LOCAL shop.tenant = 'mine';
INSERT INTO shop.spy VALUES (1);
SELECT results_eq('SELECT tenant_id FROM cache_notify.pending_changes() WHERE tenant_id IS NOT NULL',
	$$VALUES ('mine')$$, 'one that he may read is');
SELECT throws_ok('SELECT cache_notify.setup_table_invalidation(''shop.spy'', tenant_setting => ''primary_conninfo'')', '22023', NULL,
	'set-up takes custom settings only');

-- --------------------------------------------------------------- a writer

SET ROLE cn_writer;
SELECT lives_ok('INSERT INTO shop.item VALUES (1, ''a''), (2, ''b'')', 'a writer writes');
SELECT is(cache_notify.version('item', 'a'), 1::bigint, 'and moves the version');
SELECT pg_temp.denied('SELECT cache_notify.setup_table_invalidation(''shop.item'')', 'he does not watch the table');
SELECT pg_temp.denied('SELECT cache_notify.remove_table_invalidation(''shop.item'')', 'nor cease to');
SELECT pg_temp.denied('SELECT _cache_notify.create_watching_trigger(''shop.item'', ''row'', ''x'', ''{domain=x}'')', 'nor by an inner function');
SELECT pg_temp.denied('ALTER TABLE shop.item DISABLE TRIGGER ALL', 'he disables no trigger');
SELECT pg_temp.denied('SET session_replication_role = replica', 'nor all of them');
SELECT throws_ok('SET cache_notify.delivery = off', '55P02', NULL, 'he does not switch delivery off');
SELECT throws_ok('SET cache_notify.max_keys = 1', '55P02', NULL, 'he does not make invalidation coarser');
SELECT pg_temp.denied('UPDATE _cache_notify.version_counter SET n = 0', 'he sets back no counter');
SELECT pg_temp.denied('DELETE FROM _cache_notify.history', 'he rewrites no history');
SELECT pg_temp.denied('INSERT INTO _cache_notify.owed_delivery VALUES (NULL, NULL)', 'he owes nobody a reset');
SELECT pg_temp.denied('TRUNCATE _cache_notify.running', 'he simulates no crash');

-- --------------------------------------------------------------- a reader

SET ROLE cn_reader;
SELECT is(cache_notify.version('item', 'a'), 1::bigint, 'a reader asks for a version that he can name');
SELECT is(cache_notify.token('a', 'item'), NULL, 'and gets no token for what this transaction has changed');
SELECT pg_temp.denied('SELECT * FROM cache_notify.' || relation, 'he lists nothing from ' || relation)
	FROM unnest('{cascade_rules,domain_version,v_domain_versions,v_recent_invalidations,stats}'::text[]) AS relation;
SELECT pg_temp.denied('SELECT * FROM _cache_notify.' || relation, 'he lists nothing from ' || relation)
	FROM unnest('{version_counter,owed_delivery,history,running,counter_total}'::text[]) AS relation;
SELECT pg_temp.denied('SELECT ' || call, 'he does not call ' || call)
	FROM unnest(ARRAY['cache_notify.changes_since(NULL)', 'cache_notify.invalidate(''item'', ''a'')',
		'cache_notify.new_history()', 'cache_notify.new_history(1)', 'cache_notify.cascade_closure(''item'')', 'cache_notify.repair()',
		'_cache_notify.statistics()', 'cache_notify.clear_statistics()']) AS call;
SELECT pg_temp.denied('SELECT n FROM shop.item', 'a version lets him read no row');

-- What he can ask at once is bounded, and so is what it needs of memory and time.
SELECT throws_ok('SELECT cache_notify.' || call, '54000', '10001 names are too many', call || ' takes no million names')
	FROM unnest(ARRAY['token(''a'', VARIADIC n)', 'etag(''a'', VARIADIC n)', 'matches(''x'', ''a'', VARIADIC n)',
		'versions(''a'', VARIADIC n)', 'changes_since(cache_notify.current_position(), ''a'', VARIADIC n)']) AS c (call_),
	LATERAL (SELECT replace(call_, 'VARIADIC n', 'VARIADIC ARRAY(SELECT ''item/'' || i FROM generate_series(1, 10001) i)')) AS r (call);

-- ------------------------------------------------- tenants, row security

SET ROLE cn_tenant_a;
SELECT results_eq('SELECT id FROM shop.item', 'VALUES (1)', 'a tenant sees its rows');
UPDATE shop.item SET n = n + 1;
SELECT is(cache_notify.version('item', 'a'), 2::bigint, 'what it writes moves its version');
SELECT is(cache_notify.version('item', 'b'), 1::bigint, 'and nobody else''s');
SET row_security = off;
SELECT pg_temp.denied('UPDATE shop.item SET n = n + 1', 'without row security nothing happens');
RESET row_security;
SELECT throws_ok('INSERT INTO shop.item VALUES (3, ''b'')', '42501', NULL, 'a row of another tenant is refused');
SELECT is(cache_notify.version('item', 'b'), 1::bigint, 'and moves nothing');
SELECT is((SELECT count(*) FROM cache_notify.versions('a', 'item')), 1::bigint, 'versions() tells what was asked for');
SELECT is((SELECT count(*) FROM cache_notify.changes_since(NULL, 'a', 'item')), 1::bigint,
	'changes_since() with names tells of those');
SELECT pg_temp.denied('SELECT * FROM cache_notify.changes_since(cache_notify.current_position())',
	'without names it would tell of other tenants');

-- ------------------------------------------------------------- pg_monitor

SET ROLE cn_monitor;
SELECT lives_ok('SELECT * FROM ' || relation, 'pg_monitor reads ' || relation)
	FROM unnest('{cache_notify.domain_version,cache_notify.v_domain_versions,cache_notify.v_recent_invalidations,cache_notify.cascade_rules,_cache_notify.history,cache_notify.stats}'::text[]) AS relation;
SELECT pg_temp.denied('SELECT cache_notify.invalidate(''item'')', 'and changes nothing');

-- ------------------------------------------- names that others use as well

-- Somebody else's table feeds the domain, with keys in another layout, as its owner
-- has written it: no version goes back, and nobody is kept from setting up his own.
RESET ROLE;
CREATE ROLE cn_other;
CREATE SCHEMA other AUTHORIZATION cn_other;
SET ROLE cn_owner;
CREATE TABLE shop.keyed (id int PRIMARY KEY, n int);
INSERT INTO shop.keyed SELECT i, 0 FROM generate_series(1, 8) i;
SELECT lives_ok($$SELECT cache_notify.setup_table_invalidation('shop.keyed', 'keyed', keys => '{id}', buckets => 16)$$, 'keys');
SET LOCAL client_min_messages = error;
CREATE TEMPORARY TABLE seen (i serial, v bigint);
CREATE FUNCTION pg_temp.look() RETURNS void LANGUAGE sql AS
	$$INSERT INTO seen (v) SELECT cache_notify.version('keyed/1') WHERE cache_notify.version('keyed/1') IS NOT NULL$$;
UPDATE shop.keyed SET n = 1 WHERE id = 2;
UPDATE shop.keyed SET n = 2 WHERE id = 2;
UPDATE shop.keyed SET n = 3 WHERE id = 3;
SELECT pg_temp.look() \g /dev/null
SET ROLE cn_other;
CREATE TABLE other.t (id int, n int);
CREATE TRIGGER r AFTER INSERT OR UPDATE OR DELETE ON other.t FOR EACH ROW
	EXECUTE FUNCTION cache_notify.row_change('domain=keyed', 'key=id', 'bucket_layout=9999999994');
CREATE TRIGGER s AFTER TRUNCATE ON other.t FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=keyed', 'key=id', 'bucket_layout=9999999994');
INSERT INTO other.t VALUES (1, 1), (2, 2);
SET ROLE cn_owner;
SELECT pg_temp.look() \g /dev/null
UPDATE shop.keyed SET n = 4 WHERE id = 2;
SELECT pg_temp.look() \g /dev/null
SELECT lives_ok($$SELECT cache_notify.setup_table_invalidation('shop.keyed', 'keyed', keys => '{id}', buckets => 64)$$,
	'an owner changes his buckets, whatever somebody else has set up');
SELECT pg_temp.look() \g /dev/null
UPDATE shop.keyed SET n = 5 WHERE id = 1;
SELECT pg_temp.look() \g /dev/null
SET ROLE cn_other;
DROP TABLE other.t;
SET ROLE cn_owner;
SELECT pg_temp.look() \g /dev/null
UPDATE shop.keyed SET n = 6 WHERE id = 1;
SELECT pg_temp.look() \g /dev/null
SELECT cmp_ok(count(*), '>', 4::bigint, 'there were versions') FROM seen;
SELECT is(array_agg(format('%s after %s', b.v, a.v)), NULL, 'no version goes back')
	FROM seen a JOIN seen b ON b.i > a.i AND b.v < a.v;
SELECT set_eq($$SELECT buckets FROM cache_notify.v_invalidation_status WHERE domain = 'keyed' AND table_name = 'shop.keyed'::regclass$$, '{64}'::int[],
	'the buckets are those that were asked for');
RESET client_min_messages;

-- --------------------------------------------------- the code of functions

-- Of every extension of this repository: cache_notify and what requires it.
RESET ROLE;
SET client_min_messages = warning;
SELECT format('CREATE EXTENSION IF NOT EXISTS %I', name) FROM pg_available_extension_versions
	WHERE 'cache_notify' = ANY (requires) \gexec
RESET client_min_messages;
CREATE TEMPORARY TABLE ours AS
	SELECT e.oid AS extension, e.extname, e.extowner, d.classid, d.objid, d.refobjid
	FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
	WHERE e.extname = 'cache_notify' OR EXISTS (
		SELECT FROM pg_available_extension_versions v WHERE v.name = e.extname AND 'cache_notify' = ANY (v.requires));
CREATE TEMPORARY TABLE our_function AS
	SELECT p.* FROM pg_proc p JOIN ours o ON o.objid = p.oid AND o.classid = 'pg_proc'::regclass;
CREATE TEMPORARY TABLE our_schema AS
	SELECT DISTINCT o.extname, o.extowner, n.oid, n.nspname, n.nspowner
	FROM ours o LEFT JOIN pg_class c ON c.oid = o.objid AND o.classid = 'pg_class'::regclass
	LEFT JOIN pg_proc p ON p.oid = o.objid AND o.classid = 'pg_proc'::regclass
	JOIN pg_namespace n ON n.oid IN (c.relnamespace, p.pronamespace)
		OR n.oid = o.objid AND o.classid = 'pg_namespace'::regclass;
SELECT set_eq('SELECT DISTINCT nspname FROM our_schema', '{cache_notify,_cache_notify,fraiseql_cache}'::name[],
	'the schemas that are looked at');
SELECT is(array_agg(nspname::text), NULL, 'every schema belongs to who installed the extension')
	FROM our_schema WHERE nspowner <> extowner;
SELECT is(array_agg(nspname::text), NULL, 'nobody else may create anything in it')
	FROM our_schema WHERE has_schema_privilege('cn_owner', oid, 'CREATE');
SELECT is(array_agg(oid::regprocedure::text), NULL, 'no function runs with the rights of its owner')
	FROM our_function WHERE prosecdef;
SELECT is(array_agg(p.oid::regprocedure::text), NULL, 'every function that is parsed when it runs pins its search_path')
	FROM our_function p JOIN pg_language l ON l.oid = p.prolang
	WHERE l.lanname NOT IN ('c', 'internal')
	AND p.prosqlbody IS NULL AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false);
SELECT is(array_agg(p.oid::regprocedure::text), NULL, 'no trigger function but those of watched tables is for everybody')
	FROM our_function p
	WHERE p.prorettype = 'trigger'::regtype
	AND has_function_privilege('cn_reader', p.oid, 'EXECUTE')
	AND p.proname NOT IN ('row_change', 'statement_change');
SELECT is(array_agg(c.oid::regclass::text), NULL, 'no table is writable by PUBLIC')
	FROM pg_class c JOIN our_schema n ON n.oid = c.relnamespace
	WHERE has_table_privilege('cn_reader', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES');

-- ------------------------------------------------- what nobody writes

-- Edited counters or a history without its rows would move versions back: no SQL
-- edits them, a superuser's neither.
CREATE TEMPORARY TABLE state AS
	SELECT c.oid::regclass AS name, (SELECT attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = 1) AS col
	FROM pg_class c JOIN ours o ON o.objid = c.oid AND o.classid = 'pg_class'::regclass WHERE c.relkind = 'm';
SELECT set_eq('SELECT name::text FROM state',
	'{_cache_notify.version_counter,_cache_notify.history,_cache_notify.owed_delivery,_cache_notify.watched_name}'::text[], 'the state that is looked at');
SELECT ok(pg_temp.sqlstate_of(format(statement, name, col)) IN ('42809', '55000', '0A000'), 'refused: ' || format(statement, name, col))
	FROM state, unnest(ARRAY['INSERT INTO %s DEFAULT VALUES', 'UPDATE %1$s SET %2$I = NULL', 'DELETE FROM %s', 'TRUNCATE %s',
		'REFRESH MATERIALIZED VIEW %s', 'REFRESH MATERIALIZED VIEW %s WITH NO DATA',
		'MERGE INTO %1$s USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE']) AS statement
	WHERE statement NOT LIKE 'MERGE%' OR current_setting('server_version_num')::int >= 150000;

-- ------------------------------------------- what is ours keeps its name

-- Nobody would count anything if it had another. A superuser is told so.
SELECT throws_ok(statement, '55000', 'cannot rename or move what belongs to extension "cache_notify"', 'refused: ' || statement)
	FROM (SELECT format('ALTER SCHEMA %I RENAME TO mine', nspname) AS statement FROM our_schema WHERE extname = 'cache_notify'
		UNION SELECT format('ALTER %s %s %s', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, c.oid::regclass, act)
			FROM pg_class c JOIN ours o ON o.objid = c.oid AND o.classid = 'pg_class'::regclass AND o.extname = 'cache_notify',
			unnest(ARRAY['RENAME TO mine', 'SET SCHEMA shop']) AS act WHERE c.relkind IN ('r', 'v', 'm')
		UNION SELECT format('ALTER FUNCTION %s RENAME TO mine', oid::regprocedure)
			FROM our_function WHERE proname IN ('row_change', 'statement_change', 'schema_event')) AS s;
SELECT throws_ok(format('ALTER INDEX %s RENAME TO mine', i.indexrelid::regclass), '55000', NULL, 'refused: an index')
	FROM pg_index i JOIN ours o ON o.objid = i.indrelid AND o.classid = 'pg_class'::regclass AND o.extname = 'cache_notify';
SELECT throws_ok(format('ALTER TABLE %s RENAME CONSTRAINT %I TO mine', c.conrelid::regclass, c.conname), '55000', NULL, 'refused: a constraint')
	FROM pg_constraint c JOIN ours o ON o.objid = c.conrelid AND o.classid = 'pg_class'::regclass AND o.extname = 'cache_notify'
	WHERE c.contype IN ('p', 'u');
SELECT lives_ok('CREATE SCHEMA theirs', 'a schema of somebody else');
SELECT lives_ok('ALTER SCHEMA theirs RENAME TO theirs_too', 'may have any name');
CREATE INDEX shop_index ON shop.item (n);
SELECT lives_ok('ALTER INDEX shop.shop_index RENAME TO other_index', 'and an index of theirs');

-- -------------------------------------------------- names that are traps

-- (Names that are code: test/sql/domain_setup_quoting.sql.)
-- Somebody's functions and operators of the server's names, before the server's own
-- in the search path of a superuser: none of them is called.
SET ROLE cn_owner;
CREATE FUNCTION shop.hijack(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.hijack(text[], text[]) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.hijack(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.hijack(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.hijack(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.hijack(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
DO $$
DECLARE
	op text;
	args text;
BEGIN
	FOREACH op IN ARRAY '{=,<>,<,>,~~,!~,<@}'::text[] LOOP
		FOREACH args IN ARRAY '{text/text,text[]/text[],bigint/bigint,oid/oid,oid/regclass,name/text}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR shop.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = shop.hijack)',
				op, split_part(args, '/', 1), split_part(args, '/', 2));
		END LOOP;
	END LOOP;
END
$$;
CREATE FUNCTION shop.format(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.array_remove(text[], text) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE FUNCTION shop.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$;
CREATE TABLE shop.pg_trigger (); CREATE TABLE shop.pg_class (); CREATE TABLE shop.pg_proc ();
RESET ROLE;
CREATE TABLE pg_temp.statement (i int, statement text, said text DEFAULT 'nothing');
INSERT INTO pg_temp.statement
	SELECT i, s FROM unnest(ARRAY[
		'SELECT ''a''::text = ''b''::text',
		'SELECT fraiseql_cache.setup_table_invalidation(''shop.spy'', ''spy'', ''tenant_id'')',
		'SELECT * FROM fraiseql_cache.domain_version',
		'SELECT * FROM fraiseql_cache.v_invalidation_status',
		'SELECT cache_notify.setup_table_invalidation(''shop.spy'', ''spy'', fields => ''{xid}'')',
		'SELECT cache_notify.setup_table_invalidation(''shop.spy'', ''spy'', granularity => ''statement'')',
		'SELECT cache_notify.remove_table_invalidation(''shop.spy'')',
		'SELECT * FROM cache_notify.v_invalidation_status',
		'SELECT * FROM cache_notify.domain_version',
		'SELECT * FROM cache_notify.v_domain_versions',
		'SELECT * FROM cache_notify.v_recent_invalidations',
		'SELECT * FROM cache_notify.stats',
		'SELECT cache_notify.cascade_graph()',
		'SELECT cache_notify.invalidate(''item'', ''a'')',
		'SELECT cache_notify.stale(ARRAY[cache_notify.token(''a'', ''page'')])',
		'INSERT INTO cache_notify.cascade_rules VALUES (''one'', ''two'')',
		'UPDATE shop.item SET n = 5']) WITH ORDINALITY AS u (s, i);
SET search_path = shop, pg_catalog, public;
DO $$
DECLARE
	s record;
BEGIN
	FOR s IN SELECT i, statement FROM pg_temp.statement LOOP
		BEGIN
			EXECUTE s.statement;
		EXCEPTION WHEN OTHERS THEN
			UPDATE pg_temp.statement SET said = SQLERRM WHERE statement.i = s.i;
		END;
	END LOOP;
END
$$;
RESET search_path;
SELECT is(said, CASE i WHEN 1 THEN 'hijacked' ELSE 'nothing' END,
	CASE i WHEN 1 THEN 'the trap works: ' ELSE 'not hijacked: ' END || statement)
	FROM pg_temp.statement ORDER BY i;

-- To parse somebody's query is to run code of his, here a CHECK constraint in a literal:
-- whoever looks into what is not his own does so as its owner.
SET ROLE cn_owner;
CREATE TABLE shop.who (name name);
GRANT INSERT, SELECT, DELETE ON shop.who TO PUBLIC;
CREATE FUNCTION shop.say_who(int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN INSERT INTO shop.who VALUES (current_user); RETURN true; END $$;
CREATE DOMAIN shop.trap AS int CHECK (shop.say_who(VALUE));
CREATE TYPE shop.trapped AS (x shop.trap);
CREATE FUNCTION shop.trapped() RETURNS int STABLE LANGUAGE sql AS
	'SELECT (''(1)''::shop.trapped).x + count(*)::int FROM shop.item';
CREATE VIEW shop.looked_into AS SELECT shop.trapped();
GRANT SELECT ON shop.looked_into TO PUBLIC;
SELECT cache_notify.setup_view_invalidation('shop.looked_into', 'looked_into');
RESET ROLE;
CREATE FUNCTION pg_temp.who_ran(statement text) RETURNS SETOF name LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM shop.who;
	EXECUTE statement;
	RETURN QUERY SELECT DISTINCT w.name FROM shop.who w;
END
$$;
SELECT set_eq(format('SELECT pg_temp.who_ran(%L)', s), '{cn_owner}'::name[], 'as the owner: ' || s)
FROM unnest(ARRAY[
	'SELECT * FROM cache_notify.v_invalidation_status',
	'SELECT cache_notify.unwatched_dependencies()',
	'SELECT cache_notify.suggest_cascades()',
	'SELECT cache_notify.doctor()',
	'SELECT cache_notify.setup_view_invalidation(''shop.looked_into'')']) AS u (s);
SET ROLE cn_monitor;
SELECT is_empty(format('SELECT pg_temp.who_ran(%L)', s), 'others look into nothing of his: ' || s)
FROM unnest(ARRAY[
	'SELECT * FROM cache_notify.v_invalidation_status',
	'SELECT cache_notify.unwatched_dependencies()',
	'SELECT cache_notify.suggest_cascades()',
	'SELECT cache_notify.doctor()']) AS u (s);
SELECT pg_temp.denied('SELECT _cache_notify.query_dependencies(''SELECT 1'', true, ''cn_owner''::regrole)', 'nor as his role');
RESET ROLE;
DROP VIEW shop.looked_into;

-- ------------------------------------------------- the owner of the database

CREATE ROLE cn_dbowner;
SELECT format('ALTER DATABASE %I OWNER TO cn_dbowner', current_database()) \gexec
SET ROLE cn_dbowner;
SELECT pg_temp.denied(statement, 'the owner of the database does not ' || statement)
	FROM unnest(ARRAY[
		'DROP EXTENSION cache_notify CASCADE',
		'ALTER EXTENSION cache_notify UPDATE',
		'ALTER EXTENSION cache_notify ADD FUNCTION shop.format(text, text)',
		'DROP SCHEMA cache_notify CASCADE',
		'ALTER SCHEMA cache_notify RENAME TO mine',
		'DROP SCHEMA _cache_notify CASCADE',
		'ALTER SCHEMA _cache_notify RENAME TO mine',
		'CREATE TABLE _cache_notify.history2 ()',
		'CREATE FUNCTION _cache_notify.option(name, text) RETURNS text LANGUAGE sql AS ''SELECT 1''',
		'CREATE TABLE cache_notify.history2 ()',
		'ALTER EVENT TRIGGER cache_notify_drop DISABLE',
		'DROP EVENT TRIGGER cache_notify_drop',
		'SELECT cache_notify.setup_schema_invalidation(''postgrest'')',
		'SELECT cache_notify.setup_table_invalidation(''shop.item'')',
		'SELECT cache_notify.remove_table_invalidation(''shop.item'')',
		'INSERT INTO cache_notify.cascade_rules VALUES (''a'', ''b'')',
		'SELECT cache_notify.invalidate(''item'')',
		'SELECT * FROM cache_notify.domain_version',
		'UPDATE _cache_notify.version_counter SET n = 0']) AS statement;

RESET ROLE;
-- Views carry rules from what he need not own: not as many as he likes.
CREATE FUNCTION pg_temp.views_of(prefix text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		EXECUTE format('CREATE VIEW shop.%s%s AS SELECT 1 AS n', prefix, i);
		EXECUTE format('SECURITY LABEL FOR cache_notify ON VIEW shop.%s%s IS ''{domain=%1$s%2$s,source=item}''', prefix, i);
	END LOOP;
END
$$;
SET ROLE cn_owner;
SELECT pg_temp.views_of('his', 40);
RESET ROLE;
CREATE FUNCTION pg_temp.carried() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM cache_notify.cascade_closure('item') AS c WHERE c::text ~ 'his|super' $$;
SELECT is(pg_temp.carried(), 32::bigint, 'views carry 32 rules of an owner from a domain');
SELECT pg_temp.views_of('supers', 40);
SELECT is(pg_temp.carried(), 72::bigint, 'and a superuser''s as many as there are');
DO $$ BEGIN
	FOR i IN 1..40 LOOP EXECUTE format('DROP VIEW shop.his%s, shop.supers%1$s', i); END LOOP;
END $$;

SET ROLE cn_dbowner;
-- Where there is no extension, he cannot create it, nor lay a trap for who does.
RESET ROLE;
SET client_min_messages = warning;
DROP EXTENSION cache_notify CASCADE;
DROP SCHEMA cache_notify, fraiseql_cache;
RESET client_min_messages;
SET ROLE cn_dbowner;
SELECT pg_temp.denied('CREATE EXTENSION cache_notify', 'the owner of the database creates no extension');
CREATE SCHEMA cache_notify;
RESET ROLE;
SELECT throws_ok('CREATE EXTENSION cache_notify', '42501',
	'schema cache_notify belongs to cn_dbowner, who is not a superuser', 'a schema that is his is refused');
DROP SCHEMA cache_notify;
SET ROLE cn_dbowner;
CREATE SCHEMA _cache_notify;
RESET ROLE;
SELECT throws_ok('CREATE EXTENSION cache_notify', '42P06', 'schema _cache_notify is there already',
	'the inner schema is the extension''s own');
DROP SCHEMA _cache_notify;
SELECT lives_ok('CREATE EXTENSION cache_notify', 'without it the extension is created');
SET ROLE cn_dbowner;
CREATE SCHEMA fraiseql_cache;
RESET ROLE;
SELECT throws_ok('CREATE EXTENSION pg_fraiseql_cache', '42501',
	'schema fraiseql_cache belongs to cn_dbowner, who is not a superuser', 'the same goes for pg_fraiseql_cache');

SELECT * FROM finish();
ROLLBACK;
