# G5: commands that need a database without connections (DROP, RENAME, as a
# template) succeed although its worker is connected, and quickly. G6: a change
# that is being committed while such a command has the worker go is delivered;
# so is what is written where no new connections are allowed.
#
# Failure shows as an error of the command, as a command that takes its time, or
# as a key whose last version heard is not the one in the table.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END', allows_streaming => 1);
max_worker_processes = 100
log_min_messages = log
END
my $admin = session($node);
my $change = 'UPDATE item SET n = n + 1';

$admin->query(<<'END');
CREATE DATABASE template;
END
$node->safe_psql('template', <<'END');
CREATE EXTENSION cache_notify;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 50) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END

# A database whose worker has just been given something to do.
sub busy
{
	my ($name) = @_;

	$node->safe_psql($name, "$change; SELECT cache_notify.invalidate('d' || i) FROM generate_series(1, 1000) AS i");
	return;
}

# 5 s is how long the server waits for connections to go before it gives up.
sub quick_ok
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($sql, $name) = @_;
	my $begin = time();
	my $error = $admin->error($sql) =~ s/^(psql:\S+ )?(NOTICE|DETAIL|HINT).*\n//mgr;

	return is($error, '', $name) && cmp_ok(time() - $begin, '<', 4, "$name: quick");
}

for my $round (1 .. 3)
{
	busy('template');
	quick_ok('CREATE DATABASE a TEMPLATE template', "round $round: CREATE DATABASE of a template with a worker");
	busy('a');
	quick_ok('ALTER DATABASE a RENAME TO b', "round $round: RENAME");
	busy('b');
	quick_ok('ALTER DATABASE b SET TABLESPACE pg_default', "round $round: SET TABLESPACE");
	my $ear = ear($node, db => 'b');
	busy('b');
	hears_ok($node, $ear, "round $round: the worker of the database of that new name delivers");
	$ear->quit;
	busy('b');
	quick_ok('DROP DATABASE b', "round $round: DROP DATABASE");

	$admin->query('CREATE DATABASE c TEMPLATE template');
	my $writer = session($node, db => 'c');
	$writer->query($change);
	quick_ok('DROP DATABASE c WITH (FORCE)', "round $round: DROP DATABASE WITH (FORCE)");
}

# CREATE DATABASE copies template1 if it is not told otherwise.
$node->safe_psql('template1', <<'END');
CREATE EXTENSION cache_notify;
SELECT cache_notify.invalidate('x');
END
quick_ok('CREATE DATABASE from_template1', 'template1 can have a worker as well');
$admin->query('DROP DATABASE from_template1');

# More databases than can have a worker at the same time (64), one after the
# other: those that are gone leave nothing behind.
my $many = long_test() ? 100 : 5;
for my $i (1 .. $many)
{
	$admin->query('CREATE DATABASE many TEMPLATE template STRATEGY file_copy') if server_version($node) >= 15;
	$admin->query('CREATE DATABASE many TEMPLATE template') if server_version($node) < 15;
	busy('many');
	my $error = $admin->error('DROP DATABASE many');
	is($error, '', "database $i") or last;
}
$admin->query('CREATE DATABASE last TEMPLATE template');
my $ear = ear($node, db => 'last');
busy('last');
hears_ok($node, $ear, "the database after $many others has a worker");
like(worker_pid($node, 'last'), qr/^\d+$/, 'really');

# Two databases have one domain, of the same tenants, and both wait for their workers.
$admin->query('CREATE DATABASE twin TEMPLATE template');
my $twin_ear = ear($node, db => 'twin');
busy('twin');
my @writers = map { session($node, db => $_) } 'last', 'twin';
configure($node, 'cache_notify.coalesce' => '300ms');
for my $round (1 .. 3)
{
	$_->query($change) for @writers, reverse @writers;
	hears_ok($node, $_, "round $round: each database hears of its own") for $ear, $twin_ear;
}
configure($node, 'cache_notify.coalesce' => '0');
$_->quit for $twin_ear, @writers;
$admin->query('DROP DATABASE twin');

# ----------------------------------------------- commands that need no such thing

for my $option ('CONNECTION LIMIT 20', 'IS_TEMPLATE false', 'ALLOW_CONNECTIONS true')
{
	my $pid = wait_worker($node, 'last');
	quick_ok("ALTER DATABASE last $option", $option);
	is(worker_pid($node, 'last'), $pid, "$option does not disturb the worker");
}

# No new connections, but those who are there go on.
my $writer = session($node, db => 'last');
$admin->query('ALTER DATABASE last ALLOW_CONNECTIONS false');
$writer->query($change);
$admin->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'");
$writer->query($change);
my $end = time() + 20;
sub heard { return (grep { /"t7"/ } @{ $ear->{all} })[-1] // '' }
my $version = $writer->query("SELECT cache_notify.version('item', 't7')");
sleep(0.05) while $ear->listen, heard() !~ /"version": $version\}/ && time() < $end;
like(heard(), qr/"version": $version\}/, 'ALLOW_CONNECTIONS false: the worker comes back all the same');
$admin->query('ALTER DATABASE last ALLOW_CONNECTIONS true');

# ------------------------------- a commit that takes long, and the worker goes

# It waits for a standby that does not exist: after the version has been written
# and the worker has been counted on, before the listeners can be told.
configure($node, synchronous_standby_names => 'nobody');
$admin->query('SET synchronous_commit = local');
$admin->query('SELECT 1');
$writer->send($change);
wait_for('the commit to wait', sub {
		$admin->query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 1;
	});
$admin->query("SET statement_timeout = '1s'");
like($admin->error('ALTER DATABASE last RENAME TO more'),
	qr/is being accessed by other users|statement timeout/,
	'a command that cannot succeed, because of the writer');
configure($node, synchronous_standby_names => '');
$writer->result;
hears_ok($node, $ear, 'what was being committed meanwhile is delivered');

$writer->query($change);
hears_ok($node, $ear, 'and so is the next change');

is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash');

done_testing();
