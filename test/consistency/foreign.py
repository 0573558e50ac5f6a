"""Readers in other languages: a process that has a client and some connections, and is told
over its standard input what to read. Each line is an object in JSON.

What it is told:

    {"do": "open", "listen": {...}, "primary": {...}, "heartbeat": 0.3, "lease": 1.5,
     "lag": 0.05, "rule_off": null, "queries": [{"kind": ..., "name": ..., "sql": ...,
     "cells": [...], "reads": [...], "tenant": ..., "inner": ...}, ...]}
    {"id": 1, "slot": 0, "connect": {"host": ..., "user": ..., "database": ...}}
    {"id": 2, "slot": 0, "read": [5, 7], "fresh": false, "work": [0, 0.002]}
    {"id": 3, "slot": 0, "sweep": [5, 7]}       of these, what memory holds
    {"id": 4, "slot": 0, "sql": "UPDATE ...", "parameters": [...]}
    {"go": 1}

A slot has a connection of its own and does one thing after the other; slots run beside
each other. Queries are named by their numbers. Without "tenant" a query is of the whole
domain, without "reads" the server is to find them; "inner" is read by its loader. "work" is
how long loaders work on their results, in seconds; "lag" how many of the notifications come
late, by up to 50 ms. "rule_off" takes a rule of the client out.

What it says, in the order in which it happens:

    {"event": "ready", "kinds": ["item", ...]}  which queries it can read
    {"event": "fence", "slot": 17}              a change of the domain "fence" was heard
    {"event": "reconnecting", "ask": 1}         about to listen; goes on when told
    {"event": "caught_up"}                      and has caught up
    {"id": 2, "got": [[5, 12, true, [41]], ...]}
        a query's number, how many fences and caught_ups were said before it was asked
        for, whether its loader ran (or nobody knows), and the values
    {"id": 3, "lost": "why"} or {"id": 3, "failed": "why"}
        the connection of the slot was lost; anything else that must not be
"""

import json
import os
import queue
import subprocess
import threading
import time

import psycopg

from protocols import STEPS
from reader import Reader, Reading
from tunnel import Tunnel

HERE = os.path.dirname(os.path.abspath(__file__))
READERS = os.path.join(HERE, "readers")
EXAMPLES = os.path.abspath(os.path.join(HERE, "../../examples"))

# How to start a reader of each language.
CLIENTS = {
    "node": ["node", os.path.join(READERS, "node.mjs")],
    "go": [os.path.join(EXAMPLES, "go/build/reader")],
    "java": ["java", "-XX:+UseSerialGC", "-Xmx256m", "-jar",
             os.path.join(EXAMPLES, "java/build/reader.jar")],
}

# Those that know no sockets in directories.
OVER_TCP = {"java"}

BATCH = 40          # reads that are asked for at once
PATIENCE = 120      # seconds for an answer: beyond these, somebody hangs


def dollars(sql):
    """$1 and so on for each %s."""
    pieces = sql.split("%s")
    return "".join(piece + (f"${number}" if number < len(pieces) else "")
                   for number, piece in enumerate(pieces, 1))


class ForeignReader(Reader):
    """The judgement is that of Reader; the cache is somewhere else."""

    def __init__(self, client, *arguments):
        self.client = client
        super().__init__(*arguments)

    def make_cache(self, cluster, protocol, relay):
        self.write_lock = threading.Lock()
        self.answers = {}       # by the number of the question
        self.asked_last = 0
        self.events = 0         # fences and catching up
        self.floors = {0: self.floor}
        self.kinds = queue.SimpleQueue()
        self.numbered = self.queries
        numbers = {query.identity: number for number, query in enumerate(self.queries)}
        for query in self.queries:
            query.number = numbers[query.identity]
        self.tunnels = {}
        listen = self.server(cluster.primary_host)
        self.process = subprocess.Popen(CLIENTS[self.client], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        threading.Thread(target=self.hear, daemon=True).start()
        self.say({"do": "open", "listen": relay or listen, "primary": listen,
                  "heartbeat": min(self.heartbeat, 1e5), "lease": min(self.lease, 1e6),
                  "lag": 0.05, "rule_off": None if protocol in ("full", *STEPS) else protocol,
                  "queries": [self.told(query, numbers) for query in self.queries]})
        kinds = self.kinds.get(timeout=60)
        self.queries = [query for query in self.queries if query.kind in kinds]
        self.by_tenant = [[query for query in queries if query.kind in kinds]
                          for queries in self.by_tenant]

    @staticmethod
    def told(query, numbers):
        told = {"kind": query.kind, "name": query.name, "sql": dollars(query.sql),
                "cells": query.cells[-query.sql.count("%s"):], **query.options}
        if query.kind != "found":
            told["reads"] = query.domains
        if query.inner:
            told["inner"] = numbers[query.inner.identity]
        return told

    def server(self, host):
        """How to connect to it."""
        how = {"host": host, "user": "reader", "database": "postgres"}
        if self.client in OVER_TCP:
            if host not in self.tunnels:
                self.tunnels[host] = Tunnel(host)
            how.update(host="127.0.0.1", port=self.tunnels[host].port)
        return how

    # ------------------------------------------------------------------ talking

    def say(self, message):
        with self.write_lock:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def ask(self, **question):
        """The answer to a question."""
        answer = queue.SimpleQueue()
        with self.write_lock:
            self.asked_last += 1
            number = self.asked_last
        self.answers[number] = answer
        self.say({"id": number, **question})
        try:
            said = answer.get(timeout=PATIENCE)
        except queue.Empty:
            raise RuntimeError(f"the {self.client} reader hangs: {question}") from None
        finally:
            del self.answers[number]
        if "lost" in said:
            raise psycopg.OperationalError(said["lost"])
        if "failed" in said:
            raise RuntimeError(f"{self.client}: {said['failed']}")
        return said

    def hear(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.take(said)
            else:
                self.answers[said["id"]].put(said)
        for answer in list(self.answers.values()):
            answer.put({"failed": "the process has ended"})

    def take(self, said):
        if said["event"] == "ready":
            self.kinds.put(said["kinds"])
        elif said["event"] == "reconnecting":
            self.reconnecting()
            self.say({"go": said["ask"]})
        else:
            if said["event"] == "fence":
                self.fence_came_in(said["slot"])
            else:
                self.caught_up()
            self.floors[self.events + 1] = self.floor
            self.events += 1
            self.floors.pop(self.events - 1000, None)

    def floor_after(self, events):
        """What must be known after so many events."""
        return self.floors.get(events, self.NEVER)

    def new_history(self):
        super().new_history()
        self.floors = {}

    def reading(self, slot):
        return ForeignReading(self, slot)

    def close(self):
        self.process.kill()


class Connection:
    """The connection of a slot, for those who write over it."""

    def __init__(self, reader, slot, host):
        self.reader = reader
        self.slot = slot
        self.closed = False
        self.ask(connect=reader.server(host))

    def ask(self, **question):
        try:
            return self.reader.ask(slot=self.slot, **question)
        except psycopg.OperationalError:
            self.closed = True
            raise

    def execute(self, sql, parameters=()):
        self.ask(sql=dollars(sql), parameters=list(parameters))


class ForeignReading(Reading):
    """One slot."""

    # Of batches, where Reading has single reads.
    OWN, FRESH = 0.01, 0.05

    def connect(self, host):
        return Connection(self.reader, self.slot, host)

    def get(self, query, **options):
        (_, _, loaded, values), = self.connection.ask(
            read=[query.number], work=[self.work(query)], **options)["got"]
        return values, loaded

    def near(self, query):
        """Some at once: what it costs to ask would be most of it."""
        queries = [query, *(self.choose_query() for _ in range(BATCH - 1))]
        self.read_all(read=[query.number for query in queries],
                      work=[self.work(query) for query in queries])

    def sweep(self, queries):
        self.read_all(sweep=[query.number for query in queries])

    def read_all(self, **question):
        reader = self.reader
        since = reader.known_a_lease_before(time.monotonic())
        for number, events, loaded, values in self.connection.ask(**question)["got"]:
            query = reader.numbered[number]
            reader.count["loads"] += loaded and query.kind != "found"
            self.judge_near(query, values, loaded, reader.floor_after(events), since)
