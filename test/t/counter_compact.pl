# G2, G3, G4: compact() merges the rows of a counter. The sum stays exact in every
# snapshot, old and new, while writers go on; nobody waits for anybody; what has
# changed since a position is still found; and the worker merges by itself what
# has cooled down.
#
# Each statement here adds as much to a row of its table as to the version, so in
# every snapshot the two must agree. Failure shows as two that do not, as a
# session that waits, or as rows that are left.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $node = start_server('main', <<'END');
cache_notify.delivery = off
max_prepared_transactions = 20
END
my $clients = 8;

$node->safe_psql('postgres', <<"END");
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0) WITH (fillfactor = 10);
INSERT INTO item SELECT i, 't' FROM generate_series(1, 100) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END

my $writer = session($node);
my $old = session($node);
my $now = session($node);

sub rows
{
	return $now->query("SELECT count(*) FROM _cache_notify.version_counter WHERE tenant_id = 't'");
}

# What was counted against the version, both in one snapshot.
my $off_by = "SELECT sum(n) - cache_notify.version('item', 't') + cache_notify.version_origin() FROM item";

# A commit that is held up keeps a row, so as many of them make as many rows.
sub crowd
{
	my ($rows) = @_;
	$writer->query("BEGIN; UPDATE item SET n = n + 1 WHERE id = $_; PREPARE TRANSACTION 'p$_'")
	  for 1 .. $rows;
	$writer->query("COMMIT PREPARED 'p$_'") for 1 .. $rows;
}

crowd(7);
is(rows(), 7, 'seven commits at a time make seven rows');
my $position = $now->query('SELECT cache_notify.current_position()');
my $token = $now->query("SELECT cache_notify.token('t', 'item')");
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query($off_by), 0, 'a snapshot before');
is($now->query('SELECT cache_notify.compact()'), 6, 'compact() says how many rows are gone');
is(rows(), 1, 'one row is left');
is($now->query($off_by), 0, 'the sum is the same');
is($old->query($off_by), 0, 'and for the old snapshot');
is($now->query("SELECT cache_notify.is_current('$token')"), 't', 'a token stays current');
is($now->query('SELECT cache_notify.compact()'), 0, 'nothing is left to do');
is($now->query("SELECT max(last_modified) > now() - interval '1 hour' FROM _cache_notify.version_counter"),
	't', 'last_modified is kept');

# The old snapshot's position does not see the merge, nor what came after it.
$position = $old->query('SELECT cache_notify.current_position()');
crowd(3);
$now->query('SELECT cache_notify.compact()');
is($now->query("SELECT tenant_id, domain, version - cache_notify.version_origin() FROM cache_notify.changes_since('$position')"),
	't|item|10', 'what changed and was merged after a position is found');
is($old->query($off_by), 0, 'the old snapshot is still exact');
$old->query('COMMIT');

# ------------------------------------------------ nobody waits for anybody

$writer->query("BEGIN; UPDATE item SET n = n + 1 WHERE id = 99; PREPARE TRANSACTION 'held'");
crowd(4);
ok(rows() >= 4, 'more rows, one of them held by a prepared transaction');
$now->query('BEGIN; SELECT cache_notify.compact()');
is($now->query($off_by), 0, 'the sum, for the one who merges');
$writer->query('UPDATE item SET n = n + 1 WHERE id = 2');
is($writer->query($off_by), 0, 'a writer goes on while the merge is open');
$now->query('UPDATE item SET n = n + 1 WHERE id = 3');
$old->query('SELECT cache_notify.compact()');
is($old->query($off_by), 0, 'and another one merges what is free');
$now->query('COMMIT');
$writer->query("COMMIT PREPARED 'held'");
is($now->query($off_by), 0, 'nothing is lost');
$now->query('SELECT cache_notify.compact()');
is(rows(), 1, 'one row again');

# ------------------------------------------------------ one's own changes

crowd(3);
$now->query('BEGIN; UPDATE item SET n = n + 1 WHERE id = 3; SAVEPOINT s; SELECT cache_notify.compact(); ROLLBACK TO s; COMMIT');
is($now->query($off_by), 0, 'a merge that is rolled back');
$now->query('WITH changed AS (UPDATE item SET n = n + 1 WHERE id = 3 RETURNING 1) SELECT cache_notify.compact() FROM changed');
is($now->query($off_by), 0, 'a change and a merge in one statement');
is(rows(), 1, 'which did merge');
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	$now->query("BEGIN ISOLATION LEVEL $level");
	like($now->error('SELECT cache_notify.compact()'), qr/compact\(\) cannot run in a REPEATABLE READ or SERIALIZABLE/,
		"refused: $level");
	$now->query('ROLLBACK');
}
$now->query('CREATE ROLE somebody; SET ROLE somebody');
like($now->error('SELECT cache_notify.compact()'), qr/permission denied/, 'not for PUBLIC');
$now->query('RESET ROLE');

# ------------------------------------------------------------- under load

# A client owns rows, so that user rows never conflict; one in sixteen statements
# is a merge, and one in four looks whether a snapshot is exact.
my $script = write_script($node, 'load', <<"END");
\\set fate random(0, 15)
\\set id 1 + :client_id + 8 * :fate % 8
\\if :fate = 0
SELECT cache_notify.compact();
\\elif :fate < 4
SELECT 1 / (CASE WHEN ($off_by) = 0 THEN 1 ELSE 0 END);
\\elif :fate < 8
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE item SET n = n + 1 WHERE id = :id;
COMMIT;
\\elif :fate < 10
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cache_notify.invalidate('other', 't');
COMMIT;
\\else
UPDATE item SET n = n + 1 WHERE id = :id;
\\endif
END
my $transactions = long_test() ? 20000 : 1000;
pgbench_finish(pgbench_start($node,
		[ '-n', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $script ]),
	'writers, readers and merges', $clients * $transactions);
is($now->query($off_by), 0, 'under load: nothing is lost');
is($now->query("SELECT sum(n) - cache_notify.version('item', 't') + cache_notify.version_origin()"
		  . " FROM _cache_notify.version_counter WHERE domain = 'item'"), 0,
	'under load: the index finds what is in the table');
$now->query('SELECT cache_notify.compact()');
is($now->query(q{SELECT count(*) FROM _cache_notify.version_counter WHERE NOT starts_with(domain, 'cache_notify/')}),
	2, 'under load: one row for each key');
is(log_count($node, qr/deadlock detected|could not serialize|division by zero|PANIC|invisible/), 0,
	'no error in the log');
$node->stop;

# -------------------------------------------------------------- the worker

$node = worker_server('worker', 'max_prepared_transactions = 20');
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' FROM generate_series(1, 100) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
$_ = session($node) for $writer, $now;
my $ear = ear($node);
crowd(5);
hears_ok($node, $ear, 'five rows');
is(rows(), 5, 'they are not merged while they are hot');
wait_for('the worker to merge them', sub { rows() == 1 });
is($now->query($off_by), 0, 'the worker: the sum is the same');
hears_ok($node, $ear, 'it still delivers');

done_testing();
