# Table events in the worker lane under load: a transaction that could see what
# another one had done is told after it, although nobody waits for anybody. And
# none is lost while the worker is terminated and events do not fit.
#
# Makers insert rows, takers delete rows that they see. So of every row's events the
# insertion must be heard before the deletion, and at the end the last one of each
# row is what has become of it. Failure shows as the rows for which that is not so.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $rows = long_test() ? 20000 : 1500;
my ($makers, $takers) = (4, 4);

# A commit takes long, so that many commit at the same time.
my $node = worker_server('main', <<'END', allows_streaming => 1);
commit_delay = 2000
commit_siblings = 0
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE job (id serial PRIMARY KEY, state text);
CREATE TABLE done (id int);
SELECT cache_notify.setup_table_invalidation('job', payload => 'tcn');
END
my $ear = session($node);
$ear->query('LISTEN tcn; LISTEN cache_invalidation');

my $make = write_script($node, 'make', "INSERT INTO job (state) VALUES ('new');\n");
my $take = write_script($node, 'take', <<'END');
DELETE FROM job WHERE id = (SELECT id FROM job ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
END

# Everything that was told, until a change that is committed now is told.
my $sentinel = 0;

sub hear
{
	my @heard;

	$sentinel++;
	$node->safe_psql('postgres', "SELECT cache_notify.invalidate('sentinel', '$sentinel')");
	wait_for("sentinel $sentinel", sub {
			push @heard, $ear->payloads;
			return grep { /"tenant_id": "$sentinel"/ } @heard;
		});
	return @heard;
}

sub run_load
{
	my ($name, $disturb) = @_;
	my @loads = (
		pgbench_start($node, [ '-c', $makers, '-j', 2, '-t', $rows / $makers, '-f', $make ]),
		pgbench_start($node, [ '-c', $takers, '-j', 2, '-t', $rows / $takers, '-f', $take ]));

	while ($disturb && grep { IPC::Run::pumpable($_->{run}) } @loads)
	{
		$disturb->();
		IPC::Run::pump_nb($_->{run}) for grep { IPC::Run::pumpable($_->{run}) } @loads;
		sleep(0.03);
	}
	pgbench_finish($_, $name) for @loads;
	return;
}

# What is wrong with what was heard of the rows that were made since this one.
sub wrong
{
	my ($first, @heard) = @_;
	my (%told, @wrong, $coarse);

	for my $payload (@heard)
	{
		$coarse = %told = () if $payload eq '"job",T';
		$coarse ||= $payload eq '"job",T';
		next unless my ($operation, $id) = $payload =~ /^"job",([ID]),"id"='(\d+)'$/;
		push @wrong, "row $id: deleted before it was made"
		  if $operation eq 'D' && !$told{$id} && !$coarse;
		$told{$id} = $operation;
	}
	my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM job');
	my $last = $node->safe_psql('postgres', 'SELECT last_value FROM job_id_seq');
	for my $id ($first .. $last)
	{
		my $expected = $there{$id} ? 'I' : 'D';

		push @wrong, "row $id: heard " . ($told{$id} // 'nothing') . ", expected $expected"
		  unless ($told{$id} // ($coarse ? $expected : '')) eq $expected;
	}
	return \@wrong;
}

run_load('makers and takers');
my @heard = hear();
is_deeply(wrong(1, @heard), [], 'each deletion is told after the insertion');
my $deleted = $rows - $node->safe_psql('postgres', 'SELECT count(*) FROM job');
cmp_ok($deleted, '>', $rows / 4, "$deleted rows were both made and taken");
is(scalar(grep { /^"job",/ } @heard), $rows + $deleted, 'each is told once');

my $first = 1 + $node->safe_psql('postgres', 'SELECT last_value FROM job_id_seq');
$node->safe_psql('postgres', 'DELETE FROM job');
hear();
my $restarts = stat_of($node, 'worker_restarts');
run_load('while the worker dies', sub {
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
			  . " WHERE backend_type = 'cache_notify worker'");
	});
is_deeply(wrong($first, hear()), [], 'none is lost when the worker is terminated');
cmp_ok(stat_of($node, 'worker_restarts'), '>', $restarts, 'which it was');
$node->stop;

# When they do not fit, something coarser comes.
$node->append_conf('postgresql.conf', "cache_notify.waiting_scopes = 16\ncache_notify.coalesce = 50");
$node->start;
$ear = session($node);
$ear->query('LISTEN tcn; LISTEN cache_invalidation');
$first = 1 + $node->safe_psql('postgres', 'SELECT last_value FROM job_id_seq');
$node->safe_psql('postgres', 'DELETE FROM job');
hear();
run_load('when events do not fit');
@heard = hear();
cmp_ok(scalar(grep { $_ eq '"job",T' } @heard), '>', 0, 'the table as a whole is told');
is_deeply(wrong($first, @heard), [], 'and what is told single is right');
cmp_ok(stat_of($node, 'overflows'), '>', 0, 'stats: overflows');

# An aborted transaction's events are never told, even if it aborts at the very end.
$node->safe_psql('postgres', <<'END');
CREATE TABLE link (job int REFERENCES job DEFERRABLE INITIALLY DEFERRED);
SELECT cache_notify.setup_table_invalidation('link', payload => 'pgcachewatch', channel => 'tcn');
END
hear();
my $writer = session($node);
like($writer->error('INSERT INTO link VALUES (-1)'), qr/violates foreign key/, 'a commit fails');
my @sessions = map { session($node) } 1 .. 2;
$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM done') for @sessions;
$_->query('INSERT INTO done VALUES (1); INSERT INTO link VALUES (NULL)') for @sessions;
$sessions[0]->query('COMMIT');
like($sessions[1]->error('COMMIT'), qr/could not serialize/, 'another one fails later');
is(scalar(grep { /"link"/ } hear()), 1, 'only the one that committed is told');
$_->quit for $writer, $ear, @sessions;

# A commit that waits for a standby is not visible yet: it is not told, and
# nobody waits for it.
$node->append_conf('postgresql.conf',
	"synchronous_standby_names = 'nobody'\nsynchronous_commit = local");
$node->restart;
@sessions = map { session($node) } 1 .. 2;
$ear = session($node);
$ear->query('LISTEN tcn; LISTEN cache_invalidation');
my ($slow, $quick) = @sessions;
$slow->query('SET synchronous_commit = on');
$slow->send('TRUNCATE link');
wait_for('the commit to wait', sub {
		# The setting takes effect when the checkpointer has seen it.
		$slow->send('TRUNCATE link') if $slow->is_done;
		return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") > 0;
	});
hear();	# what came before the commit that waits
$quick->query("INSERT INTO job (state) VALUES ('quick')");
is_deeply([ grep { /"link"/ } hear() ], [], 'a commit that waits is not told');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $slow->pid . ')');
$slow->result;
is(scalar(grep { /"truncate".*"link"/ } hear()), 1, 'but once it is visible');
$_->quit for $ear, @sessions;
$node->stop;

done_testing();
