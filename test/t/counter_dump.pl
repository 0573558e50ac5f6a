# A dump restored elsewhere, in the same database, over itself, and pg_upgrade.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->start;

my $dump = $node->basedir . '/dump';
my ($token, $version, $position);

sub ask
{
	my ($db, $sql, $on) = @_;
	return ($on // $node)
	  ->safe_psql($db, "SET search_path = cache_notify, _cache_notify, public; $sql");
}

sub remember
{
	my ($db) = @_;
	$token = ask($db, "SELECT token('t', 'a')");
	$version = ask($db, "SELECT version('a', 't')");
	$position = ask($db, 'SELECT current_position()');
}

sub is_new_history
{
	my ($db, $what, $on) = @_;

	is(ask($db, "SELECT is_current('$token')", $on), 'f', "$what: tokens are stale");
	is( ask($db, "SELECT coalesce(domain, 'reset') FROM changes_since('$position')", $on),
		'reset', "$what: drop everything");
	cmp_ok(ask($db, "SELECT version('a', 't')", $on), '>', $version,
		"$what: version goes forward");
	my $new = ask($db, "SELECT token('t', 'a')", $on);
	is(ask($db, "SELECT is_current('$new')", $on), 't', "$what: new tokens are current");
	ask($db, "UPDATE price SET amount = amount + 1", $on);
	is(ask($db, "SELECT is_current('$new')", $on), 'f', "$what: until something changes");
	is( ask($db, "SELECT v.version = version('a', 't') FROM domain_version v WHERE domain = 'a' AND tenant_id = 't'", $on),
		't', "$what: the view agrees");
	cmp_ok(ask($db, "SELECT version('a', 't')", $on), '<', 2**53, "$what: exact in JSON");
}

ask('postgres', q(
	CREATE DATABASE source;
));
ask('source', q(
	CREATE EXTENSION cache_notify;
	CREATE TABLE public.price (tenant_id text, amount int);
	INSERT INTO price VALUES ('t', 1);
	SELECT setup_table_invalidation('price', 'a', tenant_column => 'tenant_id');
));
ask('source', 'UPDATE price SET amount = amount + 1') for 1 .. 5;

# ----------------------------------------------------------- into another one

remember('source');
is($version, 5, 'before');
command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('source') ], 'pg_dump');
is(ask('source', "SELECT is_current('$token')"), 't', 'dumping changes nothing');

ask('postgres', 'CREATE DATABASE plain');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('plain'), $dump ], 'pg_restore');
is_new_history('plain', 'another database');

ask('postgres', 'CREATE DATABASE parts');
command_ok([ 'pg_restore', '--section=pre-data', '-d', $node->connstr('parts'), $dump ], 'structure');
command_ok([ 'pg_restore', '--data-only', '--disable-triggers', '-d', $node->connstr('parts'), $dump ],
	'data without triggers');
command_ok([ 'pg_restore', '--section=post-data', '-d', $node->connstr('parts'), $dump ], 'the rest');
is_new_history('parts', 'another database, without triggers');

is(ask('source', "SELECT is_current('$token'), version('a', 't')"),
	't|5', 'the source is what it was');

# ------------------------------------------- an older dump over a newer state

ask('source', 'UPDATE price SET amount = amount + 1') for 1 .. 3;
remember('source');
is($version, 8, 'after more changes');
command_ok([ 'pg_restore', '--clean', '--if-exists', '-d', $node->connstr('source'), $dump ], 'over itself');
is(ask('source', 'SELECT amount FROM price'), 6, 'the state of the dump');
is_new_history('source', 'over itself');

remember('source');
ask('postgres', 'DROP DATABASE source');
ask('postgres', 'CREATE DATABASE source');
command_ok([ 'pg_restore', '-d', $node->connstr('source'), $dump ], 'into a database of the same name');
is_new_history('source', 'same name');

# The dump of a database that has forked already.
remember('source');
command_ok([ 'pg_dump', '-f', "$dump.sql", $node->connstr('source') ], 'pg_dump as a script');
ask('postgres', 'CREATE DATABASE script');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', 'script', '-f', "$dump.sql" ], 'psql');
is_new_history('script', 'a dump of a fork');

# ------------------------------------------------------------------ pg_upgrade

remember('source');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$node->stop;
my $bindir = $node->config_data('--bindir');
chdir $new->basedir;
command_ok(
	[
		'pg_upgrade', '--no-sync',
		'-d', $node->data_dir, '-D', $new->data_dir,
		'-b', $bindir, '-B', $bindir,
		'-s', $new->host,
		'-p', $node->port, '-P', $new->port
	],
	'pg_upgrade');
$new->start;
is_new_history('source', 'pg_upgrade', $new);

done_testing();
