# What the documents say is true: every SQL block of README.md, doc/ and the packages'
# documents is run, each document in a database of its own, and what a block shows is what
# comes out. doc/reference.md is what the comments of the objects make.
#
# In a document, "<!-- run: ... -->" is SQL that prepares what follows, and
# "<!-- not run: reason -->" in front of a block says why that is not run here. A block that
# begins with "=# " has what psql prints after each statement; the row counts, and what a
# function that returns nothing returns, may be left out. "…" stands for anything.
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

my $node = start_server('main', "shared_preload_libraries = 'cache_notify'\nwal_level = logical\nmax_replication_slots = 5");
my $databases = 0;

# Lines that can be compared.
sub lines_of
{
	my ($text) = @_;

	$text =~ s/ received from server process with PID \d+//g;
	return grep { !/^\(\d+ rows?\)$/ && /\S/ } map { s/\s+$//r } split /\n/, $text;
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

# What psql prints for each piece.
sub outputs
{
	my ($file, @pieces) = @_;
	my $database = 'doc' . $databases++;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION cache_notify') if slurp_file($file) !~ /^(=# )?CREATE EXTENSION cache_notify;/m;
	my $script = join '', map { "\\echo \001\n$_->{sql}" } @pieces;
	my $path = $PostgreSQL::Test::Utils::tmp_check . "/$database.sql";
	open my $out, '>', $path or die "$path: $!";
	print $out $script;
	close $out or die "$path: $!";
	my $said = `psql -X -d '@{[ $node->connstr($database) ]}' -f $path 2>&1`;
	my (undef, @said) = split /\001\n/, $said;
	return @said;
}

# The lines that are shown are among those that came, in order.
sub shows
{
	my ($shown, $came) = @_;

	foreach my $line (@$shown)
	{
		my $pattern = join '.*', map { quotemeta } split /…/, $line, -1;
		# psql makes columns as wide as they need to be, and a title needs no rows.
		shift @$came while @$came && $came->[0] !~ /^$pattern$/;
		return $line unless @$came;
		shift @$came;
	}
	return;
}

# Blocks that nothing runs: neither here, nor elsewhere, nor with a reason why not.
sub loose_blocks
{
	my ($file, %elsewhere) = @_;
	my ($open, $reason, @loose);
	my $number = 0;

	foreach my $line (split /\n/, slurp_file($file))
	{
		$number++;
		if (defined $open)
		{
			if ($open eq '' && $line !~ /^=# /) { push @loose, "$file:$number: $line" unless $reason; }
			$open = $line eq '```' ? undef : 'seen';
			$reason = 0 unless defined $open;
		}
		elsif ($line =~ /^<!-- not run: .+ -->$/) { $reason = 1; }
		elsif ($line =~ /^```(\w*)$/)
		{
			$open = $1 eq '' ? '' : 'seen';
			push @loose, "$file:$number: $1" unless $reason || $1 eq '' || $1 eq 'sql' || $elsewhere{$1};
		}
	}
	return @loose;
}

my %elsewhere = (
	mermaid => 'a drawing',
	python => 'clients/python/tests/test_documents.py',
	ts => 'clients/node/tests/documents.test.mjs',
	js => 'clients/node/tests/documents.test.mjs');

my %of_its_own = ('doc/migrating.md' => 'run against each client by make test-interop');

foreach my $file ('README.md', glob('doc/*.md'), glob('clients/*/README.md'), 'examples/README.md', 'monitoring/README.md')
{
	next if $of_its_own{$file} || $file eq 'doc/reference.md';
	my @pieces = grep { defined $_->{sql} } pieces($file);
	next unless @pieces;
	my @said = outputs($file, @pieces);
	my $wrong = '';
	for my $n (0 .. $#pieces)
	{
		my $said = $said[$n] // '';
		my @came = lines_of($said);
		my $missing = shows([ lines_of($pieces[$n]{shown}) ], [@came]);
		$wrong .= "$file:$pieces[$n]{line}: $pieces[$n]{sql}shows\n$said" . (defined $missing ? "and not: $missing\n" : '')
		  if defined $missing || $said =~ /ERROR|FATAL/ && $pieces[$n]{shown} !~ /ERROR/;
	}
	is($wrong, '', "$file: " . @pieces . ' statements and blocks');
}

is(join("\n", map { loose_blocks($_, %elsewhere) } 'README.md', grep({ $_ ne 'doc/reference.md' } glob('doc/*.md')), glob('*/README.md'), glob('clients/*/README.md')),
	'', 'every block is run, or says why not');

# ------------------------------------------------------------- the reference

local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'reference');
$node->safe_psql('postgres', 'CREATE DATABASE reference');
my $complaints = `python3 tools/make-reference --check 2>&1`;
is($complaints, '', 'doc/reference.md is what the comments make: make reference');

done_testing();
