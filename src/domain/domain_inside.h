/*-------------------------------------------------------------------------
 *
 * domain_inside.h
 *	  Domains and watches from inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_DOMAIN_INSIDE_H
#define CACHE_NOTIFY_DOMAIN_INSIDE_H

#include "domain/domain.h"

/* What a Domain really is. */
typedef struct DomainEntry
{
	Domain		domain;			/* must be first */

	/* cascade.c */
	List	   *rules;			/* CascadeTarget *, as in cascade_rules */
	uint64		targets_generation; /* graph that targets was made from */
	List	   *targets;		/* CascadeTarget *, the closure */
	uint64		mark;			/* both used while a closure is computed */
	Domain	   *reached_from;
	List	   *sources;		/* Domain *, whose rules bump this one */
	TransactionId since;		/* the newest that set up what feeds it */

	/* watch_load.c */
	List	   *watching;		/* OIDs of the relations watched for it */
	List	   *names;			/* WatchedName *, that they were set up by */
	int			nrow_triggers;	/* of these */
	int			nrow_wanted;	/* how many there should be */
	bool		incomplete;		/* one of its triggers does not fire, or a
								 * rule into it is missing */
	bool		has_listener;	/* of the schema */
	TransactionId whole_since;	/* the newest that asked for whole_no */
	bool		wholes_differ;	/* so whole_no is 0 */

	/* naming.c */
	struct Naming *naming;		/* NULL: names are texts that nothing reads */

	/* known.c */
	bool		found_known;	/* until the configuration changes ... */
	uint64		names_checked;	/* or this watched_name_changes() */
	uint64		walk;			/* both used while that is worked out */
	bool		fed;
} DomainEntry;

#define inside(d) ((DomainEntry *) (d))

/* cascade.c */
extern void check_domain_name(const char *name);
extern uint64 cascade_load(void);
extern void domains_visit(void (*visit) (Domain *domain));
extern TransactionId newer_xid(TransactionId a, TransactionId b);
extern void domain_set_up_by(Domain *domain, TransactionId xid);
extern void domain_forget_watches(Domain *domain);

/* common_rules.c */
typedef struct CommonRules
{
	Oid			table;			/* cascade_rules */
	bool		any_stored;		/* there may be rules in the configuration */
	bool		any_labels;		/* some relation may have a label of ours */
} CommonRules;

extern void common_rules_init(void);
extern uint64 common_rules_look(CommonRules *rules);
extern void common_rules_leave(const CommonRules *rules, uint64 begun);

/* stored.c */
extern bool arguments_may_be_read(Datum value);
extern char **trigger_tuple_arguments(HeapTuple tuple, TupleDesc desc,
									  int *nargs);

/* watched.c */
extern List *watches_by_label(void);
extern Watch *watch_of_trigger_tuple(HeapTuple tuple, TupleDesc desc);
extern Watch *watch_of_own_trigger(HeapTuple tuple, TupleDesc desc, bool is_row,
								   const Watch *other);
extern void watch_write_arguments(Watch *watch);

/* rule_note_write.c */
extern TransactionId watch_since(const Watch *watch);

/* watched_name.c */
extern void watched_name_load(void);
extern uint64 watched_name_changes(void);
extern bool watched_name_taken_over(const Domain *domain);

/* watch_before.c */
extern bool deleted_by_us(HeapTuple tuple);

#endif							/* CACHE_NOTIFY_DOMAIN_INSIDE_H */
