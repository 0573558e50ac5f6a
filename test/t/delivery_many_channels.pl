# Serves G7: what somebody adds to the deliveries of a domain that others feed is
# bounded, and G6: whose channel is one too many is told so. A failure shows as more
# notifications of one change than the limit, as a listener who hears nothing of a
# channel that has no problem, or as a set-up that says nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CacheNotify;

my $limit = 32;
my $node = start_server('main');

$node->safe_psql('postgres', <<'END_SQL');
CREATE ROLE victim;
CREATE ROLE evil;
CREATE SCHEMA evil AUTHORIZATION evil;
CREATE TABLE item (id int PRIMARY KEY, n int);
CREATE TABLE line (id int PRIMARY KEY, n int);
INSERT INTO item VALUES (1, 0);
SELECT cache_notify.setup_table_invalidation('item', channel => 'items');
ALTER TABLE item OWNER TO victim;
ALTER TABLE line OWNER TO victim;
END_SQL

my $ear = session($node);
$ear->query("LISTEN $_") for 'items', 'lines', map { "c$_" } 1 .. 60;
my $writer = session($node);    # that knew everything before
$writer->query('SET ROLE victim');

# The channels that hear of one change.
sub channels
{
	$ear->heard;
	$writer->query('UPDATE item SET n = n + 1');
	return sort map { $_->{channel} } $ear->heard;
}

is_deeply([ channels() ], ['items'], 'one channel');
my $evil = session($node);
$evil->query('SET ROLE evil; CREATE TABLE evil.t (id int)');
my $trigger = sub {
	my ($name, @arguments) = @_;
	my $list = join ', ', map { "'$_'" } 'domain=item', 'granularity=statement', @arguments;
	return "CREATE TRIGGER t$name AFTER TRUNCATE ON evil.t FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.statement_change($list)";
};
$evil->query($trigger->($_, "channel=c$_")) for 1 .. 20;
$evil->query($trigger->("again$_", "channel=c$_")) for 1 .. 20;
is(scalar(my @twenty = channels()), 21, 'twenty more, each once');
for my $n (21 .. 40)
{
	$evil->query("CREATE TABLE evil.t$n (id int)");
	my $setup = "SELECT cache_notify.setup_table_invalidation('evil.t$n', 'item', channel => 'c$n')";

	if ($n <= $limit)
	{
		is($evil->query($setup), 'item', "set up with channel $n");
	}
	else
	{
		like($evil->error($setup), qr/domain "item" is told on too many channels/, "channel $n is refused");
	}
}
is(scalar(my @all = channels()), 1 + $limit, 'no more than the limit');
$evil->query($trigger->($_, "channel=c$_")) for 41 .. 45;
is_deeply([ channels() ], \@all, 'nor by hand');
is($node->safe_psql('postgres', q(SELECT count(*) FROM cache_notify.v_invalidation_status WHERE problem ~ 'nobody is told on this channel')),
	1, 'the status says so');
is($node->safe_psql('postgres', q(SELECT count(*) FROM cache_notify.v_invalidation_status WHERE table_name = 'item'::regclass AND problem IS NULL)),
	1, 'of his table');

# Others have their own.
$node->safe_psql('postgres', q(SET ROLE victim; SELECT cache_notify.setup_table_invalidation('line', 'item', channel => 'lines')));
is_deeply([ channels() ], [ sort @all, 'lines' ], 'the victim has another channel');
$node->safe_psql('postgres', q(SET ROLE victim; SELECT cache_notify.setup_table_invalidation('line', 'item', channel => 'c50')));
is_deeply([ channels() ], [ sort @all, 'c50' ], 'and takes another one');
$node->safe_psql('postgres', q(SET ROLE victim; SELECT cache_notify.setup_table_invalidation('line', 'item', channel => 'c1')));
is_deeply([ channels() ], \@all, 'or one that is told already');

# What goes makes room, and who may do everything has no limit.
$evil->query('DROP TABLE evil.t21');
is(scalar(my @room = channels()), 1 + $limit, 'dropped: the next one is told');
ok((grep { $_ eq 'c41' } @room), 'the oldest of those that were not');
$node->safe_psql('postgres', 'ALTER TABLE evil.t OWNER TO postgres');
$node->safe_psql('postgres', $trigger->($_, "channel=c$_")) for 46 .. 60;
is(scalar(my @more = channels()), 1 + 20 + 5 + 15 + $limit - 21, "a superuser's are all told");
$node->safe_psql('postgres', 'ALTER TABLE evil.t OWNER TO evil');
is_deeply([ channels() ], \@room, 'an owner has a limit again');
$node->safe_psql('postgres', 'DROP OWNED BY evil CASCADE');
is_deeply([ channels() ], [ 'c1', 'items' ], 'without him');

done_testing();
