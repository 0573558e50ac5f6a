/*-------------------------------------------------------------------------
 *
 * cache_notify.c
 *	  Entry point.
 *
 *-------------------------------------------------------------------------
 */
#include "roof.h"


PG_MODULE_MAGIC;

void		_PG_init(void);

/* Settings, hooks, callbacks and shared memory, from the ground up. */
void
_PG_init(void)
{
	fault_init();
	common_fact_init();
	counter_init();
	epoch_init();
	cascade_init();
	whole_counter_init();
	naming_init();
	watched_name_init();
	family_check_init();
	change_set_init();
	running_statement_init();
	route_init();
	delivery_init();
	waiting_init();
	waiting_worker_init();
	worker_init();
	trigger_init();
	inline_trigger_init();
	name_taken_init();
	quiet_change_init();
	commit_init();
	utility_init();
	shared_memory_init();
	compat_reserve_guc_prefix(EXTENSION_NAME);
}
