#!/usr/bin/python3
"""How often do caches hit while rows change? Run by measure.py, prints JSON.

One process writes, four read and have a cache of each kind: all caches see the
same reads, of the same rows, while the same rows change. What is read and
written is random: entity k is read in proportion to 1/k, all are written alike.

    oracle      knows at once which rows have changed
    domain      the Python package (../clients/python), results named by the domain
    keysN       the same, results named by keys of a domain with N buckets
    tokenN      asks the server before each hit whether the token of such a key
                is still the same
    ttlN        drops what is N seconds old

Debian's Python is named above because python3-psycopg and python3-cachetools install
into that one.
"""

import argparse
import bisect
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from dataclasses import replace
from itertools import accumulate

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "clients", "python", "src"))
sys.dont_write_bytecode = True

from cache_notify import Cache                              # noqa: E402
from cache_notify._adapters import Psycopg                  # noqa: E402
from cache_notify._ask import ASK, answer_of, array         # noqa: E402
from cache_notify._core import Entry                        # noqa: E402
from cache_notify._listener import Listener                 # noqa: E402

ENTITIES = 10000
READERS = 4
READS_PER_S = 200       # of each
BATCH = 10              # rows whose state is asked for at once
SETTLE_S = 2            # before it counts
PATIENCE_S = 60         # for what only a very slow machine makes last
TENANT = "tenant-0"
BUCKETS = (64, 1024, 16384)
TTLS = (1, 60)

# A near cache's domains, and whether it names results by keys.
NEAR = {"domain": ("item1024", False)} | {f"keys{b}": (f"item{b}", True) for b in BUCKETS}
DOMAINS = [f"item{b}" for b in BUCKETS]

# One statement, one snapshot.
STATE = "SELECT k, n" + "".join(
    f", cache_notify.token('{TENANT}', '{domain}/' || k)" for domain in DOMAINS
) + " FROM unnest(%s::int[]) AS k JOIN item ON id = k"

# Reads per second and reader of entity k, from 1.
WEIGHTS = [1 / k for k in range(1, ENTITIES + 1)]
ROWS = range(1, ENTITIES + 1)
CUMULATED = list(accumulate(WEIGHTS))
READS_OF = [READS_PER_S * w / sum(WEIGHTS) for w in WEIGHTS]


class History:
    """What was written, in memory that all processes share: write number j, from
    1, sets n of row rows[j] to j, and is committed at times[j]."""

    def __init__(self, size):
        self.rows = multiprocessing.RawArray("i", size)
        self.times = multiprocessing.RawArray("d", size)
        self.committed = multiprocessing.RawValue("i", 0)
        self.size = size


class Seen:
    """The history up to some write, by row."""

    def __init__(self, history):
        self.history = history
        self.writes = {}        # row -> numbers of its writes, in order
        self.reached = 0

    def advance(self, number):
        for j in range(self.reached + 1, number + 1):
            self.writes.setdefault(self.history.rows[j], []).append(j)
        self.reached = max(self.reached, number)

    def overtaken(self, row, n):
        """The first write after number n, if there was any; else None."""
        writes = self.writes.get(row, ())
        i = bisect.bisect_right(writes, n)
        return writes[i] if i < len(writes) else None


def write(options, history, stop):
    """As many commits per second as asked for, at random times, one after the
    other: the domain's version is the number of the last write."""
    rng = random.Random(options.seed)
    # The commit returns before it is on disk: how fast that is is not asked here.
    with psycopg.connect(autocommit=True, options="-c synchronous_commit=off") as connection:
        due = time.monotonic()
        number = 0
        while not stop.is_set() and number + 1 < history.size:
            due += rng.expovariate(options.rate)
            time.sleep(max(0, due - time.monotonic()))
            number += 1
            row = history.rows[number] = rng.randrange(1, ENTITIES + 1)
            connection.execute("UPDATE item SET n = %s WHERE id = %s", [number, row])
            history.times[number] = time.monotonic()
            history.committed.value = number


class Told(Cache):
    """The near cache, and what it has been told, found out in another way: by
    the version alone, of which each write is one."""

    def __init__(self, history, before):
        told = self.told = {domain: Seen(history) for domain in before}

        class ToldListener(Listener):
            def _heard(self, payload):
                super()._heard(payload)
                change = json.loads(payload)
                if change.get("domain") in before:      # its version before all writes
                    told[change["domain"]].advance(change["version"] - before[change["domain"]])

        self._Listener = ToldListener
        super().__init__("", ttl=None, max_entries=1_000_000)

    def fill(self, connection, name, domain, by_key, rows):
        """Put rows in, {k: n}, that are not older than what the domain's versions,
        asked for before, say."""
        ticket = self.core.ticket()
        answer = answer_of(Psycopg(connection).run(ASK, [TENANT, array([domain])]))
        rows = dict(connection.execute(
            "SELECT id, n FROM item WHERE id = ANY (%s)", [list(rows)]).fetchall())
        for k, n in rows.items():
            parts = tuple(replace(part, key=str(k) if by_key else None) for part in answer.parts)
            entry = Entry(n, answer.token, parts, float("inf"))
            self.core.store((f"{name} {k}", TENANT, reads_of(domain, by_key, k)), entry, ticket)


def reads_of(domain, by_key, k):
    return (f"{domain}/{k}" if by_key else domain,)


class Tally:
    """Hits and misses of a cache; and how old what it served was."""

    def __init__(self):
        self.reads = self.hits = self.stale = 0
        self.ages = []          # seconds since a newer row was committed

    def count(self, hit, age=None):
        self.reads += 1
        self.hits += hit
        if hit and age is not None:
            self.ages.append(max(age, 0))


class Reader:
    def __init__(self, options, number, history, before):
        self.rng = random.Random(options.seed * READERS + number)
        self.rate_of_row = options.rate / ENTITIES
        self.seen = Seen(history)
        self.history = history
        self.tallies = {}
        self.connection = psycopg.connect(autocommit=True)
        self.near = Told(history, before)
        self.near.wait_until_listening(PATIENCE_S)
        self.fill()

    # Caches begin as if they had been at work for long: what is in them, and how
    # old it is, is random with the probabilities of a steady state.
    def fill(self):
        chance = [self.rng.random() for _ in range(ENTITIES)]

        def present(rate):
            return [k for k in range(1, ENTITIES + 1)
                    if chance[k - 1] < READS_OF[k - 1] / (READS_OF[k - 1] + rate)]

        rate, w = self.rate_of_row * ENTITIES, self.rate_of_row
        state = {k: rest for k, *rest in self.connection.execute(
            STATE, [list(range(1, ENTITIES + 1))]).fetchall()}
        self.oracle = {k: state[k][0] for k in present(w)}
        self.tokens = {}
        for i, b in enumerate(BUCKETS, 1):
            in_bucket = w * (1 + (ENTITIES - 1) / b)
            self.tokens[b] = {k: (state[k][0], state[k][i]) for k in present(in_bucket)}
        now = time.monotonic()
        self.ttl = {ttl: {} for ttl in TTLS}
        for ttl, cache in self.ttl.items():
            for k in present(1 / ttl):
                filled = now - self.rng.random() * ttl
                changed = filled + self.rng.expovariate(w)
                cache[k] = (state[k][0], filled, changed if changed < now else None)
        for name, (domain, by_key) in NEAR.items():
            self.near.fill(self.connection, name, domain, by_key, present(w if by_key else rate))

    def tally(self, name):
        return self.tallies.setdefault(name, Tally())

    def read(self, k, n, tokens):
        """By the caches that need no server beyond the row's present state."""
        self.tally("oracle").count(self.oracle.get(k) == n)
        self.oracle[k] = n
        for b, token in zip(BUCKETS, tokens):
            cached = self.tokens[b].get(k)
            tally = self.tally(f"token{b}")
            hit = cached is not None and cached[1] == token
            tally.count(hit)
            tally.stale += hit and cached[0] != n
            self.tokens[b][k] = (n, token)
        now = time.monotonic()
        for ttl, cache in self.ttl.items():
            value, filled, changed = cache.get(k, (None, -ttl, None))
            hit = now - filled < ttl
            if hit and changed is None:
                newer = self.seen.overtaken(k, value)
                changed = self.history.times[newer] if newer else None
            self.tally(f"ttl{ttl}").count(hit, now - changed if hit and changed else None)
            if not hit:
                cache[k] = (n, now, None)

    def read_near(self, name, domain, by_key, k):
        loaded = []

        def load(connection):
            loaded.append(True)
            return connection.execute("SELECT n FROM item WHERE id = %s", [k],
                                      prepare=True).fetchone()[0]

        told = self.near.told[domain].reached
        committed = self.history.committed.value
        began = time.monotonic()
        n = self.near.get(self.connection, f"{name} {k}", load,
                          reads=reads_of(domain, by_key, k), tenant=TENANT)
        self.seen.advance(committed)
        newer = self.seen.overtaken(k, n)
        if newer and newer > committed:
            newer = None
        tally = self.tally(name)
        tally.count(not loaded, began - self.history.times[newer] if newer else None)
        # Older than a change of which this process had been told: never.
        tally.stale += bool(newer and newer <= told)

    def run(self, ends):
        """Until then; what has been counted."""
        due = time.monotonic()
        counts_from = due + SETTLE_S
        counting = False
        while due < ends:
            due += BATCH / READS_PER_S
            # Where the machine is too slow for so many reads, there are fewer.
            due = max(due, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))
            if not counting and due >= counts_from:
                counting, self.tallies = True, {}
            rows = self.rng.choices(ROWS, cum_weights=CUMULATED, k=BATCH)
            self.seen.advance(self.history.committed.value)
            for k, n, *tokens in self.connection.execute(STATE, [rows], prepare=True).fetchall():
                self.read(k, n, tokens)
            for k in rows:
                for name, (domain, by_key) in NEAR.items():
                    self.read_near(name, domain, by_key, k)
        took = time.monotonic() - counts_from
        self.near.close()
        return {"took": took, "caches": {name: vars(t) for name, t in self.tallies.items()}}


def read(options, number, history, before, begin, results):
    try:
        reader = Reader(options, number, history, before)
        begin.wait(PATIENCE_S)
        results.put(reader.run(time.monotonic() + SETTLE_S + options.seconds))
    except BaseException:
        begin.abort()           # nobody need wait for this one
        raise


def reads_per_s(part):
    return part["caches"]["oracle"]["reads"] / part["took"]


def report(parts):
    """What all readers have counted, together."""
    caches = {}
    for name in parts[0]["caches"]:
        counted = [part["caches"][name] for part in parts]
        reads, hits = (sum(c[of] for c in counted) for of in ("reads", "hits"))
        ages = sorted(age for c in counted for age in c["ages"])
        caches[name] = {
            "hit_rate": hits / reads,
            "stale": sum(c["stale"] for c in counted),
            "behind": len(ages) / hits if hits else 0,      # share of hits
            "behind_median_s": statistics.median(ages) if ages else 0,
            "behind_highest_s": ages[-1] if ages else 0,
        }
    return caches


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, required=True, help="writes per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    context = multiprocessing.get_context("fork")
    history = History(int(2 * options.rate * (options.seconds + PATIENCE_S)) + 100)
    with psycopg.connect(autocommit=True) as connection:
        before = dict(connection.execute(
            "SELECT domain, version FROM cache_notify.versions(%s, VARIADIC %s)",
            [TENANT, DOMAINS]).fetchall())
    stop, begin, results = context.Event(), context.Barrier(READERS + 1), context.Queue()
    readers = [
        context.Process(target=read, args=(options, i, history, before, begin, results))
        for i in range(READERS)
    ]
    writer = context.Process(target=write, args=(options, history, stop))
    try:
        for reader in readers:
            reader.start()
        begin.wait(PATIENCE_S)
        writer.start()
        began = time.monotonic()
        parts = [results.get(timeout=options.seconds + PATIENCE_S) for _ in readers]
        stop.set()
        took = time.monotonic() - began
        writer.join()
    finally:
        for process in [*readers, writer]:
            if process.pid:
                process.terminate()
    print(json.dumps({
        "writes": history.committed.value,
        "writes_due_per_s": options.rate,
        "reads_due_per_s": READERS * READS_PER_S,
        "writes_per_s": history.committed.value / took,
        "reads_per_s": sum(reads_per_s(part) for part in parts),
        "caches": report(parts),
    }))


if __name__ == "__main__":
    main()
