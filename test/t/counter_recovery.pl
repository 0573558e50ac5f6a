# One backup, recovered more than once to different points in time: no two of
# the databases have a token or a version in common that means two states.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('origin');
$node->init(has_archiving => 1, allows_streaming => 1);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cache_notify');

my %state_of;
my %tokens;

sub ask
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = cache_notify, _cache_notify; $sql");
}

# The token and version of a state, which nobody else may have.
sub see
{
	my ($node, $state) = @_;
	my $version = ask($node, "SELECT version('a', 't')");
	my $token = ask($node, "SELECT token('t', 'a')");

	is($state_of{$version} // $state, $state, "version of: $state");
	is($tokens{$token} // $state, $state, "token of: $state");
	$state_of{$version} = $state;
	$tokens{$token} = $state;
	is( ask($node, "SELECT is_current('$token')"), 't', "current: $state");
	return $version;
}

sub bump
{
	ask($_[0], "SELECT invalidate('a', 't')");
}

bump($node);
$node->backup('backup');
my $highest;
for my $i (1 .. 4)
{
	bump($node);
	$highest = see($node, "original, change $i");
	$node->safe_psql('postgres', "SELECT pg_create_restore_point('point $i')");
}
my $position = ask($node, 'SELECT current_position()');
my $file = $node->safe_psql('postgres',
	'SELECT pg_walfile_name(pg_current_wal_lsn())');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
ok( $node->poll_query_until(
		'postgres',
		"SELECT last_archived_wal >= '$file' FROM pg_stat_archiver"),
	'archived');
$node->stop;

sub recover
{
	my ($name, $point) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);

	$copy->init_from_backup($node, 'backup', has_restoring => 1);
	$copy->append_conf(
		'postgresql.conf', qq(
recovery_target_name = '$point'
recovery_target_action = promote
archive_mode = off
));
	$copy->start;
	$copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	return $copy;
}

for my $try (
	[ 'first', 'point 2', 2 ],
	[ 'second', 'point 3', 3 ],
	[ 'third', 'point 2', 2 ],
	[ 'fourth', 'point 4', 4 ])
{
	my ($name, $point, $changes) = @$try;
	my $copy = recover($name, $point);

	is($copy->safe_psql('postgres', 'SELECT timeline_id FROM pg_control_checkpoint()'),
		2, "$name: a timeline number that the others have as well")
	  if $copy->safe_psql('postgres', 'CHECKPOINT') eq '';
	is( ask($copy, "SELECT cardinality(stale('{" . join(',', keys %tokens) . "}'))"),
		scalar(keys %tokens),
		"$name: no token of the original or of another copy is current");
	is( ask($copy, "SELECT coalesce(domain, 'reset') FROM changes_since('$position')"),
		'reset', "$name: drop everything");
	cmp_ok(ask($copy, "SELECT version('a', 't')"), '>', $highest,
		"$name: version goes forward");
	see($copy, "$name, recovered");
	for my $i (1 .. 5)
	{
		bump($copy);
		$highest = see($copy, "$name, change $i");
	}
	$position = ask($copy, 'SELECT current_position()');
	$copy->stop;
}

done_testing();
