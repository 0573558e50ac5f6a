"""A reader: reads through a cache, and judges every value that it is served.

A value read through the near cache is stale if it is older than what had been
delivered to this process: older than what was acknowledged before a fence was
sent (a change of a domain of its own, made now and then for this), once the
fence after that one has come in; or than what was acknowledged before the
process began to catch up after a lost connection, once it has caught up.

A value read with fresh=True is stale if it is older than what was acknowledged
before the call. Both are stale if they were lost in a failover."""

import random
import time
from collections import Counter

import psycopg
from psycopg.pq import TransactionStatus

from truth import Cell, Key, ROWS, SETTINGS, TENANTS

QUERIES = {
    "item": "SELECT n FROM item WHERE cell = %s",
    "row": "SELECT n FROM item WHERE cell = %s",
    "rows": "SELECT item.n, price.n FROM item, price WHERE item.cell = %s AND price.cell = %s",
    "offer": "SELECT price.n, setting.n FROM price, setting"
             " WHERE price.cell = %s AND setting.cell = %s",
    "both": "SELECT item.n, setting.n FROM item, setting"
            " WHERE item.cell = %s AND setting.cell = %s",
}


class Query:
    def __init__(self, kind, tenant, row):
        self.tenant = f"tenant {tenant}"
        self.name = f"{kind} {row}"
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
        }[kind]


def judged(protocol):
    """The cache class of a protocol, watched by its reader."""

    class JudgedCache(protocol):
        def __init__(self, reader, *arguments, **options):
            self.reader = reader
            super().__init__(*arguments, **options)

        def _hear(self, tenant, domain, version, keys=None):
            super()._hear(tenant, domain, version, keys)
            if domain == "fence" and tenant is not None:
                self.reader.fence_came_in(int(tenant))

        def _follow(self, connection):
            # Everything acknowledged by now must be known once it has caught up.
            self.reader.reconnecting()
            super()._follow(connection)

        def _catch_up(self, connection):
            super()._catch_up(connection)
            self.reader.caught_up()

        def _ask(self, connection, tenant, domains):
            self.reader.about_to_ask()
            return super()._ask(connection, tenant, domains)

    return JudgedCache


class Reader:
    NEVER = [0] * Cell.COUNT

    def __init__(self, truth, number, seed, cluster, protocol, writer, from_standby, report):
        self.truth = truth
        self.number = number
        self.random = random.Random(f"{seed}-reader-{number}")
        self.cluster = cluster
        self.report = report
        self.count = Counter()
        self.queries = [Query(kind, tenant, row)
                        for kind in QUERIES for tenant in range(TENANTS) for row in range(ROWS)]
        self.from_standby = from_standby
        self.writer = writer
        self.connection = self.primary = None

        # What may no longer be served: cell -> oldest number that may.
        self.history = truth.history.value
        self.floor = self.next_floor = self.NEVER
        self.when_caught_up = None
        # Of each entry: changes known before it was asked for, and when.
        self.asked = None
        self.entries = {}

        # Every other cache relies on notifications alone.
        patience = 0.5 if number % 2 else 1e6
        self.cache = judged(protocol)(
            self, f"host={cluster.primary_host} user=reader dbname=postgres"
                  f" application_name=listener-{number}",
            heartbeat=patience, lease=patience * 10)

    # ------------------------------------------------- what must be known now

    def fence_came_in(self, slot):
        if self.truth.history.value == self.history:
            self.floor, self.next_floor = self.next_floor, self.truth.fence_said(slot)
            self.count["fences"] += 1

    def reconnecting(self):
        self.when_caught_up = self.truth.history.value, self.truth.snapshot()
        self.count["connections"] += 1

    def caught_up(self):
        if self.when_caught_up:
            history, floor = self.when_caught_up
            if history == self.history == self.truth.history.value:
                self.floor = self.next_floor = floor
            self.when_caught_up = None

    def about_to_ask(self):
        self.asked = self.truth.changes(self.truth.done, self.query.keys)

    # ----------------------------------------------------------------- reading

    def run(self):
        while not self.truth.stop.value:
            if self.truth.history.value != self.history:
                self.new_history()
                continue
            try:
                if self.connection is None:
                    self.open()
                for _ in range(200):
                    self.one_read()
                self.report(self.number, self.count)
            except psycopg.OperationalError:
                # The server is gone, or its recovery had to cancel the query.
                self.connection = None
                self.count["lost connections"] += 1
                time.sleep(0.02)
        self.report(self.number, self.count)

    def open(self):
        hosts = [self.cluster.primary_host]
        if self.from_standby:
            hosts.append(self.cluster.standby_host)
        connections = [psycopg.connect(host=host, user="reader", dbname="postgres",
                                       autocommit=True) for host in hosts]
        self.connection = connections[-1]
        self.primary = connections[0] if self.from_standby else None

    def one_read(self):
        choice = self.random.random()
        self.query = query = self.queries[int(self.random.random() * len(self.queries))]
        if choice < 0.0005 and not self.from_standby:
            self.read_own_write()
        elif choice < 0.005 and not self.from_standby:
            must_be = self.truth.acknowledged
            must_be = [must_be[cell] for cell in query.cells]
            values, _ = self.get(fresh=True)
            self.judge(query, values, must_be, "fresh")
        else:
            floor = self.floor
            values, loaded = self.get()
            # What a lagging standby says itself is not ours to judge.
            if not (loaded and self.from_standby):
                self.judge(query, values, [floor[cell] for cell in query.cells], "near")

    def get(self, **options):
        query = self.query
        loaded = []

        def load(connection):
            loaded.append(True)
            values = connection.execute(query.sql, query.cells).fetchone()
            if self.random.random() < 0.1:
                time.sleep(0.002)   # an application works on its results
            return values

        values = self.cache.get(self.connection, query.tenant, query.domains, query.name, load,
                                primary=self.primary, **options)
        if loaded:
            self.count["loads"] += 1
            if self.connection.info.transaction_status == TransactionStatus.IDLE:
                self.look_for_false_alarm(query)
        return values, loaded

    def judge(self, query, values, must_be, mode):
        self.count[mode] += 1
        for cell, value, oldest in zip(query.cells, values, must_be):
            if value < oldest:
                self.wrong(mode, cell, value, f"{oldest} was known")
            elif self.truth.lost_above[cell] < value <= self.truth.lost_up_to[cell]:
                self.wrong(mode, cell, value, "it was lost")
            elif value == self.truth.in_vain[cell]:
                self.wrong(mode, cell, value, "it was rolled back")

    def wrong(self, mode, cell, value, why):
        if self.truth.history.value != self.history:
            return
        self.count["stale " + mode] += 1
        if self.count["stale " + mode] <= 2:
            print(f"reader {self.number}: {mode} read of {self.query.name!r} of"
                  f" {self.query.tenant}: cell {cell} is {value}, but {why}", flush=True)

    def look_for_false_alarm(self, query):
        """An entry that is loaded anew although nothing has changed."""
        cache, key = self.cache, (query.tenant, query.name)
        before = self.entries.pop(key, None)
        since = cache._generation, self.count["connections"]
        if before == (self.truth.changes(self.truth.begun, query.keys), since):
            self.count["false alarms"] += 1
        if key in cache._entries:
            self.entries[key] = (self.asked, since)

    # -------------------------------------------------------------- own writes

    def read_own_write(self):
        """Changes a cell, and must see that through the cache; others must not,
        least of all if it is rolled back in the end."""
        truth, writer = self.truth, self.writer
        truth.paused[writer.number] = 0
        if not truth.pause.value:
            writer.connection = self.connection
            cell = self.random.choice(writer.cells)
            self.query = self.random.choice([q for q in self.queries if q.cells[0] == cell])
            written = {}
            try:
                self.connection.execute("BEGIN")
                if self.random.random() < 0.5:
                    writer.write(cell, written)
                    self.see(cell, written)
                    writer.begin_commit(written)
                    self.connection.execute("COMMIT")
                    writer.acknowledge(written)
                else:
                    writer.write(cell, written, in_vain=True)
                    self.see(cell, written)
                    self.connection.execute("ROLLBACK")
            except psycopg.Error:
                if self.connection.closed:
                    writer.find_out(written)
                raise
            finally:
                writer.connection = None
                truth.paused[writer.number] = 1
        truth.paused[writer.number] = 1

    def see(self, cell, written):
        values, _ = self.get()
        self.count["own"] += 1
        if values[0] != written[cell]:
            self.wrong("own", cell, values[0], f"wrote {written[cell]} itself")

    # ----------------------------------------------------------------- history

    def new_history(self):
        """A failover has taken commits back: start to judge anew after it."""
        self.floor = self.next_floor = self.NEVER
        self.entries.clear()
        if self.truth.history.value % 2 == 0:
            self.history = self.truth.history.value
        else:
            time.sleep(0.01)
