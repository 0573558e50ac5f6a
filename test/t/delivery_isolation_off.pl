# G2, G3: the isolation specs once more with delivery = off. All but those with a
# listener must print the same; in particular nobody may wait.
#
# Failure shows as a difference to expected/isolation.

use strict;
use warnings;

use CacheNotify;
use Cwd qw(abs_path);
use File::Basename;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = dirname(abs_path(__FILE__)) . '/../..';
my $program = dirname($ENV{PG_REGRESS}) . '/../isolation/pg_isolation_regress';
-x $program or plan skip_all => 'pg_isolation_regress is not installed';

my @specs;
for my $file (sort glob "$top/test/isolation/specs/*.spec")
{
	my $text = slurp_file($file);
	next if $text =~ /LISTEN/ || $text =~ /owed_delivery\)/;
	push @specs, basename($file, '.spec');
}
cmp_ok(scalar @specs, '>', 5, 'specs were found');

my $node = start_server('main', <<'END');
cache_notify.delivery = off
max_prepared_transactions = 20
END
my $output = $node->basedir . '/output';
my $input = $node->basedir . '/isolation';
mkdir $_ foreach $output, $input;
symlink "$top/test/isolation/specs", "$input/specs" or die $!;
symlink "$top/expected/isolation", "$input/expected" or die $!;
my $bindir = $node->config_data('--bindir');
my $result = run_log([
		$program, "--inputdir=$input", "--outputdir=$output", "--bindir=$bindir",
		'--host=' . $node->host, '--port=' . $node->port, '--dbname=isolation_off',
		'--load-extension=cache_notify', @specs
	]);
ok($result, join(', ', @specs));
if (!$result && -e "$output/regression.diffs")
{
	diag(slurp_file("$output/regression.diffs"));
}

done_testing();
