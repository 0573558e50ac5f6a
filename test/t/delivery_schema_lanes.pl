# G6: what the listeners of schema changes are told comes by the lane that is
# configured, whatever happens: worker, with a crash in between or without one to
# be had; prepared transactions; WAL messages; none. pg_dump carries the
# configuration, and restoring it tells nobody anything.
#
# Failure shows as a payload that is missing, too many, or early.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END', allows_streaming => 'logical');
max_prepared_transactions = 20
END
$node->safe_psql('postgres', <<'END');
SELECT cache_notify.setup_schema_invalidation('postgrest');
SELECT cache_notify.setup_schema_invalidation('postgraphile');
CREATE SCHEMA s;
CREATE TABLE s.log (n int);
SELECT cache_notify.setup_table_invalidation('s.log');
END

sub listener
{
	my $s = session($node);
	$s->query('LISTEN pgrst; LISTEN postgraphile_watch');
	return $s;
}

# What comes until something has come on every channel that is named.
sub heard_on
{
	my ($s, @channels) = @_;
	my @heard;

	wait_for('a payload on ' . join(' and ', @channels), sub {
			push @heard, $s->heard;
			return !grep { my $c = $_; !grep { $_->{channel} eq $c } @heard } @channels;
		});
	return map { "$_->{channel}: $_->{payload}" } @heard;
}

# Nothing must come: whatever is on its way comes before the mark.
my $mark = 0;
sub silent_ok
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($s, $name) = @_;
	my @heard;

	$mark++;
	$s->query("LISTEN marks");
	$node->safe_psql('postgres', "SELECT cache_notify.setup_table_invalidation('s.log', channel => 'marks')");
	$node->safe_psql('postgres', 'INSERT INTO s.log VALUES (1)');
	@heard = heard_on($s, 'marks');
	$s->query("UNLISTEN marks");
	return is_deeply([ grep { !/^marks/ } @heard ], [], $name);
}

my $table = '{"type" : "ddl", "payload" : [{"schema" : "s", "command" : "CREATE TABLE"}]}';
my @both = ("pgrst: reload schema", "postgraphile_watch: $table");

# ------------------------------------------------------------------ worker

my $s = listener();
my $pid = $s->query('SELECT pg_backend_pid()');
$node->safe_psql('postgres', 'CREATE TABLE s.a (n int)');
my @heard = heard_on($s, 'pgrst', 'postgraphile_watch');
is_deeply([ sort @heard ], \@both, 'worker lane');
$s->query('CREATE TABLE s.b (n int)');
wait_for('the worker', sub { push @{ $s->{kept} }, $s->heard; @{ $s->{kept} } >= 2 });
ok(!(grep { $_->{pid} == $pid } @{ $s->{kept} }), 'it is the worker that sends');
is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'), 0, 'nothing is owed');
$node->safe_psql('postgres', 'BEGIN; CREATE TABLE s.c (n int); ROLLBACK');
silent_ok($s, 'a rollback is not heard');
$node->safe_psql('postgres', 'CREATE TEMP TABLE c (n int)');
silent_ok($s, 'a temporary table is not heard');

# A payload of almost 8,000 bytes waits in a table, too.
$node->safe_psql('postgres',
	"DO \$\$ BEGIN FOR i IN 1..95 LOOP EXECUTE format('CREATE SCHEMA %I CREATE TABLE t (a int)', repeat('x', 59) || lpad(i::text, 4, '0')); END LOOP; END \$\$");
heard_on($s, 'pgrst', 'postgraphile_watch');
my $drop = 'DROP SCHEMA ' . join(', ', map { sprintf '"%s%04d"', 'x' x 59, $_ } 1 .. 95) . ' CASCADE';
$node->safe_psql('postgres', "SET client_min_messages = error; $drop");
@heard = grep { /^postgraphile/ } heard_on($s, 'pgrst', 'postgraphile_watch');
is(length $heard[0], length('postgraphile_watch: {"type" : "drop", "payload" : []}') + 95 * 67 - 2, 'a long payload');

# The server crashes after the commit, before the worker has sent anything.
my $worker = wait_worker($node);
kill 'STOP', $worker;
$node->safe_psql('postgres', 'CREATE TABLE s.d (n int)');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'), '>=', 2, 'it is owed');
$node->stop('immediate');
$node->start;
$s = listener();
$node->safe_psql('postgres', 'INSERT INTO s.log VALUES (1)');
is_deeply([ sort(heard_on($s, 'pgrst', 'postgraphile_watch')) ], \@both, 'after a crash it comes with the next change');

# ------------------------------------------------------- prepared transactions

for my $lane ('worker', 'commit')
{
	configure($node, 'cache_notify.delivery' => $lane);
	$node->safe_psql('postgres', "BEGIN; CREATE TABLE s.${lane}1 (n int); PREPARE TRANSACTION 'kept'");
	$node->safe_psql('postgres', "BEGIN; CREATE TABLE s.${lane}2 (n int); PREPARE TRANSACTION 'undone'");
	silent_ok($s, "$lane: PREPARE TRANSACTION is not heard");
	$s->quit;
	$node->restart;
	$s = listener();
	$node->safe_psql('postgres', "ROLLBACK PREPARED 'undone'");
	silent_ok($s, "$lane: ROLLBACK PREPARED is not heard");
	$node->safe_psql('postgres', "COMMIT PREPARED 'kept'");
	is_deeply([ sort(heard_on($s, 'pgrst', 'postgraphile_watch')) ], \@both,
		"$lane: COMMIT PREPARED is, after a restart");
}

# ------------------------------------------------------- the commit lane, and none

# A payload so long that it waits in a TOAST table, taken over by a commit that has no
# snapshot of its own.
$node->safe_psql('postgres', <<'END');
SELECT cache_notify.setup_schema_invalidation(channel => 'long',
	payload => (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 240) i));
END
$node->safe_psql('postgres', "BEGIN; CREATE TABLE s.long (n int); PREPARE TRANSACTION 'long'");
my $session = session($node);
$session->query("LISTEN long; COMMIT PREPARED 'long'");
@heard = heard_on($session, 'long');
is(length($heard[0] // ''), length('long: ') + 240 * 32, 'COMMIT PREPARED delivers a payload from a TOAST table');
$session->quit;
heard_on($s, 'pgrst', 'postgraphile_watch');
$node->safe_psql('postgres', "SELECT cache_notify.remove_schema_invalidation(channel => 'long')");

my $writer = session($node);
$writer->query('CREATE TABLE s.e (n int)');
@heard = $s->heard;
is_deeply([ sort map { "$_->{channel}: $_->{payload}" } @heard ], \@both, 'commit lane');
is($heard[0]{pid}, $writer->pid, 'sent by the transaction itself');
configure($node, 'cache_notify.delivery' => 'off');
$node->safe_psql('postgres', 'CREATE TABLE s.f (n int)');
configure($node, 'cache_notify.delivery' => 'commit');
silent_ok($s, 'delivery off');

# ------------------------------------------------------------------------- WAL

$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('slot', 'test_decoding')");
configure($node, 'cache_notify.delivery' => 'wal');
$node->safe_psql('postgres', <<'END');
BEGIN; CREATE TABLE s.g (n int); SAVEPOINT a; DROP TABLE s.e; ROLLBACK TO a; COMMIT;
BEGIN; CREATE TABLE s.h (n int); ROLLBACK;
BEGIN; CREATE TABLE s.i (n int); PREPARE TRANSACTION 'wal';
END
sub decoded
{
	return map { s/^message: transactional: 1 prefix: (\S+), sz: \d+ content:/$1: /r }
	  grep { /^message/ } split /\n/,
	  $node->safe_psql('postgres', "SELECT data FROM pg_logical_slot_get_changes('slot', NULL, NULL)");
}
my @messages = map { "cache_notify:$_" } @both;
is_deeply([ sort grep { !/^cache_notify: / } decoded() ], \@messages, 'WAL messages, one of each for the transaction');
$node->safe_psql('postgres', "COMMIT PREPARED 'wal'");
is_deeply([ sort grep { !/^cache_notify: / } decoded() ], \@messages, 'of a prepared one when it is committed');
configure($node, 'cache_notify.delivery' => 'commit');
silent_ok($s, 'and no notifications');

# ------------------------------------------------------------------------ pg_dump

$node->safe_psql('postgres', <<'END');
SELECT cache_notify.setup_schema_invalidation(channel => 'Lines', payload => 'it''s changed', payload_suffix => E'\n');
SELECT cache_notify.remove_table_invalidation('s.log');
END
my $everything = <<'END';
SELECT * FROM cache_notify.v_schema_invalidation ORDER BY channel;
SELECT evtname, evtevent, evtenabled, evttags FROM pg_event_trigger ORDER BY 1;
END
my $before = $node->safe_psql('postgres', $everything);
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'dump');
for my $jobs (1, 3)
{
	my $db = "restored$jobs";

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	my $ear = session($node, db => $db);
	$ear->query('LISTEN pgrst; LISTEN postgraphile_watch; LISTEN "Lines"');
	$node->command_ok([ 'pg_restore', '-e', '-j', $jobs, '-d', $db, $dump ], "restore with $jobs jobs");
	is($node->safe_psql($db, $everything), $before, 'the same configuration');
	is_deeply([ $ear->heard ], [], 'nobody was told');
	$node->safe_psql($db, 'CREATE TABLE s.new (n int)');
	is_deeply([ sort map { $_->{channel} } $ear->heard ], [ 'pgrst', 'postgraphile_watch' ],
		'the restored database goes on')
	  or diag(explain($ear->heard));
	$ear->quit;
}

# Sessions that apply replicated changes, too.
$s->heard;
$node->safe_psql('postgres', 'SET session_replication_role = replica; CREATE TABLE s.j (n int)');
is_deeply([ sort(heard_on($s, 'pgrst', 'postgraphile_watch')) ], \@both, 'session_replication_role = replica');

$s->quit;
$writer->quit;
$node->stop;
done_testing();
