# A hot standby answers for its own snapshot.  When it is promoted without the
# last commits, no version repeats or goes backwards, and what clients keep
# from before is stale.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION cache_notify');

my $nodes = 0;

# A new standby of a node.
sub new_standby
{
	my ($of) = @_;
	my $name = 'node' . ++$nodes;
	$of->backup($name);
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($of, $name, has_streaming => 1);
	$node->start;
	return $node;
}

sub ask
{
	my ($node, $sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = cache_notify, _cache_notify; $sql");
}

sub bump
{
	my ($node, $times) = @_;
	ask($node, "SELECT invalidate('a', 't')") for 1 .. $times;
}

sub version { return ask($_[0], "SELECT version('a', 't')"); }

sub token { return ask($_[0], "SELECT token('t', 'a')"); }

sub is_current
{
	my ($node, $token) = @_;
	return ask($node, "SELECT is_current('$token')");
}

# ------------------------------------------------- the standby's own snapshot

bump($primary, 3);
my $standby = new_standby($primary);
$primary->wait_for_catchup($standby);

my $token = token($primary);
my $position = ask($primary, 'SELECT current_position()');
is(version($standby), 3, 'versions on the standby');
my $reader = $standby->background_psql('postgres');	# a session from before all that follows
$reader->query_safe("SELECT cache_notify.token('t', 'a')");
is(token($standby), $token, 'the same state, the same token');
is( ask($standby, "SELECT etag('t', 'a')"),
	ask($primary, "SELECT etag('t', 'a')"),
	'the same ETag');
is(is_current($standby, $token), 't', 'a token of the primary is current');
is(ask($standby, 'SELECT version_origin()'), 0, 'the same history');
is(ask($standby, "SELECT * FROM changes_since('$position')"),
	'', 'no change since a position of the primary');

$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
ok( $standby->poll_query_until(
		'postgres', "SELECT pg_get_wal_replay_pause_state() = 'paused'"),
	'replay pauses');
bump($primary, 1);
ask($primary, "SELECT invalidate('b')");
is(is_current($primary, $token), 'f', 'the primary has changed');
is(is_current($standby, $token), 't', 'the standby has not');
is(is_current($standby, token($primary)),
	'f', 'a token from ahead of the standby is not current there');
my $behind = ask($standby, 'SELECT current_position()');
is( ask($primary, "SELECT domain FROM changes_since('$behind') ORDER BY 1"),
	"a\nb",
	'a position of the standby, asked on the primary');
my $ahead = ask($primary, 'SELECT current_position()');
is(ask($standby, "SELECT * FROM changes_since('$ahead')"),
	'', 'a position from ahead of the standby');

$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$primary->wait_for_catchup($standby);
is(is_current($standby, $token), 'f', 'now the standby has changed, too');
is( ask($standby, "SELECT stale(ARRAY['$token'])"),
	"{$token}", 'and says so for many');
is( ask($standby,
		"SELECT domain, tenant_id, version FROM changes_since('$behind') ORDER BY 1"
	),
	"a|t|4\nb||1",
	'a position of the standby, asked there');
is( ask($standby, "SELECT domain, tenant_id, version FROM changes_since('$behind', 't', 'a', 'b')"),
	"a|t|4\nb||1",
	'the same by name');
is( ask($standby, "SELECT tenant_id, domain, version = version(domain, coalesce(tenant_id, 'never was')) FROM domain_version ORDER BY domain"),
	"t|a|t\n|b|t",
	'views on the standby');

# A session of the standby hears by itself that a domain has become known, or no
# longer is: by a table, a rule, a view, by hand.
sub known
{
	my ($domain) = @_;

	$primary->wait_for_catchup($standby);
	return $reader->query_safe("SELECT (cache_notify.versions('t', '$domain')).known, cache_notify.token('t', '$domain') IS NOT NULL");
}
my @feeding = (
	[ 'new', "CREATE TABLE new (id int, tenant_id text); SELECT cache_notify.setup_table_invalidation('new')", 't|t' ],
	[ 'ruled', "INSERT INTO cache_notify.cascade_rules VALUES ('new', 'ruled')", 't|t' ],
	[ 'seen', "CREATE VIEW v_seen AS SELECT * FROM new; SELECT cache_notify.setup_view_invalidation('v_seen')", 't|t' ],
	[ 'hand', "SELECT cache_notify.invalidate('hand')", 't|t' ],
	[ 'new', 'ALTER TABLE new DISABLE TRIGGER ALL', 'f|f' ],
	[ 'ruled', 'SELECT 1', 'f|f' ],
	[ 'new', 'ALTER TABLE new ENABLE TRIGGER ALL', 't|t' ],
	[ 'new', 'BEGIN; ALTER TABLE new RENAME TO old; CREATE TABLE new (id int); COMMIT', 'f|f' ],
	[ 'new', "SELECT cache_notify.setup_table_invalidation('new', whole_counter => true)", 't|t' ],
	[ 'seen', 'DROP VIEW v_seen', 'f|f' ]);
foreach my $step (@feeding)
{
	my ($domain, $sql, $expected) = @$step;

	is(known($domain), 'f|f', "$domain is not known on the standby") if $expected eq 't|t' && $sql !~ /ENABLE|setup.*whole/;
	$primary->safe_psql('postgres', $sql);
	is(known($domain), $expected, "a session of the standby after: $sql");
}
$primary->safe_psql('postgres', 'INSERT INTO new VALUES (1)') foreach (1 .. 3);
$primary->wait_for_catchup($standby);
my $whole = "SELECT cache_notify.version('new') - sum(n) FROM _cache_notify.version_counter WHERE domain = 'new'";
is($reader->query_safe($whole), 0, 'the counter of a whole domain, on the standby');
$reader->quit;

# What a long-running transaction on the primary commits is not missed.
my $long = $primary->background_psql('postgres');
$long->query_safe("BEGIN; SELECT cache_notify.invalidate('long', 't'), pg_current_xact_id()");
bump($primary, 1);
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby);
$standby->safe_psql('postgres', 'CHECKPOINT');
$behind = ask($standby, 'SELECT current_position()');
$long->query_safe('COMMIT');
$long->quit;
$primary->wait_for_catchup($standby);
is(ask($standby, "SELECT domain FROM changes_since('$behind')"),
	'long', 'a transaction that ran at the position');

# ------------------------------------- promotion, again and again, with losses

# Whatever anybody has seen: which state a version stood for, and the tokens.
my %state_of;
my $highest = 0;
my @tokens;
my $states = 0;

sub see
{
	my ($node, $state, $what) = @_;
	my $version = version($node);

	cmp_ok($version, '>=', $highest, "$what: version does not go backwards");
	is($state_of{$version} // $state, $state, "$what: version means one state");
	$state_of{$version} = $state;
	$highest = $version if $version > $highest;
	push @tokens, [ token($node), $state ];
}

# The standby stops following.
sub cut
{
	my ($node) = @_;
	$node->append_conf('postgresql.conf', "primary_conninfo = ''");
	$node->reload;
	$node->poll_query_until('postgres',
		'SELECT count(*) = 0 FROM pg_stat_wal_receiver');
}

# Changes on the primary, each of which somebody sees.
my $state;

sub change
{
	my ($times, $what) = @_;
	for (1 .. $times)
	{
		bump($primary, 1);
		$state = 'state ' . ++$states;
		see($primary, $state, $what);
	}
}

my $kept;
change(1, 'before');
for my $round (1 .. 5)
{
	# What the primary commits after the cut is lost.  In every second round
	# the standby was cut before anybody asked or changed anything in the
	# primary's new history, so of that nothing is left.
	if ($round % 2)
	{
		change(1, "round $round, kept");
		$primary->wait_for_catchup($standby);
		$kept = $state;
		cut($standby);
	}
	change(3, "round $round, lost");
	my $lost_position = ask($primary, 'SELECT current_position()');
	$primary->stop('immediate');
	my $from_standby = token($standby);
	# A session that stays, and knows the history that ends.
	my $open = $standby->background_psql('postgres');
	$open->query_safe("SELECT cache_notify.token('t', 'a')");

	# The rest of the tree continues from the standby.
	$standby->promote;
	$primary = $standby;
	$state = $kept;
	$standby = new_standby($primary);
	cut($standby) if ($round + 1) % 2 == 0;

	is(scalar(grep { is_current($primary, $_->[0]) eq 't' } @tokens),
		0, "round $round: no token from before is current");
	is(is_current($primary, $from_standby),
		'f', "round $round: nor one of the standby");
	is( ask($primary, "SELECT coalesce(domain, 'reset') FROM changes_since('$lost_position')"),
		'reset',
		"round $round: a position from before tells to drop everything");
	cmp_ok(version($primary), '>', $highest,
		"round $round: version goes forward with the promotion");
	see($primary, $state, "round $round, promoted");
	is($open->query_safe("SELECT cache_notify.token('t', 'a')"), token($primary),
		"round $round: a session that was open is in the new history as well");
	$open->quit;

	# As many changes as were lost, and then some.
	for (1 .. 4)
	{
		change(1, "round $round, after");
		is( scalar(
				grep { is_current($primary, $_->[0]) eq 't' && $_->[1] ne $state }
				  @tokens),
			0,
			"round $round: no token of another state is current");
	}
	if ($round % 2 == 0)
	{
		$primary->wait_for_catchup($standby);
		is(token($standby), token($primary),
			"round $round: standby of the promoted");
	}
	is(ask($primary, "SELECT version('a', 't') < 2^53"), 't', 'exact in JSON');
}

# A standby that follows a promotion says the same as the promoted, without
# anybody having written there.
my $follower = new_standby($primary);
$primary->wait_for_catchup($follower);
my $cascaded = new_standby($follower);
$token = token($primary);
# Of its own standby, too, whose sessions stay.
my $open = $cascaded->background_psql('postgres');
$cascaded->poll_query_until('postgres', "SELECT cache_notify.is_current('$token')");
is($open->query_safe("SELECT cache_notify.token('t', 'a')"), $token, 'a session of a cascaded standby');
$primary->stop;
$follower->promote;
my $upstream = $follower;
$upstream->wait_for_catchup($cascaded);
is($open->query_safe("SELECT cache_notify.is_current('$token')"), 'f', 'is in the new history when its upstream is promoted');
is(is_current($cascaded, $token), 'f', 'a new timeline is a new history on a standby');
my $before = version($cascaded);
my $on_promoted = version($upstream);
cmp_ok($on_promoted, '>=', $before, 'a standby is never ahead of the promoted');
$upstream->wait_for_catchup($cascaded);
is(version($cascaded), $on_promoted, 'and follows it');
is(token($cascaded), token($upstream), 'with the same tokens');
is($open->query_safe("SELECT cache_notify.token('t', 'a')"), token($upstream), 'in the session that was open as well');
$open->quit;

done_testing();
