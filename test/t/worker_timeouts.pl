# G2, G5, G6: lock_timeout, statement_timeout and idle_in_transaction_session_timeout,
# set for the whole server and short, end neither a worker nor a commit, and nothing of
# ours waits for a lock that a user has on a watched table.
#
# Failure shows as a write or a question that runs into a timeout, as a worker that has
# died, or as a key whose last version heard is not the one in the table.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep);
use WorkerLane;

my $node = worker_server('main', 'log_min_messages = log', allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
lock_timeout = 10ms
statement_timeout = 3s
idle_in_transaction_session_timeout = 1s
END
$node->append_conf('postgresql.conf', 'transaction_timeout = 4s') if server_version($node) >= 17;
$node->reload;
wait_for('the settings', sub { $node->safe_psql('postgres', 'SHOW lock_timeout') eq '10ms' });
my $unhurried = '-c lock_timeout=0 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0'
  . (server_version($node) >= 17 ? ' -c transaction_timeout=0' : '');
my $owner = session($node, options => $unhurried);
$owner->query(<<"END")
CREATE TABLE $_ (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO $_ SELECT i, 't' || i FROM generate_series(1, 20) AS i;
SELECT cache_notify.setup_table_invalidation('$_');
END
  for (qw(item price));
my $ear = ear($node);
my $other = session($node, options => $unhurried);
my $writer = session($node, options => '-c synchronous_commit=local');
my $change = 'UPDATE price SET n = n + 1';

$writer->query($change);
hears_ok($node, $ear, 'before');
my $pid = wait_worker($node);

# ------------------------------------------------- a lock on a watched table

$owner->query('BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE; UPDATE item SET n = n + 1');
for my $round (1 .. 5)
{
	$writer->query($change);
	like($writer->query("SELECT cache_notify.token('t1', 'item', 'price')"), qr/\w/, "round $round: a token");
	is($writer->query("SELECT count(*) FROM cache_notify.v_invalidation_status WHERE problem IS NULL"), 2,
		"round $round: the status");
	is($writer->query("SELECT count(*) > 0 FROM cache_notify.v_domain_versions"), 't', "round $round: versions");
	$writer->query('SELECT cache_notify.compact()');
	hears_ok($node, $ear, "round $round: other tables' changes are delivered");
	sleep(0.2);
}
$owner->query('COMMIT');
hears_ok($node, $ear, 'and those of the table, after its commit');

# -------------------------- the notification lock, for longer than any timeout

sub occupy
{
	configure($node, synchronous_standby_names => 'nobody');
	$other->query('SELECT 1');
	$other->query('BEGIN; CREATE TABLE something (); DROP TABLE something; NOTIFY other');
	$other->send('COMMIT');
	wait_for('the other commit to wait', sub {
			$node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 1;
		});
	return;
}

sub release
{
	configure($node, synchronous_standby_names => '');
	$other->result;
	return;
}

occupy();
for (1 .. 22)
{
	$writer->query($change);
	sleep(0.2);
}
pass('writers go on while the worker waits');
release();
hears_ok($node, $ear, 'then it delivers');
is(worker_pid($node), $pid, 'and is the same as ever');
is(stat_of($node, 'worker_restarts'), 0, 'without having died');

configure($node, 'cache_notify.delivery' => 'commit');
$writer->query($change);
occupy();
$writer->send($change);
wait_for('it to wait for longer than any timeout', sub {
		$node->safe_psql('postgres', "SELECT clock_timestamp() - query_start > '4.5 s' FROM pg_stat_activity WHERE pid = " . $writer->pid) eq 't';
	});
ok(!$writer->is_done, 'commit lane: the commit waits');
release();
is(($writer->result)[1], '', 'and succeeds');
hears_ok($node, $ear, 'commit lane: listeners hear');
is(log_count($node, 'canceling statement due to (?:lock|statement) timeout'), 0, 'nothing has run into a timeout');

done_testing();
