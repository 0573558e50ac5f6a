/*-------------------------------------------------------------------------
 *
 * inline_trigger.c
 *	  Note changed rows while the statement changes them.
 *
 * To queue the event of an AFTER ROW trigger, to fetch both versions of the row
 * again when it fires and to call it costs several times what row_change() does.
 * Before the server queues an event it evaluates the trigger's WHEN condition,
 * with both versions at hand.  So here, once the executor has started a
 * statement, the row triggers of watched tables get a condition in the
 * statement's own copy of the table's triggers: one that notes the keys that
 * the row belongs to and says that there is nothing to fire.  The server has
 * looked at session_replication_role and at disabled triggers by then.
 *
 * What is noted is counted when the executor finishes, in the statement in which
 * the triggers would have fired (utility.c): versions move as they do without
 * all this, and a statement that fails has counted nothing.
 *
 * Wherever the condition cannot or should not decide, it says yes, and the
 * trigger fires as any other: row by row, nothing is lost.  So do the triggers
 * of rows that no statement of the executor changes, or in relations that it
 * opens later: COPY, logical replication, rows routed to partitions.
 *
 * One difference remains: keys are made, and count towards max_keys, when a row
 * is noted, even if the statement then fails.
 *
 *-------------------------------------------------------------------------
 */
#include "trigger/trigger_config.h"

#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"


/* More than this are in a hash table, if they have buckets. */
#define MAX_LISTED			8

/* A key, or one of its buckets: that of a row, see key_change.c. */
typedef struct NotedScope
{
	ScopeChange *scope;
	bool		is_bucket;
	uint32		bucket;
} NotedScope;

typedef struct NotedBucket
{
	NotedScope	noted;
	char		status;
} NotedBucket;

#define SH_PREFIX bucket_set
#define SH_ELEMENT_TYPE NotedBucket
#define SH_KEY_TYPE NotedScope
#define SH_KEY noted
#define SH_HASH_KEY(tb, n) hash_combine((n).scope->counter.hash, murmurhash32((n).bucket))
#define SH_EQUAL(tb, a, b) ((a).scope == (b).scope && (a).bucket == (b).bucket)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* One row trigger of one relation in one statement. */
typedef struct InlineTrigger
{
	ExprState	condition;		/* must be first: what the executor holds */
	Relation	rel;
	Trigger    *trigger;
	TriggerState state;			/* without a configuration until the first row */
	bool		left_to_trigger;
	uint64		serial;			/* the statement's: in keys that it has noted */
	uint64		own_serial;		/* in keys of which it counts the buckets */
	int			nnoted;
	int			noted_size;
	NotedScope *noted;
	NotedScope	first_noted[4]; /* enough for most */
	bucket_set_hash *buckets;	/* those in noted; NULL while it is short */
} InlineTrigger;

/* Setting. */
static bool inline_triggers = true;

/* The hook before ours; of the process, set once. */
static ExecutorStart_hook_type previous_start_hook = NULL;

/*
 * What stands for our condition in a trigger's copy.  The server only asks whether
 * there is one, as the condition itself is there.
 */
static char inlined_qual[] = "";

/* Counts what may have created or dropped the function of row triggers. */
static InvalidationCount function_changes;

/* Never reset, so that each is used only once per backend. */
static uint64 last_serial = 0;

/*
 * Is this the function of row triggers?  The triggers of a statement mostly have one
 * of a few functions, so what was found of some is remembered.
 */
static bool
is_row_function(Oid function)
{
	static struct
	{
		Oid			function;
		bool		found;
	}			known[8];
	static uint64 known_at = 0;
	int			i = function % lengthof(known);

	if (known_at != function_changes.count)
	{
		memset(known, 0, sizeof(known));
		known_at = function_changes.count;
	}
	if (known[i].function != function)
	{
		uint64		count = function_changes.count;
		bool		found = extension_is_function(function, "row_change");

		if (count != function_changes.count)
			return found;
		known[i].function = function;
		known[i].found = found;
	}
	return known[i].found;
}

static void
add_noted(InlineTrigger *inlined, NotedScope noted)
{
	if (inlined->nnoted == inlined->noted_size)
	{
		int			size = inlined->noted_size * 2;

		NotedScope *larger = MemoryContextAllocHuge(inlined->state.context,
													(Size) size * sizeof(NotedScope));

		memcpy(larger, inlined->noted, inlined->nnoted * sizeof(NotedScope));
		if (inlined->noted != inlined->first_noted)
			pfree(inlined->noted);
		inlined->noted = larger;
		inlined->noted_size = size;
	}
	inlined->noted[inlined->nnoted++] = noted;
}

static void
add_bucket(InlineTrigger *inlined, NotedScope noted)
{
	bool		found;

	add_noted(inlined, noted);
	if (inlined->buckets != NULL)
		bucket_set_insert(inlined->buckets, noted, &found);
	else if (inlined->nnoted > MAX_LISTED)
	{
		inlined->buckets = bucket_set_create(inlined->state.context,
											 4 * MAX_LISTED, NULL);
		for (int i = 0; i < inlined->nnoted; i++)
			if (inlined->noted[i].is_bucket)
				bucket_set_insert(inlined->buckets, inlined->noted[i], &found);
	}
}

static bool
is_bucket_noted(const InlineTrigger *inlined, NotedScope noted)
{
	if (inlined->buckets != NULL)
		return bucket_set_lookup(inlined->buckets, noted) != NULL;
	for (int i = 0; i < inlined->nnoted; i++)
		if (inlined->noted[i].is_bucket &&
			inlined->noted[i].scope == noted.scope &&
			inlined->noted[i].bucket == noted.bucket)
			return true;
	return false;
}

/* May say no to a key that a statement within this one has noted, too. */
static inline bool
is_noted(const InlineTrigger *inlined, const ScopeChange *scope)
{
	return scope->noted_by == inlined->serial;
}

/*
 * Note a key with all its rows.  What is noted twice is counted once, so looking
 * at the last ones will do.
 */
static void
note_scope(InlineTrigger *inlined, ScopeChange *scope)
{
	NotedScope	noted = {scope, false, 0};

	if (is_noted(inlined, scope))
		return;
	scope->noted_by = inlined->serial;
	for (int i = inlined->nnoted; i > Max(inlined->nnoted - MAX_LISTED, 0);)
		if (inlined->noted[--i].scope == scope && !inlined->noted[i].is_bucket)
			return;
	add_noted(inlined, noted);
}

/*
 * Note the bucket of a row, of a table whose keys are told apart.  With one too
 * many a statement reaches every key, so there is no need to tell more of them.
 */
static void
note_bucket(InlineTrigger *inlined, ScopeChange *scope, HeapTuple tuple)
{
	int64		bucket_layout = inlined->state.config->bucket_layout;
	NotedScope	noted = {scope, true, 0};
	uint32		hash;

	if (is_noted(inlined, scope))
		return;					/* all its rows */
	if (!row_key_hash(&inlined->state, tuple, RelationGetDescr(inlined->rel),
					  &hash))
	{
		note_scope(inlined, scope);
		return;
	}
	noted.bucket = bucket_of_hash(bucket_layout, hash);
	if (is_bucket_noted(inlined, noted))
		return;
	if (scope->buckets_noted_by != inlined->own_serial)
	{
		scope->buckets_noted_by = inlined->own_serial;
		scope->nbuckets_noted = 0;
	}
	if (++scope->nbuckets_noted > bucket_limit(bucket_layout))
		note_scope(inlined, scope);
	else
		add_bucket(inlined, noted);
}

static void
note_row(InlineTrigger *inlined, ScopeChange *scope, HeapTuple tuple)
{
	if (inlined->state.config->bucket_layout != 0)
		note_bucket(inlined, scope, tuple);
	else
		note_scope(inlined, scope);
}

static void
note_update(InlineTrigger *inlined, HeapTuple old, HeapTuple new)
{
	TriggerState *state = &inlined->state;
	TupleDesc	desc = RelationGetDescr(inlined->rel);
	ScopeChange *new_scope = scope_of_row(state, new, desc);
	ScopeChange *old_scope = scope_of_row(state, old, desc);
	bool		same_key;

	if (is_noted(inlined, old_scope) && is_noted(inlined, new_scope))
		return;

	same_key = old_scope == new_scope && same_row_key(state, old, new, desc);
	if (same_key && same_content(state, old, new, desc))
		return;

	note_row(inlined, old_scope, old);
	if (!same_key)
		note_row(inlined, new_scope, new);
}

/* The row in a slot, NULL if it would have to be made. */
static inline HeapTuple
tuple_in_slot(TupleTableSlot *slot)
{
	if (TTS_EMPTY(slot) || slot->tts_ops->get_heap_tuple == NULL)
		return NULL;
	return slot->tts_ops->get_heap_tuple(slot);
}

/* Note a row.  False if that is left to the trigger. */
static bool
note_change(InlineTrigger *inlined, TupleTableSlot *old_slot,
			TupleTableSlot *new_slot)
{
	TriggerState *state = &inlined->state;
	HeapTuple	old = old_slot ? tuple_in_slot(old_slot) : NULL;
	HeapTuple	new = new_slot ? tuple_in_slot(new_slot) : NULL;
	HeapTuple	row = new ? new : old;

	if ((old == NULL && old_slot != NULL) || (new == NULL && new_slot != NULL))
		return false;
	if (state->overflow_scope != NULL && is_noted(inlined, state->overflow_scope))
		return true;
	if (old != NULL && new != NULL)
		note_update(inlined, old, new);
	else
		note_row(inlined, scope_of_row(state, row, RelationGetDescr(inlined->rel)),
				 row);
	return true;
}

/*
 * The condition: is the trigger to fire for this row?  Called with the memory
 * context of the row.
 */
static Datum
row_condition(ExprState *condition, ExprContext *econtext, bool *isnull)
{
	InlineTrigger *inlined = (InlineTrigger *) condition;
	TriggerState *state = &inlined->state;

	*isnull = false;
	if (state->config == NULL)
	{
		trigger_config_use(state, inlined->rel, inlined->trigger);

		/*
		 * What payloads tell of rows is not noted here, and the setting that
		 * holds the tenant is to be read when the statement is through.
		 */
		inlined->left_to_trigger = state->config->fields != 0 ||
			state->config->event_format != NULL ||
			state->config->tenant_setting != NULL;
	}
	if (inlined->left_to_trigger ||
		!note_change(inlined, econtext->ecxt_innertuple,
					 econtext->ecxt_outertuple))
		return BoolGetDatum(true);
	change_set_see_row();
	return BoolGetDatum(false);
}

/* Give a trigger the condition, in the statement's copy of it. */
static ExprState *
make_condition(EState *estate, Relation rel, Trigger *trigger, uint64 serial)
{
	InlineTrigger *inlined = MemoryContextAllocZero(estate->es_query_cxt,
													sizeof(InlineTrigger));

	NodeSetTag(&inlined->condition, T_ExprState);
	inlined->condition.flags = EEO_FLAG_IS_QUAL;
	inlined->condition.evalfunc = row_condition;
	inlined->rel = rel;
	inlined->trigger = trigger;
	inlined->state.context = estate->es_query_cxt;
	inlined->serial = serial;
	inlined->own_serial = ++last_serial;
	inlined->noted = inlined->first_noted;
	inlined->noted_size = lengthof(inlined->first_noted);

	trigger->tgqual = inlined_qual;
	return &inlined->condition;
}

static void
inline_relation(EState *estate, ResultRelInfo *result, uint64 serial)
{
	TriggerDesc *triggers = result->ri_TrigDesc;
	Relation	rel = result->ri_RelationDesc;

	if (triggers == NULL || rel->rd_rel->relkind != RELKIND_RELATION)
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_AFTER(trigger->tgtype) &&
			!trigger->tgdeferrable && trigger->tgqual == NULL &&
			is_row_function(trigger->tgfoid))
			result->ri_TrigWhenExprs[i] = make_condition(estate, rel, trigger,
														 serial);
	}
}

/*
 * EXPLAIN ANALYZE is to show the triggers.  The triggers of a query for a
 * foreign key fire with those of the statement that caused it.  While the rest
 * of a WITH that changes rows runs, it is too early to count, and after it too
 * late for triggers that ask for the version.
 */
static void
start_executor(QueryDesc *query, int eflags)
{
	uint64		serial;
	ListCell   *lc;

	if (previous_start_hook)
		previous_start_hook(query, eflags);
	else
		standard_ExecutorStart(query, eflags);

	running_statement_begin(query);
	if (query->estate->es_opened_result_relations == NIL ||
		!inline_triggers || query->instrument_options != 0 ||
		query->plannedstmt->hasModifyingCTE ||
		(query->estate->es_top_eflags &
		 (EXEC_FLAG_EXPLAIN_ONLY | EXEC_FLAG_SKIP_TRIGGERS)))
		return;
	serial = ++last_serial;
	foreach(lc, query->estate->es_opened_result_relations)
		inline_relation(query->estate, lfirst(lc), serial);
}

/* As the trigger would have, had it fired. */
static void
bump_noted(InlineTrigger *inlined, int depth)
{
	int64		bucket_layout = inlined->nnoted > 0 ? inlined->state.config->bucket_layout : 0;

	for (int i = 0; i < inlined->nnoted; i++)
	{
		const NotedScope *noted = &inlined->noted[i];
		ScopeChange *scope = noted->scope;

		/* A hash is used for its bucket only, and a bucket is its own. */
		if (!noted->is_bucket)
			change_set_bump_once(scope, depth);
		else if (!is_noted(inlined, scope))
			change_set_bump_key_once(scope, bucket_layout, noted->bucket, depth);
		FAULT_POINT("trigger");
		scope->extra.all_keys = true;
		if (bucket_layout != 0)
			change_set_tell_key(scope, NULL);
	}
}

/*
 * Count what the query has noted, at the depth of its triggers.  To be called
 * once, in its statement.
 */
void
inline_trigger_finish(QueryDesc *query, int depth)
{
	ListCell   *lc;

	foreach(lc, query->estate->es_opened_result_relations)
	{
		ResultRelInfo *result = lfirst(lc);

		if (result->ri_TrigDesc == NULL)
			continue;
		for (int i = 0; i < result->ri_TrigDesc->numtriggers; i++)
		{
			ExprState  *condition = result->ri_TrigWhenExprs[i];
			bool		is_ours = condition != NULL &&
				condition->evalfunc == row_condition;

			/*
			 * A version of the server that prepares conditions elsewhere, or
			 * copies triggers once more, would lose changes here.
			 */
			Assert(is_ours ==
				   (result->ri_TrigDesc->triggers[i].tgqual == inlined_qual));
			if (is_ours)
				bump_noted((InlineTrigger *) condition, depth);
		}
	}
}

void
inline_trigger_init(void)
{
	DefineCustomBoolVariable("cache_notify.inline_triggers",
							 "Note changed rows while they are changed, instead of queueing a trigger event for each.",
							 NULL,
							 &inline_triggers,
							 true,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
	invalidation_count_catalog(&function_changes, PROCOID);
	previous_start_hook = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
}
