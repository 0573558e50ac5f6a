# G5, G6: the delivery lanes. auto is the worker where the library is preloaded and
# the commit lane where it is not; each setting delivers exactly by the lanes it
# names. Lanes can be switched while writers write: no write fails, and the last
# version that a listener hears of each key is the one in the table.
#
# Failure shows as a payload that comes from the wrong process (or not at all, or
# twice), as a failed write, or as a last version that is not the table's.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $setup = <<'END';
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i % 16 FROM generate_series(0, 127) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END

# Who notifies of a change of this session's: 'writer', 'worker' or nobody?
sub senders
{
	my ($node, $ear, $writer) = @_;
	my %senders;
	my $worker = worker_pid($node);

	$ear->{session}->heard;
	$writer->query('UPDATE item SET n = n + 1 WHERE id = 1');
	$worker ||= worker_pid($node);
	my $end = time() + 0.4;
	while (time() < $end)
	{
		$senders{ $_->{pid} == $writer->pid ? 'writer' : $_->{pid} eq $worker ? 'worker' : 'somebody' }++
		  for $ear->{session}->heard;
		sleep(0.01);
	}
	return join(' ', map { $senders{$_} == 1 ? $_ : "$_ ($senders{$_})" } sort keys %senders);
}

# ------------------------------------------------------------ not preloaded

my $node = start_server('plain', 'cache_notify.delivery = auto');
$node->safe_psql('postgres', $setup);
my $ear = ear($node);
my $writer = session($node);
for my $lanes ('auto', 'worker', 'commit', 'commit, worker')
{
	configure($node, 'cache_notify.delivery' => $lanes);
	is(senders($node, $ear, $writer), 'writer', "not preloaded, $lanes: the commit lane");
}
for my $lanes ('off', 'wal')
{
	configure($node, 'cache_notify.delivery' => $lanes);
	is(senders($node, $ear, $writer), '', "not preloaded, $lanes: no notification");
}
is(stat_of($node, 'count(*)'), 0, 'no statistics without shared memory');
$node->safe_psql('postgres', 'SELECT cache_notify.clear_statistics()');
$node->stop;

# ---------------------------------------------------------------- preloaded

$node = worker_server('main', 'log_min_messages = log');
$node->safe_psql('postgres', $setup);
$ear = ear($node);
$writer = session($node);
my %expected = (
	'auto' => 'worker', 'worker' => 'worker', 'commit' => 'writer', 'wal' => '', 'off' => '',
	'commit, wal' => 'writer', 'worker, wal' => 'worker');
for my $lanes (sort keys %expected)
{
	# No worker is there that would hear of the commit lane as well.
	$node->stop;
	$node->append_conf('postgresql.conf', "cache_notify.delivery = '$lanes'");
	$node->start;
	$ear = ear($node);
	$writer = session($node);
	is(senders($node, $ear, $writer), $expected{$lanes}, "$lanes: who notifies");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'"),
		$expected{$lanes} eq 'worker' ? 1 : 0, "$lanes: is there a worker");
}

# ---------------------------------------------------------------- switching

my $seed = $ENV{CN_TEST_SEED} || int(time());
my $rounds = $ENV{CN_TEST_SEED} ? 1 : long_test() ? 50 : 3;
my $script = write_script($node, 'write', <<'END');
\set id random(0, 31) * 4 + :client_id
UPDATE item SET n = n + 1 WHERE id = :id;
END
for my $round (1 .. $rounds)
{
	my $this = $ENV{CN_TEST_SEED} ? $seed : $seed + $round;
	srand($this);
	my $load = pgbench_start($node, [ '-c', 4, '-j', 2, '-T', 2, "--random-seed=$this", '-f', $script ]);
	my $end = time() + 1.6;
	my @used;
	while (time() < $end)
	{
		push @used, ('worker', 'commit', 'worker, wal', 'commit, worker', 'commit, wal')[int(rand(5))];
		$node->append_conf('postgresql.conf', "cache_notify.delivery = '$used[-1]'");
		$node->reload;
		sleep(rand(0.3));
	}
	pgbench_finish($load, "lanes are switched, seed $this");
	hears_ok($node, $ear, "and the last versions are right, seed $this")
	  or diag(join('; ', @used));
}

# From a lane back to none and on: what was waiting is not lost, nothing is heard
# of what was changed meanwhile, and the next change has the exact version.
configure($node, 'cache_notify.delivery' => 'off');
$writer->query('SELECT 1');
$ear->forget;
$writer->query('UPDATE item SET n = n + 1');
configure($node, 'cache_notify.delivery' => 'auto');
$writer->query('SELECT 1');
$writer->query('UPDATE item SET n = n + 1');
hears_ok($node, $ear, 'on again: exact');
is($ear->{count}, 16, 'each tenant once: what was changed while it was off has not been told');

# After the commit lane has taken over, nobody is told twice for ever.
configure($node, 'cache_notify.delivery' => 'commit');
wait_for('the session to follow', sub { senders($node, $ear, $writer) eq 'writer' });
is(senders($node, $ear, $writer), 'writer', 'the commit lane alone delivers in the end');
is(worker_pid($node), '', 'the worker has gone');
$node->append_conf('postgresql.conf', "cache_notify.delivery = 'pigeon'");
$node->reload;
wait_for('the complaint', sub { log_count($node, 'invalid value for parameter "cache_notify.delivery"') });
is($node->safe_psql('postgres', 'SHOW cache_notify.delivery'),
	'commit', 'a lane that does not exist is refused');
is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash');

done_testing();
