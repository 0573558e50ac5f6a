# G8: doctor() says what is wrong and what to do. Each row that it can say is brought
# about, then what the row advises is done, literally where it is SQL, and the row is
# gone. Every problem that the status knows has advice.
#
# Failure shows as a row that does not come, that is about something else, or whose
# advice leaves it where it is.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use WorkerLane;

my $node = worker_server('main', <<'END');
wal_level = logical
max_worker_processes = 12
max_prepared_transactions = 5
END

# What it has said, in the whole test.
my %has_said;

my $call = 'cache_notify.doctor(patience => $$1 second$$)';

# What it says: severity, object, problem, advice.
sub findings
{
	my ($function, $user) = @_;
	my $sql = "SELECT string_agg(concat_ws(chr(1), severity, object, problem, advice), chr(2)) FROM " . ($function // $call);

	my @rows = map { [ split /\001/ ] } split /\002/,
	  $node->safe_psql('postgres', $sql, $user ? (extra_params => [ '-U', $user ]) : ());
	$has_said{ $_->[2] } = 1 foreach @rows;
	return @rows;
}

# By ALTER SYSTEM, as advice does: what postgresql.conf says comes after it.
sub set_system
{
	my ($name, $value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = $value");
	$node->reload;
	wait_for("$name to be $value", sub { $node->safe_psql('postgres',
			"SELECT cache_notify.lane_in_effect(); SHOW $name") =~ /^\Q$value\E$/m });
	return;
}

sub as_text
{
	return join '', map { "  " . join(' | ', @$_) . "\n" } @_;
}

sub well_ok
{
	my ($name) = @_;
	my @rows = findings();

	is(as_text(@rows), '', $name);
	return;
}

# Break something, see exactly the rows that say so, do what they advise, see none. $mend:
# what to do where the advice is not SQL alone.
sub says
{
	my ($name, $break, $severity, $object, $problem, $mend, %params) = @_;

	ref $break ? $break->() : $node->safe_psql('postgres', $break);
	my @rows = findings($params{call});
	my @right = grep { $_->[0] =~ /^(?:$severity)$/ && $_->[1] =~ /^(?:$object)$/ && $_->[2] =~ /$problem/ && $_->[3] } @rows;
	ok(@right >= 1 && @right == @rows && !grep({ /\n/ } map { @$_ } @rows), "$name: a row says so") or diag(as_text(@rows));
	foreach my $row (@right)
	{
		if (ref $mend) { $mend->($row->[3]); next; }
		my $sql = $mend // $row->[3];
		$sql =~ s/; or\b.*//s;
		$sql =~ s/; and (?:restart|have)\b.*//s;
		$sql =~ s/^.*, or be content: //;
		my $output = '';
		is($node->psql('postgres', $sql, stderr => \$output), 0, "$name: $sql") or diag($output);
	}
	# Settings reach new sessions when the postmaster has read them.
	for (1 .. 50)
	{
		@rows = findings($params{call});
		last unless @rows;
		sleep 0.1;
	}
	is(as_text(@rows), '', "$name: which mends it");
	return;
}

# ------------------------------------------------------------- watched relations

$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, name text, price int);
SELECT cache_notify.setup_table_invalidation('item', columns => '{name,price}', channel => 'it''ems',
	keys => '{id}', buckets => 64, fields => '{keys}', payload_suffix => E'\n', whole_counter => true, follow_name => true);
CREATE TABLE plain (id int PRIMARY KEY, tenant_id text);
SELECT cache_notify.setup_table_invalidation('plain', tenant_column => '');
CREATE TABLE part (id int, tenant_id text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE parent (id int, tenant_id text);
CREATE TABLE child () INHERITS (parent);
SELECT cache_notify.setup_table_invalidation('part');
SELECT cache_notify.setup_table_invalidation('parent');
END
well_ok('all is well');

my $set_up = $node->safe_psql('postgres', 'SELECT * FROM cache_notify.v_invalidation_status ORDER BY 1, 2');
says('row trigger', 'DROP TRIGGER cache_notify_row_item ON item', 'error', 'public.item \(domain item\)', 'row trigger is missing');
says('statement trigger', 'DROP TRIGGER cache_notify_statement_item ON item', 'error', 'public.item \(domain item\)', 'statement trigger is missing');
says('disabled trigger', 'ALTER TABLE item DISABLE TRIGGER cache_notify_row_item', 'error', 'public.item .*', 'row trigger is disabled');
says('disabled triggers', 'ALTER TABLE item DISABLE TRIGGER USER', 'error', 'public.item .*', 'is disabled');
says('disabled statement trigger', 'ALTER TABLE plain DISABLE TRIGGER cache_notify_statement_plain', 'error', 'public.plain .*', 'statement trigger is disabled');
says('replica trigger', 'ALTER TABLE plain ENABLE REPLICA TRIGGER cache_notify_row_plain', 'error', 'public.plain .*', 'only changes by replication');
says('other arguments', q{CREATE OR REPLACE TRIGGER cache_notify_row_plain AFTER INSERT OR UPDATE OR DELETE ON plain
	FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change('domain=plain', 'column=id')},
	'warning', 'public.plain .*', 'arguments differ');
says('unusable argument', q{CREATE OR REPLACE TRIGGER cache_notify_row_plain AFTER INSERT OR UPDATE OR DELETE ON plain
	FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change('domain=plain', 'payload=nonsense');
	CREATE OR REPLACE TRIGGER cache_notify_statement_plain AFTER TRUNCATE ON plain
	FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.statement_change('domain=plain', 'payload=nonsense')},
	'warning', 'public.plain .*', 'nonsense');
is($node->safe_psql('postgres', 'SELECT * FROM cache_notify.v_invalidation_status ORDER BY 1, 2'), $set_up,
	'setting up again has kept every option');
is($node->safe_psql('postgres', q{SELECT arguments IS NOT NULL FROM _cache_notify.watched_name WHERE domain = 'item'}), 't',
	'and that its name is followed');

says('partition', 'DROP TRIGGER cache_notify_statement_part ON part1', 'error', 'public.part1 .*', '.');
says('child', q{DROP TRIGGER cache_notify_row_parent ON child; DROP TRIGGER cache_notify_statement_parent ON child},
	'error', 'public.child .*', 'not watched, although its parent is');
says('child of one trigger', 'DROP TRIGGER cache_notify_row_parent ON child', 'error', 'public.child .*', 'row trigger is missing');

says('tenant column', 'CREATE TABLE lost (id int, owner text);'
	  . q{SELECT cache_notify.setup_table_invalidation('lost', tenant_column => 'owner');}
	  . 'ALTER TABLE lost DROP COLUMN owner', 'warning', 'public.lost .*', 'tenant column owner does not exist');
says('column that counts', q{SELECT cache_notify.setup_table_invalidation('lost', tenant_column => '', columns => '{id}');}
	  . 'ALTER TABLE lost ADD other int; ALTER TABLE lost DROP COLUMN id', 'warning', 'public.lost .*', 'column that counts does not exist');
says('key column', q{SELECT cache_notify.setup_table_invalidation('lost', tenant_column => '', keys => '{other}');}
	  . 'ALTER TABLE lost ADD id int; ALTER TABLE lost DROP COLUMN other', 'warning', 'public.lost .*', 'key column does not exist');
says('primary key', 'ALTER TABLE lost ADD PRIMARY KEY (id);'
	  . q{SELECT cache_notify.setup_table_invalidation('lost', payload => 'tcn'); ALTER TABLE lost DROP CONSTRAINT lost_pkey},
	'warning', 'public.lost .*', 'no primary key', 'ALTER TABLE lost ADD PRIMARY KEY (id);');
says('unlogged', 'ALTER TABLE lost SET UNLOGGED', 'warning', 'public.lost .*', 'unlogged');
says('type of a tenant', 'ALTER TABLE lost ADD tenant interval;'
	  . q{SELECT cache_notify.setup_table_invalidation('lost', tenant_column => 'tenant')},
	'warning', 'public.lost .*', 'equal values of tenant column');
says('type of a key', q{SELECT cache_notify.setup_table_invalidation('lost', keys => '{tenant}')},
	'warning', 'public.lost .*', 'equal values of a key column');
$node->safe_psql('postgres', 'DROP TABLE lost');

says('bucket layout', 'CREATE TABLE one (id int); CREATE TABLE two (id int);'
	  . q{SELECT cache_notify.setup_table_invalidation('one', 'k', keys => '{id}', buckets => 16);
		SELECT cache_notify.setup_table_invalidation('one', 'k', keys => '{id}', buckets => 32);}
	  . q{CREATE TRIGGER cache_notify_row_k AFTER INSERT OR UPDATE OR DELETE ON two FOR EACH ROW EXECUTE FUNCTION cache_notify.row_change('domain=k', 'key=id', 'bucket_layout=4');
		CREATE TRIGGER cache_notify_statement_k AFTER TRUNCATE ON two FOR EACH STATEMENT EXECUTE FUNCTION cache_notify.statement_change('domain=k', 'key=id', 'bucket_layout=4')},
	'warning', 'public.two .*', 'bucket layout');
$node->safe_psql('postgres', 'DROP TABLE one, two');

says('subscription', sub {
		$node->safe_psql('postgres', q{CREATE SUBSCRIPTION sub CONNECTION 'dbname=postgres' PUBLICATION p WITH (connect = false);
			INSERT INTO pg_subscription_rel SELECT oid, 'plain'::regclass, 'r', NULL FROM pg_subscription});
	}, 'error', 'public.plain .*', 'a subscription fills it');
says('replication by statement', q{SELECT cache_notify.setup_table_invalidation('plain', tenant_column => '', granularity => 'statement', fire_on_replica => true)},
	'error', 'public.plain .*', 'replication applies rows');
$node->safe_psql('postgres', q{ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub;
	SELECT cache_notify.setup_table_invalidation('plain', tenant_column => '')});

says('foreign table', q{CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
	CREATE FOREIGN TABLE remote (a int) SERVER files OPTIONS (filename '/dev/null');
	SELECT cache_notify.setup_table_invalidation('remote')},
	'warning', 'public.remote .*', 'remote server', q{SELECT cache_notify.remove_table_invalidation('remote', 'remote')});

says('swap', q{CREATE TABLE plain_new (LIKE plain); BEGIN; ALTER TABLE plain RENAME TO plain_old;
	ALTER TABLE plain_new RENAME TO plain; COMMIT}, 'error', 'public.plain .*', 'not watched, and a relation of this name was');
$node->safe_psql('postgres', 'DROP TABLE plain_old');
says('swap, and not to be watched', q{CREATE TABLE swapped (id int); SELECT cache_notify.setup_table_invalidation('swapped');
	DROP TABLE swapped; CREATE TABLE swapped (id int)}, 'error', 'public.swapped .*', 'not watched, and',
	sub { $node->safe_psql('postgres', $_[0] =~ /watched: (SELECT .*;)/) });

says('event trigger', 'ALTER EVENT TRIGGER ' . $node->safe_psql('postgres',
		q{SELECT min(evtname) FROM pg_event_trigger WHERE evtfoid = '_cache_notify.schema_event()'::regprocedure}) . ' DISABLE',
	'error', 'event trigger cache_notify_\w+', 'event trigger of cache_notify is disabled');
SKIP:
{
	skip 'event_triggers is of 17', 1 if server_version($node) < 17;
	says('event_triggers', sub { set_system('event_triggers', 'off') }, 'error', 'setting event_triggers', 'is off');
}

# ------------------------------------------------------------- domains and rules

says('rule from nothing', q{INSERT INTO cache_notify.cascade_rules VALUES ('nothing', 'page')},
	'error', 'domain page', 'from domain "nothing" carries nothing', q{DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'nothing'});
says('a name that nothing feeds', 'SELECT 1', 'error', 'domain contract', 'not known',
	q{CREATE TABLE contract (id int); SELECT cache_notify.setup_table_invalidation('contract')},
	call => q{cache_notify.doctor('{contract,item/1}')});
says('rules not shown', sub {
		$node->safe_psql('postgres', q{INSERT INTO cache_notify.cascade_rules VALUES ('item', 'list');
			SET session_replication_role = replica; ALTER TABLE cache_notify.cascade_rules DISABLE TRIGGER USER;
			DELETE FROM cache_notify.cascade_rules;
			ALTER TABLE cache_notify.cascade_rules ENABLE ALWAYS TRIGGER rules_are_written, ENABLE ALWAYS TRIGGER rule_is_written,
				ENABLE ALWAYS TRIGGER rules_are_truncated, ENABLE TRIGGER rules_changed, ENABLE ALWAYS TRIGGER rules_inserted,
				ENABLE ALWAYS TRIGGER rules_updated, ENABLE ALWAYS TRIGGER rules_deleted});
	}, 'warning', 'table cache_notify.cascade_rules', 'does not show the 1 rules');
$node->safe_psql('postgres', 'DELETE FROM cache_notify.cascade_rules');
says('a rule that a set-up asks for', q{CREATE TABLE asks (id int); SELECT cache_notify.setup_table_invalidation('asks', cascades => '{board}');
		DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'asks'}, 'error', 'public.asks .*', 'rule into domain "board".* is missing');
$node->safe_psql('postgres', q{SELECT cache_notify.remove_table_invalidation('asks'); DELETE FROM cache_notify.cascade_rules; DROP TABLE asks});
says('a lost rule', q{CREATE TABLE lost_from (id int); SELECT cache_notify.setup_table_invalidation('lost_from');
		INSERT INTO cache_notify.cascade_rules VALUES ('lost_from', 'lost''to', 'invalidate', 'all', 'all');
		ALTER TABLE cache_notify.cascade_rules DISABLE TRIGGER rule_is_written, DISABLE TRIGGER rules_deleted;
		DO $$BEGIN EXECUTE format('DROP TRIGGER %I ON cache_notify.configuration', 'cascade_rule_' || md5(E'lost_from\nlost''to')); END$$;
		SELECT _cache_notify.refill_rules();
		ALTER TABLE cache_notify.cascade_rules ENABLE ALWAYS TRIGGER rule_is_written, ENABLE ALWAYS TRIGGER rules_deleted},
	'error', 'public.lost_from .*', 'a rule from domain "lost_from" into "lost\'to" has been there, and is lost');
is($node->safe_psql('postgres', q{DELETE FROM cache_notify.cascade_rules RETURNING tenants}), 'all', 'and it is as it was');
$node->safe_psql('postgres', 'DROP TABLE lost_from');
says('a lost label', q{CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM plain; SELECT cache_notify.setup_table_invalidation('counted', channel => 'c');
		LOAD 'cache_notify'; SECURITY LABEL FOR cache_notify ON MATERIALIZED VIEW counted IS NULL},
	'error', 'public.counted .*', 'not watched, and a relation of this name was', 'SELECT cache_notify.repair()');
is($node->safe_psql('postgres', q{SELECT channel FROM cache_notify.v_invalidation_status WHERE domain = 'counted'}), 'c', 'as it was');
says('a lost label of a view', q{CREATE VIEW shown AS SELECT id FROM plain; SELECT cache_notify.setup_view_invalidation('shown');
		SECURITY LABEL FOR cache_notify ON VIEW shown IS NULL},
	'error', 'public.shown .*', 'not watched, and a relation of this name was');
$node->safe_psql('postgres', q{SELECT cache_notify.remove_view_invalidation('shown'), cache_notify.remove_table_invalidation('counted'); DROP VIEW shown; DROP MATERIALIZED VIEW counted});
says('schema listener', q{SELECT cache_notify.setup_schema_invalidation('postgrest', payload_suffix => E'\n');}
	  . q{ALTER EVENT TRIGGER cache_notify_schema_ddl_command_end DISABLE}, 'error', 'channel pgrst', 'disabled');
is($node->safe_psql('postgres', 'SELECT channel, preset, payload, payload_suffix FROM cache_notify.v_schema_invalidation'),
	"pgrst|postgrest|reload schema|\n", 'and the listener is as it was');

says('lost listeners', q{DO $$BEGIN EXECUTE format('DROP TRIGGER %I ON cache_notify.configuration', 'schema_listener_' || md5('pgrst')); END$$},
	'error', 'domain schema', 'no listener is, as after a part of a dump', q{SELECT cache_notify.setup_schema_invalidation('postgrest', payload_suffix => E'\n')});

# Set-up refuses it to him.
says('too many channels', join('', 'CREATE ROLE many;', map {
			"CREATE TABLE many$_ (id int); SELECT cache_notify.setup_table_invalidation('many$_', 'many', channel => 'many$_');"
			. "ALTER TABLE many$_ OWNER TO many;" } 1 .. 33),
	'error', 'public.many\d+ .*', 'nobody is told on this channel', sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/) });
$node->safe_psql('postgres', join ';', map { "DROP TABLE many$_" } 1 .. 33);

# ------------------------------------------------------------- views

says('a view that reads more', q{CREATE VIEW page AS SELECT id FROM plain;
	SELECT cache_notify.setup_view_invalidation('page', channel => 'pages');
	CREATE OR REPLACE VIEW page AS SELECT plain.id FROM plain, part}, 'error', 'public.page \(domain page\)', 'no rule carries changes of part');
is($node->safe_psql('postgres', q{SELECT channel FROM cache_notify.v_invalidation_status WHERE domain = 'page'}), 'pages', 'its channel is kept');
says('a view that reads less', 'CREATE OR REPLACE VIEW page AS SELECT id FROM part', 'warning', 'public.page .*', 'a rule carries changes of .* does not read');
says('a view of what is not watched', 'CREATE TABLE loose (id int); CREATE OR REPLACE VIEW page AS SELECT part.id FROM part, loose',
	'error', 'public.page .*', 'some changes of .*loose', q{SELECT cache_notify.setup_view_invalidation('page')});
says('a view of what changes by itself', 'CREATE OR REPLACE VIEW page AS SELECT id FROM part WHERE random() < 1',
	'error', 'public.page .*', 'some changes of', sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT cache.*;)/) });
says('tenants of a view', q{SELECT cache_notify.setup_table_invalidation('plain', tenant_column => '');
	CREATE OR REPLACE VIEW page AS SELECT id FROM plain; SELECT cache_notify.setup_view_invalidation('page');
	SELECT cache_notify.setup_table_invalidation('plain')}, 'error', 'public.page .*', 'of several tenants');
says('source of a view', q{SELECT cache_notify.remove_table_invalidation('plain')}, 'error', 'public.page .*', '.',
	q{SELECT cache_notify.setup_table_invalidation('plain', tenant_column => ''); SELECT cache_notify.setup_view_invalidation('page')});
says('a rule of a view from what nothing feeds', q{SELECT cache_notify.setup_table_invalidation('plain', tenant_column => '');
	CREATE OR REPLACE VIEW page AS SELECT part.id FROM part, plain; SELECT cache_notify.setup_view_invalidation('page');
	CREATE OR REPLACE VIEW page AS SELECT id FROM part; SELECT cache_notify.remove_table_invalidation('plain')},
	'error|warning', '.*page.*', 'which nothing feeds|carries nothing', q{SELECT cache_notify.setup_view_invalidation('page');
	SELECT cache_notify.setup_table_invalidation('plain', tenant_column => '')});
says('a view that cannot be looked into', q{CREATE TABLE gone (id int); SELECT cache_notify.setup_table_invalidation('gone');
	CREATE FUNCTION of_gone() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM gone';
	CREATE VIEW gone_page AS SELECT of_gone(); SELECT cache_notify.setup_view_invalidation('gone_page');
	ALTER TABLE gone RENAME TO renamed},
	'error|warning', '.*gone.*', 'cannot be looked into|not watched, and', q{ALTER TABLE renamed RENAME TO gone});
$node->safe_psql('postgres', 'DROP VIEW page, gone_page; DROP FUNCTION of_gone; DROP TABLE gone');

# ------------------------------------------------------------- rights

$node->safe_psql('postgres', q{CREATE ROLE app LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
	GRANT CREATE ON SCHEMA public TO app});
my $for_app = q{cache_notify.doctor(cache_role => 'app')};
says('rights of a cache', 'SELECT 1', 'warning', 'role app', 'lacks EXECUTE on cache_notify.changes_since', undef, call => $for_app);
says('rights of a cache by PUBLIC', 'REVOKE EXECUTE ON FUNCTION cache_notify.token(text, text[]) FROM PUBLIC',
	'error', 'role app', 'lacks EXECUTE on cache_notify.token', undef, call => $for_app);
says('USAGE of a cache', 'REVOKE USAGE ON SCHEMA cache_notify FROM PUBLIC', 'error', 'role app', 'lacks USAGE', undef, call => $for_app);
$node->safe_psql('postgres', 'REVOKE USAGE ON SCHEMA cache_notify FROM app; ALTER TABLE item OWNER TO app');
says('rights of an owner', 'SELECT 1', 'error', 'role app', 'owns watched relations');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA cache_notify TO PUBLIC; GRANT EXECUTE ON FUNCTION cache_notify.token(text, text[]) TO PUBLIC');
my $error;
$node->psql('postgres', q{SELECT * FROM cache_notify.doctor(cache_role => 'nobody')}, stderr => \$error);
like($error,
	qr/role "nobody" does not exist.*HINT/s, 'a role that is not there');

$node->psql('postgres', q{SET ROLE app; SELECT cache_notify.setup_table_invalidation('plain')}, stderr => \$error);
like($error, qr/permission denied for table plain.*GRANT TRIGGER ON public.plain TO app/s, 'an error names the GRANT');

# ------------------------------------------------------------- who sees what

$node->safe_psql('postgres', 'ALTER TABLE item DISABLE TRIGGER USER; ALTER TABLE plain DISABLE TRIGGER USER');
is(join(' ', sort map { $_->[1] } findings($call, 'monitor')), 'public.item (domain item) public.plain (domain plain)', 'pg_monitor sees all');
is(join(' ', map { $_->[1] } findings($call, 'app')), 'public.item (domain item)', 'an owner what is his');
$node->safe_psql('postgres', 'ALTER TABLE item ENABLE TRIGGER USER; ALTER TABLE plain ENABLE TRIGGER USER');
well_ok('well again');

# ------------------------------------------------------------- lanes and settings

says('lane off', sub { set_system('cache_notify.delivery', 'off') }, 'warning', 'setting cache_notify.delivery', 'is off');
says('lane wal', sub {
		$node->safe_psql('postgres', 'ALTER SYSTEM SET wal_level = replica');
		set_system('cache_notify.delivery', 'worker, wal');
		$node->restart;
	}, 'error', 'setting cache_notify.delivery', 'nobody can read',
	sub {
		$_[0] =~ /^(ALTER SYSTEM SET wal_level = logical;) and restart the server/ or fail('advice');
		$node->safe_psql('postgres', $1);
		$node->restart;
	});
$node->safe_psql('postgres', 'ALTER SYSTEM RESET wal_level');
set_system('cache_notify.delivery', 'auto');
says('not in force', sub {
		$node->append_conf('postgresql.conf', "cache_notify.coalesce = many\n");
		$node->reload;
	}, 'warning', 'setting cache_notify.coalesce', 'is set and not in force',
	sub {
		$node->append_conf('postgresql.conf', "cache_notify.coalesce = 0\n");
		my $file = $node->data_dir . '/postgresql.conf';
		my $text = slurp_file($file);
		$text =~ s/^cache_notify.coalesce = many\n//m;
		open my $out, '>', $file or die "$file: $!";
		print $out $text;
		close $out or die "$file: $!";
		$node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/);
	});
says('not preloaded', sub {
		$node->safe_psql('postgres', q{ALTER SYSTEM SET shared_preload_libraries = plpgsql});
		$node->restart;
	}, 'warning', 'lane commit', 'the library is not preloaded',
	sub {
		like($_[0], qr/^Add cache_notify to shared_preload_libraries/, 'advice');
		$node->safe_psql('postgres', 'ALTER SYSTEM RESET shared_preload_libraries');
		$node->restart;
	});
says('no slot', sub {
		$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 0');
		$node->safe_psql('postgres', 'ALTER SYSTEM SET max_logical_replication_workers = 0');
		$node->restart;
		$node->safe_psql('postgres', q{INSERT INTO plain VALUES (1)});
	}, 'warning', 'lane commit', 'no worker could be started',
	sub {
		like($_[0], qr/^Raise max_worker_processes, and restart/, 'advice');
		$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_worker_processes');
		$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_logical_replication_workers');
		$node->restart;
	});
says('no worker, and no other lane', sub {
		$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 0');
		$node->safe_psql('postgres', 'ALTER SYSTEM SET max_logical_replication_workers = 0');
		$node->safe_psql('postgres', q{ALTER SYSTEM SET cache_notify.delivery = 'worker'});
		$node->restart;
		$node->safe_psql('postgres', q{INSERT INTO plain VALUES (3)});
	}, 'error|warning', 'setting cache_notify.delivery|lane .*', 'no worker',
	sub {
		$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_worker_processes');
		$node->safe_psql('postgres', 'ALTER SYSTEM RESET max_logical_replication_workers');
		$node->safe_psql('postgres', 'ALTER SYSTEM SET cache_notify.delivery = auto');
		$node->restart;
	});
says('waits for a restart', sub {
		$node->safe_psql('postgres', 'ALTER SYSTEM SET cache_notify.waiting_scopes = 64');
		$node->reload;
		wait_for('the reload', sub { $node->safe_psql('postgres', q{SELECT pending_restart FROM pg_settings WHERE name = 'cache_notify.waiting_scopes'}) eq 't' });
	}, 'warning', 'setting cache_notify.waiting_scopes', 'takes effect when the server is restarted', sub { $node->restart });
says('version', q{UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'cache_notify'}, 'warning', 'extension cache_notify',
	'are of version 0.9', q{UPDATE pg_extension SET extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'cache_notify') WHERE extname = 'cache_notify'});
says('state that would be decoded', q{UPDATE pg_class SET relrewrite = 0 WHERE oid = '_cache_notify.version_counter'::regclass},
	'warning', '_cache_notify.version_counter', 'logical decoding');

# ------------------------------------------------------------- deliveries

my $listener = session($node);
$listener->query('BEGIN; LISTEN cache_invalidation');
# For longer than its patience, which is a second
sub is_older
{
	my ($begin) = @_;
	return wait_for('a second to pass', sub { $node->safe_psql('postgres', "SELECT clock_timestamp() - ($begin) > '1 second'") eq 't' });
}
says('listener in a transaction', sub { is_older('SELECT xact_start FROM pg_stat_activity WHERE pid = ' . $listener->pid) }, 'warning', 'process \d+', 'listens, and has been in a transaction',
	sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/) });
says('prepared', sub {
		$node->safe_psql('postgres', q{BEGIN; INSERT INTO plain VALUES (2); PREPARE TRANSACTION 'it''s'});
		is_older('SELECT prepared FROM pg_prepared_xacts');
	}, 'warning', q{prepared transaction it's}, 'its changes are not told');
says('overflow', sub {
		$node->safe_psql('postgres', q{INSERT INTO item SELECT i, 't' || i FROM generate_series(1, 2000) AS i});
		wait_for('the reset', sub { stat_of($node, 'overflows') > 0 });
	}, 'warning', 'setting cache_notify.waiting_scopes', 'was too small', sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/) });
says('worker dies', sub {
		$node->safe_psql('postgres', q{UPDATE plain SET tenant_id = 'x'});
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . wait_worker($node) . ')');
		wait_for('its successor', sub { stat_of($node, 'worker_restarts') > 0 });
	}, 'warning', 'cache_notify worker', 'has died', sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/) });
says('histories', q{SELECT cache_notify.new_history(); SELECT cache_notify.new_history(); SELECT cache_notify.new_history()},
	'warning', 'history', 'began within a day', sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/) });

# A worker that does not come up: the postmaster, which would start it, stands still.
{
	my $watcher = session($node);
	my $pid = wait_worker($node);
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	kill STOP => $postmaster;
	kill TERM => $pid;
	wait_for('the worker to be gone', sub { $watcher->query('SELECT worker_pid IS NULL FROM cache_notify.stats') eq 't' });
	$watcher->query(q{UPDATE plain SET tenant_id = 'v'});
	my $said = $watcher->query("SELECT severity, object, problem FROM $call");
	kill CONT => $postmaster;
	like($said, qr/^error\|cache_notify worker\|does not come up, and changes wait for it$/m, 'a worker that does not come up: a row says so');
	$has_said{'does not come up, and changes wait for it'} = 1;
	wait_worker($node);
	$watcher->query('SELECT cache_notify.clear_statistics()');
	$watcher->quit;
	well_ok('one that comes up mends it');
}

# What was cleared is so until the server starts again. It can be cleared once something was
# delivered: before, there are no statistics.
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_notify_queue_pages = 64') if server_version($node) >= 17;
says('histories after a restart', sub {
		$node->restart;
		$node->safe_psql('postgres', q{UPDATE plain SET tenant_id = 'w'});
		wait_for('a delivery', sub { stat_of($node, 'delivered') ne '' && stat_of($node, 'delivered') > 0 });
	}, 'warning', 'history', 'began within a day',
	sub { $node->safe_psql('postgres', $_[0] =~ /(SELECT .*;)/) });

# A queue that nobody empties: the listener is stopped, and the queue small from 17 on.
SKIP:
{
	skip 'the queue of a server before 17 has 8 GB', 1 if server_version($node) < 17;
	my $stuck = session($node);
	$stuck->query('LISTEN cache_invalidation');
	$stuck->query('BEGIN');
	says('queue', q{SELECT pg_notify('cache_invalidation', repeat('x', 7000) || i) FROM generate_series(1, 40) i},
		'error', 'notification queue', 'a listener does not read', sub { $stuck->quit }, call => 'cache_notify.doctor()');
}

# The commit lane counts what it tells, and so does stats the lane.
set_system('cache_notify.delivery', 'commit');
my $before = stat_of($node, 'delivered');
$node->safe_psql('postgres', q{UPDATE plain SET tenant_id = 'y'});
is(stat_of($node, 'delivered, lane'), ($before + 1) . '|commit', 'the commit lane counts the scope that it delivers');
like($node->safe_psql('postgres', 'SELECT last_lag_ms FROM cache_notify.stats'), qr/^\d+\.\d{3}$/, 'a lag is readable');
set_system('cache_notify.delivery', 'auto');
is($node->safe_psql('postgres', 'SELECT lane, reason IS NULL FROM cache_notify.lane_in_effect()'), 'worker|t', 'the lane in effect');

# ------------------------------------------------------------- nothing is without advice

my $status = slurp_file('sql/_cache_notify/status.sql') . slurp_file('sql/_cache_notify/rule_note.sql');
my @texts = ($status =~ /(?:THEN|SELECT [1-9],|RETURN|RETURN \(SELECT) (?:format\()?'((?:[^']|'')+)'(?=\n|,| \|\|)/g);
cmp_ok(scalar(@texts), '>', 25, 'the problems that the status knows');
my @can_say;
foreach my $text (@texts)
{
	next if $text =~ /^(?:refresh|cascade|inherited|rules start|set up)/;
	$text =~ s/''/'/g;
	push @can_say, $text;
	my $known = $node->safe_psql('postgres', "SELECT count(*) FROM _cache_notify.advice WHERE starts_with(\$a\$$text\$a\$, problem)");
	is($known, 1, "advice: $text");
}
# ------------------------------------------------------------- nothing is untested

# What doctor() can say, as its source has it: each text that is neither an object nor
# advice, which begins with a capital or is SQL.
my $source = join '', map { slurp_file($_) =~ s/.*?(?=CREATE VIEW _cache_notify.watch_finding|CREATE FUNCTION cache_notify.doctor)//sr }
  'sql/_cache_notify/doctor.sql', 'sql/cache_notify/doctor.sql';
$source =~ s/^COMMENT ON .*?';$//gms;
$source =~ s/^\s*--.*$//gm;
my $object = qr/(?:%s \(domain|channel|domain|event trigger|extension|lane|notification queue|prepared transaction|process|role|setting|table) ?|cache_notify worker$/;
foreach my $text ($source =~ /'((?:[^']|'')*)'/g)
{
	next unless $text =~ / / && $text =~ /^(?:[a-z%]|USAGE on|EXECUTE on)/;
	next if $text =~ /^$object/ || $text eq 'idle in transaction';
	push @can_say, $text =~ s/''/'/gr;
}

# Not brought about here, and why.
my %unsaid = (
	'an extension changes its rows by functions in C, which only sessions see that have preloaded cache_notify' =>
	  'needs TimescaleDB or pg_ivm',
	'event_triggers is off: DDL is not seen' => 'is of 17',
	'is %s %% full, as a listener does not read' => 'is of 17');
if (server_version($node) >= 17) { delete @unsaid{ grep { $unsaid{$_} eq 'is of 17' } keys %unsaid }; }
cmp_ok(scalar(@can_say), '>', 45, 'the problems that doctor() knows');
foreach my $text (@can_say)
{
	next if $unsaid{$text};
	# A problem may be cut at its advice.
	my $begins = join '.*', map { quotemeta } split /%(?:s|I|L|%%?)/, $text =~ s/: (?:call|watch|set|delete|rules) .*//r, -1;
	ok(scalar(grep { /$begins/ } keys %has_said), "has been said, and mended: $text");
}

is($node->safe_psql('postgres', q{SELECT string_agg(remedy, ', ') FROM _cache_notify.advice a WHERE a.remedy NOT IN ('event trigger')
	AND (SELECT count(*) FROM (SELECT w FROM _cache_notify.watched_relation w WHERE w.domain = 'item' AND NOT w.inherited) AS x
		WHERE _cache_notify.remedy(a.remedy, x.w, 'item'::regclass, 'item') IS NOT NULL) = 0 AND a.remedy <> 'enable'}), '',
	'each remedy is one');

$node->safe_psql('postgres', q{UPDATE plain SET tenant_id = 'z'});
wait_worker($node);
$node->stop('fast');
is(log_count($node, 'FATAL:  terminating background worker "cache_notify'), 0, 'an ordinary stop of an idle worker is no error');
done_testing();
