# What a transaction's statements leave in the memory of the session does not grow with
# their number: whatever type tenant and key have, and with more watched triggers in turn
# than are remembered at a time (4,096).
#
# Failure shows as memory that grows between the middle and the end of many statements.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $node = worker_server('main', "max_locks_per_transaction = 1000\n");
my $statements = long_test() ? 100_000 : 4_000;
my $session = session($node);

# What the session's memory grows by while a statement runs n more times.
sub growth
{
	my ($sql, $n) = @_;

	return $session->query(<<"END");
BEGIN;
DO \$\$ BEGIN FOR i IN 1 .. @{[ $n / 2 ]} LOOP $sql END LOOP; END \$\$;
SELECT sum(total_bytes) AS before FROM pg_backend_memory_contexts \\gset
DO \$\$ BEGIN FOR i IN 1 .. $n LOOP $sql END LOOP; END \$\$;
SELECT sum(total_bytes) - :before FROM pg_backend_memory_contexts;
COMMIT;
END
}

# A configuration takes 3.6 kB and more; 400 bytes for each that is used is the server's
# part (combo CIDs, invalidations, queued triggers).
sub flat_ok
{
	my ($sql, $n, $configs, $name) = @_;
	my $grown = growth($sql, $n);

	note("$name: $grown bytes in $n statements");
	return cmp_ok($grown, '<', $configs * 400 + 65_536, $name);
}

$session->query(<<'END');
CREATE EXTENSION ltree;
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN words AS text;
END
my %value_of = (
	ltree => 'a.b', hstore => 'a=>1', citext => 'A', mood => 'a', pair => '(1,2)',
	words => 'w', text => 't', 'int[]' => '{1}', numrange => '[1,2)', jsonb => '{}',
	numeric => '1.0', uuid => '00000000-0000-0000-0000-000000000001', interval => '1 day');
my $n = 0;
for my $type (sort keys %value_of)
{
	my $table = 't' . $n++;

	$session->query(<<"END");
CREATE TABLE $table (id int PRIMARY KEY, tenant_id $type, k $type, n int DEFAULT 0);
INSERT INTO $table VALUES (1, '$value_of{$type}', '$value_of{$type}');
SELECT cache_notify.setup_table_invalidation('$table');
SELECT cache_notify.setup_table_invalidation('$table', '${table}_k', keys => '{k}');
END
	flat_ok("UPDATE $table SET n = n + 1;", $statements, $statements,
		"a tenant and a key of type $type");
}

# DDL in the transaction has configurations prepared anew; those in use stay.
flat_ok('UPDATE t0 SET n = n + 1; GRANT SELECT ON t0 TO pg_monitor;', 500, 500, 'DDL in between');

# More triggers than are remembered: 60 tables of 100.
$session->query(<<'END');
DO $$
BEGIN
	FOR t IN 1 .. 60 LOOP
		EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY, n int DEFAULT 0)', t);
		EXECUTE format('INSERT INTO many_%s VALUES (1)', t);
		FOR d IN 1 .. 100 LOOP
			EXECUTE format('CREATE TRIGGER r%s AFTER UPDATE ON many_%s FOR EACH ROW'
				' EXECUTE FUNCTION cache_notify.row_change(''domain=d%s'')', d, t, d);
		END LOOP;
	END LOOP;
END $$;
END
my $in_turn = q{EXECUTE format('UPDATE many_%s SET n = n + 1', i % 60 + 1);};
my $rounds = long_test() ? 100 : 6;
flat_ok($in_turn, 60 * $rounds, 6_000 * $rounds, 'more triggers in turn than are remembered');

# A configuration that is dropped while the statement that uses it goes on: each row's
# trigger changes another table with as many triggers of its own.
$session->query(<<'END');
CREATE FUNCTION spread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	FOR t IN 2 .. 60 LOOP
		EXECUTE format('UPDATE many_%s SET n = n + 1', t);
	END LOOP;
	RETURN NULL;
END $$;
INSERT INTO many_1 SELECT i FROM generate_series(2, 5) AS i;
CREATE TRIGGER a AFTER UPDATE ON many_1 FOR EACH ROW EXECUTE FUNCTION spread();
END
for my $inline ('on', 'off')
{
	$session->query("SET cache_notify.inline_triggers = $inline");
	flat_ok('UPDATE many_1 SET n = n + 1;', 4, 4 * 4 * 6_000,
		"dropped while they are used, inline_triggers = $inline");
}
is($session->query("SELECT count(*) FROM many_1 WHERE n > 0"), 5, 'all rows were changed');
is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash');

done_testing();
