/*-------------------------------------------------------------------------
 *
 * common_rules.c
 *	  Whether there can be cascade rules at all, as one backend finds it for all.
 *
 * Most databases have no views with rules, and many no rules.  That takes several
 * looks into the catalogs, which a new backend need not repeat.
 *
 *-------------------------------------------------------------------------
 */
#include "domain/domain_inside.h"

static CommonFact rules_fact = {.size = sizeof(CommonRules)};

void
common_rules_init(void)
{
	common_fact_add(&rules_fact);
}

/*
 * What there may be, for who is about to read all that.  What it returns is for
 * common_rules_leave().
 *
 * Whether the view with the entries counts can change without notice, with its
 * owner, so it only matters whether it is there.
 */
uint64
common_rules_look(CommonRules *rules)
{
	uint64		begun;

	if (common_fact_take(&rules_fact, rules))
		return 0;
	begun = common_fact_begin();
	memset(rules, 0, sizeof(CommonRules));
	rules->table = extension_relation(EXTENSION_SCHEMA, "cascade_rules");
	rules->any_stored = OidIsValid(extension_relation(EXTENSION_SCHEMA,
													  CONFIGURATION_VIEW));
	rules->any_labels = OidIsValid(rules->table);
	return begun;
}

/* All has been read: there is what is said here. */
void
common_rules_leave(const CommonRules *rules, uint64 begun)
{
	if (OidIsValid(rules->table))
		common_fact_leave(&rules_fact, rules, begun);
}
