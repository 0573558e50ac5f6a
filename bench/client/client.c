/*
 * Listeners that cost next to nothing, and a writer that times what it hears.
 *
 *	client listen DATABASE CHANNEL CONNECTIONS
 *		Listens, prints "ready", and remembers for each connection the last
 *		version of each key.  A line on standard input asks for them:
 *			connection N: NOTIFICATIONS RESETS BACKWARD
 *			N VERSION PAYLOAD-UP-TO-ITS-VERSION		(one for each key)
 *			end
 *		BACKWARD counts versions lower than one heard before.  Ends with its
 *		standard input.
 *
 *	client probe DATABASE CHANNEL SECONDS PAUSE_US STATEMENT MARK
 *		Executes the statement again and again, and prints for each time how
 *		long it took and how much later a payload that contains MARK came, in
 *		microseconds.  Nobody else may change what MARK stands for.
 *
 *	client repeat DATABASE TIMES STATEMENT
 *		Executes the statement so many times and prints the process ID of its
 *		backend.  $1 in the statement is another number of 1 to 10,000 each
 *		time, the same ones in each run.
 *
 * A payload is a JSON object with "version" after what names the key.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libpq-fe.h"

#define MAX_CONNECTIONS	256
#define TABLE_SIZE		(1 << 21)	/* keys of all connections, a power of two */
#define PROBE_TIMEOUT_MS 30000

typedef struct Key
{
	char	   *name;			/* NULL: unused */
	int			connection;
	int64_t		version;
} Key;

typedef struct Listener
{
	PGconn	   *conn;
	long		notifications;
	long		resets;
	long		backward;
} Listener;

static Key *keys;
static int	nkeys = 0;
static Listener listeners[MAX_CONNECTIONS];

static void
fail(const char *what, PGconn *conn)
{
	fprintf(stderr, "client: %s: %s", what, conn ? PQerrorMessage(conn) : "\n");
	exit(1);
}

static PGconn *
connect_to(const char *database)
{
	const char *const names[] = {"dbname", "application_name", NULL};
	const char *const values[] = {database, "bench client", NULL};
	PGconn	   *conn = PQconnectdbParams(names, values, 0);

	if (PQstatus(conn) != CONNECTION_OK)
		fail("cannot connect", conn);
	return conn;
}

static PGconn *
listen_to(const char *database, const char *channel)
{
	PGconn	   *conn = connect_to(database);
	char		command[256];
	PGresult   *result;

	snprintf(command, sizeof(command), "LISTEN \"%s\"", channel);
	result = PQexec(conn, command);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("cannot listen", conn);
	PQclear(result);
	return conn;
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static Key *
find_key(int connection, const char *name, size_t len)
{
	uint64_t	hash = 14695981039346656037u + connection;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) name[i]) * 1099511628211u;
	for (size_t i = hash ^ (hash >> 32);; i++)
	{
		Key		   *key = &keys[i & (TABLE_SIZE - 1)];

		if (key->name == NULL)
		{
			if (++nkeys > TABLE_SIZE / 2)
				fail("too many keys", NULL);
			key->name = strndup(name, len);
			key->connection = connection;
			key->version = -1;
			return key;
		}
		if (key->connection == connection &&
			strncmp(key->name, name, len) == 0 && key->name[len] == '\0')
			return key;
	}
}

static void
hear(int connection, const char *payload)
{
	Listener   *listener = &listeners[connection];
	const char *field = strstr(payload, "\"version\"");

	listener->notifications++;
	if (field != NULL)
	{
		Key		   *key = find_key(connection, payload, field - payload);
		int64_t		version = strtoll(strchr(field, ':') + 1, NULL, 10);

		if (version < key->version)
			listener->backward++;
		key->version = version;
	}
	else if (strstr(payload, "\"reset\"") != NULL)
		listener->resets++;
}

static void
read_notifications(int connection)
{
	PGconn	   *conn = listeners[connection].conn;
	PGnotify   *notify;

	if (!PQconsumeInput(conn))
		fail("lost a connection", conn);
	while ((notify = PQnotifies(conn)) != NULL)
	{
		hear(connection, notify->extra);
		PQfreemem(notify);
	}
}

static void
print_state(int connections)
{
	for (int i = 0; i < connections; i++)
		printf("connection %d: %ld %ld %ld\n", i, listeners[i].notifications,
			   listeners[i].resets, listeners[i].backward);
	for (int i = 0; nkeys > 0 && i < TABLE_SIZE; i++)
		if (keys[i].name != NULL)
			printf("%d %lld %s\n", keys[i].connection,
				   (long long) keys[i].version, keys[i].name);
	printf("end\n");
	fflush(stdout);
}

static void
run_listeners(const char *database, const char *channel, int connections)
{
	struct pollfd polled[MAX_CONNECTIONS + 1];

	keys = calloc(TABLE_SIZE, sizeof(Key));
	for (int i = 0; i < connections; i++)
	{
		listeners[i].conn = listen_to(database, channel);
		polled[i].fd = PQsocket(listeners[i].conn);
		polled[i].events = POLLIN;
	}
	polled[connections].fd = STDIN_FILENO;
	polled[connections].events = POLLIN;
	printf("ready\n");
	fflush(stdout);

	for (;;)
	{
		char		line[16];

		if (poll(polled, connections + 1, -1) < 0)
			fail("cannot poll", NULL);
		for (int i = 0; i < connections; i++)
			if (polled[i].revents != 0)
				read_notifications(i);
		if (polled[connections].revents != 0)
		{
			if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
				return;
			print_state(connections);
		}
	}
}

/* Take what has come; has one of them the mark? */
static bool
heard_mark(PGconn *conn, const char *mark)
{
	bool		heard = false;
	PGnotify   *notify;

	if (!PQconsumeInput(conn))
		fail("lost the connection", conn);
	while ((notify = PQnotifies(conn)) != NULL)
	{
		heard |= strstr(notify->extra, mark) != NULL;
		PQfreemem(notify);
	}
	return heard;
}

static void
probe(const char *database, const char *channel, double seconds, int pause_us,
	  const char *statement, const char *mark)
{
	PGconn	   *listener = listen_to(database, channel);
	PGconn	   *writer = connect_to(database);
	int64_t		until;

	PQclear(PQprepare(writer, "probe", statement, 0, NULL));
	printf("ready\n");
	fflush(stdout);
	until = now_us() + (int64_t) (seconds * 1000000);
	while (now_us() < until)
	{
		int64_t		before = now_us(),
					after,
					heard_at;
		PGresult   *result = PQexecPrepared(writer, "probe", 0, NULL, NULL, NULL, 0);

		after = now_us();
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("cannot write", writer);
		PQclear(result);
		while (!heard_mark(listener, mark))
		{
			struct pollfd polled;

			polled.fd = PQsocket(listener);
			polled.events = POLLIN;
			if (poll(&polled, 1, PROBE_TIMEOUT_MS) == 0)
				fail("a notification is missing", NULL);
		}
		heard_at = now_us();
		printf("%lld %lld\n", (long long) (after - before),
			   (long long) (heard_at - after));
		/* Not in step with anything. */
		usleep(pause_us / 2 + random() % (pause_us + 1));
	}
}

static void
repeat(const char *database, int times, const char *statement)
{
	PGconn	   *conn = connect_to(database);
	int			nparams = strstr(statement, "$1") != NULL ? 1 : 0;

	PQclear(PQprepare(conn, "repeat", statement, 0, NULL));
	for (int i = 0; i < times; i++)
	{
		char		number[16];
		const char *params[] = {number};
		PGresult   *result;

		/* 7919 is prime: no number comes twice within 10,000. */
		snprintf(number, sizeof(number), "%d", i * 7919 % 10000 + 1);
		result = PQexecPrepared(conn, "repeat", nparams, params, NULL, NULL, 0);
		if (PQresultStatus(result) != PGRES_COMMAND_OK &&
			PQresultStatus(result) != PGRES_TUPLES_OK)
			fail("cannot execute", conn);
		PQclear(result);
	}
	printf("%d\n", PQbackendPID(conn));
	PQfinish(conn);
}

int
main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "listen") == 0 &&
		atoi(argv[4]) <= MAX_CONNECTIONS)
		run_listeners(argv[2], argv[3], atoi(argv[4]));
	else if (argc == 8 && strcmp(argv[1], "probe") == 0)
		probe(argv[2], argv[3], atof(argv[4]), atoi(argv[5]), argv[6], argv[7]);
	else if (argc == 5 && strcmp(argv[1], "repeat") == 0)
		repeat(argv[2], atoi(argv[3]), argv[4]);
	else
	{
		fprintf(stderr, "client: see the top of client.c\n");
		return 2;
	}
	return 0;
}
