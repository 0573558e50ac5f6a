# G5: when more keys wait for the worker than cache_notify.waiting_scopes, listeners
# are told to drop everything, on every channel that somebody may listen on, and
# no write fails. Afterwards single keys are told again, exactly.
#
# Failure shows as an error of a writer, as a channel without a reset, or as a key
# whose last version heard is neither covered by a reset nor the one in the table.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', 'cache_notify.waiting_scopes = 16');

$node->safe_psql('postgres', <<'END');
CREATE TABLE plain (id int, tenant_id text);
CREATE TABLE own (id int, tenant_id text);
CREATE TABLE template (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('plain');
SELECT cache_notify.setup_table_invalidation('own', channel => 'own channel');
SELECT cache_notify.setup_table_invalidation('template', channel => 'cache:{domain}:{tenant}');
END
my @channels = ('cache_invalidation', 'own channel', 'cache:template:*');
my $writer = session($node);
my $listener = session($node);
$listener->query(qq(LISTEN "$_")) for @channels;
my $ear = ear($node);
my $reset = '{"reset": true}';

sub resets
{
	my ($round) = @_;
	my %resets;
	my $end = time() + 20;

	until (keys %resets == @channels || time() > $end)
	{
		$resets{ $_->{channel} } = 1 for grep { $_->{payload} eq $reset } $listener->heard;
	}
	return join(', ', sort keys %resets);
}

$writer->query("INSERT INTO plain VALUES (1, 't1')");
hears_ok($node, $ear, 'before: single keys');
for my $table ('plain', 'own', 'template')
{
	$writer->query("INSERT INTO $table SELECT i, 't' || i FROM generate_series(1, 1000) AS i");
	is(resets(), join(', ', sort @channels), "1,000 tenants of one domain ($table): a reset on every channel");
	is(stat_of($node, 'waiting'), 0, 'nothing is left waiting');
}
is(stat_of($node, 'overflows'), 3, 'stats: one overflow each');
is(stat_of($node, 'delivered'), 1, 'what a reset stood for was not delivered');

# The same in many small transactions, while the worker is at work.
my $script = write_script($node, 'many', <<'END');
\set i random(1, 100000)
INSERT INTO plain VALUES (:i, 't' || :i);
END
settle($node);
$ear->forget;
pgbench_finish(pgbench_start($node, [ '-c', 8, '-j', 2, '-t', 300, '-f', $script ]),
	'many tenants in small transactions', 2400);
hears_ok($node, $ear, 'each key is told exactly or covered by a reset');
settle($node);

# Keys that fit, from now on.
$listener->heard;
$ear->forget;
$node->safe_psql('postgres', 'DELETE FROM plain WHERE id > 10');
resets();
$ear->forget;
my @told;
for my $i (1 .. 10)
{
	$writer->query("UPDATE plain SET id = id WHERE false; UPDATE plain SET id = id + 0, tenant_id = 'after' WHERE id = $i");
}
my $end = time() + 30;
my $version = $node->safe_psql('postgres', "SELECT cache_notify.version('plain', 'after')");
$ear->listen until ($ear->{last}{'plain/after'} // 0) == $version || time() > $end;
is($ear->{last}{'plain/after'}, $version, 'afterwards: single keys again');
is($ear->{resets}, 0, 'without a reset');

# If the default channel is a template, it has a channel for each domain, also for
# those that no table feeds.
$writer->query(<<'END');
INSERT INTO cache_notify.cascade_rules VALUES ('plain', 'list');
SELECT cache_notify.invalidate('by hand');
END
configure($node, 'cache_notify.channel' => 'all:{domain}:{tenant}');
@channels = ('own channel', 'cache:template:*', map { "all:$_:*" } 'plain', 'list', 'by hand');
$listener->query(qq(LISTEN "$_")) for @channels;
$listener->heard;
$writer->query("INSERT INTO plain SELECT i, 't' || i FROM generate_series(1, 1000) AS i");
is(resets(), join(', ', sort @channels), 'the default channel is a template: a reset for each domain');

done_testing();
