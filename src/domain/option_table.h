/*-------------------------------------------------------------------------
 *
 * option_table.h
 *	  The table of options: for option.c and option_read.c only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CACHE_NOTIFY_OPTION_TABLE_H
#define CACHE_NOTIFY_OPTION_TABLE_H

#include "domain/option.h"

/* More options than there are. */
#define MAX_OPTIONS	32

typedef enum OptionType
{
	OPTION_TEXT,				/* const char * */
	OPTION_LIST,				/* List of char * */
	OPTION_NUMBER,				/* int64, above 0 */
	OPTION_FLAG					/* bool, true if the value is "true" */
} OptionType;

/* What happens if a value, or one of a list, cannot be used. */
typedef enum OptionLoss
{
	LOSE_VALUE,					/* it is as if it had not been given */
	LOSE_LIST,					/* every value of the list is left out */
	LOSE_TENANT					/* changes concern all tenants */
} OptionLoss;

typedef struct Option
{
	const char *name;			/* the parameter of setup_table_invalidation() */
	const char *argument;		/* before the = in a trigger's arguments */
	const char *noun;			/* what messages call a value; NULL: name */
	OptionType	type;
	size_t		offset;			/* in WatchOptions */
	int			min_len;		/* bytes of a value */
	int			max_len;
	int			max_values;		/* of a list */
	int			too_long;		/* SQLSTATE if it is longer */
	const char *written_unless; /* a value that need not be written */
	bool		never_null;		/* set-up must be given a value */
	bool		in_labels;		/* views and materialized views have it as
								 * well */
	OptionLoss	loss;
	OptionValue values;			/* those that there are; NULL: any */
	bool		(*check) (const char *value, OptionFault *fault);
	const char *hint;			/* what it may be */
} Option;

/* option.c */
extern Option option_table[];
extern const int num_options;
extern const Option *option_of_argument(const char *argument, int len);
extern bool option_value_is_good(const Option *option, const char *value,
								 OptionFault *fault);

#endif							/* CACHE_NOTIFY_OPTION_TABLE_H */
