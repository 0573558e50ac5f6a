# pg_dump carries the configuration, and a restored database goes on with it.
use strict;
use warnings;
use CacheNotify;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION cache_notify;
	CREATE TABLE contract (id int PRIMARY KEY, tenant_id text, name text);
	CREATE TABLE log (day int, x int) PARTITION BY RANGE (day);
	CREATE TABLE log1 PARTITION OF log FOR VALUES FROM (1) TO (2);
	CREATE TABLE base (id int);
	CREATE TABLE child () INHERITS (base);
	-- grouped by the primary key, so it is restored after the constraints
	CREATE MATERIALIZED VIEW early AS SELECT id FROM contract;
	CREATE MATERIALIZED VIEW late AS SELECT id, name, count(*) FROM contract GROUP BY id;
	SELECT cache_notify.setup_table_invalidation('contract', columns => '{name}', channel => 'c', fire_on_replica => true);
	SELECT cache_notify.setup_table_invalidation('log');
	SELECT cache_notify.setup_table_invalidation('base');
	SELECT cache_notify.setup_table_invalidation('early', channel => 'e');
	SELECT cache_notify.setup_table_invalidation('late');
	INSERT INTO contract VALUES (1, 'a', 'x');
	INSERT INTO log VALUES (1, 1);});

my $everything = q{
	SELECT * FROM cache_notify.v_invalidation_status ORDER BY table_name::text;
	SELECT tgrelid::regclass, tgname, tgenabled, tgparentid <> 0, arguments
	FROM _cache_notify.watching_trigger ORDER BY tgrelid::regclass::text, tgname;};
my $before = $node->safe_psql('postgres', $everything);
like($before, qr/late\|late.*refresh/, 'materialized views are watched');

my $dir = $node->basedir;
# A label of a view that is restored after the data may be up to a parallel
# worker that has not met the extension yet.
$ENV{PGOPTIONS} = '-c session_preload_libraries=cache_notify';
foreach my $way ('plain', 'custom', 'parallel')
{
	my $db = "restored_$way";
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	if ($way eq 'plain')
	{
		$node->command_ok([ 'pg_dump', '-f', "$dir/$way", 'postgres' ], "$way dump");
		$node->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$way", $db ],
			"$way restore");
	}
	else
	{
		$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$way", 'postgres' ], "$way dump");
		$node->command_ok([ 'pg_restore', '-e', ($way eq 'parallel' ? ('-j', 4) : ()),
				'-d', $db, "$dir/$way" ], "$way restore");
	}
	is($node->safe_psql($db, $everything), $before, "$way: the same configuration");
	# What happened meanwhile in the other database does not matter.
	foreach my $case (
		[ 'contract', "UPDATE contract SET name = 'y'", 'a' ],
		[ 'log', 'TRUNCATE log1' ],
		[ 'base', 'INSERT INTO child VALUES (1)' ],
		[ 'early', 'REFRESH MATERIALIZED VIEW early' ],
		[ 'late', 'REFRESH MATERIALIZED VIEW late' ])
	{
		my ($domain, $sql, $tenant) = @$case;
		my $args = "'$domain'" . ($tenant ? ", '$tenant'" : '');
		my $was = $node->safe_psql($db, "SELECT cache_notify.version($args)");
		is($node->safe_psql($db, "$sql; SELECT cache_notify.version($args)"), $was + 1,
			"$way: $domain");
	}
}

# Restoring data with the triggers off: what came meanwhile counts as changed.
my $was = $node->safe_psql('postgres', "SELECT cache_notify.version('contract')");
$node->safe_psql('postgres', q{
	ALTER TABLE contract DISABLE TRIGGER ALL;
	INSERT INTO contract VALUES (2, 'b', 'y');
	ALTER TABLE contract ENABLE TRIGGER ALL;});
cmp_ok($node->safe_psql('postgres', "SELECT cache_notify.version('contract')"), '>', $was,
	'pg_restore --disable-triggers');

# A rule is noted at the tables that it concerns, whatever goes on with them: writers do not
# wait, nor does the rule for them; a table under DDL is left out, and repair() makes up for it.
sub noted
{
	return $node->safe_psql('postgres',
		"SELECT string_agg(relation::regclass::text, ' ' ORDER BY relation::regclass::text) FROM _cache_notify.noting_watch WHERE rules <> '{}'");
}

my $writer = session($node);
$writer->query("BEGIN; UPDATE contract SET name = 'w'");
my $rule_writer = session($node);
$rule_writer->query("SET lock_timeout = '5s'; BEGIN; INSERT INTO cache_notify.cascade_rules VALUES ('contract', 'base')");
$node->safe_psql('postgres', "SET lock_timeout = '5s'; INSERT INTO contract VALUES (3, 'b', 'y'); INSERT INTO base VALUES (3); VACUUM contract");
$rule_writer->query('COMMIT');
$writer->query('COMMIT');
is(noted(), 'contract', 'a rule is noted at a table that is written');
$node->safe_psql('postgres', q{INSERT INTO cache_notify.cascade_rules VALUES ('by_hand', 'base')});
is(noted(), 'base contract', 'or at what it leads to');
$writer->query('BEGIN; LOCK TABLE contract, log IN SHARE MODE');
my ($status, $out, $warnings) = $node->psql('postgres', "SET lock_timeout = '100ms'; DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'contract'");
like($warnings, qr/lock timeout/, 'who deletes a rule waits, or its note would bring it back');
($status, $out, $warnings) = $node->psql('postgres', "SET lock_timeout = '5s'; INSERT INTO cache_notify.cascade_rules VALUES ('log', 'base')");
is($status, 0, 'a rule is written although a table is locked');
like($warnings, qr/WARNING:  cascade rules are not noted at log, which is locked/, 'with a warning');
$writer->query('COMMIT');
$_->quit for $writer, $rule_writer;
$node->safe_psql('postgres', 'SELECT cache_notify.repair()');
is($node->safe_psql('postgres', "SELECT string_agg(relation::regclass || ': ' || cardinality(rules), ' ' ORDER BY relation::regclass::text) FROM _cache_notify.noting_watch WHERE rules <> '{}'"),
	'base: 1 contract: 1 log: 1', 'and repair() notes it');
$node->safe_psql('postgres', 'TRUNCATE cache_notify.cascade_rules');
is(noted(), '', 'no rules, no notes');
$node->stop;
done_testing();
