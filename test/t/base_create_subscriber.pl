# G10: pg_createsubscriber turns a physical copy into a subscriber, with all that the
# publisher had, our state included. From then on each side has versions of its own: the
# copy begins a history, nothing of ours is replicated, and what is applied counts.
#
# Failure shows as a version or token of one side that stands for something on the other,
# or as a subscription that stops.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = start_server('publisher',
	"wal_level = logical\nmax_worker_processes = 20\nmax_replication_slots = 10\nmax_wal_senders = 10\n",
	allows_streaming => 'logical');
plan skip_all => 'pg_createsubscriber is there from 17 on' if server_version($publisher) < 17;

$publisher->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('item', fire_on_replica => true);
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page');
INSERT INTO item SELECT i, 't', i FROM generate_series(1, 100) AS i;
END
$publisher->backup('copy');
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init_from_backup($publisher, 'copy', has_streaming => 1);
$subscriber->start;
$publisher->wait_for_catchup($subscriber);
my $token = $publisher->safe_psql('postgres', "SELECT cache_notify.token('t', 'item')");
my $version = $publisher->safe_psql('postgres', "SELECT cache_notify.version('item', 't')");
is($subscriber->safe_psql('postgres', "SELECT cache_notify.is_current('$token')"), 't', 'a standby has the tokens of its primary');
$subscriber->stop;

command_ok(
	[ 'pg_createsubscriber', '--pgdata', $subscriber->data_dir, '--publisher-server', $publisher->connstr('postgres'),
		'--socketdir', $subscriber->host, '--subscriber-port', $subscriber->port, '--database', 'postgres',
		'--publication', 'p', '--subscription', 's' ],
	'pg_createsubscriber');
$subscriber->start;
is($subscriber->safe_psql('postgres', "SELECT cache_notify.is_current('$token')"), 'f', 'a subscriber does not');
cmp_ok($subscriber->safe_psql('postgres', "SELECT cache_notify.version('item', 't')"), '>', $version, 'it has a history of its own');
is($publisher->safe_psql('postgres', "SELECT cache_notify.is_current('$token')"), 't', 'the publisher goes on');

for (1 .. 5)
{
	my $before = $subscriber->safe_psql('postgres', "SELECT cache_notify.version('page', 't')");
	$publisher->safe_psql('postgres', "UPDATE item SET n = n + 1; SELECT cache_notify.invalidate('page'), cache_notify.compact()");
	$publisher->wait_for_catchup('s');
	cmp_ok($subscriber->safe_psql('postgres', "SELECT cache_notify.version('page', 't')"), '>', $before, 'what is applied counts, and is carried on');
}
is($subscriber->safe_psql('postgres', 'SELECT sum(n) FROM item'), $publisher->safe_psql('postgres', 'SELECT sum(n) FROM item'), 'all changes come');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL'), 1, 'the worker lives');

done_testing();
