/*-------------------------------------------------------------------------
 *
 * fault.c
 *	  Make something go wrong at a named point, for tests.
 *
 * The setting cache_notify.fault is "point:action" or "point:action:n", for
 * the n-th time that a process comes to the point and none but that.  Actions:
 *
 *	  error		an error, as any function of the server may raise
 *	  oom		the error that palloc() raises
 *	  full		the error of a full disk
 *	  wait		wait in the data directory's file cache_notify.fault.POINT,
 *				which appears now, until somebody removes it; interrupts are
 *				served
 *	  crash		the process is killed, and with it the server
 *
 * Compiled in builds with assertions only.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base.h"

#ifdef USE_ASSERT_CHECKING

#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/guc.h"

#define WAIT_POLL_US	5000L

/* Setting; and how often its point was passed since it was assigned. */
static char *fault_setting = NULL;
static int	times_passed = 0;

static void
assign_fault(const char *newval, void *extra)
{
	times_passed = 0;
}

void
fault_init(void)
{
	DefineCustomStringVariable("cache_notify.fault",
							   "What goes wrong, and where: point:action or point:action:n.",
							   "For tests; in builds with assertions only.",
							   &fault_setting, "",
							   PGC_SUSET, 0,
							   NULL, assign_fault, NULL);
}

static void
wait_here(const char *point)
{
	char		path[MAXPGPATH];
	FILE	   *file;

	snprintf(path, sizeof(path), "cache_notify.fault.%s", point);
	file = fopen(path, "w");
	if (file == NULL)
		elog(FATAL, "could not create file \"%s\": %m", path);
	if (fclose(file) != 0)
		elog(FATAL, "could not write file \"%s\": %m", path);
	while (access(path, F_OK) == 0)
	{
		pg_usleep(WAIT_POLL_US);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
act(const char *point, const char *action)
{
	if (strcmp(action, "error") == 0)
		elog(ERROR, "injected fault at \"%s\"", point);
	else if (strcmp(action, "oom") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Injected fault at \"%s\".", point)));
	else if (strcmp(action, "full") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("could not extend file: no space left on device"),
				 errdetail("Injected fault at \"%s\".", point)));
	else if (strcmp(action, "crash") == 0)
		kill(MyProcPid, SIGKILL);
	else if (strcmp(action, "wait") == 0)
		wait_here(point);
	else
		elog(FATAL, "unknown action \"%s\" in cache_notify.fault", action);
}

void
fault_point(const char *name)
{
	size_t		len = strlen(name);
	char		action[16];
	const char *rest;
	char	   *end;
	long		nth = 0;

	if (fault_setting == NULL || fault_setting[0] == '\0' ||
		strncmp(fault_setting, name, len) != 0 || fault_setting[len] != ':')
		return;
	rest = fault_setting + len + 1;
	len = strcspn(rest, ":");
	strlcpy(action, rest, Min(len + 1, sizeof(action)));
	if (rest[len] == ':')
	{
		nth = strtol(rest + len + 1, &end, 10);
		if (nth <= 0 || *end != '\0')
			elog(FATAL, "invalid value of cache_notify.fault");
	}
	times_passed++;
	if (nth == 0 || nth == times_passed)
		act(name, action);
}

#endif							/* USE_ASSERT_CHECKING */
