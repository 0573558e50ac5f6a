# G3, G4, G6: the server is killed between any two steps of a write, of COMMIT PREPARED
# and of the worker; and the worker alone fails or is terminated at each of its steps.
# After recovery either the write is there with its versions, and whoever asks what has
# changed is told, or nothing of it is. What only the worker loses is delivered later.
#
# Failure shows as versions that are not the number of writes, a token from before a
# write that is current after it, a position that does not tell of it, or a listener
# whose last version is not that of the table.

use strict;
use warnings;

use CacheNotify;
use Faults;
use Test::More;
use WorkerLane;

my $node = worker_server('main', 'restart_after_crash = on');
$node->safe_psql('postgres', "LOAD 'cache_notify'; SHOW cache_notify.fault") eq ''
  or plan skip_all => 'built without assertions, so without faults';

my $faults = Faults->new($node);

# When the server, or what a crash starts anew of it, was started; '' if it is not there.
sub incarnation
{
	my $answer = '';

	$node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'",
		stdout => \$answer);
	return $answer;
}

# The server has been killed: wait until it is back.
sub wait_back
{
	my ($before) = @_;
	my $now;

	$faults->reconnect;
	wait_for('the server to be back',
		sub { $now = incarnation(); return $now ne '' && $now ne $before; });
	return;
}

# Killed at the point, on the way of these commands.
sub killed_at
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($point, $written, $warm, @commands) = @_;
	my $server = incarnation();
	my $s = session($node);
	my $last = @commands ? pop @commands : $Faults::write;

	$s->query($Faults::write) if $warm;
	$faults->before;
	$s->query($_) for @commands;
	$s->query("SET cache_notify.fault = '$point:crash'");
	$s->send($last);
	like(Faults::outcome($s), qr/connection/, "killed at $point");
	wait_back($server);
	$faults->after("killed at $point", $written);
	return;
}

for my $lane (qw(worker commit))
{
	configure($node, 'cache_notify.delivery' => $lane);
	note("lane $lane");
	killed_at($_, 0, 0) for qw(trigger counted), $lane eq 'worker' ? 'pinned' : qw(queue_locked queued);
	killed_at('counter_update', 0, 1);
	killed_at('delivered', 0, 1);
	killed_at('post_commit', 1, 1);
	my $id = "'killed $lane'";
	killed_at('owed', 0, 0, 'BEGIN', $Faults::write, "PREPARE TRANSACTION $id");
	killed_at('committed_prepared', 1, 0, 'BEGIN', $Faults::write, "PREPARE TRANSACTION $id",
		"COMMIT PREPARED $id");

	# What that owed is still delivered, to listeners that have come back.
	my $ear = ear($node);
	$faults->ask($Faults::write);
	wait_for('what was owed', sub { $faults->ask('SELECT count(*) FROM owed_delivery') == 0 });
	hears_ok($node, $ear, "lane $lane: all is delivered again") if $lane eq 'worker';
	$ear->quit;
}

# -------------------------------------------------------- the worker alone

configure($node, 'cache_notify.delivery' => 'worker');
my $ear = ear($node);
$faults->ask($_) for $Faults::write, 'INSERT INTO item SELECT i, $$t$$ || i, 0 FROM generate_series(2, 50) i';
hears_ok($node, $ear, 'before');

for my $point (qw(worker_taken worker_queued worker_sent))
{
	for my $how (qw(error terminate))
	{
		my $worker = wait_worker($node);
		my $change = 'UPDATE item SET n = n + 1';
		my $gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $worker";

		configure($node, 'cache_notify.fault' => "$point:" . ($how eq 'error' ? 'error' : 'wait'));
		if ($how eq 'error')
		{
			# One with an older setting may still be held somewhere.
			wait_for('the worker to die', sub {
					$faults->release_all;
					$faults->ask($change);
					return $faults->ask($gone) eq 't';
				});
		}
		else
		{
			wait_for("the worker at $point", sub { $faults->ask($change); -e $faults->file($point) });
			$faults->ask($change);
			$faults->ask("SELECT pg_terminate_backend($worker)");
			wait_for('the worker to die', sub { $faults->ask($gone) eq 't' });
		}
		$faults->ask($change);
		configure($node, 'cache_notify.fault' => '');
		# A worker with the old setting may come to the point once more.
		wait_for('deliveries', sub { $faults->release_all; !%{ heard_wrong($node, $ear) } });
		hears_ok($node, $ear, "worker, $how at $point: everything is delivered");
	}
}

# Killed in the worker: the server goes down with it, and the writes stay.
for my $point (qw(worker_taken worker_queued worker_sent))
{
	my $server = incarnation();

	$faults->before;
	$node->append_conf('postgresql.conf', "cache_notify.fault = '$point:crash:1'");
	$node->reload;
	my $s = session($node);
	wait_for("a kill at $point", sub {
			$faults->release_all;
			$s->send($Faults::write);
			return Faults::outcome($s) =~ /connection/;
		});
	$node->append_conf('postgresql.conf', "cache_notify.fault = ''");
	wait_back($server);
	$node->reload;
	$faults->after("worker killed at $point");
}

$ear = ear($node);
$faults->ask('UPDATE item SET n = n + 1');
hears_ok($node, $ear, 'at last all is delivered');

done_testing();
