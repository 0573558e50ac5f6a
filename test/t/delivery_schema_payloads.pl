# setup_schema_invalidation(): which commands make PostgREST and PostGraphile hear of
# the schema, and what they hear. Every command that is listed fires or not, as
# their documentation and their own event triggers have it; temporary objects, the
# scripts of extensions and the triggers of watched tables do not; a transaction is
# told of once, and what it rolled back is not told of.
#
# Failure shows as a command whose notifications are not those of its line.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main');
my $version = server_version($node);
my $s = session($node);

$s->query(<<'END');
SET client_min_messages = error;
CREATE SCHEMA s;
CREATE ROLE regress_cn_grantee;
CREATE ROLE regress_cn_owner;
SELECT cache_notify.setup_schema_invalidation('postgrest');
SELECT cache_notify.setup_schema_invalidation('postgraphile');
SELECT cache_notify.setup_schema_invalidation(channel => 'any', payload => 'changed', payload_suffix => E'.');
LISTEN pgrst;
LISTEN postgraphile_watch;
LISTEN "any";
END

sub version { return $s->query("SELECT cache_notify.version('schema')"); }

# What one or more commands lead to: by channel, and how far the domain moved.
sub heard_after
{
	my ($sql) = @_;
	my %heard;

	$s->heard;
	my $before = version();
	$s->query($sql);
	push @{ $heard{ $_->{channel} } }, $_->{payload} for $s->heard;
	return { %heard, bumps => version() - $before };
}

sub ddl
{
	return '{"type" : "ddl", "payload" : ['
	  . join(', ', map { my ($schema, $command) = /^(.*):(.*)$/;
		'{"schema" : ' . ($schema eq '' ? 'null' : qq("$schema")) . qq(, "command" : "$command"}) } @_)
	  . ']}';
}

sub dropped
{
	return '{"type" : "drop", "payload" : [' . join(', ', map { qq("$_") } @_) . ']}';
}

# ------------------------------------------------------------ every command

# command => who hears: R PostgREST, c PostGraphile of a command in schema s,
# n of a command in no schema, d of something dropped in s; more payloads spelled out.
my @commands = (
	'CREATE TABLE s.t (a int, b text)' => 'Rc',
	'ALTER TABLE s.t ADD c int' => 'Rc',
	'ALTER TABLE s.t RENAME c TO d' => 'Rc',
	'ALTER TABLE s.t DROP d' => 'Rcd',
	'ALTER TABLE s.t RENAME TO tt' => 'Rc',
	'ALTER TABLE s.tt RENAME TO t' => 'Rc',
	'ALTER TABLE s.t OWNER TO regress_cn_owner' => 'Rc',
	'ALTER TABLE s.t ENABLE ROW LEVEL SECURITY' => 'Rc',
	'CREATE TABLE s.ctas AS SELECT 1 AS a' => 'Rc',
	'SELECT 1 AS a INTO s.into_table' => 'Rc',
	'CREATE VIEW s.v AS SELECT 1 AS a' => 'Rc',
	'CREATE OR REPLACE VIEW s.v AS SELECT 1 AS a, 2 AS b' => 'Rc',
	'ALTER VIEW s.v SET (security_barrier)' => 'Rc',
	'CREATE MATERIALIZED VIEW s.m AS SELECT 1 AS a' => 'R',
	'ALTER MATERIALIZED VIEW s.m RENAME a TO b' => 'R',
	'CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$' => 'Rc',
	'ALTER FUNCTION s.f() STABLE' => 'Rc',
	'ALTER ROUTINE s.f() VOLATILE' => 'R',
	'CREATE PROCEDURE s.p() LANGUAGE sql AS $$ SELECT 1 $$' => 'R',
	'ALTER PROCEDURE s.p() RENAME TO q' => 'R',
	'CREATE AGGREGATE s.a(int) (SFUNC = int4pl, STYPE = int)' => 'Rc',
	'ALTER AGGREGATE s.a(int) RENAME TO b' => 'Rc',
	'CREATE TYPE s.pair AS (a int, b int)' => 'R',
	q{CREATE TYPE s.mood AS ENUM ('sad')} => 'R',
	q{ALTER TYPE s.mood ADD VALUE 'glad'} => 'Rc',
	'ALTER TYPE s.pair ADD ATTRIBUTE c int' => 'Rc',
	'CREATE DOMAIN s.d AS int' => 'Rc',
	'ALTER DOMAIN s.d SET DEFAULT 1' => 'Rc',
	'CREATE CAST (s.pair AS s.mood) WITH INOUT' => 'R',
	'CREATE FUNCTION s.trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$' => 'Rc',
	'CREATE TRIGGER trg BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.trg()' => 'R',
	'ALTER TRIGGER trg ON s.t RENAME TO trg2' => '',
	'ALTER TABLE s.t DISABLE TRIGGER trg2' => 'Rc',
	'CREATE RULE r AS ON DELETE TO s.t DO INSTEAD NOTHING' => 'Rn',
	'ALTER RULE r ON s.t RENAME TO r2' => '',
	'CREATE POLICY p ON s.t USING (true)' => 'n',
	'ALTER POLICY p ON s.t USING (false)' => 'n',
	'CREATE INDEX i ON s.t (a)' => 'c',
	'ALTER INDEX s.i RENAME TO j' => '',
	'CREATE SEQUENCE s.q' => '',
	'ALTER SEQUENCE s.q INCREMENT 2' => '',
	'CREATE STATISTICS s.st ON a, b FROM s.t' => '',
	'COMMENT ON TABLE s.t IS $$x$$' => 'Rc',
	'COMMENT ON COLUMN s.t.a IS $$x$$' => 'Rc',
	'COMMENT ON TRIGGER trg2 ON s.t IS $$x$$' => 'Rn',
	'COMMENT ON SCHEMA s IS $$x$$' => 'Rn',
	'COMMENT ON FUNCTION s.f() IS $$x$$' => 'Rc',
	'GRANT SELECT ON s.t TO regress_cn_grantee' => 'n',
	'GRANT USAGE ON SCHEMA s TO regress_cn_grantee' => 'n',
	'REVOKE SELECT ON s.t FROM regress_cn_grantee' => 'n',
	'ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO regress_cn_grantee' => '',
	'CREATE FOREIGN DATA WRAPPER w' => '',
	'CREATE SERVER sv FOREIGN DATA WRAPPER w' => '',
	'CREATE FOREIGN TABLE s.ft (a int) SERVER sv' => 'Rc',
	'ALTER FOREIGN TABLE s.ft ADD b int' => 'Rc',
	'CREATE EXTENSION pg_trgm SCHEMA s' => 'Rn',
	q{ALTER EXTENSION pg_trgm UPDATE} => '',	# to the same version
	'ALTER EXTENSION pg_trgm ADD FUNCTION s.f()' => 'Rn',
	'ALTER EXTENSION pg_trgm DROP FUNCTION s.f()' => 'Rn',
	'REFRESH MATERIALIZED VIEW s.m' => '',
	'REINDEX TABLE s.t' => '',
	'VACUUM FULL s.t' => '',
	'CLUSTER s.t USING j' => '',
	'ANALYZE s.t' => '',
	'TRUNCATE s.t' => '',
	'INSERT INTO s.t VALUES (1)' => '',
	'CREATE ROLE regress_cn_other' => '',
	'DROP ROLE regress_cn_other' => '',
	# ALTER TABLE that rewrites makes and drops a table of its own.
	'ALTER TABLE s.t ALTER a TYPE bigint USING a + 1' => 'Rc',
	'DROP EXTENSION pg_trgm' => 'Rd',
	'DROP FOREIGN TABLE s.ft' => 'Rd',
	'DROP SERVER sv' => '-',
	'DROP FOREIGN DATA WRAPPER w' => '-',
	'DROP STATISTICS s.st' => 'd',
	'DROP SEQUENCE s.q' => 'd',
	'DROP INDEX s.j' => 'd',
	'DROP POLICY p ON s.t' => 'd',
	'DROP RULE r2 ON s.t' => 'Rd',
	'DROP TRIGGER trg2 ON s.t' => 'Rd',
	'DROP FUNCTION s.trg()' => 'Rd',
	'DROP CAST (s.pair AS s.mood)' => 'R',
	'DROP DOMAIN s.d' => 'Rd',
	'DROP TYPE s.mood' => 'Rd',
	'DROP TYPE s.pair' => 'Rd',
	'DROP AGGREGATE s.b(int)' => 'Rd',
	'DROP PROCEDURE s.q()' => 'Rd',
	'DROP ROUTINE s.f()' => 'Rd',
	'DROP MATERIALIZED VIEW s.m' => 'Rd',
	'DROP VIEW s.v' => 'Rd',
	'DROP TABLE s.into_table, s.ctas' => 'Rd',
	'DROP TABLE IF EXISTS s.into_table' => '',
	'CREATE TABLE IF NOT EXISTS s.t (a int)' => '',
	'DROP OWNED BY regress_cn_owner' => 'Rd',	# s.t
	'CREATE TABLE s.t (a int)' => 'Rc',
	'ALTER SCHEMA s RENAME TO s2' => 'Rn',
	'ALTER SCHEMA s2 RENAME TO s' => 'Rn',
	'DROP SCHEMA s CASCADE' => 'Rd',
	'CREATE SCHEMA s' => 'Rn',
	'DROP SCHEMA s' => 'Rd',	# with nothing in it
	'CREATE SCHEMA s' => 'Rn',
);

sub tag_of
{
	my ($command) = @_;
	my %tag = ('SELECT' => 'SELECT INTO', 'GRANT' => 'GRANT', 'REVOKE' => 'REVOKE', 'COMMENT' => 'COMMENT');
	my ($first, $kind) = $command =~ /^(\w+) (?:OR REPLACE )?((?:FOREIGN |MATERIALIZED )?\w+)/;

	return $tag{$first} if $tag{$first};
	return 'CREATE TABLE AS' if $command =~ /^CREATE TABLE \S+ AS/;
	return "$first $kind";
}

while (my ($command, $who) = splice @commands, 0, 2)
{
	my $tag = tag_of($command);
	my %expected = (bumps => $who eq '' ? 0 : 1);
	my @payloads;

	push @payloads, ddl("s:$tag") if $who =~ /c/;
	push @payloads, ddl(":$tag") if $who =~ /n/;
	push @payloads, dropped('s') if $who =~ /d/;
	$expected{postgraphile_watch} = \@payloads if @payloads;
	$expected{pgrst} = ['reload schema'] if $who =~ /R/;
	$expected{any} = ['changed.'] if $who ne '';
	is_deeply(heard_after($command), \%expected, $command) or diag(explain(heard_after('SELECT 1')));
}

# ------------------------------------------- one command that is several

is_deeply(heard_after('CREATE TABLE s.serial (id serial PRIMARY KEY)'),
	{
		pgrst => ['reload schema'], any => ['changed.'], bumps => 1,
		postgraphile_watch =>
		  [ ddl('s:CREATE SEQUENCE', 's:CREATE TABLE', 's:CREATE INDEX', 's:ALTER SEQUENCE') ]
	}, 'what a command consists of is listed');
is_deeply(heard_after('CREATE SCHEMA s2 CREATE TABLE t (a int) CREATE VIEW v AS SELECT 1'),
	{
		pgrst => ['reload schema'], any => ['changed.'], bumps => 1,
		postgraphile_watch => [ ddl(':CREATE SCHEMA', 's2:CREATE TABLE', 's2:CREATE VIEW') ]
	}, 'CREATE SCHEMA with what is in it');
is_deeply(heard_after('DROP SCHEMA s, s2 CASCADE; CREATE SCHEMA s'),
	{
		pgrst => [ ('reload schema') x 2 ], any => [ ('changed.') x 2 ], bumps => 2,
		postgraphile_watch => [ dropped('s', 's2'), ddl(':CREATE SCHEMA') ]
	}, 'two schemas dropped by one command, and a transaction after it');
SKIP:
{
	skip 'no postgres_fdw', 2
	  if $s->query(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'}) eq '0';
	my ($host, $port) = ($node->host, $node->port);

	$s->query(<<"END");
CREATE EXTENSION postgres_fdw;
CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER self;
CREATE SCHEMA remote CREATE TABLE one (a int) CREATE TABLE two (a int);
END
	is_deeply(heard_after('IMPORT FOREIGN SCHEMA remote FROM SERVER self INTO s'),
		{ pgrst => ['reload schema'], any => ['changed.'], bumps => 1 }, 'IMPORT FOREIGN SCHEMA');
	$s->query('DROP SCHEMA remote, s CASCADE; CREATE SCHEMA s');
	is_deeply(heard_after('DROP EXTENSION postgres_fdw CASCADE'), { any => ['changed.'], pgrst => ['reload schema'],
		postgraphile_watch => [ dropped('public') ], bumps => 1 }, 'DROP EXTENSION is one command');
}

# ------------------------------------------------- what is nobody's business

my @silent = (
	'CREATE TEMP TABLE tmp (id serial PRIMARY KEY, b text, CHECK (id > 0))',
	'CREATE TEMP TABLE tmp2 AS SELECT 1 AS a',
	'SELECT 1 AS a INTO TEMP tmp3',
	'ALTER TABLE tmp ADD c int DEFAULT 1',
	'CREATE INDEX ON tmp (b)',
	'CREATE TEMP VIEW tmpv AS SELECT id FROM tmp',
	'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
	'CREATE TYPE pg_temp.pair AS (a int)',
	'CREATE DOMAIN pg_temp.d AS int CONSTRAINT x CHECK (value > 0)',
	'CREATE TRIGGER g BEFORE UPDATE ON tmp FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE RULE r AS ON DELETE TO tmp DO INSTEAD NOTHING',
	'CREATE POLICY p ON tmp USING (true)',
	'ALTER POLICY p ON tmp USING (false)',
	'COMMENT ON TABLE tmp IS $$x$$',
	'COMMENT ON COLUMN tmp.b IS $$x$$',
	'COMMENT ON TRIGGER g ON tmp IS $$x$$',
	'COMMENT ON CONSTRAINT tmp_id_check ON tmp IS $$x$$',
	'COMMENT ON CONSTRAINT x ON DOMAIN pg_temp.d IS $$x$$',
	'GRANT SELECT ON tmp, tmp2 TO PUBLIC',
	'REVOKE SELECT (b) ON tmp FROM PUBLIC',
	'ALTER TABLE tmp DROP c',
	'DROP POLICY p ON tmp',
	'DROP RULE r ON tmp',
	'DROP TRIGGER g ON tmp',
	'DROP VIEW tmpv',
	'DROP FUNCTION pg_temp.f()',
	'DROP TYPE pg_temp.pair',
	'DROP DOMAIN pg_temp.d',
	'CREATE TRIGGER g BEFORE UPDATE ON tmp FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TEMP TABLE gone (a int) ON COMMIT DROP',
	'DROP TABLE tmp, tmp2, tmp3',
);
is_deeply(heard_after($_), { bumps => 0 }, "silent: $_") for @silent;

$s->query('CREATE TABLE s.item (tenant_id text) PARTITION BY LIST (tenant_id)');
$s->query('CREATE TABLE s.parent (a int)');
$s->query('CREATE VIEW s.shown AS SELECT * FROM s.parent');
for my $own (
	q{SELECT cache_notify.setup_table_invalidation('s.item')},
	q{SELECT cache_notify.setup_table_invalidation('s.parent')},
	q{SELECT cache_notify.setup_table_invalidation('s.item', fire_on_replica => true)},
	q{SELECT cache_notify.setup_table_invalidation('s.item', granularity => 'statement')},
	q{ALTER TABLE s.item DISABLE TRIGGER cache_notify_statement_item},
	q{ALTER TABLE s.item ENABLE TRIGGER cache_notify_statement_item},
	q{SELECT cache_notify.setup_schema_invalidation('postgrest')},
	q{SELECT cache_notify.setup_view_invalidation('s.shown')},
	q{SELECT cache_notify.remove_table_invalidation('s.item')})
{
	is_deeply(heard_after($own), { bumps => 0 }, "our own: $own");
}
is_deeply(heard_after('CREATE TABLE s.child () INHERITS (s.parent)')->{postgraphile_watch},
	[ ddl('s:CREATE TABLE') ], 'the triggers that a child table gets are our own');
is_deeply(heard_after('ALTER TABLE s.child DISABLE TRIGGER ALL')->{bumps}, 1, 'other triggers are not');

# Whoever runs the DDL, he need not know of us.
$s->query('REVOKE USAGE ON SCHEMA cache_notify FROM PUBLIC; GRANT CREATE, USAGE ON SCHEMA s TO regress_cn_grantee');
is_deeply(heard_after('SET ROLE regress_cn_grantee; CREATE TABLE s.theirs (a int); DROP TABLE s.theirs; RESET ROLE')->{pgrst},
	[ ('reload schema') x 2 ], 'a role without rights');
$s->query('GRANT USAGE ON SCHEMA cache_notify TO PUBLIC');

# ------------------------------------------------------------- transactions

is_deeply(heard_after('BEGIN; CREATE TABLE s.a (x int); CREATE TABLE s.b (x int); CREATE VIEW s.v AS SELECT 1;'
		  . ' DROP TABLE s.a; ALTER TABLE s.b ADD y int; COMMIT'),
	{
		pgrst => ['reload schema'], any => ['changed.'], bumps => 5,
		postgraphile_watch => [ ddl('s:CREATE TABLE', 's:CREATE VIEW', 's:ALTER TABLE'), dropped('s') ]
	}, 'one transaction, one payload of each kind');
is_deeply(heard_after('BEGIN; CREATE TABLE s.x (a int); DROP TABLE s.b; ROLLBACK'), { bumps => 0 }, 'rollback');
is_deeply(heard_after('BEGIN; SAVEPOINT one; CREATE TABLE s.x (a int); ROLLBACK TO one; COMMIT'),
	{ bumps => 0 }, 'rollback to a savepoint');
is_deeply(heard_after(<<'END'),
BEGIN;
SAVEPOINT one;
CREATE TABLE s.x (a int);
SAVEPOINT two;
DROP VIEW s.v;
RELEASE two;
ROLLBACK TO one;
CREATE DOMAIN s.d AS int;
SAVEPOINT three;
SAVEPOINT four;
CREATE VIEW s.w AS SELECT 1;
RELEASE four;
RELEASE three;
SAVEPOINT five;
ALTER DOMAIN s.d SET DEFAULT 1;
ROLLBACK TO five;
COMMIT
END
	{
		pgrst => ['reload schema'], any => ['changed.'], bumps => 2,
		postgraphile_watch => [ ddl('s:CREATE DOMAIN', 's:CREATE VIEW') ]
	}, 'savepoints: only what was kept');
is_deeply(heard_after(<<'END'),
DO $$
BEGIN
	FOR i IN 1..3 LOOP
		BEGIN
			EXECUTE 'ALTER DOMAIN s.d DROP DEFAULT';
			-- What was counted for its drop, and then fails, is not counted.
			EXECUTE 'ALTER TABLE s.b DROP COLUMN y';
			RAISE 'no';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
		EXECUTE format('ALTER TABLE s.b ADD c%s int', i);
	END LOOP;
END $$
END
	{
		pgrst => ['reload schema'], any => ['changed.'], bumps => 3,
		postgraphile_watch => [ ddl('s:ALTER TABLE') ]
	}, 'exceptions in a function');
$s->error('BEGIN; CREATE TABLE s.y (a int); SELECT 1/0; COMMIT');
is_deeply(heard_after('ROLLBACK'), { bumps => 0 }, 'an error');
is_deeply(heard_after(<<'END'),
DO $$
BEGIN
	FOR i IN 1..200 LOOP
		EXECUTE format('CREATE TABLE s.many%s (a int)', i);
	END LOOP;
END $$
END
	{
		pgrst => ['reload schema'], any => ['changed.'], bumps => 200,
		postgraphile_watch => [ ddl('s:CREATE TABLE') ]
	}, 'two hundred commands');

# -------------------------------------------------------- never over 7,999 bytes

# Schemas with long names: 100 of them fit, 120 do not.
sub schemas
{
	my ($n, $command) = @_;
	return "DO \$\$ BEGIN FOR i IN 1..$n LOOP EXECUTE format('$command', 'n' || repeat('x', 58) || lpad(i::text, 4, '0')); END LOOP; END \$\$";
}
my $anything = ddl(':ANY');
is_deeply([ map { $_->{postgraphile_watch} } heard_after(schemas(120, 'CREATE SCHEMA %I')) ],
	[ [ ddl(':CREATE SCHEMA') ] ], 'commands in no schema are alike');
is_deeply(heard_after(schemas(120, 'CREATE TABLE %I.t (a int)'))->{postgraphile_watch}, [$anything],
	'too many schemas: anything may have changed');
my $heard = heard_after(schemas(60, 'CREATE VIEW %I.v AS SELECT 1'));
is(length $heard->{postgraphile_watch}[0], length(ddl(map { 'x' x 63 . ':CREATE VIEW' } 1 .. 60)), '60 are listed');
$heard = heard_after(schemas(100, 'DROP TABLE %I.t'));
is(length $heard->{postgraphile_watch}[0], length(dropped(map { 'x' x 63 } 1 .. 100)), 'of 100 drops all are listed');
is_deeply(heard_after(schemas(120, 'DROP SCHEMA %I CASCADE'))->{postgraphile_watch}, [$anything],
	'of 120, anything may have gone');
is_deeply(
	heard_after('BEGIN; SAVEPOINT a; ' . schemas(120, 'CREATE SCHEMA %1$I CREATE TABLE t (a int)')
		  . '; ROLLBACK TO a; CREATE VIEW s.u AS SELECT 1; COMMIT')->{postgraphile_watch},
	[ ddl('s:CREATE VIEW') ], 'unless it was rolled back');
# Names that grow when they are escaped, and the edge itself.
$s->query(q{CREATE SCHEMA "a""b\c"});
is_deeply(heard_after(q{CREATE TABLE "a""b\c".t (a int)})->{postgraphile_watch},
	['{"type" : "ddl", "payload" : [{"schema" : "a\"b\\\\c", "command" : "CREATE TABLE"}]}'], 'names are escaped');
# 3,000 schemas that come and go: what is remembered has an end.
is_deeply(heard_after('DO $$ BEGIN FOR i IN 1..2500 LOOP EXECUTE format($f$CREATE SCHEMA n%1$s CREATE VIEW v AS SELECT 1$f$, i);'
		  . ' END LOOP; RAISE plpgsql_error; EXCEPTION WHEN plpgsql_error THEN NULL; END $$'),
	{ bumps => 0 }, 'many, undone');

# ------------------------------------------------------------- configurations

$s->query(<<'END');
SELECT cache_notify.remove_schema_invalidation();
SELECT cache_notify.setup_schema_invalidation('postgrest', channel => 'Api', payload_suffix => E'\n');
SELECT cache_notify.setup_schema_invalidation('postgraphile', channel => 'any');
UNLISTEN *;
LISTEN "Api"; LISTEN "any"; LISTEN pgrst; LISTEN postgraphile_watch; LISTEN cache_invalidation;
END
is($s->query('SELECT count(*) FROM cache_notify.v_schema_invalidation WHERE enabled'), 2, 'two listeners');
$s->send('CREATE VIEW s.last AS SELECT 1');
my ($out) = $s->result;
like($out, qr/"Api" with payload "reload schema\n" received/, 'another channel, and a suffix') or diag($out);
my @heard = $s->heard;
ok((grep { $_->{channel} eq 'any' && $_->{payload} eq ddl('s:CREATE VIEW') } @heard), 'a channel that had another preset');
ok((grep { $_->{payload} =~ /^\{"tenant_id": null, "domain": "schema", "version": \d+\}$/ } @heard),
	'the domain is delivered like every domain');
$s->query(q{SELECT cache_notify.token(NULL, 'schema') AS token \\gset});
is($s->query(q{SELECT cache_notify.is_current(:'token')}), 't', 'it has tokens');
$s->query('UNLISTEN "Api"; DROP VIEW s.last');
is($s->query(q{SELECT cache_notify.is_current(:'token')}), 'f', 'which DDL outdates');
$s->query("SELECT cache_notify.remove_schema_invalidation('postgrest')");
is($s->query(q{SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'cache_notify_schema%'}), 2, 'one is left');
$s->query("SELECT cache_notify.remove_schema_invalidation(channel => 'any')");
is($s->query(q{SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'cache_notify_schema%'}), 0,
	'with the last one the event triggers go');
is_deeply(heard_after('CREATE TABLE s.quiet (a int)'), { bumps => 0 }, 'and it is quiet');
$s->query('DROP EXTENSION cache_notify CASCADE');
pass('the extension goes');

$s->quit;
$node->stop;
done_testing();
