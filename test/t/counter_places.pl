# G4: a session remembers where the index has the rows of a key. Whatever happens
# to the index and the table, what it reads is the sum of all rows: new keys and
# new rows of old keys, page splits, rows that are merged, VACUUM, REINDEX, and
# keys that have no row yet.
#
# One session reads all keys again and again, so that it remembers most of them;
# steps in random order change something in between. Failure shows as a key whose
# version is not what a scan of the whole table adds up to.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $rounds = long_test() ? 3000 : 300;
my $keys = 2500;		# of some 4000 that are remembered, half of them too long for many a page

my $node = start_server('main', <<'END');
cache_notify.delivery = off
max_prepared_transactions = 20
autovacuum = off
END

my $seed = $ENV{SEED} // int(rand(1000000));
srand($seed);
note("SEED=$seed");

my $writer = session($node);
my $reader = session($node);
$writer->query(<<"END");
CREATE TABLE name AS
SELECT i, CASE WHEN i % 20 > 0 THEN md5(i::text) || repeat('x', i % 2 * 150) END AS tenant_id,
	'd' || i % 7 AS domain
FROM generate_series(1, $keys) AS i;
END
$reader->query('SET enable_indexscan = off; SET enable_bitmapscan = off');

# Keys of one domain share its shared counter, which is one of the keys.
my $wrong = <<'END';
WITH counted AS MATERIALIZED (
	SELECT domain, tenant_id, sum(n) AS n FROM _cache_notify.version_counter GROUP BY 1, 2
), whole AS MATERIALIZED (
	SELECT domain, sum(n) AS n FROM _cache_notify.version_counter GROUP BY 1)
SELECT count(*) FROM name
LEFT JOIN counted AS own ON own.domain = name.domain AND own.tenant_id = name.tenant_id
LEFT JOIN counted AS shared ON shared.domain = name.domain AND shared.tenant_id IS NULL
LEFT JOIN whole ON whole.domain = name.domain
WHERE cache_notify.version(name.domain, name.tenant_id) - cache_notify.version_origin()
	<> CASE WHEN name.tenant_id IS NULL THEN coalesce(whole.n, 0)
	ELSE coalesce(own.n, 0) + coalesce(shared.n, 0) END
END

my $prepared = 0;

# Some keys in a row; by default anywhere.
sub bump
{
	my ($count, $first) = @_;
	$first //= 1 + int(rand($keys));
	my $last = $first + $count;
	return "SELECT cache_notify.invalidate(domain, tenant_id) FROM name WHERE i BETWEEN $first AND $last";
}

my @steps = (
	([ 'a few', sub { $writer->query(bump(3)) } ]) x 6,
	[ 'many', sub { $writer->query(bump(50)) } ],
	# So many rows of the same few keys that some have them on two pages.
	([ 'held', sub {
				return if $prepared >= 18;
				$prepared++;
				$writer->query('BEGIN; ' . bump(10, 1) . "; PREPARE TRANSACTION 'p$prepared'");
	} ]) x 12,
	([ 'let go', sub {
				return unless $prepared;
				my $end = rand() < 0.5 ? 'COMMIT' : 'ROLLBACK';
				$writer->query("$end PREPARED 'p$prepared'");
				$prepared--;
	} ]) x 4,
	[ 'compact', sub { $writer->query('SELECT cache_notify.compact()') } ],
	[ 'vacuum', sub { $writer->query('VACUUM _cache_notify.version_counter') } ],
	[ 'reindex', sub {
			return if $prepared;	# they have it locked
			$writer->query('REINDEX TABLE _cache_notify.version_counter');
	} ],
);

my %done;
my @failed;
for my $round (1 .. $rounds)
{
	my ($name, $step) = @{ $steps[ rand(@steps) ] };
	$step->();
	$done{$name}++;
	my $count = $reader->query($wrong);
	push @failed, "round $round, $name: $count" if $count;
}
is_deeply(\@failed, [], "after each of $rounds steps all versions are right");
is_deeply([ sort keys %done ], [ sort ('a few', 'many', 'held', 'let go', 'compact', 'vacuum', 'reindex') ],
	'each kind of step was taken');
cmp_ok($reader->query("SELECT pg_relation_size('_cache_notify.version_counter_key') / current_setting('block_size')::int"),
	'>', 10, 'the index has many pages');

# A tenant that cannot have a counter.
is($reader->query("SELECT cache_notify.version('d1', repeat('x', 100000)) = (SELECT shared_version FROM cache_notify.versions(NULL, 'd1'))"),
	't', 'a tenant that is too long');

done_testing();
