# G3, G4 and what a new connection pays: with the library preloaded, a backend takes from
# shared memory what others have found in the catalogs. What it takes is never older
# than what it would have found: after each change it knows, with its first statement,
# what somebody knows who looks.
#
# Failure shows as a change that a new connection does not carry on, as a history of
# before, or as looks into the catalogs that another one has made already.

use strict;
use warnings;

use CacheNotify;
use Faults;
use Test::More;

my $node = start_server('main', <<'END');
shared_preload_libraries = cache_notify
cache_notify.delivery = off
cache_notify.former_origin = ''
max_prepared_transactions = 5
autovacuum = off
END
my $with_faults = $node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = 'cache_notify.fault'");

# In a connection of its own.
sub sql
{
	my ($text, $db) = @_;
	return $node->safe_psql($db // 'postgres', $text);
}

sub watch
{
	return sql(<<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int);
INSERT INTO item VALUES (1, 't', 0);
SELECT FROM cache_notify.setup_table_invalidation('item');
CREATE VIEW shown AS SELECT n FROM item;
END
}

sub version
{
	my ($domain) = @_;
	return sql("SELECT cache_notify.version('$domain')");
}

# The one statement of a connection.
sub write_item
{
	return sql('UPDATE item SET n = n + 1');
}

# Have facts left that whoever comes next may take.
sub leave_facts
{
	write_item() for 1 .. 2;
	return;
}

# Does a new connection carry a change on to this domain, or not?
sub carries_on
{
	my ($domain, $expected, $name) = @_;
	my $before = version($domain);

	write_item();
	is(version($domain) > $before ? 1 : 0, $expected, $name);
	return;
}

watch();

# ------------------------------------------------------------- they are used

SKIP:
{
	# This is how labels are looked for, if they are.
	my $looks = "SELECT seq_scan FROM pg_stat_all_tables WHERE relid = 'pg_seclabel'::regclass";
	my $before;

	leave_facts();
	$before = sql($looks);
	write_item() for 1 .. 5;
	is(sql($looks), $before, 'a new connection does not look for labels');

	sql('BEGIN; CREATE TABLE mine (id int); UPDATE item SET n = n + 1; ROLLBACK');
	# 14 counts a moment later.
	ok($node->poll_query_until('postgres', "SELECT ($looks) > $before"), 'but one that has run DDL does');
}

# -------------------------------------- every change is known to whom comes next

my $add = "INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page')";
my $remove = "DELETE FROM cache_notify.cascade_rules WHERE target_domain = 'page'";

leave_facts();
sql($add);
carries_on('page', 1, 'a rule');
leave_facts();
sql("BEGIN; $remove; UPDATE item SET n = n + 1; ROLLBACK");
carries_on('page', 1, 'a rule that was not removed after all');
leave_facts();
sql($remove);
carries_on('page', 0, 'a rule that was removed');
leave_facts();
sql("BEGIN; $add; UPDATE item SET n = n + 1; ROLLBACK");
carries_on('page', 0, 'a rule that was not added after all');

leave_facts();
my $before = version('page');
sql("BEGIN; $add; UPDATE item SET n = n + 1; COMMIT");
cmp_ok(version('page'), '>', $before, 'a rule of the transaction itself');
sql($remove);

leave_facts();
sql("BEGIN; SAVEPOINT s; $add; RELEASE s; PREPARE TRANSACTION 'rule'");
carries_on('page', 0, 'a rule that is prepared');
leave_facts();
sql("COMMIT PREPARED 'rule'");
carries_on('page', 1, 'a rule that was prepared');
sql($remove);

leave_facts();
sql("SELECT cache_notify.setup_view_invalidation('shown')");
carries_on('shown', 1, 'a view with rules');
leave_facts();
sql("SELECT cache_notify.remove_view_invalidation('shown')");
leave_facts();
sql("SECURITY LABEL FOR cache_notify ON VIEW shown IS '{domain=seen,source=item}'");
carries_on('seen', 1, 'a label by hand');
sql('DROP VIEW shown; CREATE VIEW shown AS SELECT n FROM item');

leave_facts();
sql("SELECT FROM cache_notify.setup_table_invalidation('item', whole_counter => true)");
write_item() for 1 .. 2;
is(sql("SELECT sum(n) - cache_notify.version('item') + cache_notify.version_origin() FROM _cache_notify.version_counter WHERE domain = 'item'"),
	0, 'a counter of the whole domain');
is(sql("SELECT count(*) FROM _cache_notify.version_counter WHERE domain LIKE 'cache\\_notify/whole/%' AND n > 1"),
	1, '  to which new connections add');

leave_facts();
my $origin = sql('SELECT cache_notify.version_origin()');
sql('SELECT cache_notify.new_history()');
my $later = sql('SELECT cache_notify.version_origin()');
cmp_ok($later, '>', $origin, 'a new history');
leave_facts();
sql('BEGIN; SELECT cache_notify.new_history(); SELECT cache_notify.version_origin(); ROLLBACK');
is(sql('SELECT cache_notify.version_origin()'), $later, 'a new history that was rolled back');

# With commits that a crash can lose.
leave_facts();
sql('SET synchronous_commit = off; UPDATE item SET n = n + 1') for 1 .. 3;
is(sql('SELECT count(*) FROM _cache_notify.history WHERE asynchronous'), 1,
	'that commits may be lost is noted once');
$before = sql('SELECT cache_notify.version_origin()');
$node->stop('immediate');
$node->start;
write_item();
cmp_ok(sql('SELECT cache_notify.version_origin()'), '>', $before, 'after a crash there is a new history');

# ------------------------------------------ while a change is on its way to others

SKIP:
{
	skip 'built without assertions, so without faults', 2 unless $with_faults;

	my $file = $node->data_dir . '/cache_notify.fault.visible';
	my $changer = session($node);

	leave_facts();
	$changer->query("SET cache_notify.fault = 'visible:wait'");
	$changer->send("BEGIN; $add; UPDATE item SET n = n + 1; COMMIT");
	wait_for('the change to be visible', sub { -e $file });
	carries_on('page', 1, 'a change that is visible and not through');
	leave_facts();
	unlink $file;
	$changer->result;
	carries_on('page', 1, 'and that is through');
	$changer->quit;
	sql($remove);
}

# ------------------------------------------------- another extension, or database

leave_facts();
sql('DROP EXTENSION cache_notify CASCADE');
is(sql('UPDATE item SET n = n + 1 RETURNING 1'), 1, 'without the extension');
sql('CREATE EXTENSION cache_notify');
sql("SELECT FROM cache_notify.setup_table_invalidation('item')");
carries_on('item', 1, 'with another one');
leave_facts();
sql($add);
carries_on('page', 1, 'and its rules');
sql($remove);
cmp_ok(sql('SELECT cache_notify.version_origin()'), '>', $later, 'which is above the former one');

SKIP:
{
	skip 'CREATE DATABASE does not know OID', 2 if server_version($node) < 15;

	my @tokens;
	my @origins;

	leave_facts();
	foreach my $time (1 .. 2)
	{
		$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres OID 30000');
		push @origins, sql('UPDATE item SET n = n + 1; SELECT cache_notify.version_origin()', 'copy');
		push @tokens, sql("SELECT cache_notify.token('t', 'item')", 'copy');
		sql('UPDATE item SET n = n + 1', 'copy') for 1 .. 3;
		$node->safe_psql('template1', 'DROP DATABASE copy');
	}
	cmp_ok($origins[1], '>', $origins[0], 'a database that has the OID of one that is gone has a history of its own');
	isnt($tokens[1], $tokens[0], '  and other tokens');
}

# ---------------------------------------------------------------- a standby

{
	my $standby = PostgreSQL::Test::Cluster->new('standby');

	# Its settings are the primary's.
	$node->append_conf('postgresql.conf', "max_wal_senders = 5\nwal_level = replica");
	$node->append_conf('pg_hba.conf', 'local replication all trust');
	$node->restart;
	$node->backup('backup');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->start;
	leave_facts();
	sql($add);
	$node->wait_for_catchup($standby);
	my $token = $standby->safe_psql('postgres', "SELECT cache_notify.token('t', 'page')");
	isnt($token, '', 'a standby gives tokens');
	write_item();
	$node->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', "SELECT cache_notify.is_current('$token')"), 'f',
		'a standby knows what the primary has changed');
	$origin = $standby->safe_psql('postgres', 'SELECT cache_notify.version_origin()');
	$node->stop;
	$standby->promote;
	$standby->safe_psql('postgres', 'UPDATE item SET n = n + 1') for 1 .. 2;
	cmp_ok($standby->safe_psql('postgres', 'SELECT cache_notify.version_origin()'), '>', $origin,
		'after its promotion there is a new history');
	$before = $standby->safe_psql('postgres', "SELECT cache_notify.version('page')");
	$standby->safe_psql('postgres', 'UPDATE item SET n = n + 1');
	cmp_ok($standby->safe_psql('postgres', "SELECT cache_notify.version('page')"), '>', $before,
		'  with the rules that there were');
	$standby->stop;
}

done_testing();
