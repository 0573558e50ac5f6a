# G8: v_invalidation_status says when changes are not delivered as
# cache_notify.delivery says, or DDL is not seen.
#
# Failure shows as a problem that is not told, or one that is not there.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main');

sub problems_are
{
	my ($expected, $name) = @_;

	is($node->safe_psql('postgres',
			'SELECT table_name, domain, enabled, problem FROM cache_notify.v_invalidation_status WHERE problem IS NOT NULL'),
		$expected, $name);
	return;
}

sub change
{
	$node->safe_psql('postgres', 'INSERT INTO item VALUES (1)');
	return;
}

$node->safe_psql('postgres', q{
	CREATE TABLE item (id int);
	SELECT cache_notify.setup_table_invalidation('item');
});
problems_are('', 'commit lane');
configure($node, 'cache_notify.delivery' => 'auto');
change();
problems_are('', 'auto, without the library preloaded');
configure($node, 'cache_notify.delivery' => 'off');
problems_are('', 'off');
configure($node, 'cache_notify.delivery' => 'worker');
my $none = 'there is no worker: the library is not in shared_preload_libraries';
problems_are("||t|cache_notify.delivery is worker, and $none", 'worker lane, not preloaded');
configure($node, 'cache_notify.delivery' => 'commit, wal');
problems_are('||t|cache_notify.delivery is commit, wal, and wal_level is not logical: nobody can read the messages',
	'WAL lane, nothing to decode');
$node->append_conf('postgresql.conf', "wal_level = logical");
$node->restart;
problems_are('', 'WAL lane');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cache_notify'\ncache_notify.delivery = 'worker, wal'");
$node->restart;
change();
wait_for('the worker', sub { $node->safe_psql('postgres', 'SELECT worker_pid FROM cache_notify.stats') ne '' });
problems_are('', 'worker lane');

# What an administrator switches off.
$node->safe_psql('postgres', 'ALTER EVENT TRIGGER cache_notify_drop DISABLE');
problems_are('item|item|t|an event trigger of cache_notify is disabled: DDL is not seen', 'an event trigger is disabled');
$node->safe_psql('postgres', 'ALTER EVENT TRIGGER cache_notify_drop ENABLE ALWAYS');
SKIP:
{
	skip 'the server has no setting event_triggers', 1 if server_version($node) < 17;
	configure($node, event_triggers => 'off');
	problems_are('item|item|t|event_triggers is off: DDL is not seen', 'event_triggers is off');
	configure($node, event_triggers => 'on');
}
problems_are('', 'nothing is wrong any more');

done_testing();
