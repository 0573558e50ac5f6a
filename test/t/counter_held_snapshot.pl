# G2, G4: while a snapshot is held open, dead versions of a hot counter pile up
# over many pages. Writers go on, the version is the sum of all rows for every
# snapshot, old ones included, and a read does not look at all those pages.
#
# Failure shows as a sum that differs from what a scan of the whole table finds,
# or as a read of many buffers.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $clients = 4;
my $transactions = long_test() ? 50000 : 3000;	# each client and round

# Without vacuum, which would only make the rest of this test easier.
my $node = start_server('main', 'cache_notify.delivery = off', 'autovacuum = off');

$node->safe_psql('postgres', <<"SQL");
CREATE TABLE item (id int, tenant_id text, n int) WITH (fillfactor = 10);
INSERT INTO item SELECT i, 't', 0 FROM generate_series(0, $clients - 1) AS i;
SELECT cache_notify.setup_table_invalidation('item');
UPDATE item SET n = n + 1;
SQL

# What a scan of the whole table finds must be what the index leads to.
sub exact_ok
{
	my ($session, $expected, $name) = @_;

	is($session->query("SELECT cache_notify.version('item', 't')"), $expected, $name);
	is($session->query('SELECT sum(n) FROM _cache_notify.version_counter'), $expected,
		"$name: in the table");
}

my $script = write_script($node, 'hot', <<'END');
UPDATE item SET n = n + 1 WHERE id = :client_id;
END

my $count = 1;
my @held;
for my $round (1 .. 3)
{
	my $session = session($node);
	$session->query('SET enable_indexscan = off; SET enable_bitmapscan = off;'
		  . ' BEGIN ISOLATION LEVEL REPEATABLE READ');
	exact_ok($session, $count, "round $round: a new snapshot");
	push @held, [ $session, $count ];
	pgbench_finish(pgbench_start($node,
			[ '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $script ]),
		"round $round", $clients * $transactions);
	$count += $clients * $transactions;
	exact_ok($_->[0], $_->[1], "round $round: the snapshot of version $_->[1]") for @held;
}

my $reader = session($node);
exact_ok($reader, $count, 'at the end');
my $pages = $reader->query(
	"SELECT pg_relation_size('_cache_notify.version_counter') / current_setting('block_size')::int");
my $rows = $reader->query('SELECT count(*) FROM _cache_notify.version_counter');
my $plan = $reader->query(
	"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT cache_notify.version('item', 't')");
my ($hit, $read) = ($plan =~ /"Shared Hit Blocks": (\d+).*?"Shared Read Blocks": (\d+)/s);

cmp_ok($pages, '>', 150, "dead versions pile up: $pages pages");
cmp_ok($hit + $read, '<', 20 + 20 * $rows,
	"a read of $rows rows looks at few pages: @{[ $hit + $read ]}");
is(log_count($node, qr/deadlock detected|could not serialize|ERROR/), 0, 'no error in the log');

done_testing();
