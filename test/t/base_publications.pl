# G10: state belongs to one server. No publication takes it, made before the extension
# or after, and logical decoding shows it to no output plugin. So subscriptions work
# with the extension on both sides, on one, or on none, and each side has versions of
# its own.
#
# Failure shows as a subscription that cannot be created or whose worker dies, as a
# version that moved on the other side, or as a row of ours in the stream.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = "wal_level = logical\nmax_worker_processes = 20\nmax_replication_slots = 20\nmax_wal_senders = 20\n"
  . "max_logical_replication_workers = 12\nlog_min_messages = log\n";
my $publisher = start_server('publisher', $settings);
my $subscriber = start_server('subscriber', $settings);
my $version = server_version($publisher);

my %publications = (
	all => 'FOR ALL TABLES',
	list => 'FOR TABLE item, other',
	$version >= 15 ? (schema => 'FOR TABLES IN SCHEMA public, shop') : (),
	$version >= 19 ? (sequences => 'FOR ALL TABLES, ALL SEQUENCES', except => 'FOR ALL TABLES EXCEPT (TABLE other)') : ());
my $tables = <<'END';
CREATE SCHEMA shop;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE other (id int PRIMARY KEY);
CREATE SEQUENCE number;
END
my $watch = <<'END';
SELECT cache_notify.setup_table_invalidation('item', fire_on_replica => true);
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page');
SELECT cache_notify.setup_schema_invalidation('postgrest');
END

sub rows { return "INSERT INTO item SELECT i, 't', i FROM generate_series($_[0], $_[1]) AS i;" }

# A deleted, prepared or long payload writes owed_delivery, and TOAST.
my $owe = <<"END";
BEGIN;
ALTER TABLE item ADD COLUMN IF NOT EXISTS x int;
UPDATE item SET n = n + 1;
SELECT cache_notify.invalidate('page');
COMMIT;
END

# One direction with one kind of publication.
sub replicate
{
	my ($kind, $theirs, $ours, $when) = @_;
	my $name = join('_', $kind, $theirs ? 'extension' : 'plain', $ours ? 'extension' : 'plain', $when);
	my $slot = "s_$name";
	my $from = sub { return $publisher->safe_psql($name, $_[0]) };
	my $to = sub { return $subscriber->safe_psql($name, $_[0]) };

	$_->safe_psql('postgres', "CREATE DATABASE $name") for $publisher, $subscriber;
	$from->('CREATE EXTENSION cache_notify') if $theirs && $when eq 'after';
	$from->($tables . 'ALTER TABLE item ADD COLUMN x int;');
	$to->($tables . 'ALTER TABLE item ADD COLUMN x int;');
	$from->("CREATE PUBLICATION p $publications{$kind}");
	$to->('CREATE EXTENSION cache_notify;' . $watch) if $ours;
	$from->('CREATE EXTENSION cache_notify') if $theirs && $when eq 'before';
	# So that versions that are told apart below are not the same by chance.
	$from->($watch . "SELECT cache_notify.invalidate('item', 't');" x 7) if $theirs;
	$from->(rows(1, 100));

	my ($status, $out, $error) = $subscriber->psql($name,
		"CREATE SUBSCRIPTION $slot CONNECTION '" . $publisher->connstr . " dbname=$name' PUBLICATION p");
	is($status, 0, "$name: subscribed") or return diag($error);
	$subscriber->wait_for_subscription_sync($publisher, $slot, $name)
	  if $subscriber->can('wait_for_subscription_sync');
	$subscriber->poll_query_until($name, 'SELECT count(*) = 100 FROM item') or return fail("$name: synchronized");
	my $before = $ours ? $to->("SELECT cache_notify.version('item', 't')") : 0;
	for (1 .. 5)
	{
		$from->(rows($_ * 1000, $_ * 1000 + 9));
		$from->($owe) if $theirs;
	}
	$publisher->wait_for_catchup($slot);
	is($to->('SELECT count(*), sum(n) FROM item'), $from->('SELECT count(*), sum(n) FROM item'), "$name: replicated");
	is( $from->("SELECT count(*) FROM pg_publication_tables WHERE schemaname IN ('cache_notify', '_cache_notify')"),
		0, "$name: nothing of ours is published");
	if ($version >= 19)
	{
		is( $from->("SELECT count(*) FROM pg_publication_sequences WHERE schemaname IN ('cache_notify', '_cache_notify')"),
			0, "$name: no sequence of ours either");
	}
	if ($kind eq 'sequences')
	{
		$from->("SELECT setval('number', 77)");
		$to->("ALTER SUBSCRIPTION $slot REFRESH SEQUENCES");
		$subscriber->poll_query_until($name, 'SELECT last_value = 77 FROM number');
		is($to->('SELECT last_value FROM number'), 77, "$name: sequences are copied");
	}
	if ($theirs && $ours)
	{
		isnt($to->("SELECT cache_notify.version('item', 't')"),
			$from->("SELECT cache_notify.version('item', 't')"), "$name: versions of its own");
	}
	if ($ours)
	{
		cmp_ok($to->("SELECT cache_notify.version('item', 't')"), '>', $before, "$name: what was applied counts");
		is($to->('SELECT count(*) FROM cache_notify.cascade_rules'), 1, "$name: rules of its own");
	}
	is($to->("SELECT count(*) FROM pg_stat_subscription WHERE subname = '$slot' AND pid IS NOT NULL"), 1,
		"$name: the worker lives");
	$to->("DROP SUBSCRIPTION $slot");
	return;
}

for my $kind (sort keys %publications)
{
	replicate($kind, 1, 1, 'after');
	replicate($kind, 1, 0, 'after');
	replicate($kind, 0, 1, 'after');
	replicate($kind, 0, 0, 'after');
}
replicate('all', 1, 1, 'before');
replicate('all', 1, 0, 'before');

# Nobody can publish it by name.
for my $relation (qw(_cache_notify.version_counter _cache_notify.history _cache_notify.owed_delivery cache_notify.cascade_rules))
{
	my ($status, $out, $error) = $publisher->psql('postgres', "CREATE PUBLICATION ours FOR TABLE $relation");
	isnt($status, 0, "$relation cannot be published");
}
is($publisher->safe_psql('postgres', <<'END'), '', 'no relation of ours can be published');
SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('cache_notify', '_cache_notify') AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
END

# ---------------------------------------------------------------- output plugins

sub decoded
{
	my ($what) = @_;
	my $changes = $publisher->safe_psql('postgres',
		"SELECT data FROM pg_logical_slot_get_changes('look', NULL, NULL, 'include-xids', '0')");

	like($changes, qr/table public\.item: UPDATE/, "$what: other changes are decoded");
	unlike($changes, qr/_?cache_notify/, "$what: nothing of ours");
	return;
}

$publisher->safe_psql('postgres', $tables . $watch . rows(1, 10));
$publisher->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('look', 'test_decoding')");
my $long = 'x' x 7900;
$publisher->safe_psql('postgres', "SELECT cache_notify.setup_schema_invalidation(channel => 'long', payload => '$long')");
my $write = $owe . <<"END" . "DELETE FROM item WHERE id = 1; UPDATE item SET n = 0;";
BEGIN;
CREATE TABLE made (i int);
UPDATE item SET n = n + 1;
PREPARE TRANSACTION 'gone';
END
$publisher->safe_psql('postgres', $write =~ s/PREPARE.*?;/COMMIT;/r);
decoded('decoding');
$publisher->safe_psql('postgres', 'SELECT cache_notify.compact(); SELECT cache_notify.new_history(); UPDATE item SET n = 3');
decoded('after compact() and a new history');
for my $command ('VACUUM FULL _cache_notify.version_counter', 'CLUSTER _cache_notify.version_counter USING version_counter_key',
	'VACUUM FULL _cache_notify.owed_delivery', 'REINDEX TABLE _cache_notify.version_counter')
{
	$publisher->safe_psql('postgres', "$command; UPDATE item SET n = n + 1;");
	decoded($command);
}
# Everything that pgoutput can be asked for, of a transaction that is streamed while it
# runs, with savepoints, and of one that is prepared.
my %protocols = (
	1 => q('binary', 'false'),
	2 => q('streaming', 'on', 'binary', 'true', 'messages', 'true'),
	$version >= 15 ? (3 => q('streaming', 'on', 'two_phase', 'on', 'messages', 'true')) : (),
	$version >= 16 ? (4 => q('streaming', 'parallel', 'two_phase', 'on', 'origin', 'any', 'binary', 'true')) : ());

$publisher->safe_psql('postgres', "SELECT pg_drop_replication_slot('look'); CREATE PUBLICATION everything FOR ALL TABLES;"
	  . 'CREATE TABLE wide AS SELECT i, repeat(md5(i::text), 20) AS t FROM generate_series(1, 2000) AS i;'
	  . q(ALTER TABLE wide REPLICA IDENTITY FULL; SELECT cache_notify.setup_table_invalidation('wide');));
for my $protocol (sort keys %protocols)
{
	my $two_phase = $protocols{$protocol} =~ /two_phase/;
	my $slot = "pgoutput_$protocol";
	my $get = sub {
		# Names are in the clear, each with a zero byte at its end.
		return join '', split /\n/, $publisher->safe_psql('postgres', <<"END");
SET logical_decoding_work_mem = '64kB';
SELECT encode(data, 'escape') FROM pg_logical_slot_get_binary_changes('$slot', NULL, NULL,
	'proto_version', '$protocol', 'publication_names', 'everything', $protocols{$protocol})
END
	};
	my $create = $two_phase ? "'$slot', 'pgoutput', false, true" : "'$slot', 'pgoutput'";
	$publisher->safe_psql('postgres', "SELECT pg_create_logical_replication_slot($create)");
	my $writer = session($publisher);
	$writer->query('BEGIN; UPDATE wide SET i = i + 1');
	$writer->query('SAVEPOINT s; UPDATE wide SET i = i + 1; UPDATE item SET n = n + 1; ROLLBACK TO s');
	$writer->query("UPDATE wide SET t = t || 'x'; SELECT cache_notify.invalidate('page')");
	# Only what is on disk is decoded, and nobody's commit has flushed this so far.
	$publisher->safe_psql('postgres', "SELECT pg_logical_emit_message(true, 'flush', '')");
	my $stream = $get->();
	$writer->query('SELECT cache_notify.compact(); COMMIT; UPDATE item SET n = n + 1; ALTER TABLE item ADD COLUMN IF NOT EXISTS y int');
	$writer->query("BEGIN; UPDATE item SET n = n + 1; PREPARE TRANSACTION 'two'");
	my $rest = $get->();
	$writer->query("COMMIT PREPARED 'two'; SELECT cache_notify.new_history(); UPDATE item SET n = n + 1");
	$rest .= $get->();
	like($stream, qr/public\\000wide\\000/, "pgoutput, protocol $protocol: streams while it runs") if $protocol > 1;
	like($rest, qr/public\\000item\\000/, "pgoutput, protocol $protocol: other changes are sent");
	unlike($stream . $rest, qr/cache_notify\\000|version_counter|owed_delivery|history/, "pgoutput, protocol $protocol: nothing of ours");
	$publisher->safe_psql('postgres', "SELECT pg_drop_replication_slot('$slot')");
}

$publisher->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('look', 'test_decoding')");
# pg_upgrade does not carry what hides it.
$publisher->safe_psql('postgres', 'SET allow_system_table_mods = on; UPDATE pg_class SET relrewrite = 0 WHERE relrewrite <> 0;');
$publisher->safe_psql('postgres', 'SELECT cache_notify.repair(); UPDATE item SET n = n + 1');
decoded('after repair()');

done_testing();
