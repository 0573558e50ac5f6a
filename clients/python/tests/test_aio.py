"""The cache for asyncio: the same course as the one for threads, driven by awaiting."""

import asyncio

import psycopg
import psycopg_pool
import pytest

import cache_notify

SUM = "SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'"


class Load:
    def __init__(self, go=None):
        self.calls = 0
        self.reading = asyncio.Event()
        self.go = go

    async def __call__(self, db):
        self.calls += 1
        async with db.connection() as connection:
            cursor = await connection.execute(SUM)
            rows = await cursor.fetchall()
        self.reading.set()
        if self.go:
            await self.go.wait()
        return rows


async def until(condition, seconds=20):
    async def wait():
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)
    await asyncio.wait_for(wait(), seconds)


def scenario(dsn, play, size=10):
    async def run():
        cache = cache_notify.AsyncCache(dsn, heartbeat=0.2)
        async with psycopg_pool.AsyncConnectionPool(
                dsn, kwargs={"autocommit": True}, min_size=1, max_size=size, open=False) as pool:
            assert await asyncio.to_thread(cache.wait_until_listening)
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other:
                await asyncio.wait_for(play(cache, pool, other), 60)
        await cache.aclose()
    asyncio.run(run())


def test_hit_and_change(dsn):
    async def play(cache, pool, other):
        load = Load()

        async def get():
            return await cache.get(pool, "sum", load, reads=["price"], tenant="acme")

        assert await get() == await get() == [(30,)]
        assert load.calls == 1
        await other.execute("UPDATE price SET amount = 11 WHERE id = 1")

        async def new():
            return await get() == [(31,)]

        await until(new)
    scenario(dsn, play)


def test_nested_gets_on_a_small_pool(dsn):
    """Ten loaders that each ask for another result, on a pool of ten, and of one."""
    async def play(cache, pool, other):
        async def outer(db, i):
            inner = await cache.get(db, ("inner", i), Load(), reads=["price"], tenant="acme")
            same = await cache.get(db, "same", Load(), reads=["price"], tenant="acme")
            return inner + same

        values = await asyncio.gather(*(
            cache.get(pool, ("outer", i), lambda db, i=i: outer(db, i), reads=["price"], tenant="acme")
            for i in range(10)))
        assert values == [[(30,), (30,)]] * 10
    scenario(dsn, play, 10)
    scenario(dsn, play, 1)


def test_flight_is_not_joined_after_a_payload(dsn):
    async def play(cache, pool, other):
        go = asyncio.Event()
        slow = Load(go)
        first = asyncio.create_task(
            cache.get(pool, "sum", slow, reads=["price"], tenant="acme"))
        await slow.reading.wait()
        before = cache.core.ticket()
        await other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        await until(lambda: cache.core.ticket() != before)
        second = await asyncio.wait_for(
            cache.get(pool, "sum", Load(), reads=["price"], tenant="acme"), 20)
        assert second == [(31,)]
        go.set()
        assert await first == [(30,)]
        third = await cache.get(pool, "sum", Load(), reads=["price"], tenant="acme")
        assert third == [(31,)]
    scenario(dsn, play)


def test_cancelled_flight_leaves_nothing_behind(dsn):
    async def play(cache, pool, other):
        slow = Load(asyncio.Event())
        first = asyncio.create_task(
            cache.get(pool, "sum", slow, reads=["price"], tenant="acme"))
        await slow.reading.wait()
        load = Load()
        second = asyncio.create_task(
            cache.get(pool, "sum", load, reads=["price"], tenant="acme"))
        third = asyncio.create_task(
            cache.get(pool, "sum", load, reads=["price"], tenant="acme"))
        await asyncio.sleep(0.05)
        third.cancel()
        first.cancel()
        assert await second == [(30,)]
        for task in (first, third):
            with pytest.raises(asyncio.CancelledError):
                await task
    scenario(dsn, play)


def test_two_event_loops(dsn):
    """A cache of one process, used from the loops of two threads."""
    cache = cache_notify.AsyncCache(dsn, heartbeat=0.2)
    assert cache.wait_until_listening()

    async def ask():
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
            async def load(db):
                await asyncio.sleep(0.1)
                cursor = await db.execute(SUM)
                return await cursor.fetchall()
            return await cache.get(db, "sum", load, reads=["price"], tenant="acme")

    async def play():
        return await asyncio.gather(*(
            asyncio.to_thread(lambda: asyncio.run(ask())) for _ in range(4)))

    assert asyncio.run(play()) == [[(30,)]] * 4
    cache.close()


def test_cached(dsn):
    async def play(cache, pool, other):
        calls = []

        @cache.cached(reads=["price/{id}"], tenant="{tenant}")
        async def amount(db, tenant, id):
            calls.append(id)
            async with db.connection() as connection:
                cursor = await connection.execute("SELECT amount FROM price WHERE id = %s", [id])
                return await cursor.fetchone()

        for _ in range(2):
            assert await amount(pool, "acme", 1) == await amount(pool, "acme", id=2) == (10,)
        assert calls == [1, 2]
    scenario(dsn, play)
