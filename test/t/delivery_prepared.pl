# G3, G5, G6: two-phase commit. PREPARE TRANSACTION succeeds, the version moves at
# COMMIT PREPARED and never after ROLLBACK PREPARED, also with a restart or a
# crash in between; nobody waits meanwhile. What is to be delivered is owed in the
# database and arrives with COMMIT PREPARED, or, if that came from a session that
# has not loaded the library, with the next commit that notifies.
#
# Failure shows as an error, a statement that runs into its timeout, a version
# that moves too early or never, or a payload that is missing or too early.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', "max_prepared_transactions = 20\nrestart_after_crash = on");
my $timeout = '-c statement_timeout=60s';

$node->safe_psql('postgres', <<'END');
CREATE TABLE one (id int, tenant_id text, n int DEFAULT 0);
CREATE TABLE two (id int, tenant_id text, n int DEFAULT 0);
INSERT INTO one SELECT 1, 't';
INSERT INTO two SELECT 1, 't';
SELECT cache_notify.setup_table_invalidation('one', 'contract');
SELECT cache_notify.setup_table_invalidation('two', 'contract');
END
$node->safe_psql('postgres', "INSERT INTO cache_notify.cascade_rules VALUES ('contract', 'report')");

sub expect
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($version, $owed, $name) = @_;

	versions_ok($node, $name, 'contract/t' => $version, 'report/t' => $version);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'),
		$owed, "$name: what is owed");
}

# COMMIT PREPARED from a new session, which has not loaded the library.
sub commit_elsewhere
{
	my ($name) = @_;
	$node->safe_psql('postgres', "COMMIT PREPARED '$name'");
}

sub payload
{
	my ($domain, $version) = @_;
	return qq({"tenant_id": "t", "domain": "$domain", "version": $version});
}

my $listener = session($node);
$listener->query('LISTEN cache_invalidation');

my $writer = session($node, options => $timeout);
my $other = session($node, options => $timeout);

$writer->query(<<'END');
UPDATE one SET n = n + 1;
BEGIN;
UPDATE one SET n = n + 1;
UPDATE one SET n = n + 1;
PREPARE TRANSACTION 'p';
END
is($writer->query("SELECT cache_notify.version('contract', 't')"), 1,
	'the session that prepared has nothing pending any more');
expect(1, 0, 'prepared');
$listener->heard;

# The counter rows are taken now; others go on, its own session too.
$other->query('UPDATE two SET n = n + 1') for 1 .. 3;
$writer->query('UPDATE two SET n = n + 1') for 1 .. 3;
expect(7, 0, 'writers beside a prepared transaction');
is(scalar(grep { /contract/ } $listener->payloads), 6, 'they are delivered as ever');

# ------------------------------------------------------- restarts in between

$node->restart;
$_->quit for $listener, $writer, $other;
expect(7, 0, 'after a restart');
$writer = session($node, options => $timeout);
$writer->query('UPDATE two SET n = n + 1');
expect(8, 0, 'a writer beside it after the restart');

$node->stop('immediate');
$node->start;
expect(8, 0, 'after a crash');

$listener = session($node);
$listener->query('LISTEN cache_invalidation');
$writer = session($node, options => $timeout);
commit_elsewhere('p');
expect(10, 2, 'committed');
is_deeply([ $listener->payloads ], [], 'not delivered yet');

# Owed deliveries survive a restart, too; a writer of anything takes them over.
$node->restart;
expect(10, 2, 'owed after a restart');
$listener = session($node);
$listener->query('LISTEN cache_invalidation');
$writer = session($node, options => $timeout);
$writer->query("SELECT cache_notify.invalidate('something')");
is_deeply([ sort $listener->payloads ], [
		payload('contract', 10), payload('report', 10),
		'{"tenant_id": null, "domain": "something", "version": 1}'
	], 'the next notifying commit delivers what is owed');
expect(10, 0, 'delivered');

# A commit that fails after it took them over leaves them there.
$writer->query("BEGIN; UPDATE one SET n = n + 1; PREPARE TRANSACTION 'p'");
commit_elsewhere('p');
$writer->query("BEGIN; SELECT cache_notify.invalidate('something'); ROLLBACK");
expect(11, 2, 'a rollback takes nothing over');

# Two keys, of which one is delivered anyway: no payload is wrong or missing.
$writer->query('UPDATE two SET n = n + 1');
my %heard = map { $_ => 1 } $listener->payloads;
is_deeply([ sort keys %heard ], [ payload('contract', 12), payload('report', 12) ],
	'owed and changed at once');

# From a session that has loaded it, and that did not prepare it: at once.
my $third = session($node, options => $timeout);
$third->query("SELECT cache_notify.version('contract')");
$writer->query("BEGIN; UPDATE one SET n = n + 1; PREPARE TRANSACTION 'p'");
is_deeply([ $listener->payloads ], [], 'nothing is delivered at PREPARE');
$third->query("COMMIT PREPARED 'p'");
is_deeply([ sort $listener->payloads ], [ payload('contract', 13), payload('report', 13) ],
	'COMMIT PREPARED delivers');
expect(13, 0, 'delivered at COMMIT PREPARED');

# ------------------------------------------------------------ ROLLBACK PREPARED

$writer->query("BEGIN; UPDATE one SET n = n + 1; SAVEPOINT s; PREPARE TRANSACTION 'p'");
$writer->query('UPDATE two SET n = n + 1');
$writer->query("ROLLBACK PREPARED 'p'");
$writer->query('UPDATE two SET n = n + 1');
expect(15, 0, 'ROLLBACK PREPARED');
is_deeply([ grep { /contract/ } $listener->payloads ],
	[ payload('contract', 14), payload('contract', 15) ], 'and it is never delivered');

# --------------------------------------------------------- at every level, many

my $number = 0;
for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	$number++;
	$writer->query(<<"END");
BEGIN ISOLATION LEVEL $level;
UPDATE one SET n = n + 1;
PREPARE TRANSACTION 'p$number';
END
	commit_elsewhere("p$number");
}
expect(18, 6, 'prepared at each level');

# More keys than are owed one by one: a reset for all.
$writer->query(<<'END');
BEGIN;
INSERT INTO one SELECT i, 'many ' || i FROM generate_series(1, 2000) AS i;
PREPARE TRANSACTION 'p';
END
commit_elsewhere('p');
is($node->safe_psql('postgres',
		"SELECT count(*) FROM _cache_notify.owed_delivery WHERE domain IS NULL"), 1,
	'a large prepared transaction owes a reset');
$writer->query("SELECT cache_notify.invalidate('something')");
is_deeply([ $listener->payloads ], ['{"reset": true}'], 'which is delivered once');
versions_ok($node, 'large prepared transaction', 'contract/many 77' => 1, 'contract/t' => 18);
is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'),
	0, 'nothing is owed any more');

# Writers that take over at the same time: everything is delivered once.
my $prepared = 10;
for my $i (1 .. $prepared)
{
	$writer->query("BEGIN; SELECT cache_notify.invalidate('owed', '$i'); PREPARE TRANSACTION 'q$i'");
	commit_elsewhere("q$i");
}
my $load = pgbench_start($node, [
		'-c', 8, '-j', 2, '-t', 20, '-f', write_script($node, 'invalidate', <<'END')
SELECT cache_notify.invalidate('load');
END
	]);
pgbench_finish($load, 'writers take over what is owed', 160);
my @owed = grep { /"owed"/ } $listener->payloads;
is_deeply([ sort @owed ],
	[ sort map { qq({"tenant_id": "$_", "domain": "owed", "version": 1}) } 1 .. $prepared ],
	'everything owed is delivered, and once');

done_testing();
