# G2, G3: many clients that touch two domains in random order, with rollbacks
# and savepoints in between, at every isolation level and with each delivery:
# nobody deadlocks, nobody fails, and the versions are exactly the number of
# statements that were committed.
#
# Each client has tables of its own, with one row, that feed the same domains and
# the same tenant. So without cache_notify no two transactions have anything in
# common, and every failure is ours. The rows count what was committed.
#
# Failure shows as transactions that pgbench reports as failed, a deadlock or
# serialization failure in the server's log, or a sum that differs.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $clients = 32;
my $transactions = long_test() ? 100000 : 5000;	# in all, each level

my $node = start_server('main', 'cache_notify.delivery = commit');
my $listener = session($node);

$node->safe_psql('postgres', <<"SQL");
DO \$\$
DECLARE
	letter text;
BEGIN
	FOREACH letter IN ARRAY '{a,b}'::text[] LOOP
		FOR i IN 0 .. $clients - 1 LOOP
			EXECUTE format('CREATE TABLE %I (tenant_id text, n bigint)', letter || '_' || i);
			EXECUTE format('INSERT INTO %I VALUES (''t'', 0)', letter || '_' || i);
			PERFORM cache_notify.setup_table_invalidation(letter || '_' || i, letter);
		END LOOP;
	END LOOP;
END
\$\$;
INSERT INTO cache_notify.cascade_rules VALUES ('a', 'c');
SQL

# One of A and B comes first by chance, C by cascade, and one in eight times
# something is taken back: in whole, by a savepoint, or by one that is released.
my $update_a = 'UPDATE a_:client_id SET n = n + 1;';
my $update_b = 'UPDATE b_:client_id SET n = n + 1;';

sub script
{
	my ($level) = @_;
	my $text = <<'END';
\set first random(0, 1)
\set fate random(0, 15)
BEGIN ISOLATION LEVEL LEVEL;
\if :first = 0
A
\if :fate = 1
SAVEPOINT s;
B
ROLLBACK TO s;
\endif
B
\else
B
\if :fate = 1
SAVEPOINT s;
A
A
ROLLBACK TO s;
RELEASE s;
\endif
A
\endif
\if :fate = 2
SAVEPOINT s;
A
SAVEPOINT t;
B
ROLLBACK TO t;
B
RELEASE s;
\endif
\if :fate = 3
ROLLBACK;
\else
COMMIT;
\endif
END
	$text =~ s/LEVEL;/$level;/;
	$text =~ s/^A$/$update_a/mg;
	$text =~ s/^B$/$update_b/mg;
	return $text;
}

# How many statements of a letter were committed.
sub committed
{
	my ($letter) = @_;
	return $node->safe_psql('postgres',
		'SELECT sum(n) FROM ('
		  . join(' UNION ALL ', map { "SELECT n FROM ${letter}_$_" } 0 .. $clients - 1)
		  . ') AS t');
}

sub check
{
	my ($name) = @_;
	my $a = committed('a');
	my $b = committed('b');

	versions_ok($node, $name, 'a/t' => $a, 'b/t' => $b, 'c/t' => $a);

	# The index must find what the table holds.
	is($node->safe_psql('postgres', <<'END'), $a + $b + $a, "$name: the sum of all counters");
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
SELECT sum(n) FROM _cache_notify.version_counter;
END
	is(log_count($node, qr/deadlock detected|could not serialize|ERROR/), 0,
		"$name: no error in the log");
}

my %script;
my %short = (
	'READ COMMITTED' => 'rc',
	'REPEATABLE READ' => 'rr',
	'SERIALIZABLE' => 'ser');
$script{$_} = write_script($node, $short{$_}, script($_)) for keys %short;

for my $delivery ('commit', 'off')
{
	configure($node, 'cache_notify.delivery' => $delivery);
	$listener->query('UNLISTEN *');
	$listener->query('LISTEN cache_invalidation');
	for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		my $name = "delivery $delivery, $level";
		my $each = int($transactions / $clients);

		my $load = pgbench_start($node,
			[ '-c', $clients, '-j', 2, '-t', $each, '-f', $script{$level} ]);
		pgbench_finish($load, $name, $each * $clients);
		check($name);

		my @heard = $listener->heard;
		if ($delivery eq 'off')
		{
			is(scalar @heard, 0, "$name: nothing is delivered");
			next;
		}
		my %last;
		my $backwards = 0;
		for (@heard)
		{
			my ($domain, $version) = $_->{payload} =~ /"domain": "(\w)", "version": (\d+)/;
			$backwards++ if $version <= ($last{$domain} // 0);
			$last{$domain} = $version;
		}
		is($backwards, 0, "$name: every version is higher than the one heard before");
		is_deeply(\%last, { a => committed('a'), b => committed('b'), c => committed('a') },
			"$name: the last version heard is the last there is");
	}
}

# All levels at once.
my $each = int($transactions / $clients);
my $load = pgbench_start($node,
	[ '-c', $clients, '-j', 2, '-t', $each, map { ('-f', $script{$_}) } sort keys %script ]);
pgbench_finish($load, 'all levels mixed', $each * $clients);
check('all levels mixed');

wait_for('the statistics', sub {
		$node->safe_psql('postgres',
			"SELECT xact_commit > 1000 FROM pg_stat_database WHERE datname = 'postgres'") eq 't';
	});
is($node->safe_psql('postgres',
		"SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"),
	0, 'the server has counted no deadlock');

cmp_ok($node->safe_psql('postgres',
		"SELECT max(rows) FROM (SELECT count(*) AS rows FROM _cache_notify.version_counter"
		  . " GROUP BY domain, tenant_id) AS k"),
	'<=', $clients, 'no more counter rows for a key than writers at a time');

done_testing();
