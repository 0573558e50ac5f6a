# G5, G6: a worker that fails leaves nothing that kills its successor. The waits
# between restarts are real; what kills three workers in a row is given up, and
# listeners hear a reset in its place; rows of owed_delivery that nobody can have
# written in good faith are coarsened, in each lane.
#
# Failure shows as a listener that hears nothing, a write that fails, or restarts
# that come faster than they should. Only lower bounds of times are tested.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;
use WorkerLane;

my $node = worker_server('main', "log_line_prefix = '%n %b|'\nlog_min_messages = log");

$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 5) AS i;
SELECT cache_notify.setup_table_invalidation('item', channel => 'items');
CREATE TABLE other (id int);
SELECT cache_notify.setup_table_invalidation('other');
CREATE TABLE unwatched (id int);
END

my $has_faults = eval { $node->safe_psql('postgres', 'SELECT cache_notify.payload_formats() \gset
SHOW cache_notify.fault'); 1 };
my $ear = ear($node, channel => 'items');
my $default = ear($node);
my $change = 'UPDATE item SET n = n + 1';

# When workers died of an error of theirs, in seconds.
sub deaths
{
	return slurp_file($node->logfile)
	  =~ /^(\d+\.\d+) postmaster\|LOG: +background worker "cache_notify worker" \(PID \d+\) exited with exit code 1/mg;
}

# ------------------------------------------------------------------ restarts

SKIP:
{
	skip 'a build without assertions has no faults', 8 if !$has_faults;

	$node->safe_psql('postgres', $change);
	hears_ok($node, $ear, 'the worker delivers');

	$ear->forget;
	configure($node, 'cache_notify.fault' => 'worker_taken:error');
	$node->safe_psql('postgres', $change);
	wait_for('a reset', sub { $ear->listen; $ear->{resets} > 0 });
	cmp_ok($ear->{resets}, '>', 0, 'what kills three workers is given up for a reset');
	my @times = deaths();
	is(scalar @times, 3, 'three workers died of it');
	cmp_ok($times[2] - $times[1], '>=', 0.5, 'the second restart waits');
	configure($node, 'cache_notify.fault' => '');
	$node->safe_psql('postgres', $change);
	hears_ok($node, $ear, 'after that it delivers again');
	is(stat_of($node, 'waiting'), 0, 'and nothing is left');

	# Whatever it does, it dies.
	configure($node, 'cache_notify.fault' => 'worker_queued:error');
	$node->safe_psql('postgres', $change);
	wait_for('more deaths', sub { my @all = deaths(); @all >= 3 + 7 });
	@times = deaths();
	splice @times, 0, 3;
	my @waits = map { $times[ $_ + 1 ] - $times[$_] } 0 .. 5;
	my @wrong = grep { $waits[$_] < 0.5 * $_ } 0 .. 5;
	is_deeply(\@wrong, [], 'each restart waits longer than the one before')
	  or diag("waits: @waits");
	$default->forget;
	configure($node, 'cache_notify.fault' => '');
	wait_for('a reset', sub { $default->listen; $default->{resets} > 0 });
	cmp_ok($default->{resets}, '>', 0, 'at last the default channel hears a reset');
	$node->safe_psql('postgres', $change);
	hears_ok($node, $ear, 'and the next change is delivered');
}

# ------------------------------------------------- rows that nobody can send

my @poison = (
	[ 'an empty channel', "INTO %s (channel, payload) VALUES ('', 'x')" ],
	[ 'a channel that is too long', "INTO %s (channel, payload) VALUES (repeat('c', 64), 'x')" ],
	[ 'a payload that is too long', "INTO %s (channel, payload) VALUES ('items', repeat('p', 8000))" ],
	[ 'a payload that is not ASCII', "INTO %s (channel, payload) VALUES ('items', U&'\\6771')" ],
	[ 'no payload', "INTO %s (channel) VALUES ('elsewhere')" ],
	[ 'an empty domain', "INTO %s (domain) VALUES ('')" ],
	[ 'a domain that is too long', "INTO %s (domain) VALUES (repeat('d', 64))" ],
	[ 'a tenant that is too long', "INTO %s (domain, tenant_id) VALUES ('item', repeat('t', 100000))" ],
	(map { [ "a former watch $_", "INTO %s (domain, former) VALUES ('item', '$_')" ] }
		  '', '{', '{"}', '{a,}', '{{a},{b}}', '{}', '{domain=,channel=}', '{channel=}', '{NULL}',
		'{"channel=\\', '{a}b', '{domain=x,payload=tcn}', '{payload=nonsense,field=nonsense}'));
my $table = $node->safe_psql('postgres',
	"SELECT oid::regclass FROM pg_class WHERE relname = 'owed_delivery'");

# SQL cannot write there: a superuser who means it makes a table of it for a moment.
sub owe
{
	my ($insert) = @_;
	my $kind = "UPDATE pg_class SET relkind = '%s' WHERE oid = '$table'::regclass";

	return $node->safe_psql('postgres', join(";\n", 'SET allow_system_table_mods = on', 'BEGIN',
		sprintf($kind, 'r'), 'INSERT ' . sprintf($insert, $table), sprintf($kind, 'm'), 'COMMIT'));
}

for my $lane ('worker', 'commit', 'commit,wal')
{
	configure($node, 'cache_notify.delivery' => $lane);
	for my $row (@poison)
	{
		my ($name, $insert) = @$row;

		owe($insert);
		# Owed rows are looked for after a prepared transaction.
		my ($status, $out, $err) = $node->psql('postgres', <<"END");
BEGIN;
$change;
PREPARE TRANSACTION 'p';
COMMIT PREPARED 'p';
$change;
UPDATE other SET id = 1;
INSERT INTO other VALUES (1);
INSERT INTO unwatched VALUES (1);
END
		is($err, '', "lane $lane, $name: no write fails");
		hears_ok($node, $ear, "lane $lane, $name: what was written is delivered")
		  or last;
	}
	wait_for('the rows to be taken', sub {
			$node->safe_psql('postgres', $change);
			$node->safe_psql('postgres', "SELECT count(*) FROM $table") eq '0' });
}
is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'nothing crashed');

done_testing();
