# G5: no write and no DDL needs a right in our schemas, not even to see them. Each kind
# of statement, in each lane, is the first of a session, which knows nothing yet.
#
# Failure shows as an error, or as a change that does not move the version.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $node = worker_server('main', "wal_level = logical\nmax_prepared_transactions = 5");

$node->safe_psql('postgres', <<'END');
CREATE ROLE owner LOGIN;
CREATE ROLE writer LOGIN;
GRANT CREATE ON DATABASE postgres TO owner;
CREATE SCHEMA shop AUTHORIZATION owner;
GRANT USAGE ON SCHEMA shop TO writer;
SET ROLE owner;
CREATE TABLE shop.target (id int PRIMARY KEY);
CREATE TABLE shop.unwatched (id int REFERENCES shop.target);
END
for my $format (qw(json oid pgcachewatch tcn))
{
	$node->safe_psql('postgres', <<"END");
SET ROLE owner;
CREATE TABLE shop.$format (id int PRIMARY KEY, tenant_id text, n int DEFAULT 0);
INSERT INTO shop.$format VALUES (1, 't');
SELECT cache_notify.setup_table_invalidation('shop.$format', payload => '$format');
GRANT ALL ON shop.$format TO writer;
END
}
$node->safe_psql('postgres', <<'END');
SET ROLE owner;
SELECT cache_notify.setup_table_invalidation('shop.json', keys => '{id}', fields => '{keys,operations}');
CREATE TABLE shop.stmt (id int);
SELECT cache_notify.setup_table_invalidation('shop.stmt', granularity => 'statement');
CREATE TABLE shop.part (id int, tenant_id text) PARTITION BY LIST (id);
CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES IN (1);
CREATE TABLE shop.parent (id int);
SELECT cache_notify.setup_table_invalidation('shop.part');
SELECT cache_notify.setup_table_invalidation('shop.parent');
CREATE MATERIALIZED VIEW shop.stored AS SELECT 1 AS x;
SELECT cache_notify.setup_table_invalidation('shop.stored');
CREATE VIEW shop.seen AS SELECT * FROM shop.json;
RESET ROLE;
SELECT cache_notify.setup_view_invalidation('shop.seen');
SELECT cache_notify.setup_schema_invalidation('postgrest');
SELECT cache_notify.setup_schema_invalidation('postgraphile');
INSERT INTO cache_notify.cascade_rules VALUES ('json', 'page');
REVOKE USAGE ON SCHEMA cache_notify, _cache_notify FROM PUBLIC;
END

# As the writer, and the domain that moves.
my @writes = (
	(map { my $t = $_; map { [ $_, $t ] } (
		"INSERT INTO shop.$t VALUES (2, 't')",
		"UPDATE shop.$t SET n = n + 1 WHERE id = 1",
		"UPDATE shop.$t SET id = 3 WHERE id = 2",
		"DELETE FROM shop.$t WHERE id = 3",
		"INSERT INTO shop.$t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 0 - $t.n - 1",
		"BEGIN; UPDATE shop.$t SET n = n + 1; SAVEPOINT s; DELETE FROM shop.$t; ROLLBACK TO s; COMMIT",
		"BEGIN; UPDATE shop.$t SET n = n + 1; PREPARE TRANSACTION 'p'",
		"COMMIT PREPARED 'p'",
		"DO \$\$ BEGIN UPDATE shop.$t SET n = n + 1; COMMIT; UPDATE shop.$t SET n = n + 1; END \$\$",
		"TRUNCATE shop.$t",
		"COPY shop.$t (id, tenant_id) FROM STDIN;\n1\tt\n\\.\n") } qw(json oid pgcachewatch tcn)));

# As the owner; none of them may fail.
my @ddl = split /\n/, <<'END';
ALTER TABLE shop.unwatched ADD COLUMN x int
ALTER TABLE shop.unwatched DROP COLUMN x
ALTER TABLE shop.unwatched ADD CONSTRAINT again FOREIGN KEY (id) REFERENCES shop.target
ALTER TABLE shop.unwatched DISABLE TRIGGER USER
ALTER TABLE shop.unwatched ENABLE TRIGGER USER
ALTER TABLE shop.unwatched DROP CONSTRAINT again
CREATE TABLE shop.one (id int PRIMARY KEY); CREATE TABLE shop.two (id int REFERENCES shop.one)
ALTER TABLE shop.two RENAME TO three
DROP TABLE shop.three, shop.one
CREATE FUNCTION shop.f() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE OR REPLACE FUNCTION shop.f() RETURNS int LANGUAGE sql AS 'SELECT 2'
DROP FUNCTION shop.f()
CREATE OR REPLACE VIEW shop.seen AS SELECT * FROM shop.json WHERE true
COMMENT ON TABLE shop.json IS 'x'
GRANT SELECT ON shop.json TO writer
ALTER TABLE shop.json ADD COLUMN more int
ALTER TABLE shop.json RENAME COLUMN more TO less
ALTER TABLE shop.json ALTER COLUMN less TYPE bigint
ALTER TABLE shop.json DROP COLUMN less
ALTER TABLE shop.json DISABLE TRIGGER USER
ALTER TABLE shop.json ENABLE TRIGGER USER
ALTER TABLE shop.tcn RENAME COLUMN tenant_id TO tenant
ALTER TABLE shop.tcn RENAME COLUMN tenant TO tenant_id
ALTER TABLE shop.json RENAME TO json_2
ALTER TABLE shop.json_2 RENAME TO json
CREATE TABLE shop.part_2 PARTITION OF shop.part FOR VALUES IN (2)
INSERT INTO shop.part VALUES (2, 't')
ALTER TABLE shop.part DETACH PARTITION shop.part_2
ALTER TABLE shop.part ATTACH PARTITION shop.part_2 FOR VALUES IN (2)
DROP TABLE shop.part_2
CREATE TABLE shop.child () INHERITS (shop.parent)
INSERT INTO shop.child VALUES (1)
ALTER TABLE shop.child NO INHERIT shop.parent
DROP TABLE shop.child
REFRESH MATERIALIZED VIEW shop.stored
INSERT INTO shop.stmt VALUES (1)
CREATE TABLE shop.as_select AS SELECT * FROM shop.json
CREATE INDEX ON shop.as_select (id)
CREATE SCHEMA other
ALTER TABLE shop.as_select SET SCHEMA other
DROP SCHEMA other CASCADE
ANALYZE shop.json
VACUUM shop.json
CLUSTER shop.json USING json_pkey
REINDEX TABLE shop.json
END

sub versions
{
	return { map { split /\|/ } split /\n/,
		$node->safe_psql('postgres', "SELECT d, cache_notify.version(d, 't') FROM unnest('{json,oid,pgcachewatch,tcn,part,parent}'::text[]) d") };
}

for my $lane ('worker', 'commit', 'commit,wal', 'wal', 'off')
{
	configure($node, 'cache_notify.delivery' => $lane);
	my $failed = '';
	for my $write (@writes)
	{
		my ($sql, $domain) = @$write;
		my $before = versions();
		my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'writer' ]);

		$failed .= "$sql: $err\n" if $err ne '';
		$failed .= "$sql: moves nothing\n"
		  if $sql !~ /PREPARE TRANSACTION/ && versions()->{$domain} <= $before->{$domain};
	}
	is($failed, '', "lane $lane: what a writer does in a new session");

	$failed = '';
	for my $sql (@ddl)
	{
		my ($status, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'owner' ]);
		$failed .= "$sql: $err\n" if $err =~ /ERROR|WARNING|FATAL/;
	}
	is($failed, '', "lane $lane: what an owner does in a new session");
}

# What came into a family meanwhile is watched, though its owner may see nothing of us.
is($node->safe_psql('postgres', "SELECT count(*) FROM cache_notify.v_invalidation_status WHERE problem IS NOT NULL"),
	'0', 'no table has a problem');
my ($status, $out, $err) = $node->psql('postgres', "SELECT cache_notify.version('json')", extra_params => [ '-U', 'writer' ]);
like($err, qr/permission denied for schema/, 'the right was revoked indeed');

done_testing();
