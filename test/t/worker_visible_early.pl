# G6: a transaction is seen for a moment before the other processes know what it did
# to the catalogs. The worker delivers with the names and channels that it made, not
# with those of before.
#
# Failure shows as a message that has a table's former name, or goes to the channel
# that the domain had, or none.

use strict;
use warnings;

use CacheNotify;
use Faults;
use Test::More;
use WorkerLane;

my $node = worker_server('main', '');
$node->safe_psql('postgres', "LOAD 'cache_notify'; SHOW cache_notify.fault") eq ''
  or plan skip_all => 'built without assertions, so without faults';

my $faults = Faults->new($node);
my $changer = session($node);
my $other = session($node);
my $listener = session($node);
my @heard;

# Has this been heard, since hear() was called with nothing?
sub hear
{
	my ($what) = @_;

	push @heard, map { "$_->{channel} $_->{payload}" } $listener->heard;
	@heard = () unless defined $what;
	return grep { defined $what && $_ =~ $what } @heard;
}

# Is what another transaction does delivered?
sub other_is_heard
{
	$other->query('TRUNCATE other');
	return wait_for('the other transaction', sub { hear(qr/^plain .*"domain": "other"/) });
}

$node->safe_psql('postgres', <<'END');
CREATE TABLE shape (id int);
CREATE TABLE colour (id int);
CREATE TABLE other (id int);
SELECT cache_notify.setup_table_invalidation('shape', channel => 'tables', payload => 'pgcachewatch');
SELECT cache_notify.setup_table_invalidation('other', channel => 'plain');
END
$listener->query('LISTEN tables; LISTEN plain; LISTEN colours');
$other->query('INSERT INTO shape VALUES (1)');
wait_for('the worker to know the former name', sub { hear(qr/^tables .*"shape"/) });
ok(other_is_heard(), 'the worker delivers');

# A name. The worker waits for the moment to pass, because events come in order.
hear();
$changer->query("SET cache_notify.fault = 'visible:wait'");
$changer->send('BEGIN; ALTER TABLE shape RENAME TO form; INSERT INTO form VALUES (2); COMMIT');
$faults->wait_held('visible');
$other->query('TRUNCATE other');
wait_for('the worker to wait for it', sub {
		$node->safe_psql('postgres', "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'cache_notify worker'") eq 'transactionid';
	});
is_deeply([ hear(qr/./) ], [], 'renamed: nothing is told with the name of before');
$faults->release('visible');
$changer->result;
wait_for('the new name', sub { hear(qr/^tables .*truncate/) });
is(join(' ', map { /"(insert|truncate)".*"(\w+)", "sent_at"/ } hear(qr/^tables /)), 'insert form truncate form',
	'the new name is told');

# A channel. Nobody else waits.
hear();
$changer->send("BEGIN; SELECT cache_notify.setup_table_invalidation('colour', channel => 'colours');"
	  . ' INSERT INTO colour VALUES (1); COMMIT');
$faults->wait_held('visible');
ok(other_is_heard(), 'set up: the other transaction is told meanwhile');
ok(!hear(qr/colour"/), 'nothing is told on the channel of before');
$faults->release('visible');
$changer->result;
wait_for('the new channel', sub { hear(qr/colour"/) });
like((hear(qr/colour"/))[0], qr/^colours .*"domain": "colour"/, 'the new channel is told');
done_testing();
