# G10: VACUUM right after a load marks the pages of a watched table all-visible, as
# those of any table. The worker's commit has a transaction ID near the load's, and
# the server sets no hint bits near a commit that is not on disk.
#
# Failure shows as pages that are not all-visible: index-only scans fetch from the
# heap until a later vacuum.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $tries = 40;
my $node = worker_server('main', 'autovacuum = off');

$node->safe_psql('postgres', <<'END');
CREATE TABLE watched (id int, text text);
CREATE TABLE plain (id int, text text);
SELECT cache_notify.setup_table_invalidation('watched');
END
my $ear = session($node);
$ear->query('LISTEN cache_invalidation');

# relallvisible and relpages after a load and a vacuum
sub visible_after_load
{
	my ($table, $load) = @_;

	$node->safe_psql('postgres', <<"END");
TRUNCATE $table;
$load
VACUUM ANALYZE $table;
END
	return $node->safe_psql('postgres',
		"SELECT relallvisible, relpages FROM pg_class WHERE relname = '$table'");
}

sub compare_loads
{
	my ($name, $load) = @_;
	my $expected = visible_after_load('plain', $load =~ s/TABLE/plain/gr);
	my %found;

	foreach my $try (1 .. $tries)
	{
		my $visible = visible_after_load('watched', $load =~ s/TABLE/watched/gr);
		$found{$visible}++;
	}
	return is_deeply(\%found, { $expected => $tries },
		"$name: as many pages all-visible as in a table that is not watched, $tries times of $tries");
}

compare_loads('one INSERT',
	"INSERT INTO TABLE SELECT i, repeat('x', 60) FROM generate_series(1, 10000) i;");
compare_loads('a COPY', "COPY TABLE (id) FROM PROGRAM 'seq 10000';");
cmp_ok(scalar $ear->heard, '>', $tries, 'the worker has delivered meanwhile');

# Under load the worker does not wait for a flush, but the last commit is flushed. One
# writer, so that no page is left empty.
$node->safe_psql('postgres', 'TRUNCATE watched');
my $load = pgbench_start($node,
	[ '-t', 800, '-f', write_script($node, 'insert', 'INSERT INTO watched VALUES (1);') ]);
pgbench_finish($load, 'load', 800);
wait_for('the last commit to be on disk', sub {
		$node->safe_psql('postgres', <<'END') eq 't';
VACUUM ANALYZE watched;
SELECT relallvisible = relpages FROM pg_class WHERE relname = 'watched';
END
	});

done_testing();
