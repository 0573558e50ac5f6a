"""A reader: a process with a cache of the Python package, some threads that read through
it, and the judgement of every value that they are served. foreign.py has the readers in
other languages.

A value read through the cache is stale if it is older than what had been delivered to
this process: older than what was acknowledged before a fence was sent (a change of a
domain of its own, made now and then for this), once the fence after that one has come
in; or than what was acknowledged before the process began to catch up after a lost
connection, once it has caught up.

It is stale as well if it is older than what was acknowledged a lease before the call:
whoever has not heard from the server for so long serves nothing from memory.

A value read with fresh=True is stale if it is older than what was acknowledged before the
call. Both are stale if they were lost in a failover.
"""

import random
import sys
import threading
import time
from collections import Counter

import psycopg
from psycopg.pq import TransactionStatus

from protocols import PROTOCOLS  # finds the package for what follows
from cache_notify._listener import DEFINITIONS, Listener
from truth import Cell, Key, ROWS, SETTINGS, SLOTS, TENANTS

THREADS = 3

# The server is gone, its recovery had to cancel the query, or it is the old side of a
# switch-over; or the extension is not there.
LOSSES = (psycopg.OperationalError, ConnectionError, psycopg.errors.ReadOnlySqlTransaction,
          psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName)

# The first so many queries are asked for much more often than the others.
HOT = 2

# So often a thread reads many results at once, of those that memory holds, and how many it
# looks for.
SWEEPS = 0.05
SWEPT = 300

# Seconds that some loaders take, and after which somebody else asks for the result: in
# between two fences come in.
LONG, LATE = 0.35, 0.27

QUERIES = {
    "item": "SELECT n FROM item WHERE cell = %s",
    "row": "SELECT n FROM item WHERE cell = %s",
    "rows": "SELECT item.n, price.n AS m FROM item, price"
            " WHERE item.cell = %s AND price.cell = %s",
    "offer": "SELECT price.n, setting.n AS m FROM price, setting"
             " WHERE price.cell = %s AND setting.cell = %s",
    "both": "SELECT item.n, setting.n AS m FROM item, setting"
            " WHERE item.cell = %s AND setting.cell = %s",
    # of every tenant; found out by the server; and a loader that asks for another result
    "whole": "SELECT n FROM price WHERE cell = %s",
    "found": "SELECT item.n, price.n AS m FROM item, price"
             " WHERE item.cell = %s AND price.cell = %s",
    "nested": "SELECT n FROM price WHERE cell = %s",
}

# Kinds of which it is known exactly what moves them.
EXACT = {"item", "row", "rows", "offer", "both"}


class Query:
    def __init__(self, kind, tenant, row):
        self.kind = kind
        self.tenant = f"tenant {tenant}"
        self.options = {} if kind == "whole" else {"tenant": self.tenant}
        self.name = f"{kind} {row}" if kind != "whole" else f"{kind} {tenant} {row}"
        self.identity = self.name, self.tenant
        self.sql = QUERIES[kind]
        setting = Cell.setting(row % SETTINGS)
        item, price = Cell.item(tenant, row), Cell.price(tenant, row)
        self.cells, self.domains, self.keys = {
            "item": ([item], ["item"], [Key.item(tenant)]),
            "row": ([item], [f"item/{item}"], [Key.item(tenant)]),
            "rows": ([item, price], [f"item/{item}", f"price/{price}"],
                     [Key.item(tenant), Key.price(tenant)]),
            "offer": ([price, setting], ["offer"],
                      [Key.price(tenant), Key.SETTING]),
            "both": ([item, setting], ["item", "setting"],
                     [Key.item(tenant), Key.SETTING]),
            "whole": ([price], ["price"], []),
            "found": ([item, price], [], []),
            "nested": ([item, price], ["item", "price"], []),
        }[kind]
        self.inner = Query("row", tenant, row) if kind == "nested" else None
        # As memory knows it, if the names of what it reads are known here.
        self.entry = (self.name, self.options.get("tenant"), tuple(self.domains))


def judged(protocol, reader):
    """The cache class of a protocol, watched by its reader."""

    class JudgedCore(protocol._Core):
        def _hear(self, tenant, domain, version, keys):
            super()._hear(tenant, domain, version, keys)
            if domain == "fence" and tenant is not None:
                reader.fence_came_in(int(tenant))

    class JudgedListener(Listener):
        def _take(self, notification):
            # On busy networks and machines what is committed is not heard of at once. But not
            # for each function of an extension that is dropped.
            if notification.relname != DEFINITIONS.encode() and reader.listener_random.random() < 0.05:
                time.sleep(reader.listener_random.uniform(0.001, 0.05))
            super()._take(notification)

        def _listen(self):
            # Everything acknowledged by now must be known once it has caught up.
            reader.reconnecting()
            super()._listen()

        def _catch_up(self, connection, may_catch_up):
            super()._catch_up(connection, may_catch_up)
            reader.caught_up()

    class JudgedRedisListener(protocol._RedisListener):
        def _listen(self):
            reader.count["connections"] += 1
            super()._listen()

        def _ask(self):
            # Everything acknowledged by now must be known once this is proved.
            known = reader.known_now()
            asked_at, state = super()._ask()
            reader.asked[asked_at] = known
            return asked_at, state

        def _proved(self, asked_at):
            super()._proved(asked_at)
            reader.proved(asked_at)

    class JudgedCache(protocol):
        _Core = JudgedCore
        _Listener = JudgedListener
        _RedisListener = JudgedRedisListener

    return JudgedCache


class Reader:
    """What the threads of a process share."""

    NEVER = [0] * Cell.COUNT
    NOTHING_SLOW = float("inf"), None

    def __init__(self, truth, number, seed, cluster, protocol, writer, from_standby, report,
                 relay=None, hurried=False, pulse=None):
        self.truth = truth
        # In a hurry to find something stale: more loaders that take long, and no sweeps.
        self.long_loads, self.sweeps = (0.01, 0) if hurried else (0.001, SWEEPS)
        self.slow = self.NOTHING_SLOW   # when to ask for a result that takes long
        self.number = number
        self.seed = seed
        self.cluster = cluster
        self.report = report
        self.count = Counter()
        self.listener_random = random.Random(f"{seed}-listener-{number}")
        self.queries = [Query(kind, tenant, row)
                        for kind in QUERIES for tenant in range(TENANTS) for row in range(ROWS)]
        self.by_tenant = [[query for query in self.queries if query.tenant == f"tenant {tenant}"]
                          for tenant in range(TENANTS)]
        self.from_standby = from_standby
        self.writer = writer

        # What may no longer be served: cell -> oldest number that may.
        self.history = truth.history.value
        self.floor = self.next_floor = self.NEVER
        self.when_caught_up = None
        # What was acknowledged a lease ago: the number of the fence after it.
        self.lease_floor, self.lease_fence = self.NEVER, 0

        # Every other cache relies on notifications alone.
        self.heartbeat, self.lease = (0.3, 1.5) if number % 2 else (1e6, 1e7)
        self.pulse = pulse
        if pulse:
            self.heartbeat, self.lease = 1.0, 5.0   # as by default
        self.through_relay = relay is not None
        self.make_cache(cluster, protocol, relay)

    def make_cache(self, cluster, protocol, relay):
        self.asked = {}     # when a question was asked -> what must be known if it is proved
        primary = f"host={cluster.primary_host} user=reader dbname=postgres"
        self.cache = judged(PROTOCOLS[protocol], self)(
            relay or f"{primary} application_name=listener-{self.number}", primary=primary,
            heartbeat=self.heartbeat, lease=self.lease)

    def reading(self, slot):
        return Reading(self, slot)

    # ------------------------------------------------- what must be known now

    def fence_came_in(self, slot):
        if self.pulse:
            self.pulse.hear(self.number, self.truth.fenced_at[slot])
        self.truth.heard[self.number] = slot
        if self.truth.history.value == self.history:
            self.floor, self.next_floor = self.next_floor, self.truth.fence_said(slot)
            self.count["fences"] += 1

    def reconnecting(self):
        self.when_caught_up = self.truth.history.value, self.truth.snapshot()
        self.count["connections"] += 1

    def known_now(self):
        return self.truth.history.value, self.truth.snapshot()

    def proved(self, asked_at):
        history, known = self.asked[asked_at]
        self.asked = {at: what for at, what in self.asked.items() if at > asked_at}
        if history == self.history == self.truth.history.value:
            self.floor = [max(both) for both in zip(self.floor, known)]
            self.next_floor = [max(both) for both in zip(self.next_floor, self.floor)]

    def caught_up(self):
        if self.when_caught_up:
            history, floor = self.when_caught_up
            if history == self.history == self.truth.history.value:
                self.floor = self.next_floor = floor
            self.when_caught_up = None

    def known_a_lease_before(self, now):
        """What must be known to whoever is served now."""
        truth, fence, since = self.truth, self.lease_fence, now - self.lease
        if self.through_relay or truth.history.value != self.history:
            return self.NEVER
        while fence < truth.fences.value and truth.fenced_at[fence % SLOTS] < since:
            fence += 1
        if fence != self.lease_fence:
            self.lease_floor, self.lease_fence = truth.fence_said(fence - 1), fence
        return self.lease_floor

    # ----------------------------------------------------------------- reading

    def run(self):
        threads = [threading.Thread(target=self.reading(slot).run, daemon=True)
                   for slot in range(THREADS)]
        for thread in threads:
            thread.start()
        if self.pulse:
            threading.Thread(target=self.pulse.follow, daemon=True,
                             args=[self.number, self.cache.core, self.truth.stop]).start()
        while any(thread.is_alive() for thread in threads):
            if self.truth.history.value != self.history:
                self.new_history()
            self.report(self.number, Counter(self.count))
            time.sleep(0.05)
            if not self.truth.stop.value and not all(thread.is_alive() for thread in threads):
                sys.exit(1)     # it has said why
        self.close()
        self.report(self.number, self.count)

    def new_history(self):
        """A failover has taken commits back: start to judge anew after it."""
        self.floor = self.next_floor = self.lease_floor = self.NEVER
        if self.truth.history.value % 2 == 0:
            self.history = self.truth.history.value


    def close(self):
        self.cache.close()


class Reading:
    """One thread."""

    # How often it writes and reads that, and how often it reads with fresh=True.
    OWN, FRESH = 0.0005, 0.0045

    def __init__(self, reader, slot):
        self.reader = reader
        self.slot = slot
        self.random = random.Random(f"{reader.seed}-reader-{reader.number}-{slot}")
        self.connection = None
        # Of each entry that we filled: changes known before it was asked for, and when.
        self.entries = {}
        self.since_history = None

    def run(self):
        truth, reader = self.reader.truth, self.reader
        while not truth.stop.value:
            if truth.history.value != reader.history:
                time.sleep(0.01)
                continue
            if self.since_history != reader.history:
                self.entries.clear()
                self.since_history = reader.history
            try:
                if self.connection is None:
                    self.open()
                for _ in range(200):
                    self.one_read()
            except LOSSES:
                self.lose()
            except psycopg.errors.InternalError_ as error:
                # A function of the extension was dropped while it was called.
                if "cache lookup failed" not in str(error):
                    raise
                self.lose()

    def lose(self):
        self.connection = None
        self.reader.count["lost connections"] += 1
        time.sleep(0.02)

    def open(self):
        cluster = self.reader.cluster
        self.connection = self.connect(
            cluster.standby_host if self.reader.from_standby else cluster.primary_host)

    def connect(self, host):
        return psycopg.connect(host=host, user="reader", dbname="postgres", autocommit=True)

    def choose_query(self):
        """Some are asked for so often that threads meet in the same flight, some are of a
        tenant that is being written."""
        reader, choice = self.reader, self.random.random()
        among = reader.queries
        if time.monotonic() > reader.slow[0]:
            query, reader.slow = reader.slow[1], reader.NOTHING_SLOW
            return query
        if choice < 0.25:
            among = reader.queries[:HOT]
        elif choice < 0.5:
            among = reader.by_tenant[self.random.choice(reader.truth.busy_with)]
        return self.random.choice(among)

    def one_read(self):
        truth, reader = self.reader.truth, self.reader
        choice = self.random.random()
        query = self.choose_query()
        if choice < self.OWN and not reader.from_standby and self.slot == 0:
            self.read_own_write()
        elif choice < self.OWN + self.FRESH and not reader.from_standby and query.kind not in ("found", "nested"):
            must_be = truth.acknowledged
            must_be = [must_be[cell] for cell in query.cells]
            values, _ = self.get(query, fresh=True)
            self.judge(query, values, must_be, "fresh")
        elif choice < self.OWN + self.FRESH + reader.sweeps:
            self.sweep(self.random.choices(reader.queries, k=SWEPT))
        else:
            self.near(query)

    def near(self, query):
        reader = self.reader
        floor, since = reader.floor, reader.known_a_lease_before(time.monotonic())
        values, loaded = self.get(query)
        self.judge_near(query, values, loaded, floor, since)

    def sweep(self, queries):
        """Reads what memory holds of these, so far as that is known here."""
        held = self.reader.cache.core._held
        for query in queries:
            if query.entry in held:
                self.near(query)

    def judge_near(self, query, values, loaded, floor, since):
        # What a lagging standby says itself is not ours to judge.
        if not (self.reader.from_standby and (loaded or query.kind == "found")):
            self.judge(query, values, [max(floor[cell], since[cell]) for cell in query.cells],
                       "near")

    def get(self, query, **options):
        cache, connection = self.reader.cache, self.connection
        loaded = []

        def load(connection):
            loaded.append(True)
            if query.inner:
                inner, _ = self.get(query.inner)
                rows = connection.execute(query.sql, query.cells[1:]).fetchone()
                return (*inner, *rows)
            values = connection.execute(query.sql, query.cells).fetchone()
            time.sleep(self.work(query))
            return values

        if query.kind == "found":
            values, = cache.query(connection, query.sql, query.cells, **query.options)
            return values, False
        asked = self.reader.truth.changes(self.reader.truth.done, query.keys)
        values = cache.get(connection, query.name, load, reads=query.domains,
                           **query.options, **options)
        if loaded:
            self.reader.count["loads"] += 1
            if (query.kind in EXACT
                    and connection.info.transaction_status == TransactionStatus.IDLE):
                self.look_for_false_alarm(query, asked, values)
        return values, loaded

    def work(self, query):
        """For how long an application works on its result; at times until two fences come
        in, and then somebody who asks for the same result."""
        choice = self.random.random()
        if choice < self.reader.long_loads:
            self.reader.slow = time.monotonic() + LATE, query
            return LONG
        return 0.002 if choice < 0.1 else 0

    def judge(self, query, values, must_be, mode):
        truth, reader = self.reader.truth, self.reader
        reader.count[mode] += 1
        for cell, value, oldest in zip(query.cells, values, must_be):
            if value < oldest:
                self.wrong(query, mode, cell, value, f"{oldest} was known")
            elif truth.lost_above[cell] < value <= truth.lost_up_to[cell]:
                self.wrong(query, mode, cell, value, "it was lost")
            elif value == truth.in_vain[cell]:
                self.wrong(query, mode, cell, value, "it was rolled back")

    def wrong(self, query, mode, cell, value, why):
        reader = self.reader
        if reader.truth.history.value != reader.history:
            return
        reader.count["stale " + mode] += 1
        if reader.count["stale " + mode] <= 2:
            print(f"reader {reader.number}: {mode} read of {query.name!r} of"
                  f" {query.tenant}: cell {cell} is {value}, but {why}", flush=True)

    def look_for_false_alarm(self, query, asked, values):
        """An entry that this thread loads anew although nothing has changed."""
        reader, core = self.reader, self.reader.cache.core
        entry = (query.name, query.tenant, tuple(query.domains))
        before = self.entries.pop(entry, None)
        since = core.heard.ticket().generation, reader.count["connections"]
        if before == (reader.truth.changes(reader.truth.begun, query.keys), since):
            reader.count["false alarms"] += 1
        held = core._held.get(entry)
        if held is not None and held.value is values:
            self.entries[entry] = (asked, since)

    # -------------------------------------------------------------- own writes

    def read_own_write(self):
        """Changes a cell, and must see that through the cache; others must not,
        least of all if it is rolled back in the end."""
        truth, writer = self.reader.truth, self.reader.writer
        truth.paused[writer.number] = 0
        if not truth.pause.value:
            writer.connection = self.connection
            cell = self.random.choice(writer.cells)
            query = self.random.choice([q for q in self.reader.queries
                                        if q.cells[0] == cell and q.kind != "nested"])
            written = {}
            try:
                self.connection.execute("BEGIN")
                if self.random.random() < 0.5:
                    writer.write(cell, written)
                    self.see(query, cell, written)
                    writer.begin_commit(written)
                    self.connection.execute("COMMIT")
                    writer.acknowledge(written)
                else:
                    writer.write(cell, written, in_vain=True)
                    self.see(query, cell, written)
                    self.connection.execute("ROLLBACK")
            except psycopg.Error:
                if self.connection.closed:
                    writer.find_out(written)
                raise
            finally:
                writer.connection = None
                truth.paused[writer.number] = 1
        truth.paused[writer.number] = 1

    def see(self, query, cell, written):
        values, _ = self.get(query)
        self.reader.count["own"] += 1
        if values[0] != written[cell]:
            self.wrong(query, "own", cell, values[0], f"wrote {written[cell]} itself")
