# G5, G6: somebody else's NOTIFY holds the server's notification lock for long: its
# commit waits for a standby that is not there. Writers of watched tables do not
# notice, the worker waits without holding back vacuum, and then delivers.
#
# Failure shows as a write that runs into its timeout, as a worker that has a
# snapshot while it waits, or as a last version that is not the one in the table.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $node = worker_server('main', '', allows_streaming => 1);
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 20) AS i;
SELECT cache_notify.setup_table_invalidation('item');
END
my $ear = ear($node);
my $other = session($node);
my $writer = session($node, options => '-c synchronous_commit=local -c statement_timeout=20s');
$writer->query('UPDATE item SET n = n + 1');
hears_ok($node, $ear, 'before');

configure($node, synchronous_standby_names => 'nobody');
$other->query('SELECT 1');
$other->query('BEGIN; CREATE TABLE something (); NOTIFY other');
$other->send('COMMIT');
wait_for('the other commit to wait', sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 1;
	});
$writer->query('UPDATE item SET n = n + 1') for 1 .. 20;
wait_for('the worker to wait for the lock', sub {
		$node->safe_psql('postgres', <<'END') eq 'Lock';
SELECT wait_event_type FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'
END
	});
is($node->safe_psql('postgres', <<'END'), 't', 'the worker waits without a snapshot');
SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'
END
$writer->query('UPDATE item SET n = n + 1') for 1 .. 20;
pass('writers do not wait');
is(scalar $ear->listen, 0, 'nothing has been delivered meanwhile');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'");
$writer->query('UPDATE item SET n = n + 1');
configure($node, synchronous_standby_names => '');
$other->result;
hears_ok($node, $ear, 'then everything is');

done_testing();
