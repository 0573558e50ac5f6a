# G5, G6: the worker's life. It is started by the first change, is there once for
# each database, can be seen, and survives everything that is done to it; what
# was committed meanwhile is delivered. It never holds back vacuum.
#
# Failure shows as an error of a writer, as a listener whose last version is not
# the one in the table, or as a worker that is missing, there twice, or has a
# snapshot while it is idle.

use strict;
use warnings;

use CacheNotify;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END', allows_streaming => 1);
restart_after_crash = on
log_min_messages = log
END

sub make_table
{
	my ($database) = @_;

	$node->safe_psql($database, <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 50) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
	return;
}

make_table('postgres');
my $ear = ear($node);
my $writer = session($node);
my $change = 'UPDATE item SET n = n + 1';
my $workers = <<'END';
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'
END

# ------------------------------------------------------------------ start

is($node->safe_psql('postgres', $workers), 0, 'no worker before there is anything to deliver');
$writer->query('BEGIN');
$writer->query($change);
is($node->safe_psql('postgres', $workers), 0, 'nor for a transaction that has not committed');
$writer->query('COMMIT');
hears_ok($node, $ear, 'the first change is delivered');

my $pid = worker_pid($node);
like($pid, qr/^\d+$/, 'there is a worker now');
is(stat_of($node, 'worker_pid'), $pid, 'the view stats names it');
is_deeply([ split /\|/, $node->safe_psql('postgres', <<"END") ],
SELECT application_name, state, query, backend_xmin IS NULL, backend_xid IS NULL, xact_start IS NULL
FROM pg_stat_activity WHERE pid = $pid
END
	[ 'cache_notify worker', 'idle', 'delivering notifications', 't', 't', 't' ],
	'it says what it does, and when it is idle it has no transaction and no snapshot');

$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION cache_notify');
make_table('second');
my $second = ear($node, db => 'second');
$node->safe_psql('second', $change) for 1 .. 3;
$writer->query($change);
hears_ok($node, $second, 'another database has its own worker');
hears_ok($node, $ear, 'the first goes on');
is($node->safe_psql('postgres', $workers), 2, 'one worker for each database');
is(worker_pid($node), $pid, 'the first is still the same');

# -------------------------------------------------------- signals of all kinds

for my $signal ('pg_terminate_backend', 'pg_cancel_backend')
{
	# While it is idle, while there is much to do, and right after a change.
	for my $i (1 .. 8)
	{
		my $old = wait_worker($node);
		$node->safe_psql('postgres', "SELECT $signal($old)");
		$writer->query($change);
		$node->safe_psql('postgres', "SELECT $signal(pid) FROM pg_stat_activity"
			  . " WHERE backend_type = 'cache_notify worker' AND datname = 'postgres'");
		hears_ok($node, $ear, "$signal, round $i") or last;
	}
}
cmp_ok(stat_of($node, 'worker_restarts'), '>', 4, 'they are counted');
hears_ok($node, $second, 'the other database has heard everything');

# The worker has to follow a reload: the default channel.
my $elsewhere = ear($node, channel => 'elsewhere');
$elsewhere->forget;
configure($node, 'cache_notify.channel' => 'elsewhere');
$writer->query($change);
hears_ok($node, $elsewhere, 'SIGHUP: the worker uses the new channel');
configure($node, 'cache_notify.channel' => 'cache_invalidation');
$writer->query($change);
hears_ok($node, $ear, 'and the old one again');

# A slot that is free is not needed to start again: see worker_databases.

# ------------------------------------------------------- DROP EXTENSION

my $until = time() + 3;
my ($errors, $rounds) = ('', 0);
my $other = session($node);
while (time() < $until)
{
	# With the worker at work on other tables' changes at the same moment.
	$writer->query(<<'END');
BEGIN;
SELECT cache_notify.invalidate('d' || i) FROM generate_series(1, 50) AS i;
COMMIT;
END
	sleep(rand(0.01));
	$errors .= $writer->error('DROP EXTENSION cache_notify CASCADE') =~ s/^(psql:\S+ )?NOTICE.*\n//mgr;
	$errors .= $writer->error('CREATE EXTENSION cache_notify');
	$rounds++;
}
is($errors, '', "DROP EXTENSION and CREATE EXTENSION while the worker runs ($rounds times)");
$writer->query("SELECT cache_notify.setup_table_invalidation('item')");
$ear->forget;
$writer->query($change);
hears_ok($node, $ear, 'after that it delivers what the new extension counts');

# ------------------------------------------------------------- the server

is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash so far');

# Most likely taken but not delivered, when the worker is killed.
$ear->forget;
$pid = wait_worker($node);
$writer->query($change);
kill('KILL', $pid);
wait_for('the server to restart', sub {
		log_count($node, 'all server processes terminated; reinitializing')
		  && IPC::Run::run([ 'pg_isready', '-q', '-h', $node->host, '-p', $node->port ]);
	});
$ear = ear($node);
$writer = session($node);
$writer->query($change);
hears_ok($node, $ear, 'kill -9 of the worker: after the restart it delivers');
is($node->safe_psql('postgres', "$workers AND datname = 'postgres'"), 1, 'one worker again');
is(stat_of($node, 'waiting'), 0, 'no key waits any more');

for my $mode ('immediate', 'fast')
{
	$writer->query($change);
	$node->stop($mode);
	$node->start;
	$ear = ear($node);
	$writer = session($node);
	$writer->query($change);
	hears_ok($node, $ear, "stopped in mode $mode: after the start it delivers");
}

# ------------------------------------------------------------------ standby

$node->backup('base', backup_options => [ '--checkpoint=fast' ]);
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', $workers), 0, 'no worker on a standby');
is($standby->safe_psql('postgres', "SELECT cache_notify.version('item', 't1')"),
	$node->safe_psql('postgres', "SELECT cache_notify.version('item', 't1')"),
	'which has the same versions');
$node->stop('immediate');
$standby->promote;
$ear = ear($standby);
$standby->safe_psql('postgres', $change);
hears_ok($standby, $ear, 'promotion: the new primary delivers');

# --------------------------------------------------------------- idle exit

SKIP:
{
	skip 'waits for more than a minute: CN_TEST_LONG=1', 2 unless long_test();

	wait_for('the idle worker to go', sub { $standby->safe_psql('postgres', $workers) == 0 });
	is($standby->safe_psql('postgres', $workers), 0, 'a worker that is idle goes');
	$standby->safe_psql('postgres', $change);
	hears_ok($standby, $ear, 'and is started again by the next change');
}

done_testing();
