# ALTER EXTENSION UPDATE with data, from every earlier release: each has left the
# script that it was released with here, as cache_notify--VERSION.sql. What comes out
# must be what a new installation has.
#
# The test itself is tried with the present script under another name, and with one
# that lacks something.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../t";

use File::Basename;
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CacheNotify;

my $folder = $FindBin::Bin;
my ($present) = slurp_file("$folder/../../cache_notify.control") =~ /default_version = '(.*)'/;

sub installed
{
	my ($what) = @_;
	chomp(my $path = `"$ENV{PG_CONFIG}" --$what`);
	return $path;
}

# A copy of the server, to which scripts can be added. It finds its files by where
# they are relative to one another.
my $root = PostgreSQL::Test::Utils::tempdir;
my %copied;
foreach my $directory (map { installed($_) } qw(bindir pkglibdir sharedir))
{
	next if $copied{$directory}++;
	make_path("$root/" . dirname($directory));
	system('cp', '-rL', $directory, "$root/" . dirname($directory)) == 0
	  or die "could not copy $directory";
}
my $scripts = "$root/" . installed('sharedir') . '/extension';

my $node = PostgreSQL::Test::Cluster->new('main', install_path => dirname("$root/" . installed('bindir')));
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cache_notify'");
$node->start;

sub ask
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, "SET search_path = cache_notify, _cache_notify, public; $sql");
}

sub count_members
{
	return ask($_[0], "SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
		WHERE d.deptype = 'e' AND e.extname = 'cache_notify'");
}

# Everything that the extension consists of, as text.
my $contents = slurp_file("$folder/contents.sql");

sub contents
{
	return $node->safe_psql($_[0], $contents);
}

sub set_up
{
	my ($database, $version) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	ask($database, qq(
		CREATE EXTENSION cache_notify VERSION '$version';
		CREATE TABLE public.price (id int PRIMARY KEY, tenant_id text, amount int);
		CREATE TABLE public.tree (id int) PARTITION BY LIST (id);
		CREATE TABLE public.leaf PARTITION OF public.tree DEFAULT;
		SELECT setup_table_invalidation('price'), setup_table_invalidation('tree');
		INSERT INTO cascade_rules VALUES ('price', 'dashboard');
		INSERT INTO price SELECT i, 'tenant ' || i % 3, 0 FROM generate_series(1, 9) i));
	ask($database, 'UPDATE price SET amount = amount + 1') for 1 .. 4;
	ask($database, 'INSERT INTO tree VALUES (1)');
}

sub state_of
{
	return ask($_[0], q(
		SELECT version('price', 'tenant 1'), version('dashboard', 'tenant 2'), version('tree');
		SELECT table_name, domain, tenant_column, granularity, enabled, problem
		FROM v_invalidation_status ORDER BY 1;
		SELECT * FROM cascade_rules));
}

sub upgrade_ok
{
	my ($old, $name) = @_;

	set_up($name, $old);
	my $state = state_of($name);
	like($state, qr/^5\|5\|1$/m, "$old: there are data");
	my $token = ask($name, "SELECT token('tenant 1', 'price', 'dashboard')");

	# New library, old objects: what a server does between the two steps.
	ask($name, 'INSERT INTO tree VALUES (2)');
	is(ask($name, "SELECT version('tree')"), 2, "$old: writes count before the update as well");

	ask($name, 'ALTER EXTENSION cache_notify UPDATE');
	is(ask($name, "SELECT extversion FROM pg_extension WHERE extname = 'cache_notify'"),
		$present, "$old: updated");
	(my $expected = $state) =~ s/^5\|5\|1$/5|5|2/m;
	is(state_of($name), $expected, "$old: versions, rules and what is watched are what they were");
	like(ask($name, "SELECT is_current('$token')"), qr/^[tf]$/, "$old: its tokens can be asked for");

	ask($name, "UPDATE price SET amount = 0 WHERE tenant_id = 'tenant 1'");
	is(ask($name, "SELECT version('price', 'tenant 1'), version('dashboard', 'tenant 1')"),
		'6|6', "$old: writes count and are carried on");
	is(ask($name, "SELECT is_current('$token')"), 'f', "$old: its tokens get stale");

	$node->command_ok([ 'pg_dump', '-Fc', '-f', "$root/dump", $name ], "$old: dump");
	$node->safe_psql('postgres', "CREATE DATABASE restored_$name");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', "restored_$name", "$root/dump" ],
		"$old: restore");
	ask("restored_$name", 'INSERT INTO price VALUES (10, NULL, 0)');
}

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
ask('fresh', 'CREATE EXTENSION cache_notify');
my $fresh = contents('fresh');
cmp_ok(scalar(split /\n/, $fresh), '>', count_members('fresh'), 'the whole extension is looked at');

# --------------------------------------------------------- the test tries itself

my $script = slurp_file("$scripts/cache_notify--$present.sql");
append_to_file("$scripts/cache_notify--itself.sql", $script);
append_to_file("$scripts/cache_notify--itself--$present.sql", "-- nothing\n");
upgrade_ok('itself', 'itself');
is(contents('itself'), $fresh, 'itself: the same as a new installation');

(my $lacking = $script) =~ s/^GRANT SELECT ON cache_notify\.stats TO pg_monitor;$//m
  or die 'the script grants nothing on stats';
append_to_file("$scripts/cache_notify--lacking.sql", $lacking);
append_to_file("$scripts/cache_notify--lacking--$present.sql", "-- nothing\n");
set_up('lacking', 'lacking');
ask('lacking', 'ALTER EXTENSION cache_notify UPDATE');
isnt(contents('lacking'), $fresh, 'a missing grant would be found');

# ------------------------------------------------------------- earlier releases

my @released = map { /--(.*)\.sql$/ ? $1 : () } glob("$folder/cache_notify--*.sql");
note(@released ? "earlier releases: @released" : "$present is the first release: there is none to upgrade from");
foreach my $old (@released)
{
	(my $name = "from_$old") =~ tr/./_/;
	append_to_file("$scripts/cache_notify--$old.sql", slurp_file("$folder/cache_notify--$old.sql"));
	upgrade_ok($old, $name);
	is(contents($name), $fresh, "$old: the same as a new installation");
}

done_testing();
