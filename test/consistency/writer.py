"""A writer: random transactions on the cells that it owns."""

import random
import time

import psycopg

from truth import Cell, Key, ROWS, TENANTS

TABLES = ("item", "price", "setting")


def table_of(cell):
    return TABLES[min(cell // (TENANTS * ROWS), 2)]


class Writer:
    def __init__(self, truth, number, seed, connect):
        self.truth = truth
        self.number = number
        self.random = random.Random(f"{seed}-writer-{number}")
        self.connect = connect
        self.connection = None
        # The cells of each tenant, and those of nobody, that are this writer's.
        self.cells = range(number, 2 * TENANTS * ROWS, truth.writers)
        self.by_tenant = {}
        for cell in range(number, Cell.COUNT, truth.writers):
            tenant = cell // ROWS % TENANTS if table_of(cell) != "setting" else None
            self.by_tenant.setdefault(tenant, []).append(cell)
        self.tenants = [tenant for tenant in self.by_tenant if tenant is not None]

    def run(self):
        busy_with, until = [], 0
        while not self.truth.stop.value:
            if self.truth.pause.value:
                self.truth.paused[self.number] = 1
                time.sleep(0.01)
                continue
            self.truth.paused[self.number] = 0
            # A few tenants for a while, then others: a stale entry is caught
            # only if the next change does not drop it at once.
            if time.monotonic() > until:
                busy_with = self.random.sample(self.tenants, 2)
                self.truth.busy_with[2 * self.number:2 * self.number + 2] = busy_with
                until = time.monotonic() + self.random.uniform(0.02, 0.2)
            cells = [cell for tenant in busy_with for cell in self.by_tenant[tenant]]
            if self.random.random() < 0.003:
                cells += self.by_tenant.get(None, [])
            self.attempt(self.random.choice(self.KINDS), cells)

    def attempt(self, kind, cells):
        """One transaction, whatever becomes of it."""
        written = {}
        try:
            if self.connection is None:
                self.connection = self.connect()
            getattr(self, kind)(cells, written)
        except psycopg.Error:
            if self.connection and self.connection.closed:
                self.connection = None
            else:
                # A statement failed without costing the connection: a fault of
                # the extension or of this checker, never to be passed over.
                raise
            self.find_out(written)

    # ------------------------------------------------- kinds of transactions

    def single(self, cells, written):
        self.write(self.random.choice(cells), written)
        self.commit(written)

    def several(self, cells, written):
        for _ in range(self.random.randint(2, 5)):
            self.write(self.random.choice(cells), written)
        self.commit(written)

    def all_at_once(self, cells, written):
        """One statement for all cells of a table."""
        table = table_of(self.random.choice(cells))
        number = self.next_number()
        self.connection.execute(f"UPDATE {table} SET n = %s WHERE cell = ANY (%s)",
                                [number, cells])
        written.update((cell, number) for cell in cells if table_of(cell) == table)
        self.commit(written)

    def savepoint(self, cells, written):
        self.write(self.random.choice(cells), written)
        self.connection.execute("SAVEPOINT s")
        self.write(self.random.choice(cells), {}, in_vain=True)
        if self.random.random() < 0.5:
            self.connection.execute("SAVEPOINT t")
            self.write(self.random.choice(cells), {}, in_vain=True)
            self.connection.execute("RELEASE t")
        self.connection.execute("ROLLBACK TO s")
        if self.random.random() < 0.5:
            self.write(self.random.choice(cells), written)
        self.commit(written)

    def rolled_back(self, cells, written):
        for _ in range(self.random.randint(1, 3)):
            self.write(self.random.choice(cells), {}, in_vain=True)
        self.connection.rollback()

    def long(self, cells, written):
        self.write(self.random.choice(cells), written)
        time.sleep(self.random.choice([0.02, 0.1, 0.4]))
        self.write(self.random.choice(cells), written)
        self.commit(written)

    def prepared(self, cells, written):
        self.write(self.random.choice(cells), written)
        self.write(self.random.choice(cells), written)
        name = f"{self.number}-{self.next_number()}"
        self.begin_commit(written)
        self.connection.execute(f"PREPARE TRANSACTION '{name}'")
        self.connection.commit()
        self.connection.autocommit = True
        time.sleep(self.random.choice([0, 0.001, 0.05]))
        if self.random.random() < 0.7:
            self.connection.execute(f"COMMIT PREPARED '{name}'")
            self.acknowledge(written)
        else:
            self.connection.execute(f"ROLLBACK PREPARED '{name}'")
            self.end_commit(written)
        self.connection.autocommit = False

    KINDS = (["single"] * 12 + ["several"] * 3 + ["all_at_once"] * 2 + ["savepoint"] * 3
             + ["rolled_back", "long", "prepared", "prepared"])

    # ------------------------------------------------------------- one change

    def next_number(self):
        self.truth.numbers[self.number] += 1
        return self.truth.numbers[self.number]

    def write(self, cell, written, in_vain=False):
        number = self.next_number()
        if in_vain:
            self.truth.in_vain[cell] = number
        self.connection.execute(f"UPDATE {table_of(cell)} SET n = %s WHERE cell = %s",
                                [number, cell])
        written[cell] = number

    def commit(self, written):
        self.begin_commit(written)
        self.connection.commit()
        self.acknowledge(written)

    def begin_commit(self, written):
        self.count(self.truth.begun, written)

    def end_commit(self, written):
        self.count(self.truth.done, written)

    def count(self, counters, written):
        for key in {Key.of_cell(cell) for cell in written}:
            counters[self.number * Key.COUNT + key] += 1

    def acknowledge(self, written):
        for cell, number in written.items():
            self.truth.acknowledged[cell] = number
        self.end_commit(written)

    def find_out(self, written):
        """The connection broke: what of it is committed? A transaction that is
        still on its way to commit counts as not committed, which is safe."""
        while not self.truth.stop.value:
            try:
                self.connection = self.connect()
                self.connection.autocommit = True
                for gid, in self.connection.execute(
                        "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s",
                        [f"{self.number}-%"]).fetchall():
                    self.connection.execute(f"COMMIT PREPARED '{gid}'")
                for cell in written:
                    number, = self.connection.execute(
                        f"SELECT n FROM {table_of(cell)} WHERE cell = %s", [cell]).fetchone()
                    if number == written[cell]:
                        self.truth.acknowledged[cell] = number
                self.connection.autocommit = False
                mine = slice(self.number * Key.COUNT, (self.number + 1) * Key.COUNT)
                self.truth.done[mine] = self.truth.begun[mine]
                return
            except psycopg.Error:
                self.connection = None
                time.sleep(0.05)
