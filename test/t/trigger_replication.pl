# Tables of a subscriber: fire_on_replica counts what logical replication
# applies, the initial copy of a table included.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->start;

my @tables = (
	'always (id int PRIMARY KEY, tenant_id text, x int)',
	'origin (id int PRIMARY KEY, tenant_id text, x int)',
	'bystatement (id int PRIMARY KEY, x int)',
	'part (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)',
	'part1 PARTITION OF part FOR VALUES FROM (1) TO (100)');
foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql('postgres', join ';', map {"CREATE TABLE $_"} @tables);
}
$publisher->safe_psql('postgres', q{
	INSERT INTO always VALUES (1, 'a', 1), (2, 'b', 1);
	INSERT INTO origin VALUES (1, 'a', 1);
	INSERT INTO bystatement VALUES (1, 1);
	INSERT INTO part VALUES (1, 1);
	CREATE PUBLICATION pub FOR ALL TABLES;});

$subscriber->safe_psql('postgres', q{
	CREATE EXTENSION cache_notify;
	SELECT cache_notify.setup_table_invalidation('always', fire_on_replica => true);
	SELECT cache_notify.setup_table_invalidation('origin');
	SELECT cache_notify.setup_table_invalidation('bystatement', granularity => 'statement', fire_on_replica => true);
	SELECT cache_notify.setup_table_invalidation('part', fire_on_replica => true);});
is( $subscriber->safe_psql('postgres',
		"SELECT string_agg(domain || ' ' || fire_on_replica || ' ' || enabled, ', ' ORDER BY domain) FROM cache_notify.v_invalidation_status"),
	'always true true, bystatement true true, origin false true, part true true',
	'v_invalidation_status shows it');

sub version
{
	my ($domain, $tenant) = @_;
	$tenant = defined $tenant ? "'$tenant'" : 'NULL';
	return $subscriber->safe_psql('postgres',
		"SELECT cache_notify.version('$domain', $tenant)");
}

# Runs SQL on the publisher; says whether the domain moved on the subscriber.
sub moved
{
	my ($sql, $domain, $tenant) = @_;
	my $before = version($domain, $tenant);
	$publisher->safe_psql('postgres', $sql);
	$publisher->wait_for_catchup('sub');
	return version($domain, $tenant) > $before ? 1 : 0;
}

my $connection = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION pub");
$subscriber->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'")
  or die 'tables were not synchronized';
$publisher->wait_for_catchup('sub');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM always'), 2, 'copied');

is(version('always', 'a'), 1, 'the initial copy counts, for each tenant');
is(version('always', 'b'), 1, 'the initial copy counts, for each tenant');
is(version('bystatement'), 1, 'the initial copy counts, by statement');
is(version('part'), 1, 'the initial copy counts, of a partition');
is(version('origin', 'a'), 0, 'not without fire_on_replica');

is(moved("INSERT INTO always VALUES (3, 'c', 1)", 'always', 'c'), 1, 'insert');
is(moved("UPDATE always SET x = 2 WHERE id = 1", 'always', 'a'), 1, 'update');
is(moved("UPDATE always SET x = 2 WHERE id = 1", 'always', 'b'), 0, 'of others: no');
is(moved("DELETE FROM always WHERE id = 2", 'always', 'b'), 1, 'delete');
is(moved('TRUNCATE always', 'always'), 1, 'truncate');
is(moved('INSERT INTO part VALUES (2, 2)', 'part'), 1, 'insert into a partition');
is(moved('TRUNCATE part', 'part'), 1, 'truncate a partitioned table');
is(moved("UPDATE origin SET x = 3", 'origin', 'a'), 0, 'without fire_on_replica: no');
is($subscriber->safe_psql('postgres',
		"SELECT domain, problem FROM cache_notify.v_invalidation_status WHERE problem IS NOT NULL AND domain <> 'bystatement'"),
	'origin|a subscription fills it, which counts only with fire_on_replica', 'and v_invalidation_status says so');
# The apply worker fires no statement triggers: this is what is not possible.
is(moved('INSERT INTO bystatement VALUES (2, 2)', 'bystatement'), 0,
	'granularity statement: row changes are not seen');
like($subscriber->safe_psql('postgres',
		"SELECT problem FROM cache_notify.v_invalidation_status WHERE domain = 'bystatement'"),
	qr/replication applies rows/, 'and v_invalidation_status says so');

# A partition that comes later fires on the replica, too.
$_->safe_psql('postgres', 'CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (100) TO (200)')
  foreach ($publisher, $subscriber);
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION sub REFRESH PUBLICATION');
$subscriber->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'")
  or die 'tables were not synchronized';
is(moved('INSERT INTO part VALUES (100, 1)', 'part'), 1, 'insert into a new partition');
is(moved('TRUNCATE part2', 'part'), 1, 'truncate a new partition');

# Local changes count as well.
my $before = version('always', 'z');
$subscriber->safe_psql('postgres', "INSERT INTO always VALUES (9, 'z', 1)");
is(version('always', 'z'), $before + 1, 'a local change counts once');

# One transaction of many rows and statements
$before = version('always', 'm');
$publisher->safe_psql('postgres',
	"INSERT INTO always SELECT g, 'm', g FROM generate_series(20, 40) g; UPDATE always SET x = 0 WHERE tenant_id = 'm'");
$publisher->wait_for_catchup('sub');
cmp_ok(version('always', 'm'), '>', $before, 'many rows');

$subscriber->stop;
$publisher->stop;
done_testing();
