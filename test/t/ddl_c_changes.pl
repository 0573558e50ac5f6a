# What functions in C of other extensions do to watched tables, by the server's own
# functions: drop a child, join or leave a parent, swap the rows.  See
# src/ddl/quiet_change.c.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use CacheNotify;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = build_library('c_change', <<'END');
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#if PG_VERSION_NUM >= 190000
#include "commands/repack.h"
#else
#include "commands/cluster.h"
#endif
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(c_drop);
PG_FUNCTION_INFO_V1(c_inherit);
PG_FUNCTION_INFO_V1(c_swap);

/* c_drop(regclass): as retention jobs drop chunks */
Datum
c_drop(PG_FUNCTION_ARGS)
{
	ObjectAddress address = {RelationRelationId, PG_GETARG_OID(0), 0};

	performDeletion(&address, DROP_RESTRICT, 0);
	PG_RETURN_VOID();
}

/* c_inherit(child regclass, parent regclass, boolean): joins or leaves */
Datum
c_inherit(PG_FUNCTION_ARGS)
{
	Oid			parent = PG_GETARG_OID(1);
	AlterTableCmd *command = makeNode(AlterTableCmd);

	command->subtype = PG_GETARG_BOOL(2) ? AT_AddInherit : AT_DropInherit;
	command->def = (Node *) makeRangeVar(get_namespace_name(get_rel_namespace(parent)),
										 get_rel_name(parent), -1);
	AlterTableInternal(PG_GETARG_OID(0), list_make1(command), false);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}

/* c_swap(regclass, regclass): the first gets the rows of the second, which goes */
Datum
c_swap(PG_FUNCTION_ARGS)
{
	finish_heap_swap(PG_GETARG_OID(0), PG_GETARG_OID(1), false, false, false, true,
#if PG_VERSION_NUM >= 190000
					 true,
#endif
					 TransactionXmin, ReadNextMultiXactId(),
					 RELPERSISTENCE_PERMANENT);
	PG_RETURN_VOID();
}
END

my $node = start_server('main', "shared_preload_libraries = 'cache_notify'");
sub ask { return $node->safe_psql('postgres', $_[0]); }

ask(qq{
	CREATE FUNCTION c_drop(regclass) RETURNS void AS '$library' LANGUAGE C STRICT;
	CREATE FUNCTION c_inherit(regclass, regclass, boolean) RETURNS void AS '$library' LANGUAGE C STRICT;
	CREATE FUNCTION c_swap(regclass, regclass) RETURNS void AS '$library' LANGUAGE C STRICT;
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
