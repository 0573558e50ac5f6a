# G4: rows are noted by a condition in the statement's copy of a trigger
# (inline_trigger.c). If the server, or another extension, puts something else in its
# place, a build with assertions says so when the statement finishes.
#
# Failure shows as a server that goes on without one of our conditions, or that stops
# although they are all there.

use strict;
use warnings;

use CacheNotify;
use Test::More;

# Takes the conditions away while the statement runs, if it is told to.
my $library = build_library('takes_conditions', <<'END');
#include "executor/executor.h"
#include "utils/guc.h"
#include "utils/rel.h"

static bool take = false;
static ExecutorFinish_hook_type previous = NULL;

static void
finish(QueryDesc *query)
{
	ListCell   *lc;

	foreach(lc, query->estate->es_opened_result_relations)
	{
		ResultRelInfo *result = lfirst(lc);

		for (int i = 0; take && result->ri_TrigDesc && i < result->ri_TrigDesc->numtriggers; i++)
			result->ri_TrigWhenExprs[i] = NULL;
	}
	if (previous)
		previous(query);
	else
		standard_ExecutorFinish(query);
}

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	DefineCustomBoolVariable("takes_conditions.take", "", NULL, &take, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	previous = ExecutorFinish_hook;
	ExecutorFinish_hook = finish;
}
END

my $node = start_server('main', "restart_after_crash = on\nshared_preload_libraries = 'cache_notify, $library'\n");
$node->safe_psql('postgres', <<'END');
CREATE TABLE item (id int PRIMARY KEY, n int);
INSERT INTO item VALUES (1, 0);
SELECT cache_notify.setup_table_invalidation('item');
END
$node->safe_psql('postgres', 'UPDATE item SET n = n + 1');
is($node->safe_psql('postgres', "SELECT cache_notify.version('item')"), 1, 'with its conditions, it counts');
is(log_count($node, qr/TRAP/), 0, 'and nothing is wrong');

my ($result) = $node->psql('postgres', 'SET takes_conditions.take = on; UPDATE item SET n = n + 1');
is($result, 2, 'without them, the session ends');
wait_for('the server to say so', sub { log_count($node, qr/TRAP.*is_ours/) == 1 });
$node->poll_query_until('postgres', 'SELECT true');
is($node->safe_psql('postgres', "SELECT cache_notify.version('item')"), 1, 'and nothing is committed');

done_testing();
