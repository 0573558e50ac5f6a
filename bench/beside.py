"""What goes on beside the load: listeners, and what they must have heard."""

import contextlib
import json
import signal
import subprocess
import time

from server import BenchError

CHANNEL = "cache_invalidation"

# The last notifications may come this much later than the end of the load.
PATIENCE_S = 20


@contextlib.contextmanager
def client(server, *arguments):
    """client/client.c at work, from when it is ready; see there."""
    process = subprocess.Popen(
        [server.client, *map(str, arguments)],
        env=server.environment, text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    try:
        if process.stdout.readline().strip() != "ready":
            raise BenchError(f"the client does not {arguments[0]}")
        yield process
        process.stdin.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Listeners:
    """Connections that listen for as long as the `with` block lasts."""

    def __init__(self, server, database, count):
        self.client = client(server, "listen", database, CHANNEL, count)
        self.count = count

    def __enter__(self):
        self.process = self.client.__enter__()
        return self

    def __exit__(self, *error):
        return self.client.__exit__(*error)

    def stop(self):
        """Let them not read any more."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def state(self):
        """What they heard: connections as (notifications, resets, steps backward),
        and for each of them the last versions by (tenant, domain)."""
        print("state", file=self.process.stdin)
        connections = []
        versions = [{} for _ in range(self.count)]
        for line in self.process.stdout:
            if line == "end\n":
                return connections, versions
            first, rest = line.split(" ", 1)
            if first == "connection":
                connections.append(tuple(int(n) for n in rest.split(":")[1].split()))
            else:
                version, text = rest.split(" ", 1)
                key = json.loads(text.rstrip().rstrip(",") + "}")
                versions[int(first)][key["tenant_id"], key["domain"]] = int(version)
        raise BenchError("the listeners are gone")

    def wrong(self, due):
        """Wait until each has heard these versions last; what is wrong if they
        do not in time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            connections, versions = self.state()
            wrong = self._differences(due, connections, versions)
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(0.05)

    def _differences(self, due, connections, versions):
        wrong = []
        for number, (_, resets, backward) in enumerate(connections):
            if resets or backward:
                wrong.append(f"listener {number} heard {resets} resets and"
                             f" {backward} versions lower than one before")
            for key, version in due.items():
                heard = versions[number].get(key)
                if heard != version:
                    wrong.append(f"listener {number} heard version {heard} of {key}"
                                 f" last, not {version}")
                    break
        return wrong

    def miscounted(self, due):
        """Wait until each has heard so many notifications; what is wrong if they
        do not in time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            counts = [c[0] for c in self.state()[0]]
            if min(counts) >= due or time.monotonic() > deadline:
                return [f"listener {number} heard {count} notifications, not {due}"
                        for number, count in enumerate(counts) if count != due]
            time.sleep(0.05)

    def notifications(self):
        """How many each of them heard, on average."""
        connections, _ = self.state()
        return sum(c[0] for c in connections) / max(len(connections), 1)


def one_more_listener(stopped):
    """Beside a run: one more connection that listens, and does not read if stopped."""

    @contextlib.contextmanager
    def beside(server, database):
        with Listeners(server, database, 1) as listener:
            if stopped:
                listener.stop()
            yield

    return beside


def held_snapshot(bumps_sql):
    """Beside all runs in a database: a snapshot that stays open, and since when
    `bumps_sql` has been executed."""
    held = {}  # by database; goes when the database is dropped

    @contextlib.contextmanager
    def beside(server, database):
        if database not in held:
            holder = subprocess.Popen(
                [server.program("psql"), "-X", "-q", "-At", "-d", database],
                env=server.environment, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            print("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;", file=holder.stdin)
            holder.stdout.readline()
            held[database] = holder
            server.sql(bumps_sql, database)
        yield

    return beside


def versions(server, database, sql):
    """Rows of JSON arrays [tenant, domain, version], as a dictionary."""
    rows = [json.loads(line) for line in server.sql(sql, database).splitlines()]
    return {(tenant, domain): version for tenant, domain, version in rows}
