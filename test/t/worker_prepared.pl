# G6: two-phase commit in the worker and WAL lanes (delivery_prepared has the commit lane). What
# a prepared transaction changed is delivered after COMMIT PREPARED, from whatever
# session, also with a restart in between, exactly, and with nobody else writing;
# nothing is delivered before that or after ROLLBACK PREPARED.
#
# Failure shows as a payload too early, or never, or as a wrong version.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END', allows_streaming => 'logical');
max_prepared_transactions = 20
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i % 5 FROM generate_series(0, 19) AS i;
SELECT cache_notify.setup_table_invalidation('item');
CREATE TABLE mark (id int);
SELECT cache_notify.setup_table_invalidation('mark');
SELECT 'slot' FROM pg_create_logical_replication_slot('slot', 'test_decoding');
END

sub prepare
{
	my ($name) = @_;

	# A session of its own, which then is gone.
	$node->safe_psql('postgres', <<"END");
BEGIN;
UPDATE item SET n = n + 1 WHERE id < 10;
SAVEPOINT s;
SELECT cache_notify.invalidate('never');
ROLLBACK TO s;
UPDATE item SET n = n + 1 WHERE id = 0;
PREPARE TRANSACTION '$name';
END
	return;
}

sub decoded
{
	return grep { /prefix: cache_notify/ && !/"domain": "mark"/ } split /\n/,
	  $node->safe_psql('postgres', "SELECT data FROM pg_logical_slot_get_changes('slot', NULL, NULL)");
}

# How many belong to the transaction that came last; after a crash a slot repeats
# what was read from it.
sub of_last_transaction
{
	my @xids = map { /"xid": (\d+)/ } @_;
	return scalar grep { $_ == $xids[-1] } @xids;
}

# Nothing must come: what would, comes before a change that was made later.
sub silent_ok
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($ear, $name) = @_;
	my @heard;

	$node->safe_psql('postgres', 'INSERT INTO mark VALUES (1)');
	wait_for('the later change', sub { push @heard, $ear->listen; grep { /"domain": "mark"/ } @heard });
	is_deeply([ grep { !/"domain": "mark"/ } @heard ], [], $name);
	return;
}

for my $lanes ('worker', 'commit', 'worker, wal')
{
	# The server starts in this lane, so that no other one helps out.
	$node->append_conf('postgresql.conf', "cache_notify.delivery = '$lanes'");
	$node->restart;
	my $ear = ear($node);
	my $wal = $lanes =~ /wal/;
	decoded();

	prepare('one');
	silent_ok($ear, "$lanes: prepared: silence");
	is(scalar decoded(), 0, "$lanes: nor in the WAL") if $wal;
	$node->safe_psql('postgres', "COMMIT PREPARED 'one'");
	my $keys = $node->safe_psql('postgres', "SELECT string_agg(DISTINCT 'item/' || tenant_id, ' ') FROM item");
	hears_ok($node, $ear, "$lanes: COMMIT PREPARED delivers");
	is(join(' ', grep { $_ ne 'mark/*' } sort keys %{ $ear->{last} }), $keys, "$lanes: every key, and no other");
	if ($wal)
	{
		my @messages = decoded();
		is(scalar @messages, 5, "$lanes: five messages in the WAL")
		  or diag(@messages);
	}

	prepare('two');
	$node->safe_psql('postgres', "ROLLBACK PREPARED 'two'");
	$ear->listen;
	silent_ok($ear, "$lanes: ROLLBACK PREPARED: silence");
	is(scalar decoded(), 0, "$lanes: nor in the WAL") if $wal;

	for my $mode ('fast', 'immediate')
	{
		prepare('three');
		$node->stop($mode);
		$node->start;
		$ear = ear($node);
		silent_ok($ear, "$lanes: a restart ($mode) alone delivers nothing");
		$node->safe_psql('postgres', "COMMIT PREPARED 'three'");
		my $until = time() + 30;
		my $all = sub { (grep { $ear->{last}{"item/t$_"} } 0 .. 4) == 5 };
		$ear->listen until $all->() || time() > $until;
		ok($all->(), "$lanes: COMMIT PREPARED after a restart ($mode) delivers");
		hears_ok($node, $ear, "$lanes: the exact versions");
		is(of_last_transaction(decoded()), 5, "$lanes: and in the WAL") if $wal;
		is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'), 0,
			"$lanes: nothing is owed any more");
	}

	# Many of them, from several sessions, with ordinary ones in between.
	my $script = write_script($node, 'prepared', <<'END');
\set id random(0, 4) * 4 + :client_id
\set end random(1, 3)
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :id;
PREPARE TRANSACTION 'c:client_id';
\if :end = 1
ROLLBACK PREPARED 'c:client_id';
\else
COMMIT PREPARED 'c:client_id';
\endif
UPDATE item SET n = n + 1 WHERE id = :id;
END
	# pgbench puts no variable into quotes: one script for each client.
	my @scripts;
	for my $client (0 .. 3)
	{
		open my $in, '<', $script or die;
		my $text = join '', <$in>;
		close $in;
		$text =~ s/:client_id/$client/g;
		push @scripts, write_script($node, "prepared$client", $text);
	}
	my @loads = map { pgbench_start($node, [ '-c', 1, '-t', 100, '-f', $_ ]) } @scripts;
	pgbench_finish($_, "$lanes: many", 100) for @loads;
	hears_ok($node, $ear, "$lanes: many prepared transactions: exact");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'), 0,
		"$lanes: nothing is owed any more");
	decoded();
}

# The WAL lane alone owes nothing: its message was prepared with the transaction.
$node->append_conf('postgresql.conf', "cache_notify.delivery = 'wal'");
$node->restart;
decoded();
prepare('four');
is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'), 0, 'wal: owes nothing');
is(scalar decoded(), 0, 'wal: prepared: nothing');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', "COMMIT PREPARED 'four'");
is(of_last_transaction(decoded()), 5, 'wal: COMMIT PREPARED after a restart: there they are');
prepare('five');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'five'");
is(scalar decoded(), 0, 'wal: ROLLBACK PREPARED: nothing');

done_testing();
