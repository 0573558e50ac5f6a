/*-------------------------------------------------------------------------
 *
 * trigger_config.c
 *	  What a watched table's trigger is to do, from its arguments.
 *
 * domain/option.c has the arguments that there are, and domain/option_read.c
 * makes a WatchOptions of them.
 *
 * What is wrong with them at this point (a tenant column that is gone) makes
 * a change coarser, never an error.
 *
 * What follows from the arguments and the table's columns is prepared once per
 * backend and dropped by a relcache invalidation of the table: the callback
 * only marks it, as a statement may be using it.
 *
 *-------------------------------------------------------------------------
 */
#include "trigger/trigger_config.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_index.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"


typedef struct ConfigEntry
{
	Oid			trigger;		/* hash key */
	TriggerConfig *config;		/* may be NULL */
	char		status;
} ConfigEntry;

#define SH_PREFIX config_table
#define SH_ELEMENT_TYPE ConfigEntry
#define SH_KEY_TYPE Oid
#define SH_KEY trigger
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* More triggers than this are not remembered at the same time. */
#define MAX_CONFIGS	4096

/*
 * Of the backend, in TopMemoryContext.  relcache_callback() marks what is out of date;
 * what a savepoint undoes comes with an invalidation as well.  One that is dropped
 * lives on until no statement uses it any more.
 */
static config_table_hash *configs = NULL;
static TriggerConfig *all_configs = NULL;
static uint64 invalidations = 0;

static void
relcache_callback(Datum arg, Oid relid)
{
	invalidations++;
	for (TriggerConfig *config = all_configs; config; config = config->next)
		if (relid == InvalidOid || relid == config->relid)
			config->valid = false;
}

void
trigger_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* Those of the key, where keys cannot be told, and a row has one nevertheless. */
static void
add_key_columns(TriggerConfig *config, Relation rel, const List *keys)
{
	ListCell   *lc;

	foreach(lc, keys)
	{
		AttrNumber	attnum = SPI_fnumber(RelationGetDescr(rel), lfirst(lc));

		if (attnum > 0)
			config->columns[config->ncolumns++] = attnum;
	}
}

/*
 * The columns that there are, those that count, and with them the tenant's: two
 * tenants may have one scope, if there are too many, if they are too long, or
 * cannot be told.
 */
static void
prepare_columns(TriggerConfig *config, Relation rel,
				const WatchOptions *options)
{
	TupleDesc	desc = RelationGetDescr(rel);
	ListCell   *lc;

	for (int i = 0; i < desc->natts; i++)
		config->has_dropped |= TupleDescAttr(desc, i)->attisdropped;
	if (options->keys_lost)
		return;					/* whatever they were, they count as well */
	config->columns = palloc((list_length(options->columns) + 1 +
							  list_length(options->keys)) * sizeof(AttrNumber));
	foreach(lc, options->columns)
	{
		AttrNumber	attnum = SPI_fnumber(desc, lfirst(lc));

		if (attnum <= 0)
		{
			config->ncolumns = 0;	/* gone or renamed: every column counts */
			return;
		}
		config->columns[config->ncolumns++] = attnum;
	}
	if (config->ncolumns == 0)
		return;
	if (config->tenant.attnum > 0)
		config->columns[config->ncolumns++] = config->tenant.attnum;
	if (config->bucket_layout == 0)
		add_key_columns(config, rel, options->keys);
}

/*
 * The columns of a row's key, each with an argument of its own.  Without one
 * of them (gone or renamed), or if its type cannot name anything, keys cannot
 * be told.
 */
static void
prepare_key_texts(TriggerConfig *config, Relation rel,
				  const WatchOptions *options)
{
	ListCell   *lc;

	config->bucket_layout = options->bucket_layout;
	foreach(lc, options->keys)
	{
		ColumnText *column = &config->key_texts[config->nkey_texts];

		if (!column_text_prepare(column, rel, lfirst(lc)) ||
			!column_text_names(column))
		{
			config->bucket_layout = 0;
			return;
		}
		config->nkey_texts++;
	}
}

/* The columns of the primary key, whose values payloads are to tell. */
static void
prepare_pk_columns(TriggerConfig *config, Relation rel)
{
	HeapTuple	tuple;
	Form_pg_index index;

	list_free(RelationGetIndexList(rel));	/* sets rd_pkindex */
	if (!OidIsValid(rel->rd_pkindex))
		return;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(rel->rd_pkindex));
	if (!HeapTupleIsValid(tuple))
		return;
	index = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < index->indnkeyatts; i++)
		config->pk_columns[config->npk_columns++] = index->indkey.values[i];
	ReleaseSysCache(tuple);
}

/* Some payload formats tell of the table that was watched, or of its rows. */
static void
prepare_events(TriggerConfig *config, Relation rel, const char *format)
{
	const PayloadFormat *payload = payload_format(format);

	if (payload == NULL || payload->write_event == NULL)
		return;
	config->event_format = payload;
	config->event_table = watched_ancestor(RelationGetRelid(rel),
										   config->domain->name);
	if (payload->write_pk_column != NULL)
		prepare_pk_columns(config, rel);
}

/* The context is the configuration's own, so that it can go as a whole. */
static TriggerConfig *
create_config(Relation rel, Trigger *trigger)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "cache_notify trigger",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TriggerConfig *config = palloc0(sizeof(TriggerConfig));
	WatchOptions *options = watch_options(trigger->tgargs, trigger->tgnargs);
	uint64		invalidations_before = invalidations;

	config->valid = true;
	config->context = context;
	config->relid = RelationGetRelid(rel);
	config->domain = domain_lookup(usable_domain(options,
												 RelationGetRelationName(rel)));
	config->domains_forgotten = cascade_domains_forgotten();
	config->per_statement = is_per_statement(options);
	if (options->tenant_setting != NULL)
		config->tenant_setting = options->tenant_setting;
	else if (options->tenant_column != NULL)
	{
		/* If it is gone or renamed, or cannot be told, changes are shared. */
		config->has_tenant_column =
			column_text_prepare(&config->tenant, rel, options->tenant_column) &&
			column_text_names(&config->tenant);
	}
	prepare_key_texts(config, rel, options);
	prepare_columns(config, rel, options);
	config->fields = payload_fields(options->fields) &
		(FIELD_OPERATIONS | FIELD_KEYS);
	if ((config->fields & FIELD_KEYS) &&
		options->keys == NIL && !options->keys_lost)
		prepare_pk_columns(config, rel);
	prepare_events(config, rel, options->payload);
	if (invalidations != invalidations_before)
		config->valid = false;	/* out of date already, next time */
	MemoryContextSwitchTo(old);
	return config;
}

/* It is remembered no longer, and goes once no statement uses it. */
static void
drop_config(TriggerConfig *config)
{
	if (config->previous != NULL)
		config->previous->next = config->next;
	else
		all_configs = config->next;
	if (config->next != NULL)
		config->next->previous = config->previous;
	config->dropped = true;
	if (config->users == 0)
		MemoryContextDelete(config->context);
}

static void
drop_all_configs(void)
{
	while (all_configs != NULL)
		drop_config(all_configs);
	config_table_destroy(configs);
	configs = NULL;
}

static ConfigEntry *
find_config_entry(Oid trigger)
{
	ConfigEntry *entry;
	bool		found;

	if (configs != NULL && configs->members >= MAX_CONFIGS)
		drop_all_configs();
	if (configs == NULL)
		configs = config_table_create(TopMemoryContext, 64, NULL);
	entry = config_table_insert(configs, trigger, &found);
	if (!found)
		entry->config = NULL;
	return entry;
}

static TriggerConfig *
find_config(Relation rel, Trigger *trigger)
{
	ConfigEntry *entry = find_config_entry(trigger->tgoid);
	TriggerConfig *config = entry->config;

	if (config != NULL && config->valid &&
		config->domains_forgotten == cascade_domains_forgotten())
		return config;

	config = create_config(rel, trigger);
	if (entry->config != NULL)
		drop_config(entry->config);
	MemoryContextSetParent(config->context, TopMemoryContext);
	if (all_configs != NULL)
		all_configs->previous = config;
	config->next = all_configs;
	all_configs = entry->config = config;
	return config;
}

/* The memory of a trigger's state goes: that is how a statement lets go. */
static void
state_goes(void *arg)
{
	TriggerConfig *config = ((TriggerState *) arg)->config;

	if (--config->users == 0 && config->dropped)
		MemoryContextDelete(config->context);
}

/*
 * Give a state, whose context is set, what its trigger is to do.  That stays for
 * as long as the context does.
 */
void
trigger_config_use(TriggerState *state, Relation rel, Trigger *trigger)
{
	state->config = find_config(rel, trigger);
	state->config->users++;
	state->callback.func = state_goes;
	state->callback.arg = state;
	MemoryContextRegisterResetCallback(state->context, &state->callback);
}
