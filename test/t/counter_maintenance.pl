# G2, G3: maintenance of the counter table while writers run and afterwards. It
# rewrites and moves the rows that sessions remember and the index that finds
# them; no writer fails, and no bump is lost or counted twice. A snapshot that is
# held open for long does not hold writers up.
#
# Failure shows as a failed transaction, as an error of the maintenance, or as
# three numbers that differ: rows counted by their owners, counters found by the
# index, counters in the table.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(time);

my $node = start_server('main', <<'END');
cache_notify.delivery = off
max_prepared_transactions = 20
END
my $clients = 8;

$node->safe_psql('postgres', <<'END');
CREATE TABLE hot (client int PRIMARY KEY, tenant_id text, n int DEFAULT 0) WITH (fillfactor = 10);
CREATE TABLE cold (client int PRIMARY KEY, tenant_id text, n int DEFAULT 0) WITH (fillfactor = 10);
INSERT INTO hot SELECT i, 't' FROM generate_series(0, 31) AS i;
INSERT INTO cold SELECT i, 'tenant ' || i FROM generate_series(0, 999) AS i;
SELECT cache_notify.setup_table_invalidation('hot');
SELECT cache_notify.setup_table_invalidation('cold');
END

# Every tenant of cold belongs to one client, so user rows never conflict.
my $script = write_script($node, 'write', <<'END');
\set r random(0, 99)
BEGIN;
UPDATE hot SET n = n + 1 WHERE client = :client_id;
UPDATE cold SET n = n + 1 WHERE client = :client_id + 8 * :r;
COMMIT;
END

# What the owners counted; the same by index; the same by reading the table.
sub exact
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;
	my $owners = $node->safe_psql('postgres',
		"SELECT 'hot t ' || sum(n) FROM hot"
		  . " UNION ALL (SELECT 'cold ' || tenant_id || ' ' || n FROM cold WHERE n > 0 ORDER BY client)");
	my $by_index = $node->safe_psql('postgres',
		"SELECT 'hot t ' || (cache_notify.version('hot', 't') - cache_notify.version_origin())"
		  . " UNION ALL (SELECT 'cold ' || tenant_id || ' '"
		  . " || (cache_notify.version('cold', tenant_id) - cache_notify.version_origin())"
		  . " FROM cold WHERE n > 0 ORDER BY client)");
	my $in_table = $node->safe_psql('postgres', <<'END');
SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off;
SELECT 'hot t ' || sum(n) FROM _cache_notify.version_counter WHERE domain = 'hot'
UNION ALL
(SELECT 'cold ' || v.tenant_id || ' ' || sum(v.n) FROM _cache_notify.version_counter v
 JOIN cold c USING (tenant_id) WHERE domain = 'cold' GROUP BY v.tenant_id, c.client ORDER BY c.client)
END

	my %versions = (owners => $owners, index => $by_index, table => $in_table);
	my @wrong;
	for my $what ('index', 'table')
	{
		my @a = split /\n/, $owners;
		my @b = split /\n/, $versions{$what};
		push @wrong, map { "$what: " . ($b[$_] // 'nothing') . ', should be ' . ($a[$_] // 'nothing') }
		  grep { ($a[$_] // '') ne ($b[$_] // '') } 0 .. ($#a > $#b ? $#a : $#b);
	}
	return is(join("\n", @wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ]), '',
		"$name: every version is exact");
}

# Begin at nothing, so that what went wrong before is not counted again.
sub start_over
{
	$node->safe_psql('postgres', <<"END");
UPDATE hot SET n = 0;
UPDATE cold SET n = 0;
@{[ writable('version_counter', 1) ]}
DELETE FROM _cache_notify.version_counter;
@{[ writable('version_counter', 0) ]}
VACUUM FULL _cache_notify.version_counter;
END
}

# -------------------------------------------------- maintenance under writers

my $seconds = long_test() ? 60 : 2;
my $table = '_cache_notify.version_counter';
for my $command (
	"VACUUM $table",
	"VACUUM (FREEZE, TRUNCATE, DISABLE_PAGE_SKIPPING) $table",
	"VACUUM FULL $table",
	"CLUSTER $table USING version_counter_key",
	"REINDEX TABLE $table",
	"REINDEX TABLE CONCURRENTLY $table",
	"ALTER MATERIALIZED VIEW $table SET (fillfactor = 60)",
	"CREATE INDEX CONCURRENTLY IF NOT EXISTS mine ON $table (last_modified)")
{
	my $name = $command =~ s/ ?cache_notify\.version_counter//r;
	start_over();
	my $load = pgbench_start($node, [ '-c', $clients, '-j', 2, '-T', $seconds, '-f', $script ]);
	my $times = 0;
	my $errors = '';
	my $end = time() + $seconds;

	while (time() < $end)
	{
		my ($status, $out, $error) = $node->psql('postgres', $command);
		$errors .= $error if $status != 0;
		$times++;
	}
	cmp_ok(pgbench_finish($load, $name), '>', 10, "$name: writers went on");
	is($errors, '', "$name: done $times times");
	exact($name);

	# An index of somebody else's must find the rows as well.
	is($node->safe_psql('postgres', <<'END'), 't', "$name: the index that was added is complete")
SET enable_seqscan = off;
SELECT (SELECT count(*) FROM _cache_notify.version_counter WHERE last_modified > '-infinity')
	= (SELECT count(*) FROM _cache_notify.version_counter WHERE n + 0 > 0);
END
	  if $command =~ /mine/;
	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS _cache_notify.mine');
}

# REINDEX CONCURRENTLY builds a new index beside the old one, fills in what it has
# missed, waits for older snapshots, and swaps the two. Whoever writes during that
# wait must write to both.
start_over();
$node->safe_psql('postgres', "SELECT cache_notify.invalidate('old key')");
my $snapshot = session($node);
my $reindex = session($node);
$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$reindex->send("REINDEX TABLE CONCURRENTLY $table");
wait_for('REINDEX CONCURRENTLY to wait for the snapshot', sub {
		$node->safe_psql('postgres',
			"SELECT phase FROM pg_stat_progress_create_index WHERE relid = '$table'::regclass") eq
		  'waiting for old snapshots';
	});
$node->safe_psql('postgres',
	"SELECT cache_notify.invalidate('new key ' || i) FROM generate_series(1, 100) AS i");
$snapshot->query('COMMIT');
is(($reindex->result)[1], '', 'REINDEX CONCURRENTLY with a writer while it waits: done');
is($node->safe_psql('postgres', <<'END'), '1 100', 'and every key that was written meanwhile is found');
SELECT cache_notify.version('old key') - o || ' '
	|| (SELECT sum(cache_notify.version('new key ' || i) - o) FROM generate_series(1, 100) AS i)
FROM cache_notify.version_origin() AS o
END
$_->quit for $snapshot, $reindex;

# -------------------------------------- rows that a session remembers, replaced

# Each session remembers where it wrote a key last. Afterwards the same place is
# gone, or holds another key.
sub tenants
{
	my ($from, $to) = @_;
	return "DO \$\$ BEGIN FOR i IN $from .. $to LOOP"
	  . " PERFORM cache_notify.invalidate('memory', 'm' || i); END LOOP; END \$\$";
}

sub memory
{
	my ($from, $to) = @_;
	return $node->safe_psql('postgres',
		"SELECT min(v) || ' ' || max(v) FROM (SELECT cache_notify.version('memory', 'm' || i) - cache_notify.version_origin() AS v"
		  . " FROM generate_series($from, $to) AS i) AS t");
}

my $session = session($node);
my $other = session($node);
$other->query(writable('version_counter', 1));
for my $case (
	[ 'VACUUM FULL', ["VACUUM FULL $table"], '2 2' ],
	[ 'TRUNCATE', ["TRUNCATE $table"], '1 1' ],
	[ 'deleted and vacuumed away', [ "DELETE FROM $table", "VACUUM (TRUNCATE) $table" ], '1 1' ],
	[ 'deleted, vacuumed, and the place taken by other keys',
		[ "DELETE FROM $table", "VACUUM $table", tenants(1001, 1300), tenants(1001, 1300) ], '1 1' ],
	[ 'deleted and not committed', [ 'BEGIN', "DELETE FROM $table", tenants(1, 1) ], '1 1' ],
	[ 'rewritten in a transaction that rolls back', [ 'BEGIN', "TRUNCATE $table", tenants(1, 9), 'ROLLBACK' ], '2 2' ])
{
	my ($name, $commands, $expected) = @$case;

	$other->query("TRUNCATE $table");
	$session->query(tenants(1, 300));
	is(memory(1, 300), '1 1', "$name: before");
	$other->query($_) for @$commands;
	my $open = $commands->[0] eq 'BEGIN' && $commands->[-1] ne 'ROLLBACK';
	is($session->error(tenants(1, 300)), '', "$name: written again without an error");
	$other->query('COMMIT') if $open;
	$expected = '1 2' if $open;    # the other one's own bump of the first key
	is(memory(1, 300), $expected, "$name: versions");
	is(memory(1001, 1300), '2 2', "$name: the other keys") if $name =~ /other keys/;
}

$other->query(writable('version_counter', 0));

# ----------------------------------------------------------- a snapshot held open

start_over();
my $transactions = long_test() ? 100000 : 20000;
my $each = int($transactions / $clients);
my $hot = write_script($node, 'hot', <<'END');
UPDATE hot SET n = n + 1 WHERE client = :client_id;
END
my @options = ('-c', $clients, '-j', 2, '-t', $each, '-f', $hot);
my %took;

sub run_hot
{
	my ($name) = @_;
	my $start = time();

	pgbench_finish(pgbench_start($node, \@options), $name, $each * $clients);
	$took{$name} = time() - $start;
	exact($name);
}

run_hot('no snapshot held');
run_hot("no snapshot held, round $_") for 2 .. 3;
cmp_ok($node->safe_psql('postgres', "SELECT pg_relation_size('$table')"), '<=', 256 * 8192,
	'dead row versions are removed as writers go');
cmp_ok($node->safe_psql('postgres', "SELECT pg_relation_size('_cache_notify.version_counter_key')"),
	'<=', 64 * 8192, 'and so are index entries');

my $holder = session($node);
$holder->query("BEGIN ISOLATION LEVEL REPEATABLE READ");
my $before = $holder->query("SELECT cache_notify.version('hot', 't')");
run_hot('a snapshot held');
is($holder->query("SELECT cache_notify.version('hot', 't')"), $before,
	'the snapshot sees its version all the time');

# Few writers that take turns meet each other's dead versions most.
$clients = 2;
$each = int($transactions / $clients);
@options = ('-c', $clients, '-j', 2, '-t', $each, '-f', $hot);
run_hot('a snapshot held, two writers');
cmp_ok($took{'a snapshot held, two writers'}, '<', 10 + 5 * $took{'no snapshot held'},
	'the dead versions do not slow writers down much');
note("$_: $took{$_} s") for sort keys %took;
$holder->query('COMMIT');
$node->safe_psql('postgres', "VACUUM $table");
exact('after VACUUM');

# -------------------------------------------------------------------- autovacuum

is($node->safe_psql('postgres', <<'END'), 't', 'autovacuum looks after the counters early');
SELECT reloptions @> '{autovacuum_vacuum_cost_delay=0,vacuum_truncate=off}'
	AND array_to_string(reloptions, ' ') ~ 'autovacuum_vacuum_scale_factor=0\.0[0-9]'
	AND array_to_string(reloptions, ' ') ~ 'autovacuum_vacuum_threshold='
FROM pg_class WHERE oid = '_cache_notify.version_counter'::regclass
END

done_testing();
