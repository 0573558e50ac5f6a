# G6: many commits on one key become few notifications, with the exact version at
# the end; cache_notify.coalesce waits for more of them on purpose. The view stats
# counts what happened, and is not for everybody.
#
# Failure shows as a number that differs from what the test did, as too many
# notifications, or as a wrong last version.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main');

$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' FROM generate_series(0, 7) AS i;
SELECT cache_notify.setup_table_invalidation('item');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'list');
END
is(stat_of($node, 'count(*)'), 0, 'stats has no row before anything is delivered');

my $ear = ear($node);
my $writer = session($node);
$writer->query('UPDATE item SET n = n + 1');
hears_ok($node, $ear, 'one change');
is(stat_of($node, 'bumps, rows_seen, delivered, coalesced, cycles, overflows, worker_restarts, waiting, cleared_at IS NULL'),
	'2|8|2|0|1|0|0|0|t', 'its numbers: the cascade counts, 8 rows, one cycle');
is(stat_of($node, 'last_lag_ms > 0 AND last_lag_ms <= max_lag_ms AND max_lag_ms < 10000 AND queue_usage BETWEEN 0 AND 1'),
	't', 'lag and queue usage are plausible');

$writer->query('BEGIN; UPDATE item SET n = n + 1; SAVEPOINT s; UPDATE item SET n = n + 1; ROLLBACK TO s; ROLLBACK');
$writer->query('UPDATE item SET n = n + 1 WHERE false');
is(stat_of($node, 'bumps, delivered'), '2|2', 'what is rolled back or changes nothing does not count');
$writer->query('BEGIN; UPDATE item SET n = n + 1; SAVEPOINT s; UPDATE item SET n = n + 1; ROLLBACK TO s; COMMIT');
is(stat_of($node, 'bumps'), 4, 'nor does what a savepoint took back');

# ------------------------------------------------------------- hot key

my $script = write_script($node, 'hot', <<'END');
UPDATE item SET n = n + 1 WHERE id = :client_id;
END
hears_ok($node, $ear, 'before the load');
$ear->forget;
$writer->query('SELECT cache_notify.clear_statistics()');
is(stat_of($node, 'bumps, rows_seen, delivered, coalesced, cycles, overflows, worker_restarts, last_lag_ms::int, max_lag_ms::int, cleared_at > now() - interval $$1 minute$$'),
	'0|0|0|0|0|0|0|0|0|t', 'clear_statistics()');

my $transactions = long_test() ? 20000 : 1000;
my $begin = time();
pgbench_finish(pgbench_start($node,
		[ '-c', 8, '-j', 2, '-t', $transactions, '-f', $script ]),
	'hot key', 8 * $transactions);
my $took = time() - $begin;
hears_ok($node, $ear, 'hot key: the last version is exact');
my $cycles = stat_of($node, 'cycles');
cmp_ok($cycles, '<', $took * 1000 / 3 + 2, "at most one cycle in 3 ms ($cycles in $took s)");
is($ear->{count}, 2 * $cycles, 'each cycle is one notification for each key');
is(stat_of($node, 'bumps, rows_seen'), join('|', 16 * $transactions, 8 * $transactions),
	'stats: bumps and rows are exact');
is(stat_of($node, 'delivered'), $ear->{count}, 'stats: what was delivered is what was heard');
is(stat_of($node, 'delivered + coalesced'), 16 * $transactions,
	'stats: everything was either delivered or coalesced');
my @versions = map { /"item", "version": (\d+)/ ? $1 : () } @{ $ear->{all} };
is_deeply(\@versions, [ sort { $a <=> $b } @versions ], 'versions came in order');

# ------------------------------------------------------------- coalesce

configure($node, 'cache_notify.coalesce' => '300ms');
$writer->query('UPDATE item SET n = n + 1 WHERE id = 1');
hears_ok($node, $ear, 'the setting is in force for the worker');
settle($node);
$ear->forget;
$writer->query('SELECT cache_notify.clear_statistics()');
$begin = time();
$writer->query('UPDATE item SET n = n + 1 WHERE id = 1');
$ear->listen until $ear->{count} || time() > $begin + 20;
my $waited = time() - $begin;
cmp_ok($waited, '>=', 0.29, 'coalesce: a change waits this long');

$ear->forget;
$begin = time();
while (time() < $begin + 3)
{
	$writer->query('UPDATE item SET n = n + 1 WHERE id = 1');
}
$took = time() - $begin;
hears_ok($node, $ear, 'coalesce: the last version is exact');
# Two keys for each cycle. Twice as long a wait would be half as many.
cmp_ok($ear->{count}, '<=', 2 * ($took / 0.3 + 2), 'coalesce: few notifications');
cmp_ok($ear->{count}, '>=', 2 * ($took / 0.3 - 3), 'coalesce: no change waits much longer than that');
cmp_ok(stat_of($node, 'max_lag_ms'), '<', 450, 'nor does stats know of one');

configure($node, 'cache_notify.coalesce' => '0');

# ----------------------------------------------------------- privileges

$node->safe_psql('postgres', <<'END');
CREATE ROLE nobody_special LOGIN;
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
END
my $nobody = session($node);
$nobody->query('SET SESSION AUTHORIZATION nobody_special');
like($nobody->error($_), qr/permission denied/, "not for PUBLIC: $_")
  for 'SELECT * FROM cache_notify.stats',
  'SELECT * FROM _cache_notify.statistics()',
  'SELECT cache_notify.clear_statistics()';
my $monitor = session($node);
$monitor->query('SET SESSION AUTHORIZATION monitor');
is($monitor->query('SELECT count(*) FROM cache_notify.stats'), 1, 'pg_monitor may look');
like($monitor->error('SELECT cache_notify.clear_statistics()'), qr/permission denied/,
	'but does not clear them');

# Another database's numbers are its own.
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', "CREATE EXTENSION cache_notify; SELECT cache_notify.invalidate('x')");
wait_for('the second database', sub { stat_of($node, 'delivered', 'second') eq '1' });
is(stat_of($node, 'bumps', 'second'), 1, 'each database has its own numbers');

done_testing();
