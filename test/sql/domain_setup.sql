-- Serves setup_table_invalidation() and remove_table_invalidation(): which calls
-- are taken, what they leave behind, and that a repeated call replaces.
-- A failure shows in the list of triggers and their arguments (two sets for one
-- domain, an option lost), or in a counter that moved or did not.
\set ECHO none
\i test/include/moved.sql
CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id uuid, name text);
CREATE TABLE roles (id int PRIMARY KEY, tenant_id bigint, name text);
CREATE TABLE permissions (id int PRIMARY KEY, name text);
CREATE TABLE users (id int PRIMARY KEY, tenant_id text, name text);

-- The calls as users write them, with untyped literals.
SELECT cache_notify.setup_table_invalidation('tv_contract');
SELECT cache_notify.setup_table_invalidation('roles', 'role', 'tenant_id');
SELECT cache_notify.setup_table_invalidation('permissions', 'permission', NULL);
SELECT cache_notify.setup_table_invalidation('public.users', NULL, 'tenant_id');
:triggers
INSERT INTO tv_contract VALUES (1, '2b1e6f0c-0c5a-4c39-9d55-0d2f3d8f5a11', 'one');
INSERT INTO roles VALUES (1, -7, 'admin');
INSERT INTO permissions VALUES (1, 'read');
INSERT INTO users VALUES (1, 'acme', 'Ann');
:moved

-- Names from variables arrive as text.
DO $$
DECLARE
	table_name text := 'users';
	domain_name text := 'user';
BEGIN
	PERFORM cache_notify.setup_table_invalidation(table_name, domain_name);
	PERFORM cache_notify.remove_table_invalidation(table_name, domain_name);
END
$$;

-- Without a domain: the table's name without one leading tv_, tb_ or v_.
CREATE SCHEMA names
	CREATE TABLE tb_order () CREATE TABLE v_price () CREATE TABLE tv_tb_x ()
	CREATE TABLE tv_ () CREATE TABLE stv_y () CREATE TABLE "TV_Upper" ()
	CREATE TABLE "tb_two words" ();
SELECT relname, _cache_notify.default_domain(oid) FROM pg_class
	WHERE relnamespace = 'names'::regnamespace ORDER BY relname COLLATE "C";
SELECT cache_notify.setup_table_invalidation('names."tb_two words"');
DROP SCHEMA names CASCADE;

-- Every option arrives in the triggers.
SELECT cache_notify.setup_table_invalidation('users', 'option', channel => 'c1',
	payload => 'json', columns => '{name,id}');
SELECT cache_notify.setup_table_invalidation('roles', 'option',
	granularity => 'statement', tenant_setting => 'app.tenant_id');
SELECT tgrelid::regclass, function, arguments FROM _cache_notify.watching_trigger
	WHERE domain = 'option' ORDER BY tgrelid::regclass::text COLLATE "C", function;

-- One table feeds several domains; each is removed by its name.
INSERT INTO users VALUES (2, 'acme', 'Bob');
:moved
SELECT cache_notify.remove_table_invalidation('users', 'option');
UPDATE users SET name = 'Bill' WHERE id = 2;
:moved

-- Again replaces: options are those of the last call, and there is one set.
SELECT cache_notify.setup_table_invalidation('roles', 'role', channel => 'c2', columns => '{name}');
SELECT cache_notify.setup_table_invalidation('roles', 'role', channel => 'c3');
SELECT cache_notify.remove_table_invalidation('roles', 'option');
SELECT tgname, arguments FROM _cache_notify.watching_trigger
	WHERE tgrelid = 'roles'::regclass ORDER BY tgname COLLATE "C";

-- From row to statement granularity the row trigger goes, and back it comes.
SELECT cache_notify.setup_table_invalidation('roles', 'role', granularity => 'statement');
SELECT tgname, arguments FROM _cache_notify.watching_trigger
	WHERE tgrelid = 'roles'::regclass ORDER BY tgname COLLATE "C";
UPDATE roles SET name = name;
:moved
SELECT cache_notify.setup_table_invalidation('roles', 'role');
SELECT tgname, arguments FROM _cache_notify.watching_trigger
	WHERE tgrelid = 'roles'::regclass ORDER BY tgname COLLATE "C";
UPDATE roles SET name = name;
:moved
UPDATE roles SET name = upper(name);
:moved

-- It is transactional, and takes effect at once.
BEGIN;
SELECT cache_notify.remove_table_invalidation('permissions', all_domains => true);
INSERT INTO permissions VALUES (2, 'write');
:moved
ROLLBACK;
INSERT INTO permissions VALUES (2, 'write');
:moved
BEGIN;
SELECT cache_notify.setup_table_invalidation('permissions', 'second');
DELETE FROM permissions WHERE id = 2;
:moved
ROLLBACK;
:moved

-- A foreign table, here of a wrapper that cannot even read.
CREATE FOREIGN DATA WRAPPER setup_wrapper;
CREATE SERVER setup_server FOREIGN DATA WRAPPER setup_wrapper;
CREATE FOREIGN TABLE remote_item (id int, tenant_id int) SERVER setup_server;
SELECT cache_notify.setup_table_invalidation('remote_item');
SELECT tgname, arguments FROM _cache_notify.watching_trigger
	WHERE tgrelid = 'remote_item'::regclass ORDER BY tgname COLLATE "C";
SELECT cache_notify.remove_table_invalidation('remote_item', all_domains => true);
DROP FOREIGN DATA WRAPPER setup_wrapper CASCADE;

-- An unlogged table.
CREATE UNLOGGED TABLE tv_session (id int);
SELECT cache_notify.setup_table_invalidation('tv_session');
INSERT INTO tv_session VALUES (1);
:moved
DROP TABLE tv_session;

-- Removing: all domains at once; what is not watched is an error.
SELECT cache_notify.setup_table_invalidation('users', 'second');
SELECT cache_notify.remove_table_invalidation('users', all_domains => true);
SELECT cache_notify.remove_table_invalidation('users', all_domains => true);
SELECT cache_notify.remove_table_invalidation('roles', 'permission');
SELECT cache_notify.remove_table_invalidation(NULL);
SELECT cache_notify.remove_table_invalidation('missing');
DELETE FROM users;
:moved
-- Versions stay.
SELECT cache_notify.version('users', 'acme');

DROP TABLE tv_contract, roles, permissions, users;
:triggers

-- What a table changed while nobody watched it moved no version; watching it
-- again does, or one version would stand for two states. A first time does not.
CREATE TABLE gap (n int);
SELECT cache_notify.setup_table_invalidation('gap');
:moved
INSERT INTO gap VALUES (1);
:moved
SELECT cache_notify.remove_table_invalidation('gap', all_domains => true);
UPDATE gap SET n = 2;
:moved
SELECT cache_notify.setup_table_invalidation('gap');
:moved
SELECT cache_notify.setup_table_invalidation('gap', columns => '{n}');
:moved
DROP TABLE gap;
