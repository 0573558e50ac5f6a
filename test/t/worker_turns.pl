# G5, G6, G10: many databases on a server with the default max_worker_processes. Their
# workers take turns, and leave slots to others: parallel queries and a new subscription
# get theirs. Every database's listeners hear, no commit fails, nothing is said again and
# again in the log, and the statistics of no database are lost. Databases are created
# from a template and dropped meanwhile.
#
# Failure shows as too many workers, as something that waits for good, or as an error.

use strict;
use warnings;

use CacheNotify;
use List::Util qw(first);
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $databases = 100;
my $node = worker_server('main', <<'END', allows_streaming => 'logical');
max_worker_processes = 8
max_connections = 200
log_min_messages = log
autovacuum = off
END
my $admin = session($node);
my $change = 'UPDATE item SET n = n + 1';

$admin->query('CREATE DATABASE blank');
$node->safe_psql('blank', <<'END');
CREATE EXTENSION cache_notify;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 20) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
my $how = server_version($node) >= 15 ? 'STRATEGY file_copy' : '';
$admin->query("CREATE DATABASE d$_ TEMPLATE blank $how") for 1 .. $databases;
$node->safe_psql('postgres', <<'END');
CREATE TABLE big AS SELECT i FROM generate_series(1, 100000) AS i;
ANALYZE big;
END

my $most = 0;
my $turns = 0;
my %last_pid;

sub workers
{
	return split /\n/, $admin->query(
		"SELECT datname || ' ' || pid FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'");
}

# One more look at who is at work.
sub look
{
	my @workers = workers();

	$most = @workers if @workers > $most;
	for (@workers)
	{
		my ($name, $pid) = split ' ';
		$turns++ if ($last_pid{$name} // 0) != $pid;
		$last_pid{$name} = $pid;
	}
	return;
}

# Does a parallel query get a worker?
sub is_parallel
{
	return $admin->query(<<'END') =~ /Workers Launched: [1-9]/;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT count(*) FROM big
END
}

# ------------------------------------------------------ all of them at the same time

my @ears = map { ear($node, db => "d$_") } 1, 17, 50, 99;
my @writers = map { session($node, db => "d$_") } 1 .. $databases;
my $in_parallel = 0;
my $slowest = 0;
my $rounds = long_test() ? 50 : 5;

for my $round (1 .. $rounds)
{
	for my $writer (@writers)
	{
		my $begin = time();

		$writer->query($change);
		$slowest = time() - $begin if time() - $begin > $slowest;
		look() if rand() < 0.2;
	}
	# A worker that has just gone may still have its slot.
	$in_parallel++ if first { is_parallel() } 1 .. 3;
}
is($in_parallel, $rounds, 'parallel queries get workers');
note("the slowest commit took $slowest s");
hears_ok($node, $_, "listeners of $_->{db} hear") for @ears;

sub waiting
{
	my $n = 0;

	$n += $_->query('SELECT waiting FROM cache_notify.stats') for @writers;
	look();
	return $n;
}
my $begin = time();
ok(wait_for('nothing to wait', sub { waiting() == 0 }), 'sooner or later nothing waits in any database');
note('after ' . (time() - $begin) . ' s');
my %delivered = map { $_ => $writers[ $_ - 1 ]->query('SELECT delivered FROM cache_notify.stats') } 1 .. $databases;
is_deeply([ grep { ($delivered{$_} || 0) < 20 } sort keys %delivered ], [], 'each has delivered at least once');
is_deeply([ grep { $_->query('SELECT bumps FROM cache_notify.stats') != 20 * $rounds } @writers ],
	[], 'and no statistic has begun anew');

# ----------------------------------------------------------------- a new subscription

$writers[0]->query('CREATE PUBLICATION p FOR TABLE item');
$writers[0]->query("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
my $connection = $node->connstr('d1') =~ s/'/''/gr;
$writers[1]->query("CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p"
	  . " WITH (create_slot = false, slot_name = 's', copy_data = false)");
$_->query($change) for @writers;
ok(wait_for('the subscription to start', sub {
		$_->query($change) for @writers[ 2 .. 20 ];
		$admin->query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication worker'") > 0;
	}), 'a new subscription starts');
$writers[1]->query('DROP SUBSCRIPTION s');

# ------------------------------ databases come and go, as for the tests of an application

my @tests = map { session($node) } 1 .. 8;
my @slow;
my @failed;
for my $round (1 .. (long_test() ? 20 : 2))
{
	for my $step ("CREATE DATABASE test_%s TEMPLATE blank $how", undef, 'DROP DATABASE test_%s WITH (FORCE)')
	{
		my $start = time();

		if (!defined $step)
		{
			$node->safe_psql("test_$_", "$change; SELECT cache_notify.version('item')") for 0 .. 7;
			next;
		}
		$tests[$_]->send(sprintf $step, $_) for 0 .. 7;
		for my $n (0 .. 7)
		{
			until ($tests[$n]->is_done)
			{
				$writers[ rand(@writers) ]->query($change);
				look();
			}
			my $error = ($tests[$n]->result)[1] =~ s/^(psql:\S+ )?NOTICE.*\n//mgr;
			push @failed, $error if $error ne '';
		}
		push @slow, time() - $start;
	}
}
is_deeply(\@failed, [], 'databases are created from a template and dropped meanwhile');
note('seconds for eight at a time: ' . join ' ', map { sprintf '%.1f', $_ } @slow);
ok(wait_for('nothing to wait', sub { waiting() == 0 }), 'nothing waits for good');

cmp_ok($most, '<=', 5, 'no more than half of the slots are used, but while one takes over from another');
cmp_ok($turns, '>', 10, "they take turns");
note("$most workers at most, $turns turns were seen");

# ------------------------------------------- with no slot at all, and many databases

is(log_count($node, 'could not start the cache_notify worker'), 0, 'nobody complains');
is(log_count($node, 'cache_notify worker.*exited'), 0, 'nor does the postmaster');
configure($node, 'cache_notify.max_workers' => 0);
wait_for('the workers to go', sub { workers() == 0 });
for my $round (1 .. 3)
{
	$_->query($change) for @writers;
	sleep(1);
}
is(scalar workers(), 0, 'max_workers = 0: no worker');
is(log_count($node, 'could not start the cache_notify worker'), 1, 'which is said once, for all databases');
hears_ok($node, $_, "listeners of $_->{db} hear all the same") for @ears;
configure($node, 'cache_notify.max_workers' => 2);
ok(wait_for('a worker', sub { $_->query($change) for @writers[ 0 .. 5 ]; workers() > 0 }), 'workers come back');
cmp_ok(scalar workers(), '<=', 3, 'as many as are allowed');
is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash');

done_testing();
