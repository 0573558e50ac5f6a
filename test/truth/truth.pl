# If the result of a watched query differs before and after a commit, its token
# differs, too; and it seldom differs when the result does not.  Some results are
# those of a key, and so are their tokens.
#
# Random statements, DML and DDL, run against the schema of schema.sql.  After
# each the results of all queries are compared with what they were, and the
# tokens asked whether they are current.
#
#   TRUTH_STEPS  how many statements (default 150; 3000 takes some minutes)
#   TRUTH_SEED   another number, another run
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../t";
use CacheNotify;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $steps = $ENV{TRUTH_STEPS} || 150;
my $seed = $ENV{TRUTH_SEED} || 1;
srand($seed);
note "TRUTH_SEED=$seed TRUTH_STEPS=$steps";

sub any { return $_[ int(rand(@_)) ]; }
sub n { return int(rand($_[0] || 14)); }
sub tenant { return any("'a'", "'b'", "'c'", "'c'", 'NULL'); }

my $number = 0;    # for names and keys that are used once

my %columns = (
	country => [ 'id', 'name' ], customer => [ 'id', 'name' ], product => [ 'id', 'name' ],
	tag => [ 'id', 'name' ], stock => [ 'product', 'n' ], contract => [ 'id', 'price' ],
	invoice => [ 'id', 'total' ], line => [ 'id', 'x' ], doc => [ 'id', 'body' ],
	doc_a => [ 'id', 'extra' ], doc_b => [ 'id', 'body' ], event => [ 'day', 'x' ],
	event1 => [ 'day', 'x' ], tariff => [ 'id', 'n' ], event2 => [ 'day', 'x' ], event3 => [ 'day', 'x' ],
	secret => [ 'id', 'owner' ], allowed => [ 'owner', 'owner' ], note => [ 'id', 'body' ],
	setting => [ 'name', 'value' ]);
my %text = map { $_ => 1 } qw(name body owner value);
my @tables = sort keys %columns;

sub value_of { return $text{ $_[0] } ? any("'x'", "'y'", "'2'", "'v" . n(40) . "'") : n(40); }

sub owner { return "'550e8400-e29b-41d4-a716-44665544aaa" . int(rand(3)) . "'"; }
my @dml = (
	sub { return 'UPDATE account SET x = x + 1 WHERE id = ' . n() . any('', '.0', '.00'); },
	sub { return 'UPDATE account SET x = x + 1 WHERE kind = ' . tenant() . any('', ' AND owner = ' . owner()); },
	sub { return 'UPDATE account SET id = id + 0.00' . any('', ', x = x + 1') . ' WHERE id = ' . n(); },
	sub { return 'UPDATE account SET ' . any('owner = ' . owner(), 'kind = ' . tenant(), "due = '2024-01-0" . (1 + n(3)) . "'") . ' WHERE id = ' . n(); },
	sub { return 'INSERT INTO account VALUES (' . n() . any('', '.0', '.500') . ', ' . owner() . ', ' . tenant() . ", '2024-01-02', 1)"; },
	sub { my $t = any(@tables); my ($k, $c) = @{ $columns{$t} };
		my $w = $text{$k} ? any("= 'x'", "= 'rate'", "<> 'y'") : any('= ' . n(), '< ' . n());
		return "UPDATE $t SET $c = " . value_of($c) . " WHERE $k $w"; },
	sub { my $t = any(@tables); my ($k, $c) = @{ $columns{$t} };
		return "UPDATE $t SET $c = $c WHERE " . ($text{$k} ? 'true' : "$k < 9"); },
	sub { my $t = any(@tables); my ($k) = @{ $columns{$t} };
		return "DELETE FROM $t WHERE $k " . ($text{$k} ? "= 'z'" : '= ' . n()); },
	sub { return 'INSERT INTO customer VALUES (' . (100 + ++$number) . ', ' . (1 + n(4)) . ", 'new', '" . any(qw(sad glad wild bad)) . "')"; },
	sub { return 'INSERT INTO product (id, name, price) VALUES (' . n(30) . ", 'new', " . n() . ') ON CONFLICT (id) DO UPDATE SET price = product.price + 1'; },
	sub { return 'INSERT INTO product (id, name, price) VALUES (' . n(14) . ", 'new', 1) ON CONFLICT DO NOTHING"; },
	sub { return 'INSERT INTO country VALUES (' . (1 + n(6)) . ", 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name"; },
	sub { return 'INSERT INTO product_tag SELECT id, ' . (1 + n(5)) . ' FROM product WHERE id < ' . n(); },
	sub { return 'DELETE FROM product_tag WHERE product = ' . n(); },
	sub { return 'INSERT INTO stock VALUES (NULL, ' . n() . ')'; },
	sub { return 'INSERT INTO contract VALUES (' . (100 + ++$number) . ', ' . tenant() . ', ' . n() . ', ' . n() . ')'; },
	sub { return 'UPDATE contract SET tenant_id = ' . tenant() . ' WHERE id = ' . n(); },
	sub { return 'INSERT INTO invoice VALUES (' . (100 + ++$number) . ', ' . tenant() . ', NULL, 5)'; },
	sub { return 'INSERT INTO line VALUES (' . n(50) . ', ' . tenant() . ', NULL, 5)'; },
	sub { return 'MERGE INTO contract c USING (SELECT ' . n(25) . " AS id) s ON c.id = s.id WHEN MATCHED THEN UPDATE SET price = 7 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'a', 1, 1)"; },
	sub { return 'INSERT INTO ' . any('event', 'event2') . ' VALUES (' . (10 + n(9)) . ', ' . n() . ')'; },
	sub { return 'INSERT INTO event VALUES (' . n(30) . ', ' . n() . ')'; },
	sub { return 'UPDATE event SET day = ' . n(20) . ' WHERE day = ' . n(20); },
	sub { return 'INSERT INTO ' . any('doc', 'doc_b') . ' VALUES (' . n(20) . ", 'd')"; },
	sub { return 'INSERT INTO doc_a VALUES (' . n(20) . ", 'd', 1)"; },
	sub { return "INSERT INTO secret VALUES (" . n(20) . ", " . any("'x'", "'y'") . ', 1)'; },
	sub { return any("INSERT INTO allowed VALUES ('y')", "DELETE FROM allowed WHERE owner = 'y'"); },
	sub { return 'UPDATE note SET unread = ' . n(); },
	sub { return 'UPDATE product SET id = ' . (20 + n(20)) . ' WHERE id = ' . n(); },
	sub { return 'UPDATE stock SET product = ' . any(1 + n(10), 'NULL') . ' WHERE product = ' . n(); },
	sub { return 'UPDATE line SET invoice = ' . any(1 + n(10), 'NULL') . ' WHERE id = ' . n(); },
	sub { return 'INSERT INTO note VALUES (' . n() . ", 'b', 1)"; },
	sub { return 'UPDATE country SET id = ' . (1 + n(6)) . ' WHERE id = ' . (1 + n(6)); },
	sub { return 'UPDATE tag SET id = ' . (6 + n(6)) . ' WHERE id = ' . (1 + n(5)); },
	sub { return "WITH d AS (DELETE FROM stock WHERE n = " . n() . " RETURNING *) INSERT INTO stock SELECT product, n + 1 FROM d"; },
	sub { return 'TRUNCATE ' . any('event1', 'event2a', 'event2', 'stock', 'doc_a', 'doc_b', 'line', 'note'); });

# What should make no difference to what is seen.
sub options
{
	return any('', ', whole_counter => true') . any('', ', follow_name => true');
}

sub watch_tariff
{
	return 'SELECT cache_notify.setup_table_invalidation(\'tariff\', keys => \'{id}\', buckets => 64' . options()
	  . '), cache_notify.setup_table_invalidation(\'tariff\', \'price_list\'' . options() . ')';
}

sub make_m_tariff
{
	return 'DROP MATERIALIZED VIEW IF EXISTS m_tariff; CREATE MATERIALIZED VIEW m_tariff AS SELECT tenant_id, sum(n) AS n FROM tariff GROUP BY 1',
	  "SELECT cache_notify.setup_table_invalidation('m_tariff')";
}

my @refresh = (
	sub { return 'REFRESH MATERIALIZED VIEW m_tariff'; },
	sub { return 'REFRESH MATERIALIZED VIEW m_stock'; },
	sub { return 'REFRESH MATERIALIZED VIEW CONCURRENTLY m_country'; });

# A command, or the same without one.
sub by_c
{
	my ($command) = @_;
	return rand() < 0.5 ? $command : "SELECT c_run(\$c\$$command\$c\$)";
}

# Pairs undo each other, so that the schema stays usable.
my @ddl = (
	sub { return ('ALTER TABLE account ALTER owner TYPE owner', 'UPDATE account SET x = x + 1 WHERE id = ' . n(), 'ALTER TABLE account ALTER owner TYPE uuid'); },
	sub { return ('ALTER TABLE account ALTER kind TYPE char(8)', 'UPDATE account SET x = x + 1 WHERE id = ' . n(), 'ALTER TABLE account ALTER kind TYPE char(6)'); },
	sub { return ('ALTER TABLE account ALTER id TYPE float8', 'UPDATE account SET x = x + 1 WHERE id = ' . n(), 'ALTER TABLE account ALTER id TYPE numeric'); },
	sub { my $t = any(qw(country product tag stock doc event secret note)); my $c = 'c' . ++$number;
		return ("ALTER TABLE $t ADD COLUMN $c int DEFAULT " . n(), "ALTER TABLE $t DROP COLUMN $c"); },
	sub { return ('ALTER TABLE stock ALTER n TYPE bigint USING n * 2', 'ALTER TABLE stock ALTER n TYPE int'); },
	sub { my $t = any(qw(country tag stock contract event doc m_stock)); my $kind = $t =~ /^m_/ ? 'MATERIALIZED VIEW' : 'TABLE';
		return ("ALTER $kind $t RENAME TO renamed", "ALTER $kind renamed RENAME TO $t"); },
	sub { my ($t, $c) = @{ any([ 'contract', 'tenant_id' ], [ 'note', 'body' ], [ 'tag', 'name' ], [ 'doc', 'body' ], [ 'm_stock', 'n' ]) };
		my $kind = $t =~ /^m_/ ? 'MATERIALIZED VIEW' : 'TABLE';
		my $d = ($t eq 'contract') ? any("UPDATE $t SET price = price + 1", 'SELECT 1') : 'SELECT 1';
		return ("ALTER $kind $t RENAME COLUMN $c TO renamed", $d, "ALTER $kind $t RENAME COLUMN renamed TO $c"); },
	sub { return ('ALTER TABLE event ATTACH PARTITION event3 FOR VALUES FROM (20) TO (30)',
			'UPDATE event3 SET x = ' . n(), any('TRUNCATE event3', 'SELECT 1'),
			'ALTER TABLE event DETACH PARTITION event3' . any('', ' CONCURRENTLY'), 'INSERT INTO event3 VALUES (21, 1)'); },
	sub { return ('ALTER TABLE event2 DETACH PARTITION event2a', 'INSERT INTO event2a VALUES (11, 1)', 'ALTER TABLE event2 ATTACH PARTITION event2a FOR VALUES IN (0, 1, 2, 3, 4)'); },
	sub { my $p = 'event_' . ++$number;
		return ("CREATE TABLE $p PARTITION OF event FOR VALUES FROM (40) TO (50)", 'INSERT INTO event VALUES (41, 1)', any("TRUNCATE $p", "DELETE FROM $p"), "DROP TABLE $p"); },
	sub { return ('ALTER TABLE doc_b INHERIT doc', 'UPDATE doc_b SET body = \'z\' WHERE id = ' . n(), 'ALTER TABLE doc_b NO INHERIT doc'); },
	sub { return ('ALTER TABLE doc_a NO INHERIT doc', "UPDATE doc_a SET body = 'q'", 'ALTER TABLE doc_a INHERIT doc'); },
	sub { my $c = 'doc_' . ++$number;
		return ("CREATE TABLE $c () INHERITS (doc)", "INSERT INTO $c VALUES (1, 'c')", "DROP TABLE $c"); },
	sub { return ('CREATE POLICY more ON secret USING (true)', 'DROP POLICY more ON secret'); },
	sub { return ('ALTER TABLE secret DISABLE ROW LEVEL SECURITY', 'ALTER TABLE secret ENABLE ROW LEVEL SECURITY'); },
	sub { return ('ALTER POLICY own ON secret USING (x > 2)', 'ALTER POLICY own ON secret USING (owner IN (SELECT owner FROM allowed))'); },
	sub { return "CREATE OR REPLACE VIEW v_customer AS SELECT c.id, c.name || '" . any('', '!') . "' AS name, c.mood, k.name AS country FROM customer c LEFT JOIN country k ON k.id = c.country"; },
	sub { return 'CREATE OR REPLACE FUNCTION factor(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \'BEGIN RETURN i * ' . (1 + n(3)) . '; END\''; },
	sub { return 'CREATE OR REPLACE FUNCTION rate() RETURNS int STABLE LANGUAGE sql AS \'SELECT ' . (1 + n(2)) . ' * value::int FROM public.setting WHERE name = \'\'rate\'\'\''; },
	sub { return ("ALTER TYPE mood RENAME VALUE 'sad' TO 'bad'", "ALTER TYPE mood RENAME VALUE 'bad' TO 'sad'"); },
	sub { return ('ALTER TYPE size ADD ATTRIBUTE d int', 'ALTER TYPE size DROP ATTRIBUTE d'); },
	sub { my $t = any(qw(tag stock m_country)); my $kind = $t =~ /^m_/ ? 'MATERIALIZED VIEW' : 'TABLE';
		return ("ALTER $kind $t SET SCHEMA truth", "ALTER $kind truth.$t SET SCHEMA public"); },
	sub { my $t = any(qw(stock note secret));
		return any('', 'BEGIN; ') . "ALTER TABLE $t DISABLE TRIGGER ALL; UPDATE $t SET " . { stock => 'n = n + 1', note => "body = 'off'", secret => 'x = x + 1' }->{$t} . "; ALTER TABLE $t ENABLE TRIGGER ALL; COMMIT"; },
	sub { my ($t, $change) = @{ any([ 'stock', 'UPDATE stock SET n = n + 1' ], [ 'm_stock', 'REFRESH MATERIALIZED VIEW m_stock' ]) };
		my $keys = $t eq 'stock' ? ", keys => '{product}', buckets => " . any(32, 64, 64, 128) : '';
		return any('', 'BEGIN; ') . "SELECT cache_notify.remove_table_invalidation('$t'); $change; SELECT cache_notify.setup_table_invalidation('$t'$keys" . ($t eq 'stock' ? options() : '') . "); COMMIT"; },
	sub { my $keys = any('', ", keys => '{product}'", ", keys => '{product}', buckets => 64", ", keys => '{product}', buckets => 64");
		my $change = any('SELECT 1', 'UPDATE stock SET n = n + 1 WHERE product = ' . n(9));
		return any('', 'BEGIN; ') . "SELECT cache_notify.setup_table_invalidation('stock'$keys" . options() . "); $change; COMMIT"; },
	# A copy takes over the name, in one transaction or in many, and is changed.
	sub { my @swap = ('CREATE TABLE tariff_new (LIKE tariff INCLUDING ALL)', 'INSERT INTO tariff_new SELECT * FROM tariff',
			any('UPDATE tariff_new SET n = n + 1', 'SELECT 1'), 'ALTER TABLE tariff RENAME TO tariff_old', 'ALTER TABLE tariff_new RENAME TO tariff');
		@swap = join ';', 'BEGIN', @swap, 'COMMIT' if rand() < 0.5;
		return (@swap, 'UPDATE tariff SET n = n + 1 WHERE id = ' . n(), any('DROP TABLE tariff_old CASCADE', 'UPDATE tariff_old SET n = 1'),
			'UPDATE tariff SET n = n + 2', watch_tariff(), 'UPDATE tariff SET n = n + 3 WHERE id = ' . n(), 'DROP TABLE IF EXISTS tariff_old CASCADE', make_m_tariff()); },
	sub { return (any('', 'BEGIN; ') . 'DROP TABLE tariff CASCADE; CREATE TABLE tariff (id int PRIMARY KEY, tenant_id text, n int); INSERT INTO tariff SELECT g, chr(97 + g % 3), g FROM generate_series(1, 12) g; COMMIT',
			'UPDATE tariff SET n = n + 1', any(watch_tariff(), 'BEGIN; ' . watch_tariff() . '; UPDATE tariff SET n = 0; COMMIT'), 'UPDATE tariff SET n = n + 1', make_m_tariff()); },
	sub { return ('DROP MATERIALIZED VIEW m_tariff', 'CREATE MATERIALIZED VIEW m_tariff AS SELECT tenant_id, max(n) AS n FROM tariff GROUP BY 1',
			'REFRESH MATERIALIZED VIEW m_tariff', make_m_tariff()); },
	sub { return ('ALTER TABLE ' . any('tariff RENAME TO renamed', 'tariff RENAME TO renamed; CREATE TABLE tariff AS SELECT * FROM renamed; DROP TABLE tariff'), 'ALTER TABLE renamed RENAME TO tariff'); },
	sub { return any('ALTER ROLE reader BYPASSRLS', 'ALTER ROLE reader NOBYPASSRLS', 'REVOKE staff FROM reader', 'GRANT staff TO reader', 'ALTER POLICY of_staff ON secret USING (x > ' . (2 + n(4)) . ')'); },
	sub { return ('DROP OWNED BY staff', 'CREATE POLICY of_staff ON secret TO staff USING (x > 4)', 'GRANT SELECT ON secret TO staff'); },
	sub { return 'ALTER VIEW v_secret OWNER TO ' . any('reader', 'CURRENT_USER'); },
	sub { return 'CREATE OR REPLACE FUNCTION above(n int DEFAULT ' . any('rate()', '2', '5', 'rate() + 3') . ') RETURNS bigint STABLE LANGUAGE sql AS \'SELECT count(*) FROM public.product WHERE price > n\''; },
	sub { return 'CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO v_rule DO INSTEAD SELECT id, ' . any('name', 'upper(name) AS name', 'NULL::text AS name') . ' FROM tag'; },
	sub { return 'ALTER TEXT SEARCH CONFIGURATION conf ALTER MAPPING FOR asciiword WITH ' . any('simple', 'english_stem'); },
	sub { return any('ALTER FOREIGN TABLE remote OPTIONS (SET program \'seq ' . (1 + n(5)) . '\')', 'ALTER SERVER files VERSION \'' . n() . '\''); },
	sub { my $c = 'c' . ++$number;
		return ("ALTER TABLE tag ADD COLUMN $c int", "ALTER TABLE tag DROP COLUMN $c"); },
	sub { return ('SELECT c_inherit(\'doc_b\', \'doc\', true)', 'UPDATE doc_b SET body = \'z\' WHERE id = ' . n(), 'SELECT c_inherit(\'doc_b\', \'doc\', false)'); },
	sub { my $c = 'doc_' . ++$number;
		return ("CREATE TABLE $c () INHERITS (doc)", "INSERT INTO $c VALUES (1, 'c')", "SELECT c_drop('$c')"); },
	sub { my $p = 'event_' . ++$number;
		return ("CREATE TABLE $p PARTITION OF event FOR VALUES FROM (60) TO (70)", 'INSERT INTO event VALUES (61, 1)', "SELECT c_drop('$p')"); },
	sub { my $c = 'swap_' . ++$number;
		return "CREATE TABLE $c (LIKE note); INSERT INTO $c SELECT " . n(7) . ", 'swapped " . n() . "', 1; SELECT c_swap('note', '$c')"; },
	# more kinds: overloads, operators, aggregates, definers, roles, types, dictionaries
	sub { return ('CREATE FUNCTION pick(i int) RETURNS int IMMUTABLE LANGUAGE sql AS \'SELECT 2\'', by_c('DROP FUNCTION pick(int)')); },
	sub { return ('ALTER OPERATOR <-> (int, int) SET SCHEMA truth', 'ALTER OPERATOR truth.<-> (int, int) SET SCHEMA public'); },
	sub { return ('DROP OPERATOR <-> (int, int)', 'CREATE OPERATOR <-> (FUNCTION = apart, LEFTARG = int, RIGHTARG = int)'); },
	sub { return 'CREATE OR REPLACE AGGREGATE total(int) (SFUNC = plus_one, STYPE = int, INITCOND = \'' . n(3) . '\')'; },
	sub { return by_c('CREATE OR REPLACE FUNCTION plus_one(a int, b int) RETURNS int IMMUTABLE LANGUAGE sql AS \'SELECT a + b + ' . n(3) . '\''); },
	sub { return any(by_c('ALTER FUNCTION f_secret() OWNER TO ' . any('reader', 'outsider', 'CURRENT_USER')),
		by_c('ALTER FUNCTION f_secret() SECURITY ' . any('DEFINER', 'INVOKER'))); },
	sub { return by_c('CREATE OR REPLACE FUNCTION says(text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS \'BEGIN RETURN $1 = \'\'' . any('x', 'y') . '\'\'; END\''); },
	sub { return ('GRANT reader TO outsider', 'REVOKE reader FROM outsider'); },
	sub { return ('REVOKE SELECT ON secret FROM outsider', 'GRANT SELECT ON secret TO outsider'); },
	sub { return ('REASSIGN OWNED BY reader TO ' . any('outsider', 'CURRENT_USER'), 'ALTER VIEW v_secret OWNER TO reader'); },
	sub { return ('ALTER TABLE secret OWNER TO outsider', any('ALTER TABLE secret FORCE ROW LEVEL SECURITY', 'SELECT 1'), 'ALTER TABLE secret NO FORCE ROW LEVEL SECURITY', 'ALTER TABLE secret OWNER TO CURRENT_USER'); },
	sub { return ('ALTER TYPE size RENAME ATTRIBUTE w TO width CASCADE', 'ALTER TYPE size RENAME ATTRIBUTE width TO w CASCADE'); },
	sub { return by_c('ALTER TYPE mood ADD VALUE IF NOT EXISTS \'' . any('sad', 'new' . ++$number) . '\' BEFORE \'sad\''); },
	sub { return ('ALTER TYPE mood RENAME TO feeling', 'ALTER TYPE feeling RENAME TO mood'); },
	sub { return ('ALTER TEXT SEARCH CONFIGURATION conf ALTER MAPPING FOR asciiword WITH dict, english_stem', 'ALTER TEXT SEARCH DICTIONARY dict (ACCEPT = ' . any('true', 'false') . ')'); },
	sub { return ('ALTER TEXT SEARCH CONFIGURATION conf RENAME TO other', 'ALTER TEXT SEARCH CONFIGURATION other RENAME TO conf'); },
	sub { return ('ALTER EXTENSION fuzzystrmatch SET SCHEMA truth', 'ALTER EXTENSION fuzzystrmatch SET SCHEMA public'); },
	sub { return ('ALTER INDEX tag RENAME TO renamed', 'ALTER TABLE renamed RENAME TO tag'); },
	# foreign tables and partitions
	sub { return any('INSERT INTO far VALUES (' . n() . ', ' . n() . ')', 'UPDATE far SET x = x + 1 WHERE id = ' . n(), 'DELETE FROM far WHERE id = ' . n(), 'TRUNCATE far',
		'INSERT INTO near VALUES (' . n(20) . ', 1)', 'UPDATE near SET x = x + 1', 'TRUNCATE near', 'DELETE FROM near WHERE id > 6'); },
	sub { return ('ALTER FOREIGN TABLE far OPTIONS (SET table_name \'far_b\')', 'ALTER FOREIGN TABLE far OPTIONS (SET table_name \'far_a\')'); },
	sub { return ('ALTER SERVER loop OPTIONS (SET dbname \'template1\')', 'ALTER SERVER loop OPTIONS (SET dbname \'postgres\')'); },
	sub { return ('ALTER TABLE near DETACH PARTITION near2', any('TRUNCATE near2', 'SELECT 1'), by_c('ALTER TABLE near ATTACH PARTITION near2 FOR VALUES FROM (5) TO (50)')); },
	# any of these by the functions that the commands call, as extensions in C do
	sub { my $c = 'c' . ++$number;
		return (by_c("ALTER TABLE tag ADD COLUMN $c int DEFAULT 7"), by_c("ALTER TABLE tag DROP COLUMN $c")); },
	sub { return (by_c('ALTER TABLE event ATTACH PARTITION event3 FOR VALUES FROM (20) TO (30)'), 'UPDATE event3 SET x = ' . n(), by_c('ALTER TABLE event DETACH PARTITION event3')); },
	sub { return (by_c('ALTER TABLE secret DISABLE ROW LEVEL SECURITY'), by_c('ALTER TABLE secret ENABLE ROW LEVEL SECURITY')); },
	sub { return (by_c('ALTER TABLE stock ALTER n TYPE bigint USING n * 2'), by_c('ALTER TABLE stock ALTER n TYPE int')); },
	sub { my $t = any(qw(tag stock)); return (by_c("ALTER TABLE $t RENAME TO renamed"), by_c("ALTER TABLE renamed RENAME TO $t")); },
	sub { return (by_c('ALTER TABLE country RENAME COLUMN name TO renamed'), by_c('ALTER TABLE country RENAME COLUMN renamed TO name')); },
	sub { return (by_c('ALTER TABLE tag SET SCHEMA truth'), by_c('ALTER TABLE truth.tag SET SCHEMA public')); },
	sub { return by_c("CREATE OR REPLACE VIEW v_customer AS SELECT c.id, c.name || '" . any('', '!') . "' AS name, c.mood, k.name AS country FROM customer c LEFT JOIN country k ON k.id = c.country"); },
	sub { return by_c('CREATE OR REPLACE FUNCTION factor(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \'BEGIN RETURN i * ' . (1 + n(3)) . '; END\''); },
	sub { return (by_c('CREATE POLICY more ON secret USING (true)'), by_c('DROP POLICY more ON secret')); },
	sub { return by_c('ALTER POLICY of_staff ON secret USING (x > ' . (2 + n(4)) . ')'); },
	sub { return (by_c("ALTER TYPE mood RENAME VALUE 'sad' TO 'bad'"), by_c("ALTER TYPE mood RENAME VALUE 'bad' TO 'sad'")); },
	sub { return (by_c('DROP VIEW v_rule'), 'CREATE VIEW v_rule AS SELECT id, name FROM tag'); },
	sub { return (by_c('DROP FUNCTION factor(int)'), 'CREATE FUNCTION factor(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \'BEGIN RETURN i * 1; END\''); },
	sub { my $c = 'doc_' . ++$number;
		return ("CREATE TABLE $c () INHERITS (doc); INSERT INTO $c VALUES (1, 'c'); CREATE FUNCTION f_$c() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM c_drop(''$c''); RETURN 1; END'",
			"CREATE MATERIALIZED VIEW m_$c AS SELECT f_$c()"); },
	# what migrations do again at every start
	sub { return any('ALTER TABLE tag OWNER TO CURRENT_USER', 'ALTER TABLE stock ADD COLUMN IF NOT EXISTS n int', 'ALTER TABLE secret ENABLE ROW LEVEL SECURITY',
		'ALTER TABLE tag SET SCHEMA public', 'CREATE OR REPLACE VIEW v_mood AS SELECT \'sad\'::mood AS m, NULL::size AS s, id FROM country', 'GRANT SELECT ON secret TO reader',
		'ALTER TYPE mood ADD VALUE IF NOT EXISTS \'glad\'', 'ALTER FUNCTION rate() STABLE', 'REVOKE ALL ON tag FROM staff', 'CREATE TABLE IF NOT EXISTS tag (a int)'); },
	sub { return 'ALTER TABLE ' . any(@tables) . any(' SET (fillfactor = 80)', ' ALTER ' . 'ctid SET STATISTICS 5', ' CLUSTER ON x'); },
	sub { return any('ALTER TABLE stock SET UNLOGGED; ALTER TABLE stock SET LOGGED', 'CREATE INDEX ON stock (n)', 'ANALYZE stock', 'ALTER TABLE stock ALTER n SET DEFAULT 1', 'CREATE TABLE unrelated' . ++$number . ' (a int)', 'COMMENT ON TABLE stock IS \'x\'', 'CLUSTER product USING product_pkey', 'REINDEX TABLE stock'); });

# A transaction of one or more statements; some are rolled back, whole or in part.
sub transaction
{
	my @statements = @_;
	my $kind = rand();
	return join ';', @statements if $kind < 0.75;
	return join ';', 'BEGIN', @statements, 'ROLLBACK' if $kind < 0.8;
	return join ';', 'BEGIN', 'SAVEPOINT s', $statements[0], 'ROLLBACK TO s', @statements, 'COMMIT' if $kind < 0.88;
	return join ';', 'BEGIN', 'SAVEPOINT s', @statements, 'RELEASE s', 'COMMIT' if $kind < 0.94;
	return join ';', 'BEGIN', @statements, "PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'";
}

my @script;
my $step = 0;
while ($step < $steps)
{
	my $kind = rand();
	my @commands =
	    $kind < 0.62 ? transaction(any(@dml)->())
	  : $kind < 0.72 ? transaction(any(@dml)->(), any(@dml)->(), any(@dml)->())
	  : $kind < 0.77 ? any(@refresh)->()
	  : any(@ddl)->();
	foreach my $command (@commands)
	{
		(my $quoted = $command) =~ s/'/''/g;
		push @script, "$command;", 'ROLLBACK;', "CALL truth.look(" . ++$step . ", '$quoted');";
	}
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 2');
$node->start;
$node->command_ok([ 'psql', '-qX', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
		'-v', 'host=' . $node->host, '-v', 'port=' . $node->port, '-v', 'user=' . (getpwuid($<))[0], '-f', "$FindBin::Bin/schema.sql" ], 'the schema is there');
$node->safe_psql('postgres', c_functions());
my ($out, $err);
IPC::Run::run [ 'psql', '-qX', '-d', $node->connstr('postgres') ],
  '<', \join("\n", @script), '>', \$out, '2>', \$err;
my $errors = () = $err =~ /ERROR/g;
unlike($err, qr/truth\.look|WARNING:  could not|server closed|PANIC|TRAP/, 'every look succeeded')
  or diag $err;

sub ask { return $node->safe_psql('postgres', $_[0]); }
my $pairs = ask('SELECT count(*) FROM truth.log WHERE step > 0');
my $changed = ask('SELECT count(*) FROM truth.log WHERE changed AND step > 0');
my $alarms = ask('SELECT count(*) FROM truth.log WHERE NOT changed AND NOT current AND step > 0');
note "$step commands ($errors failed), $pairs results looked at, $changed changed, $alarms false alarms";

is( ask('SELECT string_agg(format(E\'step %s: %s changed %s (%s)\', l.step, s.command, q.query, q.role), E\'\n\')
		FROM truth.log l JOIN truth.query q ON q.id = l.query JOIN truth.step s USING (step) WHERE l.changed AND l.current'),
	'', 'what changed a result changed its token');
cmp_ok($alarms / $pairs, '<', 0.05, 'few false alarms');
cmp_ok($changed, '>', $steps / 3, 'results did change');
cmp_ok($pairs, '>', 20 * $steps, 'nearly all queries had tokens all the time');
is(ask('SELECT string_agg(query, \', \') FROM truth.query WHERE token IS NULL AND result NOT LIKE \'error%\' AND NOT mistyped'), '',
	'and have one now') or diag ask(q{
	SELECT string_agg(format('none since step %s (%s): %s: %s', l.step, s.command, q.query, (SELECT string_agg(concat_ws(' ', d.certainty, d.source, d.reason), '; ')
		FROM cache_notify.domains_of(q.query) AS d WHERE d.certainty NOT IN ('exact', 'definition'))), E'\n')
	FROM truth.query q CROSS JOIN LATERAL (SELECT max(step) + 1 AS step FROM truth.log WHERE query = q.id) AS l LEFT JOIN truth.step s USING (step)
	WHERE q.token IS NULL AND q.result NOT LIKE 'error%' AND NOT q.mistyped});
is(ask('SELECT string_agg(DISTINCT names::text, \', \') FROM truth.query q WHERE mistyped AND (token IS NOT NULL OR EXISTS (SELECT FROM truth.log WHERE query = q.id))'), '',
	'what is mistyped never had one');
# domains_of() against what was observed.  A domain that it does not name may
# move alone as often as it likes, no result may change; and each that it names
# should have been seen to change one, which the long run checks.
my $unlisted = 'moved <> \'{}\' AND NOT moved && domains AND step > 0';
is(ask("SELECT count(*) FROM truth.log WHERE changed AND NOT moved && domains AND step > 0"), 0,
	'no result changed while all domains of its query stood still');
my $trials = ask("SELECT count(*) FROM truth.log WHERE $unlisted");
cmp_ok($trials, '>', 10 * $steps, "which $trials moves of other domains had the chance to do");
my $pairs_of = q{
	SELECT q.query, d, EXISTS (
		SELECT FROM truth.log l WHERE l.query = q.id AND l.changed AND d = ANY (l.moved)
		AND NOT EXISTS (SELECT FROM unnest(l.moved) AS m WHERE m <> d AND m = ANY (l.domains))) AS matters
	FROM truth.query q CROSS JOIN unnest(q.domains) AS d};
my ($named, $seen) = split /\|/, ask("SELECT count(*), count(*) FILTER (WHERE matters) FROM ($pairs_of) AS p");
note "$named domains named for " . ask('SELECT count(*) FROM truth.query') . " queries, $seen of them seen to change a result alone";
note 'not seen to: ' . ask("SELECT coalesce(string_agg(d || ' of ' || query, '; ' ORDER BY query), 'none') FROM ($pairs_of) AS p WHERE NOT matters");
note "worst false alarms:\n" . ask(q{
	SELECT string_agg(format('%s  %s  %s', n, query, command), E'\n') FROM (
		SELECT count(*) AS n, q.query, left(min(s.command), 80) AS command
		FROM truth.log l JOIN truth.query q ON q.id = l.query JOIN truth.step s USING (step)
		WHERE NOT changed AND NOT current AND step > 0 GROUP BY q.query ORDER BY 1 DESC LIMIT 8) AS x}) if $ENV{TRUTH_VERBOSE};
$node->stop;
done_testing();
