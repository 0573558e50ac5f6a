# Serves G6 and G1: what a savepoint takes back is neither counted nor told, and what it
# does not take back is, whatever it was and in which format it is told; also as the first
# that a session does, before which it knows nothing of the extension. A failure shows as
# something heard, or a version moved, of what was taken back, or as nothing of the rest.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CacheNotify;

my $node = start_server('main');
$node->safe_psql('postgres', <<'END_SQL');
CREATE TABLE plain (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE keyed (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE rows (id int PRIMARY KEY, n int);
CREATE TABLE tables (id int PRIMARY KEY, n int);
CREATE TABLE schema_of (id int);
SELECT cache_notify.setup_table_invalidation('plain'),
	cache_notify.setup_table_invalidation('keyed', keys => '{id}', fields => '{keys,operations}'),
	cache_notify.setup_table_invalidation('rows', payload => 'tcn'),
	cache_notify.setup_table_invalidation('tables', payload => 'pgcachewatch'),
	cache_notify.setup_table_invalidation('schema_of', channel => 'cache_invalidation');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, rule_type) VALUES ('plain', 'told', 'notify'), ('plain', 'moved', 'invalidate');
INSERT INTO plain SELECT i, chr(96 + i), 0 FROM generate_series(1, 3) i;
INSERT INTO keyed SELECT i, chr(96 + i), 0 FROM generate_series(1, 3) i;
INSERT INTO rows SELECT i, 0 FROM generate_series(1, 3) i;
INSERT INTO tables SELECT i, 0 FROM generate_series(1, 3) i;
END_SQL

my @channels = split /\n/, $node->safe_psql('postgres', 'SELECT DISTINCT channel FROM cache_notify.v_invalidation_status');
my $ear = session($node);
$ear->query(qq(LISTEN "$_")) for @channels;

# What everybody hears, without what differs each time: versions, times, IDs.
sub heard
{
	return [ sort map {
			my $payload = "$_->{channel} $_->{payload}";
			$payload =~ s/"(version|sent_at|xid)" ?: ("[^"]*"|\d+)/"$1"/g;
			$payload;
		} $ear->heard ];
}

my $versions = 'SELECT string_agg(concat_ws($$ $$, t, v.domain, v.version), $$,$$) FROM unnest($${a,b,c,NULL}$$::text[]) t,'
  . ' cache_notify.versions(t, $$plain$$, $$moved$$, $$keyed$$, $$keyed/1$$, $$keyed/2$$, $$keyed/3$$, $$rows$$, $$tables$$, $$by_hand$$) v';

sub moved
{
	my ($before) = @_;
	my %after = map { /^(.*) (\d+)$/ ? ($1 => $2) : () } split /,/, $node->safe_psql('postgres', $versions);
	my %before = map { /^(.*) (\d+)$/ ? ($1 => $2) : () } split /,/, $before;

	return [ map { "$_ " . ($after{$_} - ($before{$_} // 0)) } grep { $after{$_} != ($before{$_} // 0) } sort keys %after ];
}

# (what is heard, what moves) by these statements.
sub effect
{
	my ($new, @statements) = @_;
	my $session = session($node);

	$session->query($versions) unless $new;
	$ear->heard;
	my $before = $node->safe_psql('postgres', $versions);
	$session->query($_) for @statements;
	$session->quit;
	return [ heard(), moved($before) ];
}

$node->safe_psql('postgres', "SELECT cache_notify.invalidate('by_hand')");
my $other = "UPDATE keyed SET n = n + 1 WHERE id = 3";
for my $case (
	[ 'a row', 'UPDATE plain SET n = n + 1 WHERE id = 1' ],
	[ 'rows of two tenants', 'UPDATE plain SET n = n + 1 WHERE id < 3' ],
	[ 'a key', 'UPDATE keyed SET n = n + 1 WHERE id = 1' ],
	[ 'the key that another statement changes', 'UPDATE keyed SET n = n + 1 WHERE id IN (1, 3)' ],
	[ 'every key', 'TRUNCATE keyed; INSERT INTO keyed SELECT i, chr(96 + i), 0 FROM generate_series(1, 3) i' ],
	[ 'a row that is told', 'UPDATE rows SET n = n + 1 WHERE id = 1' ],
	[ 'two rows that are told', 'UPDATE rows SET n = n + 1 WHERE id < 3' ],
	[ 'a table that is told', 'DELETE FROM tables WHERE id > 100; UPDATE tables SET n = n + 1' ],
	[ 'a domain by hand', q{SELECT cache_notify.invalidate('by_hand', 'a')} ],
	[ 'a key by hand', q{SELECT cache_notify.invalidate('keyed/2', 'b')} ])
{
	my ($name, $statement) = @$case;
	my $alone = effect(0, 'BEGIN', $other, 'COMMIT');
	my $both = effect(0, 'BEGIN', $other, $statement, 'COMMIT');

	for my $new (0, 1)
	{
		my $when = $name . ($new ? ', in a new session' : '');

		is_deeply(effect($new, 'BEGIN', 'SAVEPOINT s', $statement, 'ROLLBACK TO s', $other, 'COMMIT'), $alone, "$when: before the rest");
		is_deeply(effect($new, 'BEGIN', $other, 'SAVEPOINT s', $statement, 'ROLLBACK TO s', 'COMMIT'), $alone, "$when: after it");
		is_deeply(effect($new, 'BEGIN', $other, 'SAVEPOINT s', 'SAVEPOINT t', $statement, 'RELEASE t', 'ROLLBACK TO s', 'COMMIT'), $alone,
			"$when: released into what is taken back");
		is_deeply(effect($new, 'BEGIN', $other, 'SAVEPOINT s', $statement, 'SAVEPOINT t', $statement, 'RELEASE t', 'ROLLBACK TO s', 'COMMIT'),
			$alone, "$when: twice, and released");
		is_deeply(effect($new, 'BEGIN', $other, 'SAVEPOINT s', $statement, 'RELEASE s', 'COMMIT'), $both, "$when: released");
		is_deeply(effect($new, 'BEGIN', 'SAVEPOINT s', $statement, 'ROLLBACK TO s', $statement, $other, 'COMMIT'), $both, "$when: once more");
	}
}

done_testing();
