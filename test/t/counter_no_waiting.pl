# G2, G5: a commit that hangs. It waits for a standby that does not exist, with
# its counter rows written and not released: the longest time that a writer can
# own them. Other writers of the same key do not notice.
#
# In the commit lane NOTIFY itself lets only one commit at a time through. There
# the others wait, as they would with pg_notify(), for that one lock and nothing
# of ours, and a lock_timeout that expires there does not refuse the write.
#
# Failure shows as a statement that runs into its timeout, as a session in
# pg_locks that waits, or as an inexact version.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', <<'END', allows_streaming => 1);
cache_notify.delivery = off
max_connections = 60
max_prepared_transactions = 20
autovacuum = off
END

$node->safe_psql('postgres', <<'END');
CREATE TABLE hot (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO hot SELECT i, 't' FROM generate_series(0, 99) AS i;
SELECT cache_notify.setup_table_invalidation('hot');
END
$node->safe_psql('postgres', 'UPDATE hot SET n = n + 1 WHERE id = 0');

# Sessions that do not wait for the standby, and give up if anything else holds
# them up.
my $local = '-c synchronous_commit=local -c statement_timeout=30s';
my $watcher = session($node, options => $local);

sub hang_commits
{
	my ($standby) = @_;
	$node->append_conf('postgresql.conf', "synchronous_standby_names = '$standby'");
	$node->reload;
	wait_for('the reload', sub {
			$watcher->query('SHOW synchronous_standby_names') eq $standby;
		});
}

# Start a commit of row $id that hangs with everything written.
sub start_hanging
{
	my ($id, $sql) = @_;
	my $session = session($node);

	$session->query('BEGIN');
	$session->query($sql // "UPDATE hot SET n = n + 1 WHERE id = $id");
	$session->send('COMMIT');
	wait_for('the commit to hang', sub {
			$watcher->query("SELECT wait_event FROM pg_stat_activity WHERE pid = " . $session->pid) eq
			  'SyncRep';
		});
	return $session;
}

# A lock to make a file longer is held for that moment only, whoever needs it.
my $waiting = <<'END';
SELECT DISTINCT locktype, coalesce(classid::regclass::text, relation::regclass::text), objid
FROM pg_locks WHERE NOT granted AND locktype <> 'extend'
END

# ------------------------------------------------------------- delivery off

hang_commits('nobody');
my @hanging = map { start_hanging($_) } 1 .. 3;
isnt($watcher->query(
		"SELECT count(*) FROM pg_locks WHERE relation = '_cache_notify.version_counter'::regclass"
		  . " AND mode = 'RowExclusiveLock' AND granted"),
	0, 'control: the hanging commits hold on to the counter table');

for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $writer = session($node, options => $local);
	is($writer->error(
			"BEGIN ISOLATION LEVEL $level; UPDATE hot SET n = n + 1 WHERE id = 10; COMMIT"),
		'', "$level: a writer of the same key is not held up");
	$writer->quit;
}
versions_ok($node, 'while three commits hang', 'hot/t' => 4);

# Ten at once, and somebody looks all the time who waits for whom.
my $load = pgbench_start($node, [
		'-c', 10, '-j', 2, '-t', long_test() ? 5000 : 200,
		'-f', write_script($node, 'hot', <<'END')
UPDATE hot SET n = n + 1 WHERE id = 20 + :client_id;
END
	], { PGOPTIONS => $local });
my ($looks, @seen) = (0);
while ($load->{run}->pumpable)
{
	$load->{run}->pump_nb;
	push @seen, grep { $_ } $watcher->query($waiting);
	push @seen, grep { $_ } $watcher->query(
		"SELECT DISTINCT wait_event FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event <> 'extend'");
	$looks++;
}
pgbench_finish($load, 'ten writers', 10 * (long_test() ? 5000 : 200));
cmp_ok($looks, '>', 2, 'looked at the locks meanwhile');
is(join("\n", @seen), '', 'nobody ever waited for a lock');
versions_ok($node, 'ten writers, three hanging commits',
	'hot/t' => 4 + 10 * (long_test() ? 5000 : 200));

# The same row: that waits, for the user's row. This is the control that the
# commits really hang with their locks held.
my $same = session($node, options => '-c synchronous_commit=local -c statement_timeout=1s');
like($same->error('UPDATE hot SET n = n + 1 WHERE id = 1'), qr/statement timeout/,
	'control: the same user row does wait');
$same->quit;

hang_commits('');
$_->result for @hanging;
versions_ok($node, 'all have committed', 'hot/t' => 7 + 10 * (long_test() ? 5000 : 200));
my $version = 7 + 10 * (long_test() ? 5000 : 200);

# ------------------------------------------------------------- commit lane

configure($node, 'cache_notify.delivery' => 'commit');
$watcher->query("BEGIN; UPDATE hot SET n = n + 1 WHERE id = 5; PREPARE TRANSACTION 'p'");
hang_commits('nobody');
my $listener = session($node, options => '-c synchronous_commit=local');
$listener->query('LISTEN cache_invalidation');
my $hanging = start_hanging(1);

my $second = session($node, options => '-c synchronous_commit=local');
$second->query('BEGIN; UPDATE hot SET n = n + 1 WHERE id = 2');
$second->send('COMMIT');
wait_for('the second commit to wait', sub {
		return $watcher->query($waiting) ne '';
	});
is($watcher->query($waiting), 'object|pg_database|0',
	'a second notifying commit waits for the lock of NOTIFY itself and nothing else');

# Statements, and transactions that notify nothing, go on.
my $third = session($node, options => $local);
is($third->error('BEGIN; UPDATE hot SET n = n + 1 WHERE id = 3'), '',
	'statements do not wait, only commits');
is($third->query("SELECT cache_notify.version('hot', 't')"), $version + 1, 'nor do readers');
$third->query('ROLLBACK');
is($third->error('CREATE TABLE unrelated (n int); INSERT INTO unrelated VALUES (1)'), '',
	'nor do other commits');

# G5: the wait is ours, so its timeout must not fail the user's commit.
my $hasty = session($node,
	options => '-c synchronous_commit=local -c lock_timeout=200ms -c statement_timeout=0');
$hasty->query('BEGIN; UPDATE hot SET n = n + 1 WHERE id = 4');
$hasty->send('COMMIT');

# COMMIT PREPARED has committed by then: to say that it failed would be wrong.
my $hasty2 = session($node,
	options => '-c synchronous_commit=local -c lock_timeout=200ms -c statement_timeout=0');
$hasty2->query("SELECT cache_notify.version('hot', 't')");
$hasty2->send("COMMIT PREPARED 'p'");
my $patient = sub {
	my ($s) = @_;
	return $s->is_done || $node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = '
		  . $s->pid . " AND clock_timestamp() - waitstart > interval '500 ms'");
};
wait_for('both to have waited longer than their lock_timeout', sub { $patient->($hasty) && $patient->($hasty2) });

hang_commits('');
$_->result for $hanging, $second;
my (undef, $error) = $hasty->result;
is($error, '', 'a commit with a short lock_timeout is not refused');
my (undef, $error2) = $hasty2->result;
is($error2, '', 'COMMIT PREPARED with a short lock_timeout does not report an error');
$version = $node->safe_psql('postgres', 'SELECT sum(n) FROM hot');
$watcher->query("UPDATE hot SET n = n + 1 WHERE id = 6");
$version++;
versions_ok($node, 'commit lane', 'hot/t' => $version);
is((map { /"version": (\d+)/ } $listener->payloads)[-1], $version, 'the last version heard');

# ------------------------------------- rules that change while commits queue up

# The first commit hangs with NOTIFY's lock. A second one waits for that lock. A
# third has emptied the rules and changed a table in one transaction, and waits
# behind it. Meanwhile some table was set up, which makes the second read the
# rules again as soon as it gets the lock, but the third has locked them.
$node->safe_psql('postgres', <<'END');
CREATE TABLE fresh (n int);
INSERT INTO cache_notify.cascade_rules VALUES ('hot', 'report');
END
hang_commits('nobody');
$hanging = start_hanging(1);
$second->query('BEGIN; UPDATE hot SET n = n + 1 WHERE id = 2');
$third->query('SET statement_timeout = 0; BEGIN; UPDATE hot SET n = n + 1 WHERE id = 3');
my $waiters = 'SELECT count(*) FROM pg_locks WHERE NOT granted';
$second->send('COMMIT');
wait_for('the second commit to wait', sub { $watcher->query($waiters) == 1 });
$watcher->query("SELECT cache_notify.setup_table_invalidation('fresh')");
$third->query('TRUNCATE cache_notify.cascade_rules');
$third->send('COMMIT');
wait_for('the third commit to wait', sub { $watcher->query($waiters) == 2 });
hang_commits('');
$error = '';
for ($hanging, $second, $third)
{
	my (undef, $e) = $_->result;
	$error .= $e;
}
is($error, '', 'no commit fails, and none deadlocks');
is(log_count($node, qr/deadlock detected/), 0, 'no deadlock in the log');

done_testing();
