# What functions in C of other extensions do by the server's own functions: drop a
# child, join or leave a parent, swap the rows of watched tables, redefine what queries
# use.  See src/ddl/quiet_change.c.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use CacheNotify;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'cache_notify'");
sub ask { return $node->safe_psql('postgres', $_[0]); }

ask(c_functions());
ask(q{
	CREATE TABLE metric (t int, x int);
	CREATE TABLE metric_1 () INHERITS (metric);
	CREATE TABLE part (t int, x int) PARTITION BY RANGE (t);
	CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
	CREATE TABLE other (x int);
	CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM part;
	SELECT cache_notify.setup_table_invalidation(t::regclass) FROM unnest('{metric,part,other,mv}'::text[]) AS t;
	INSERT INTO metric VALUES (0, 0);
	INSERT INTO metric_1 VALUES (1, 1);
	INSERT INTO part VALUES (1, 1);
	CREATE TABLE ready (t int, x int);
	INSERT INTO ready VALUES (2, 2);
});

# Takes tokens of all, does something, and says whose is stale, in the session and after.
sub stale_after
{
	my ($what, $end) = @_;
	my $out = ask(qq{
		CREATE TEMP TABLE before AS SELECT d, cache_notify.token(NULL, d) AS t FROM unnest('{metric,other,part,mv}'::text[]) AS d;
		BEGIN;
		SELECT FROM ($what) AS done;
		SELECT 'within ' || coalesce(string_agg(d, ' ' ORDER BY d) FILTER (WHERE NOT cache_notify.is_current(t) AND cache_notify.token(NULL, d) IS NULL), '-') FROM before;
		$end;
		SELECT 'after ' || coalesce(string_agg(d, ' ' ORDER BY d) FILTER (WHERE NOT cache_notify.is_current(t)), '-') FROM before;
	});
	return join '; ', grep { /^(within|after)/ } split /\n/, $out;
}

is(stale_after('SELECT c_inherit(\'ready\', \'metric\', true)', 'COMMIT'), 'within metric; after metric', 'a child joins');
is(ask("SELECT count(*) FROM cache_notify.domains_of('SELECT * FROM metric') WHERE certainty <> 'exact'"), 0, 'and has its triggers');
is(ask("SELECT cache_notify.token_for('SELECT * FROM metric') IS NOT NULL"), 't', 'so that queries have tokens');
my $token = ask("SELECT cache_notify.token(NULL, 'metric')");
ask('INSERT INTO ready VALUES (3, 3)');
is(ask("SELECT cache_notify.is_current('$token')"), 'f', 'its rows count');
is(stale_after('SELECT c_inherit(\'ready\', \'metric\', false)', 'ROLLBACK'), 'within metric; after -', 'a child leaves, but not for good');
is(stale_after('SELECT c_inherit(\'ready\', \'metric\', false)', 'COMMIT'), 'within metric; after metric', 'a child leaves');
is(ask("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ready'::regclass"), 0, 'without its triggers');
is(stale_after('SELECT c_drop(\'metric_1\')', 'ROLLBACK'), 'within metric; after -', 'a child is dropped, but not for good');
is(stale_after('SELECT c_drop(\'metric_1\')', 'COMMIT'), 'within metric; after metric', 'a child is dropped');
is(stale_after('SELECT c_drop(\'part_1\')', 'COMMIT'), 'within part; after part', 'a partition is dropped');
ask('CREATE TABLE new_rows (x int); INSERT INTO new_rows VALUES (5)');
is(stale_after('SELECT c_swap(\'other\', \'new_rows\')', 'COMMIT'), 'within other; after other', 'rows are swapped');
is(ask('SELECT x FROM other'), 5, 'they really are');
ask('CREATE TABLE new_count (count bigint)');
is(stale_after('SELECT c_swap(\'mv\', \'new_count\')', 'COMMIT'), 'within mv; after mv', 'rows of a materialized view are swapped');

# In the same query, in a DO block, and one question only
ask('CREATE TABLE metric_2 () INHERITS (metric); INSERT INTO metric_2 VALUES (7, 7)');
is(ask("SELECT c_drop('metric_2'), cache_notify.token(NULL, 'metric') IS NULL"), '|t', 'in the query that did it');
ask('CREATE TABLE metric_3 () INHERITS (metric)');
my ($before, $after) = split /\n/, ask(q{SELECT cache_notify.version('metric'); DO $$ BEGIN PERFORM c_drop('metric_3'); END $$; SELECT cache_notify.version('metric')});
is($after - $before, 1, 'in a DO block, once');

# What else commands do, done by the functions that they call
foreach my $command ('ALTER TABLE metric ADD COLUMN y int', 'ALTER TABLE metric RENAME COLUMN y TO z', 'ALTER TABLE metric ALTER z TYPE bigint', 'ALTER TABLE metric DROP COLUMN z',
	'ALTER TABLE metric ENABLE ROW LEVEL SECURITY', 'CREATE POLICY p ON metric USING (true)', 'ALTER POLICY p ON metric USING (x > 0)', 'DROP POLICY p ON metric',
	'ALTER TABLE metric RENAME TO renamed', 'ALTER TABLE renamed RENAME TO metric', 'ALTER TABLE metric DISABLE TRIGGER ALL')
{
	my $what = "SELECT c_run('$command')";
	is(stale_after($what, 'ROLLBACK'), 'within metric; after -', "$command, but not for good");
	is(stale_after($what, 'COMMIT'), 'within metric; after metric', $command);
}
ask("SELECT c_run('ALTER TABLE metric ENABLE TRIGGER ALL')");
is(stale_after("SELECT c_run('ALTER TABLE metric SET (fillfactor = 90)')", 'COMMIT'), 'within -; after -', 'what changes no result is not told');

# Whether a query's token is lost
sub lost
{
	my ($query, $what) = @_;
	my ($token) = ask("SELECT cache_notify.token_for(\$q\$$query\$q\$)");

	isnt($token, '', "$query has a token");
	ask($what);
	return ask("SELECT NOT cache_notify.is_current('$token')");
}
ask(q{
	CREATE TYPE mood AS ENUM ('sad', 'ok');
	CREATE VIEW v AS SELECT x FROM metric;
	CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
	CREATE VIEW v_mood AS SELECT 'ok'::mood AS m FROM metric;
});
foreach my $case ([ 'x FROM v', 'CREATE OR REPLACE VIEW v AS SELECT x + 1 AS x FROM metric' ], [ 'x FROM v', 'ALTER VIEW v RENAME TO w' ], [ 'x FROM w', 'DROP VIEW w' ],
	[ 'f(x) FROM metric', 'CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $f$BEGIN RETURN 2; END$f$' ],
	[ 'f(x) FROM metric', 'ALTER FUNCTION f(int) STRICT' ], [ 'f(x) FROM metric', 'DROP FUNCTION f(int)' ], [ 'm FROM v_mood', 'ALTER TYPE mood RENAME VALUE $v$ok$v$ TO $v$fine$v$' ])
{
	my ($query, $command) = @$case;
	is(lost("SELECT $query", "SELECT c_run(\$c\$$command\$c\$)"), 't', $command);
}
is(lost('SELECT m FROM v_mood', 'SELECT c_run($c$ALTER TYPE mood ADD VALUE IF NOT EXISTS $v$sad$v$$c$)'), 'f', 'nothing was added');

# More than are looked at one by one, and then the one that matters
ask('CREATE TABLE joined () INHERITS (metric)');
ask("CREATE TABLE many_$_ (x int)") for 1 .. 70;
my $columns = 0;
foreach my $last (q{c_run('ALTER TABLE metric ADD COLUMN y int')}, q{c_run('ALTER TABLE metric DROP COLUMN y')},
	q{c_inherit('joined', 'metric', false)}, q{c_inherit('joined', 'metric', true)}, q{c_drop('joined')})
{
	my $column = 'c' . ++$columns;
	my $what = "SELECT (SELECT count(c_run(format('ALTER TABLE many_%s ADD COLUMN $column int', i))) FROM generate_series(1, 70) AS i)"
	  . " + (SELECT count($last))";

	is(stale_after($what, 'COMMIT') =~ s/ (?:other|part|mv)\b//gr, 'within metric; after metric', "after 70 others: $last");
}

# Within commands that tell of what they do themselves
ask(q{
	CREATE FUNCTION drop_if_there(t text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		IF to_regclass('public.' || t) IS NOT NULL THEN PERFORM public.c_drop(('public.' || t)::regclass); END IF;
		RETURN 1; END $$;
	CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM drop_if_there('metric_in'); RETURN NULL; END $$;
	CREATE TABLE deferring (i int);
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON deferring DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION drops();
	CREATE MATERIALIZED VIEW mv_drops AS SELECT drop_if_there('metric_in');
});
foreach my $command ('REFRESH MATERIALIZED VIEW mv_drops', 'CREATE MATERIALIZED VIEW mv_2 AS SELECT drop_if_there(\'metric_in\')', 'CREATE TABLE made AS SELECT drop_if_there(\'metric_in\')',
	'BEGIN; INSERT INTO deferring VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; COMMIT', 'INSERT INTO deferring VALUES (1)', 'ALTER TABLE deferring ADD COLUMN a int DEFAULT drop_if_there(\'metric_in\')')
{
	ask('CREATE TABLE metric_in () INHERITS (metric); INSERT INTO metric_in (x) VALUES (5)');
	is(lost('SELECT x FROM metric', $command), 't', $command);
	is(ask("SELECT to_regclass('metric_in') IS NULL"), 't', 'has dropped a child');
}

# The same of what fires no trigger of dropped objects
ask(q{
	CREATE FUNCTION add_column() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
		PERFORM public.c_run('ALTER TABLE public.metric ADD COLUMN added int'); RETURN 1; END $$;
	CREATE FUNCTION adds() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM add_column(); RETURN NULL; END $$;
	CREATE TABLE adding (i int);
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON adding DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION adds();
	CREATE MATERIALIZED VIEW mv_adds AS SELECT add_column() WITH NO DATA;
});
foreach my $command ('REFRESH MATERIALIZED VIEW mv_adds', 'CREATE MATERIALIZED VIEW mv_3 AS SELECT add_column()', 'CREATE TABLE made_3 AS SELECT add_column()',
	'BEGIN; INSERT INTO adding VALUES (1); SET CONSTRAINTS ALL IMMEDIATE; COMMIT', 'INSERT INTO adding VALUES (1)')
{
	is(lost('SELECT x FROM metric', $command), 't', $command);
	is(ask("SELECT count(*) FROM pg_attribute WHERE attrelid = 'metric'::regclass AND attname = 'added'"), 1, 'has added a column');
	ask('ALTER TABLE metric DROP COLUMN added');
}

# Commands that tell by themselves are not told twice; what only moves rows is not told
foreach my $command ('CREATE TABLE metric_4 () INHERITS (metric)', 'DROP TABLE metric_4', 'TRUNCATE metric', 'ALTER TABLE part ADD COLUMN y int',
	'CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (20) TO (30)', 'DROP TABLE part_2')
{
	my $domain = $command =~ /part/ ? 'part' : 'metric';
	my ($b, $a) = split /\n/, ask("SELECT cache_notify.version('$domain'); $command; SELECT count(*) FROM $domain; SELECT cache_notify.version('$domain')") =~ s/\n\d+\n/\n/r;
	is($a - $b, $command =~ /^CREATE/ ? 0 : 1, "$command counts once, or not at all if there are no rows");
}
foreach my $command ('CREATE INDEX ON metric (x)', 'CLUSTER metric USING metric_x_idx', 'REINDEX TABLE metric', 'VACUUM FULL metric', 'ANALYZE metric', 'CREATE INDEX ON part (x)')
{
	my ($b, $a) = split /\n/, ask("SELECT cache_notify.version('metric') + cache_notify.version('part'); $command; SELECT count(*) FROM metric; SELECT cache_notify.version('metric') + cache_notify.version('part')") =~ s/\n\d+\n/\n/r;
	is($a - $b, 0, "$command changes no result");
}
$node->stop;

# Where the hook is not there the status says so, of tables whose chunks are an extension's.
my $plain = start_server('plain');
$plain->safe_psql('postgres', q{
	CREATE EXTENSION fuzzystrmatch;
	CREATE SCHEMA chunks;
	ALTER EXTENSION fuzzystrmatch ADD SCHEMA chunks;
	CREATE TABLE hyper (t int); CREATE TABLE chunks.c1 () INHERITS (hyper);
	CREATE TABLE tame (t int); CREATE TABLE tame_1 () INHERITS (tame);
	SELECT cache_notify.setup_table_invalidation(t) FROM unnest('{hyper,tame}'::regclass[]) AS t});
is($plain->safe_psql('postgres', q{SELECT string_agg(table_name || ': ' || coalesce(problem, 'none'), '; ' ORDER BY table_name::text) FROM cache_notify.v_invalidation_status}),
	'hyper: an extension changes its rows by functions in C, which only sessions see that have preloaded cache_notify; tame: none', 'not preloaded: the status says so');
is($plain->safe_psql('postgres', q{SELECT cache_notify.token_for('SELECT * FROM hyper') IS NULL, cache_notify.token_for('SELECT * FROM tame') IS NULL}), 't|f', 'and there are no tokens');
$plain->stop;
done_testing();
