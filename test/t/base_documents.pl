# What the documents say is true: every SQL block of README.md, doc/ and the packages'
# documents is run, each document in a database of its own, and what a block shows is what
# comes out. So are the blocks of shell commands that need no more than the server.
# doc/reference.md is what the comments of the objects make.
#
# In a document, "<!-- run: ... -->" is SQL that prepares what follows, and
# "<!-- not run: reason -->" in front of a block says why that is not run here: if it names
# a file, that file is there. A block that begins with "=# " has what psql prints after each
# statement: all of it, but for the row counts, the tags of commands and what a function that
# returns nothing returns; without a title only the rows are compared. "…" stands for
# anything, on a line of its own for any lines. A block that begins with "$ " has shell
# commands and what they print; numbers of transactions are compared by which are the same.
#
# Blocks in other languages are run elsewhere (%elsewhere), are drawings, or have such a
# reason: one that has neither is an error.
#
# Failure shows as a statement that fails, or that shows something else, or a block that
# nothing runs.

use strict;
use warnings;

use CacheNotify;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_server('main', "shared_preload_libraries = 'cache_notify'\nwal_level = logical\nmax_replication_slots = 5\nmax_wal_senders = 5");
my $databases = 0;

# Lines that can be compared. How wide a column is depends on what it happens to hold.
sub lines_of
{
	my ($text) = @_;

	$text =~ s/ received from server process with PID \d+//g;
	return grep { !/^\(\d+ rows?\)$/ && /\S/ } map { s/ +/ /gr =~ s/--+/-/gr =~ s/^\s+|\s+$//gr } split /\n/, $text;
}

# The pieces of a document to run: { sql, shown, line }.
sub pieces
{
	my ($file) = @_;
	my (@pieces, $block, $reason);
	my $number = 0;

	foreach my $line (split /\n/, slurp_file($file))
	{
		$number++;
		if (defined $block)
		{
			if ($line =~ /^(?:```|-->)$/)
			{
				push @pieces, transcript($block) if $block->{text} =~ /^=# /;
				push @pieces, commands($block) if $block->{text} =~ /^\$ / && !defined $reason;
				push @pieces, { sql => $block->{text}, shown => '', line => $block->{line} }
				  if $block->{is} eq 'sql' && !defined $reason;
				push @pieces, { skipped => $reason } if defined $reason && $block->{is} ne 'run';
				$reason = undef if $block->{is} ne 'run';
				$block = undef;
			}
			else { $block->{text} .= "$line\n"; }
		}
		elsif ($line =~ /^<!-- run:$/) { $block = { is => 'sql', text => '', line => $number }; }
		elsif ($line =~ /^<!-- not run: (.*) -->$/) { $reason = $1; }
		elsif ($line =~ /^```(\w*)$/) { $block = { is => $1, text => '', line => $number }; }
	}
	return @pieces;
}

sub transcript
{
	my ($block) = @_;
	my @pieces;

	my $number = $block->{line};
	foreach my $line (split /\n/, $block->{text})
	{
		$number++;
		if ($line =~ /^=# (.*)/) { push @pieces, { sql => "$1\n", shown => '', line => $number }; }
		elsif (!@pieces || $pieces[-1]{shown} eq '' && $pieces[-1]{sql} !~ /;\n\z|\\gset\n\z/) { $pieces[-1]{sql} .= "$line\n"; }
		else { $pieces[-1]{shown} .= "$line\n"; }
	}
	return @pieces;
}

# Of a block of shell commands: { command, shown, line }.
sub commands
{
	my ($block) = @_;
	my @pieces;
	my $number = $block->{line};

	foreach my $line (split /\n/, $block->{text})
	{
		$number++;
		if ($line =~ /^\$ (.*)/) { push @pieces, { command => $1, shown => '', line => $number }; }
		elsif ($pieces[-1]{command} =~ s/\\\z//) { $pieces[-1]{command} .= $line =~ s/^\s+/ /r; }
		else { $pieces[-1]{shown} .= "$line\n"; }
	}
	return @pieces;
}

# A program that runs a command until it has printed so many lines, or ends, for a minute.
my $until = PostgreSQL::Test::Utils::tempdir . '/until';
append_to_file($until, <<'END');
my ($file, $lines, $command) = @ARGV;
my $pid = fork // die;
if (!$pid)
{
	setpgrp;
	open STDOUT, '>', $file or die;
	open STDERR, '>', "$file.errors" or die;
	exec 'stdbuf', '-oL', 'sh', '-c', $command;
}
my $ended = 0;
for (1 .. 600)
{
	last if $ended = waitpid $pid, 1;
	last if $lines && `grep -c . $file` >= $lines;
	select undef, undef, undef, 0.1;
}
kill INT => -$pid;
# What it says to that is nobody's business.
if ($ended) { system "cat $file.errors >> $file"; } else { waitpid $pid, 0; }
END

# What psql is to do for a piece.
sub script_of
{
	my ($piece, $database) = @_;

	return $piece->{sql} if defined $piece->{sql};
	my $command = $piece->{command} =~ s/-d shop\b/-d $database/r;
	my $lines = lines_of($piece->{shown});
	$piece->{said} = PostgreSQL::Test::Utils::tempdir . '/said';
	$command =~ s/'/'\\''/g;
	return "\\! perl $until $piece->{said} $lines '$command'\n";
}

# What psql prints for each piece.
sub outputs
{
	my ($file, @pieces) = @_;
	my $database = 'doc' . $databases++;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION cache_notify') if slurp_file($file) !~ /^(=# )?CREATE EXTENSION cache_notify;/m;
	my $script = join '', map { "\\echo \001\n" . script_of($_, $database) } @pieces;
	my $path = $PostgreSQL::Test::Utils::tmp_check . "/$database.sql";
	open my $out, '>', $path or die "$path: $!";
	print $out $script;
	close $out or die "$path: $!";
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port);
	my $said = `psql -X -d $database -f $path 2>&1`;
	my (undef, @said) = split /\001\n/, $said, -1;
	return map { defined $pieces[$_]{said} ? slurp_file($pieces[$_]{said}) : $said[$_] } 0 .. $#pieces;
}

# Numbers of transactions, as they differ each time: the same number is the same name.
sub transactions_named
{
	my %name;

	return map { s/((?:BEGIN|COMMIT) |"xid": )(\d+)/$1 . ($name{$2} \/\/= 'X' . keys %name)/ger } @_;
}

# What psql prints and a document need not: tags, and the titles of columns if it shows none.
my $tag = qr/^(?:BEGIN|COMMIT|ROLLBACK|LISTEN|SET|DO|(?:CREATE|ALTER|DROP) [A-Z ]+|(?:INSERT 0|UPDATE|DELETE) \d+|TRUNCATE TABLE|PREPARE TRANSACTION|COMMIT PREPARED)$/;

sub without_titles
{
	my @lines = @_;

	foreach my $n (reverse 1 .. $#lines) { splice @lines, $n - 1, 2 if $lines[$n] =~ /^-+(?:\+-+)*$/; }
	return @lines;
}

# The first line that is shown and does not come, or comes and is not shown.
sub differs
{
	my ($shown, $came) = @_;
	my @shown = @$shown or return;
	my @came = @$came;

	foreach my $lines (\@shown, \@came) { @$lines = grep { !/$tag/ } @$lines if !grep { /$tag/ } @shown; }
	@came = without_titles(@came) if !grep { /^-+(?:\+-+)*$/ } @shown;
	foreach my $n (0 .. $#shown)
	{
		if ($shown[$n] eq '…')
		{
			return if $n == $#shown;
			my $next = pattern_of($shown[ $n + 1 ]);
			shift @came while @came && $came[0] !~ $next;
			next;
		}
		return "and not: $shown[$n]" unless @came && $came[0] =~ pattern_of($shown[$n]);
		shift @came;
	}
	return @came ? "which is not shown: $came[0]" : undef;
}

sub pattern_of
{
	my $pattern = join '.*', map { quotemeta } split /…/, $_[0], -1;
	return qr/^$pattern$/;
}

# Blocks that nothing runs: neither here, nor elsewhere, nor with a reason why not.
sub loose_blocks
{
	my ($file, %elsewhere) = @_;
	my ($open, $reason, @loose);
	my ($number, $before, $in_list) = (0, '', 0);

	foreach my $line (split /\n/, slurp_file($file))
	{
		$number++;
		if (defined $open)
		{
			if ($open eq '' && $line !~ /^=# /) { push @loose, "$file:$number: $line" unless $reason; }
			if ($open eq 'console' && $line !~ /^\$ /) { push @loose, "$file:$number: $line" unless $reason; }
			$open = $line eq '```' ? undef : 'seen';
			$reason = 0 unless defined $open;
		}
		elsif ($line =~ /^<!-- not run: (.+) -->$/)
		{
			$reason = $1;
			push @loose, map { "$file:$number: $_ is not there" } grep { !-e && !-e "clients/python/tests/$_" }
			  $reason =~ m{\b\w+\.py\b|\b(?:test|tools|examples)/\w[\w/-]*|\.ci/run}g;
		}
		# Indented, which nothing would find; within a list it is text.
		elsif ($line =~ /^    \S/ && $before =~ /^\s*$/ && !$in_list) { push @loose, "$file:$number: $line"; }
		elsif ($line =~ /^```(\w*)$/)
		{
			$open = $1 eq '' || $1 eq 'console' ? $1 : 'seen';
			push @loose, "$file:$number: $1" unless $reason || $1 eq '' || $1 eq 'sql' || $1 eq 'console' || $elsewhere{$1};
		}
		$in_list = $line =~ /^(?:[-*]|\d+\.) / || $in_list && $line =~ /^(?:\s|$)/;
		$before = $line;
	}
	return @loose;
}

my %elsewhere = (
	mermaid => 'a drawing',
	python => 'clients/python/tests/test_documents.py',
	ts => 'clients/node/tests/documents.test.mjs',
	js => 'clients/node/tests/documents.test.mjs');

my %of_its_own = ('doc/migrating.md' => 'run against each client by make test-interop');
my $installed = qr/^(?:cache-notify |pip |echo)/;    # clients/python/tests/test_documents.py
my %lane = ('doc/wal-lane.md' => 'wal');
my @files = grep { $_ ne 'doc/reference.md' } 'README.md', 'CONTRIBUTING.md', glob('doc/*.md {,*/}*/README.md');

foreach my $file (@files)
{
	next if $of_its_own{$file};
	my @pieces = grep { defined $_->{sql} || defined $_->{command} && $_->{command} !~ $installed } pieces($file);
	next unless @pieces;
	configure($node, 'cache_notify.delivery' => $lane{$file}) if $lane{$file};
	my @said = outputs($file, @pieces);
	configure($node, 'cache_notify.delivery' => 'commit') if $lane{$file};
	my $wrong = '';
	for my $n (0 .. $#pieces)
	{
		my $said = $said[$n] // '';
		my $differs = differs(map { [ transactions_named(lines_of($_)) ] } $pieces[$n]{shown}, $said);
		$wrong .= "$file:$pieces[$n]{line}: " . ($pieces[$n]{sql} // "$pieces[$n]{command}\n") . "shows\n$said" . (defined $differs ? "$differs\n" : '')
		  if defined $differs || $said =~ /ERROR|FATAL/ && $pieces[$n]{shown} !~ /ERROR/;
	}
	is($wrong, '', "$file: " . @pieces . ' statements and blocks');
}

is(join("\n", map { loose_blocks($_, %elsewhere) } @files), '', 'every block is run, or says why not');

# ------------------------------------------------------------- the reference

local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'reference');
$node->safe_psql('postgres', 'CREATE DATABASE reference');
my $complaints = `python3 tools/make-reference --check 2>&1`;
is($complaints, '', 'doc/reference.md is what the comments make: make reference');

done_testing();
