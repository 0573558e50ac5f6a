# G4 and what a bump costs: sessions of a preloaded library tell each other where
# the rows of counters are. One that meets a key for the first time finds its row
# without the index. What they tell may be outdated or of another database; the
# version is right whatever it is.
#
# Failure shows as index scans of a session that need not make any, or as a version
# that is not the number of bumps.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $keys = 300;

my $node = start_server('main', <<'END');
shared_preload_libraries = cache_notify
cache_notify.delivery = off
autovacuum = off
END

my %bumps;		# by database

# Bump all keys, each in a transaction of its own, in a session that is new.
sub bump_all
{
	my ($db) = @_;
	$node->safe_psql($db,
		join("\n", map { "SELECT cache_notify.invalidate('d', 't$_');" } 1 .. $keys));
	$bumps{$db}++;
	return;
}

sub all_right
{
	my ($db, $what) = @_;
	my $wrong = $node->safe_psql($db, <<"END");
SELECT count(*) FROM generate_series(1, $keys) AS i
WHERE cache_notify.version('d', 't' || i) - cache_notify.version_origin() <> $bumps{$db}
END
	is($wrong, 0, "$what: each version is the number of bumps");
	return;
}

$bumps{postgres} = 0;
bump_all('postgres') for 1 .. 2;
all_right('postgres', 'before');

SKIP:
{
	skip 'this server cannot be asked for statistics at once', 1 if server_version($node) < 15;

	my $scans = <<'END';
SELECT pg_stat_force_next_flush();
SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'version_counter_key'
END
	my $before = $node->safe_psql('postgres', $scans);
	my $new = session($node);
	$new->query("SELECT cache_notify.invalidate('d', 't$_')") for 1 .. $keys;
	$new->query('SELECT pg_stat_force_next_flush()');
	$new->quit;
	$bumps{postgres}++;
	# Two keys may share a hint.
	cmp_ok($node->safe_psql('postgres', $scans) - $before, '<', $keys / 10,
		'a new session needs next to no index scans');
}
all_right('postgres', 'by hints of others');

# Other rows come to lie where the hints point to, or nothing does any more.
for my $change ('REINDEX TABLE _cache_notify.version_counter', 'VACUUM FULL _cache_notify.version_counter',
	'SELECT cache_notify.compact()', 'VACUUM (FREEZE) _cache_notify.version_counter')
{
	$node->safe_psql('postgres', $change);
	bump_all('postgres');
	all_right('postgres', $change);
}
$node->safe_psql('postgres', <<"END");
CREATE TABLE saved AS SELECT * FROM _cache_notify.version_counter;
@{[ writable('version_counter', 1) ]}
DELETE FROM _cache_notify.version_counter;
VACUUM _cache_notify.version_counter;
INSERT INTO _cache_notify.version_counter SELECT * FROM saved ORDER BY random();
@{[ writable('version_counter', 0) ]}
END
bump_all('postgres');
all_right('postgres', 'rows in another order');

# The same file name in another database.
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
$bumps{copy} = $bumps{postgres};
bump_all('copy') for 1 .. 2;
bump_all('postgres');
all_right('postgres', 'beside a copy');
my $short = $node->safe_psql('copy', <<"END");
SELECT count(*) FROM generate_series(1, $keys) AS i
WHERE (SELECT sum(n) FROM _cache_notify.version_counter WHERE domain = 'd' AND tenant_id = 't' || i)
	<> $bumps{copy}
END
is($short, 0, 'in a copy: each counter has all bumps');

done_testing();
