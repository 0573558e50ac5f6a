# G1, G6, G7: the library shows the server what the server looks up in it, and nothing
# else. All libraries share one space of names: with one loaded before ours that has
# functions and variables of the same names, updates are still counted and delivered.
#
# Failure shows as a name that is too many or lacking, and as a server that aborts or
# whose listener hears nothing.

use strict;
use warnings;

use CacheNotify;
use Test::More;
use WorkerLane;

my $config = $ENV{PG_CONFIG};
my $node = worker_server('main');
my $library = answer_of($config, '--pkglibdir') . '/cache_notify.so';

# -------------------------------------------------------------- what is shown

my @functions = split /\n/, $node->safe_psql('postgres', <<'END');
SELECT DISTINCT p.prosrc FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'cache_notify' AND p.probin IS NOT NULL
END
cmp_ok(scalar @functions, '>', 20, 'there are functions in C');

my @wanted = ('_PG_init', 'Pg_magic_func', 'cache_notify_worker_main', map { ($_, "pg_finfo_$_") } @functions);
my @shown = map { (split)[2] } split /\n/, answer_of('nm', '-D', '--defined-only', $library);
is_deeply([ sort @shown ], [ sort @wanted ], scalar(@wanted) . ' names are shown, and no others');

# ------------------------------------------- a library with names like our own

# Names that compilers and the C library make are left alone.
my %kinds;
foreach my $line (split /\n/, answer_of('nm', '--defined-only', $library))
{
	my (undef, $kind, $name) = split ' ', $line;
	$kinds{$name} = $kind if $name =~ /^[a-z]\w*$/ && $name !~ /^(frame_dummy|completed|.*_tm_clones)$/;
}
delete @kinds{ '_PG_init', 'Pg_magic_func', @wanted };
cmp_ok(scalar(keys %kinds), '>', 200, scalar(keys %kinds) . ' names are our own');

my $clashing = build_library('clashing', '', join("\n",
	'extern void abort(void);',
	(map { $kinds{$_} =~ /t/i ? "void $_(void) { abort(); }" : "char $_\[64\] = { 1 };" } sort keys %kinds),
	''));
$node->append_conf('postgresql.conf', "shared_preload_libraries = '$clashing, cache_notify'");
$node->restart;
like($node->safe_psql('postgres', 'SHOW shared_preload_libraries'), qr/clashing/, 'the clashing library is loaded');
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, n int);
INSERT INTO item VALUES (1, 0);
SELECT cache_notify.setup_table_invalidation('item');
END
my $listener = session($node);
$listener->query('LISTEN cache_invalidation');
foreach my $round (1 .. 3)
{
	$node->safe_psql('postgres', 'UPDATE item SET n = n + 1');
	is($node->safe_psql('postgres', "SELECT cache_notify.version('item')"), $round, "update $round is counted");
	wait_for("update $round to be delivered",
		sub { grep { /"domain": "item", "version": $round\b/ } $listener->payloads });
}
ok(wait_worker($node), 'a worker did it');

done_testing();
