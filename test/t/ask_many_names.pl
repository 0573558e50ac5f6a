# Serves G4 and G1: what tokens of several names say, against the contents of the tables
# themselves. Sets of one to five names, keys of domains with few and with many buckets,
# of one column and of two, of several tenants, carried on by rules into domains with
# fewer and with more buckets; statements that change rows of several tenants and keys,
# move them to others, and are taken back in part; asked in a session that has been there
# since the beginning and in new ones. A failure shows as a token that is current though
# what it names has changed, as one that seldom stays current though nothing has, or as a
# version that moved by another number than that of the statements.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CacheNotify;

my $seed = $ENV{TRUTH_SEED} // 4711;
my $steps = $ENV{TRUTH_STEPS} // 150;
srand($seed);
note("TRUTH_SEED=$seed TRUTH_STEPS=$steps");

my $node = start_server('main');
my @tenants = ('a', 'b', 'c');

# small feeds itself, large as well, and small leads to both with their keys; wide has a
# key of two columns and no rules.
$node->safe_psql('postgres', <<'END_SQL');
CREATE TABLE small (id int, tenant_id text, n int, PRIMARY KEY (id));
CREATE TABLE large (id int, tenant_id text, n int, PRIMARY KEY (id));
CREATE TABLE few (id int, tenant_id text, n int, PRIMARY KEY (id));
CREATE TABLE wide (id int, part text, tenant_id text, n int, PRIMARY KEY (id, part));
SELECT cache_notify.setup_table_invalidation('small', keys => '{id}', buckets => 64),
	cache_notify.setup_table_invalidation('large', keys => '{id}', buckets => 1024),
	cache_notify.setup_table_invalidation('few', keys => '{id}', buckets => 16),
	cache_notify.setup_table_invalidation('wide', keys => '{id,part}', buckets => 1024);
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, keys) VALUES
	('small', 'large', 'same'), ('large', 'few', 'same');
INSERT INTO small SELECT i, chr(97 + i % 3), 0 FROM generate_series(1, 40) i;
INSERT INTO large SELECT i, chr(97 + i % 3), 0 FROM generate_series(1, 40) i;
INSERT INTO few SELECT i, chr(97 + i % 3), 0 FROM generate_series(1, 40) i;
INSERT INTO wide SELECT i, p, chr(97 + i % 3), 0 FROM generate_series(1, 10) i, unnest('{x,y,12,2}'::text[]) p;
INSERT INTO wide VALUES (1, '11', 'a', 0), (11, '1', 'a', 0);

-- All rows, as part of which domains they are, by tenant and key.
CREATE VIEW part AS
	SELECT d, tenant_id, id::text AS key, 'small' || s::text AS content FROM small s, unnest('{small,large,few}'::text[]) d
	UNION ALL SELECT d, tenant_id, id::text, 'large' || l::text FROM large l, unnest('{large,few}'::text[]) d
	UNION ALL SELECT 'few', tenant_id, id::text, 'few' || f::text FROM few f
	UNION ALL SELECT 'wide', tenant_id, id || '/' || part, 'wide' || w::text FROM wide w;
CREATE FUNCTION contents(tenant text, names text[]) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT md5(string_agg(p.content, ' ' ORDER BY p.content)) FROM unnest(names) n
	JOIN part p ON n IN (p.d, p.d || '/' || p.key)
	WHERE tenant IS NULL OR p.tenant_id IS NULL OR p.tenant_id = tenant $$;
CREATE TABLE held (id serial, tenant text, names text[], token text, contents text);
CREATE VIEW asked AS
	SELECT id, names, cache_notify.is_current(token) AS current, contents IS NOT DISTINCT FROM contents(tenant, names) AS same,
		token IN (SELECT unnest(cache_notify.stale(ARRAY(SELECT token FROM held)))) AS stale
	FROM held;
END_SQL

sub pick { return $_[ rand @_ ]; }
sub tenant { return rand() < 0.1 ? 'NULL' : "'" . pick(@tenants) . "'"; }

sub name
{
	my $domain = pick('small', 'large', 'few', 'wide');

	return $domain if rand() < 0.2;
	return "$domain/" . (1 + int(rand 40)) if $domain ne 'wide';
	return 'wide/' . pick('1/11', '11/1', '1/12', '11/2', map { (1 + int(rand 10)) . "/$_" } 'x', 'y', '12');
}

sub hold
{
	my ($writer) = @_;
	my $names = join ', ', map { "'" . name() . "'" } 1 .. 1 + int(rand 5);
	my $tenant = rand() < 0.15 ? 'NULL' : "'" . pick(@tenants) . "'";

	$writer->query("INSERT INTO held (tenant, names, token, contents) SELECT $tenant, ARRAY[$names],"
		  . " cache_notify.token($tenant, VARIADIC ARRAY[$names]), contents($tenant, ARRAY[$names])");
	return;
}

# A statement; what it is, and which tenants' rows it may change.
sub statement
{
	my $table = pick('small', 'large', 'few', 'wide');
	my $id = 1 + int(rand($table eq 'wide' ? 10 : 40));
	my $where = pick("id = $id", "id = $id", "id = $id", "id IN ($id, $id + 1)", "id % 9 = 1", "tenant_id = '@{[ pick(@tenants) ]}' AND id < 12");
	my $other = 100 + int(rand 1_000_000);
	my ($tenant, $to) = (tenant(), tenant());

	return pick(
		"UPDATE $table SET n = n + 1 WHERE $where",
		"UPDATE $table SET n = n + 1 WHERE $where",
		"UPDATE $table SET n = n WHERE $where",
		"UPDATE $table SET tenant_id = $to WHERE id = $id",
		"UPDATE $table SET id = $other WHERE id = $id",
		"DELETE FROM $table WHERE id = $id",
		"INSERT INTO $table (id, @{[ $table eq 'wide' ? 'part, ' : '' ]}tenant_id, n) VALUES"
		  . " ($other, @{[ $table eq 'wide' ? qq('x', ) : '' ]}$tenant, 0), ($id, @{[ $table eq 'wide' ? qq('x', ) : '' ]}$to, 1) ON CONFLICT DO NOTHING",
		"WITH moved AS (UPDATE wide SET n = n + 1 WHERE id = $id RETURNING id) UPDATE small SET n = n + 1 WHERE id IN (SELECT id FROM moved)",
		"SELECT count(cache_notify.invalidate(n, 'a')) FROM unnest(ARRAY['small/$id', 'wide/$id/x', 'few/@{[ $id + 1 ]}', 'small/@{[ $id + 2 ]}']) n");
}

sub step
{
	my @statements = map { statement() } 1 .. pick(1, 1, 1, 2, 3);

	return $statements[0] if @statements == 1;
	my $in = $statements[1];
	$statements[1] = "SAVEPOINT s; $in; " . pick('ROLLBACK TO s', 'RELEASE s', "SAVEPOINT t; UPDATE small SET n = n + 1 WHERE id = 3; RELEASE t; ROLLBACK TO s");
	return join '; ', 'BEGIN', @statements, 'COMMIT';
}

my $writer = session($node);
my $old = session($node);
my ($held, $alarms) = (0, 0);
my (@fresh, @own);
my $all_versions = 'SELECT string_agg(concat_ws($$ $$, t, n, cache_notify.version(n, t)), $$,$$ ORDER BY t, n)'
  . ' FROM unnest($${a,b,c,NULL}$$::text[]) t, (SELECT d || k AS n FROM unnest($${small,large,few}$$::text[]) d,'
  . ' (SELECT $$/$$ || i FROM generate_series(1, 40) i UNION ALL SELECT $$$$) u (k)'
  . ' UNION SELECT $$wide$$ UNION SELECT $$wide/$$ || id || $$/$$ || part FROM wide) x';

hold($writer) for 1 .. 60;
$old->query('SELECT count(*) FROM asked WHERE current');
for my $n (1 .. $steps)
{
	$writer->query('SET cache_notify.inline_triggers = ' . pick('on', 'off'));
	my $sql = step();
	# What the transaction sees of its own changes is what it leaves behind.
	if ($sql !~ /^BEGIN/ || $sql =~ s/; COMMIT$//)
	{
		$writer->query($sql =~ /^BEGIN/ ? $sql : "BEGIN; $sql");
		my $own = $writer->query($all_versions);
		$writer->query('COMMIT');
		my $left = $old->query($all_versions);
		my %own = map { $_ => 1 } split /,/, $own;
		my @left = grep { !$own{$_} } split /,/, $left;
		push @own, "after $sql: @left" if @left;
	}
	my $new = $n % 10 == 0 ? session($node) : undef;
	for my $asking (grep { defined } $old, $writer, $new)
	{
		my $wrong = $asking->query('SELECT string_agg(names::text, $$ $$) FROM asked WHERE current AND NOT same OR current = stale');
		push @fresh, "after $sql: $wrong" if $wrong ne '';
	}
	$new->quit if $new;

	# What is over is asked for anew.
	$held += 60;
	$alarms += $writer->query('SELECT count(*) FROM asked WHERE NOT current AND same');
	my $over = $writer->query('WITH gone AS (DELETE FROM held WHERE NOT cache_notify.is_current(token) RETURNING 1) SELECT count(*) FROM gone');
	hold($writer) for 1 .. $over;
}
is_deeply(\@fresh, [], 'no token is current after a change of what it names');
is_deeply(\@own, [], 'versions within a transaction are those after its commit');
cmp_ok($alarms, '<', $held * 0.1, "few tokens end without one: $alarms of $held");

# ------------------------------------------------------------ one statement, one bump

# Versions of each tenant, key and the whole, before and after.
my $versions = "SELECT json_object_agg(coalesce(t, '') || ' ' || v.domain, v.version) FROM unnest('{a,b,c,NULL}'::text[]) t,"
  . " cache_notify.versions(t, 'wide', 'wide/1/x', 'wide/2/x', 'wide/1/11', 'wide/11/1', 'wide/1/12', 'wide/11/2') v";
$node->safe_psql('postgres', "TRUNCATE wide; INSERT INTO wide SELECT i, p, t, 0 FROM unnest('{a,b}'::text[], '{1,2}'::int[]) u (t, i), unnest('{x,y}'::text[]) p;"
	  . " INSERT INTO wide VALUES (1, '11', 'a', 0), (11, '1', 'a', 0), (1, '12', 'c', 0), (11, '2', 'c', 0), (50, 'x', 'a', 0), (50, 'y', 'b', 0)");

sub moved_ok
{
	my ($sql, $expected, $name) = @_;

	for my $inline ('on', 'off')
	{
		$writer->query("SET cache_notify.inline_triggers = $inline");
		my %before = %{ JSON::PP->new->decode($old->query($versions)) };
		$writer->query($sql);
		my %after = %{ JSON::PP->new->decode($old->query($versions)) };
		my %moved = map { $_ => $after{$_} - $before{$_} } grep { $after{$_} != $before{$_} } keys %before;
		is_deeply(\%moved, $expected, "$name, inline_triggers $inline");
	}
	return;
}

require JSON::PP;
moved_ok("UPDATE wide SET n = n + 1 WHERE id = 1 AND part = 'x'",
	{ 'a wide' => 1, 'a wide/1/x' => 1, ' wide' => 1, ' wide/1/x' => 1 }, 'a row');
moved_ok("UPDATE wide SET n = n + 1 WHERE id IN (1, 2) AND part = 'x'",
	{ 'a wide' => 1, 'a wide/1/x' => 1, 'b wide' => 1, 'b wide/2/x' => 1, ' wide' => 2, ' wide/1/x' => 1, ' wide/2/x' => 1 },
	'two rows of two tenants');
moved_ok("UPDATE wide SET n = n + 1 WHERE part = '11'", { 'a wide' => 1, 'a wide/1/11' => 1, ' wide' => 1, ' wide/1/11' => 1 },
	'a key that reads like another one without its slash');
moved_ok("UPDATE wide SET part = CASE part WHEN '12' THEN '13' ELSE '12' END WHERE id = 1 AND tenant_id = 'c'",
	{ 'c wide' => 1, 'c wide/1/12' => 1, ' wide' => 1, ' wide/1/12' => 1 }, 'the second column of a key');
moved_ok('BEGIN; ' . join('; ', ("UPDATE wide SET n = n + 1 WHERE id = 1 AND part = 'x'") x 3) . '; COMMIT',
	{ 'a wide' => 3, 'a wide/1/x' => 3, ' wide' => 3, ' wide/1/x' => 3 }, 'three statements');
moved_ok('SELECT count(cache_notify.invalidate(n, $$a$$)) FROM unnest($${wide/1/x,wide/2/x}$$::text[]) n',
	{ 'a wide' => 2, 'a wide/1/x' => 1, 'a wide/2/x' => 1, ' wide' => 2, ' wide/1/x' => 1, ' wide/2/x' => 1 }, 'two keys by hand');

# One key that two tenants have, of two columns and of one.
$node->safe_psql('postgres', <<'END_SQL');
CREATE TABLE twin (id int, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('twin', keys => '{id}', buckets => 1024);
INSERT INTO twin VALUES (1, 'a', 0), (1, 'b', 0), (2, 'c', 0);
END_SQL
$versions =~ s/cache_notify.versions\(t, /cache_notify.versions(t, 'twin', 'twin\/1', 'twin\/2', /;
moved_ok('UPDATE twin SET n = n + 1 WHERE id = 1',
	{ 'a twin' => 1, 'a twin/1' => 1, 'b twin' => 1, 'b twin/1' => 1, ' twin' => 2, ' twin/1' => 2 }, 'one number of two tenants');
$node->safe_psql('postgres', 'ALTER TABLE wide DROP CONSTRAINT wide_pkey');
$node->safe_psql('postgres', "INSERT INTO wide VALUES (1, 'x', 'b', 0)");
moved_ok("UPDATE wide SET n = n + 1 WHERE id = 1 AND part = 'x'",
	{ 'a wide' => 1, 'a wide/1/x' => 1, 'b wide' => 1, 'b wide/1/x' => 1, ' wide' => 2, ' wide/1/x' => 2 },
	'one key of two tenants');

done_testing();
