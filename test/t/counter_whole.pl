# The option whole_counter while many write: in every snapshot, what is read from one
# counter is the sum of all of them, however often the option comes and goes, and
# whoever has not heard of it yet: a transaction that was there before, a prepared one.
#
# Failure shows as a snapshot in which the two differ, or as a reading that goes
# over all counters.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $node = worker_server('main', <<'END');
max_prepared_transactions = 5
cache_notify.max_keys = 100000
END
$node->safe_psql('postgres', <<'END');
CREATE TABLE bill (id int, tenant_id text);
CREATE TABLE item (id int, tenant_id text);
SELECT cache_notify.setup_table_invalidation('bill'), cache_notify.setup_table_invalidation('item');
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'bill');
CREATE FUNCTION differ() RETURNS bigint LANGUAGE sql STABLE AS $$
	SELECT nullif(cache_notify.version('bill') - cache_notify.version_origin() - coalesce(sum(n), 0), 0)::bigint
	FROM _cache_notify.version_counter WHERE domain = 'bill'
$$;
CREATE FUNCTION bases() RETURNS bigint LANGUAGE sql STABLE AS
	$$SELECT count(*) FROM _cache_notify.version_counter WHERE domain LIKE 'cache\_notify/whole\_base/%/bill'$$;
END

my $session = session($node);

# Pages that reading the whole domain's version touches.
sub pages
{
	my $plan = $node->safe_psql('postgres', <<'END');
SELECT cache_notify.version('bill') \g /dev/null
EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off) SELECT cache_notify.version('bill');
END
	return $plan =~ /Buffers: shared hit=(\d+)/ ? $1 : 0;
}

sub set_up
{
	my ($yes) = @_;
	return $session->query("SELECT cache_notify.setup_table_invalidation('bill', whole_counter => $yes)");
}

# ----------------------------------------------------- nobody has asked for it

my $old = session($node);
$old->query("SET cache_notify.fault = 'load_watches:error'");
$old->query("INSERT INTO bill VALUES (0, 'old')");
$old->query('RESET cache_notify.fault');
pass('a writer does not look at all that is watched');

# ------------------------------------------------------------- fast reading

$session->query("INSERT INTO bill SELECT i, i FROM generate_series(1, 30000) AS i");
my $slow = pages();
cmp_ok($slow, '>', 300, "every counter is read ($slow pages)");
set_up('true');
$session->query("INSERT INTO bill VALUES (0, 'a')");
wait_for('the worker to write the base', sub { $session->query('SELECT bases()') eq 1 });
$old->query("INSERT INTO bill VALUES (0, 'old')");
is($session->query('SELECT differ()'), '', 'a session that knew of none has heard of it');
cmp_ok(pages(), '<', 40, 'one counter is read, once the worker has added them up');
is($session->query('SELECT differ()'), '', 'and it is the sum');

# The worker has just looked when it is asked for, and nothing is written afterwards.
set_up('false');
$session->query("INSERT INTO bill VALUES (0, 'a')");
sleep(1.2);
my $bases_before = $session->query('SELECT bases()');
$session->query("INSERT INTO bill VALUES (0, 'a')");
sleep(0.2);
set_up('true');
wait_for('the base, though nobody writes', sub { $session->query('SELECT bases()') > $bases_before });

# ---------------------------------------------- those that have not heard of it

set_up('false');
my $before = session($node);
$before->query('BEGIN');
$before->query("SELECT cache_notify.invalidate('bill', 'before')");
$before->query('CREATE TABLE made_before ()');
$node->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES (1, 'prepared'); PREPARE TRANSACTION 'p'");
set_up('true');
my $bases = $session->query('SELECT bases()');
$session->query("INSERT INTO bill VALUES (0, 'a')") foreach (1 .. 3);
$session->query('SELECT _cache_notify.start_whole_counters()');
is($session->query('SELECT bases()'), $bases, 'no base while a transaction runs that may not know');
$before->query('COMMIT');
$session->query("INSERT INTO bill VALUES (0, 'a')");
$session->query('SELECT _cache_notify.start_whole_counters()');
is($session->query('SELECT bases()'), $bases, 'nor while one is prepared');
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
$session->query("INSERT INTO bill VALUES (0, 'a')");
wait_for('the base', sub { $session->query('SELECT bases()') > $bases });
cmp_ok(pages(), '<', 40, 'then there is one');
is($session->query('SELECT differ()'), '', 'with what these have counted');

# ------------------------------------------------------------------ under load

$node->safe_psql('postgres', 'DELETE FROM bill; DELETE FROM item; CREATE TABLE other (id int, tenant_id text)');
my $script = write_script($node, 'load', <<'END');
\set t random(1, 50)
\set kind random(1, 5)
\if :kind = 1
SELECT cache_notify.invalidate('bill', :t::text);
\elif :kind = 2
INSERT INTO item VALUES (1, :t::text);
\elif :kind = 3
BEGIN;
INSERT INTO bill VALUES (1, :t::text);
SAVEPOINT s;
INSERT INTO bill VALUES (2, (:t + 1)::text);
ROLLBACK TO s;
COMMIT;
\else
INSERT INTO bill VALUES (1, :t::text);
\endif
SELECT 1 / (differ() IS NULL)::int;
END
my $transactions = long_test() ? 20000 : 700;
my $load = pgbench_start($node, [ '-c', 6, '-j', 2, '-t', $transactions, '-f', $script ]);
my ($rounds, $with_base, $end) = (0, 0, time() + (long_test() ? 120 : 8));
my $other = session($node);
while (time() < $end)
{
	my $had = $session->query('SELECT bases()');
	set_up('true');
	$other->query("SELECT cache_notify.setup_table_invalidation('other', 'bill', whole_counter => true)") if $rounds % 3 == 0;
	sleep(rand(0.5));
	$with_base++ if $session->query('SELECT bases()') > $had;
	$other->query("SELECT cache_notify.remove_table_invalidation('other', 'bill', if_exists => true)");
	set_up('false') if $rounds % 4;
	is($other->query('SELECT differ()'), '', "round $rounds") || last;
	$rounds++;
}
pgbench_finish($load, 'in every snapshot both are the same', 6 * $transactions);
cmp_ok($with_base, '>', 0, "$with_base of $rounds rounds came to a base under load");
is($session->query('SELECT differ()'), '', 'and at the end');

# A standby and a crash are as good as a primary. The last round may have left a base behind.
set_up('false');
set_up('true');
my $count = $session->query('SELECT bases()');
$session->query("INSERT INTO bill VALUES (0, 'a')");
$session->query("INSERT INTO bill VALUES (0, 'a')");
wait_for('the base', sub { $session->query('SELECT bases()') > $count });
$_->quit foreach ($session, $before, $other, $old);
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT differ()'), '', 'after a crash');
$node->safe_psql('postgres', "INSERT INTO bill VALUES (0, 'b')");
is($node->safe_psql('postgres', 'SELECT differ()'), '', 'and from there on');

done_testing();
