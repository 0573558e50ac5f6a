# G2, G4, G5: tables are written all the time while somebody begins and ceases to watch
# them, changes how they are watched, and drops and creates the extension. No write
# fails, nobody is caught in a deadlock, and whatever is written after a setup has
# committed makes the tokens that were taken after it stale.
#
# Failure shows as a failed transaction, or as a row that has changed while a token
# from before says that it has not.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use Time::HiRes qw(sleep time);
use WorkerLane;

my $seconds = long_test() ? 60 : 2;
my $node = worker_server('main', 'deadlock_timeout = 50ms');
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int NOT NULL);
INSERT INTO item SELECT i, 't' || i, 0 FROM generate_series(1, 4) i;
CREATE TABLE part (id int PRIMARY KEY, tenant_id text, n int NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (3);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (3) TO (9);
INSERT INTO part SELECT * FROM item;
END
my $ddl = session($node);
my $reader = session($node, options => '-c search_path=cache_notify,_cache_notify,public');

# What there is to see of every row, in one snapshot: id, n, and what $of gives.
sub look
{
	my ($table, $of) = @_;
	return map { [ split /\|/ ] }
	  split /\n/, $reader->query("SELECT id, n, $of FROM $table ORDER BY id");
}

# Take tokens; a moment later nobody may be falsely calm. Returns how many rows had
# changed, so that the test can tell that it has looked at something.
my $false_calm = 0;
sub check
{
	my ($table) = @_;
	my $changed = 0;

	my @before = look($table, "token(tenant_id, '$table')");
	for my $try (1 .. 3)
	{
		my $tokens = join ', ', map { "($_->[0], $_->[1], '$_->[2]')" } @before;
		for (split /\n/, $reader->query(<<"END"))
SELECT t.n <> r.n, is_current(t.token) FROM (VALUES $tokens) t (id, n, token) JOIN $table r USING (id)
END
		{
			my ($differs, $current) = split /\|/;
			$changed++ if $differs eq 't';
			$false_calm++ if $differs eq 't' && $current eq 't';
		}
	}
	return $changed;
}

sub storm
{
	my ($name, $script, @cycle) = @_;
	my $file = write_script($node, $name, $script);
	my $load = pgbench_start($node, [ '-c', 4, '-T', $seconds, '-f', $file ]);
	my $end = time() + $seconds - 1;
	my ($cycles, $changed) = (0, 0);

	$false_calm = 0;
	do
	{
		for my $command (@cycle)
		{
			ref $command ? ($changed += $command->()) : $ddl->query($command);
		}
		$cycles++;
	} until (time() > $end);
	pgbench_finish($load, $name);
	is($false_calm, 0, "$name: no token is current after a write");
	cmp_ok($changed, '>', 0, "$name: rows did change in between ($changed in $cycles cycles)");
	return;
}

# Each statement its own transaction, and several of them with one table.
my $one = "\\set i random(1, 4)\nUPDATE item SET n = n + 1 WHERE id = :i;\n";
my $many = "\\set i random(1, 4)\nBEGIN;\nUPDATE part SET n = n + 1 WHERE id = :i;\n"
  . "SAVEPOINT s;\nUPDATE part SET n = n + 1 WHERE id = :i;\nROLLBACK TO s;\nCOMMIT;\n";

storm('watching one table', $one,
	"SELECT cache_notify.setup_table_invalidation('item')",
	sub { check('item') },
	"SELECT cache_notify.setup_table_invalidation('item', granularity => 'statement')",
	sub { check('item') },
	"SELECT cache_notify.remove_table_invalidation('item')");

storm('watching a partitioned table', $many,
	"SELECT cache_notify.setup_table_invalidation('part')",
	sub { check('part') },
	"SELECT cache_notify.setup_table_invalidation('part', channel => 'other', columns => '{n}')",
	sub { check('part') },
	"SELECT cache_notify.remove_table_invalidation('part')");

# The extension goes and comes.
$ddl->query("SET client_min_messages = warning");
storm('dropping the extension', $one,
	'DROP EXTENSION cache_notify CASCADE',
	'CREATE EXTENSION cache_notify',
	"SELECT cache_notify.setup_table_invalidation('item')",
	sub { check('item') });

storm('dropping the extension under transactions', $many,
	'DROP EXTENSION cache_notify CASCADE',
	'CREATE EXTENSION cache_notify',
	"SELECT cache_notify.setup_table_invalidation('part')",
	sub { check('part') });

is(log_count($node, qr/deadlock detected/), 0, 'no deadlock');
is(log_count($node, qr/PANIC|TRAP|terminated by signal/), 0, 'no crash');

done_testing();
