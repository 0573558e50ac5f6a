# G5 and the settings: whether or not the library is preloaded, the settings come
# from the configuration file and from nowhere else, a wrong value is refused with
# a hint, and too many keys make a change coarser instead of failing it.
#
# Failure shows as a session that has its own way, a missing hint, or versions
# other than max_keys allows.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main');

$node->safe_psql('postgres', <<'END');
CREATE TABLE contract (id int, tenant_id text, n int DEFAULT 0);
SELECT cache_notify.setup_table_invalidation('contract');
CREATE ROLE app LOGIN;
GRANT ALL ON contract TO app;
END

# ------------------------------------------------------------------- max_keys

sub tenant_version
{
	my ($tenant) = @_;
	return $node->safe_psql('postgres', "SELECT cache_notify.version('contract', '$tenant')");
}

my $session = session($node);
$session->query("INSERT INTO contract SELECT i, 'a' || i FROM generate_series(1, 50) AS i");
is(tenant_version('a1') . tenant_version('a50') . tenant_version('new'), '110',
	'below max_keys every tenant has its own bump');

configure($node, 'cache_notify.max_keys' => 3);

# The session that is open takes the new value with its next command.
wait_for('the reload', sub { $session->query('SHOW cache_notify.max_keys') eq '3' });
my $listener = session($node);
$listener->query('LISTEN cache_invalidation');
$session->query("INSERT INTO contract SELECT i, 'b' || i FROM generate_series(1, 50) AS i");
is_deeply([ $listener->payloads ], [
		(map { qq({"tenant_id": "b$_", "domain": "contract", "version": 2}) } 1 .. 3),
		'{"tenant_id": null, "domain": "contract", "version": 1}'
	], 'over max_keys: three tenants and one shared bump, delivered as such');
is(join(' ', map { tenant_version($_) } qw(a1 b1 b3 b4 b50 new)), '2 2 2 1 1 1',
	'the shared bump reaches every tenant');

# Several statements of one transaction, with tenants that are in the set already.
$session->query(<<'END');
BEGIN;
INSERT INTO contract SELECT i, 'c' || i FROM generate_series(1, 10) AS i;
INSERT INTO contract VALUES (1, 'c1');
INSERT INTO contract VALUES (1, 'c9');
COMMIT;
END
is(join(' ', map { tenant_version($_) } qw(c1 c2 c9 new)), '5 4 3 3',
	'each statement bumps what it touched, coarsely or not');

# A cascade adds keys too: nothing is lost when there is no room for them.
$node->safe_psql('postgres', <<'END');
INSERT INTO cache_notify.cascade_rules SELECT 'contract', 'target ' || i FROM generate_series(1, 5) AS i;
END
$session->query("INSERT INTO contract VALUES (1, 'd')");
is($node->safe_psql('postgres',
		"SELECT string_agg(cache_notify.version('target ' || i, 'd')::text, ' ' ORDER BY i)"
		  . " FROM generate_series(1, 5) AS i"), '1 1 1 1 1',
	'a cascade to more targets than max_keys reaches them all');
$node->safe_psql('postgres', 'DELETE FROM cache_notify.cascade_rules');
configure($node, 'cache_notify.max_keys' => 10000);

# ------------------------------------------------------------- delivery, channel

$listener->heard;
configure($node, 'cache_notify.delivery' => 'off');
wait_for('the reload', sub { $session->query('SHOW cache_notify.delivery') eq 'off' });
my $before = tenant_version('e');
$session->query("INSERT INTO contract VALUES (1, 'e')");
is(tenant_version('e'), $before + 1, 'delivery off: the version moves');
is_deeply([ $listener->payloads ], [], 'delivery off: nothing arrives');

configure($node, 'cache_notify.delivery' => 'commit', 'cache_notify.channel' => 'Elsewhere "x"');
wait_for('the reload', sub { $session->query('SHOW cache_notify.delivery') eq 'commit' });
$listener->query('LISTEN "Elsewhere ""x"""');
$session->query("INSERT INTO contract VALUES (1, 'e')");
is_deeply([ map { "$_->{channel}: $_->{payload}" } $listener->heard ],
	[ sprintf 'Elsewhere "x": {"tenant_id": "e", "domain": "contract", "version": %d}', $before + 2 ],
	'delivery on again, on another default channel');
is($session->query("SELECT channel FROM cache_notify.v_invalidation_status"), 'Elsewhere "x"',
	'the view shows it');
configure($node, 'cache_notify.channel' => 'cache_invalidation');
$listener->query('UNLISTEN *; LISTEN cache_invalidation');

# --------------------------------------------------------------- wrong values

my %wrong = (
	"cache_notify.delivery = 'pigeon'" => qr/pigeon.*\n?.*HINT:.*auto.*commit.*off/s,
	"cache_notify.delivery = 'off, commit'" => qr/"off" cannot be combined/,
	"cache_notify.delivery = ''" => qr/invalid value|DETAIL/,
	"cache_notify.delivery = 'commit,'" => qr/syntax is invalid/,
	"cache_notify.channel = ''" => qr/1 to 63 bytes/,
	"cache_notify.channel = '" . ('x' x 64) . "'" => qr/1 to 63 bytes/,
	'cache_notify.max_keys = 0' => qr/outside the valid range/,
	'cache_notify.max_keys = 1000001' => qr/outside the valid range/,
	'cache_notify.nonsense = 1' => qr/invalid configuration parameter|unrecognized configuration parameter/);

my ($failed, $accepted) = ('', '');
$session->query('\set VERBOSITY default');
for my $setting (sort keys %wrong)
{
	my $error = $session->error("ALTER SYSTEM SET $setting");
	$accepted .= "$setting " unless $error =~ /ERROR/;
	$failed .= "$setting: $error" unless $error =~ $wrong{$setting};
}
is($accepted, '', 'ALTER SYSTEM refuses wrong values');
is($failed, '', 'and says what would be right');

# ---------------------------------------------------- nobody has his own way

# All sessions must use the same lanes: not in a session, not by ALTER ROLE or
# the connection, and not by setting it before the library is loaded.
sub own_ways
{
	my ($name, $preloaded) = @_;
	my $wrong = '';

	for my $setting ('cache_notify.delivery = off', 'cache_notify.max_keys = 1',
		'cache_notify.channel = mine')
	{
		my ($s, $t) = $setting =~ /\.(\w+) = (\w+)/;

		# the library is loaded by the first statement
		my $late = session($node);
		$late->query("SELECT cache_notify.version('contract')");
		my $error = $late->error("SET $setting");
		$wrong .= "SET when loaded, $error" unless $error =~ /cannot be changed now/;

		# not loaded yet (unless it is preloaded)
		my $early = session($node);
		$early->error("SET $setting");
		$early->error("INSERT INTO contract VALUES (1, 'early')");
		$early->error("SELECT 1");
		my $value = $early->query("SHOW cache_notify.$s");
		$wrong .= "SET before it is loaded: $s is $value\n" if $value eq $t;

		$_->quit for $late, $early;
		my $options = '-c ' . ($setting =~ s/ = /=/r);
		if ($preloaded)
		{
			my $refused = eval { session($node, options => $options); '' } // $@;
			$wrong .= "PGOPTIONS: $refused" unless $refused =~ /cannot be changed now/;
			next;
		}
		my $by_options = session($node, options => $options);
		$by_options->error("INSERT INTO contract VALUES (1, 'options')");
		$by_options->error("SELECT 1");
		$value = $by_options->query("SHOW cache_notify.$s");
		$wrong .= "PGOPTIONS: $s is $value\n" if $value eq $t;
		$by_options->quit;
	}
	is($wrong, '', "$name: no session has settings of its own");
	is(scalar(grep { /"(early|options)"/ } $listener->payloads),
		$preloaded ? 3 : 6, "$name: and all of them deliver");
}
own_ways('not preloaded', 0);

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cache_notify'");
$node->restart;
$listener = session($node);
$listener->query('LISTEN cache_invalidation');
is($node->safe_psql('postgres', 'SHOW cache_notify.max_keys'), '10000',
	'preloaded: the settings are there from the start');
own_ways('preloaded', 1);

# Preloaded, but not created in a database: writers there notice nothing.
$node->safe_psql('postgres', 'CREATE DATABASE plain');
is($node->safe_psql('plain',
		'CREATE TABLE t (n int); BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2);'
		  . ' ROLLBACK TO s; COMMIT; SELECT count(*) FROM t'), 1,
	'preloaded: a database without the extension');

# ------------------------------------------- a wrong value in the file itself

# Not preloaded, the file is read before anybody can check it: the default
# counts, and writers do not fail.
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = ''
cache_notify.delivery = 'pigeon'
cache_notify.max_keys = 0
END
$node->restart;
$listener = session($node);
$listener->query('LISTEN cache_invalidation');
$before = tenant_version('f');
$node->safe_psql('postgres', "INSERT INTO contract VALUES (1, 'f')");
is_deeply([ $listener->payloads ],
	[ sprintf '{"tenant_id": "f", "domain": "contract", "version": %d}', $before + 1 ],
	'a wrong value in the file leaves the default in force');

done_testing();
