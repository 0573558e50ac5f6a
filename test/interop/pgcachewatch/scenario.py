#!/usr/bin/python3
"""PGCacheWatch as released: a function's results are cached in the process until its
strategy has seen events that say otherwise. cache_notify takes the place of the
trigger that PGCacheWatch would install. Says in TAP whether the caches followed.
"""

import asyncio
import collections
import datetime
import json
import logging
import os
import subprocess
import sys

import asyncpg
from pgcachewatch import decorators, listeners, models, strategies

HERE = os.path.dirname(os.path.abspath(__file__))
WAIT = 60.0  # seconds for what must come
BURST = 50  # pairs of transactions that change the table one after the other

# How long a strategy looks at events: not 1 ms, which a busy machine takes for one.
PATIENT = models.DeadlineSetting(max_time=datetime.timedelta(seconds=WAIT))

results = []
complaints = []


class Collect(logging.Handler):
    """PGCacheWatch logs an error for an event that it does not understand, and a
    warning for one that took 500 ms, as it may on a busy machine."""

    def emit(self, record):
        message = record.getMessage()
        if "Connection is closed" not in message and "latency" not in message:
            complaints.append(message)


def equal(got, expected, name):
    results.append(got == expected)
    print(f"{'' if results[-1] else 'not '}ok {len(results)} - {name}", flush=True)
    if not results[-1]:
        print(f"# got {got!r}, expected {expected!r}", flush=True)


class Session:
    """A connection with PGCacheWatch's queue, that can tell when the queue has
    everything that was committed so far: it has then heard of a later change."""

    sentinel = 0

    @classmethod
    async def make(cls):
        self = cls()
        self.connection = await asyncpg.connect()
        self.queue = listeners.PGEventQueue()
        await self.queue.connect(self.connection)
        self.told = set()
        await self.connection.add_listener(
            "cache_invalidation", lambda *said: self.told.add(json.loads(said[-1])["tenant_id"]))
        return self

    async def settle(self):
        Session.sentinel += 1
        tenant = str(Session.sentinel)
        await self.connection.execute("SELECT cache_notify.invalidate('sentinel', $1)", tenant)
        async with asyncio.timeout(WAIT):
            while tenant not in self.told:
                await asyncio.sleep(0.005)

    async def operations(self):
        """What has come since it was last asked."""
        await self.settle()
        operations = []
        while not self.queue.empty():
            event = self.queue.get_nowait()
            operations.append(f"{event.operation} {event.table}")
        return operations


class Watched:
    """A cached function under a strategy, with a listening connection of its own."""

    @classmethod
    async def make(cls, strategy, **options):
        self = cls()
        self.outcomes = collections.Counter()
        self.last = None
        self.session = await Session.make()

        async def colours():
            return await self.session.connection.fetch("SELECT name FROM colour ORDER BY id")

        self.function = decorators.cache(
            strategy(self.session.queue, settings=PATIENT, **options), self.count)(colours)
        await self.call()
        return self

    def count(self, outcome):
        self.outcomes[outcome] += 1
        self.last = outcome

    async def call(self):
        """'hit' or 'miss'"""
        await self.session.settle()
        self.rows = [row["name"] for row in await self.function()]
        return self.last

    async def close(self):
        await self.session.connection.close()


async def greedy(session):
    watched = await Watched.make(strategies.Greedy)
    equal(await watched.call(), "hit", "Greedy: a result is cached")
    for statement in (
        "INSERT INTO colour VALUES (3, 'blue')",
        "UPDATE colour SET name = 'navy' WHERE id = 3",
        "DELETE FROM colour WHERE id = 3",
    ):
        await session.execute(statement)
        operation = statement.split()[0]
        equal(await watched.call(), "miss", f"Greedy: {operation} empties the cache")
        equal(await watched.call(), "hit", "and the next result is cached")
    await session.execute("TRUNCATE colour")
    equal((await watched.call(), watched.rows), ("miss", []), "Greedy: TRUNCATE empties it")
    await session.execute("INSERT INTO colour VALUES (1, 'red'), (2, 'green')")
    equal(await watched.call(), "miss", "one statement, one event")
    equal(await watched.call(), "hit", "and no second one")

    transaction = session.transaction()
    await transaction.start()
    await session.execute("UPDATE colour SET name = 'never'")
    await transaction.rollback()
    equal(await watched.call(), "hit", "a rollback empties nothing")
    await session.execute("SELECT cache_notify.invalidate('colour')")
    equal(await watched.call(), "miss", "a change by hand empties it")
    await watched.close()


async def events(session):
    """What arrives, and in which order."""
    listener = await Session.make()

    await session.execute("INSERT INTO colour VALUES (3, 'blue')")
    await session.execute("DELETE FROM colour WHERE id = 3")
    await session.execute("UPDATE colour SET name = 'rose' WHERE id = 1")
    equal(await listener.operations(), ["insert colour", "delete colour", "update colour"],
          "operations come in commit order")
    async with session.transaction():
        await session.execute("INSERT INTO colour VALUES (3, 'blue')")
        await session.execute("DELETE FROM colour WHERE id = 3")
        await session.execute("INSERT INTO colour VALUES (3, 'blue')")
    equal(await listener.operations(), ["insert colour", "delete colour", "insert colour"],
          "so do those of one transaction")

    # Equal neighbours may be merged, nothing else.
    for i in range(BURST):
        await session.execute("INSERT INTO colour VALUES ($1, 'x')", 100 + i)
        await session.execute("DELETE FROM colour WHERE id = $1", 100 + i)
    equal(await listener.operations(), ["insert colour", "delete colour"] * BURST,
          "none is lost or merged with a different one when they come fast")

    # now() of a transaction would be its beginning; sent_at is when it is sent.
    async with session.transaction():
        await session.execute("UPDATE colour SET name = 'red' WHERE id = 1")
        before = await session.fetchval("SELECT clock_timestamp() FROM pg_sleep(0.1)")
    await listener.settle()
    event = listener.queue.get_nowait()
    equal(event.sent_at > before, True, "sent_at is the time of sending, not of the change")
    await listener.connection.close()


async def windowed(session):
    watched = await Watched.make(strategies.Windowed, window=["insert", "insert", "delete"])
    await session.execute("INSERT INTO colour VALUES (4, 'x')")
    await session.execute("DELETE FROM colour WHERE id = 4")
    equal(await watched.call(), "hit", "Windowed: another sequence empties nothing")
    await session.execute("INSERT INTO colour VALUES (5, 'x')")
    equal(await watched.call(), "hit", "Windowed: the beginning of the sequence neither")
    await session.execute("INSERT INTO colour VALUES (6, 'x')")
    equal(await watched.call(), "hit", "nor its middle")
    await session.execute("DELETE FROM colour WHERE id > 4")
    equal(await watched.call(), "miss", "Windowed: the whole sequence empties the cache")
    await watched.close()


async def timed(session):
    seldom = await Watched.make(strategies.Timed, timedelta=datetime.timedelta(days=1))
    often = await Watched.make(strategies.Timed, timedelta=datetime.timedelta(0))
    await session.execute("UPDATE colour SET name = 'a' WHERE id = 1")
    equal(await seldom.call(), "hit", "Timed: an event too soon empties nothing")
    equal((await often.call(), often.rows[0]), ("miss", "a"), "Timed: a later one does")
    await session.execute("UPDATE colour SET name = 'b' WHERE id = 1")
    equal((await often.call(), often.rows[0]), ("miss", "b"), "as does one after that")
    await seldom.close()
    await often.close()


async def example(session):
    """The example, in a database of its own."""
    await session.execute("CREATE DATABASE example")
    path = os.path.join(HERE, "../../../examples/pgcachewatch/colours")
    said = subprocess.run([sys.executable, path + ".py"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PGDATABASE": "example"}, check=False).stdout
    with open(path + ".out", encoding="utf-8") as file:
        equal(said, file.read(), "the example says what it should")


async def migration(session):
    """From PGCacheWatch's own triggers to cache_notify, as doc/migrating.md says."""
    await session.execute("CREATE DATABASE migrated")
    environment = {**os.environ, "PGDATABASE": "migrated"}
    connection = await asyncpg.connect(database="migrated")
    await connection.execute("CREATE TABLE colour (id int PRIMARY KEY)")
    subprocess.run([sys.executable, "-m", "pgcachewatch", "install", "--commit", "colour"],
                   env=environment, stdout=subprocess.DEVNULL, check=True)
    commands = subprocess.run(
        [os.path.join(HERE, "..", "doc-sql"), "doc/migrating.md", "PGCacheWatch"],
        stdout=subprocess.PIPE, check=True).stdout
    done = subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"],
                          input=commands, env=environment, check=False).returncode
    equal((done, b"DROP FUNCTION" in commands), (0, True), "the commands to migrate work")
    queue = listeners.PGEventQueue()
    await queue.connect(connection)
    await connection.execute("INSERT INTO colour VALUES (1)")
    async with asyncio.timeout(WAIT):
        event = await queue.get()
    equal((event.operation, event.table), ("insert", "colour"), "and events come")
    equal(await connection.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tg_pgcache%'"),
          0, "without a trigger of its own")
    await connection.close()


async def main():
    logging.getLogger().addHandler(Collect(logging.WARNING))
    session = await asyncpg.connect()
    await session.execute(
        "CREATE EXTENSION cache_notify;"
        "CREATE TABLE colour (id int PRIMARY KEY, name text);"
        "INSERT INTO colour VALUES (1, 'red'), (2, 'green');"
        "SELECT cache_notify.setup_table_invalidation('colour', payload => 'pgcachewatch')"
    )
    await greedy(session)
    await events(session)
    await windowed(session)
    await timed(session)
    await example(session)
    await migration(session)
    await session.close()
    equal(complaints, [], "PGCacheWatch understood every event")
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
