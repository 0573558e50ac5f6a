# G10, G8: a database can be dumped in every form by whoever could before, its owner
# included, and what arrives works as it did, or says that it does not.
#
# Failure shows as a dump or a restore with errors, as a configuration that differs from
# that of the database which was dumped, as a change that is not seen, or as an OID in
# the dump.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('source');
my $other = start_server('target');
my $dir = $node->basedir;

# The owner of the database, who is no superuser, and has what is in it. Superusers have
# created the extension and written rules.
for my $server ($node, $other)
{
	$server->safe_psql('postgres', 'CREATE ROLE owner LOGIN CREATEDB');
}
$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER owner');
$node->safe_psql('shop', <<'END');
CREATE EXTENSION cache_notify;
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page', 'invalidate', 'all'), ('page', 'site', 'notify', 'all');
SELECT cache_notify.setup_schema_invalidation('postgrest', payload_suffix => E'\n');
SET ROLE owner;
CREATE SCHEMA s;
CREATE TABLE s.item (id int PRIMARY KEY, tenant_id text, name text);
CREATE TABLE s.part (day int) PARTITION BY RANGE (day);
CREATE TABLE s.part1 PARTITION OF s.part FOR VALUES FROM (1) TO (2);
CREATE FUNCTION s.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE VIEW s.v AS SELECT s.twice(id) AS id, tenant_id FROM s.item;
CREATE MATERIALIZED VIEW s.m AS SELECT count(*) FROM s.item;
SELECT cache_notify.setup_table_invalidation('s.item', columns => '{id,tenant_id,name}', channel => 'it''s', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('s.part');
SELECT cache_notify.setup_table_invalidation('s.m');
SELECT cache_notify.setup_view_invalidation('s.v');
CREATE MATERIALIZED VIEW s.shared AS SELECT count(*) FROM s.part;
SELECT cache_notify.setup_table_invalidation('s.shared', 'part', channel => 'c', payload_suffix => '!');
INSERT INTO s.item VALUES (1, 'a', 'x');
INSERT INTO s.part VALUES (1);
END

my $configuration = <<'END';
SELECT table_name, domain, tenant_column, channel, columns, enabled, problem FROM cache_notify.v_invalidation_status ORDER BY table_name::text, 2;
SELECT source_domain, target_domain, rule_type, keys, tenants, carried_by FROM cache_notify.v_cascade_rules ORDER BY 1, 2;
SELECT channel, preset, payload, enabled FROM cache_notify.v_schema_invalidation;
SELECT * FROM cache_notify.cascade_rules ORDER BY 1, 2;
END

# What each of these moves. NTH is another number each time.
my $nth = 2;
my @changes = (
	[ "UPDATE s.item SET name = name || 'y'", 'item', 'page', 'v' ],
	[ 'INSERT INTO s.part1 VALUES (1)', 'part' ],
	[ 'TRUNCATE s.part1', 'part' ],
	[ 'REFRESH MATERIALIZED VIEW s.m', 'm' ],
	[ 'REFRESH MATERIALIZED VIEW s.shared', 'part' ],
	[ q{CREATE OR REPLACE FUNCTION s.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT NTH * $1'}, 'v' ],
	[ 'CREATE OR REPLACE VIEW s.v AS SELECT s.twice(id) + NTH AS id, tenant_id FROM s.item', 'v' ]);

sub behaviour
{
	my ($server, $database) = @_;
	my @moved;

	for my $change (@changes)
	{
		my ($command, @domains) = @$change;
		for my $domain (@domains)
		{
			my $version = "SELECT cache_notify.version('$domain')";
			my $before = $server->safe_psql($database, $version);
			my $new = $command =~ s/NTH/++$nth/er;
			$server->safe_psql($database, $new);
			push @moved, "$domain by $command" if $server->safe_psql($database, $version) > $before;
		}
	}
	return \@moved;
}

my $expected = $node->safe_psql('shop', $configuration);
my $file = "$dir/dump";
my %forms = (
	plain => [],
	custom => ['-Fc'],
	directory => [ '-Fd', '-j', 2 ],
	inserts => [ '--column-inserts', '--no-owner' ],
	'schema only' => ['-s'],
	'no owner or privileges' => [ '-Fc', '-O', '-x' ],
	create => ['-C'],
	clean => [ '-c', '--if-exists' ]);

sub restore
{
	my ($server, $form, $database) = @_;
	my @connect = ('-h', $server->host, '-p', $server->port);

	return command_ok(
		[ 'pg_restore', '-e', ($form eq 'directory' ? ('-j', 1) : ()), @connect, '-d', $database, $file ],
		"$form: pg_restore")
	  if $form =~ /custom|directory|privileges/;
	return command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', @connect,
			'-d', $form eq 'create' ? 'postgres' : $database, '-f', $file ], "$form: psql");
}

my $everything = behaviour($node, 'shop');
my $count = 0;
for my $form (sort keys %forms)
{
	my %by;
	for my $who ('owner', 'postgres')
	{
		rmtree_or_unlink($file);
		$node->command_ok(
			[ 'pg_dump', @{ $forms{$form} }, '-U', $who, '-f', $file, 'shop' ], "$form: pg_dump by $who");
		$by{$who} = text_of($form);
	}
	is($by{owner}, $by{postgres}, "$form: the same dump by either");
	if ($form !~ /custom|directory|privileges/)
	{
		my $dump = slurp_file($file);
		my @oids = split /\n/, $node->safe_psql('shop',
			"SELECT oid FROM pg_class WHERE relnamespace = 's'::regnamespace UNION SELECT oid FROM pg_proc WHERE pronamespace = 's'::regnamespace");
		my @there = grep { $dump =~ /\b$_\b/ } @oids;
		is_deeply(\@there, [], "$form: no OID in the dump");
		unlike($dump, qr/COPY _?cache_notify|INSERT INTO _?cache_notify/, "$form: no state");
	}
	for my $server ($form eq 'create' ? ($other) : ($node, $other))
	{
		my $database = $form eq 'create' ? 'shop' : 'copy' . $count++;
		$server->safe_psql('postgres', "CREATE DATABASE $database") if $form ne 'create';
		restore($server, $form, $database);
		is($server->safe_psql($database, $configuration), $expected, "$form: the configuration is the same");
		$server->safe_psql($database,
			"INSERT INTO s.item VALUES (1, 'a', 'x')") if $form eq 'schema only';
		is_deeply(behaviour($server, $database), $everything, "$form: so is what counts");
		cmp_ok(origin($server, $database), '>', 0, "$form: in a history of its own");
		$server->safe_psql('postgres', "DROP DATABASE $database");
	}
}

# ------------------------------------------------- what leaves something out

sub dump_with
{
	rmtree_or_unlink($file);
	$node->command_ok([ 'pg_dump', @_, '-f', $file, 'shop' ], "pg_dump @_");
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS part');
	$node->safe_psql('postgres', 'CREATE DATABASE part');
	return;
}

# Without labels the views are not watched: their domains have no token.
dump_with('--no-security-labels');
restore($node, 'plain', 'part');
is($node->safe_psql('part', "SELECT cache_notify.token('a', 'v') IS NULL, cache_notify.token(NULL, 'm') IS NULL, cache_notify.token('a', 'item') IS NOT NULL"),
	't|t|t', 'without labels: nothing proves a view current, all else does');
my $unwatched = "SELECT table_name, domain, split_part(problem, ':', 1) FROM cache_notify.v_invalidation_status WHERE problem <> '' ORDER BY table_name::text COLLATE \"C\"";
is($node->safe_psql('part', $unwatched), "s.m|m|not watched, and a relation of this name was\ns.shared|part|not watched, and a relation of this name was\n"
	  . 's.v|v|not watched, and a relation of this name was', 'and the status lists the views');
is($node->safe_psql('part', "SELECT cache_notify.token('a', 'part') IS NULL"), 't', 'nor what also a table feeds');
$node->safe_psql('part', "SELECT cache_notify.setup_view_invalidation('s.v'), cache_notify.setup_table_invalidation('s.m'), cache_notify.setup_table_invalidation('s.shared', 'part')");
is($node->safe_psql('part', "SELECT cache_notify.token('a', 'v') IS NOT NULL, cache_notify.token(NULL, 'm') IS NOT NULL"),
	't|t', 'and one call puts each right');
is($node->safe_psql('part', $unwatched), '', 'as the status says');
dump_with('--no-security-labels');
restore($node, 'plain', 'part');
$node->safe_psql('part', 'SELECT cache_notify.repair()');
is($node->safe_psql('part', $unwatched), '', 'without labels: repair() sets them up');
is($node->safe_psql('part', $configuration), $expected, 'as they were');
is_deeply(behaviour($node, 'part'), $everything, 'so that everything counts');
dump_with('--no-security-labels');
restore($node, 'plain', 'part');
$node->safe_psql('part', "SELECT cache_notify.remove_table_invalidation('s.v'), cache_notify.remove_table_invalidation('s.m'), cache_notify.remove_table_invalidation('s.shared', 'part')");
is($node->safe_psql('part', $unwatched), '', 'without labels: or they need not be watched');

# A single table, where the extension is there.
dump_with('-t', 's.item');
$node->safe_psql('part', 'CREATE EXTENSION cache_notify; CREATE SCHEMA s');
restore($node, 'plain', 'part');
is($node->safe_psql('part', "SELECT domain, enabled, split_part(problem, ':', 1) FROM cache_notify.v_invalidation_status"),
	'item|t|a rule from domain "item" into "page" has been there, and is lost', 'a single table brings its watch, and says what its dump lacks');

# Without our schemas, or restored by the owner, who is no superuser, into a database where
# the extension is: what he owns is watched, and what his views read is followed. What a
# superuser had written is missing, and nothing proves a domain current that only this fed.
for my $how ('without schemas', 'by the owner')
{
	dump_with($how eq 'by the owner' ? () : '--exclude-schema=*cache_notify');
	$node->safe_psql('postgres', 'ALTER DATABASE part OWNER TO owner');
	$node->safe_psql('part', 'CREATE EXTENSION cache_notify');
	my ($out, $errors) = run_command([ 'psql', '-Xq', '-h', $node->host, '-p', $node->port, '-d', 'part',
			'-U', $how eq 'by the owner' ? 'owner' : 'postgres', '-f', $file ]);
	unlike($errors, qr/ERROR:.*(trigger|label|view|"s\.)(?!.*cache_notify\.configuration)(?!.*cache_notify_schema_)/,
		"$how: nothing of the owner's is refused");
	is($node->safe_psql('part', "SELECT table_name, domain, split_part(problem, ':', 1) FROM cache_notify.v_invalidation_status ORDER BY table_name::text"),
		qq(s.item|item|a rule from domain "item" into "page" has been there, and is lost\ns.m|m|\ns.part|part|\ns.shared|part|\ns.v|v|),
		"$how: what he owns is watched, and a lost rule is seen");
	is($node->safe_psql('part', q(SELECT source_domain, target_domain FROM cache_notify.v_cascade_rules WHERE source_domain NOT LIKE 'cache_notify/%')),
		'item|v', "$how: what his view reads is followed");
	is($node->safe_psql('part', "SELECT cache_notify.token('a', 'item') IS NOT NULL, cache_notify.token('a', 'v') IS NOT NULL, cache_notify.token('a', 'page') IS NULL"),
		't|t|t', "$how: and nothing proves current what a lost rule fed");
	is($node->safe_psql('part', 'SELECT channel IS NULL, enabled FROM cache_notify.v_schema_invalidation'), $how eq 'by the owner' ? '' : 't|f',
		"$how: lost listeners are seen where their event triggers have come");
	my $before = $node->safe_psql('part', "SELECT cache_notify.version('v')");
	$node->safe_psql('part', "SET ROLE owner; UPDATE s.item SET name = name || 'z'");
	cmp_ok($node->safe_psql('part', "SELECT cache_notify.version('v')"), '>', $before, "$how: his changes count");
}

# Data into a database that is set up.
dump_with('--data-only');
$node->safe_psql('postgres', 'DROP DATABASE part');
$node->safe_psql('postgres', 'CREATE DATABASE part TEMPLATE shop');
$node->safe_psql('part', 'TRUNCATE s.item, s.part');
my $before = $node->safe_psql('part', "SELECT cache_notify.version('item')");
restore($node, 'plain', 'part');
cmp_ok($node->safe_psql('part', "SELECT cache_notify.version('item')"), '>', $before, 'data only: counts as changes');
is($node->safe_psql('part', $configuration), $expected, 'data only: the configuration stays');

# The rules that a table's set-up asks for are said by the table.  Where they are not in the
# dump, the status says so, nothing proves their target current, and one call writes them.
$node->safe_psql('shop', <<'END');
SET ROLE owner;
CREATE TABLE s.leaf (id int, tenant_id text);
CREATE TABLE s.tree (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('s.tree');
SELECT cache_notify.setup_table_invalidation('s.leaf', cascades => '{tree}');
END
for my $form ([], ['--exclude-schema=*cache_notify'], [ '-t', 's.leaf', '-t', 's.tree' ], ['by the owner'])
{
	my $lost = @$form > 0;
	my $who = "@$form" eq 'by the owner' ? 'owner' : 'postgres';

	dump_with('-s', grep { $_ ne 'by the owner' } @$form);
	$node->safe_psql('postgres', 'ALTER DATABASE part OWNER TO owner');
	$node->safe_psql('part', 'CREATE EXTENSION cache_notify') if $lost;
	$node->safe_psql('part', 'CREATE SCHEMA s AUTHORIZATION owner') if "@$form" =~ /^-t/;
	run_command([ 'psql', '-Xq', '-h', $node->host, '-p', $node->port, '-d', 'part', '-U', $who, '-f', $file ]);
	my $problem = "SELECT count(*) FROM cache_notify.v_invalidation_status WHERE domain = 'leaf' AND problem ~ '^the rule into domain \"tree\"'";
	my $proof = "SELECT cache_notify.token('a', 'tree') IS NOT NULL";
	if ($lost)
	{
		is($node->safe_psql('part', $problem), 1, "schema only @$form: the lost rule is seen");
		is($node->safe_psql('part', $proof), 'f', "schema only @$form: nothing proves current what it fed");
		$node->safe_psql('part', 'SELECT cache_notify.repair()');
	}
	is($node->safe_psql('part', $problem), 0, "schema only @$form: the rule is there");
	is($node->safe_psql('part', $proof), 't', "schema only @$form: its target can be proven current");
	my $version = $node->safe_psql('part', "SELECT cache_notify.version('tree')");
	$node->safe_psql('part', "SET ROLE owner; INSERT INTO s.leaf VALUES (1, 'a')");
	cmp_ok($node->safe_psql('part', "SELECT cache_notify.version('tree')"), '>', $version, "schema only @$form: and moves");
}

# Rules that nobody but cascade_rules has said are noted where they begin or end.  In a part
# of a dump none of them goes unseen: no domain that one fed is proven current, until it is
# there again, as it was.
$node->safe_psql('shop', <<'END');
SET ROLE owner;
CREATE TABLE s.source (id int, tenant_id text);
CREATE TABLE s.other (id int, tenant_id text);
CREATE TABLE s.fed (id int, tenant_id text);
CREATE MATERIALIZED VIEW s.total AS SELECT count(*) FROM s.fed;
SELECT cache_notify.setup_table_invalidation('s.source'), cache_notify.setup_table_invalidation('s.other'),
	cache_notify.setup_table_invalidation('s.total'), cache_notify.setup_table_invalidation('s.fed');
SELECT cache_notify.set_cascade_rule('source', 'fed', tenants => 'all'), cache_notify.set_cascade_rule('other', 'total', keys => 'same');
RESET ROLE;
INSERT INTO cache_notify.cascade_rules VALUES
	-- into what also a table feeds: from a name that applications invalidate, and through one that nothing feeds
	('by_hand', 'fed'), ('source', 'middle'), ('middle', 'total'),
	-- into what only a rule feeds
	('other', 'nobody'), ('by_hand', 'nobody');
INSERT INTO cache_notify.cascade_rules VALUES ('nobody', 'last', 'notify');
END
my $rules = "SELECT source_domain, target_domain, rule_type, keys, tenants FROM cache_notify.v_cascade_rules"
  . " WHERE source_domain IN ('source', 'other', 'by_hand', 'middle', 'nobody') ORDER BY 1, 2";
my $all_rules = $node->safe_psql('shop', $rules);
my @named = map { ('-t', "s.$_") } qw(source other fed total);
my $proofs = "SELECT cache_notify.token('a', 'source') IS NOT NULL, cache_notify.token('a', 'fed') IS NOT NULL,"
  . " cache_notify.token('a', 'total') IS NOT NULL, cache_notify.token('a', 'nobody') IS NOT NULL";
for my $form ([], ['--exclude-schema=*cache_notify'], [@named], ['by the owner'])
{
	my $lost = @$form > 0;
	my $who = "@$form" eq 'by the owner' ? 'owner' : 'postgres';
	my $name = @$form ? $form->[0] =~ s/^-t/single tables/r : 'whole';

	dump_with('-s', grep { $_ ne 'by the owner' } @$form);
	$node->safe_psql('postgres', 'ALTER DATABASE part OWNER TO owner');
	$node->safe_psql('part', 'CREATE EXTENSION cache_notify') if $lost;
	$node->safe_psql('part', 'CREATE SCHEMA s AUTHORIZATION owner') if "@$form" =~ /^-t/;
	run_command([ 'psql', '-Xq', '-h', $node->host, '-p', $node->port, '-d', 'part', '-U', $who, '-f', $file ]);
	$node->safe_psql('part', "SELECT cache_notify.invalidate('by_hand')");
	if ($lost)
	{
		is($node->safe_psql('part', $proofs), 't|f|f|f', "$name: nothing proves current what rules fed");
		$node->safe_psql('part', 'SELECT cache_notify.repair()');
		is($node->safe_psql('part', "SELECT cache_notify.token('a', 'fed') IS NULL, cache_notify.token('a', 'total') IS NULL, cache_notify.token('a', 'nobody') IS NULL"),
			't|t|t', "$name: nor what their owner could not write");
		my $mended = 0;
		while (my $advice = $node->safe_psql('part',
			"SELECT advice FROM cache_notify.doctor() WHERE problem LIKE 'a rule from%' ORDER BY 1 LIMIT 1"))
		{
			$node->safe_psql('part', $advice =~ s/; or,.*//r);
			last if ++$mended > 20;
		}
		cmp_ok($mended, '>', 0, "$name: doctor() says what is to be written");
	}
	is($node->safe_psql('part', "$rules"), $all_rules, "$name: every rule is there as it was");
	is($node->safe_psql('part', $proofs), 't|t|t|t', "$name: and all can be proven current");
	for my $change ([ 'INSERT INTO s.source VALUES (1)', 'fed', 'total' ], [ "SELECT cache_notify.invalidate('by_hand')", 'fed', 'nobody' ],
		[ 'INSERT INTO s.other VALUES (1)', 'total', 'nobody' ])
	{
		my ($command, @moved) = @$change;
		my $versions = 'SELECT ' . join ', ', map { "cache_notify.version('$_')" } @moved;
		my @before = split /\|/, $node->safe_psql('part', $versions);
		$node->safe_psql('part', $command);
		my @after = split /\|/, $node->safe_psql('part', $versions);
		ok(!(grep { $after[$_] <= $before[$_] } 0 .. $#moved), "$name: $command moves @moved");
	}
}

done_testing();

# A dump as text, without the line that is random.
sub text_of
{
	my ($form) = @_;
	my $text = "$dir/dump.text";

	return slurp_file($file) =~ s/^\\(?:un)?restrict .*$//gmr if $form !~ /custom|directory|privileges/;
	run_command([ 'pg_restore', '-f', $text, $file ]);
	return slurp_file($text) =~ s/^\\(?:un)?restrict .*$//gmr =~ s/^-- Started on .*|^-- Completed on .*//gmr;
}

sub rmtree_or_unlink
{
	my ($path) = @_;
	require File::Path;
	-d $path ? File::Path::rmtree($path) : unlink $path;
	return;
}
