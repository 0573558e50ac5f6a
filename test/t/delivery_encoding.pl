# G6, G7: nobody's letters end somebody else's connection. A listener whose
# client_encoding lacks a letter of a tenant, a key, a domain, a table or a schema
# hears it all the same: JSON is in ASCII, with the same meaning to every parser, and
# formats that cannot say the letter say something coarser. In each lane and format, in
# databases of other encodings, and in SQL_ASCII, whose bytes may mean anything.
#
# Failure shows as a listener that lost its connection, or as a payload that is not
# what it should be.

use strict;
use warnings;
use utf8;

use CacheNotify;
use Encode qw(decode encode);
use JSON::PP;
use Test::More;
use WorkerLane;

my $node = worker_server('main', "wal_level = logical\nlog_min_messages = log");
my @lanes = ('worker', 'commit', 'commit,wal', 'worker,wal');
my @channels = qw(items tcn watched refs ddl);

sub utf8 { return encode('UTF-8', $_[0]); }

sub listener
{
	my ($db, $encoding) = @_;
	local $ENV{PGCLIENTENCODING} = $encoding;
	my $s = session($node, db => $db);

	$s->query(qq(LISTEN "$_")) for @channels;
	return $s;
}

# SQL as UTF-8, or as bytes of the encoding that is named.
sub run_sql
{
	my ($db, $sql, $encoding) = @_;
	local $ENV{PGCLIENTENCODING} = $encoding // 'UTF8';
	$node->safe_psql($db, $encoding ? $sql : utf8($sql));
	return;
}

# Everything that a listener hears, until there is something on the channel.
sub next_payloads
{
	my ($listener, $channel) = @_;
	my @heard;

	wait_for("something on $channel", sub {
			push @heard, eval { $listener->heard };
			return $@ || grep { $_->{channel} eq $channel } @heard;
		});
	return ($@ ? ("lost: $@") : ()), map { $_->{payload} } grep { $_->{channel} eq $channel } @heard;
}

# Sooner or later it hears this, and nothing that is not ASCII.
sub hears
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($listener, $channel, $expected, $name) = @_;
	my @payloads;

	wait_for($expected, sub {
			push @payloads, next_payloads($listener, $channel);
			return grep { $_ eq $expected || /^lost/ } @payloads });
	ok((grep { $_ eq $expected } @payloads), $name) or diag("heard @payloads");
	unlike(join('', @payloads), qr/[^\x01-\x7f]/, "$name: in ASCII");
	return;
}

sub set_up
{
	my ($db) = @_;

	$node->safe_psql($db, 'CREATE EXTENSION IF NOT EXISTS cache_notify');
	run_sql($db, <<'END');
CREATE TABLE item (id text PRIMARY KEY, tenant_id text);
SELECT cache_notify.setup_table_invalidation('item', channel => 'items', keys => '{id}', fields => '{keys}');
SELECT cache_notify.setup_table_invalidation('item', 'rows', payload => 'tcn');
SELECT cache_notify.setup_schema_invalidation('postgraphile', channel => 'ddl');
END
	return;
}

# ------------------------------------------------------- UTF8, in every lane

set_up('postgres');
run_sql('postgres', <<'END');
CREATE TABLE "Größe東" (id int PRIMARY KEY);
SELECT cache_notify.setup_table_invalidation('"Größe東"', 'größe東', payload => 'pgcachewatch', channel => 'watched');
SELECT cache_notify.setup_table_invalidation('"Größe東"', payload => 'oid', channel => 'refs');
SELECT pg_create_logical_replication_slot('slot', 'test_decoding');
END
my $oid = $node->safe_psql('postgres', utf8(q(SELECT '"Größe東"'::regclass::oid)));
my $n = 0;

for my $lane (@lanes)
{
	configure($node, 'cache_notify.delivery' => $lane);
	my %listener = map { $_ => listener('postgres', $_) } qw(LATIN1 UTF8);

	$n++;
	run_sql('postgres', "INSERT INTO item VALUES ('鍵$n', '東京é😀$n')");
	for my $encoding (sort keys %listener)
	{
		my $name = "$lane, listener in $encoding";
		my ($payload) = next_payloads($listener{$encoding}, 'items');

		is($payload,
			qq({"tenant_id": "\\u6771\\u4eac\\u00e9\\ud83d\\ude00$n", "domain": "item", "version": 1, "keys": ["\\u9375$n"]}),
			"$name: JSON in ASCII");
		is(decode_json($payload)->{tenant_id}, "東京é😀$n", "$name: which says the same to a parser");
	}
	run_sql('postgres', "INSERT INTO item VALUES ('a$n', 't')");
	$listener{LATIN1}->heard;
	run_sql('postgres', "UPDATE item SET tenant_id = 'x' WHERE id = '鍵$n'");
	hears($listener{LATIN1}, 'tcn', '"item",T', "$lane, tcn: a row that cannot be said is any row");
	run_sql('postgres', "DELETE FROM item WHERE id = 'a$n'");
	hears($listener{LATIN1}, 'tcn', qq("item",D,"id"='a$n'), "$lane, tcn: another one is told");

	run_sql('postgres', qq(INSERT INTO "Größe東" VALUES ($n)));
	my ($watched) = next_payloads($listener{LATIN1}, 'watched');
	like($watched, qr/^\{"operation" : "insert", "table" : "Gr\\u00f6\\u00dfe\\u6771", "sent_at" : "[^"]+"\}$/,
		"$lane, pgcachewatch: the table's name in ASCII");
	run_sql('postgres', qq(INSERT INTO "Größe東" VALUES (-$n)));
	hears($listener{LATIN1}, 'refs', $oid, "$lane, oid: as ever");

	run_sql('postgres', qq(CREATE SCHEMA "スキーマ$n"));
	$listener{LATIN1}->heard;
	run_sql('postgres', qq(CREATE TABLE "スキーマ$n".t ()));
	hears($listener{LATIN1}, 'ddl',
		qq({"type" : "ddl", "payload" : [{"schema" : "\\u30b9\\u30ad\\u30fc\\u30de$n", "command" : "CREATE TABLE"}]}),
		"$lane, postgraphile: a schema's name");
	$_->quit for values %listener;

	next if $lane !~ /wal/;
	local $ENV{PGCLIENTENCODING} = 'LATIN1';
	like($node->safe_psql('postgres', "SELECT string_agg(data, '') FROM pg_logical_slot_get_changes('slot', NULL, NULL) WHERE data ~ 'content:\\{'"),
		qr/\\u6771\\u4eac/, "$lane: decoded into LATIN1");
}

# A suffix that a trigger made by hand has, and a name that tcn cannot say.
run_sql('postgres', <<'END');
CREATE TRIGGER by_hand AFTER INSERT OR TRUNCATE ON item FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('domain=byhand', 'channel=refs', 'payload_suffix=東', 'granularity=statement');
CREATE TABLE plain (id int PRIMARY KEY);
SELECT cache_notify.setup_table_invalidation('plain', payload => 'tcn');
ALTER TABLE plain RENAME TO "名";
END
my $latin = listener('postgres', 'LATIN1');
run_sql('postgres', "INSERT INTO item VALUES ('hand', 't')");
like((next_payloads($latin, 'refs'))[0], qr/^\{"tenant_id": null, "domain": "byhand", "version": \d+\}$/,
	'a suffix that is not ASCII is left out');
run_sql('postgres', 'INSERT INTO "名" VALUES (1)');
$latin->heard;
run_sql('postgres', 'INSERT INTO "名" VALUES (2)');
hears($latin, 'tcn', q("",I,"id"='2'), 'a table that tcn cannot name is any table');
my ($status, $out, $err) = $node->psql('postgres',
	utf8(q(SELECT cache_notify.setup_table_invalidation('item', payload_suffix => '東'))));
like($err, qr/payload_suffix/, 'set-up refuses such a suffix');
($status, $out, $err) = $node->psql('postgres',
	utf8(q(SELECT cache_notify.setup_table_invalidation('"Größe東"', payload => 'tcn'))));
like($err, qr/cannot name/, 'and tcn for such a table');
($status, $out, $err) = $node->psql('postgres',
	utf8(q(SELECT cache_notify.setup_schema_invalidation(channel => 'd', payload => 'geändert'))));
like($err, qr/payload is not ASCII/, 'and such a payload of schema changes');
$latin->quit;

# ----------------------------------------------------------- other encodings

for my $lane ('worker', 'commit')
{
	configure($node, 'cache_notify.delivery' => $lane);
	for my $encoding (qw(EUC_JP LATIN1 SQL_ASCII))
	{
		my $db = lc("db_${encoding}_$lane");

		$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING $encoding LOCALE 'C' TEMPLATE template0");
		set_up($db);
		my $letters = $encoding eq 'LATIN1' ? 'é' : '東';
		my $code = $encoding eq 'LATIN1' ? '\\u00e9' : '\\u6771';
		my $listener = listener($db, 'UTF8');

		run_sql($db, "INSERT INTO item VALUES ('a$letters', '$letters')");
		hears($listener, 'items', qq({"tenant_id": "$code", "domain": "item", "version": 1, "keys": ["a$code"]}),
			"$lane, database in $encoding");
		if ($encoding eq 'SQL_ASCII')
		{
			$listener->heard;
			run_sql($db, "INSERT INTO item VALUES ('b', E'\\xe9t\\xe9')", 'SQL_ASCII');
			hears($listener, 'items', '{"reset": true}', "$lane: a tenant whose bytes mean nothing is a reset");
			$listener->heard;
			run_sql($db, "INSERT INTO item VALUES (E'\\xe9', 't')", 'SQL_ASCII');
			hears($listener, 'items', '{"tenant_id": "t", "domain": "item", "version": 1, "keys": null}',
				"$lane: a key is every key");
			$listener->heard;
			run_sql($db, qq(CREATE SCHEMA "\xe9"), 'SQL_ASCII');
			$listener->heard;
			run_sql($db, qq(CREATE TABLE "\xe9".t ()), 'SQL_ASCII');
			hears($listener, 'ddl', '{"type" : "ddl", "payload" : [{"schema" : null, "command" : "ANY"}]}',
				"$lane: a schema is any schema");
		}
		$listener->quit;
	}
}
is(log_count($node, 'FATAL:  character with byte sequence|invalid byte sequence'), 0, 'nobody lost a connection');

done_testing();
