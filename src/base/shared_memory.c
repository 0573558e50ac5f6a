/*-------------------------------------------------------------------------
 *
 * shared_memory.c
 *	  A registry for pieces of shared memory.
 *
 * Memory is fixed when the server starts, and only for a library that is
 * preloaded.  Each room adds its piece from its init function; _PG_init() then
 * calls shared_memory_init(), which sees to the server's hooks.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

/* Filled while the postmaster (or, with EXEC_BACKEND, a backend) loads us. */
static SharedPiece *pieces = NULL;

/* The hooks before ours; of the process, set once. */
static shmem_startup_hook_type previous_startup_hook = NULL;
#if HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type previous_request_hook = NULL;
#endif

/* The piece must stay where it is. */
void
shared_memory_add(SharedPiece *piece)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	piece->next = pieces;
	pieces = piece;
}

/* The lock of a piece that has one. */
LWLock *
shared_memory_lock(const char *name)
{
	return &GetNamedLWLockTranche(name)->lock;
}

static void
request_memory(void)
{
#if HAVE_SHMEM_REQUEST_HOOK
	if (previous_request_hook)
		previous_request_hook();
#endif
	for (SharedPiece *piece = pieces; piece != NULL; piece = piece->next)
	{
		RequestAddinShmemSpace(piece->size());
		if (piece->has_lock)
			RequestNamedLWLockTranche(piece->name, 1);
	}
}

static void
attach_memory(void)
{
	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (SharedPiece *piece = pieces; piece != NULL; piece = piece->next)
	{
		bool		found;

		*piece->address = ShmemInitStruct(piece->name, piece->size(), &found);
		if (!found)
			piece->initialize(*piece->address);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Called from _PG_init(), when every room has added its piece. */
void
shared_memory_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
#if HAVE_SHMEM_REQUEST_HOOK
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
#else
	request_memory();
#endif
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}
