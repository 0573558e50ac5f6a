# A crash: with durable commits nothing changes for anybody; commits with
# synchronous_commit = off may be lost, and then nothing of before is current.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What is not flushed by a commit stays in memory.
my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->append_conf(
	'postgresql.conf', qq(
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
autovacuum = off
bgwriter_lru_maxpages = 0
));
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cache_notify');

sub ask
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = cache_notify, _cache_notify; $sql");
}

sub crash
{
	$node->stop('immediate');
	$node->start;
}

# ------------------------------------------------------------ durable commits

ask("SELECT invalidate('a', 't')") for 1 .. 3;
my $token = ask("SELECT token('t', 'a')");
my $position = ask('SELECT current_position()');
crash();
is(ask("SELECT version('a', 't'), version_origin()"),
	'3|0', 'after a crash versions go on counting');
is(ask("SELECT is_current('$token')"), 't', 'tokens stay current');
is(ask("SELECT * FROM changes_since('$position')"), '', 'nothing has changed');
$node->restart;
is(ask("SELECT is_current('$token'), version_origin()"),
	't|0', 'so after a restart');

# A transaction id that was in use at the position, but never reached the
# disk, is given to another transaction after the crash.
my $lost = $node->safe_psql('postgres',
	'BEGIN; SELECT pg_current_xact_id(); ROLLBACK');
$position = ask('SELECT current_position()');
crash();
ask("SELECT invalidate('a', 't')");
is(ask("SELECT domain, version FROM changes_since('$position')"),
	'a|4', 'a position holds over a crash');
$position = ask('SELECT current_position()');
$node->safe_psql('postgres', 'BEGIN; SELECT pg_current_xact_id(); ROLLBACK')
  for 1 .. 20;
crash();
ask("SELECT invalidate('a', 't')");
is(ask("SELECT domain, version FROM changes_since('$position')"),
	'a|5', 'and over the next');

# ----------------------------------------------------------- commits in memory

my %state_of;
my $highest = 0;
my @tokens;

# What somebody sees: the token and the version of a state.
sub see
{
	my ($state) = @_;
	my $version = ask("SELECT version('a', 't')");

	cmp_ok($version, '>=', $highest, "$state: version does not go backwards");
	is($state_of{$version} // $state, $state, "$state: version means one state");
	$state_of{$version} = $state;
	$highest = $version if $version > $highest;
	push @tokens, ask("SELECT token('t', 'a')");
}

sub bump_in_memory
{
	ask("SET synchronous_commit = off; SELECT invalidate('a', 't')");
}

ask('CREATE TABLE number_of_changes AS SELECT 0 AS n');
see('durable');
for my $round (1 .. 3)
{
	my $before = ask("SELECT version('a', 't')");
	for my $i (1 .. 3)
	{
		bump_in_memory();
		see("round $round, change $i");
	}
	crash();
	my $lost = ask('SELECT count(*) FROM history WHERE asynchronous') == 0;
	is($lost, '', "round $round: that a crash may lose commits was on disk");
	is(ask("SELECT cardinality(stale('{" . join(',', @tokens) . "}'))"),
		scalar(@tokens), "round $round: no token from before is current");
	see("round $round, after the crash");
	is( ask('SELECT coalesce(domain, \'reset\') FROM changes_since(\'' . $position . "')"),
		'reset', "round $round: positions from before tell to drop everything");
	$position = ask('SELECT current_position()');
}

# A clean restart loses nothing, and nobody is alarmed.
bump_in_memory();
$token = ask("SELECT token('t', 'a')");
$node->restart;
is(ask("SELECT is_current('$token')"), 't', 'a clean restart is not a crash');

# Many changes in memory cost one note.
my $rows = ask('SELECT count(*) FROM history');
bump_in_memory() for 1 .. 3;
is(ask('SELECT count(*) FROM history'), $rows, 'noted once');

# The server itself may crash and come back by itself.
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->reload;
bump_in_memory();
$token = ask("SELECT token('t', 'a')");
my $pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
kill 'KILL', $pid;
ok( $node->poll_query_until(
		'postgres',
		"SELECT cache_notify.is_current('$token') = false"),
	'tokens are stale after a crash of one process');

done_testing();
