# G6: what listeners receive in the commit lane: the exact payload, in the order
# of the commits, every version once under parallel writers, nothing that was
# rolled back, valid JSON whatever the text, on the channels that were asked for.
# G5: text that no payload could carry makes the change coarser, not an error.
#
# Failure shows as a difference between the list of payloads and the expected one.

use strict;
use warnings;

use CacheNotify;
use JSON::PP;
use Test::More;

my $node = start_server('main');
my $writer = session($node);
my $listener = session($node);
my $json = JSON::PP->new->utf8->allow_nonref;

$writer->query(<<'END');
CREATE TABLE tv_contract (id int, tenant_id text, n int DEFAULT 0);
SELECT cache_notify.setup_table_invalidation('tv_contract');
END
$listener->query('LISTEN cache_invalidation');

# ------------------------------------------------------------ exact payloads

for my $i (1 .. 42)
{
	$writer->query("INSERT INTO tv_contract VALUES ($i, 'abc-123')");
}
my @payloads = $listener->payloads;
is(scalar @payloads, 42, 'one payload for each change');
is($payloads[0], '{"tenant_id": "abc-123", "domain": "contract", "version": 1}',
	'the first payload');
$writer->query('UPDATE tv_contract SET n = n + 1');
is_deeply([ $listener->payloads ],
	['{"tenant_id": "abc-123", "domain": "contract", "version": 43}'],
	'42 rows in one statement: one bump, one payload');

$writer->query(<<'END');
BEGIN;
UPDATE tv_contract SET n = n + 1;
UPDATE tv_contract SET n = n + 1 WHERE id = 7;
INSERT INTO tv_contract VALUES (0, 'other');
COMMIT;
END
is_deeply([ $listener->payloads ], [
		'{"tenant_id": "abc-123", "domain": "contract", "version": 45}',
		'{"tenant_id": "other", "domain": "contract", "version": 1}'
	], 'a transaction: one payload for each key, in the order of first touch');

# ------------------------------------------------------- what is not delivered

$writer->query(<<'END');
BEGIN;
UPDATE tv_contract SET n = n + 1;
ROLLBACK;
BEGIN;
SAVEPOINT s;
UPDATE tv_contract SET n = n + 1;
ROLLBACK TO s;
COMMIT;
UPDATE tv_contract SET n = n + 1 WHERE false;
UPDATE tv_contract SET n = n;
DELETE FROM tv_contract WHERE id = -1;
END
$writer->error('BEGIN; UPDATE tv_contract SET n = n + 1; SELECT 1/0; COMMIT');
$writer->query('ROLLBACK');
my $doomed = session($node);
$doomed->query('BEGIN; UPDATE tv_contract SET n = n + 1');
$doomed->quit;
$writer->query('UPDATE tv_contract SET n = n + 1 WHERE id = 0');
is_deeply([ $listener->payloads ],
	['{"tenant_id": "other", "domain": "contract", "version": 2}'],
	'nothing for rollbacks, errors, lost sessions, and statements that change nothing');

# ------------------------------------------------- shared changes and cascades

$writer->query(<<'END');
CREATE TABLE price (n int);
CREATE TABLE tb_offer (n int, tenant_id int);
SELECT cache_notify.setup_table_invalidation('price', channel => 'Prices "here"');
SELECT cache_notify.setup_table_invalidation('tb_offer', channel => 'offers');
INSERT INTO cache_notify.cascade_rules VALUES
	('price', 'offer', 'invalidate'), ('offer', 'report', 'invalidate'),
	('offer', 'mail', 'notify'), ('report', 'price', 'invalidate');
LISTEN offers;
END
$listener->query('LISTEN "Prices ""here"""; LISTEN offers');

sub by_channel
{
	my ($session) = @_;
	my %heard;
	push @{ $heard{ $_->{channel} } }, $_->{payload} for $session->heard;
	# Targets of one change come in no particular order.
	@$_ = sort @$_ for values %heard;
	return \%heard;
}

$writer->query('INSERT INTO price VALUES (1)');
my %expected = (
	'Prices "here"' => ['{"tenant_id": null, "domain": "price", "version": 1}'],
	'offers' => ['{"tenant_id": null, "domain": "offer", "version": 1}'],
	'cache_invalidation' => [
		'{"tenant_id": null, "domain": "mail", "version": 0}',
		'{"tenant_id": null, "domain": "report", "version": 1}'
	]);
is_deeply(by_channel($listener), \%expected,
	'a shared change and what it cascades to, each domain on its own channel, round a cycle');
is_deeply(by_channel($writer), { offers => $expected{offers} },
	'a writer that listens hears itself, on its channels only');
$writer->query('UNLISTEN *');

$writer->query("SELECT cache_notify.invalidate('offer', '7')");
is_deeply(by_channel($listener), {
		'Prices "here"' => ['{"tenant_id": "7", "domain": "price", "version": 2}'],
		'offers' => ['{"tenant_id": "7", "domain": "offer", "version": 2}'],
		'cache_invalidation' => [
			'{"tenant_id": "7", "domain": "mail", "version": 0}',
			'{"tenant_id": "7", "domain": "report", "version": 2}'
		]
	}, 'invalidate() reaches the same channels; versions include the shared counter');

# --------------------------------------------- several channels for one domain

$writer->query(<<'END');
DELETE FROM cache_notify.cascade_rules;
CREATE TABLE price2 (n int);
CREATE TABLE price3 (n int);
SELECT cache_notify.setup_table_invalidation('price2', 'price', channel => 'p2');
SELECT cache_notify.setup_table_invalidation('price3', 'price');
END
by_channel($listener);	# a table that begins to feed a domain moves it
$listener->query('LISTEN p2');
$writer->query('INSERT INTO price2 VALUES (1)');
my $one = ['{"tenant_id": null, "domain": "price", "version": 4}'];
is_deeply(by_channel($listener),
	{ 'Prices "here"' => $one, p2 => $one, cache_invalidation => $one },
	'a domain that three tables feed goes to the channels of all three');

$writer->query(<<'END');
SELECT cache_notify.remove_table_invalidation('price2', 'price');
SELECT cache_notify.setup_table_invalidation('price', channel => 'p2');
DROP TABLE price3;
END
by_channel($listener);	# a table that no longer feeds it does, too
$writer->query('INSERT INTO price VALUES (1)');
is_deeply(by_channel($listener),
	{ p2 => ['{"tenant_id": null, "domain": "price", "version": 8}'] },
	'a channel that no table names any more is silent');

# ---------------------------------------------------------------- hostile text

my @tenants = map { { text => $_ } } (
	'', ' ', 'null', 'NULL', '0', '"', "'", '\\', '\\\\"', '\\u0000', '"}', '{"reset": true}',
	'%s%n%d', '$1', "a\nb", "a\r\nb", "\t\b\f", '</script><!--', "\x{7f}", "\x{e9}", "\x{2028}",
	"\x{feff}x", "\x{ffff}", "\x{1f600}", "e\x{301}", '; DROP TABLE tv_contract; --',
	join('', map { chr } 1 .. 31),
	"\x01" x 255, '"' x 255, "\x{1f600}" x 63);

# Longer than 255 bytes: shared.
push @tenants, map { { text => $_, shared => 1 } }
  ("x" x 256, "\x01" x 256, "\x{1f600}" x 64, 'y' x 10240, '"' x 10240, 'z' x 1000000);

sub sql_text
{
	my ($text) = @_;
	utf8::encode($text);
	return sprintf "convert_from('\\x%s', 'UTF8')", unpack('H*', $text);
}

my ($wrong, $too_long) = (0, 0);
for my $tenant (@tenants)
{
	# A new row each time; the version is not what matters here.
	$writer->query("INSERT INTO tv_contract VALUES (1, " . sql_text($tenant->{text}) . ")");
	my @heard = $listener->payloads;
	my $got = @heard == 1 ? eval { $json->decode($heard[0]) } : undef;
	my $wanted = $tenant->{shared} ? undef : $tenant->{text};

	$too_long++ if grep { length > 7999 } @heard;
	next
	  if $got
	  && join(' ', sort keys %$got) eq 'domain tenant_id version'
	  && ($got->{tenant_id} // "\0null") eq ($wanted // "\0null")
	  && $got->{version} > 0
	  && $got->{domain} eq 'contract';
	$wrong++;
	diag('tenant ', substr($json->encode($tenant->{text}), 0, 80), ': ', substr("@heard", 0, 200));
}
is($wrong, 0, 'the tenant comes back from the JSON as it was written, or is null if too long');
is($too_long, 0, 'no payload is longer than NOTIFY allows');

$wrong = 0;
my @domains = (
	"\x{1f600}" x 15, '"\\', "a'b", "line\nfeed", join('', map { chr } 1 .. 31), '%s', '$$',
	"\x{2028}\\", 'x' x 63, '=', 'tenant_column=n', ' ');
for my $domain (@domains)
{
	my $name = sql_text($domain);
	# psql prints a channel as it is: no line feeds there.
	(my $channel = $domain) =~ s/[\n\r]/_/g;
	my $channel_name = sql_text($channel);
	$writer->query(<<"END");
CREATE TABLE hostile (n int);
SELECT cache_notify.setup_table_invalidation('hostile', $name, channel => $channel_name);
INSERT INTO hostile VALUES (1);
SELECT cache_notify.invalidate($name, 't');
DO \$do\$ BEGIN EXECUTE format('LISTEN %I', $channel_name); END \$do\$;
END
	$writer->query('INSERT INTO hostile VALUES (2)');
	my @heard = $writer->heard;
	my @got = map { eval { $json->decode($_->{payload}) } // 'not JSON' } @heard;
	utf8::decode($_->{channel}) for @heard;
	@got = () if grep { $_->{channel} ne $channel } @heard;
	$writer->query('UNLISTEN *; DROP TABLE hostile');
	next if $json->canonical->encode(\@got) eq
	  $json->canonical->encode([ { tenant_id => undef, domain => $domain, version => 2 } ]);
	$wrong++;
	diag('domain ', $json->encode($domain), ': ', $json->encode(\@got));
}
is($wrong, 0, 'so does the domain, on a channel of the same name');
$listener->heard;

# ------------------------------------------------------------ parallel writers

my $clients = 8;
my $transactions = long_test() ? 5000 : 250;
$node->safe_psql('postgres', <<'END');
CREATE TABLE hot (client int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
CREATE TABLE side (client int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO hot SELECT i, 't' FROM generate_series(0, 31) AS i;
INSERT INTO side SELECT i, 'u' FROM generate_series(0, 31) AS i;
SELECT cache_notify.setup_table_invalidation('hot');
SELECT cache_notify.setup_table_invalidation('side');
END
my $load = pgbench_start($node, [
		'-c', $clients, '-j', 2, '-t', $transactions,
		'-f', write_script($node, 'one', <<'END'),
UPDATE hot SET n = n + 1 WHERE client = :client_id;
END
		'-f', write_script($node, 'two', <<'END'),
BEGIN;
UPDATE side SET n = n + 1 WHERE client = :client_id;
UPDATE hot SET n = n + 1 WHERE client = :client_id;
COMMIT;
END
		'-f', write_script($node, 'none', <<'END'),
BEGIN;
UPDATE hot SET n = n + 1 WHERE client = :client_id;
UPDATE side SET n = n + 1 WHERE client = :client_id;
ROLLBACK;
END
	]);
pgbench_finish($load, 'parallel writers', $clients * $transactions);
my %versions;
for my $payload ($listener->payloads)
{
	my $heard = $json->decode($payload);
	push @{ $versions{"$heard->{domain}/$heard->{tenant_id}"} }, $heard->{version};
}
for my $table ('hot', 'side')
{
	my $count = $node->safe_psql('postgres', "SELECT sum(n) FROM $table");
	my $key = $table eq 'hot' ? 'hot/t' : 'side/u';

	cmp_ok($count, '>', $transactions, "$table was written");
	is_deeply($versions{$key}, [ 1 .. $count ],
		"$table: the listener heard every version once, in order, none skipped");
	versions_ok($node, $table, $key => $count);
}
is_deeply([ sort keys %versions ], [ 'hot/t', 'side/u' ], 'and nothing else');

done_testing();
