# G3, G4, G5: something fails, or the user gives up, at each step of a write: an error,
# no memory, a full disk, a cancel, a timeout, a terminated session. Either the write
# is there with its versions and is delivered, or nothing of it is. What fails is the
# one statement or commit; the session that it failed in goes on without harm, and what
# it keeps in memory is not left half made. Waiting for a lock of ours is not subject
# to the user's lock_timeout.
#
# Failure shows as versions that are not the number of writes, a token that says
# current after a write, a listener's last version that is not that of the table, or
# an error that is not the one that was injected.

use strict;
use warnings;

use CacheNotify;
use Faults;
use Test::More;
use WorkerLane;

my $node = worker_server('main', 'cache_notify.coalesce = 0');
$node->safe_psql('postgres', "LOAD 'cache_notify'; SHOW cache_notify.fault") eq ''
  or plan skip_all => 'built without assertions, so without faults';

my $faults = Faults->new($node);
my $ear = ear($node);

# A session; with warm, one that has written before and so has everything in memory.
sub writer
{
	my ($warm) = @_;
	my $s = session($node);

	$s->query($Faults::write) if $warm;
	return $s;
}

my %message = (
	error => qr/injected fault/,
	oom => qr/out of memory/,
	full => qr/no space left on device/);

# The point is passed on the way to the commit and fails: an error, and nothing else.
sub fails_at
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($point, $action, $warm, $sql) = @_;
	my $name = "$action at $point" . ($warm ? ', warm' : '');
	my $s = writer($warm);

	$sql //= $Faults::write;
	$faults->before;
	$s->query("SET cache_notify.fault = '$point:$action'");
	like($s->error($sql), $message{$action}, "$name: the error");
	$s->query('ROLLBACK') if $sql =~ /^BEGIN/;
	$faults->after($name, 0);
	$s->query("RESET cache_notify.fault");
	$s->query($Faults::write);
	$faults->after("$name, then without", 1);
	$s->quit;
	return;
}

# The same, but the transaction survives the error and writes again.
sub survives
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($point, $action, $warm) = @_;
	my $s = writer($warm);

	$faults->before;
	$s->query("SET cache_notify.fault = '$point:$action:1'");
	$s->query(<<"END");
DO \$\$
BEGIN
	BEGIN
		$Faults::write;
		RAISE EXCEPTION 'no fault at $point';
	EXCEPTION WHEN internal_error OR out_of_memory THEN
		NULL;
	END;
	$Faults::write;
END \$\$
END
	$faults->after("$action at $point inside a block" . ($warm ? ', warm' : ''), 1);
	$s->quit;
	return;
}

# Somebody gives up while the write is at the point.
sub given_up_at
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($point, $how, $warm, $written) = @_;
	my $name = "$how at $point";
	my $s = writer($warm);

	$faults->before;
	$s->query("SET cache_notify.fault = '$point:wait'");
	$s->query("SET statement_timeout = '150ms'") if $how eq 'statement_timeout';
	$s->send($Faults::write);
	$faults->wait_held($point);
	$faults->ask("SELECT pg_cancel_backend(@{[ $s->pid ]})") if $how eq 'cancel';
	$faults->ask("SELECT pg_terminate_backend(@{[ $s->pid ]})") if $how eq 'terminate';
	if ($written)
	{
		# It must not be heard: the transaction has been committed, or, with a
		# timeout, is being committed.
		select(undef, undef, undef, 0.3);
		$faults->release($point);
	}
	my $said = Faults::outcome($s);
	$faults->release($point);
	if ($how eq 'terminate')
	{
		# A commit that is through may still be answered.
		like($said, qr/terminating connection|connection lost/, "$name: the client is told")
		  unless $written;
		my $gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = " . $s->pid;
		ok(wait_for('the session to end', sub { $faults->ask($gone) eq 't' }), "$name: the session ends");
	}
	elsif ($written)
	{
		unlike($said, qr/ERROR/, "$name: no error after the commit");
	}
	else
	{
		like($said, qr/canceling statement/, "$name: the statement or the commit ends");
	}
	$faults->after($name, $written ? 1 : 0);
	return if $how eq 'terminate';
	$s->query("RESET statement_timeout; RESET cache_notify.fault");
	$faults->before;
	$s->query($Faults::write);
	$faults->after("$name, then without", 1);
	$s->quit;
	return;
}

# ------------------------------------------------------------ by the lane

my @cold = qw(trigger change_set load_rules closure pre_commit counted delivered);
my @at_commit = qw(pre_commit counted delivered);

for my $lane (qw(worker commit))
{
	configure($node, 'cache_notify.delivery' => $lane);
	my @lane = $lane eq 'worker' ? ('pinned') : (qw(pinned queue_locked queued));

	note("lane $lane");
	fails_at($_, 'error', 0) for @cold, @lane;
	fails_at($_, 'error', 1) for 'counter_update', @at_commit, @lane;
	for my $how (qw(cancel terminate))
	{
		given_up_at($_, $how, 0) for 'load_rules', 'trigger', 'counted', @lane;
	}
	given_up_at($_, 'statement_timeout', 0) for qw(load_rules trigger);
	given_up_at('counted', 'statement_timeout', 0, 1);
	if ($lane eq 'worker')
	{
		given_up_at('post_commit', $_, 1, 1) for qw(cancel terminate);
	}
	hears_ok($node, $ear, "lane $lane: the listener has heard every last version");
}

# ----------------------------------------------- memory, disk, in every form

configure($node, 'cache_notify.delivery' => 'worker');
fails_at($_, 'oom', 0) for qw(change_set load_rules closure);
fails_at('change_set', 'oom', 1);
fails_at('journal', 'oom', 1, "BEGIN; SAVEPOINT s; $Faults::write");
fails_at('counter_update', 'full', 1);
survives($_, 'oom', 0) for qw(change_set load_rules closure journal);
survives('change_set', 'error', 1);
survives('journal', 'error', 1);

# The second key of a transaction, and those about the one that makes a hash table.
for my $nth (2, 8, 9, 10)
{
	my $s = session($node);
	my $many = "INSERT INTO item SELECT $nth * 100 + i, 'many $nth ' || i, 0 FROM generate_series(1, 20) i";
	my $wrong = "SELECT count(*), count(*) FILTER (WHERE version('item', tenant_id) <> 1"
	  . " OR version('site', tenant_id) <> 1) FROM item WHERE id > $nth * 100";

	$s->query("SET cache_notify.fault = 'change_set:oom:$nth'");
	$s->query(<<"END");
DO \$\$
BEGIN
	BEGIN
		$many;
		RAISE EXCEPTION 'no fault';
	EXCEPTION WHEN out_of_memory THEN
		NULL;
	END;
	$many;
END \$\$
END
	is($faults->ask($wrong), '20|0', "no memory for key $nth, then for all");
	$s->query("DELETE FROM item WHERE id > $nth * 100");
}

# A new key in a full table: a row is inserted.
my $s = session($node);
$s->query("SET cache_notify.fault = 'counter_insert:full'");
like($s->error("INSERT INTO item VALUES (2, 'new', 0)"), $message{full}, 'disk full for a new key');
is($faults->ask("SELECT version('item', 'new'), count(*) FROM item WHERE id = 2"),
	'0|0', 'disk full for a new key: nothing has happened');
$s->query("RESET cache_notify.fault");
$s->query("INSERT INTO item VALUES (2, 'new', 0)");
is($faults->ask("SELECT version('item', 'new')"), '1', 'then it is there');

# ------------------------------------------- where to deliver, half read

# Who listens on a channel of its own still hears, and of a reset as well.
configure($node, 'cache_notify.delivery' => 'commit');
$s->query("CREATE TABLE far_$_ (n int); SELECT cache_notify.setup_table_invalidation('far_$_', channel => 'far_$_')")
  for 1 .. 3;
my %far = map { ($_ => ear($node, channel => "far_$_")) } 1 .. 3;
$s = session($node);
for my $nth (1 .. 4)
{
	$s->query('SELECT _cache_notify.configuration_changed()');
	$s->query("SET cache_notify.fault = 'load_watches:error:$nth'");
	like($s->error("INSERT INTO far_1 VALUES ($nth)"), $message{error}, "watch $nth is not read");
	$s->query("SET cache_notify.fault = 'load_routes:error:$nth'");
	like($s->error("INSERT INTO far_1 VALUES ($nth)"), $message{error}, "route $nth is not read");
}
$s->query("INSERT INTO far_$_ VALUES (1)") for 1 .. 3;
is_deeply([ map { scalar $far{$_}->listen } 1 .. 3 ], [ 1, 1, 1 ], 'they are read again');
$s->query(writable('owed_delivery', 1) . 'INSERT INTO _cache_notify.owed_delivery VALUES (NULL, NULL);'
	  . writable('owed_delivery', 0));
$s->query('SELECT cache_notify.invalidate(\'something\')');
is_deeply([ map { $far{$_}->{resets} } grep { $far{$_}->listen } 1 .. 3 ],
	[ 1, 1, 1 ], 'a reset goes to every channel');

# So many domains that a session forgets them.
$s->query("SELECT count(cache_notify.invalidate('domain ' || i)) FROM generate_series(1, 5000) i");
$s->query("INSERT INTO far_$_ VALUES (2)") for 1 .. 3;
is_deeply([ map { scalar $far{$_}->listen } 1 .. 3 ], [ 1, 1, 1 ], 'forgotten domains keep their channels');

# ------------------------------------------------ no lock of ours times out

for my $table (qw(_cache_notify.version_counter _cache_notify.owed_delivery))
{
	my $writer = writer(0);
	my $holder = session($node);

	$faults->before;
	# There is no LOCK TABLE for a materialized view.
	$holder->query("BEGIN; ALTER MATERIALIZED VIEW $table OWNER TO CURRENT_USER");
	$writer->query("SET lock_timeout = '20ms'");
	$writer->send($Faults::write);
	wait_for("the writer to wait for $table", sub {
			$faults->ask("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '$table'::regclass") == 1;
		});
	select(undef, undef, undef, 0.2);
	$holder->query('COMMIT');
	unlike(Faults::outcome($writer), qr/ERROR/, "$table: no lock timeout");
	$faults->after("$table is locked", 1);
	$_->quit for $writer, $holder;
}

done_testing();
