/*-------------------------------------------------------------------------
 *
 * option.h
 *	  The options that a relation is watched with, checked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_OPTION_H
#define CACHE_NOTIFY_OPTION_H

#include "counter/counter.h"

/*
 * What the arguments of a trigger, or those in a label, ask for.  Whoever may
 * create a trigger writes its arguments, so nothing but watch_options() reads
 * them: what is here is within its limits.
 */
typedef struct WatchOptions
{
	const char *domain;			/* NULL: none, or none that is possible */
	const char *tenant_column;	/* these are NULL if not given */
	const char *tenant_setting;
	const char *granularity;	/* 'row' or 'statement' */
	const char *channel;
	const char *payload;		/* the name of a format that there is */
	const char *payload_suffix;
	List	   *columns;		/* char *; NIL: every column counts */
	List	   *fields;			/* char *, names that there are */
	List	   *keys;			/* char *; NIL: rows have no keys */
	bool		keys_lost;		/* some were given that cannot be used */
	int64		bucket_layout;	/* 0 without keys, see key.c */
	int64		whole_counter;	/* its number; 0: none, see whole_counter.c */
	List	   *cascades;		/* char *, domains that there are to be rules
								 * into */
	List	   *rules;			/* char *, notes of rules, see rule_note.c */
	bool		inherited;		/* made because a parent is watched */
	List	   *sources;		/* char *, domains that a view depends on */
	bool		all_tenants;	/* their changes are shared ones of the view */
	const char *search_path;	/* of the set-up of a view */

	const char *problem;		/* what is wrong with the arguments, or NULL */
} WatchOptions;

/* The n-th value that an option may have, the default first; NULL: no more. */
typedef const char *(*OptionValue) (int n);

/*
 * Domains that move when a view or function is redefined, see watched.c.  Of
 * all internal names, only these may be used by others: in tokens, and as the
 * source of a rule.
 */
#define DEFINITION_PREFIX	INTERNAL_PREFIX "definition/"

/* What a note says, see rule_note.c. */
typedef struct NotedRule
{
	char		source[NAMEDATALEN];
	char		target[NAMEDATALEN];
	bool		bump;			/* false: rule_type 'notify' */
} NotedRule;

/* What a value is refused with. */
typedef struct OptionFault
{
	int			sqlstate;
	const char *message;
	const char *hint;
} OptionFault;

/*
 * Arguments of more bytes than this ask for nothing, and are not even read: all
 * sessions read everybody's.  Those of set-up have a column's name for each
 * column that counts, at worst.
 */
#define MAX_ARGUMENTS_LEN	(128 * 1024)

/* option.c */
extern bool is_definition_domain(const char *name);
extern bool domain_name_is_good(const char *name, OptionFault *fault);
extern void option_set_values(const char *option, OptionValue values);

/* rule_note.c */
extern bool is_rule_note(const char *argument);
extern char *rule_note_argument(const char *note);
extern bool rule_note_read(const char *note, NotedRule *rule);

/* option_read.c */
extern WatchOptions *watch_options(char **args, int nargs);
extern const char *usable_domain(const WatchOptions *options,
								 const char *relation_name);
extern bool is_per_statement(const WatchOptions *options);
extern char **split_label(const char *label, int *nargs);

#endif							/* CACHE_NOTIFY_OPTION_H */
