# What the TAP tests share: servers with the extension, sessions that can wait
# in the background and listen, and load by pgbench.
#
#   my $node = start_server('main', 'max_connections = 50');
#   my $s = session($node);             # psql that stays connected
#   $s->query('SELECT 1');              # dies on an error
#   my $error = $s->error('SELECT 1/0');
#   $s->send('COMMIT'); ... $s->is_done; $s->result;
#   my @heard = $s->heard;              # notifications, oldest first
#
# CN_TEST_LONG=1 makes the load tests run as long as a release deserves.
package CacheNotify;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(
  long_test start_server server_version session versions_ok origin
  writable pgbench_start pgbench_finish write_script wait_for configure log_count
  answer_of build_library c_functions
);

# How long to wait for what must happen at some point.
my $patience = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

sub long_test
{
	return $ENV{CN_TEST_LONG} ? 1 : 0;
}

# A running server with the extension in database postgres: in the commit lane
# and not preloaded, unless the settings say otherwise.
sub start_server
{
	my ($name, $settings, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ], %params);
	$node->append_conf('postgresql.conf', <<"END");
max_connections = 100
shared_buffers = 32MB
log_statement = none
log_min_messages = warning
deadlock_timeout = 200ms
shared_preload_libraries = ''
cache_notify.delivery = commit
@{[ $settings // '' ]}
END
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION cache_notify');
	return $node;
}

# The major version of the server.
sub server_version
{
	my ($node) = @_;
	return int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
}

# Set settings of the whole server, and return when new sessions have them.
# (A session that is open has them from its next command on, or a moment later.)
sub configure
{
	my ($node, %settings) = @_;

	for my $name (sort keys %settings)
	{
		$node->append_conf('postgresql.conf', "$name = '$settings{$name}'");
	}
	$node->reload;
	for my $name (sort keys %settings)
	{
		# Calling a function loads the library, if it is not loaded anyway.
		wait_for(
			"$name to be '$settings{$name}'",
			sub {
				$node->safe_psql('postgres',
					"SELECT cache_notify.payload_formats() \\gset\n"
					  . "SHOW $name") eq $settings{$name};
			});
	}
	return;
}

# Wait until a condition holds; the test fails and goes on if it never does.
sub wait_for
{
	my ($what, $condition) = @_;
	my $end = time() + $patience;

	until ($condition->())
	{
		if (time() > $end)
		{
			fail("waited $patience s for $what");
			return 0;
		}
		sleep(0.02);
	}
	return 1;
}

# What a program prints.
sub answer_of
{
	my ($output, $errors) = run_command([@_]);

	die "@_: $errors" if $errors ne '';
	return $output;
}

# The path of a library that the server can load, made from C text. A second text is
# compiled without the server's headers.
sub build_library
{
	my ($name, $text, $without_headers) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my @compile = ((split ' ', answer_of($ENV{PG_CONFIG}, '--cc'))[0], '-fPIC', '-w', '-fno-builtin');
	my @sources = (qq(#include "postgres.h"\n#include "fmgr.h"\nPG_MODULE_MAGIC;\n$text\n));
	my @objects;

	push @sources, $without_headers if defined $without_headers;
	foreach my $source (@sources)
	{
		my $file = "$folder/$name" . @objects;

		append_to_file("$file.c", $source);
		push @objects, "$file.o";
		system(@compile, '-I' . answer_of($ENV{PG_CONFIG}, '--includedir-server'),
			'-o', "$file.o", '-c', "$file.c") == 0
		  or die "could not compile $name";
	}
	system(@compile, '-shared', '-o', "$folder/$name.so", @objects) == 0 or die "could not link $name";
	return "$folder/$name.so";
}

# SQL that creates functions in C which change tables without a command:
# test/include/c_change.c.
sub c_functions
{
	my $text = slurp_file(dirname(__FILE__) . '/../include/c_change.c');
	my $library = build_library('c_change', $text);

	return join '', map { "CREATE FUNCTION $_ RETURNS void AS '$library' LANGUAGE C STRICT;\n" }
	  'c_drop(regclass)', 'c_inherit(regclass, regclass, boolean)', 'c_swap(regclass, regclass)', 'c_run(text)';
}

# How often a pattern occurs in the server's log.
sub log_count
{
	my ($node, $pattern) = @_;
	my @found = slurp_file($node->logfile) =~ /$pattern/g;
	return scalar @found;
}

# Every version, by version() and by the view, is what it should be:
# versions_ok($node, 'name', 'domain/tenant' => 3, 'domain' => 1). The numbers are
# what was counted; the origin of the history, 0 in normal life, is added to them.
sub versions_ok
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $name, %expected) = @_;
	my (%version, %in_view);

	for my $key (keys %expected)
	{
		my ($domain, $tenant) = split m{/}, $key, 2;
		my $t = defined $tenant ? "'$tenant'" : 'NULL';
		my $seen_by = defined $tenant ? $t : "'never was'";    # the shared part alone

		$version{$key} =
		  $node->safe_psql('postgres',
			"SELECT cache_notify.version('$domain', $seen_by) - cache_notify.version_origin()");
		$in_view{$key} = $node->safe_psql('postgres',
			"SELECT version - cache_notify.version_origin() FROM cache_notify.domain_version"
			  . " WHERE domain = '$domain' AND tenant_id IS NOT DISTINCT FROM $t");
		$in_view{$key} = 0 if $in_view{$key} eq '';
	}
	return is_deeply([ \%version, \%in_view ], [ \%expected, \%expected ],
		"$name: versions by version() and by the view");
}

# SQL for a superuser that lets SQL write some of our state, or no longer.
sub writable
{
	my ($relation, $yes) = @_;
	my ($kind, $rules) = $yes ? ('r', 'false') : ('m', 'true');

	return <<"END";
SET allow_system_table_mods = on;
UPDATE pg_class SET relkind = '$kind', relhasrules = $rules WHERE oid = '_cache_notify.$relation'::regclass;
RESET allow_system_table_mods;
END
}

# What versions start at.
sub origin
{
	my ($node, $database) = @_;
	return $node->safe_psql($database // 'postgres', 'SELECT cache_notify.version_origin()');
}

# ------------------------------------------------------------------- pgbench

sub write_script
{
	my ($node, $name, $text) = @_;
	my $file = $node->basedir . "/$name.sql";

	open my $handle, '>', $file or die "$file: $!";
	print $handle $text;
	close $handle;
	return $file;
}

# Start pgbench in the background: pgbench_start($node, [options], [env]).
sub pgbench_start
{
	my ($node, $options, $env) = @_;
	my $load = { out => '', err => '' };
	local %ENV = (%ENV, $env ? %$env : ());

	$load->{run} = IPC::Run::start(
		[ 'pgbench', '-n', @$options, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>', \$load->{out}, '2>', \$load->{err});
	return $load;
}

# Wait for it: it must succeed, with every one of its transactions processed.
# Returns how many there were.
sub pgbench_finish
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($load, $name, $transactions) = @_;

	IPC::Run::finish($load->{run});
	my $status = IPC::Run::result($load->{run});
	my @errors = grep { /error|fatal|aborted/i } split /\n/, $load->{err};
	my ($done) = $load->{out} =~ /transactions actually processed: (\d+)/;
	my ($failed) = $load->{out} =~ /number of failed transactions: (\d+)/;

	my $good = ok( $status == 0
		  && !@errors
		  && !($failed // 0)
		  && (!defined $transactions || ($done // 0) == $transactions),
		"$name: no transaction failed");
	$good
	  or diag("status $status, processed @{[ $done // '?' ]} of @{[ $transactions // '?' ]}\n",
		join("\n", @errors[ 0 .. ($#errors < 9 ? $#errors : 9) ]));
	note($load->{out});
	return $done // 0;
}

# ------------------------------------------------------------------ sessions

sub session
{
	my ($node, %params) = @_;
	return CacheNotify::Session->new($node, %params);
}

package CacheNotify::Session;

use strict;
use warnings;
use Time::HiRes qw(sleep time);

# session($node, db => 'name', options => '-c name=value')
sub new
{
	my ($class, $node, %params) = @_;
	my $self = bless {
		in => '', out => '', err => '', count => 0, heard => []
	}, $class;
	local $ENV{PGOPTIONS} = $params{options} // $ENV{PGOPTIONS} // '';

	$self->{run} = IPC::Run::start(
		[
			'psql', '-XAtq', '-v', 'VERBOSITY=terse', '-d',
			$node->connstr($params{db} // 'postgres'), '-f', '-'
		],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	$self->{pid} = $self->query('SELECT pg_backend_pid()');
	return $self;
}

# The backend's process id.
sub pid { return $_[0]->{pid}; }

# Start a command and do not wait for it.
sub send
{
	my ($self, $sql) = @_;

	$self->{count}++;
	$self->{mark} = "---- end of command $self->{count}";
	$self->{in} .= "$sql\n;\n\\echo '$self->{mark}'\n\\warn '$self->{mark}'\n";
	IPC::Run::pump_nb($self->{run});
	return;
}

sub is_done
{
	my ($self) = @_;

	IPC::Run::pump_nb($self->{run}) if IPC::Run::pumpable($self->{run});
	# With their line's end, which may come in a packet of its own.
	return $self->{out} =~ /^\Q$self->{mark}\E\n/m && $self->{err} =~ /^\Q$self->{mark}\E\n/m;
}

# Wait for the command that was started: (its output, its errors).
sub result
{
	my ($self) = @_;
	my $end = time() + $patience;

	until ($self->is_done)
	{
		die "no answer after $patience s" if time() > $end;
		die "connection lost: $self->{err}" unless IPC::Run::pumpable($self->{run});
		sleep(0.002);
	}
	my ($out, $err) = ($self->{out}, $self->{err});
	$self->{out} = $self->{err} = '';
	s/^\Q$self->{mark}\E\n//m for ($out, $err);
	my $lines = '';
	for my $line (split /(?<=\n)/, $out)
	{
		if ($line =~ /^Asynchronous notification "(.*?)"(?: with payload "(.*)")? received from server process with PID (\d+)\.$/)
		{
			push @{ $self->{heard} }, { channel => $1, payload => $2 // '', pid => $3 };
		}
		else
		{
			$lines .= $line;
		}
	}
	chomp $lines;
	return ($lines, $err);
}

# Run a command and return its output; an error ends the test.
sub query
{
	my ($self, $sql) = @_;

	$self->send($sql);
	my ($out, $err) = $self->result;
	die "$sql: $err" if $err =~ /^(psql:.*)?(ERROR|FATAL|PANIC)/m;
	return $out;
}

# Run a command that should fail, and return what it said.
sub error
{
	my ($self, $sql) = @_;

	$self->send($sql);
	my ($out, $err) = $self->result;
	return $err;
}

# The notifications that have come since the last call, oldest first, as
# { channel, payload, pid }. Everything that was committed before is there.
sub heard
{
	my ($self) = @_;

	$self->query('SELECT 1');
	my @heard = @{ $self->{heard} };
	$self->{heard} = [];
	return @heard;
}

# Their payloads only.
sub payloads
{
	my ($self) = @_;
	return map { $_->{payload} } $self->heard;
}

sub quit
{
	my ($self) = @_;

	$self->{in} .= "\\q\n";
	IPC::Run::finish($self->{run});
	return;
}

1;
