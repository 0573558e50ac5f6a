-- Kinds of dependencies that are not tables: functions of the server, literals,
-- defaults, types, operators, roles. Each query is one as people write them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA kinds;
CREATE SCHEMA other;
SET search_path = kinds;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b mood);
CREATE DOMAIN feeling AS mood;
CREATE TABLE post (id int, body text, at timestamptz, local timestamp, d date, data jsonb, feel mood);
CREATE TABLE author (id int, name text);
CREATE TABLE hidden (id int, owner text);
CREATE TABLE other.author (id int, name text);
SELECT cache_notify.setup_table_invalidation(t) FROM unnest('{post,author,hidden}'::regclass[]) AS t;

-- Like domains_of(), in one line: certainty of source, but of the table post
CREATE FUNCTION said(query text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT certainty || coalesce(' ' || source, '') || coalesce(': ' || reason, ''), '; ')
	FROM cache_notify.domains_of(query) WHERE source IS DISTINCT FROM 'post' OR certainty <> 'exact' $$;

-- Functions that are not IMMUTABLE
SELECT q, said('SELECT ' || q || ' FROM post') FROM unnest(ARRAY[
	'id', 'at', 'at::date', 'at::text', 'local::text', 'd::text', 'id::text', 'feel::text', 'body::mood', 'body::date', 'body::timestamptz', '(data->>''at'')::timestamptz',
	'date_trunc(''day'', at)', 'date_trunc(''day'', local)', 'extract(hour FROM at)', 'at + interval ''1 day''', 'local + interval ''1 day''', 'at > local',
	'to_char(local, ''YYYY'')', 'to_char(id, ''999'')', 'to_tsvector(body)', 'to_tsvector(''english'', body)', 'to_tsvector(''english'', body) @@ to_tsquery(''english'', ''x'')',
	'concat(id, body)', 'concat(at, body)', 'format(''%s'', d)', 'json_build_object(''id'', id, ''d'', d)', 'json_build_object(''at'', at)', 'to_jsonb(post)', 'array_to_string(array_agg(at), '','')',
	'row_to_json(ROW(id))', 'jsonb_agg(body)', 'quote_literal(id)', '(jsonb_populate_record(NULL::author, data)).name',
	'age(at)', 'age(at, at)', 'now() - at', 'pg_stat_get_numscans(16384)', 'txid_current()', 'obj_description(16384)', 'pg_get_viewdef(16384)', 'to_regclass(body)',
	'inet_client_addr()', 'pg_has_role(body, ''MEMBER'')', 'has_table_privilege(body, ''SELECT'')', 'pg_typeof(id)', 'enum_range(NULL::mood)', 'upper(body)', 'md5(body)', 'data @> ''{}''',
	'xmlelement(name x, at)', 'random()', 'gen_random_uuid()', 'clock_timestamp()', 'current_database()', 'version()'])
	WITH ORDINALITY AS u (q, i) ORDER BY i;
SELECT said('SELECT * FROM jsonb_to_recordset(''[]'') AS x (a int, b text)'), said('SELECT * FROM jsonb_to_recordset(''[]'') AS x (a date)');

-- Locks, which a result that was kept does not take
SELECT said('SELECT id FROM post FOR UPDATE'), said('SELECT id FROM (SELECT id FROM post FOR KEY SHARE) AS locked');

-- Literals that mean now, and those that every session reads alike
SELECT q, said('SELECT id FROM post WHERE ' || q) FROM unnest(ARRAY[
	'd >= ''today''', 'd >= ''2024-05-01''', 'd >= ''May 1 2024''', 'd = date ''yesterday''', 'at < ''now''::timestamptz', 'at < ''now''::text::timestamptz', 'at < (''NOW'')',
	'at < timestamptz ''2024-05-01 12:00''', 'at < timestamptz ''2024-05-01 12:00Z''', 'at < timestamptz ''2024-05-01 12:00+02''', 'local < ''2024-05-01''', 'local < ''tomorrow''',
	'd IN (''2024-05-01'', ''Today'')', 'd = ANY (''{today}'')', 'd <@ ''[2024-01-01,today]''::daterange', 'body = ''today''', 'body IN (''now'', ''never'')', 'local::time < ''now''',
	'at < ''epoch''', 'at < ''infinity''', 'at - local < ''1 day''', 'd BETWEEN ''2024-01-01'' AND ''2024-12-31''', 'date(''2024-05-01''::text) = d', 'cast(''today'' AS date) = d',
	'd = (SELECT max(x) FROM (VALUES (''today''::date)) AS v (x))', 'feel = ''ok''', 'data = ''{"now": 1}'''])
	WITH ORDINALITY AS u (q, i) ORDER BY i;
-- and texts that are read: judged by what they say, if that is known
SELECT q, said('SELECT id FROM post WHERE at < (' || q || ')::timestamptz') FROM unnest(ARRAY[
	'''2024-05-01''::text', '''2024-05-01 12:00Z''::text', '''epoch''::text', '''Today''::text', '''tomorrow''::varchar(20)', '''2024-05-01''::varchar(20)', '''2024-05-01''::char(10)', '''to'' || ''day''',
	'''2024-'' || ''05-01''', 'CASE WHEN id = 1 THEN ''2024-05-01Z'' ELSE ''2024-05-02Z'' END', 'CASE WHEN id = 1 THEN ''2024-05-01Z'' ELSE ''now'' END', 'CASE id WHEN 1 THEN body END',
	'coalesce(''2024-05-01''::text, ''now'')', 'coalesce(body, ''2024-05-01'')', 'NULL::text', 'body', '''2024-'' || body', 'lower(''NOW'')', '$1::text'])
	WITH ORDINALITY AS u (q, i) ORDER BY i;
-- in a function's text, read at each call; in a view and a parsed body, read once
CREATE FUNCTION f_today() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM kinds.post WHERE d >= ''today''';
CREATE FUNCTION f_then() RETURNS bigint STABLE LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM post WHERE d >= 'today'; END;
CREATE VIEW v_then AS SELECT * FROM post WHERE d >= 'today';
SELECT said('SELECT f_today()'), said('SELECT f_then()'), said('SELECT id FROM v_then');

-- Arguments that a call leaves out
CREATE FUNCTION recent(since timestamptz DEFAULT now() - interval '1 day') RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM kinds.post WHERE at > since';
CREATE FUNCTION unwatched() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM other.author';
CREATE FUNCTION defaults(a int, b bigint DEFAULT unwatched(), c text DEFAULT current_setting('a.b', true)) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a';
SELECT q, said('SELECT ' || q) FROM unnest('{recent(), recent(NULL), "defaults(1)", "defaults(1, 2)", "defaults(1, c => NULL)", "defaults(1, 2, NULL)"}'::text[])
	WITH ORDINALITY AS u (q, i) ORDER BY i;

-- One function, more than one meaning
CREATE FUNCTION names() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM author';
CREATE FUNCTION names_here() RETURNS bigint STABLE LANGUAGE sql SET search_path = kinds AS 'SELECT kinds.names()';
CREATE FUNCTION names_there() RETURNS bigint STABLE LANGUAGE sql SET search_path = other AS 'SELECT kinds.names()';
CREATE FUNCTION about(a text) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM kinds.author';
CREATE FUNCTION about(a int) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM other.author';
CREATE FUNCTION about_any(a anyelement) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT kinds.about(a)';
CREATE OPERATOR ## (FUNCTION = about_any, RIGHTARG = anyelement);
SELECT q, said('SELECT ' || q) FROM unnest('{"names_here(), names_there()", "names_there(), names_here()", "about_any(''a''::text), about_any(1)", "## 1"}'::text[])
	WITH ORDINALITY AS u (q, i) ORDER BY i;

-- Types of expressions: constants, casts, rows, defaults of nothing
CREATE TABLE team (lead author, id int);
CREATE VIEW v_ok AS SELECT 'ok'::mood AS m, NULL::pair AS p;
CREATE FUNCTION f_mood() RETURNS mood IMMUTABLE LANGUAGE sql RETURN 'ok'::mood;
SELECT q, said('SELECT ' || q) FROM unnest('{"m FROM v_ok", f_mood(), "''ok''::feeling", "ARRAY[''ok''::mood]", "ROW(1, ''a'')::author", "''{ok}''::mood[]", "feel FROM post", "1::int, 2::numeric"}'::text[])
	WITH ORDINALITY AS u (q, i) ORDER BY i;

-- Operators and operator classes behind clauses
CREATE FUNCTION lower_lt(text, text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT lower($1) < lower($2)';
CREATE FUNCTION lower_eq(text, text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT lower($1) = lower($2)';
CREATE FUNCTION lower_cmp(text, text) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT CASE WHEN lower($1) < lower($2) THEN -1 WHEN lower($1) = lower($2) THEN 0 ELSE 1 END';
CREATE OPERATOR <~ (FUNCTION = lower_lt, LEFTARG = text, RIGHTARG = text, COMMUTATOR = >~);
CREATE OPERATOR >~ (FUNCTION = lower_lt, LEFTARG = text, RIGHTARG = text, COMMUTATOR = <~);
CREATE OPERATOR =~ (FUNCTION = lower_eq, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR CLASS lower_ops FOR TYPE text USING btree AS OPERATOR 1 <~, OPERATOR 3 =~, OPERATOR 5 >~, FUNCTION 1 lower_cmp(text, text);
SELECT q, said('SELECT ' || q) FROM unnest(ARRAY['body FROM post ORDER BY body USING <~', 'array_agg(body ORDER BY body USING >~) FROM post',
	'row_number() OVER (ORDER BY body USING <~) FROM post', 'DISTINCT ON (feel) body FROM post ORDER BY feel, body USING <~', 'a.id FROM post a JOIN post b ON a.body =~ b.body',
	'feel FROM post GROUP BY feel', 'feel FROM post UNION SELECT feel FROM post', 'greatest(feel, ''ok'') FROM post'])
	WITH ORDINALITY AS u (q, i) ORDER BY i;

-- Temporary children and views are this session's only
CREATE TEMP TABLE mine () INHERITS (author);
SELECT said('SELECT * FROM author'), said('SELECT * FROM ONLY author');
DROP TABLE mine;
CREATE TEMP VIEW author AS SELECT * FROM kinds.author;
SELECT said('SELECT * FROM kinds.author'), (SELECT string_agg(certainty || ' ' || reason, '; ') FROM cache_notify.domains_of('SELECT * FROM pg_temp.author') WHERE reason IS NOT NULL);
DROP VIEW pg_temp.author;

-- Row security: named by role
CREATE ROLE regress_cn_staff;
CREATE ROLE regress_cn_bob IN ROLE regress_cn_staff;
CREATE TABLE granted (who text);
CREATE POLICY staff ON hidden TO regress_cn_staff USING (owner IN (SELECT who FROM granted));
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
CREATE VIEW v_hidden AS SELECT * FROM hidden;
GRANT USAGE ON SCHEMA kinds TO regress_cn_staff;
GRANT SELECT ON hidden, granted, v_hidden TO regress_cn_staff;
CREATE FUNCTION f_hidden() RETURNS SETOF hidden STABLE SECURITY DEFINER LANGUAGE sql AS 'SELECT * FROM kinds.hidden';
SELECT said('SELECT * FROM hidden'), said('SELECT * FROM v_hidden');
SET ROLE regress_cn_bob;
SELECT said('SELECT * FROM hidden');
SELECT said('SELECT * FROM v_hidden'), said('SELECT id FROM f_hidden()');
RESET ROLE;

-- Views: names of functions are looked up as the caller's, and so are policies below views that are read as the caller
CREATE VIEW v_names AS SELECT names();
SELECT cache_notify.setup_view_invalidation('v_names');
SELECT source_domain FROM cache_notify.v_cascade_rules WHERE target_domain = 'names' AND source_domain NOT LIKE 'cache_notify/%';
SELECT current_setting('server_version_num')::int >= 150000 AS invoker \gset
\if :invoker
CREATE VIEW v_invoker WITH (security_invoker) AS SELECT * FROM hidden;
\else
CREATE VIEW v_invoker AS SELECT * FROM hidden;
\endif
SELECT cache_notify.setup_view_invalidation('v_invoker', 'invoker');
SELECT count(*) FROM cache_notify.v_invalidation_status WHERE table_name = 'granted'::regclass;
SELECT cache_notify.version('invoker') AS before \gset
INSERT INTO granted VALUES ('x');
SELECT cache_notify.version('invoker') - :before AS bumps;
DELETE FROM cache_notify.cascade_rules;
DROP SCHEMA kinds, other CASCADE;
DROP ROLE regress_cn_bob, regress_cn_staff;
RESET timezone;
RESET datestyle;
