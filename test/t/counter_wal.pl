# G3, G5: what a bump writes into the WAL is what the page says. A standby and a crash
# come to the same pages, whatever is bumped: a tenant, none, keys, several in one
# transaction; with logical decoding and without. Pages, index and visibility map agree.
#
# The server itself compares: with wal_consistency_checking each record has the page
# with it, and a replay that comes to another one stops. Failure shows as a standby that
# stops, a server that does not come up after a crash, versions that differ, or as what
# amcheck has to say.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', <<'END', allows_streaming => 1);
cache_notify.delivery = off
wal_consistency_checking = heap
autovacuum = off
END
my $table = '_cache_notify.version_counter';

$node->safe_psql('postgres', <<'END');
CREATE EXTENSION amcheck;
CREATE TABLE shared (id int PRIMARY KEY, n int);
CREATE TABLE owned (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE keyed (id int PRIMARY KEY, n int);
INSERT INTO shared SELECT i, 0 FROM generate_series(1, 300) AS i;
INSERT INTO owned SELECT i, 'tenant ' || i % 40, 0 FROM generate_series(1, 300) AS i;
INSERT INTO keyed SELECT i, 0 FROM generate_series(1, 300) AS i;
SELECT cache_notify.setup_table_invalidation('shared');
SELECT cache_notify.setup_table_invalidation('owned');
SELECT cache_notify.setup_table_invalidation('keyed', keys => '{id}');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain)
SELECT 'shared', 'far' || i FROM generate_series(1, 5) AS i;
END

my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('base');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

my @scripts = map { write_script($node, "bump_$_", <<"END") } 'shared', 'owned', 'keyed';
\\set id random(1, 300)
UPDATE $_ SET n = n + 1 WHERE id = :id;
END

# Single bumps of all kinds by several clients.
sub bump_all
{
	my $load = pgbench_start($node, [ '-c', 4, '-t', 150, map { ('-f', $_) } @scripts ]);
	pgbench_finish($load, 'bumps', 600);
	return;
}

my $state = <<'END';
SELECT domain, tenant_id, sum(n), max(last_modified), max(bucket_layout), sum(keyed)
FROM _cache_notify.version_counter GROUP BY 1, 2 ORDER BY 1, 2
END

# Nothing is wrong with table and index, and the index leads to every row.
sub sound
{
	my ($what) = @_;
	is($node->safe_psql('postgres', "SELECT * FROM verify_heapam('$table')"),
		'', "$what: the table is sound");
	$node->safe_psql('postgres', <<"END");
SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = '$table'::regclass
END
	# An index-only scan believes the visibility map.
	is($node->safe_psql('postgres', <<"END"), 't', "$what: so is the visibility map");
SET enable_seqscan = off; SET enable_bitmapscan = off;
CREATE TEMP TABLE by_index AS SELECT domain, tenant_id, row_id, moves FROM $table;
SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off;
SELECT count(*) = (SELECT count(*) FROM by_index) FROM $table
END
	return;
}

sub same_on_standby
{
	my ($what) = @_;
	# It stops where it comes to another page.
	my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
	wait_for('the standby to have replayed all', sub {
			my ($code, $done) = $standby->psql('postgres', "SELECT pg_last_wal_replay_lsn() >= '$end'");
			$code != 0 || $done eq 't';
		});
	is($standby->safe_psql('postgres', $state), $node->safe_psql('postgres', $state),
		"$what: the standby has the same counters");
	return;
}

sub same_after_crash
{
	my ($what) = @_;
	my $before = $node->safe_psql('postgres', $state);
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', $state), $before, "$what: so has the server after a crash");
	return;
}

bump_all();
same_on_standby('bumps');
same_after_crash('bumps');
sound('bumps');

# Pages without room, and pages that VACUUM has marked.
$node->safe_psql('postgres', <<"END");
SELECT cache_notify.invalidate('owned', 'another ' || i) FROM generate_series(1, 500) AS i;
SELECT cache_notify.compact();
VACUUM (FREEZE) $table;
END
bump_all();
sound('after VACUUM');
same_on_standby('after VACUUM');

# An index that a bump must keep up.
$node->safe_psql('postgres', "CREATE INDEX CONCURRENTLY own ON $table (n)");
bump_all();
sound('an index of a user');
same_on_standby('an index of a user');
$node->safe_psql('postgres', "DROP INDEX _cache_notify.own");

# Somebody may want to read all that from the WAL, with the old rows or without.
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->restart;
for my $identity ('DEFAULT', 'FULL')
{
	$node->safe_psql('postgres', "ALTER MATERIALIZED VIEW $table REPLICA IDENTITY $identity")
	  if $identity ne 'DEFAULT';
	my $slot = lc $identity;
	$node->safe_psql('postgres',
		"SELECT pg_create_logical_replication_slot('$slot', 'test_decoding')");
	bump_all();
	same_on_standby("replica identity $identity");
	my $told = $node->safe_psql('postgres', <<"END");
SELECT count(*) FROM pg_logical_slot_get_changes('$slot', NULL, NULL)
WHERE data LIKE 'table public.% UPDATE:%'
END
	is($told, 600, "replica identity $identity: each update of a user is decoded");
	same_after_crash("replica identity $identity");
}
sound('at the end');

done_testing();
