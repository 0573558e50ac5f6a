# G1, G2: who writes a counter tells the worker where the index has its row. If
# another row comes before the worker reads, it must not rely on that.
#
# The worker is stopped while one session bumps a key and another adds a second row
# for it. Failure shows as a version that is heard and lacks the second row.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $keys = 20;

my $node = worker_server('main', <<'END');
autovacuum = off
max_prepared_transactions = 2
END
sub bump { return "SELECT cache_notify.invalidate('d', 't$_[0]')"; }

$node->safe_psql('postgres', join(';', map { bump($_) } 1 .. $keys));
# Nobody remembers any row now, so the first to write looks into the index.
$node->restart;

my $ear = ear($node);
$node->safe_psql('postgres', "SELECT cache_notify.invalidate('other')");
my $worker = wait_worker($node);
my ($first, $second) = (session($node), session($node));
my $rows = "SELECT count(*) FROM _cache_notify.version_counter WHERE domain = 'd' AND tenant_id = 't%s'";
my $wrong = 0;

for my $key (1 .. $keys)
{
	kill 'STOP', $worker;
	$first->query(bump($key));
	if ($key % 2)
	{
		# Its row is taken, so another one is made.
		$first->query('BEGIN; ' . bump($key) . "; PREPARE TRANSACTION 'p'");
		$second->query(bump($key));
		$first->query("COMMIT PREPARED 'p'");
	}
	else
	{
		$second->query(bump($key));
	}
	$wrong++ unless $first->query(sprintf($rows, $key)) == 1 + $key % 2;
	kill 'CONT', $worker;
}
is($wrong, 0, 'the second bump made another row, or did not');
hears_ok($node, $ear, 'all keys');
is(worker_pid($node), $worker, 'the same worker all the time');

done_testing();
