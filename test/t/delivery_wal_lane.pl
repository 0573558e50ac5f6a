# G6: the WAL lane. Each committed transaction leaves one logical message for each
# key it changed, in the order of the commits, for test_decoding and pgoutput, by
# the functions and by pg_recvlogical; rolled-back changes leave none. The message
# has the transaction's id, and adding up the bumps gives the exact versions.
#
# Failure shows as a message that is missing, too many, or says the wrong thing.

use strict;
use warnings;

use CacheNotify;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END', allows_streaming => 'logical');
cache_notify.delivery = wal
logical_decoding_work_mem = 64kB
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO item SELECT i, 't' || i % 5 FROM generate_series(0, 39) AS i;
CREATE TABLE everybody (id int);
SELECT cache_notify.setup_table_invalidation('item');
SELECT cache_notify.setup_table_invalidation('everybody');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'list', 'invalidate'), ('item', 'mail', 'notify');
CREATE PUBLICATION none;
SELECT pg_create_logical_replication_slot('test', 'test_decoding');
SELECT pg_create_logical_replication_slot('output', 'pgoutput');
SELECT pg_create_logical_replication_slot('stream', 'test_decoding');
END

# The payloads since the last call, as text.
sub decoded
{
	my @messages;

	for my $line (split /\n/, $node->safe_psql('postgres',
			"SELECT data FROM pg_logical_slot_get_changes('test', NULL, NULL)"))
	{
		next if $line !~ /^message: (.*)/;
		my $rest = $1;
		like($rest, qr/^transactional: 1 prefix: cache_notify, sz: \d+ content:\{.*\}$/, 'test_decoding')
		  if $rest !~ /^transactional: 1 prefix: cache_notify, sz: \d+ content:\{.*\}$/;
		push @messages, $rest =~ s/^.*?content://r;
	}
	return @messages;
}

# The same by pgoutput: the message's bytes, of type 'M'.
sub decoded_by_pgoutput
{
	my @messages;

	for my $hex (split /\n/, $node->safe_psql('postgres', <<'END'))
SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('output', NULL, NULL,
	'proto_version', '1', 'publication_names', 'none', 'messages', 'true')
END
	{
		my $bytes = pack('H*', $hex);
		next if substr($bytes, 0, 1) ne 'M';
		my ($flags, $lsn, $prefix, $content) = unpack('x C Q> Z* N/a*', $bytes);
		push @messages, $flags == 1 && $prefix eq 'cache_notify' ? $content : 'wrong';
	}
	return @messages;
}

my $writer = session($node);
my $xid = $writer->query(<<'END');
BEGIN;
UPDATE item SET n = n + 1 WHERE id < 2;
UPDATE item SET n = n + 1 WHERE id = 0;
INSERT INTO everybody VALUES (1);
SAVEPOINT s;
SELECT cache_notify.invalidate('never');
UPDATE item SET n = n + 1 WHERE id = 3;
ROLLBACK TO s;
SELECT pg_current_xact_id();
COMMIT;
END
$xid =~ s/\s//g;
my @expected = (
	qq({"tenant_id": "t0", "domain": "item", "version": 2, "xid": $xid, "bumps": 2}),
	qq({"tenant_id": "t0", "domain": "list", "version": 2, "xid": $xid, "bumps": 2}),
	qq({"tenant_id": "t0", "domain": "mail", "version": 0, "xid": $xid}),
	qq({"tenant_id": "t1", "domain": "item", "version": 1, "xid": $xid, "bumps": 1}),
	qq({"tenant_id": "t1", "domain": "list", "version": 1, "xid": $xid, "bumps": 1}),
	qq({"tenant_id": "t1", "domain": "mail", "version": 0, "xid": $xid}),
	qq({"tenant_id": null, "domain": "everybody", "version": 1, "xid": $xid, "bumps": 1}));
is_deeply([ sort(decoded()) ], [ sort @expected ], 'test_decoding: exactly the keys of the transaction');
is_deeply([ sort(decoded_by_pgoutput()) ], [ sort @expected ], 'pgoutput: the same');

$writer->query(<<'END');
BEGIN;
UPDATE item SET n = n + 1;
ROLLBACK;
BEGIN;
SAVEPOINT s;
UPDATE item SET n = n + 1;
ROLLBACK TO s;
COMMIT;
UPDATE item SET n = n + 1 WHERE false;
END
$writer->error('BEGIN; UPDATE item SET n = n + 1; SELECT 1/0; COMMIT');
$writer->query('ROLLBACK');
is_deeply([ decoded() ], [], 'nothing for what is rolled back or changes nothing');

# Any text that the database can hold.
my $hostile = qq(x"\\\n\x{1}{}:,');
$writer->query("UPDATE item SET tenant_id = E'x\"\\\\\\n\\x01{}:,''' WHERE id = 39");
my @tenants = map { decode_json($_)->{tenant_id} } decoded_by_pgoutput();
is((grep { $_ eq $hostile } @tenants), 3, 'a hostile tenant comes through unharmed');
decoded();

# ------------------------------------------------------- many at the same time

my $out = $node->basedir . '/stream';
my $receiver = IPC::Run::start(
	[
		'pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'stream', '--start',
		'-f', $out, '-F', '1', '-s', '1', '-o', 'include-xids=1'
	], '2>', \my $stderr);
my $script = write_script($node, 'write', <<'END');
\set id random(0, 9) * 4 + :client_id
\set what random(1, 5)
BEGIN;
UPDATE item SET n = n + 1 WHERE id = :id;
SAVEPOINT s;
UPDATE item SET n = n + 1 WHERE id = :id;
\if :what = 1
ROLLBACK TO s;
\endif
\if :what = 2
ROLLBACK;
\else
COMMIT;
\endif
END
my $transactions = long_test() ? 5000 : 400;
my %start = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres', "SELECT domain || '/' || tenant_id, version FROM cache_notify.domain_version WHERE tenant_id ~ '^t[0-4]\$'");
pgbench_finish(pgbench_start($node, [ '-c', 4, '-j', 2, '-t', $transactions, '-f', $script ]),
	'WAL lane', 4 * $transactions);
$writer->query("SELECT cache_notify.invalidate('end')");
wait_for('pg_recvlogical', sub { -e $out && slurp_file($out) =~ /"end"/ });
$receiver->signal('INT');
IPC::Run::finish($receiver);

my @stream = grep { /"tenant_id"/ } split /^/, slurp_file($out);
chomp @stream;
# The stream begins when the slot was made.
my @since = @stream[ -1 * scalar(my @decoded = decoded()) .. -1 ];
is_deeply([ map { s/^.*?content://r } @since ], \@decoded, 'pg_recvlogical has the same in the same order');

my %sum = %start;
my ($wrong, %seen) = (0);
my $last = 0;
for my $message (map { decode_json($_) } @decoded)
{
	next if $message->{domain} eq 'mail' || ($message->{tenant_id} // '') !~ /^t[0-4]$/;
	my $key = "$message->{domain}/$message->{tenant_id}";
	$sum{$key} += $message->{bumps};
	# Each transaction is in one piece.
	$wrong++ if $message->{xid} != $last && $seen{ $message->{xid} }++;
	$last = $message->{xid};
}
is($wrong, 0, 'the messages of a transaction come together');
my %table = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres', "SELECT domain || '/' || tenant_id, version FROM cache_notify.domain_version WHERE tenant_id ~ '^t[0-4]\$'");
is_deeply(\%sum, \%table, 'adding up the bumps gives the exact versions');

is(worker_pid($node), '', 'no worker took part');
is(log_count($node, 'PANIC|TRAP|was terminated by signal'), 0, 'no crash');

done_testing();
