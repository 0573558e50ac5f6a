# G5, G6: too few worker processes. Without a slot for the worker, transactions
# deliver by themselves, exactly, and the log says so once; when a slot becomes
# free, the worker comes. A worker that dies does not need another slot to come
# back, so what it was about to deliver waits for nobody's next change.
#
# Failure shows as a failed write, or as a key whose last version heard is not
# the one in the table after the last write.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep);
use WorkerLane;

my $node = worker_server('main', <<'END');
max_worker_processes = 0
max_logical_replication_workers = 0
max_parallel_workers = 0
log_min_messages = log
END
my $clients = 8;

sub make_table
{
	my ($database) = @_;

	$node->safe_psql($database, <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(0, 63) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
	return;
}

# Each client has keys of its own, so nobody's change hides that of another one.
my $script = write_script($node, 'own', <<'END');
\set id random(0, 7) * 8 + :client_id
UPDATE item SET n = n + 1 WHERE id = :id;
END

sub write_all
{
	my ($name, $transactions) = @_;
	my $load = pgbench_start($node,
		[ '-c', $clients, '-j', 2, '-t', $transactions, '-f', $script ]);

	pgbench_finish($load, $name, $clients * $transactions);
	return;
}

make_table('postgres');
my $ear = ear($node);
my $said = qr/could not start the cache_notify worker, transactions deliver by themselves/;

for my $round (1 .. 6)
{
	write_all("no slot, round $round", 50);
	hears_ok($node, $ear, "no slot, round $round: listeners hear all the same");
}
is(log_count($node, $said), 1, 'the log says so, once');
is(worker_pid($node), '', 'there really is no worker');
my $status = 'SELECT problem FROM cache_notify.v_invalidation_status WHERE table_name IS NULL';
like($node->safe_psql('postgres', $status), qr/^cache_notify.delivery is \w+, and there is no worker: none could be started/,
	'and the status says so');
is(stat_of($node, 'waiting'), 0, 'no key waits for one');

# -------------------------------------- one slot, which another database has

$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION cache_notify');
make_table('second');
my $second = ear($node, db => 'second');
$node->safe_psql('second', 'UPDATE item SET n = n + 1');
hears_ok($node, $second, 'the only slot is taken');
$ear = ear($node);
$node->safe_psql('postgres', 'UPDATE item SET n = n + 1');	# it has not heard before
write_all('one slot too few', 50);
hears_ok($node, $ear, 'one slot too few: listeners hear all the same');
wait_for('the only slot to change hands', sub {
		$node->safe_psql('postgres', 'UPDATE item SET n = n + 1 WHERE id = 0');
		worker_pid($node) ne '' && worker_pid($node, 'second') eq '';
	});
$node->safe_psql('second', 'UPDATE item SET n = n + 1');
hears_ok($node, $second, 'the databases take turns');

$second->quit;
$node->safe_psql('postgres', 'DROP DATABASE second WITH (FORCE)');
wait_for('the worker to come', sub {
		$node->safe_psql('postgres', 'UPDATE item SET n = n + 1 WHERE id = 0');
		worker_pid($node) ne '';
	});
like(worker_pid($node), qr/^\d+$/, 'when the slot is free, the worker comes');
is($node->safe_psql('postgres', $status), '', 'and the status has no problem any more');
write_all('the slot is free', 50);
hears_ok($node, $ear, 'and listeners hear all');

# ------------------------------------- the worker dies, and there is one slot

my $killer = session($node);
my $kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
  . " WHERE backend_type = 'cache_notify worker'";
my $writer = session($node);
for my $round (1 .. 40)
{
	$writer->query('UPDATE item SET n = n + 1');
	$killer->query($kill);
	sleep(rand(0.01));
	$killer->query($kill) if $round % 2;
	hears_ok($node, $ear, "the only worker dies, round $round") or last;
}
cmp_ok(stat_of($node, 'worker_restarts'), '>', 10, 'it did die at its work');
like(worker_pid($node), qr/^\d+$/, 'and is there again');

done_testing();
