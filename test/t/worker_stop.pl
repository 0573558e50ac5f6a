# G10: a worker that is told to stop is no error in the server's log, wherever in its work
# it is: at each step of a cycle and under load, for pg_ctl stop, pg_terminate_backend(),
# DROP DATABASE and a setting that does without workers. G6: what it had taken is delivered
# by the next one, if the server goes on.
#
# Failure shows as a line above LOG of a process of ours, or as a listener whose last
# version is not the one in the table.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use WorkerLane;

my $node = worker_server('main', <<'END');
log_line_prefix = '%p (%b) '
max_worker_processes = 16
END
my $has_faults = $node->safe_psql('postgres', "LOAD 'cache_notify'; SELECT count(*) FROM pg_settings WHERE name = 'cache_notify.fault'");

my $table = <<'END';
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 50) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
my $change = 'UPDATE item SET n = n + 1';

# What the worker has said above LOG since the last call.
my $read = 0;

sub quiet_ok
{
	my ($name) = @_;
	my $log = slurp_file($node->logfile);
	my @said = grep { /\(cache_notify worker\) (?:FATAL|ERROR|PANIC|WARNING):|PANIC|TRAP/ } split /\n/, substr($log, $read);

	$read = length $log;
	is(join("\n", @said), '', "$name: nothing in the log that looks like an error");
	return;
}

sub waits_at
{
	my ($point) = @_;
	my $file = $node->data_dir . "/cache_notify.fault.$point";

	return wait_for("the worker to be at $point", sub { -e $file });
}

# A worker that began before the reload may yet come to the point.
sub go_on
{
	configure($node, 'cache_notify.fault' => '');
	wait_for('the worker to go on', sub {
			unlink glob($node->data_dir . '/cache_notify.fault.*');
			return stat_of($node, 'waiting') eq '0';
		});
	return;
}

$node->safe_psql('postgres', $table);
my $ear = ear($node);
$node->safe_psql('postgres', $change);
hears_ok($node, $ear, 'a worker is there');

# It can be seen: what is no ordinary end is said as before.
SKIP:
{
	skip 'a build without assertions has no faults', 2 unless $has_faults;
	configure($node, 'cache_notify.fault' => 'worker_taken:error');
	$node->safe_psql('postgres', $change);
	wait_for('its error', sub { log_count($node, '\(cache_notify worker\) ERROR:  injected fault') > 0 });
	go_on();
	hears_ok($node, $ear, 'after an error, it delivers');
	cmp_ok(log_count($node, '\(cache_notify worker\) ERROR:  injected fault'), '>', 0, 'which was said');
	$read = length slurp_file($node->logfile);
}

# ------------------------------------------------------- in the middle of a cycle

foreach my $point ($has_faults ? qw(worker_taken worker_queued worker_sent) : ())
{
	configure($node, 'cache_notify.fault' => "$point:wait");
	$node->safe_psql('postgres', $change);
	waits_at($point);
	my $pid = wait_worker($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_worker($node, 'postgres', $pid);
	go_on();
	hears_ok($node, $ear, "terminated at $point: the next one delivers");
	quiet_ok("terminated at $point");

	foreach my $mode ('fast', 'smart')
	{
		configure($node, 'cache_notify.fault' => "$point:wait");
		$node->safe_psql('postgres', $change);
		waits_at($point);
		$ear->{session}->quit;
		$node->stop($mode);
		$node->append_conf('postgresql.conf', "cache_notify.fault = ''");
		unlink glob($node->data_dir . '/cache_notify.fault.*');
		$node->start;
		quiet_ok("stopped at $point, $mode");
		$ear = ear($node);
		$node->safe_psql('postgres', $change);
		hears_ok($node, $ear, "stopped at $point, $mode: after the start it delivers");
	}

	# Its database is dropped under it.
	$node->safe_psql('postgres', 'CREATE DATABASE gone');
	$node->safe_psql('gone', "CREATE EXTENSION cache_notify; $table");
	configure($node, 'cache_notify.fault' => "$point:wait");
	$node->safe_psql('gone', $change);
	waits_at($point);
	$node->safe_psql('postgres', 'DROP DATABASE gone WITH (FORCE)');
	go_on();
	quiet_ok("database dropped at $point");
}

# -------------------------------------------------------------------- under load

my $script = write_script($node, 'change', "\\set id random(1, 50)\nUPDATE item SET n = n + 1 WHERE id = :id;\n");

foreach my $mode (('fast') x 6, ('smart') x 3)
{
	my $load = pgbench_start($node, [ '-c', 4, '-f', $script, $mode eq 'fast' ? ('-T', 30) : ('-t', 300) ]);
	sleep(0.1 + rand(0.3));
	$ear->{session}->quit if $mode eq 'smart';
	# Smart waits for the load to end, and lets nobody in meanwhile.
	$node->stop($mode);
	IPC::Run::finish($load->{run});
	$node->start;
	$ear = ear($node);
}
quiet_ok('stopped under load, again and again');
$node->safe_psql('postgres', $change);
hears_ok($node, $ear, 'and it delivers');

foreach my $round (1 .. 8)
{
	$node->safe_psql('postgres', 'CREATE DATABASE gone');
	$node->safe_psql('gone', "CREATE EXTENSION cache_notify; $table");
	# At once, so that the worker is just coming up; or in the middle of its work.
	$node->safe_psql('gone', $change) for 1 .. $round;
	my ($status, $out, $error) = $node->psql('postgres', 'DROP DATABASE gone' . ($round % 2 ? '' : ' WITH (FORCE)'));
	is($error, '', "DROP DATABASE, round $round");
}
quiet_ok('databases dropped with a worker inside');

{
	my $load = pgbench_start($node, [ '-c', 4, '-T', 5, '-f', $script ]);
	foreach my $round (1 .. 6)
	{
		$node->safe_psql('postgres', 'ALTER SYSTEM SET cache_notify.delivery = '
			  . ($round % 2 ? ($round == 3 ? 'off' : 'commit') : 'auto'));
		$node->reload;
		sleep(0.3 + rand(0.2));
	}
	pgbench_finish($load, 'another lane under load, and back');
}
settle($node);
quiet_ok('another lane, and back');
$ear->forget;
$node->safe_psql('postgres', $change);
hears_ok($node, $ear, 'and the worker delivers');

$node->stop('fast');
quiet_ok('stopped at the end');
done_testing();
