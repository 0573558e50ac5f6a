# payload 'tcn' next to contrib/tcn: the same payloads for the same statements, and
# what doc/migrating.md says about going from one to the other.
#
# Failure shows as two lists that differ, or as a table that nobody tells of after
# the migration.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $node = worker_server('main');

if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'tcn'") == 0)
{
	$node->stop;
	plan skip_all => 'this server has no contrib/tcn';
}

$node->safe_psql('postgres', <<'END');
CREATE EXTENSION tcn;
CREATE TABLE item (id int, "a ""b" text, c date, n int, PRIMARY KEY (c, id, "a ""b"));
CREATE TRIGGER theirs AFTER INSERT OR UPDATE OR DELETE ON item
	FOR EACH ROW EXECUTE FUNCTION triggered_change_notification('theirs');
SELECT cache_notify.setup_table_invalidation('item', channel => 'ours', payload => 'tcn');
END
my ($writer, $listener) = (session($node), session($node));
$listener->query('LISTEN theirs; LISTEN ours; LISTEN cache_invalidation');
my $sentinel = 0;

sub heard
{
	my (@heard, %heard);

	$sentinel++;
	$writer->query("SELECT cache_notify.invalidate('sentinel', '$sentinel')");
	wait_for("sentinel $sentinel", sub {
			push @heard, $listener->heard;
			return grep { $_->{payload} =~ /"tenant_id": "$sentinel"/ } @heard;
		});
	push @{ $heard{ $_->{channel} } }, $_->{payload} for @heard;
	return %heard;
}

for my $statement (
	q(INSERT INTO item VALUES (1, 'x', '2026-01-01', 0), (2, 'it''s "y"', '2026-01-02', 0), (3, '', '2026-01-03', 0)),
	q(UPDATE item SET n = n + 1),
	q(UPDATE item SET n = 7 WHERE id = 2),
	q(WITH gone AS (DELETE FROM item WHERE id = 1 RETURNING *) INSERT INTO item SELECT 4, 'z', c, n FROM gone),
	q(BEGIN; UPDATE item SET n = 8 WHERE id = 2; SAVEPOINT s; DELETE FROM item; ROLLBACK TO s; DELETE FROM item WHERE id = 3; COMMIT),
	q(DELETE FROM item))
{
	$writer->query($statement);
	my %heard = heard();
	cmp_ok(scalar(@{ $heard{theirs} // [] }), '>', 0, 'contrib/tcn tells something');
	is_deeply($heard{ours}, $heard{theirs}, $statement);
}

# Two more tables, and then what the document says.
$node->safe_psql('postgres', <<'END');
SELECT cache_notify.remove_table_invalidation('item');
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (1) TO (10);
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON part
	FOR EACH ROW EXECUTE FUNCTION triggered_change_notification();
END
my $document = PostgreSQL::Test::Utils::slurp_file('doc/migrating.md');
my ($section) = $document =~ /^## contrib\/tcn\n(.*?)^## /ms;
my $commands = join '', $section =~ /^```sql\n(.*?)^```/msg;
like($commands, qr/DROP EXTENSION tcn/, 'the document has commands');
is($node->safe_psql('postgres', "\\set ON_ERROR_STOP on\n\\o /dev/null\n$commands"), '', 'they work');
is( $node->safe_psql('postgres',
		"SELECT string_agg(concat_ws(' ', table_name, channel, enabled, problem), ', ' ORDER BY channel)"
		  . " FROM cache_notify.v_invalidation_status WHERE payload = 'tcn'"),
	'part tcn t, item theirs t', 'both tables are watched, on the channels they had');
heard();
$listener->query('LISTEN tcn');
$writer->query("INSERT INTO item VALUES (1, 'x', '2026-01-01', 0); INSERT INTO part VALUES (1)");
my %heard = heard();
is_deeply([ $heard{theirs}, $heard{tcn} ],
	[ [q("item",I,"c"='2026-01-01',"id"='1',"a ""b"='x')], [q("part",I,"id"='1')] ], 'and told of');
$_->quit for $writer, $listener;
$node->stop;

done_testing();
