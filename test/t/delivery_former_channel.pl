# G6: who listens on a channel hears that a domain has moved also when that is the
# last he hears of it there: the last table with the channel is dropped, watched no
# longer, or gets another channel. In each lane.
#
# Failure shows as a listener that has not heard the domain's last version, though
# its channel was the domain's until then.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $node = worker_server('main', 'max_prepared_transactions = 2');

# What sets one domain up, with channel "old", and what takes that away.
my %before = (
	table => "CREATE TABLE item (n int); SELECT cache_notify.setup_table_invalidation('item', channel => 'old', fields => '{keys}')",
	materialized => 'CREATE MATERIALIZED VIEW item AS SELECT 1 AS n;'
	  . "SELECT cache_notify.setup_table_invalidation('item', channel => 'old')",
	template => "CREATE TABLE item (n int); SELECT cache_notify.setup_table_invalidation('item', channel => '{domain}-{tenant}')",
	two => 'CREATE TABLE item (n int); CREATE TABLE item2 (n int);'
	  . "SELECT cache_notify.setup_table_invalidation('item', channel => 'old');"
	  . "SELECT cache_notify.setup_table_invalidation('item2', 'item', channel => 'new')",
	default => "CREATE TABLE item (n int); SELECT cache_notify.setup_table_invalidation('item')",
	family => 'CREATE TABLE item (n int); CREATE TABLE item2 () INHERITS (item);'
	  . "SELECT cache_notify.setup_table_invalidation('item', channel => 'old')");
my $drop = 'DROP TABLE item';
my $remove = "SELECT cache_notify.remove_table_invalidation('item')";
my $again = "SELECT cache_notify.setup_table_invalidation('item', channel => 'new')";
my $by_hand = q{CREATE OR REPLACE TRIGGER cache_notify_statement_item AFTER TRUNCATE ON item
	FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.statement_change('domain=item', 'channel=new')};
my @cases = (    # [ before, the command, where it is heard ]
	[ 'table', $drop, 'cache_invalidation old' ],
	[ 'table', $remove, 'cache_invalidation old' ],
	[ 'table', $again, 'new old' ],
	[ 'table', $by_hand, 'new old' ],
	[ 'table', 'DROP TRIGGER cache_notify_statement_item ON item', 'cache_invalidation old' ],
	[ 'table', "BEGIN; $remove; $again; COMMIT", 'cache_invalidation new old' ],
	[ 'table', "BEGIN; $again; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'", 'new old' ],
	[ 'table', "BEGIN; SAVEPOINT s; $again; RELEASE s; COMMIT", 'new old' ],
	[ 'table', "BEGIN; SAVEPOINT s; $again; ROLLBACK TO s; TRUNCATE item; COMMIT", 'old' ],
	[ 'table', "SELECT cache_notify.setup_table_invalidation('item', channel => 'old', fields => '{keys}'); TRUNCATE item", 'old' ],
	[ 'table', 'TRUNCATE item', 'old' ],
	[ 'materialized', 'DROP MATERIALIZED VIEW item', 'cache_invalidation old' ],
	[ 'materialized', $remove, 'cache_invalidation old' ],
	[ 'materialized', $again, 'new old' ],
	[ 'template', $drop, 'cache_invalidation item-*' ],
	[ 'template', $again, 'item-* new' ],
	[ 'two', $drop, 'new old' ],
	[ 'two', 'DROP TABLE item, item2', 'cache_invalidation new old' ],
	[ 'two', 'DROP OWNED BY owner', 'cache_invalidation new old' ],
	[ 'default', $drop, 'cache_invalidation' ],
	[ 'default', $again, 'cache_invalidation new' ],
	[ 'family', "$drop CASCADE", 'cache_invalidation old' ],
	[ 'family', "$again", 'new old' ]);

$node->safe_psql('postgres', 'CREATE ROLE owner SUPERUSER');
foreach my $lane ('commit', 'worker')
{
	configure($node, 'cache_notify.delivery' => $lane);
	my $writer = session($node);
	my $listener = session($node);
	$listener->query('LISTEN cache_invalidation; LISTEN old; LISTEN new; LISTEN "item-*"');
	$writer->query('SET ROLE owner');
	foreach my $case (@cases)
	{
		my ($before, $command, $expected) = @$case;
		$writer->query("$before{$before}; SELECT cache_notify.invalidate('item')");
		my $version = $writer->query("SELECT _cache_notify.counted('item') + cache_notify.version_origin()");
		my %last;
		my $listen = sub {
			foreach ($listener->heard)
			{
				$last{ $_->{channel} } = $1 if $_->{payload} =~ /"domain": "item", "version": (\d+)/;
			}
			return grep { $last{$_} == $version } keys %last;
		};
		wait_for('what came before', sub { $listen->() });
		%last = ();
		$writer->query($command);
		$version = $writer->query("SELECT _cache_notify.counted('item') + cache_notify.version_origin()");
		wait_for("$lane: $command", sub { $listen->() >= split(/ /, $expected) });
		is(join(' ', sort grep { $last{$_} == $version } keys %last), $expected, "$lane, $before: $command");
		$writer->query('DROP TABLE IF EXISTS item2') if $before eq 'two' || $before eq 'family' && $command !~ /DROP/;
		$writer->query('DROP ' . ($before eq 'materialized' ? 'MATERIALIZED VIEW' : 'TABLE') . ' IF EXISTS item CASCADE');
		$writer->query("SELECT cache_notify.invalidate('item')");
		$version = $writer->query("SELECT _cache_notify.counted('item') + cache_notify.version_origin()");
		wait_for('silence', sub { $listen->() });
		is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.owed_delivery'), 0, 'nothing is owed')
		  if $lane eq 'commit';
	}
}

# Formats that tell of tables: the last word is that anything may have changed.
foreach my $lane ('commit', 'worker')
{
	configure($node, 'cache_notify.delivery' => $lane);
	my $writer = session($node);
	my $listener = session($node);
	$listener->query('LISTEN tables; LISTEN cache_invalidation');
	foreach my $command ($drop, $remove, $again)
	{
		$writer->query("CREATE TABLE item (n int PRIMARY KEY); SELECT cache_notify.setup_table_invalidation('item', channel => 'tables', payload => 'tcn')");
		# What comes after a later change is not of an earlier one.
		$writer->query("SELECT cache_notify.invalidate('marker')");
		my $version = $writer->query("SELECT _cache_notify.counted('marker') + cache_notify.version_origin()");
		wait_for('what came before', sub {
			return grep { /"domain": "marker", "version": $version\}/ } $listener->payloads;
		});
		$writer->query($command);
		my @heard;
		wait_for("$lane, tables: $command", sub {
			push @heard, grep { $_->{channel} eq 'tables' } $listener->heard;
			return @heard;
		});
		like(@heard ? $heard[0]->{payload} : '', qr/^"item",T/, "$lane, tables: $command");
		$writer->query('DROP TABLE IF EXISTS item');
	}
}
done_testing();
