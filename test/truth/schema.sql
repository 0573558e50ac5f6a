-- The schema of truth.pl, and what it asks of it.
SET client_min_messages = warning;
CREATE EXTENSION cache_notify;
CREATE ROLE reader;
CREATE TYPE mood AS ENUM ('sad', 'glad', 'wild');
CREATE TYPE size AS (w int, h int);
CREATE DOMAIN amount AS numeric(12, 2);

CREATE TABLE country (id int PRIMARY KEY, name text);
CREATE TABLE customer (id int PRIMARY KEY, country int REFERENCES country ON DELETE CASCADE, name text, mood mood);
CREATE TABLE product (id int PRIMARY KEY, name text, size size, price amount, twice amount GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE tag (id int PRIMARY KEY, name text);
CREATE TABLE product_tag (product int REFERENCES product ON DELETE CASCADE, tag int REFERENCES tag ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE stock (product int REFERENCES product ON DELETE SET NULL, n int);
CREATE TABLE contract (id int PRIMARY KEY, tenant_id text, customer int, price amount);
CREATE TABLE invoice (id int PRIMARY KEY, tenant_id text, contract int REFERENCES contract ON DELETE CASCADE, total amount);
CREATE TABLE line (id int, tenant_id text, invoice int REFERENCES invoice ON DELETE SET NULL, x int);
CREATE TABLE event (day int, x int) PARTITION BY RANGE (day);
CREATE TABLE event1 PARTITION OF event FOR VALUES FROM (0) TO (10);
CREATE TABLE event2 PARTITION OF event FOR VALUES FROM (10) TO (20) PARTITION BY LIST (x);
CREATE TABLE event2a PARTITION OF event2 FOR VALUES IN (0, 1, 2, 3, 4);
CREATE TABLE event2b PARTITION OF event2 DEFAULT;
CREATE TABLE event3 (day int, x int);
CREATE TABLE doc (id int, body text);
CREATE TABLE doc_a (extra int) INHERITS (doc);
CREATE TABLE doc_b (id int, body text);
CREATE TABLE secret (id int, owner text, x int);
CREATE TABLE allowed (owner text);
CREATE TABLE note (id int, body text, unread int);
CREATE TABLE setting (name text PRIMARY KEY, value text);
-- Values that may be written in more than one way.
CREATE DOMAIN owner AS uuid;
CREATE TABLE account (id numeric, owner uuid, kind char(6), due date, x int);

INSERT INTO country SELECT g, 'country ' || g FROM generate_series(1, 4) g;
INSERT INTO customer SELECT g, 1 + g % 4, 'c' || g, 'sad' FROM generate_series(1, 12) g;
INSERT INTO product (id, name, size, price) SELECT g, 'p' || g, ROW(g, g)::size, g FROM generate_series(1, 12) g;
INSERT INTO tag SELECT g, 't' || g FROM generate_series(1, 5) g;
INSERT INTO product_tag SELECT g, 1 + g % 5 FROM generate_series(1, 12) g;
INSERT INTO stock SELECT g, g FROM generate_series(1, 12) g;
INSERT INTO contract SELECT g, chr(97 + g % 3), 1 + g % 12, g FROM generate_series(1, 18) g;
INSERT INTO invoice SELECT g, chr(97 + g % 3), g, g FROM generate_series(1, 18) g;
INSERT INTO line SELECT g, chr(97 + g % 3), g, g FROM generate_series(1, 18) g;
INSERT INTO event SELECT g, g % 7 FROM generate_series(0, 19) g;
INSERT INTO event3 SELECT g, g FROM generate_series(20, 25) g;
INSERT INTO doc SELECT g, 'doc' FROM generate_series(1, 3) g;
INSERT INTO doc_a SELECT g, 'a', g FROM generate_series(4, 6) g;
INSERT INTO doc_b SELECT g, 'b' FROM generate_series(7, 9) g;
INSERT INTO secret SELECT g, CASE g % 2 WHEN 0 THEN 'x' ELSE 'y' END, g FROM generate_series(1, 6) g;
INSERT INTO allowed VALUES ('x');
INSERT INTO note SELECT g, 'n', g FROM generate_series(1, 6) g;
INSERT INTO setting VALUES ('rate', '2'), ('other', '1');

INSERT INTO account SELECT g + 0.0, ('550e8400-e29b-41d4-a716-44665544aaa' || g % 3)::uuid, chr(97 + g % 3), '2024-01-01'::date + g % 4, g FROM generate_series(1, 12) g;

CREATE ROLE staff;
GRANT staff TO reader;
CREATE POLICY of_staff ON secret TO staff USING (x > 4);
CREATE POLICY own ON secret USING (owner IN (SELECT owner FROM allowed));
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON secret, allowed TO reader;

CREATE FUNCTION rate() RETURNS int STABLE LANGUAGE sql AS 'SELECT value::int FROM public.setting WHERE name = ''rate''';
CREATE FUNCTION factor(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN i * 1; END';
CREATE FUNCTION tagged(t int) RETURNS SETOF product STABLE LANGUAGE sql
	AS 'SELECT p.* FROM public.product p JOIN public.product_tag ON product = p.id WHERE tag = t';
CREATE VIEW v_customer AS SELECT c.id, c.name, c.mood, k.name AS country FROM customer c LEFT JOIN country k ON k.id = c.country;
CREATE VIEW v_contract AS SELECT t.id, t.tenant_id, t.price * rate() AS price, v.country FROM contract t LEFT JOIN v_customer v ON v.id = t.customer;
CREATE VIEW v_invoice AS SELECT i.id, i.tenant_id, i.total, v.country, (SELECT sum(x) FROM line WHERE invoice = i.id) AS lines
	FROM invoice i LEFT JOIN v_contract v ON v.id = i.contract;
CREATE VIEW v_secret AS SELECT * FROM secret;
ALTER VIEW v_secret OWNER TO reader;
CREATE MATERIALIZED VIEW m_stock AS SELECT product, sum(n) AS n FROM stock GROUP BY 1;
CREATE UNIQUE INDEX ON m_stock (product);
CREATE MATERIALIZED VIEW m_country AS SELECT country, count(*) FROM customer GROUP BY 1;
CREATE UNIQUE INDEX ON m_country (country);

CREATE FUNCTION above(n int DEFAULT rate()) RETURNS bigint STABLE LANGUAGE sql
	AS 'SELECT count(*) FROM public.product WHERE price > n';
CREATE VIEW v_mood AS SELECT 'sad'::mood AS m, NULL::size AS s, id FROM country;
CREATE VIEW v_rule AS SELECT id, name FROM tag;
CREATE TABLE wrap (id int, r tag);
INSERT INTO wrap VALUES (1, ROW(1, 'one')), (2, NULL);
CREATE TEXT SEARCH CONFIGURATION conf (COPY = english);
CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple, ACCEPT = true);
-- What a name stands for by its arguments, and an operator by its place.
CREATE FUNCTION pick(i bigint) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION apart(i int, j int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i - j';
CREATE OPERATOR <-> (FUNCTION = apart, LEFTARG = int, RIGHTARG = int);
CREATE FUNCTION plus_one(a int, b int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a + b + 1';
CREATE AGGREGATE total(int) (SFUNC = plus_one, STYPE = int, INITCOND = '0');
-- A security definer reads as its owner; another role sees other rows.
CREATE ROLE outsider;
CREATE FUNCTION f_secret() RETURNS bigint STABLE SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM public.secret';
ALTER FUNCTION f_secret() OWNER TO reader;
GRANT SELECT ON secret, allowed TO outsider;
CREATE FUNCTION says(text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 = ''x''; END';
CREATE POLICY said ON secret TO outsider USING (says(owner));
CREATE EXTENSION fuzzystrmatch;
-- A foreign table, written through it only, and a partition that is foreign.
CREATE EXTENSION postgres_fdw;
CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host :'host', port :'port', dbname 'postgres');
CREATE USER MAPPING FOR PUBLIC SERVER loop OPTIONS (user :'user');
CREATE TABLE far_a (id int, x int);
CREATE TABLE far_b (id int, x int);
CREATE TABLE far_p (id int, x int);
INSERT INTO far_b VALUES (1, 7);
CREATE FOREIGN TABLE far (id int, x int) SERVER loop OPTIONS (table_name 'far_a');
CREATE TABLE near (id int, x int) PARTITION BY RANGE (id);
CREATE TABLE near1 PARTITION OF near FOR VALUES FROM (0) TO (5);
CREATE FOREIGN TABLE near2 PARTITION OF near FOR VALUES FROM (5) TO (50) SERVER loop OPTIONS (table_name 'far_p');
SELECT count(cache_notify.setup_table_invalidation(t::regclass)) FROM unnest('{far,near}'::text[]) AS t;
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE remote (line text) SERVER files OPTIONS (program 'seq 3');
SELECT count(cache_notify.setup_table_invalidation(t::regclass)) FROM unnest('{wrap,remote}'::text[]) AS t;

SELECT count(cache_notify.setup_table_invalidation(t::regclass)) FROM unnest(
	'{country,customer,tag,product_tag,invoice,line,secret,allowed,m_stock,m_country}'::text[]) AS t;
SELECT cache_notify.setup_table_invalidation('product', keys => '{id}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('contract', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('stock', keys => '{product}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('event', keys => '{day}');
SELECT cache_notify.setup_table_invalidation('doc', keys => '{id}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('setting', keys => '{name}');
SELECT cache_notify.setup_table_invalidation('note', columns => '{body}', keys => '{id}');
-- Lists, and what keys are carried on to.
SELECT cache_notify.setup_table_invalidation('customer', 'customers_of_country', keys => '{country}');
SELECT cache_notify.setup_table_invalidation('product_tag', 'tags_of_product', keys => '{product}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('invoice', 'invoices_of_contract', keys => '{contract}');
SELECT cache_notify.setup_table_invalidation('line', 'lines_of_invoice', keys => '{invoice}');
CREATE TABLE page (product int, title text);
SELECT cache_notify.setup_table_invalidation('page', keys => '{product}', buckets => 64);
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, keys) VALUES
	('product', 'page', 'same'), ('stock', 'page', 'same'), ('tags_of_product', 'page', 'same'), ('setting', 'page', 'all');

-- What is swapped for a copy of itself, and dropped and created anew.
CREATE TABLE tariff (id int PRIMARY KEY, tenant_id text, n int);
INSERT INTO tariff SELECT g, chr(97 + g % 3), g FROM generate_series(1, 12) g;
CREATE MATERIALIZED VIEW m_tariff AS SELECT tenant_id, sum(n) AS n FROM tariff GROUP BY 1;
SELECT cache_notify.setup_table_invalidation('tariff', keys => '{id}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('tariff', 'price_list');
SELECT cache_notify.setup_table_invalidation('m_tariff');
-- A rule whose source is mistyped.
SELECT cache_notify.setup_table_invalidation('country', 'atlas');
INSERT INTO cache_notify.cascade_rules VALUES ('custmoer', 'atlas');

SELECT cache_notify.setup_table_invalidation('account', tenant_column => 'owner', keys => '{id}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('account', 'accounts_of_kind', keys => '{kind}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('account', 'accounts_due', tenant_column => 'owner', keys => '{kind,due}', buckets => 64);

-- The queries whose results are cached.
CREATE SCHEMA truth;
CREATE TABLE truth.query (
	id serial PRIMARY KEY, query text, tenant text,
	names text[],		-- for token(); NULL: those that token_for() finds
	mistyped boolean DEFAULT false,
	role text DEFAULT 'none',
	result text, token text, domains text[]);
INSERT INTO truth.query (query, tenant) VALUES
	('SELECT * FROM country', NULL),
	('SELECT id, country, name, mood FROM customer', NULL),
	('SELECT * FROM product', NULL),
	('SELECT name, price FROM product WHERE id < 7', NULL),
	('SELECT p.name, t.name FROM product p JOIN product_tag x ON x.product = p.id JOIN tag t ON t.id = x.tag', NULL),
	('SELECT * FROM stock', NULL),
	('SELECT * FROM contract WHERE tenant_id = ''a''', 'a'),
	('SELECT count(*), sum(price) FROM contract WHERE tenant_id = ''b''', 'b'),
	('SELECT * FROM invoice JOIN line ON line.invoice = invoice.id WHERE invoice.tenant_id = ''c'' AND line.tenant_id = ''c''', 'c'),
	('SELECT * FROM v_customer', NULL),
	('SELECT * FROM v_contract WHERE tenant_id = ''a''', 'a'),
	('SELECT id, tenant_id, total, country FROM v_invoice WHERE tenant_id = ''b''', 'b'),
	('SELECT * FROM event', NULL),
	('SELECT x, count(*) FROM event2 GROUP BY x', NULL),
	('SELECT * FROM event1', NULL),
	('SELECT * FROM doc', NULL),
	('SELECT * FROM doc_a', NULL),
	('SELECT * FROM v_secret', NULL),
	('SELECT * FROM m_stock', NULL),
	('SELECT * FROM m_country', NULL),
	('SELECT rate()', NULL),
	('SELECT factor(id) FROM tag', NULL),
	('SELECT above(), above(1)', NULL),
	('SELECT * FROM v_mood', NULL),
	('SELECT * FROM v_rule', NULL),
	('SELECT id, r FROM wrap', NULL),
	('SELECT id, ROW(id, ''x'')::tag FROM wrap', NULL),
	('SELECT id, to_tsvector(''public.conf'', name || '' running'') FROM country', NULL),
	('SELECT id, name FROM tagged(2)', NULL),
	('SELECT pick(id) FROM tag', NULL),
	('SELECT id <-> 1, total(id) FROM tag GROUP BY id', NULL),
	('SELECT f_secret()', NULL),
	('SELECT public.soundex(name) FROM tag', NULL),
	('SELECT min(mood), count(*) FROM customer', NULL),
	('SELECT body FROM note', NULL),
	('SELECT count(*) FROM note', NULL),
	('SELECT value FROM setting WHERE name = ''rate''', NULL),
	-- of all tenants
	('SELECT count(*), sum(price) FROM contract', NULL),
	('SELECT tenant_id, sum(total) FROM invoice GROUP BY 1', NULL),
	('SELECT * FROM v_contract', NULL),
	('SELECT id, tenant_id, total, country, lines FROM v_invoice', NULL),
	('SELECT * FROM tariff', NULL),
	('SELECT * FROM m_tariff', NULL),
	('SELECT sum(n) FROM tariff WHERE tenant_id = ''b''', 'b');
INSERT INTO truth.query (query, tenant, names) VALUES
	('SELECT count(*) FROM contract', NULL, '{contract}'),
	('SELECT * FROM contract WHERE id = 4', NULL, '{contract/4}'),
	('SELECT * FROM invoice WHERE contract = 5', NULL, '{invoices_of_contract/5}'),
	('SELECT * FROM tariff WHERE id = 2', NULL, '{tariff/2}'),
	('SELECT * FROM tariff', NULL, '{price_list}'),
	('SELECT * FROM tariff WHERE tenant_id = ''a''', 'a', '{tariff}'),
	('SELECT sum(n) FROM m_tariff', NULL, '{m_tariff}');
INSERT INTO truth.query (query, role) VALUES
	('SELECT * FROM secret', 'reader'),
	('SELECT * FROM secret', 'outsider'),
	('SELECT count(*) FROM secret WHERE x > 2', 'outsider');
INSERT INTO truth.query (query, tenant, names, mistyped) VALUES
	('SELECT count(*) FROM contract WHERE id < 9', 'a', '{contrat}', true),
	('SELECT count(*) FROM contract WHERE id < 8', 'contract', '{a}', true),
	('SELECT p.name, c.price FROM product p, contract c WHERE p.id = 3 AND c.id = 4', NULL, '{product/3,contarct/4}', true),
	('SELECT count(*) FROM country, customer', NULL, '{atlas}', true),
	('SELECT 1 FROM stock', NULL, '{Stock}', true);

INSERT INTO truth.query (query, tenant, names)
	SELECT replace(q.query, '?', i::text), q.tenant, ARRAY[q.name || '/' || i]
	FROM (VALUES
		('SELECT * FROM product WHERE id = ?', NULL, 'product'),
		('SELECT * FROM contract WHERE id = ? AND tenant_id = ''a''', 'a', 'contract'),
		('SELECT * FROM stock WHERE product = ?', NULL, 'stock'),
		('SELECT * FROM event WHERE day = ?', NULL, 'event'),
		('SELECT * FROM doc WHERE id = ?', NULL, 'doc'),
		('SELECT body FROM note WHERE id = ?', NULL, 'note'),
		('SELECT name, mood FROM customer WHERE country = ?', NULL, 'customers_of_country'),
		('SELECT tag FROM product_tag WHERE product = ?', NULL, 'tags_of_product'),
		('SELECT * FROM invoice WHERE contract = ? AND tenant_id = ''b''', 'b', 'invoices_of_contract'),
		('SELECT * FROM line WHERE invoice = ? AND tenant_id = ''c''', 'c', 'lines_of_invoice'),
		('SELECT p.name, (SELECT sum(n) FROM stock WHERE product = p.id), (SELECT array_agg(tag ORDER BY tag) FROM product_tag WHERE product = p.id), s.value'
		 ' FROM product p, setting s WHERE p.id = ? AND s.name = ''rate''', NULL, 'page')) AS q (query, tenant, name)
	CROSS JOIN generate_series(1, 12) AS g (i);
INSERT INTO truth.query (query, tenant, names) VALUES
	('SELECT value FROM setting WHERE name = ''rate''', NULL, '{setting/rate}'),
	('SELECT * FROM remote', NULL, '{remote}'),
	('SELECT * FROM far', NULL, '{far}'),
	('SELECT * FROM near', NULL, '{near}'),
	('SELECT p.name, c.price FROM product p, contract c WHERE p.id = 3 AND c.id = 3 AND c.tenant_id = ''a''', 'a', '{product/3,contract/3}');

-- Names in other spellings than rows have, with too many or too few parts, and
-- dates that are one or another by DateStyle.
INSERT INTO truth.query (query, tenant, names)
	SELECT format('SELECT * FROM account WHERE owner = %L', '550e8400-e29b-41d4-a716-44665544aaa' || i % 3)
			|| CASE WHEN name LIKE 'account/%' THEN ' AND id = ' || i ELSE '' END,
		format(tenant, i % 3), nullif(string_to_array(format(name, i), ' '), '{}')
	FROM (VALUES ('550E8400-E29B-41D4-A716-44665544AAA%s', ''), ('{550e8400e29b41d4a71644665544aaa%s}', 'account'),
		('550e8400-E29B-41d4-a716-44665544aaa%s', 'account/%s.00'), ('550E8400-e29b-41d4-a716-44665544aaa%s', 'account/0%s'),
		('{550e8400-e29b-41d4-a716-44665544aaa%s}', 'account/%s/1')) AS v (tenant, name)
	CROSS JOIN generate_series(1, 6) AS g (i);
INSERT INTO truth.query (query, tenant, names) VALUES
	('SELECT * FROM account WHERE id = 3', NULL, '{account/3.000}'),
	('SELECT x FROM account WHERE kind = ''a''', NULL, '{"accounts_of_kind/a   "}'),
	('SELECT x FROM account WHERE kind = ''b''', NULL, '{accounts_of_kind/b}'),
	('SELECT x FROM account WHERE kind = ''b'' AND due = ''2024-01-02''', NULL, '{"accounts_due/b  /2024-1-2"}'),
	('SELECT x FROM account WHERE kind = ''c'' AND due = ''2024-01-03''', NULL, '{"accounts_due/c/2024-01-03 00:00:00"}'),
	('SELECT x FROM account WHERE kind = ''a'' AND due = ''2024-01-02''', NULL, '{accounts_due/a/02.01.2024}'),
	('SELECT x, due FROM account WHERE kind = ''b''', NULL, '{accounts_due/b}'),
	('SELECT x, due FROM account WHERE kind = ''c''', NULL, '{accounts_due/c/}');

CREATE TABLE truth.step (step int PRIMARY KEY, command text);
CREATE TABLE truth.log (
	step int, query int, changed boolean, current boolean,
	domains text[],		-- of the query, as they were before
	moved text[]);		-- domains whose version did
CREATE TABLE truth.now (query int PRIMARY KEY, result text, current boolean);
CREATE INDEX ON truth.log (query);
GRANT USAGE ON SCHEMA truth TO PUBLIC;
CREATE TABLE truth.version (domain text, tenant text, version bigint);
-- All counters, internal domains included.
CREATE VIEW truth.counter AS
	SELECT domain, tenant_id, sum(n) AS n FROM _cache_notify.version_counter GROUP BY 1, 2;

-- Each asks as the query's role.
CREATE FUNCTION truth.result_of(query text, role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	names text;
BEGIN
	PERFORM set_config('role', role, true);
	EXECUTE format('WITH r AS MATERIALIZED (%s) SELECT md5(coalesce(string_agg(r::text, E''\n'' ORDER BY r::text), '''')) || count(*)::text,'
		-- names of columns are part of a result
		' coalesce(min((SELECT string_agg(k, '','') FROM json_object_keys(row_to_json(r)) AS k)), '''') FROM r', query) INTO result, names;
	PERFORM set_config('role', 'none', true);
	RETURN result || names;
EXCEPTION WHEN OTHERS THEN
	RETURN 'error ' || SQLERRM;
END $$;

CREATE FUNCTION truth.token_of(query text, tenant text, names text[], role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	token text;
BEGIN
	PERFORM set_config('role', role, true);
	token := CASE WHEN names IS NOT NULL THEN cache_notify.token(tenant, VARIADIC names) ELSE cache_notify.token_for(query, tenant) END;
	PERFORM set_config('role', 'none', true);
	RETURN token;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;

CREATE FUNCTION truth.domains_of(query text, role text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	domains text[];
BEGIN
	PERFORM set_config('role', role, true);
	domains := ARRAY(SELECT DISTINCT d.domain FROM cache_notify.domains_of(query) d WHERE d.domain IS NOT NULL);
	PERFORM set_config('role', 'none', true);
	RETURN domains;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;

-- What the statements of a step did to every query.  A token is kept for as long as it
-- is current, over many steps if need be.
CREATE PROCEDURE truth.look(step int, command text) LANGUAGE plpgsql AS $$
DECLARE
	moved text[];
BEGIN
	moved := ARRAY(SELECT DISTINCT t.domain FROM truth.counter t
		LEFT JOIN truth.version v ON v.domain = t.domain AND v.tenant IS NOT DISTINCT FROM t.tenant_id
		WHERE t.n IS DISTINCT FROM v.version);
	DELETE FROM truth.version;
	INSERT INTO truth.version SELECT domain, tenant_id, n FROM truth.counter;

	INSERT INTO truth.step VALUES (step, command);
	DELETE FROM truth.now;
	INSERT INTO truth.now SELECT q.id, truth.result_of(q.query, q.role), cache_notify.is_current(q.token) FROM truth.query q;
	INSERT INTO truth.log
	SELECT step, q.id, q.result <> n.result, n.current, q.domains, moved
	FROM truth.query q JOIN truth.now n ON n.query = q.id WHERE q.token IS NOT NULL;
	UPDATE truth.query q SET result = n.result,
		token = CASE WHEN n.current THEN q.token ELSE truth.token_of(q.query, q.tenant, q.names, q.role) END,
		domains = CASE WHEN n.current THEN q.domains WHEN q.names IS NULL THEN truth.domains_of(q.query, q.role) END
	FROM truth.now n WHERE n.query = q.id AND (n.current IS NOT TRUE OR n.result <> q.result OR q.result IS NULL);
END $$;
CALL truth.look(0, '');
