# G3: committed versions survive a clean restart, a crash, a killed backend, a
# promoted standby, and pg_dump with restore; what was not committed is gone. A
# standby answers for what it has replayed.
#
# Failure shows as a version that is lower or higher than the number of committed
# statements, or as a watched table that counts no longer.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', <<'END', allows_streaming => 1);
restart_after_crash = on
autovacuum = off
END

$node->safe_psql('postgres', <<'END');
CREATE TABLE contract (id int, tenant_id text, n int DEFAULT 0);
CREATE TABLE "Odd 'name" (id int, n int DEFAULT 0);
SELECT cache_notify.setup_table_invalidation('contract');
SELECT cache_notify.setup_table_invalidation('"Odd ''name"', E'it''s \\ "odd"', channel => 'a "channel"');
INSERT INTO cache_notify.cascade_rules VALUES ('contract', 'report', 'invalidate'), ('report', 'mail', 'notify');
END
$node->safe_psql('postgres', $_)
  for "INSERT INTO contract VALUES (1, 't'), (2, 'u')",
  'UPDATE contract SET n = 1 WHERE id = 1', 'TRUNCATE "Odd \'name"';
my %expected = (
	'contract/t' => 2, 'contract/u' => 1, 'report/t' => 2, 'report/u' => 1,
	'contract' => 0);
my $odd = q{SELECT cache_notify.version(E'it''s \\\\ "odd"') - cache_notify.version_origin()};

# One more statement for tenant t.
sub bump
{
	$node->safe_psql('postgres', 'UPDATE contract SET n = n + 1 WHERE id = 1');
	$expected{'contract/t'}++;
	$expected{'report/t'}++;
}

versions_ok($node, 'before', %expected);
is($node->safe_psql('postgres', $odd), 1, 'the odd domain');

# ----------------------------------------------------------- restart and crash

$node->restart;
versions_ok($node, 'clean restart', %expected);
bump();

# A transaction in progress, its counters not written, and then a crash.
my $open = session($node);
$open->query('BEGIN; UPDATE contract SET n = n + 1 WHERE id = 2');
$node->stop('immediate');
$node->start;
versions_ok($node, 'immediate shutdown', %expected);
bump();
versions_ok($node, 'bumped after the crash', %expected);

# Crash while many write: the counters agree with the rows, whatever survived.
$node->safe_psql('postgres', <<'END');
CREATE TABLE many (client int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO many SELECT i, 't' FROM generate_series(0, 31) AS i;
SELECT cache_notify.setup_table_invalidation('many');
END
my $script = write_script($node, 'many', <<'END');
UPDATE many SET n = n + 1 WHERE client = :client_id;
END
my $counted = 'SELECT sum(n) FROM many';
for my $how ('immediate', 'kill')
{
	my $before = $node->safe_psql('postgres', $counted);
	my $load = pgbench_start($node, [ '-c', 16, '-j', 2, '-T', 60, '-f', $script ]);

	wait_for('some transactions', sub {
			$node->safe_psql('postgres', $counted) > $before + 500;
		});
	if ($how eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $pid = $node->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE many%' LIMIT 1");
		kill 'KILL', $pid;
	}
	IPC::Run::finish($load->{run});
	isnt(IPC::Run::result($load->{run}), 0, "$how: the writers were cut off");
	$node->poll_query_until('postgres', 'SELECT true');
	my $now = $node->safe_psql('postgres', $counted);
	cmp_ok($now, '>', $before + 500, "$how: there were writers");
	versions_ok($node, $how, %expected, 'many/t' => $now);
}
bump();
is(origin($node), 0, 'no commit can have been lost: still the same history');

# -------------------------------------------------------------------- a standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby = on\nhot_standby_feedback = on");
$standby->start;
versions_ok($standby, 'standby', %expected);

my $reader = session($standby);
$reader->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT cache_notify.version('contract', 't')");
# Or what the primary prunes would end this session for the sake of the replay.
wait_for('the snapshot, known to the primary', sub {
		$node->safe_psql('postgres', 'SELECT backend_xmin FROM pg_stat_replication');
	});
bump();
bump();
$node->wait_for_catchup($standby);
versions_ok($standby, 'standby after more changes', %expected);
is($reader->query("SELECT cache_notify.version('contract', 't')"), $expected{'contract/t'} - 2,
	'a snapshot on the standby keeps its version');
$reader->query('COMMIT');
like($reader->error("SELECT cache_notify.invalidate('contract', 't')"),
	qr/cannot execute invalidate\(\) .* read-only/, 'invalidate() on the standby');
is($standby->safe_psql('postgres', $odd), 1, 'the odd domain on the standby');
is($standby->safe_psql('postgres',
		'SELECT count(*) FROM cache_notify.v_invalidation_status WHERE enabled AND problem IS NULL'),
	3, 'the watched tables on the standby');

# Failover: the session that read on the standby writes now.
$node->stop('immediate');
$standby->promote;
$node = $standby;
cmp_ok(origin($node), '>', $expected{'contract/t'}, 'promoted: no old version can come again');
versions_ok($node, 'promoted', %expected);
$reader->query('UPDATE contract SET n = n + 1 WHERE id = 1');
$expected{'contract/t'}++;
$expected{'report/t'}++;
bump();
versions_ok($node, 'promoted and bumped', %expected);

# ------------------------------------------------------------- dump and restore

# State belongs to one database and is not dumped: a copy goes on above the original.
my @connect = ('-h', $node->host, '-p', $node->port);
for my $format ('plain', 'custom')
{
	my $file = $node->basedir . "/dump.$format";

	$node->command_ok([ 'pg_dump', @connect, '-F', $format, '-f', $file, 'postgres' ],
		"pg_dump -F $format");
	$node->safe_psql('postgres', "CREATE DATABASE $format");
	my $listener = session($node, db => $format);
	$listener->query('LISTEN cache_invalidation; LISTEN "a ""channel"""');
	$node->command_ok(
		$format eq 'plain'
		? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', @connect, '-d', $format, '-f', $file ]
		: [ 'pg_restore', '-e', @connect, '-d', $format, $file ],
		"restore from $format");

	my $q = sub { return $node->safe_psql($format, $_[0]) };
	is($q->("SELECT count(*) FROM cache_notify.domain_version"), 0, "$format: no counter is restored");
	is($q->('SELECT source_domain, target_domain, rule_type, keys FROM cache_notify.cascade_rules ORDER BY 1'),
		"contract|report|invalidate|all\nreport|mail|notify|all", "$format: the rules");
	is($q->('SELECT table_name, domain, channel, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY 2'),
		join("\n",
			'contract|contract|cache_invalidation|t|',
			q{"Odd 'name"|it's \\ "odd"|a "channel"|t|},
			'many|many|cache_invalidation|t|'),
		"$format: the watched tables");

	my $origin = origin($node, $format);
	cmp_ok($origin, '>', origin($node), "$format: no version of the original can come again");
	$q->('UPDATE contract SET n = n + 1 WHERE id = 1');
	is_deeply([ sort $listener->payloads ], [
			sort map { sprintf '{"tenant_id": "%s", "domain": "%s", "version": %d}', @$_ } (
				[ 't', 'contract', $origin + 1 ],
				[ 't', 'report', $origin + 1 ],
				[ 't', 'mail', $origin ]) ],
		"$format: a change is counted, cascaded and delivered");
	$q->('INSERT INTO "Odd \'name" VALUES (1)');
	is_deeply([ map { "$_->{channel}: $_->{payload}" } $listener->heard ],
		[ sprintf 'a "channel": {"tenant_id": null, "domain": "it\'s \\\\ \\"odd\\"", "version": %d}', $origin + 1 ],
		"$format: on its own channel");
}
versions_ok($node, 'the database that was dumped', %expected);

$node->safe_psql('postgres', 'CREATE DATABASE parallel');
$node->command_ok(
	[ 'pg_restore', '-e', '-j', '2', @connect, '-d', 'parallel', $node->basedir . '/dump.custom' ],
	'restore in parallel');
is($node->safe_psql('parallel', 'SELECT count(*) FROM cache_notify.v_invalidation_status WHERE enabled AND problem IS NULL'),
	3, 'and the watched tables');
cmp_ok(origin($node, 'parallel'), '>', origin($node), 'in a history of its own');

done_testing();
