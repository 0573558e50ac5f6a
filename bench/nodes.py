#!/usr/bin/python3
"""Many nodes that listen, directly or to a relay. Run by fleet.py, told what to do by
lines on standard input, answers with one line of JSON each.

    probe SECONDS RATE     changes, RATE a second: from each commit to when the last node
                           has heard of it
    hot                    each node asks for one result, which has just changed: how many
                           of them have computed it
    usage                  processor time used so far: nodes, relay, redis
    quit

Each node is a cache of the Python package with everything that belongs to it; they share
a few processes, because a thousand of those would not fit into this machine. With --how
relay, the nodes of a process share its connection to Redis, as caches do; with --how own,
each has one of its own.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(HERE, "..", "clients", "python", "src")
sys.path.insert(0, PACKAGE)
sys.dont_write_bytecode = True

from cache_notify import Cache, RedisTier   # noqa: E402
from cache_notify._core import Core, Entry, Part    # noqa: E402

PROCESSES = 4
PATIENCE_S = 300
PROBE = "probe"         # the tenant whose changes are looked for
NEWEST = 2**53 - 1      # no change outdates it
THREADS = 8             # of a process, which ask for the hot result
MOST = 100_000          # changes that a run may have


class Shared:
    """What the processes of the nodes tell: of each change how many nodes have heard of it,
    and when the last of each process has."""

    def __init__(self):
        self.heard = [multiprocessing.RawArray("i", MOST) for _ in range(PROCESSES)]
        self.last = [multiprocessing.RawArray("d", MOST) for _ in range(PROCESSES)]
        self.first_version = multiprocessing.RawValue("q", 0)
        self.ready = multiprocessing.RawArray("i", PROCESSES)
        self.cpu = multiprocessing.RawArray("d", PROCESSES)
        self.hot = [multiprocessing.Event() for _ in range(PROCESSES)]
        self.asked = multiprocessing.RawArray("i", PROCESSES)
        self.loads = multiprocessing.RawArray("i", PROCESSES)
        self.stop = multiprocessing.Event()


def watched_cache(shared, process, own):
    """A kind of cache that notes when it was told of a change of what it holds."""
    lock = threading.Lock()

    class WatchedCore(Core):
        last = -1

        def _drop_outdated(self, tenant, domain, version, changed, all_keys):
            super()._drop_outdated(tenant, domain, version, changed, all_keys)
            if tenant == PROBE:
                n = version - shared.first_version.value
                if 0 <= n < MOST and n > self.last:
                    self.last = n
                    with lock:
                        shared.heard[process][n] += 1
                        shared.last[process][n] = time.monotonic()

    class WatchedCache(Cache):
        _Core = WatchedCore

        def __init__(self, *arguments, **options):
            if own:
                # Only listeners of one kind are shared.
                self._RedisListener = type("Own", (Cache._RedisListener,), {})
            super().__init__(*arguments, **options)

        def hold(self):
            """An entry that each change concerns, and none drops."""
            part = Part(PROBE, "item", None, NEWEST, NEWEST)
            entry = Entry("probe", "", (part,), float("inf"))
            return self.core.peek("probe") is not None or (
                self.core.store("probe", entry, self.core.ticket()))

    return WatchedCache


def run_nodes(shared, process, count, listen, how):
    threading.stack_size(256 * 1024)
    kind = watched_cache(shared, process, how == "own")
    tier = RedisTier(listen, wait=30) if how == "relay" else None
    caches = []
    for _ in range(count):
        caches.append(kind(listen, max_entries=100, tier=tier))
        if len(caches) % 10 == 0:
            caches[-1].wait_until_listening(PATIENCE_S)     # not all at once
    while not shared.stop.is_set():
        shared.ready[process] = sum(cache.listening and cache.hold() for cache in caches)
        used = resource.getrusage(resource.RUSAGE_SELF)
        shared.cpu[process] = used.ru_utime + used.ru_stime
        if shared.hot[process].wait(0.2):
            shared.hot[process].clear()
            ask_all(shared, process, caches)
    os._exit(0)     # closing them one by one takes its time


def ask_all(shared, process, caches):
    """All of them, in a few threads."""
    lock, waiting = threading.Lock(), list(caches)

    def load(db):
        with lock:
            shared.loads[process] += 1
        return db.execute("SELECT price FROM item WHERE id = 0").fetchall()

    def ask():
        with psycopg.connect(autocommit=True) as db:
            while waiting:
                with lock:
                    cache = waiting.pop() if waiting else None
                if cache is not None:
                    cache.get(db, "hot", load, reads=["item"], tenant=PROBE)
                    with lock:
                        shared.asked[process] += 1

    for thread in [threading.Thread(target=ask) for _ in range(THREADS)]:
        thread.start()


class Fleet:
    def __init__(self, nodes, how, directory):
        self.nodes = nodes
        self.children = []
        listen = ""
        self.relays = []
        if how != "direct":
            socket = os.path.join(directory, "redis")
            self.start(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                        "--dir", directory], stdout=subprocess.DEVNULL)
            listen = f"unix://{socket}"
            environment = dict(os.environ, PYTHONPATH=PACKAGE, CACHE_NOTIFY_REDIS=listen)
            # Not in the checkout, where Python would take the extension's cache_notify.so
            # for the package.
            for _ in range(2):
                self.start([sys.executable, "-m", "cache_notify._cli", "relay",
                            "--log-level", "ERROR"], env=environment, cwd=directory)
        self.shared = Shared()
        self.processes = []
        for process in range(min(PROCESSES, nodes)):
            count = nodes // PROCESSES + (process < nodes % PROCESSES)
            worker = multiprocessing.Process(
                target=run_nodes, args=(self.shared, process, count, listen, how), daemon=True)
            worker.start()
            self.processes.append(worker)

    def start(self, command, **options):
        self.children.append(subprocess.Popen(command, **options))

    def wait(self):
        end = time.monotonic() + PATIENCE_S
        while sum(self.shared.ready) < self.nodes:
            for child in self.children:
                if child.poll() is not None:
                    sys.exit(f"{' '.join(child.args)} has ended by itself")
            if time.monotonic() > end:
                sys.exit(f"only {sum(self.shared.ready)} of {self.nodes} nodes listen")
            time.sleep(0.1)

    def listening_connections(self, connection):
        return connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'cache_notify listener'").fetchone()[0]

    def probe(self, seconds, rate):
        with psycopg.connect(autocommit=True) as connection:
            connection.execute("INSERT INTO item VALUES (0, %s, 'probe', 0, '')"
                               " ON CONFLICT DO NOTHING", [PROBE])
            version = connection.execute(
                "SELECT cache_notify.version('item', %s)", [PROBE]).fetchone()[0]
            for process in range(PROCESSES):
                for array in (self.shared.heard[process], self.shared.last[process]):
                    array[:] = [0] * MOST
            self.shared.first_version.value = version + 1
            committed = []
            began = time.monotonic()
            while time.monotonic() < began + seconds:
                connection.execute("UPDATE item SET price = price + 1 WHERE id = 0")
                committed.append(time.monotonic())
                time.sleep(max(0, began + len(committed) / rate - time.monotonic()))
            time.sleep(2)
            return self.told(committed) | {
                "connections": self.listening_connections(connection)}

    def told(self, committed):
        """Changes that came together with a later one count as heard by then."""
        late, complete = [], 0
        heard, last = 0, 0.0
        for n in range(len(committed) - 1, -1, -1):
            at = max(array[n] for array in self.shared.last)
            count = sum(array[n] for array in self.shared.heard)
            heard, last = max(heard, count), at if count == self.nodes else max(last, at)
            if last:
                late.append((last - committed[n]) * 1000)
            complete += count == self.nodes
        late.sort()
        return {"changes": len(committed), "complete": complete,
                "p50": late[len(late) // 2], "p99": late[len(late) * 99 // 100],
                "highest": late[-1]}

    def hot(self):
        with psycopg.connect(autocommit=True) as connection:
            connection.execute("UPDATE item SET price = price + 1 WHERE id = 0")
        time.sleep(1)
        self.shared.loads[:] = self.shared.asked[:] = [0] * PROCESSES
        began = time.monotonic()
        for event in self.shared.hot[:len(self.processes)]:
            event.set()
        while sum(self.shared.asked) < self.nodes and time.monotonic() < began + 60:
            time.sleep(0.01)
        return {"hot_asked": sum(self.shared.asked), "hot_loads": sum(self.shared.loads),
                "hot_seconds": time.monotonic() - began}

    def usage(self):
        ticks = os.sysconf("SC_CLK_TCK")
        used = {"nodes_s": sum(self.shared.cpu)}
        for name, child in zip(("redis_s", "relay_s"), self.children):
            with open(f"/proc/{child.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            used[name] = (int(fields[11]) + int(fields[12])) / ticks
        return used

    def end(self):
        self.shared.stop.set()
        for worker in self.processes:
            worker.join(5)
            worker.kill()
        for child in reversed(self.children):
            child.kill()
            child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--how", choices=("direct", "relay", "own"), required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodes.") as directory:
        fleet = Fleet(arguments.nodes, arguments.how, directory)
        try:
            fleet.wait()
            print(json.dumps({"listening": arguments.nodes}), flush=True)
            for line in sys.stdin:
                command, *words = line.split()
                if command == "quit":
                    break
                answer = getattr(fleet, command)(*map(float, words))
                print(json.dumps(answer), flush=True)
        finally:
            fleet.end()


if __name__ == "__main__":
    main()
