# What the tests of injected faults share (see src/base/fault.c): one row that counts how
# often it was written, and a check that the versions say the same.
#
#   my $faults = Faults->new($node);    # makes the table and its cascade
#   $faults->before;                    # take token and position
#   ...                                 # somebody writes, with a fault or not
#   $faults->after('name', 1);          # the row was (1), was not (0), or may have
#                                       # been (undef) written: do the versions agree?
package Faults;

use strict;
use warnings;

use CacheNotify;
use Test::More;

# The write that all cases make. The cascade and two tenants of it take part.
our $write = "UPDATE item SET n = n + 1 WHERE id = 1";

sub new
{
	my ($class, $node) = @_;

	$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int NOT NULL);
INSERT INTO item VALUES (1, 't', 0);
INSERT INTO cache_notify.cascade_rules VALUES ('item', 'page'), ('page', 'site'), ('item', 'hint');
SELECT cache_notify.setup_table_invalidation('item');
END
	return bless { node => $node }, $class;
}

# Ask, over a connection that is kept until the server goes.
sub ask
{
	my ($self, $sql) = @_;

	$self->{session} //=
	  session($self->{node}, options => '-c search_path=cache_notify,_cache_notify,public');
	return $self->{session}->query($sql);
}

# The server has gone, and come back.
sub reconnect
{
	my ($self) = @_;

	delete $self->{session};
	return;
}

# One look at everything, in one snapshot.
sub look
{
	my ($self) = @_;
	my @values = split /\|/, $self->ask(<<'END');
SELECT n, version('item', 't') - version_origin(), version('page', 't') - version_origin(),
	version('site', 't') - version_origin(), token('t', 'item', 'site'), current_position()
FROM item WHERE id = 1
END
	my %seen;

	@seen{ 'n', 'item', 'page', 'site', 'token', 'position' } = @values;
	return \%seen;
}

sub before
{
	my ($self) = @_;
	return $self->{before} = $self->look;
}

# G3, G4: the versions are as many as the writes, the token says whether there was
# one, and so does changes_since().
sub after
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($self, $name, $written) = @_;
	my $old = $self->{before};
	my $new = $self->look;
	my $writes = $written // $new->{n} - $old->{n};
	my ($current, $told) = split /\|/, $self->ask(<<"END");
SELECT is_current('$old->{token}'),
	(SELECT string_agg(domain, ' ' ORDER BY domain) FROM changes_since('$old->{position}')
	 WHERE domain <> 'hint')
END

	return is_deeply(
		[ (map { $new->{$_} - $old->{$_} } qw(n item page site)), $current, $told // '' ],
		[ ($writes) x 4, $writes ? ('f', 'item page site') : ('t', '') ],
		$name . ($writes ? ': written, and told' : ': nothing has happened'));
}

# Wait until a process is held at the point, and let it go on.
sub file
{
	my ($self, $point) = @_;
	return $self->{node}->data_dir . "/cache_notify.fault.$point";
}

sub wait_held
{
	my ($self, $point) = @_;
	return wait_for("somebody at $point", sub { -e $self->file($point) });
}

sub release
{
	my ($self, $point) = @_;
	unlink $self->file($point);
	return;
}

# Let go whoever is held, at whatever point.
sub release_all
{
	my ($self) = @_;
	unlink glob($self->file('*'));
	return;
}

# The result of a command that may fail or lose its connection: what it said.
sub outcome
{
	my ($session) = @_;
	my ($out, $err) = eval { $session->result };

	return $@ if $@;
	return $err;
}

1;
