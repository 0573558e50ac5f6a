"""What the checker knows: for every cell (one row of one table) the newest
value whose commit was acknowledged. Shared by all processes of a run.

Each cell belongs to one writer, which writes ever higher numbers into it and
never the same number twice, not even after a rollback. So for a cell a lower
number is older, and a number that was rolled back or lost is recognizable.
"""

import ctypes
import threading
import time
from multiprocessing.sharedctypes import RawArray, RawValue

TENANTS = 24
ROWS = 4            # rows of each tenant in each of its tables
SETTINGS = 4        # rows of the table that belongs to nobody
SLOTS = 1024        # fences whose knowledge is kept


class Cell:
    """Where a table's rows are in the arrays below."""

    @staticmethod
    def item(tenant, row):
        return tenant * ROWS + row

    @staticmethod
    def price(tenant, row):
        return TENANTS * ROWS + tenant * ROWS + row

    @staticmethod
    def setting(row):
        return 2 * TENANTS * ROWS + row

    COUNT = 2 * TENANTS * ROWS + SETTINGS


class Key:
    """The (tenant, domain)s whose changes are counted, for false alarms."""

    @staticmethod
    def of_cell(cell):
        return cell // ROWS if cell < 2 * TENANTS * ROWS else 2 * TENANTS

    @staticmethod
    def item(tenant):
        return tenant

    @staticmethod
    def price(tenant):
        return TENANTS + tenant

    SETTING = 2 * TENANTS
    COUNT = 2 * TENANTS + 1


class Truth:
    def __init__(self, writers, readers):
        self.writers = writers
        self.acknowledged = RawArray(ctypes.c_int64, Cell.COUNT)
        # A row per fence: what was acknowledged before it was sent.
        self.fenced = RawArray(ctypes.c_int64, SLOTS * Cell.COUNT)
        # When it had been, by time.monotonic(), and how many fences were sent.
        self.fenced_at = RawArray(ctypes.c_double, SLOTS)
        self.fences = RawValue(ctypes.c_int64, 0)
        # The last that each reader has heard of, by its slot.
        self.heard = RawArray(ctypes.c_int64, readers)
        # Odd while a failover takes acknowledged commits back.
        self.history = RawValue(ctypes.c_int64, 0)
        # Values above the first and up to the second were lost in it.
        self.lost_above = RawArray(ctypes.c_int64, Cell.COUNT)
        self.lost_up_to = RawArray(ctypes.c_int64, Cell.COUNT)
        # The last value of each cell that was rolled back on purpose.
        self.in_vain = RawArray(ctypes.c_int64, [-1] * Cell.COUNT)
        # Changes by writer and key: about to be committed, and known to be.
        self.begun = RawArray(ctypes.c_int64, writers * Key.COUNT)
        self.done = RawArray(ctypes.c_int64, writers * Key.COUNT)
        # The next number of each writer.
        self.numbers = RawArray(ctypes.c_int64, writers)
        # Two tenants of each writer.
        self.busy_with = RawArray(ctypes.c_int64, 2 * writers)
        self.paused = RawArray(ctypes.c_int64, writers)
        self.pause = RawValue(ctypes.c_bool, False)
        self.stop = RawValue(ctypes.c_bool, False)
        # Held by the checker's own threads while what is known moves back, or is put down.
        self.writing = threading.Lock()

    def snapshot(self):
        return self.acknowledged[:]

    def write_for(self, cells, update):
        """Somebody else writes these cells, while their writers are paused: update() is given
        the number of each and commits."""
        written = {}
        for cell in cells:
            writer = cell % self.writers
            self.numbers[writer] += 1
            written[cell] = self.numbers[writer]
            self.begun[writer * Key.COUNT + Key.of_cell(cell)] += 1
        update(written)
        for cell, number in written.items():
            self.acknowledged[cell] = number
            self.done[cell % self.writers * Key.COUNT + Key.of_cell(cell)] += 1

    def changes(self, counters, keys):
        return sum(counters[writer * Key.COUNT + key]
                   for writer in range(self.writers) for key in keys)

    def take_back(self, actual):
        """A failover has left these values, and no others."""
        with self.writing:
            self.lost_above[:] = actual
            self.lost_up_to[:] = [self.numbers[cell % self.writers]
                                  for cell in range(Cell.COUNT)]
            self.acknowledged[:] = actual
            self.fenced[:] = [0] * len(self.fenced)

    def fence(self, slot):
        first = slot % SLOTS * Cell.COUNT
        with self.writing:
            self.fenced[first:first + Cell.COUNT] = self.acknowledged[:]
            self.fenced_at[slot % SLOTS] = time.monotonic()
            self.fences.value = slot + 1

    def heard_since(self, fence):
        """Has every reader heard of a fence after this one?"""
        return all(0 < (slot - fence) % SLOTS < SLOTS / 2 for slot in self.heard)

    def fence_said(self, slot):
        first = slot % SLOTS * Cell.COUNT
        return self.fenced[first:first + Cell.COUNT]
