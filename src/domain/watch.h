/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  The door of domain, its part about what is watched: see domain.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_WATCH_H
#define CACHE_NOTIFY_WATCH_H

#include "counter/counter.h"
#include "domain/option.h"

/* The provider of the security labels that configure views. */
#define LABEL_PROVIDER	"cache_notify"

/* What a relation is watched with: a trigger of ours, or a label. */
typedef struct Watch
{
	Oid			relation;
	Oid			trigger;		/* InvalidOid: a label */
	const char *name;			/* of the trigger */
	const char *domain;			/* there is always one */
	bool		is_row;			/* row trigger, else statement trigger */
	bool		is_clone;		/* the server made it from a parent's */
	bool		inherited;		/* we made it from a parent's */
	char		enabled;		/* pg_trigger.tgenabled */
	TransactionId xmin;			/* that made it what it is */
	char	  **args;			/* as somebody wrote them */
	int			nargs;
	const WatchOptions *options;	/* what of them can be used */
	const char *relation_name;	/* if the relation may be gone, else NULL */
} Watch;

typedef enum WatchTime
{
	WATCH_NOW,
	WATCH_REMOVED				/* what this transaction replaced or deleted */
} WatchTime;

#define CONFIGURATION_VIEW	"configuration"

/* An entry of the configuration: what a trigger's arguments say. */
typedef struct StoredEntry
{
	char	  **args;			/* "name=value" */
	int			nargs;
	TransactionId xmin;			/* that made it what it is */
} StoredEntry;

/* stored.c */
extern Oid	configuration_view(void);
extern List *stored_entries(const char *kind);
extern const char *stored_value(const StoredEntry *entry, const char *name);
extern void announce_configuration(void);

/* definition.c */
extern const char *definition_domain(Oid objid);
extern const char *definition_domain_of_name(const char *name);
extern const char *definition_name(Oid class, Oid objid);
extern void definition_renamed(const char *old, const char *new);

/* watched.c */
extern void watched_label_starts(const char *provider);
extern List *watches_of_relation(Oid relid, WatchTime when);
extern bool relation_feeds(Oid relid, const char *domain);
extern Watch *watch_without_options(const char *domain);
extern Watch *watch_from_text(const char *string, const char *domain,
							  Oid relation, const char *relation_name);
extern char *watch_as_text(const Watch *watch);
extern Watch *watch_of_trigger(Oid trigger, WatchTime when);
extern void watches_rename_column(Oid relid, const char *old, const char *new);
extern bool same_domain(const Watch *a, const Watch *b);
extern bool same_watch(const Watch *a, const Watch *b);

/* rule_note_write.c */
extern bool rule_notes_write(Oid relid, const char *domain, List *notes);

/* watch_scan.c */
extern List *watches_by_trigger(bool with_rows);

/* watch_before.c */
extern const char *former_name(Oid relid);
extern bool view_was_replaced(Oid view);
extern bool trigger_firing_changed(const Watch *watch);

/* watch_load.c */
extern uint64 watch_load(void);
extern List *watch_all(void);

/* watched_name.c */
extern void watched_name_init(void);
extern bool watched_name_followed(void);

/* family.c */
extern List *parents_of(Oid relid);
extern List *attached_parents_of(Oid relid);
extern bool is_asked_for(const Watch *watch);
extern Oid	watched_ancestor(Oid relid, const char *domain);

/* family_check.c */
extern void family_check_init(void);

#endif							/* CACHE_NOTIFY_WATCH_H */
