# G6: what the worker lane's payloads say, and where. Channel templates: each key
# on the channel that the documentation says, whatever the tenant; a name that is
# too long has its tenant, or the whole, replaced by its MD5. Extra fields: lsn,
# xid, operations and keys are those of what was committed, null where they are not
# known. A standby that has replayed lsn shows the change.
#
# Failure shows as a payload that differs from the expected one or does not come.

use strict;
use warnings;

use CacheNotify;
use Digest::MD5 'md5_hex';
use Encode;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', '', allows_streaming => 1);
my $writer = session($node);
my $json = JSON::PP->new->utf8->allow_nonref;

# The notifications that one command leads to: it ends with a mark of its own, which
# the worker tells of in the same cycle or later.
my $mark = 0;
sub heard_after
{
	my ($listener, $sql) = @_;
	my @heard;

	$writer->query($sql);
	$mark++;
	$writer->query("SELECT cache_notify.invalidate('mark $mark')");
	my $end = time() + 30;
	until (grep { $_->{payload} =~ /"mark $mark"/ } @heard)
	{
		push @heard, $listener->heard;
		die "no answer to $sql" if time() > $end;
	}
	return grep { $_->{payload} !~ /"mark \d+"/ } @heard;
}

# ------------------------------------------------------- channel templates

$writer->query(<<'END');
CREATE TABLE item (tenant_id text);
SELECT cache_notify.setup_table_invalidation('item', channel => 'cache:{domain}:{tenant}');
CREATE TABLE long (tenant_id text);
SELECT cache_notify.setup_table_invalidation('long', repeat('d', 40), channel => 'cache:{domain}:{tenant}');
CREATE TABLE twice (tenant_id text);
SELECT cache_notify.setup_table_invalidation('twice', channel => '{tenant}{domain}{tenant}');
CREATE TABLE bare (tenant_id text);
SELECT cache_notify.setup_table_invalidation('bare', channel => '{tenant}');
CREATE TABLE edge (tenant_id text);
SELECT cache_notify.setup_table_invalidation('edge', channel => '{domain}:' || repeat('p', 27) || '{tenant}');
CREATE TABLE under (tenant_id text);
SELECT cache_notify.setup_table_invalidation('under', channel => '{domain}:' || repeat('p', 25) || '{tenant}');
END

sub sql_text
{
	my ($text) = @_;
	return sprintf "convert_from('\\x%s', 'UTF8')", unpack('H*', encode('UTF-8', $text));
}

sub fill
{
	my ($template, $domain, $tenant) = @_;
	return $template =~ s/\{domain\}/$domain/gr =~ s/\{tenant\}/\0/gr =~ s/\0/$tenant/gr;
}

# As documented: setup_table_invalidation(), parameter channel.
sub expected_channel
{
	my ($template, $domain, $tenant) = @_;
	my $bytes = defined $tenant ? encode('UTF-8', $tenant) : '*';
	my $name = fill($template, $domain, $bytes);

	$name = fill($template, $domain, md5_hex($bytes)) if length $name > 63;
	$name = md5_hex($name) if length $name > 63;
	return $name;
}

my %template = (
	item => [ 'cache:{domain}:{tenant}', 'item' ],
	long => [ 'cache:{domain}:{tenant}', 'd' x 40 ],
	twice => [ '{tenant}{domain}{tenant}', 'twice' ],
	bare => [ '{tenant}', 'bare' ],
	# with an MD5 for the tenant one byte too many, and as many as there may be
	edge => [ '{domain}:' . 'p' x 27 . '{tenant}', 'edge' ],
	under => [ '{domain}:' . 'p' x 25 . '{tenant}', 'under' ]);
my @tenants = (
	'abc-123', undef, '*', '{domain}', '{tenant}', '%s', 'a b', "q'q", 'back\\slash', "\x{e9}",
	"\x{1f600}", 'x' x 52, 'x' x 53, 'x' x 63, 'x' x 64, 'x' x 255, "\x{1f600}" x 13, "\x{1f600}" x 63);
my $listener = session($node);
$listener->query('LISTEN cache_invalidation');
my @wrong;
for my $table (sort keys %template)
{
	my ($template, $domain) = @{ $template{$table} };

	for my $tenant (@tenants)
	{
		my $channel = expected_channel($template, $domain, $tenant);
		$listener->query('DO $do$ BEGIN EXECUTE format($$LISTEN %I$$, '
			  . sql_text(decode('UTF-8', $channel)) . '); END $do$');
		my @heard = heard_after($listener,
			"INSERT INTO $table VALUES (" . (defined $tenant ? sql_text($tenant) : 'NULL') . ')');
		my $got = @heard == 1 ? eval { $json->decode($heard[0]{payload}) } : undef;
		next if $got && $heard[0]{channel} eq $channel
		  && ($got->{tenant_id} // 'NULL') eq ($tenant // 'NULL') && $got->{domain} eq $domain;
		push @wrong, [ $table, $tenant, $channel, \@heard ];
		diag(substr($json->encode($wrong[-1]), 0, 300));
	}
	$listener->query('UNLISTEN *; LISTEN cache_invalidation');
}
is(scalar @wrong, 0, 'each key is told on the channel that the documentation says, and only there');

# An empty channel name there cannot be.
$listener->query('LISTEN "cache:item:"');
is_deeply([ map { $_->{channel} } heard_after($listener, "INSERT INTO item VALUES ('')") ],
	['cache:item:'], 'an empty tenant');
is_deeply([ map { $_->{channel} } heard_after($listener, "INSERT INTO bare VALUES ('')") ],
	['cache_invalidation'], 'a name that would be empty: the default channel');

# ------------------------------------------------------------ extra fields

my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('base', backup_options => [ '--checkpoint=fast' ]);
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

$writer->query(<<'END');
CREATE TABLE field (id int PRIMARY KEY, n int DEFAULT 0, tenant_id text DEFAULT 't');
SELECT cache_notify.setup_table_invalidation('field', fields => '{keys,operations,xid,lsn}');
CREATE TABLE pair (a text, b text, n int DEFAULT 0, PRIMARY KEY (a, b));
SELECT cache_notify.setup_table_invalidation('pair', fields => '{keys}');
CREATE TABLE no_key (n int);
SELECT cache_notify.setup_table_invalidation('no_key', fields => '{keys,operations}');
CREATE TABLE only_xid (n int);
SELECT cache_notify.setup_table_invalidation('only_xid', fields => '{xid}');
INSERT INTO cache_notify.cascade_rules VALUES ('no_key', 'pair');
END

# The payload of a command for one domain; the command ends with the transaction's
# id, or without a result.
sub payload_of
{
	my ($domain, $sql) = @_;
	my @payloads = map { $json->decode($_->{payload}) } heard_after($listener, $sql);
	my @found = grep { $_->{domain} eq $domain } @payloads;
	return @found == 1 ? $found[0] : { found => \@found };
}

sub fields_ok
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($domain, $sql, $name, %expected) = @_;
	my $payload = payload_of($domain, $sql);
	my %got = map { $_ => $payload->{$_} } keys %expected;

	is_deeply(\%got, \%expected, $name) or diag($json->encode($payload));
	return;
}

fields_ok('field', 'INSERT INTO field VALUES (1), (2), (3)', 'insert',
	operations => ['insert'], keys => [ '1', '2', '3' ], tenant_id => 't');
fields_ok('field', 'UPDATE field SET n = 1 WHERE id = 2', 'update', operations => ['update'], keys => ['2']);
fields_ok('field', 'UPDATE field SET id = 20 WHERE id = 2', 'a new key: the old one and the new one',
	operations => ['update'], keys => [ '2', '20' ]);
fields_ok('field', 'DELETE FROM field WHERE id = 20', 'delete', operations => ['delete'], keys => ['20']);
fields_ok('field', 'TRUNCATE field', 'truncate', operations => ['truncate'], keys => undef, tenant_id => undef);
fields_ok('field', <<'END', 'all in one transaction', operations => [ 'insert', 'update', 'delete' ], keys => [ '5', '6' ]);
BEGIN;
INSERT INTO field VALUES (5);
UPDATE field SET n = n + 1 WHERE id = 5;
INSERT INTO field VALUES (6);
UPDATE field SET n = n + 1 WHERE id = 5;
DELETE FROM field WHERE id = 6;
COMMIT;
END
fields_ok('field', "SELECT cache_notify.invalidate('field', 't')", 'by hand: all keys', operations => [], keys => undef);
fields_ok('field', 'INSERT INTO field SELECT i FROM generate_series(100, 1000) AS i', 'too many keys: null',
	operations => ['insert'], keys => undef);
fields_ok('no_key', 'INSERT INTO no_key VALUES (1)', 'no primary key: null', operations => ['insert'], keys => undef);
fields_ok('pair', q{INSERT INTO pair VALUES ('a', '1'), ('x"],["y\\', '], ["')}, 'a key of two columns',
	keys => [ [ 'a', '1' ], [ 'x"],["y\\', '], ["' ] ]);
fields_ok('pair', q{BEGIN; UPDATE pair SET n = 1 WHERE a = 'a'; INSERT INTO no_key VALUES (2); COMMIT},
	'a cascade as well: all keys', keys => undef);

# Keys of several transactions that become one notification.
configure($node, 'cache_notify.coalesce' => '300ms');
heard_after($listener, 'SELECT 1');
fields_ok('field', <<'END', 'several transactions: each key once', operations => [ 'update', 'delete' ], keys => [ '100', '101', '102' ]);
UPDATE field SET n = n + 1 WHERE id = 100;
UPDATE field SET n = n + 1 WHERE id IN (100, 101);
UPDATE field SET n = n + 1 WHERE id IN (100, 101, 102);
DELETE FROM field WHERE id = 102;
END
fields_ok('field', <<'END', 'with one that names none: all keys', keys => undef);
UPDATE field SET n = n + 1 WHERE id = 100;
SELECT cache_notify.invalidate('field', 't');
UPDATE field SET n = n + 1 WHERE id = 101;
END
# Tenants that are hashed alike, by the server's own hash, which is the one that is used.
my ($one, $two) = split /\|/, $node->safe_psql('postgres', <<'END');
SELECT min(name), max(name) FROM (SELECT 'n' || i AS name FROM generate_series(100000, 399999) AS i) AS names
GROUP BY hashtext(name) HAVING count(*) > 1 ORDER BY 1 LIMIT 1
END
is_deeply(
	[ sort map { $json->decode($_->{payload})->{tenant_id} } heard_after($listener,
			"SELECT cache_notify.invalidate('alike', '$one'); SELECT cache_notify.invalidate('alike', '$two')") ],
	[ sort $one, $two ], 'two tenants that are hashed alike are two');

# One whose table tells no keys, before and after one whose table does.
heard_after($listener, "CREATE TABLE plain (tenant_id text); SELECT cache_notify.setup_table_invalidation('plain', 'field')");
my $keyed = 'UPDATE field SET n = n + 1 WHERE id = 100';
my $plain = q{INSERT INTO plain VALUES ('t')};
for my $sql ("$keyed; $plain", "$plain; $keyed", "$keyed; $plain; $keyed", "BEGIN; $keyed; $plain; COMMIT")
{
	my @found = grep { exists $_->{keys} } map { $json->decode($_->{payload}) } heard_after($listener, $sql);

	is_deeply([ map { $_->{keys} } @found ], [undef], "all keys: $sql");
}
heard_after($listener, "SELECT cache_notify.remove_table_invalidation('plain', 'field')");
for my $table ('field', 'only_xid')
{
	# The last one of several that coalesce, and of a later one.
	my $change = $table eq 'field' ? 'UPDATE field SET n = n + 1 WHERE id = 100' : 'INSERT INTO only_xid VALUES (1)';
	my $payload = payload_of($table, "$change; $change; $change");
	my $xid = $node->safe_psql('postgres',
		"SELECT max(xmin::text::bigint) FROM $table") + 0;
	is($payload->{xid}, $xid, "xid: of the last transaction ($table)");
}
configure($node, 'cache_notify.coalesce' => '0');

# ----------------------------------------------------------- lsn and a standby

my ($early, $never) = (0, 0);
for my $i (1 .. 30)
{
	my $payload = payload_of('field', "UPDATE field SET n = n + 1 WHERE id = 100");
	my $end = time() + 30;
	my $lsn = $payload->{lsn};

	until ($standby->safe_psql('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'") eq 't')
	{
		$never++, last if time() > $end;
	}
	$early++ if $standby->safe_psql('postgres', "SELECT cache_notify.version('field', 't')") < $payload->{version};
}
is($early, 0, 'a standby that has replayed lsn has the version of the payload');
is($never, 0, 'and it does get there');

# --------------------------------------------------------------- commit lane

configure($node, 'cache_notify.delivery' => 'commit');
$writer->query('SELECT 1');
heard_after($listener, 'SELECT 1');
wait_for('the worker to go', sub { worker_pid($node) eq '' });
my $payload = payload_of('field', 'UPDATE field SET n = n + 1 WHERE id = 100');
is_deeply([ @$payload{qw(lsn keys operations xid)} ],
	[ undef, ['100'], ['update'], 0 + $node->safe_psql('postgres', 'SELECT xmin FROM field WHERE id = 100') ],
	'commit lane: lsn is null, the rest is the same');

done_testing();
