# claim_refresh(): of many callers one is told to compute a result anew, until it
# has finished, is gone, or its time is over; nobody waits, and the claim is no
# part of a transaction.
#
# Failure shows as two callers that both may, or as none though the claim ended.
use strict;
use warnings;

use CacheNotify;
use Test::More;

my $node = start_server('main', 'restart_after_crash = on', allows_streaming => 1);
my $timeout = '-c statement_timeout=120s';
my $long = '5 minutes';    # longer than this test waits for anything

sub claim { return "SELECT cache_notify.claim_refresh('$_[0]', 'token', '@{[ $_[1] // $long ]}')"; }

# How many of these sessions were told to go ahead.
sub told { return scalar(grep { ($_->result)[0] eq 't' } @_); }

sub kill_session
{
	my ($pid) = map { $_->pid } @_;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_for('a session to be gone', sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") == 0 });
}

# ------------------------------------------------------------------- a herd

my @herd = map { session($node, options => $timeout) } 1 .. 64;
for my $round (1 .. 3)
{
	$_->send(claim("entry $round")) for @herd;
	is(told(@herd), 1, "round $round: one of 64 callers");
}

# ----------------------------------------------------- finished and given up

my ($one, $two, $three) = @herd;
is($one->query(claim('a')), 't', 'the first may');
is($two->query(claim('a')), 'f', 'the second may not');
is($two->query("SELECT cache_notify.claim_refresh('a', 'other token'), cache_notify.claim_refresh('b', 'token')"),
	't|t', 'another token or name is another claim');
is($two->query("SELECT cache_notify.finish_refresh('a', 'token')"), 't',
	'any session may finish it, as behind a pooler');
is($two->query("SELECT cache_notify.finish_refresh('a', 'token')"), 'f', 'once');
is($three->query(claim('a')), 't', 'then somebody else may');

# ------------------------------------------------------------- transactions

$one->query('BEGIN');
is($one->query(claim('in a transaction')), 't', 'a claim in a transaction');
is($two->query(claim('in a transaction')), 'f', 'is seen at once');
$one->query('ROLLBACK');
is($two->query(claim('in a transaction')), 'f', 'and not rolled back');
is($one->query('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; ' . claim('read only')), 't', 'in a read-only transaction');
is($one->query(claim('in a transaction') . '; COMMIT'), 'f', 'with an old snapshot');

# -------------------------------------------------- the refresher disappears

is($one->query(claim('killed')), 't', 'a refresher');
kill_session($one);
shift @herd;
$_->send(claim('killed')) for @herd;
is(told(@herd), 1, 'one other takes over from a refresher that was killed');

# Behind a pooler the session stays: then the time ends the claim.
is($two->query(claim('slow', '1 second')), 't', 'a refresher that takes its time');
my $others = 0;
wait_for('its time to be over', sub {
	$_->send(claim('slow')) for @herd;
	$others += told(@herd);
	return $others });
is($others, 1, 'one other takes over when it is over');

# ---------------------------------------------------------- who and how much

$node->safe_psql('postgres', 'CREATE ROLE tenant LOGIN');
my $tenant = session($node, options => "$timeout -c role=tenant");
is($tenant->query(claim('killed')), 't', 'other roles have claims of their own');
is($tenant->query("SELECT cache_notify.finish_refresh('slow', 'token')"), 'f', 'and cannot end those of others');
like($tenant->error('SELECT * FROM _cache_notify.refresh_claim'), qr/permission denied/, 'nor see them');
like($tenant->error(claim('a', '0')), qr/at most 5 minutes/, 'no time at all');
like($tenant->error(claim('a', '6 minutes')), qr/at most 5 minutes/, 'too long');
like($tenant->error(claim('a', '-1 second')), qr/at most 5 minutes/, 'in the past');
is($tenant->query("SELECT cache_notify.claim_refresh(NULL, 'x') IS NULL, cache_notify.claim_refresh('x', NULL) IS NULL"),
	't|t', 'NULL');
my $size = "SELECT pg_relation_size('_cache_notify.refresh_claim')";
my $before = $node->safe_psql('postgres', $size);
is($tenant->query("SELECT bool_and(cache_notify.claim_refresh(i::text, 'x')) FROM generate_series(1, 20000) i"),
	't', 'more claims than there is room for: nobody is kept from his work');
is($node->safe_psql('postgres', $size), $before, 'and the table does not grow');

# The slots are full of the tenant's claims: others have their share.
my $wrong = "SELECT count(*) FROM generate_series(1, 500) i WHERE"
  . " NOT cache_notify.claim_refresh('share ' || i, 'x')";
$node->safe_psql('postgres', 'CREATE ROLE another LOGIN');
my $another = session($node, options => "$timeout -c role=another");
is($another->query($wrong), 0, 'another role claims what nobody has claimed');
is($another->query($wrong), 500, 'and all of its claims are kept');
$another->quit;

# ------------------------------------------------------ crash, maintenance

kill_session($tenant);
$node->safe_psql('postgres', 'VACUUM FULL _cache_notify.refresh_claim');
is($two->query(claim('full')) . $two->query(claim('full')), 'tf', 'after VACUUM FULL');
$node->backup('backup');
$node->stop('immediate');
$node->start;
@herd = map { session($node, options => $timeout) } 1 .. 16;
$_->send(claim('entry')) for @herd;
is(told(@herd), 1, 'after a crash: one of 16 callers');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
like(session($standby)->error(claim('a')), qr/during recovery/, 'a standby refuses');
$standby->stop;

done_testing();
