# G10: SECURITY LABEL without FOR means what it means without us, in each database of a
# cluster that preloads the library: nothing where no provider is, and somebody else's
# where that is the only one. Ours must be named.
#
# Failure shows as another error, or as a label of ours.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $theirs = build_library('their_labels', <<'END');
#include "catalog/objectaddress.h"
#include "commands/seclabel.h"
static void check(const ObjectAddress *object, const char *label) {}
void _PG_init(void);
void _PG_init(void) { register_label_provider("theirs", check); }
END
my $node = start_server('labels', "shared_preload_libraries = 'cache_notify'");
my $tables = 'CREATE TABLE t (i int); CREATE VIEW v AS SELECT i FROM t;';
$node->safe_psql('postgres', "$tables SELECT cache_notify.setup_table_invalidation('t'); CREATE DATABASE plain");
$node->safe_psql('plain', $tables);
my $nobody = qr/ERROR:  no security label providers have been loaded/;
my @unnamed = ("SECURITY LABEL ON TABLE t IS 'x'", "SECURITY LABEL ON VIEW v IS '{domain=v}'", 'SECURITY LABEL ON VIEW v IS NULL',
	"SECURITY LABEL ON COLUMN t.i IS 'x'", "SECURITY LABEL ON ROLE postgres IS 'x'", "SECURITY LABEL ON DATABASE postgres IS 'x'");

sub labels
{
	my ($database) = @_;
	return $node->safe_psql($database, 'SELECT provider, label FROM pg_seclabels ORDER BY 1, 2');
}

for my $database ('plain', 'postgres')
{
	for my $command (@unnamed)
	{
		my ($status, $out, $error) = $node->psql($database, $command);
		like($error, $nobody, "$database: $command: as without us");
	}
	is(labels($database), '', "$database: nothing is labelled");
	$node->safe_psql($database, "LOAD '$theirs'; SECURITY LABEL ON TABLE t IS 'x'");
	is(labels($database), 'theirs|x', "$database: the only provider is meant");
	$node->safe_psql($database, "LOAD '$theirs'; SECURITY LABEL ON TABLE t IS NULL");
}

# A session that has named ours, by itself or through a function.
for my $named ("SECURITY LABEL FOR cache_notify ON VIEW v IS '{domain=v}'", "SELECT cache_notify.setup_view_invalidation('v')")
{
	my $session = session($node);
	$session->query($named);
	my $before = labels('postgres');
	like($before, qr/^cache_notify\|/, "$named: labels the view");
	like($session->error($_), $nobody, "$named: then $_: as without us") for @unnamed;
	is(labels('postgres'), $before, "$named: and the label stays");
	$session->query('SECURITY LABEL FOR cache_notify ON VIEW v IS NULL');
	is(labels('postgres'), '', "$named: named, it goes");
}

# Wrong, but said by the right one.
my ($status, $out, $error) = $node->psql('postgres', "SECURITY LABEL FOR cache_notify ON TABLE t IS '{domain=t}'");
like($error, qr/only views and materialized views have labels of provider "cache_notify"/, 'tables have triggers');
($status, $out, $error) = $node->psql('postgres', "SECURITY LABEL FOR nobody ON TABLE t IS 'x'");
like($error, qr/security label provider "nobody" is not loaded/, 'a provider that is not there');

done_testing();
