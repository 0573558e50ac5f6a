# Keys: a key's version moves whenever a row of it changes, by a concurrent, a
# prepared or an applied transaction, however the number of buckets is changed
# meanwhile; on a standby, and in a database restored from a dump.
#
# Failure shows as a key whose version is not the number of committed changes
# of its rows, a version that goes backwards, a token that stays current, or a
# statement that runs into its timeout because another transaction holds a key.
use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', <<'END', allows_streaming => 'logical');
max_prepared_transactions = 20
END
my $timeout = '-c statement_timeout=120s';
my $keys = 50;
my $clients = 8;
my $each = long_test() ? 5000 : 150;

sub ask { return $_[1]->safe_psql('postgres', $_[0]) if @_ > 1; return $node->safe_psql('postgres', $_[0]); }

ask(<<"END");
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, changes int DEFAULT 0);
CREATE TABLE other (item int, n int);
SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', buckets => 1048576);
SELECT cache_notify.setup_table_invalidation('item', 'coarse', keys => '{id}', buckets => 16);
INSERT INTO item SELECT i, CASE WHEN i % 2 = 0 THEN 't' END FROM generate_series(1, $keys) i;
END

# ------------------------------------------------------------- concurrency

# One statement, few of so many buckets: each key moved once.
my $before = ask("SELECT cache_notify.version('item/1', 't')");
my $domain = ask("SELECT cache_notify.version('item', 't')");
my %script = (
	single => "UPDATE item SET changes = changes + 1 WHERE id = :id;\n",
	twice => "BEGIN; UPDATE item SET changes = changes + 1 WHERE id = :id;"
	  . " UPDATE item SET changes = changes + 1 WHERE id = :id; COMMIT;\n",
	savepoint => "BEGIN; SAVEPOINT s; UPDATE item SET changes = changes + 1 WHERE id = :id; ROLLBACK TO s;"
	  . " UPDATE item SET changes = changes + 1 WHERE id = :id; COMMIT;\n",
	rollback => "BEGIN; UPDATE item SET changes = changes + 1 WHERE id = :id; ROLLBACK;\n");
my $load = pgbench_start($node, [ '-c', $clients, '-j', 2, '-t', $each,
		map { ('-f', write_script($node, $_, "\\set id random(1, $keys)\n$script{$_}")) } sort keys %script ],
	{ PGOPTIONS => $timeout });
pgbench_finish($load, 'changes of random keys', $clients * $each);

# So many buckets that no two of these keys share one.
my $wrong = "SELECT string_agg(format('%s: %s, %s changes', id, v, changes), '; ') FROM ("
  . " SELECT id, changes, cache_notify.version('item/' || id, 't') - $before AS v FROM item) AS i";
is(ask("$wrong WHERE v <> changes"), '', 'each key has moved as often as its row was changed');
is(ask("SELECT cache_notify.version('item', 't') - $domain"), ask('SELECT sum(changes) FROM item'),
	'and the domain as often as all');
is(ask("SELECT count(*) FROM item WHERE cache_notify.version('coarse/' || id, 't') - $before < changes"),
	0, 'with few buckets, a key at least as often');
cmp_ok(ask("SELECT count(DISTINCT domain) FROM _cache_notify.version_counter WHERE domain LIKE '%/coarse'"),
	'<=', 16, 'there are no more counters than buckets');
is(log_count($node, qr/deadlock detected|could not serialize|ERROR/), 0, 'no error in the log');

# --------------------------------------------------- prepared transactions

my $token = ask("SELECT cache_notify.token('t', 'item/2')");
my $spared = ask("SELECT cache_notify.token('t', 'item/4')");
ask("BEGIN; UPDATE item SET changes = changes + 1 WHERE id = 2; PREPARE TRANSACTION 'p'");
is(ask("SELECT cache_notify.is_current('$token')"), 't', 'prepared: nothing has changed yet');
my $session = session($node, options => $timeout);
$session->query("SELECT cache_notify.invalidate('item/2', 't')");
ok(1, 'another transaction does not wait for the key');
$token = ask("SELECT cache_notify.token('t', 'item/2')");
$node->restart;
ask("COMMIT PREPARED 'p'");
is(ask("SELECT cache_notify.is_current('$token'), cache_notify.is_current('$spared')"), 'f|t',
	'COMMIT PREPARED moves the key and no other');

# ------------------------------------------------- another number of buckets

$session = session($node, options => $timeout);
my $old = session($node, options => $timeout);
is($old->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT cache_notify.version('item/2', 't') > 0"),
	't', 'a session with an old snapshot');
my ($at_first, $last) = map { ask("SELECT cache_notify.version('item/4', 't')") } 1, 2;
my $backwards = 0;
for my $buckets (1024, 64, 1024, 1048576)
{
	my $before = ask("SELECT cache_notify.token('t', 'item/4')");
	$session->query("SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', buckets => $buckets)");
	my $after = ask("SELECT cache_notify.token('t', 'item/4')");
	is(ask("SELECT cache_notify.is_current('$before')"), 'f', "$buckets buckets: tokens from before are stale");
	ask("UPDATE item SET changes = changes + 1 WHERE id = 4");
	is(ask("SELECT cache_notify.is_current('$after')"), 'f', "$buckets buckets: so are new ones after a change");
	my $version = ask("SELECT cache_notify.version('item/4', 't')");
	$backwards++ if $version <= $last;
	$last = $version;
	is($old->query("SELECT cache_notify.is_current('$after')"), 'f', "$buckets buckets: nor for an old snapshot");
}
is($backwards, 0, 'the version only goes forward');
$old->query('COMMIT');
is($session->query("SELECT cache_notify.version('item/4', 't')"), $last, 'sessions agree');

# -------------------------------------------------- keys that are carried on

ask(<<'END');
CREATE TABLE summary (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('summary', keys => '{id}', fields => '{keys}');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, keys) VALUES ('item', 'summary', 'same');
END
# The target changes its buckets while a change of the source is under way.
$token = ask("SELECT cache_notify.token('t', 'summary/2')");
$session->query('BEGIN; UPDATE item SET changes = changes + 1 WHERE id = 2');
ask("SELECT cache_notify.setup_table_invalidation('summary', keys => '{id}', buckets => 16, fields => '{keys}')");
$token = ask("SELECT cache_notify.token('t', 'summary/2')");
$session->query('COMMIT');
is(ask("SELECT cache_notify.is_current('$token')"), 'f', 'a change in the old buckets reaches keys in the new ones');
# A table without keys begins to feed the domain, and is written meanwhile.
$session->query('BEGIN; INSERT INTO other VALUES (2, 1)');
$session->send("SELECT cache_notify.setup_table_invalidation('other', 'summary'); COMMIT");
$session->result;
$token = ask("SELECT cache_notify.token('t', 'summary/2')");
ask('INSERT INTO other VALUES (3, 1)');
is(ask("SELECT cache_notify.is_current('$token')"), 'f', 'a table without keys reaches every key');

# ----------------------------------------------------------------- standby

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
my $reader = session($standby);
$node->wait_for_catchup($standby);
is($reader->query("SELECT cache_notify.token('t', 'item/2')"), ask("SELECT cache_notify.token('t', 'item/2')"),
	'a standby gives the same token');
$spared = ask("SELECT cache_notify.token('t', 'item/6')");
ask('UPDATE item SET changes = changes + 1 WHERE id = 2');
$node->wait_for_catchup($standby);
is($reader->query("SELECT cache_notify.version('item/2', 't')"), ask("SELECT cache_notify.version('item/2', 't')"),
	'and the same version');
is($reader->query("SELECT cache_notify.is_current('$spared')"), 't', 'tokens of the primary are current there');
ask("SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', buckets => 256)");
ask('UPDATE item SET changes = changes + 1 WHERE id = 2');
$node->wait_for_catchup($standby);
is($reader->query("SELECT cache_notify.is_current('$spared')"), 'f', 'until the buckets change');
is($reader->query("SELECT cache_notify.token('t', 'item/2')"), ask("SELECT cache_notify.token('t', 'item/2')"),
	'which the standby knows');
$standby->stop;

# -------------------------------------------------------- logical replication

ask("CREATE PUBLICATION p FOR TABLE item");
my $subscriber = start_server('subscriber');
ask(<<'END', $subscriber);
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, changes int DEFAULT 0);
SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', fire_on_replica => true);
END
my $connection = $node->connstr . ' dbname=postgres';
ask("CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p", $subscriber);
wait_for('the first copy', sub {
	ask("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel", $subscriber) eq 't' });
$node->wait_for_catchup('s');
my @tokens = map { ask("SELECT cache_notify.token('t', 'item/$_')", $subscriber) } 2, 4;
ask('UPDATE item SET changes = changes + 1 WHERE id = 2');
$node->wait_for_catchup('s');
is(ask("SELECT cache_notify.is_current('$tokens[0]'), cache_notify.is_current('$tokens[1]')", $subscriber),
	'f|t', 'what replication applies moves its keys');

ask('DROP SUBSCRIPTION s', $subscriber);

# --------------------------------------------------------------------- dump

my $dump = $node->basedir . '/dump';
my $versions = "SELECT string_agg(cache_notify.version('item/' || id, 't')::text, ' ' ORDER BY id) FROM item";
my @old = split / /, ask($versions);
$token = ask("SELECT cache_notify.token('t', 'item/2')");
$node->command_ok([ 'pg_dump', '-Fp', '-f', $dump, '--no-publications', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ], 'restore');
my @new = split / /, $node->safe_psql('copy', $versions);
is(scalar(grep { $new[$_] <= $old[$_] } 0 .. $#old), 0, 'after a restore versions are higher');
is($node->safe_psql('copy', "SELECT cache_notify.is_current('$token')"), 'f', 'and tokens stale');
@tokens = map { $node->safe_psql('copy', "SELECT cache_notify.token('t', 'item/$_')") } 2, 4;
$node->safe_psql('copy', 'UPDATE item SET changes = changes + 1 WHERE id = 2');
is($node->safe_psql('copy', "SELECT cache_notify.is_current('$tokens[0]'), cache_notify.is_current('$tokens[1]')"),
	'f|t', 'keys are kept');

done_testing();
