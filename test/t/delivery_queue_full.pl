# G5, G6: a listener that has stopped reading fills the notification queue. No
# write of a watched table fails or waits; when there is room again, listeners
# are told to drop everything, as single changes have got lost. Plain pg_notify()
# fails at that point, which shows that the queue is really full.
#
# Failure shows as an error of a writer, or as a reset that never comes.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', 'max_prepared_transactions = 20');

# Before 17 the queue always has 8 GB.
plan skip_all => 'the queue can be made small from PostgreSQL 17 on'
  if server_version($node) < 17;

# 64 pages is the least there is.
$node->append_conf('postgresql.conf', 'max_notify_queue_pages = 64');
$node->restart;

my $clients = 8;
$node->safe_psql('postgres', <<'END');
CREATE TABLE contract (client int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO contract SELECT i, repeat('t' || i, 40) FROM generate_series(0, 31) AS i;
CREATE TABLE price (n int);
INSERT INTO price VALUES (0);
SELECT cache_notify.setup_table_invalidation('contract');
SELECT cache_notify.setup_table_invalidation('price', channel => 'prices');
SELECT cache_notify.setup_schema_invalidation('postgrest');
CREATE DATABASE elsewhere;
END

my $listener = session($node);
$listener->query('LISTEN cache_invalidation; LISTEN prices; LISTEN pgrst');
my $writer = session($node, options => '-c statement_timeout=60s');
my $usage = 'SELECT pg_notification_queue_usage()';

# The one who stops reading: in a transaction, it takes nothing off the queue.
my $stuck = session($node);
$stuck->query('LISTEN cache_invalidation');
$stuck->query('BEGIN');

my $count = 'SELECT sum(n) FROM contract';
my $script = write_script($node, 'write', <<'END');
UPDATE contract SET n = n + 1 WHERE client = :client_id;
END

# ---------------------------------------------------- fill it, and go on writing

my $rounds = 0;
my $full = wait_for('the queue to be full', sub {
		my $load = pgbench_start($node, [ '-c', $clients, '-j', 2, '-t', 500, '-f', $script ]);
		pgbench_finish($load, 'round ' . ++$rounds . ' of writers', $clients * 500);
		return $node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery') > 0
		  || $rounds >= 40;
	});
is($node->safe_psql('postgres', 'SELECT count(*), count(domain) FROM _cache_notify.owed_delivery'),
	'1|0', 'one reset is owed');
cmp_ok($writer->query($usage), '>', 0.9, 'the queue is nearly full');
cmp_ok($writer->query($usage), '<', 1, 'but others have room');

# Now others fill the rest, until NOTIFY fails.
my $error = '';
for (1 .. 1000)
{
	$error = $writer->error("SELECT pg_notify('other', repeat('x', 7000) || $_)");
	last if $error;
}
like($error, qr/too many notifications in the NOTIFY queue/, 'control: pg_notify() fails');
$error = $writer->error("SELECT pg_notify('other', repeat('x', 7000))");
like($error, qr/too many notifications/, 'control: and goes on failing');

for my $statement ('UPDATE contract SET n = n + 1 WHERE client = 0',
	'UPDATE price SET n = n + 1', "SELECT cache_notify.invalidate('contract')",
	'BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE contract SET n = n + 1 WHERE client = 1; COMMIT',
	'BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE price SET n = n + 1; SAVEPOINT s; UPDATE price SET n = n + 1; COMMIT',
	'CREATE TABLE while_full (n int)', 'ALTER TABLE while_full ADD a int',
	"BEGIN; UPDATE price SET n = n + 1; PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'")
{
	is($writer->error($statement), '', "written with a full queue: $statement");
}
my $load = pgbench_start($node, [ '-c', $clients, '-j', 2, '-t', 100, '-f', $script ]);
pgbench_finish($load, 'writers with a full queue', $clients * 100);
is($node->safe_psql('postgres', 'SELECT count(*), count(channel) FROM _cache_notify.owed_delivery WHERE domain IS NULL'),
	'2|1', 'still only one reset is owed, and one message');

# In the order of commits, so far without a gap, and no reset.
my @heard = $listener->payloads;
cmp_ok(scalar @heard, '>', 1000, 'the listener that reads has heard what fitted');

# ------------------------------------------------------------- room once more

$stuck->query('COMMIT');
$stuck->heard;
wait_for('room in the queue', sub {
		# A notification from elsewhere makes the listeners advance the tail.
		$listener->query('SELECT 1');
		$stuck->query('SELECT 1');
		$writer->error("SELECT pg_notify('other', 'x')");
		return $writer->query($usage) < 0.5;
	});
$listener->heard;
$writer->query('UPDATE price SET n = n + 1');
is_deeply(
	[ sort map { "$_->{channel}: $_->{payload}" } $listener->heard ],
	[ 'cache_invalidation: {"reset": true}', 'pgrst: reload schema', 'prices: {"reset": true}' ],
	'when there is room again, a reset on every channel, and what no reset stands for');
is_deeply([ $stuck->payloads ], ['{"reset": true}'], 'also for who had stopped reading');
is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'),
	0, 'and nothing is owed');

$writer->query('UPDATE price SET n = n + 1');
my $n = $node->safe_psql('postgres', 'SELECT n FROM price');
is_deeply([ $listener->payloads ],
	[qq({"tenant_id": null, "domain": "price", "version": $n})],
	'afterwards single payloads again, with versions that missed nothing');

my $total = $node->safe_psql('postgres',
	"SELECT sum(n) FROM _cache_notify.version_counter WHERE domain = 'contract'");
is($total, $node->safe_psql('postgres', $count) + 1, 'no bump was lost');

# ------------------------------------------------- the stopped one goes for good

# 19 lets a listener skip what it does not listen to, so let it listen to all.
$stuck->query('LISTEN other');
$stuck->query('BEGIN');
for (1 .. 1000)
{
	$error = $writer->error("SELECT pg_notify('other', repeat('x', 7000) || $_)");
	last if $error;
}
like($error, qr/too many notifications/, 'control: full again');
$writer->query('UPDATE price SET n = n + 1');
$stuck->quit;
wait_for('room in the queue', sub {
		$listener->query('SELECT 1');
		$writer->error("SELECT pg_notify('other', 'x')");
		return $writer->query($usage) < 0.5;
	});
$listener->heard;
$writer->query('UPDATE contract SET n = n + 1 WHERE client = 0');
is_deeply([ map { $_->{payload} } $listener->heard ], [ ('{"reset": true}') x 2 ],
	'also when it disconnects');

done_testing();
