# G6: whatever happens to the worker, the last version that a listener hears of
# each key is the one in the table once the load ends. Short randomized runs of
# several writers (statements, savepoints that are rolled back, transactions that
# are rolled back or fail) while the worker is terminated and cancelled, writers
# are cancelled and terminated, and lanes are switched.
#
# Failure shows as a key whose last version heard is not the one in the table,
# with the seed of the run: CN_TEST_SEED=seed repeats it. CN_TEST_LONG=1 makes
# 1,000 runs of it.

use strict;
use warnings;

use CacheNotify;
use IPC::Run;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $seed = $ENV{CN_TEST_SEED} || time() % 1_000_000_000;
my $runs = $ENV{CN_TEST_SEED} ? 1 : long_test() ? 1000 : 40;
my $node = worker_server('main', 'log_min_messages = fatal');

$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i % 6 FROM generate_series(0, 59) AS i;
SELECT cache_notify.setup_table_invalidation('item');
CREATE TABLE common (id int PRIMARY KEY, n int DEFAULT 0);
INSERT INTO common SELECT i FROM generate_series(0, 3) AS i;
SELECT cache_notify.setup_table_invalidation('common');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'list');
END

# Writers stay off each other's rows: they are not to wait for each other.
my $script = write_script($node, 'writer', <<'END');
\set what random(1, 11)
\set id random(0, 14) * 4 + :client_id % 4
\set id2 random(0, 14) * 4 + :client_id % 4
\if :what <= 5
UPDATE item SET n = n + 1 WHERE id = :id;
\elif :what = 6
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :id;
SAVEPOINT s;
UPDATE item SET n = n + 1 WHERE id = :id2;
ROLLBACK TO s;
COMMIT;
\elif :what = 7
BEGIN;
SAVEPOINT s;
UPDATE item SET n = n + 1 WHERE id = :id;
ROLLBACK TO s;
UPDATE item SET n = n + 1 WHERE id = :id2;
SAVEPOINT t;
UPDATE item SET n = n + 1 WHERE id = :id;
RELEASE t;
COMMIT;
\elif :what = 11
UPDATE common SET n = n + 1 WHERE id = :client_id;
\elif :what = 8
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :id;
ROLLBACK;
\elif :what = 9
DO $$ BEGIN
	UPDATE item SET n = n + 1 WHERE id = 0;
	RAISE EXCEPTION 'no';
EXCEPTION WHEN raise_exception THEN
	NULL;
END $$;
\else
SELECT cache_notify.invalidate('by hand', 't' || :client_id);
\endif
END

my $ear = ear($node);
my $killer = session($node);
my $worker = "SELECT %s(pid) FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'";
my $writer = "SELECT %s(pid) FROM (SELECT pid FROM pg_stat_activity"
  . " WHERE application_name = 'pgbench' ORDER BY pid OFFSET %d LIMIT 1) AS w";
my (@wrong, %done);
my $begin = time();

for my $run (1 .. $runs)
{
	my $this = $ENV{CN_TEST_SEED} ? $seed : $seed + $run;
	srand($this);
	my $length = 0.1 + rand(0.4);
	my $eager = rand();         # how often something happens
	my $load = pgbench_start($node,
		[ '-c', 4, '-j', 2, '-T', 600, "--random-seed=$this", '-f', $script ]);
	my $end = time() + $length;

	while (time() < $end)
	{
		my $dice = int(rand(20));
		my $sql =
			$dice < 10 ? sprintf($worker, 'pg_terminate_backend')
		  : $dice < 14 ? sprintf($worker, 'pg_cancel_backend')
		  : $dice < 16 ? sprintf($writer, 'pg_cancel_backend', int(rand(4)))
		  : $dice == 16 ? sprintf($writer, 'pg_terminate_backend', int(rand(4)))
		  : 'SELECT pg_reload_conf()';
		$killer->query($sql);
		$done{ (split ' ', $sql)[1] =~ s/\(.*//r . ($sql =~ /pgbench/ ? ' of a writer' : '') }++;
		sleep(rand(0.1) * $eager);
	}
	IPC::Run::kill_kill($load->{run}, grace => 5);

	# Nobody commits any more who could start a worker or wake it up.
	for (1 .. int(rand(5)))
	{
		$killer->query(sprintf($worker, rand() < 0.7 ? 'pg_terminate_backend' : 'pg_cancel_backend'));
		sleep(rand(0.01));
	}

	# The sessions of writers that are gone may be at work for a moment.
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'");
	my $patience = time() + 30;
	my $wrong;
	sleep(0.01) while %{ $wrong = heard_wrong($node, $ear) } && time() < $patience;
	next if !%$wrong;
	push @wrong, {
		seed => $this, keys => $wrong,
		stats => $node->safe_psql('postgres', 'SELECT * FROM cache_notify.stats', extra_params => ['-x']),
		processes => $node->safe_psql('postgres', 'SELECT pid, backend_type, state, wait_event, query FROM pg_stat_activity')
	};
	last if @wrong > 3;
}
note(sprintf('%d runs in %.0f s, %d notifications, %d resets; ', $runs, time() - $begin,
		$ear->{count}, $ear->{resets}), join(', ', map { "$_: $done{$_}" } sort keys %done));
is_deeply(\@wrong, [], "$runs runs: the last version heard of each key is the one in the table")
  or diag(JSON::PP->new->canonical->pretty->encode(\@wrong));
cmp_ok(stat_of($node, 'worker_restarts'), '>', $ENV{CN_TEST_SEED} ? 0 : $runs,
	'workers did die at their work');
cmp_ok($ear->{count}, '>', $runs, 'the listener heard much');

done_testing();
