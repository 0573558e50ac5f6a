# Serves G5 and G7: what somebody writes into the arguments of his triggers and into
# labels harms nobody else. Every argument that there is, notes that are none, and every
# odd value, in row, statement and TRUNCATE triggers, enabled and not, and in labels of
# views, while somebody else writes, asks, listens, looks at the status and sets up.
# A failure shows as a crash of the server, as an error of somebody who has nothing to
# do with it, or as a change that was not heard.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CacheNotify;
use WorkerLane;

my $node = worker_server('main', "max_locks_per_transaction = 256\nmax_prepared_transactions = 5");

# Arguments that there are, and some that only look like ours.
my @arguments = (qw(domain tenant_column tenant_setting granularity channel payload
  payload_suffix column field key bucket_layout inherited source
  relation name former table keys columns fields problem), '');

my @values = (
	'', ' ', 'x', 'x' x 63, 'x' x 64, 'x' x 8000, "\xc3\xa9" x 32, "\xf0\x9f\x98\x80" x 20,
	q(it's), q(say "hi"), '{', '}', '{a,b}', '\\', '\\000', "a\nb", '%s%n%x', ',', '=', '=x',
	'-1', '0', '1', '1e9', '2147483648', '9223372036854775807', '99999999999999999999',
	'999999999999999999', '33', '31', 'NaN', 'abc', 'true', 'NULL', 'id', 'tenant_id', 'row', 'statement',
	'json', 'tcn', 'oid', 'pgcachewatch', 'keys', 'lsn', '*', '{domain}:{tenant}', '{tenant}' x 7,
	'item', 'item/1', 'item%2F1', 'other', 'cache_notify', 'cache_notify/', 'cache_notify/key/42/761/contract',
	'cache_notify/definition/1', 'data_directory', 'app.tenant', 'work_mem', 'relation=1', 'evil.t1');

$node->safe_psql('postgres', <<'END_SQL');
CREATE ROLE victim;
CREATE ROLE evil;
CREATE SCHEMA evil AUTHORIZATION evil;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
CREATE TABLE other (id int PRIMARY KEY, n int);
ALTER TABLE item OWNER TO victim;
ALTER TABLE other OWNER TO victim;
CREATE VIEW v_item AS SELECT * FROM item;
SELECT cache_notify.setup_table_invalidation('item'), cache_notify.setup_view_invalidation('v_item');
INSERT INTO item SELECT i, 'a', 0 FROM generate_series(1, 10) i;
INSERT INTO other SELECT i, 0 FROM generate_series(1, 10) i;

-- One table and one view, with these arguments everywhere they can be.
CREATE FUNCTION evil.write(n int, arguments text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	list text := (SELECT string_agg(quote_literal(a), ', ' ORDER BY i) FROM unnest(arguments) WITH ORDINALITY AS u (a, i));
	name text := 'evil.t' || n;
BEGIN
	EXECUTE format('CREATE TABLE %s (id int PRIMARY KEY, tenant_id text)', name);
	EXECUTE format('CREATE TRIGGER r AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW'
		' EXECUTE FUNCTION cache_notify.row_change(%s)', name, list);
	EXECUTE format('CREATE TRIGGER s AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT'
		' EXECUTE FUNCTION cache_notify.statement_change(%s)', name, list);
	EXECUTE format('CREATE VIEW evil.v%s AS SELECT 1 AS n', n);
	EXECUTE format('SECURITY LABEL FOR cache_notify ON VIEW evil.v%s IS %L', n, arguments::text);
	-- What feeds a domain and is disabled leaves that domain without tokens.
	IF n % 3 = 1 AND 'domain=item' <> ALL (arguments) THEN
		EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %s', name, CASE WHEN n % 2 = 0 THEN 'r' ELSE 'ALL' END);
	END IF;
	EXECUTE format('INSERT INTO %s VALUES (1, ''e''), (2, NULL)', name);
	EXECUTE format('UPDATE %s SET tenant_id = ''f''', name);
	EXECUTE format('DELETE FROM %s', name);
	EXECUTE format('TRUNCATE %s', name);
END $$;
CREATE FUNCTION evil.remove() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT 'evil.' || quote_ident(c.relname) FROM pg_class c
		WHERE c.relnamespace = 'evil'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY c.relkind DESC
	LOOP
		EXECUTE format('DROP %s %s', CASE WHEN name LIKE 'evil.v%' THEN 'VIEW' ELSE 'TABLE' END, name);
	END LOOP;
END $$;
END_SQL

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $ear = session($node);
my $last = 0;
$ear->query('LISTEN cache_invalidation');
my $n = 0;
my $skipped = 0;

sub literal
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	$text =~ s/\\/\\\\/g;
	return " E'$text'";
}

# Whatever somebody who has nothing to do with it does, in a session that is new.
sub victim_ok
{
	my ($name, $others) = @_;
	my $s = session($node);
	my %did;

	$s->query('SET ROLE victim');
	my $token = $s->query("SELECT cache_notify.token('a', 'item')");
	# While others feed the domain in part only, it may have none (see doc/security.md).
	my $none = $others && $token eq '';
	$did{token} = $none || $token ne '' && $s->query("SELECT cache_notify.is_current('$token')") eq 't';
	$s->query('UPDATE item SET n = n + 1 WHERE id = 1');
	$did{stale} = $none || $s->query("SELECT cache_notify.is_current('$token')") eq 'f';
	my $version = $none ? $last + 1 : $s->query("SELECT cache_notify.version('item', 'a')");
	$did{heard} = wait_for("the change, $name", sub {
			# Everybody can send to this channel: what else comes there is no matter.
			for my $payload ($ear->payloads)
			{
				$last = $1 if $payload =~ /^\{"tenant_id": "a", "domain": "item", "version": (\d+)/;
			}
			return $last >= $version;
		});
	$s->query('TRUNCATE other');
	$did{token_for} = $none || $s->query("SELECT cache_notify.token_for('SELECT * FROM item', 'a') IS NOT NULL") eq 't';
	$did{status} = $s->query("SELECT problem IS NULL AND enabled FROM cache_notify.v_invalidation_status"
		  . " WHERE table_name = 'item'::regclass") eq 't';
	$did{list} = $s->query('SELECT count(*) FROM cache_notify.v_invalidation_status') >= 2;
	$did{setup} = $s->query("SELECT cache_notify.setup_table_invalidation('other', keys => '{id}', buckets => 64)") eq 'other';
	$s->query("SELECT cache_notify.remove_table_invalidation('other')");
	$s->query('ALTER TABLE other ADD more int; ALTER TABLE other DROP more');
	my @failed = grep { !$did{$_} } sort keys %did;
	$s->quit;
	return is("@failed", '', $name);
}

for my $lane ('worker', 'commit')
{
	configure($node, 'cache_notify.delivery' => $lane);
	victim_ok("$lane lane: before");
	for my $argument (@arguments)
	{
		my $evil = session($node);

		$evil->query('SET ROLE evil');
		for my $value (@values)
		{
			# The second time, so that it does not take too long, some of them.
			next if $lane eq 'commit' && $skipped++ % 3;
			my $given = literal("$argument=$value");
			my @others = $argument eq 'domain' ? ([], [ literal('domain=mine') ]) :
			  ([], [ literal('domain=item') ],
				[ map { literal($_) } 'domain=mine', 'key=id', 'bucket_layout=1029', 'tenant_column=tenant_id' ]);

			for my $other ($n % 7 == 0 ? @others : $others[ $n % @others ])
			{
				$n++;
				# As the first of an argument counts, before the others and behind them.
				my @all = $n % 2 ? ($given, @$other) : (@$other, $given);
				$evil->query("SELECT evil.write($n, ARRAY[" . join(',', @all) . ']::text[])');
			}
		}
		victim_ok("$lane lane: others have arguments $argument=", 1);
		$evil->query('SELECT evil.remove()');
		$evil->quit;
		victim_ok("$lane lane: and had them");
	}
}
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server never went down');
is(log_count($node, qr/TRAP|PANIC|FATAL|terminated by signal|background worker .* exited with exit code/),
	0, 'neither did one of its processes');
is($node->safe_psql('postgres', "SELECT count(*) FROM _cache_notify.owed_delivery"), 0, 'nothing is owed to anybody');

# ------------------------------------------------------- the status says so

my $owner = session($node);
$owner->query('SET ROLE evil');
for my $case (
	[ [ 'domain=' ], 'domain must not be empty' ],
	[ [ 'domain=' . 'x' x 64 ], 'is too long' ],
	[ [ 'domain=item/1' ], 'has a slash' ],
	[ [ 'domain=item%2F1' ], 'cannot be named' ],
	[ [ 'domain=cache_notify/key/42/761/contract' ], 'is reserved' ],
	[ [ 'channel=x' ], 'there is none that could be used' ],
	[ [ 'domain=d', 'channel=' ], 'channel must not be empty' ],
	[ [ 'domain=d', 'channel=' . 'c' x 64 ], 'is too long' ],
	[ [ 'domain=d', 'payload=xml' ], 'unknown payload format "xml"' ],
	[ [ 'domain=d', 'payload_suffix=' . 's' x 64 ], 'payload_suffix is too long' ],
	[ [ 'domain=d', 'field=all' ], 'unknown payload field "all"' ],
	[ [ 'domain=d', 'granularity=rows' ], 'unknown granularity "rows"' ],
	[ [ 'domain=d', 'tenant_setting=work_mem' ], 'is not the name of a custom setting' ],
	[ [ 'domain=d', 'bucket_layout=abc', 'key=id' ], 'is no bucket layout' ],
	[ [ 'domain=d', 'key=id' ], 'key and bucket_layout need each other' ],
	[ [ 'domain=d', 'domain=e' ], 'there is one already' ],
	[ [ 'domain=d', 'relation=1' ], 'it is unknown' ],
	[ [ 'domain=d', '' ], 'it is unknown' ])
{
	my ($arguments, $problem) = @$case;
	my $list = join(',', map { literal($_) } @$arguments);

	$n++;
	$owner->query("SELECT evil.write($n * 3, ARRAY[$list]::text[])");
	like($owner->query("SELECT problem FROM cache_notify.v_invalidation_status WHERE table_name = 'evil.t@{[$n * 3]}'::regclass"),
		qr/ignored: .*\Q$problem\E/, 'problem: ' . substr("@$arguments", 0, 60));
}
$owner->query('SELECT evil.remove()');

# What cannot be used makes it coarser, and leaves the rest as it is.
sub pending
{
	my ($list, $sql) = @_;

	$n++;
	$owner->query("SELECT evil.write($n * 3, ARRAY[$list]::text[])");
	(my $written = $sql) =~ s/\bT\b/"evil.t" . $n * 3/ge;
	my $result = $owner->query("BEGIN; $written; SELECT string_agg(concat_ws('/', domain, tenant_id), ' ' ORDER BY 1) FROM cache_notify.pending_changes()");
	$owner->query('ROLLBACK');
	return $result;
}

my $insert = "INSERT INTO T VALUES (1, 'a')";

is(pending("'domain=d', 'tenant_column='", $insert), 'd', 'a tenant column that cannot be: all tenants');
is(pending("'domain=d', 'tenant_column=tenant_id', 'tenant_setting=?'", $insert), 'd',
	'a setting that cannot be: all tenants, not those of the column');
is(pending("'domain=d', 'column=id', 'column='", "$insert; COMMIT; BEGIN; UPDATE T SET tenant_id = 'b'"), 'd',
	'one column that cannot be: every column counts');
is(pending("'domain=item/1'", $insert), 't' . $n * 3, 'a domain that cannot be: the name of the table');

# A view's label is read as the server would.
is($node->safe_psql('postgres', q(SELECT _cache_notify.label_arguments(E'[1:3]={a, "b\\\\"c\\\\\\\\d, e" ,NULL}'))),
	q({a,"b\"c\\\\d, e","NULL"}), 'a label like an array');
for my $text ('', '{', '}', '{"', '{"a', '{a,', '{\\', '{{a},{b}}', '[', '{,,}')
{
	is($node->safe_psql('postgres', 'SELECT cardinality(_cache_notify.label_arguments(' . literal($text) . ')) < 3'),
		't', "a label that is none: $text");
}

# ------------------------------------------- bucket layouts that are not ours

# The version of somebody's key goes forward, whichever layouts others write, in which
# order, and take back.
$node->safe_psql('postgres', <<'END_SQL');
CREATE TABLE contract (id int PRIMARY KEY, tenant_id text, n int);
ALTER TABLE contract OWNER TO victim;
SELECT cache_notify.setup_table_invalidation('contract', keys => '{id}');
INSERT INTO contract SELECT i, 'a', 0 FROM generate_series(1, 10) i;
END_SQL
my ($layout) = $node->safe_psql('postgres',
	"SELECT (options).bucket_layout FROM _cache_notify.watching_trigger WHERE domain = 'contract' LIMIT 1");
my %highest;

# Each version that is read is at least the one that was read before.
sub forward_ok
{
	my ($name) = @_;
	my @back;

	for my $key ('contract/1', 'contract/2', 'contract')
	{
		for my $tenant (q('a'), q('b'))
		{
			my $version = $node->safe_psql('postgres', "SELECT cache_notify.version('$key', $tenant)");

			next if $version eq '';    # not known
			push @back, "$key of $tenant: $version after $highest{$key,$tenant}"
			  if $version < ($highest{ $key, $tenant } // 0);
			$highest{ $key, $tenant } = $version;
		}
	}
	return is_deeply(\@back, [], "versions go forward: $name");
}

sub victim_writes
{
	$node->safe_psql('postgres', "UPDATE contract SET n = n + 1 WHERE id = $_") for 1, 2, 2, 3;
	$node->safe_psql('postgres', "INSERT INTO contract VALUES (99, 'b', 0)");
	$node->safe_psql('postgres', 'DELETE FROM contract WHERE id = 99');
	return;
}

$owner->query('CREATE TABLE evil.k (id int)');
victim_writes();
forward_ok('before');
for my $other ($layout + 32, $layout, $layout - 32, $layout + 64, $layout + 32, $layout + 1, 1_000_000 * 32 + 4, 0, $layout)
{
	my $arguments = $other ? "'key=id', 'bucket_layout=$other'" : "'granularity=statement'";

	$owner->query(qq(CREATE OR REPLACE TRIGGER r AFTER INSERT ON evil.k FOR EACH ROW
		EXECUTE FUNCTION cache_notify.row_change('domain=contract', $arguments);
		CREATE OR REPLACE TRIGGER s AFTER INSERT ON evil.k FOR EACH STATEMENT
		EXECUTE FUNCTION cache_notify.statement_change('domain=contract', $arguments)));
	forward_ok("a trigger has layout $other");
	victim_writes();
	forward_ok('and he writes');
	$owner->query('DROP TRIGGER s ON evil.k; DROP TRIGGER r ON evil.k') if $n++ % 2;
	forward_ok('without it');
	victim_writes();
	forward_ok('and he writes again');
}
$owner->query('DROP TABLE evil.k');
forward_ok('dropped');
$node->safe_psql('postgres', "SELECT cache_notify.setup_table_invalidation('contract', keys => '{id}')");
forward_ok('set up again');
victim_writes();
forward_ok('and written');
$node->safe_psql('postgres', "SELECT cache_notify.setup_table_invalidation('contract')");
forward_ok('without keys');
$owner->query('CREATE TABLE evil.k (id int)');
for my $other ($layout, $layout + 32, $layout - 32)
{
	my $arguments = "'domain=contract', 'key=id', 'bucket_layout=$other'";

	$owner->query(qq(CREATE OR REPLACE TRIGGER r AFTER INSERT ON evil.k FOR EACH ROW
		EXECUTE FUNCTION cache_notify.row_change($arguments);
		CREATE OR REPLACE TRIGGER s AFTER INSERT ON evil.k FOR EACH STATEMENT
		EXECUTE FUNCTION cache_notify.statement_change($arguments)));
	forward_ok("somebody brings $other back");
	victim_writes();
}
$owner->query('DROP TABLE evil.k');
forward_ok('and takes it away');
$node->safe_psql('postgres', "SELECT cache_notify.setup_table_invalidation('contract', keys => '{id}', buckets => 64)");
forward_ok('with other keys');
my $before = $node->safe_psql('postgres', "SELECT cache_notify.version('contract/1', 'a')");
$node->safe_psql('postgres', 'UPDATE contract SET n = n + 1 WHERE id = 2');
is($node->safe_psql('postgres', "SELECT cache_notify.version('contract/1', 'a')"), $before, 'which are told apart again');
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT cache_notify.remove_table_invalidation('contract');"
	  . ' ROLLBACK TO s; UPDATE contract SET n = n + 1 WHERE id = 2; COMMIT');
cmp_ok($node->safe_psql('postgres', "SELECT cache_notify.version('contract/1', 'a')"), '>=', $before, 'removed, and not');
$before = $node->safe_psql('postgres', "SELECT cache_notify.version('contract/1', 'a')");
$node->safe_psql('postgres', 'UPDATE contract SET n = n + 1 WHERE id = 2');
is($node->safe_psql('postgres', "SELECT cache_notify.version('contract/1', 'a')"), $before, 'they still are');
$node->safe_psql('postgres', q(CREATE TABLE late (id int);
	CREATE TRIGGER s AFTER INSERT ON late FOR EACH STATEMENT EXECUTE FUNCTION
	cache_notify.statement_change('domain=contract', 'key=id', 'bucket_layout=33')));
like($node->safe_psql('postgres', "SELECT problem FROM cache_notify.v_invalidation_status WHERE table_name = 'late'::regclass"),
	qr/row trigger is missing|the domain has left/, 'a layout of before has a problem');
$node->safe_psql('postgres', 'DROP TABLE late');

# --------------------------------------------------------- internal names

my $super = session($node);
like($super->error("INSERT INTO cache_notify.cascade_rules VALUES ('item', 'cache_notify/key/42/761/contract')"),
	qr/cascade_rules_no_slash/, 'no rule leads to an internal name');
like($super->error("INSERT INTO cache_notify.cascade_rules VALUES ('cache_notify/key/42/761/contract', 'item')"),
	qr/cascade_rules_no_slash/, 'none begins at one');
like($super->error("INSERT INTO cache_notify.cascade_rules VALUES ('item', 'item/1')"),
	qr/cascade_rules_no_slash/, 'a key is the target of no rule');
like($super->error("SELECT cache_notify.invalidate('cache_notify/key/42/761/contract')"), qr/is reserved/, 'invalidate() takes none');
for my $call ("token('a', 'NAME')", "version('NAME')", "versions('a', 'NAME')", "etag('a', 'NAME')",
	"changes_since(NULL, 'a', 'NAME')", "matches('*', 'a', 'NAME')", "cascade_closure('NAME')")
{
	(my $sql = $call) =~ s/NAME/cache_notify\/key\/42\/761\/contract/;
	like($super->error("SELECT cache_notify.$sql"), qr/is reserved/, "nor does $call");
}
like($super->error("SELECT cache_notify.setup_table_invalidation('item', 'item/1')"), qr/has a slash/, 'set-up takes no slash');
$owner->query(q(CREATE TABLE evil."item/1" (id int);
	CREATE TRIGGER s AFTER INSERT ON evil."item/1" FOR EACH STATEMENT
	EXECUTE FUNCTION cache_notify.statement_change('granularity=statement')));
$owner->query('INSERT INTO evil."item/1" VALUES (1)');
is($super->query("SELECT cache_notify.version('item/1', 'a') = cache_notify.version('item', 'a')"), 't',
	'a table called like a key does not take its name');
ok($super->query("SELECT cache_notify.token('a', 'item/1')") ne '', 'which has a token');

done_testing();
