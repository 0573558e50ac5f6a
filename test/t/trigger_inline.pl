# G2 and G5, on the path by which most rows are seen: while the statement changes
# them (inline_trigger.c), not when their triggers fire. Two databases run the same
# transactions in one session each, one with cache_notify.inline_triggers off: every
# counter, of every bucket too, and every payload must be the same after each.
#
# Failure shows as a transaction after which the two differ; or, if rows are not
# seen inline at all, as triggers that the server has counted.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', <<'END');
shared_preload_libraries = cache_notify
track_functions = all
END
my $version = server_version($node);
my %session;

for my $way ('inline', 'queued')
{
	my $on = $way eq 'inline' ? 'on' : 'off';
	$node->safe_psql('postgres',
		"CREATE DATABASE $way; ALTER DATABASE $way SET cache_notify.inline_triggers = $on");
	$session{$way} = session($node, db => $way);
}

# Run it in both, and compare what it did.
sub same
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name, $sql) = @_;
	my %done;

	for my $way (sort keys %session)
	{
		my $s = $session{$way};
		my $answer = $s->query($sql);
		my $origin = $s->query('SELECT cache_notify.version_origin()');
		# DROP EXTENSION tells where versions go on, which the clock says.
		my @heard = sort map { s/"version": \K\d+/@{[ $& - $origin > 2**40 ? 'far ahead' : $& - $origin ]}/r } $s->payloads;
		my $counters = $s->query(<<'END');
SELECT format('%s %s %s %s', domain, coalesce(tenant_id, '-'), sum(n), sum(keyed))
FROM _cache_notify.version_counter GROUP BY domain, tenant_id ORDER BY 1
END
		$done{$way} = { answer => $answer, heard => \@heard, counters => [ split /\n/, $counters ] };
	}
	is_deeply($done{inline}, $done{queued}, $name) or diag(explain(\%done));
	return $done{inline};
}

# How often the triggers were called.
sub calls
{
	my ($way) = @_;
	return $session{$way}->query(<<'END');
SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE funcname = 'row_change'
END
}

same('tables', <<'END');
CREATE EXTENSION cache_notify;
LISTEN cache_invalidation;
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0, note text);
CREATE TABLE keyed (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0, code text);
CREATE TABLE parent (id int PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE part (id int, tenant_id text, n int DEFAULT 0) PARTITION BY RANGE (id);
CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_b PARTITION OF part FOR VALUES FROM (100) TO (200);
CREATE TABLE told (id int PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE untold (id int PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE carrier (id int PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE carried (id int PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE squeezed (id int, a text, b text) WITH (toast_tuple_target = 128);
ALTER TABLE squeezed ALTER a SET STORAGE EXTERNAL;
CREATE TABLE deferred (id int, n int DEFAULT 0);
CREATE TABLE keyed_part (day int, code int, n int DEFAULT 0) PARTITION BY LIST (day);
SELECT format('CREATE TABLE keyed_part%s PARTITION OF keyed_part FOR VALUES IN (%s)', i, i) FROM generate_series(1, 9) i \gexec
CREATE TABLE by_setting (id int, n int DEFAULT 0);
CREATE TABLE some_columns (id int PRIMARY KEY, n int DEFAULT 0, ignored int DEFAULT 0);
SELECT cache_notify.setup_table_invalidation('item');
SELECT cache_notify.setup_table_invalidation('item', 'item_again');
SELECT cache_notify.setup_table_invalidation('keyed', keys => '{id}', buckets => 64);
SELECT cache_notify.setup_table_invalidation('keyed', 'coded', keys => '{code}', buckets => 16);
SELECT cache_notify.setup_table_invalidation('keyed', 'fine', keys => '{id}', buckets => 1024);
SELECT cache_notify.setup_table_invalidation('parent');
SELECT cache_notify.setup_table_invalidation('child');
SELECT cache_notify.setup_table_invalidation('part');
SELECT cache_notify.setup_table_invalidation('told', fields => '{operations,keys}');
SELECT cache_notify.setup_table_invalidation('squeezed');
SELECT cache_notify.setup_table_invalidation('keyed_part', keys => '{code}', buckets => 64);
CREATE CONSTRAINT TRIGGER by_hand AFTER UPDATE ON deferred DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change('domain=deferred');
SELECT cache_notify.setup_table_invalidation('untold', 'told');
SELECT cache_notify.setup_table_invalidation('carrier', keys => '{id}');
SELECT cache_notify.setup_table_invalidation('carried', keys => '{id}', fields => '{keys}');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, keys) VALUES ('carrier', 'carried', 'same');
SELECT cache_notify.setup_table_invalidation('by_setting', tenant_setting => 'app.tenant');
SELECT cache_notify.setup_table_invalidation('some_columns', columns => '{n}');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain)
VALUES ('item', 'page'), ('keyed', 'page'), ('keyed', 'told'), ('page', 'site');
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain, rule_type) VALUES ('child', 'hint', 'notify');
END
same('rows', <<'END');
INSERT INTO item SELECT i, CASE i % 5 WHEN 0 THEN NULL ELSE 't' || i % 5 END FROM generate_series(1, 100) i;
INSERT INTO keyed SELECT i, CASE i % 5 WHEN 0 THEN NULL ELSE 't' || i % 5 END, 0, 'c' || i FROM generate_series(1, 100) i;
INSERT INTO parent SELECT generate_series(1, 20);
INSERT INTO child SELECT i, i % 20 + 1 FROM generate_series(1, 100) i;
INSERT INTO part SELECT i, 't' || i % 2 FROM generate_series(0, 199) i;
INSERT INTO told SELECT generate_series(1, 20);
INSERT INTO deferred SELECT generate_series(1, 3);
INSERT INTO keyed_part SELECT i, 7 FROM generate_series(1, 9) i;
INSERT INTO untold SELECT generate_series(1, 20);
INSERT INTO carrier SELECT generate_series(1, 20);
INSERT INTO carried SELECT generate_series(1, 20);
INSERT INTO by_setting SELECT generate_series(1, 20);
INSERT INTO some_columns SELECT generate_series(1, 20);
END

# ---- that it is so at all

for my $way ('inline', 'queued')
{
	$session{$way}->query('BEGIN');
	my $before = calls($way);
	$session{$way}->query(
		"DO 'BEGIN FOR i IN 1..50 LOOP UPDATE item SET n = n + 1 WHERE id = i; END LOOP; END'");
	my $called = calls($way) - $before;
	is($called, $way eq 'inline' ? 0 : 100, "$way: the server called the triggers as often as it should");
	$session{$way}->query('COMMIT');
}
same('and both counted', 'SELECT 1');

for my $way ('inline', 'queued')
{
	my $new = session($node, db => $way);
	is( $new->query(<<'END'), $way eq 'inline' ? '' : 2, "$way: and in the first statement of a session");
BEGIN;
UPDATE item SET n = n + 1 WHERE id = 50;
SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'row_change';
COMMIT;
END
	$new->quit;
}

# Another's function of that name is none of ours.
$node->safe_psql('postgres', 'CREATE DATABASE without TEMPLATE template0');
is($node->safe_psql('without', <<'END'), 3, 'the trigger of another with our name fires');
CREATE SCHEMA cache_notify;
CREATE TABLE item (id int);
CREATE TABLE log (id int);
CREATE FUNCTION cache_notify.row_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER t AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change();
INSERT INTO item VALUES (1);
INSERT INTO item VALUES (2), (3);
SELECT count(*) FROM log;
END

# ---- one transaction after the other

my @steps = (
	[ 'one row', 'UPDATE item SET n = n + 1 WHERE id = 1' ],
	[ 'one row that stays as it is', 'UPDATE item SET n = n WHERE id = 1' ],
	[ 'no row', 'UPDATE item SET n = n + 1 WHERE id = -1' ],
	[ 'many rows of many tenants', 'UPDATE item SET n = n + 1' ],
	[ 'rows to another tenant', "UPDATE item SET tenant_id = 't9' WHERE id < 4" ],
	[ 'to no tenant', 'UPDATE item SET tenant_id = NULL WHERE id < 4' ],
	[ 'delete', 'DELETE FROM item WHERE id < 4' ],
	[ 'insert', "INSERT INTO item VALUES (1, 't1'), (2, 't2'), (3, NULL)" ],
	[ 'truncate', 'BEGIN; TRUNCATE some_columns; INSERT INTO some_columns SELECT generate_series(1, 20); COMMIT' ],
	[ 'upsert', "INSERT INTO item SELECT i, 't7' FROM generate_series(90, 110) i ON CONFLICT (id) DO UPDATE SET n = item.n + 1" ],
	[ 'returning', 'UPDATE item SET n = n + 1 WHERE id IN (5, 6) RETURNING id' ],
	[ 'several statements', 'BEGIN; UPDATE item SET n = n + 1 WHERE id = 1; UPDATE item SET n = n + 1 WHERE id = 2; UPDATE item SET n = n + 1 WHERE id = 1; COMMIT' ],
	[ 'savepoints', 'BEGIN; UPDATE item SET n = n + 1 WHERE id = 1; SAVEPOINT a; UPDATE item SET n = n + 1 WHERE id = 1; UPDATE item SET n = n + 1 WHERE id = 2; ROLLBACK TO a; UPDATE item SET n = n + 1 WHERE id = 8; SAVEPOINT b; UPDATE item SET n = n + 1 WHERE id = 9; RELEASE b; COMMIT' ],
	[ 'rolled back', 'BEGIN; UPDATE item SET n = n + 1; ROLLBACK' ],
	[ 'failing in the middle', "DO 'BEGIN UPDATE item SET n = 1 / (id - 50); EXCEPTION WHEN division_by_zero THEN UPDATE item SET n = n + 1 WHERE id = 5; END'" ],
	[ 'a setting that changes within', "BEGIN; SET LOCAL app.tenant = 't1'; UPDATE by_setting SET n = n + 1 RETURNING set_config('app.tenant', 't2', true); COMMIT" ],
	[ 'a bucket in each partition', 'UPDATE keyed_part SET n = n + 1 WHERE code = 7' ],
	[ 'a deferred trigger', 'BEGIN; UPDATE deferred SET n = n + 1; UPDATE deferred SET n = n + 1; COMMIT' ],
	[ 'too long tenants', "INSERT INTO item SELECT 400 + i, repeat('a', 300 + i) FROM generate_series(1, 3) i; UPDATE item SET tenant_id = repeat('b', 300) WHERE id > 400 AND id < 404" ],
	[ 'columns that do not count', 'UPDATE some_columns SET ignored = ignored + 1' ],
	[ 'and that do', 'UPDATE some_columns SET n = n + 1 WHERE id = 1' ],
	[ 'payloads that tell rows', 'UPDATE told SET n = n + 1 WHERE id < 4' ],
	[ 'by one table of two', 'BEGIN; UPDATE told SET n = n + 1 WHERE id = 4; UPDATE untold SET n = n + 1; COMMIT' ],
	[ 'rows that are carried on', 'BEGIN; UPDATE carrier SET n = n + 1 WHERE id = 1; UPDATE carried SET n = n + 1 WHERE id = 2; COMMIT' ],
	[ 'tenant in a setting', "BEGIN; SET LOCAL app.tenant = 't1'; UPDATE by_setting SET n = n + 1; COMMIT; UPDATE by_setting SET n = n + 1" ],
	[ 'few keys', 'UPDATE keyed SET n = n + 1 WHERE id IN (3, 4, 5)' ],
	[ 'one key twice', 'BEGIN; UPDATE keyed SET n = n + 1 WHERE id = 3; UPDATE keyed SET n = n + 1 WHERE id = 3; COMMIT' ],
	[ 'another key', 'UPDATE keyed SET id = 1000 WHERE id = 3' ],
	[ 'a key without a value', 'UPDATE keyed SET code = NULL WHERE id = 4' ],
	[ 'a dozen keys', "UPDATE keyed SET n = n + 1 WHERE tenant_id = 't1' AND id < 60" ],
	[ 'too many keys to tell', 'UPDATE keyed SET n = n + 1' ],
	[ 'too many in the end', "INSERT INTO keyed SELECT 3000 + i, 't1', 0, 'c' || i FROM generate_series(1, 400) i" ],
	[ 'keys again and again', 'BEGIN; UPDATE keyed SET n = n + 1 FROM generate_series(1, 3) i WHERE id % 40 = i; UPDATE keyed SET n = n + 1 WHERE id < 40; COMMIT' ],
	[ 'keys by copy and by statement', "BEGIN; COPY keyed (id, tenant_id, code) FROM stdin;\n2000\tt1\tc1\n2001\tt2\tc2\n\\.\nUPDATE keyed SET n = n + 1 WHERE id = 2000; COMMIT" ],
	[ 'foreign key cascade', 'DELETE FROM parent WHERE id = 1' ],
	[ 'foreign key cascade of an update', 'UPDATE parent SET id = id + 100 WHERE id < 5' ],
	[ 'partitions', 'UPDATE part SET n = n + 1' ],
	[ 'partitions in turn', 'UPDATE part SET n = n + 1 FROM generate_series(0, 99) i WHERE part.id IN (i, i + 100)' ],
	[ 'to another partition', 'UPDATE part SET id = id + 100 WHERE id BETWEEN 10 AND 12' ],
	[ 'into partitions', "INSERT INTO part SELECT i, 't5' FROM generate_series(0, 199) i" ],
	[ 'out of a partition', 'DELETE FROM part WHERE id = 50' ],
	[ 'two tables in one query', 'WITH a AS (UPDATE item SET n = n + 1 WHERE id < 20 RETURNING id) UPDATE keyed SET n = keyed.n + 1 FROM a WHERE a.id = keyed.id' ],
	[ 'one table twice in one query', 'WITH a AS (UPDATE item SET n = n + 1 WHERE id < 10), b AS (UPDATE item SET n = n + 1 WHERE id > 90) SELECT 1' ],
	[ 'a query that is not read to its end', 'WITH a AS (UPDATE item SET n = n + 1 RETURNING id) SELECT 1 FROM a LIMIT 1' ],
	[ 'a cursor of a function', "DO 'DECLARE r record; BEGIN FOR r IN UPDATE item SET n = n + 1 WHERE id < 30 RETURNING id LOOP UPDATE keyed SET n = n + 1 WHERE id = r.id; END LOOP; END'" ],
	[ 'replica', "BEGIN; SET LOCAL session_replication_role = replica; UPDATE item SET n = n + 1; COMMIT" ],
	[ 'disabled', 'BEGIN; ALTER TABLE item DISABLE TRIGGER USER; UPDATE item SET n = n + 1; ALTER TABLE item ENABLE TRIGGER USER; COMMIT' ],
	[ 'explained', "DO 'BEGIN EXECUTE ''EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) UPDATE item SET n = n + 1 WHERE id < 9''; END'" ],
	[ 'explained in full', 'EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) UPDATE item SET n = n + 1 WHERE id < 9' ],
	[ 'rows that are compressed', "BEGIN; INSERT INTO item SELECT 500, 't1', 0, repeat('x', 5000); UPDATE item SET note = repeat('x', 5000) WHERE id = 500; COMMIT" ],
	[ 'rows that are both', "INSERT INTO squeezed VALUES (1, repeat('y', 5000), repeat('x', 1000)); UPDATE squeezed SET b = repeat('x', 1000); UPDATE squeezed SET b = repeat('x', 1000)" ],
	[ 'rows that are stored elsewhere', "BEGIN; INSERT INTO item SELECT 501, 't1', 0, string_agg(md5(i::text), '') FROM generate_series(1, 300) i; UPDATE item SET n = n + 1 WHERE id = 501; UPDATE item SET n = n WHERE id = 501; COMMIT" ],
);

# A statement within the statement, at the same depth of triggers.
same('functions', <<'END');
CREATE FUNCTION touches(tenant text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	UPDATE item SET n = n + 1 WHERE id = (SELECT min(id) FROM item WHERE tenant_id = tenant);
	RETURN 1;
END $$;
CREATE FUNCTION touches_and_fails() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	UPDATE item SET n = n + 1 WHERE id = 7;
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN RETURN 1;
END $$;
CREATE FUNCTION changes_too() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE keyed SET n = n + 1 WHERE id = NEW.id;
	RETURN NEW;
END $$;
CREATE FUNCTION asks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO asked SELECT cache_notify.version('child'), cache_notify.version('hint');
	RETURN NULL;
END $$;
CREATE TABLE asked (a bigint, b bigint);
CREATE TABLE doubled (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('doubled');
CREATE TRIGGER before_item BEFORE UPDATE ON some_columns FOR EACH ROW EXECUTE FUNCTION changes_too();
CREATE TRIGGER after_part AFTER UPDATE ON told FOR EACH ROW EXECUTE FUNCTION changes_too();
CREATE TRIGGER zz_child AFTER UPDATE ON child FOR EACH ROW EXECUTE FUNCTION asks();
END
push @steps,
	[ 'a function within the statement', "UPDATE item SET n = n + touches('t1') WHERE id BETWEEN 10 AND 30" ],
	[ 'one that changes the same keys', "INSERT INTO item SELECT 600 + i, 't' || i % 3, touches('t' || i % 3) FROM generate_series(0, 30) i" ],
	[ 'one that fails within', 'UPDATE item SET n = n + touches_and_fails() WHERE id BETWEEN 10 AND 12' ],
	[ 'a function within a query that goes on', "WITH a AS (INSERT INTO item SELECT 700 + i, 't1', touches('t1') FROM generate_series(0, 5) i RETURNING id) SELECT 1" ],
	[ 'and has changed something before', "WITH a AS (INSERT INTO item SELECT 800 + i, 't1', touches('t1') FROM generate_series(0, 5) i RETURNING id) UPDATE item SET n = n + 1 WHERE tenant_id = 't1'" ],
	[ 'a trigger that runs before', 'UPDATE some_columns SET n = n + 1 WHERE id < 9' ],
	[ 'a trigger that runs after', 'UPDATE told SET n = n + 1 WHERE id < 9' ],
	[ 'a trigger that asks', 'UPDATE child SET id = id + 1000 WHERE id = 50' ],
	[ 'one that asks in a query with another', 'WITH a AS (UPDATE child SET id = id + 2000 WHERE id = 49) UPDATE child SET id = id + 2000 WHERE id = 48' ],
	[ 'what it was told', 'SELECT a - cache_notify.version_origin(), b - cache_notify.version_origin() FROM asked' ],
	[ 'another function of that name', "DO 'BEGIN CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ''SELECT 1''; UPDATE item SET n = n + f() WHERE id = 5; UPDATE item SET n = n + f() WHERE id = 5; END'" ],
	[ 'rules that change within a transaction', "BEGIN; UPDATE item SET n = n + 1 WHERE id = 5; DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'page'; UPDATE item SET n = n + 1 WHERE id = 5; COMMIT" ],
	[ 'no longer watched', "BEGIN; UPDATE item SET n = n + 1 WHERE id = 5; SELECT cache_notify.remove_table_invalidation('item', 'item_again'); UPDATE item SET n = n + 1 WHERE id = 5; COMMIT; UPDATE item SET n = n + 1 WHERE id = 5" ];
push @steps, [ 'merge', <<'END' ] if $version >= 15;
MERGE INTO item USING (SELECT i FROM generate_series(95, 130) i) s ON item.id = s.i
WHEN MATCHED AND s.i % 2 = 0 THEN UPDATE SET n = n + 1
WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.i, 't1')
END

my $moved = 0;
my $before = '';
for my $step (@steps)
{
	my $done = same(@$step);
	$moved++ if "@{ $done->{counters} }" ne $before;
	$before = "@{ $done->{counters} }";
}
cmp_ok($moved, '>', @steps - 10, 'most of them changed versions');

# ---- more tenants than are told apart: which ones are is nobody's business

configure($node, 'cache_notify.max_keys' => 20);
for my $way (sort keys %session)
{
	my $s = $session{$way};
	my $versions = <<'END';
SELECT string_agg(format('%s %s %s', d, t, cache_notify.version(d, t)), E'\n' ORDER BY d, t)
FROM unnest('{item,keyed,page}'::text[]) AS d, (SELECT 'many' || generate_series(1, 100) AS t) AS t
END
	for my $sql ("INSERT INTO item SELECT 2000 + i, 'many' || i FROM generate_series(1, 100) i",
		"UPDATE item SET n = n + 1 WHERE tenant_id LIKE 'many%'",
		"UPDATE keyed SET n = n + 1, tenant_id = 'many' || id")
	{
		my %before = map { $_ => 1 } split /\n/, $s->query($versions);
		$s->query($sql);
		my @same = grep { $before{$_} && !(/^keyed/ && $sql !~ /keyed/) && !(/^item/ && $sql !~ /item/) }
		  split /\n/, $s->query($versions);
		is("@same", '', "$way: everybody's version has moved: $sql");
	}
	$s->heard;
}

# A row that moves between tenants that have no version of their own has changed,
# whatever columns count.
for my $way (sort keys %session)
{
	my $s = $session{$way};
	my $version = "SELECT cache_notify.version('narrow')";
	$s->query(<<'END');
CREATE TABLE narrow (id int, tenant_id text, n int);
SELECT cache_notify.setup_table_invalidation('narrow', columns => '{n}');
INSERT INTO narrow VALUES (1, repeat('a', 300)), (2, repeat('b', 300));
END
	my $before = $s->query($version);
	$s->query("UPDATE narrow SET tenant_id = repeat('b', 300) WHERE id = 1");
	is($s->query($version) - $before, 1, "$way: a row that moves to another tenant that is too long");
}

# ---- after the extension was dropped and created

same('another extension', <<'END');
DROP EXTENSION cache_notify CASCADE;
CREATE EXTENSION cache_notify;
SELECT cache_notify.setup_table_invalidation('item');
UPDATE item SET n = n + 1 WHERE id < 30;
UPDATE item SET n = n + 1 WHERE id < 30;
END

done_testing();
