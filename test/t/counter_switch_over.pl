# G3, G4: a switch-over by logical replication, as doc/operations.md says: near caches on
# the old side and on the new, nothing stale afterwards, and versions forward.
#
# Failure shows as a token of before the switch that is current after it, as a version
# that was there before, or as a cache that goes on with the old side.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = "wal_level = logical\nmax_wal_senders = 10\n";
my $old = start_server('old', $settings);
my $new = start_server('new', $settings);
my $dump = $old->basedir . '/schema';
my $ask_old = sub { return $old->safe_psql('shop', $_[0]) };
my $ask_new = sub { return $new->safe_psql('shop', $_[0]) };

$old->safe_psql('postgres', 'CREATE DATABASE shop');
$ask_old->(<<'END');
CREATE EXTENSION cache_notify;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item', fire_on_replica => true);
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page');
INSERT INTO item SELECT i, 't', 0 FROM generate_series(1, 10) AS i;
CREATE PUBLICATION everything FOR ALL TABLES;
END

# The schema, with the set-up, and then the data.
$old->command_ok([ 'pg_dump', '-s', '--no-publications', '-f', $dump, 'shop' ], 'the schema is dumped');
$new->safe_psql('postgres', 'CREATE DATABASE shop');
$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', 'shop', '-f', $dump ], 'and restored');
$new->safe_psql('shop', "CREATE SUBSCRIPTION move CONNECTION '" . $old->connstr . " dbname=shop' PUBLICATION everything");
$new->poll_query_until('shop', 'SELECT count(*) = 10 FROM item');

# The old side fails over meanwhile: its versions are above those of the new side.
$ask_old->('SELECT cache_notify.new_history()');
$ask_old->('UPDATE item SET n = n + 1') for 1 .. 5;
$old->wait_for_catchup('move');

# What a near cache knows of an entry.
sub remember
{
	my ($ask) = @_;
	my %entry;

	@entry{ 'version', 'token', 'position' } = split /\|/,
	  $ask->("SELECT cache_notify.version('item', 't'), cache_notify.token('t', 'item'), cache_notify.current_position()");
	return \%entry;
}

my $on_old = remember($ask_old);
my $on_new = remember($ask_new);
cmp_ok($on_new->{version}, '<', $on_old->{version}, 'left alone, versions would go back');
my $old_ear = session($old, db => 'shop');
my $new_ear = session($new, db => 'shop');
$_->query('LISTEN cache_invalidation') for $old_ear, $new_ear;

# The switch. 1: no more writes on the old side; listeners there lose their connection.
$old->safe_psql('postgres', 'ALTER DATABASE shop SET default_transaction_read_only = on');
$old->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'shop' AND backend_type = 'client backend'");
isnt(($old->psql('shop', 'UPDATE item SET n = 0'))[0], 0, 'nobody writes on the old side');
ok(!eval { $old_ear->query('SELECT 1'); 1 }, 'and who listened there must connect again');

# 2: the new side has everything, and leaves the old one.
$old->wait_for_catchup('move');
$ask_new->('DROP SUBSCRIPTION move');

# 3: a new history, before anybody asks or writes.
$ask_new->('SELECT cache_notify.new_history()');

# Every entry of before, of either side, is found out, in each way that there is.
for my $case ([ 'the old side', $on_old ], [ 'the new side', $on_new ])
{
	my ($side, $entry) = @$case;

	is($ask_new->("SELECT cache_notify.is_current('$entry->{token}')"), 'f', "$side: tokens of before are stale");
	is($ask_new->("SELECT coalesce(domain, 'everything') FROM cache_notify.changes_since('$entry->{position}')"),
		'everything', "$side: who catches up drops everything");
	cmp_ok($ask_new->("SELECT cache_notify.version('item', 't')"), '>', $entry->{version}, "$side: versions go forward");
}
my $after = remember($ask_new);
is($ask_new->("SELECT cache_notify.is_current('$after->{token}')"), 't', 'what is cached now is current');
$new_ear->heard;
$ask_new->('UPDATE item SET n = n + 1');
is($ask_new->("SELECT cache_notify.is_current('$after->{token}')"), 'f', 'until it changes');
is($ask_new->("SELECT cache_notify.version('item', 't')"), $after->{version} + 1, 'one version on');
is(scalar(grep { $_->{payload} =~ /"domain": "item", "version": @{[ $after->{version} + 1 ]}/ } $new_ear->heard), 1, 'and it is told');
is($ask_new->('SELECT sum(n) FROM item'), 60, 'nothing was lost');

done_testing();
