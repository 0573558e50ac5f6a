#!/usr/bin/python3
"""An application's cache on another machine: no connection to PostgreSQL but for
its queries, invalidated by the stream that Relay.java writes.

Two rules keep it from ever serving an outdated result.

A message names the transaction that made the change (xid). A cached result keeps
the snapshot of its query. Drop a result, or refuse to store it, if the snapshot
does not include the transaction: a message may come while a query still runs, and
even before other sessions see the change.

When messages may have been missed, drop everything: on a reset, and when the
stream no longer has the last message that was read.

As a program it is the application: a line of JSON on standard input asks for a
query, lines of JSON on standard output say what was answered and heard.

usage: cache.py REDIS_SOCKET STREAM, with PGHOST and the like leading to the server.
"""

import json
import sys
import threading
import time

import psycopg2
import redis

START = "0-0"  # before the first message of a stream
WAIT_MS = 1000  # for news, before looking whether the stream is still whole
MAX_CHANGES = 100_000  # to remember for queries that may have missed them


class Snapshot:
    """What pg_current_snapshot() says, "xmin:xmax:xid,xid,...\""""

    def __init__(self, text):
        xmin, xmax, running = text.split(":")
        self.xmin, self.xmax = int(xmin), int(xmax)
        self.running = {int(xid) for xid in running.split(",") if xid}

    def includes(self, xid):
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


class Fill:
    """A query under way. Its snapshot will have at least the xmin of now."""

    def __init__(self, cache):
        self.age = cache.age
        self.xmin = cache.xmin


class Cache:
    """Results by a name of the caller's; what each depends on: (tenant, domains)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        """Forget everything; queries under way will not be stored."""
        with self.lock:
            self.age = object()
            self.entries = {}  # name: (result, snapshot, tenant, domains)
            self.changes = set()  # (xid, tenant, domain) that queries may have missed
            self.fills = set()
            self.xmin = 0  # every snapshot from now on has at least this one
            self.forgotten = 0  # the newest xid that had to leave self.changes

    def get(self, name):
        with self.lock:
            entry = self.entries.get(name)
            return entry and entry[0]

    def begin(self):
        """To be called before a query; store() or give_up() ends it."""
        with self.lock:
            fill = Fill(self)
            self.fills.add(fill)
            return fill

    def give_up(self, fill):
        with self.lock:
            self.fills.discard(fill)

    def store(self, fill, name, result, snapshot, tenant, domains):
        """Whether the result is current, and so was stored."""
        with self.lock:
            self.fills.discard(fill)
            entry = (result, snapshot, tenant, domains)
            current = (
                fill.age is self.age
                and snapshot.xmin > self.forgotten
                and not any(self.outdates(change, entry) for change in self.changes)
            )
            if current:
                self.entries[name] = entry
            if fill.age is self.age:
                # Every snapshot taken from now on includes what is before this.
                self.xmin = max(self.xmin, snapshot.xmin)
            oldest = min([self.xmin] + [f.xmin for f in self.fills])
            self.changes = {c for c in self.changes if c[0] >= oldest}
            return current

    def hear(self, payload):
        """A message: drop what it outdates, and remember it for queries under way."""
        message = json.loads(payload)
        if "reset" in message:
            self.clear()
            return
        change = (message["xid"], message["tenant_id"], message["domain"])
        with self.lock:
            self.changes.add(change)
            if len(self.changes) > MAX_CHANGES:
                self.forgotten = max(xid for xid, _, _ in self.changes)
                self.changes.clear()
            self.entries = {
                name: entry
                for name, entry in self.entries.items()
                if not self.outdates(change, entry)
            }

    @staticmethod
    def outdates(change, entry):
        xid, tenant, domain = change
        _, snapshot, of_tenant, domains = entry
        # A change without a tenant concerns all of them.
        concerned = domain in domains and tenant in (None, of_tenant)
        return concerned and not snapshot.includes(xid)


def follow(cache, store, stream, heard):
    """Hand the stream's messages to the cache, for ever."""
    position = None
    while True:
        try:
            if position is None:
                # From the oldest: queries may miss what was heard before they began.
                position = START
                cache.clear()
                heard("started anew")
            news = store.xread({stream: position}, count=1000, block=WAIT_MS)
            # If the last one is still there, none after it was lost.
            if position != START and not store.xrange(stream, position, position):
                position = None
                continue
            for position, fields in news[0][1] if news else []:
                cache.hear(fields["payload"])
                heard(fields["payload"])
        except redis.exceptions.ConnectionError:
            position = None
            cache.clear()
            time.sleep(WAIT_MS / 1000)


def answer(cache, session, tenant, domains, query):
    """The rows of a query from the cache, or else from the database."""
    name = (tenant, query)
    cached = cache.get(name)
    if cached is not None:
        return {"rows": cached, "from": "cache"}
    fill = cache.begin()
    try:
        # One snapshot for both: REPEATABLE READ.
        with session, session.cursor() as cursor:
            cursor.execute("SELECT pg_current_snapshot()::text")
            snapshot = Snapshot(cursor.fetchone()[0])
            cursor.execute(query)
            rows = cursor.fetchall()
    except psycopg2.Error:
        cache.give_up(fill)
        raise
    stored = cache.store(fill, name, rows, snapshot, tenant, domains)
    return {"rows": rows, "from": "database", "stored": stored}


def main(redis_socket, stream):
    cache = Cache()
    session = psycopg2.connect("")
    session.set_session("REPEATABLE READ", readonly=True)
    store = redis.Redis(unix_socket_path=redis_socket, decode_responses=True)

    def say(what):
        sys.stdout.write(json.dumps(what) + "\n")  # at once: two threads say something
        sys.stdout.flush()

    threading.Thread(
        target=follow, args=(cache, store, stream, lambda payload: say({"heard": payload})),
        daemon=True,
    ).start()
    for line in sys.stdin:
        say(answer(cache, session, **json.loads(line)))


if __name__ == "__main__":
    main(*sys.argv[1:])
