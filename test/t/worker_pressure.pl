# G5: a listener that does not read (its process is stopped, or it sits in a
# transaction) makes no write fail or wait. G6: the other listeners miss nothing;
# when it has filled the notification queue, the worker waits, coalesces, says who
# it is, and delivers the exact last versions once it is gone.
#
# Failure shows as a failed or slow write, as a last version that is not the one in
# the table, as a reset that was not needed, or as a log that does not name it.

use strict;
use warnings;

use CacheNotify;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END');
log_min_messages = log
shared_buffers = 64MB
END
my $can_fill = server_version($node) >= 17;

# The owner of the database may set what he likes for it: the worker, a superuser,
# neither calls his functions nor fails of his timeouts.
$ENV{PGOPTIONS} = '-c search_path=public,pg_catalog -c lock_timeout=0 -c default_transaction_read_only=off'
  . ($can_fill ? ' -c transaction_timeout=0' : '');
$node->safe_psql('postgres', <<'END');
CREATE SCHEMA trap;
CREATE FUNCTION trap.equal(text, text) RETURNS boolean LANGUAGE plpgsql
	AS $$ BEGIN RAISE LOG 'fell into the trap'; RETURN true; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal);
CREATE OPERATOR trap.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal);
ALTER DATABASE postgres SET search_path = trap, pg_catalog, public;
ALTER DATABASE postgres SET lock_timeout = 1;
ALTER DATABASE postgres SET default_transaction_read_only = on;
END
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET transaction_timeout = 1') if $can_fill;

$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i % 40 FROM generate_series(0, 159) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
my $script = write_script($node, 'write', <<'END');
\set id random(0, 19) * 8 + :client_id
UPDATE item SET n = n + 1 WHERE id = :id;
END
my $transactions = long_test() ? 20000 : 2000;

my $ear = ear($node);

# A psql reads only when it is asked something; the ear is to keep up.
sub write_all
{
	my ($name) = @_;
	my $begin = time();
	my $load = pgbench_start($node, [ '-c', 8, '-j', 2, '-t', $transactions, '-f', $script ],
		{ PGOPTIONS => "$ENV{PGOPTIONS} -c statement_timeout=20s" });

	while (IPC::Run::pumpable($load->{run}))
	{
		$ear->listen;
		IPC::Run::pump_nb($load->{run});
		sleep(0.02);
	}
	pgbench_finish($load, $name, 8 * $transactions);
	return time() - $begin;
}

my $writer = session($node);
write_all('warm up');
my $undisturbed = write_all('nobody is stopped');
hears_ok($node, $ear, 'nobody is stopped');

# ------------------------------------------------------ a stopped process

my $stopped = session($node);
$stopped->query('LISTEN cache_invalidation');
my $psql = $stopped->{run}{KIDS}[0]{PID};
kill('STOP', $psql) or die "cannot stop $psql: $!";
my $took = write_all('a listener is stopped');
# Generous: other tests run at the same time. Waiting for it would take for ever.
cmp_ok($took, '<', 5 * $undisturbed + 5, 'writes do not wait for it');
hears_ok($node, $ear, 'the others hear everything');
is($ear->{resets}, 0, 'without a reset');
kill('CONT', $psql);
my @heard = $stopped->payloads;
cmp_ok(scalar @heard, '>', 40, 'when it goes on, it gets what it missed');
$stopped->quit;

# --------------------------------------------------- a listener in a transaction

# Only now the queue is made small: a stopped process must not have filled it.
if ($can_fill)
{
	$_->quit for $writer, $ear;
	$node->append_conf('postgresql.conf', 'max_notify_queue_pages = 64');
	$node->restart;
	$writer = session($node);
	$ear = ear($node);
}

my $lagging = session($node);
$lagging->query('LISTEN cache_invalidation');
$lagging->query('BEGIN');
$took = write_all('a listener sits in a transaction');
cmp_ok($took, '<', 5 * $undisturbed + 5, 'writes do not wait for it');
hears_ok($node, $ear, 'the others hear everything') if !$can_fill;

SKIP:
{
	skip 'the queue can be made small from PostgreSQL 17 on', 9 if !$can_fill;

	# Fill it: 40 keys in a cycle, a few hundred cycles.
	my $said = qr/notification queue is nearly full, notifications are held back/;
	wait_for('the queue to fill', sub {
			$writer->query('UPDATE item SET n = n + 1') for 1 .. 20;
			$ear->listen;
			log_count($node, $said);
		});
	cmp_ok(stat_of($node, 'queue_usage'), '>', 0.9, 'the queue is full');
	like(slurp_file($node->logfile), qr/PID @{[ $lagging->pid ]}\b/, 'the log names the listener');
	my $count = log_count($node, $said);

	my $delivered = stat_of($node, 'delivered');
	$took = write_all('the queue is full');
	cmp_ok($took, '<', 5 * $undisturbed + 5, 'writes do not wait');
	is(stat_of($node, 'delivered'), $delivered, 'stats: nothing is delivered meanwhile');
	cmp_ok(log_count($node, $said), '<=', $count + 1 + $took / 10, 'the log does not fill up');

	# Held back, the worker is as mortal as ever.
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		  . " WHERE backend_type = 'cache_notify worker'");
	$writer->query('UPDATE item SET n = n + 1');
	is($node->safe_psql('postgres', <<'END'), 't', 'waiting, it holds back no vacuum');
SELECT coalesce(bool_and(backend_xmin IS NULL), true) FROM pg_stat_activity
WHERE backend_type = 'cache_notify worker' AND state = 'idle'
END

	$lagging->query('COMMIT');
	hears_ok($node, $ear, 'when the listener goes on, the others hear the exact last versions');
	is($ear->{resets}, 0, 'without a reset');
	cmp_ok(stat_of($node, 'max_lag_ms'), '>', $took * 500, 'stats: the lag has been noticed');

	# More keys at once than the queue has room for, even when it is empty.
	$node->safe_psql('postgres', <<'END');
CREATE TABLE many (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('many');
INSERT INTO many SELECT i, 'a tenant with a long name ' || i FROM generate_series(1, 5000) AS i;
END
	wait_for('the reset', sub { $ear->listen; $ear->{resets} });
	is($ear->{resets}, 1, 'a batch larger than the queue: a reset');
	$writer->query('UPDATE item SET n = n + 1');
	hears_ok($node, $ear, 'and goes on');
}
is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash');

is(log_count($node, qr/fell into the trap/), 0, 'the worker has called no function of the database\'s owner');

done_testing();
