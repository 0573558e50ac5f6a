# What the tests of the worker and WAL lanes share, beside CacheNotify.pm.
#
#   my $node = worker_server('main', 'max_worker_processes = 2');
#   my $ear = ear($node);               # a listener that keeps what it hears
#   hears_ok($node, $ear, 'name');      # its last version of each key is right
package WorkerLane;

use strict;
use warnings;

use CacheNotify;
use Exporter 'import';
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  worker_server worker_pid wait_worker ear hears_ok heard_wrong stat_of settle
);

# What a listener must hear within this many seconds, on however slow a machine.
my $patience = 30;

# A running server that has the library preloaded, in the lane of its choice.
sub worker_server
{
	my ($name, $settings, %params) = @_;

	return start_server($name,
		"shared_preload_libraries = 'cache_notify'\ncache_notify.delivery = auto\n" . ($settings // ''), %params);
}

# The process id of a database's worker, or ''.
sub worker_pid
{
	my ($node, $database) = @_;

	$database //= 'postgres';
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity"
		  . " WHERE backend_type = 'cache_notify worker' AND datname = '$database'");
}

# Wait until there is one, other than $old, and return its process id.
sub wait_worker
{
	my ($node, $database, $old) = @_;
	my $pid;

	wait_for('a worker', sub {
			$pid = worker_pid($node, $database);
			return $pid ne '' && $pid ne ($old // '');
		});
	return $pid;
}

# A value of the view stats, or '' while it has no row.
sub stat_of
{
	my ($node, $name, $database) = @_;
	return $node->safe_psql($database // 'postgres', "SELECT $name FROM cache_notify.stats");
}

# Wait until nothing waits for the worker, and it has nothing left to do.
sub settle
{
	my ($node, $database) = @_;

	$database //= 'postgres';
	wait_for('the worker to have done everything', sub {
			# Before the other, which it then has seen all of.
			my $idle = $node->safe_psql($database, "SELECT pid FROM pg_stat_activity WHERE datname = '$database'"
				  . " AND application_name = 'cache_notify worker' AND state <> 'idle'") eq '';
			return $idle && stat_of($node, 'waiting', $database) eq '0';
		});
	return;
}

sub ear
{
	my ($node, %params) = @_;
	return WorkerLane::Ear->new($node, %params);
}

# Which keys does the listener have another version of than the table? Keys that
# a reset covers it need not have. Not for a domain with both shared changes and
# tenants: a shared change moves the tenants' versions without naming them.
sub heard_wrong
{
	my ($node, $ear) = @_;
	my %wrong;

	$ear->listen;
	for my $line (split /\n/, $node->safe_psql($ear->{db}, <<'END'))
SELECT domain || '/' || coalesce(tenant_id, '*'), version FROM cache_notify.domain_version
END
	{
		my ($key, $version) = $line =~ /^(.*)\|(\d+)$/s;
		my $last = $ear->{last}{$key};

		next if defined $last && $last == $version;
		next if !defined $last && $ear->{resets};
		$wrong{$key} = "heard " . ($last // 'nothing') . ", in the table $version";
	}
	return \%wrong;
}

# Sooner or later the last version heard of each key is that of the table. To be
# called when nobody writes any more.
sub hears_ok
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $ear, $name) = @_;
	my $end = time() + $patience;
	my $wrong;

	while (1)
	{
		$wrong = heard_wrong($node, $ear);
		last if !%$wrong || time() > $end;
		sleep(0.02);
	}
	return is_deeply($wrong, {}, $name);
}

# A listener that remembers the last version of each key.
package WorkerLane::Ear;

use strict;
use warnings;

sub new
{
	my ($class, $node, %params) = @_;
	my $channel = $params{channel} // 'cache_invalidation';
	my $self = bless {
		db => $params{db} // 'postgres', last => {}, resets => 0, count => 0, all => []
	}, $class;

	$self->{session} = CacheNotify::session($node, db => $self->{db});
	$self->{session}->query(qq(LISTEN "$channel"));
	return $self;
}

# Take in what has come; returns the payloads.
sub listen
{
	my ($self) = @_;
	my @payloads = $self->{session}->payloads;

	for my $payload (@payloads)
	{
		$self->{count}++;
		if ($payload eq '{"reset": true}')
		{
			$self->{resets}++;
			$self->{last} = {};
			next;
		}
		my $p = JSON::PP::decode_json($payload);
		$self->{last}{"$p->{domain}/" . ($p->{tenant_id} // '*')} = $p->{version};
	}
	push @{ $self->{all} }, @payloads;
	return @payloads;
}

sub quit
{
	my ($self) = @_;

	$self->{session}->quit;
	return;
}

# Forget what was heard.
sub forget
{
	my ($self) = @_;

	$self->listen;
	$self->{last} = {};
	$self->{all} = [];
	$self->{resets} = $self->{count} = 0;
	return;
}

1;
