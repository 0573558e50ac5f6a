# The payload formats that tell of tables instead of keys, in both lanes: one event
# per statement, in order, nothing that was rolled back, and something coarser
# rather than nothing where events cannot be told.
#
# Failure shows as a list of events that is not the expected one. What is heard is
# complete once a sentinel, which is committed after it, has been heard.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my ($writer, $listener, $sentinel);

# What the statements make heard on the channels, as a string each: the OID's table,
# "operation table", or the payload as it is.
sub heard_of
{
	my (@statements) = @_;
	my (@heard, $told);

	$writer->query($_) for @statements;
	$sentinel++;
	$writer->query("SELECT cache_notify.invalidate('sentinel', '$sentinel')");
	wait_for("sentinel $sentinel", sub {
			push @heard, $listener->heard;
			return grep { $_->{payload} =~ /"tenant_id": "$sentinel"/ } @heard;
		});
	@heard = map {
		my $p = $_->{payload};
		$_->{channel} eq 'sequel_static_cache_update'
		  ? 'oid ' . $writer->query("SELECT oid::regclass FROM pg_class WHERE oid = $p")
		  : $p =~ /^\{"operation" : "(\w+)", "table" : "(.*)", "sent_at" : "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)"\}$/
		  ? "$1 $2"
		  : $p;
	} grep { $_->{channel} ne 'cache_invalidation' } @heard;
	return \@heard;
}

sub is_heard
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($statements, $expected, $name) = @_;

	return is_deeply(heard_of(@$statements), $expected, $name);
}

sub try_lane
{
	my ($node, $lane) = @_;

	$node->safe_psql('postgres', <<'END');
CREATE TABLE colour (id int PRIMARY KEY, name text);
CREATE TABLE shade (id int PRIMARY KEY, name text);
SELECT cache_notify.setup_table_invalidation('colour', payload => 'pgcachewatch');
SELECT cache_notify.setup_table_invalidation('shade', payload => 'pgcachewatch');
CREATE TABLE size (id int PRIMARY KEY, name text);
CREATE TABLE width (id int PRIMARY KEY, name text);
SELECT cache_notify.setup_table_invalidation('size', payload => 'oid');
SELECT cache_notify.setup_table_invalidation('width', payload => 'oid');
CREATE TABLE "po""int" (x int, "y'" text, n int, PRIMARY KEY (x, "y'"));
SELECT cache_notify.setup_table_invalidation('"po""int"', 'point', payload => 'tcn');
END
	$writer = session($node);
	$listener = session($node);
	$listener->query(qq(LISTEN "$_"))
	  for qw(cache_invalidation ch_pgcachewatch_table_change sequel_static_cache_update tcn suffix other);

	# ------------------------------------------------------- in commit order
	is_heard(["INSERT INTO colour VALUES (1, 'red'), (2, 'green')"],
		['insert colour'], "$lane: a statement is one event");
	is_heard([ "UPDATE colour SET name = 'x' WHERE id = 7", 'DELETE FROM shade',
			'UPDATE colour SET name = name' ],
		[], "$lane: what changes no row is none");
	is_heard([
			"BEGIN; INSERT INTO colour VALUES (3, 'x'); INSERT INTO colour VALUES (4, 'x');"
			  . " DELETE FROM colour WHERE id = 3; INSERT INTO colour VALUES (3, 'x');"
			  . " INSERT INTO shade VALUES (1, 'x'); INSERT INTO colour VALUES (5, 'x');"
			  . " UPDATE colour SET name = 'y'; COMMIT" ],
		[ 'insert colour', 'delete colour', 'insert colour', 'insert shade', 'insert colour', 'update colour' ],
		"$lane: a transaction's operations come in order, equal neighbours as one");
	is_heard([
			"BEGIN; INSERT INTO colour VALUES (6, 'x'); SAVEPOINT a; DELETE FROM colour WHERE id = 6;"
			  . " SAVEPOINT b; TRUNCATE shade; RELEASE b; ROLLBACK TO a; SAVEPOINT c;"
			  . " UPDATE colour SET name = 'z' WHERE id = 6; RELEASE c;"
			  . " SAVEPOINT d; DELETE FROM colour; ROLLBACK TO d; COMMIT",
			'BEGIN; DELETE FROM colour; ROLLBACK' ],
		[ 'insert colour', 'update colour' ], "$lane: nothing that was rolled back");
	is_heard([ "INSERT INTO colour VALUES (1, 'a'), (10, 'a')"
			  . " ON CONFLICT (id) DO UPDATE SET name = excluded.name" ],
		[ 'insert colour', 'update colour' ], "$lane: a statement can do two things");

	# Between sessions: each waits for the other's commit.
	my $other = session($node);
	for my $i (101 .. 130)
	{
		$writer->query("INSERT INTO shade VALUES ($i, 'x')");
		$other->query("DELETE FROM shade WHERE id = $i");
	}
	is_heard([], [ ('insert shade', 'delete shade') x 30 ],
		"$lane: two sessions in turn: none is lost, or merged with a different one");
	$other->quit;

	# --------------------------------------------------------------- OIDs
	is_heard([ "BEGIN; INSERT INTO size VALUES (1, 'x'); INSERT INTO width VALUES (1, 'x');"
			  . " UPDATE size SET name = 'y'; COMMIT" ],
		[ 'oid width', 'oid size' ], "$lane: each table once");
	is_heard(['TRUNCATE size'], ['oid size'], "$lane: TRUNCATE, too");

	# --------------------------------------------------------------- rows
	is_heard([q(INSERT INTO "po""int" VALUES (1, 'a''b', 0), (2, 'b', 0))],
		[ q("po""int",I,"x"='1',"y'"='a''b'), q("po""int",I,"x"='2',"y'"='b') ], "$lane: each row by its primary key");
	is_heard([ q(UPDATE "po""int" SET n = 1 WHERE x = 1), q(UPDATE "po""int" SET x = 3 WHERE x = 2),
			q(DELETE FROM "po""int" WHERE x = 1) ],
		[ q("po""int",U,"x"='1',"y'"='a''b'), q("po""int",U,"x"='2',"y'"='b'), q("po""int",U,"x"='3',"y'"='b'),
			q("po""int",D,"x"='1',"y'"='a''b') ],
		"$lane: a key that changes is told with both values");
	is_heard([ q(BEGIN; INSERT INTO "po""int" VALUES (9, 'i', 0); DELETE FROM "po""int" WHERE x = 9;)
			  . q( INSERT INTO "po""int" VALUES (9, 'i', 0); COMMIT) ],
		[ q("po""int",D,"x"='9',"y'"='i'), q("po""int",I,"x"='9',"y'"='i') ],
		"$lane: of equal events of one transaction the last is told");
	is_heard([q(INSERT INTO "po""int" VALUES (4, repeat('x', 240), 0))], ['"po""int",T'], "$lane: a key too long to be told");
	is_heard([q(TRUNCATE "po""int")], ['"po""int",T'], "$lane: TRUNCATE");
	is_heard([ q(ALTER TABLE "po""int" DROP CONSTRAINT "po""int_pkey"),
			q(INSERT INTO "po""int" VALUES (1, 'a', 0)) ], ['"po""int",T'], "$lane: no primary key any more");

	# ------------------------------------------------- what is not told one by one
	is_heard([q(DO $$ BEGIN FOR i IN 1 .. 600 LOOP INSERT INTO shade VALUES (1000 + i, 'x'); DELETE FROM shade; END LOOP; END $$)],
		[ ('insert shade', 'delete shade') x 500, 'truncate shade' ], "$lane: more than 1,000 events");
	is_heard([ q(DO $$ BEGIN FOR i IN 1 .. 600 LOOP INSERT INTO size VALUES (i, 'x'); INSERT INTO width VALUES (-i, 'x'); END LOOP; END $$) ],
		[ 'oid size', 'oid width' ], "$lane: with OIDs that makes no difference");
	is_heard(["SELECT cache_notify.invalidate('colour')"], ['truncate colour'], "$lane: a change by hand");
	is_heard([ "INSERT INTO cache_notify.cascade_rules VALUES ('colour', 'shade'), ('shade', 'width')",
			"UPDATE colour SET name = 'w'" ],
		[ 'update colour', 'truncate shade', 'oid width' ], "$lane: a cascade");
	is_heard(["DELETE FROM cache_notify.cascade_rules"], [], "$lane: rules are none of a table's business");
	is_heard([ "BEGIN; UPDATE colour SET name = 'v'; PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'" ],
		['truncate colour'], "$lane: a prepared transaction");

	# ------------------------------------------------------ parts of a table
	heard_of("CREATE TABLE part (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k)",
			"CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1)",
			"SELECT cache_notify.setup_table_invalidation('part', payload => 'pgcachewatch')",
			"CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2)");
	is_heard([ "INSERT INTO part VALUES (1, 1), (2, 2)", "UPDATE part1 SET id = 3", "DELETE FROM part2", "TRUNCATE part1" ],
		[ 'insert part', 'update part', 'delete part', 'truncate part' ], "$lane: partitions are the table that is watched");
	is_heard(["ALTER TABLE part RENAME TO portion"], ['truncate portion'], "$lane: DDL");
	is_heard(["INSERT INTO portion VALUES (1, 1)"], ['insert portion'], "$lane: by its name of now");
	heard_of("CREATE TABLE base (id int PRIMARY KEY)",
		"SELECT cache_notify.setup_table_invalidation('base', payload => 'oid')",
		"CREATE TABLE child () INHERITS (base)");
	is_heard(["INSERT INTO child VALUES (1)"], ['oid base'], "$lane: a child, too");
	heard_of("CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM colour",
		"SELECT cache_notify.setup_table_invalidation('summary', payload => 'oid')");
	is_heard(["REFRESH MATERIALIZED VIEW summary"], ['oid summary'], "$lane: a materialized view");

	# ------------------------------------------------------------- options
	heard_of("SELECT cache_notify.setup_table_invalidation('colour', channel => 'other', payload => 'oid')");
	is_heard(["UPDATE colour SET name = 'u'"],
		[ $writer->query("SELECT 'colour'::regclass::oid") ], "$lane: another format, and another channel");
	$writer->query("CREATE TABLE lined (id int)");
	$writer->query("SELECT cache_notify.setup_table_invalidation('lined', channel => 'suffix', payload_suffix => ';\$')");
	is_heard(["INSERT INTO lined VALUES (1)"],
		[qq({"tenant_id": null, "domain": "lined", "version": 1};\$)], "$lane: a suffix");
	$writer->query("SELECT cache_notify.setup_table_invalidation('lined', channel => 'suffix', payload => 'oid', payload_suffix => E'\\n')");
	$writer->query("INSERT INTO lined VALUES (1)");
	my $said = '';
	wait_for('a line', sub { $said .= $listener->query('SELECT 1'); return $said =~ /with payload "\d+\n" received/; });
	like($said, qr/with payload "\d+\n" received/, "$lane: a suffix that ends a line");
	$listener->quit;
	$writer->quit;
	return;
}

my $commit = start_server('commit');
try_lane($commit, 'commit');
$commit->stop;

my $node = worker_server('worker');
try_lane($node, 'worker');
$node->stop;

done_testing();
