# G7: a setting of another extension that not everybody may read is no tenant: whoever
# owns a table names the setting, and would be told its value.
#
# Failure shows as that value among the tenants that have changed.

use strict;
use warnings;

use CacheNotify;
use Test::More;

my $library = build_library('secrets', <<'END');
#include "utils/guc.h"

static char *word = NULL;
static char *open_word = NULL;

void _PG_init(void);

void
_PG_init(void)
{
	DefineCustomStringVariable("secrets.word", "Who may not do everything may not see it.", NULL,
							   &word, "", PGC_SUSET, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("secrets.open_word", "Everybody may see it.", NULL,
							   &open_word, "", PGC_SUSET, 0, NULL, NULL, NULL);
}
END
my $node = start_server('main', "session_preload_libraries = '$library'\nsecrets.word = 'sesame'\nsecrets.open_word = 'hello'");

$node->safe_psql('postgres', 'CREATE ROLE evil; GRANT CREATE ON SCHEMA public TO evil');
my $evil = session($node);
$evil->query('SET ROLE evil');
like($evil->error('SHOW secrets.word'), qr/must be superuser|permission denied/, 'control: he may not read it');
is($evil->query('SHOW secrets.open_word'), 'hello', 'control: but another one');

# What a change with the tenant in this setting is counted for
sub tenant_in
{
	my ($setting) = @_;

	(my $table = $setting) =~ s/\W/_/g;
	$evil->query("CREATE TABLE $table (id int); SELECT cache_notify.setup_table_invalidation('$table', tenant_setting => '$setting')");
	my $tenant = $evil->query("BEGIN; INSERT INTO $table VALUES (1);"
		  . " SELECT coalesce(tenant_id, 'shared') FROM cache_notify.pending_changes()");
	$evil->query('COMMIT');
	return $tenant;
}
is(tenant_in('secrets.open_word'), 'hello', 'a setting that he may read names the tenant');
is(tenant_in('secrets.word'), 'shared', 'one that he may not read names none');
is($node->safe_psql('postgres', 'SELECT count(*) FROM _cache_notify.version_counter WHERE tenant_id ~ $$sesame$$'), 0, 'nowhere');

done_testing();
