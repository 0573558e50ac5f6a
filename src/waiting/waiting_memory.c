/*-------------------------------------------------------------------------
 *
 * waiting_memory.c
 *	  The shared memory of what waits.
 *
 * It is fixed when the server starts: a few databases, the scopes that wait for
 * their workers, as many table events, and a hash table of the scopes.
 *
 *-------------------------------------------------------------------------
 */
#include "waiting/waiting_memory.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#define DEFAULT_WAITING_SCOPES 8192
#define MIN_WAITING_SCOPES		16
#define MAX_WAITING_SCOPES		1048576
#define MEMORY_NAME			"cache_notify"

/* Setting: how many scopes, and how many table events. */
static int	waiting_scopes = DEFAULT_WAITING_SCOPES;

WaitingState *waiting_state = NULL; /* for those who include waiting.h */

/*
 * This backend's place in waiting_state->databases, or -1 if it has to be found.
 * Of the backend; checked each time, so that nothing need reset it.
 */
static int	my_slot = -1;

static Size
waiting_size(void)
{
	Size		size = offsetof(WaitingState, scopes);

	size = add_size(size, mul_size(waiting_scopes, sizeof(WaitingScope)));
	size = add_size(size, mul_size(waiting_scopes, sizeof(WaitingEvent)));
	size = add_size(size, mul_size(waiting_scopes, sizeof(int)));
	return MAXALIGN(size);
}

static void
initialize_state(void *address)
{
	memset(waiting_state, 0, waiting_size());
	waiting_state->lock = shared_memory_lock(MEMORY_NAME);
	waiting_state->nscopes = waiting_scopes;
	for (int i = 0; i < waiting_scopes; i++)
	{
		waiting_state->scopes[i].next = i + 1 < waiting_scopes ? i + 1 : NO_SLOT;
		pg_atomic_init_u64(&waiting_state->scopes[i].last_xid, 0);
		waiting_events(waiting_state)[i].next = i + 1 < waiting_scopes ? i + 1 : NO_SLOT;
		waiting_buckets(waiting_state)[i] = NO_SLOT;
	}
	waiting_state->first_free = waiting_state->first_free_event = 0;
	waiting_state->free_events = waiting_scopes;
	waiting_state->nworkers[WORKER_NONE] = MAX_DATABASES;
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		WaitingDatabase *db = &waiting_state->databases[i];

		db->first_pending = db->first_taken = NO_SLOT;
		db->first_event = db->last_event = NO_SLOT;
		pg_atomic_init_u32(&db->sleeping, 0);
		pg_atomic_init_u32(&db->committing, 0);
		for (int n = 0; n < NUM_STATS; n++)
			pg_atomic_init_u64(&db->stats[n], 0);
	}
}

/* Called from _PG_init(); without preloading there is no set and no worker. */
void
waiting_init(void)
{
	static SharedPiece piece = {
		.name = MEMORY_NAME,
		.size = waiting_size,
		.initialize = initialize_state,
		.address = (void **) &waiting_state,
		.has_lock = true
	};

	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("cache_notify.waiting_scopes",
							"Scopes, and as many table events, that can wait for the workers at the same time, in all databases.",
							"When they do not fit, listeners are told to drop everything.",
							&waiting_scopes,
							DEFAULT_WAITING_SCOPES, MIN_WAITING_SCOPES, MAX_WAITING_SCOPES,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	shared_memory_add(&piece);
}

bool
waiting_available(void)
{
	return waiting_state != NULL;
}

/* Find a database's slot; the lock is held, in whatever mode. */
WaitingDatabase *
waiting_find_database(Oid database)
{
	if (my_slot >= 0 && waiting_state->databases[my_slot].oid == database)
		return &waiting_state->databases[my_slot];
	for (int i = 0; i < waiting_state->ndatabases; i++)
		if (waiting_state->databases[i].oid == database)
		{
			if (database == MyDatabaseId)
				my_slot = i;
			return &waiting_state->databases[i];
		}
	return NULL;
}
