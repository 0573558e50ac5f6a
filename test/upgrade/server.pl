# pg_upgrade from one version of PostgreSQL to another, with data: OLD_SERVER is where
# the old one is installed, such as /usr/lib/postgresql/15. tools/test-pg-upgrade
# provides both.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../t";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CacheNotify;

plan skip_all => 'there is no OLD_SERVER to upgrade from' unless $ENV{OLD_SERVER};

my $settings = "shared_preload_libraries = 'cache_notify'\nmax_prepared_transactions = 0\n";
my $old = PostgreSQL::Test::Cluster->new('old', install_path => $ENV{OLD_SERVER});
my $new = PostgreSQL::Test::Cluster->new('new');
foreach my $node ($old, $new)
{
	my @checksums = $node->pg_version >= 18 ? '--no-data-checksums' : ();
	$node->init(extra => [ '--encoding=UTF8', '--locale=C', @checksums ]);
	$node->append_conf('postgresql.conf', $settings);
}
isnt($old->pg_version . '', $new->pg_version . '', 'two versions');

sub ask
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = cache_notify, _cache_notify, public; $sql");
}

$old->start;
ask($old, q(
	CREATE EXTENSION cache_notify;
	CREATE TABLE public.price (id int PRIMARY KEY, tenant_id text, amount int);
	CREATE TABLE public.tree (id int) PARTITION BY LIST (id);
	CREATE TABLE public.leaf PARTITION OF public.tree DEFAULT;
	CREATE MATERIALIZED VIEW public.summary AS SELECT sum(amount) FROM public.price;
	CREATE VIEW public.cheap AS SELECT id FROM public.price WHERE amount < 10;
	SELECT setup_table_invalidation('price', channel => 'prices', columns => '{amount}'),
		setup_table_invalidation('tree'), setup_table_invalidation('summary'),
		setup_view_invalidation('cheap');
	INSERT INTO cascade_rules VALUES ('price', 'dashboard');
	INSERT INTO price SELECT i, 'tenant ' || i % 3, 0 FROM generate_series(1, 9) i));
ask($old, 'UPDATE price SET amount = amount + 1') for 1 .. 4;
my $status = 'SELECT * FROM v_invalidation_status ORDER BY table_name::text';
my $watched = ask($old, $status);
my $rules = ask($old, 'SELECT * FROM cascade_rules ORDER BY 1, 2');
my $token = ask($old, "SELECT token('tenant 1', 'price')");
my $position = ask($old, 'SELECT current_position()');
my $version = ask($old, "SELECT version('price', 'tenant 1')");
is($version, 5, 'there are data');
$old->stop;

chdir $new->basedir;
$new->command_ok(
	[
		'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-b', "$ENV{OLD_SERVER}/bin", '-B', $new->config_data('--bindir'),
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade');
$new->start;

is(ask($new, $status), $watched, 'what is watched is the same');
is(ask($new, 'SELECT * FROM cascade_rules ORDER BY 1, 2'), $rules, 'so are the rules');
is(ask($new, "SELECT is_current('$token')"), 'f', 'tokens of the old cluster are stale');
is(ask($new, "SELECT coalesce(domain, 'reset') FROM changes_since('$position')"), 'reset',
	'and whoever listened drops everything');
my $after = ask($new, "SELECT version('price', 'tenant 1')");
cmp_ok($after, '>', $version, 'versions go forward');
ask($new, 'UPDATE price SET amount = amount + 1');
ask($new, 'UPDATE price SET amount = amount');
is(ask($new, "SELECT version('price', 'tenant 1')"), $after + 1, 'writes count');

my $listener = session($new);
$listener->query('LISTEN prices');
my $next = $after + 2;
ask($new, "UPDATE price SET amount = 0 WHERE tenant_id = 'tenant 1'");
wait_for('the notification', sub { grep { /"version": $next\}/ } $listener->payloads });
pass('the worker delivers, to the channel that was named');

done_testing();
