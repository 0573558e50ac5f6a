"""Results that are made from other results."""

import asyncio
import itertools
import os
import signal
import threading
import uuid
from contextlib import closing, contextmanager

import psycopg
import pytest
from conftest import until

import cache_notify
from cache_notify._names import WHOLE_DOMAIN

AMOUNT = "SELECT amount::int FROM price WHERE id = 1"

READS = {
    "domain": {"reads": ["price"], "tenant": "acme"},
    "key": {"reads": ["price/1"], "tenant": "acme"},
    "whole domain": {"reads": ["price"]},
}


def amount_of_1(db):
    return db.execute(AMOUNT).fetchall()


@contextmanager
def deliveries_held(other):
    """Within the block the worker delivers nothing."""
    pid, = other.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'cache_notify%'"
        " AND datname = current_database()").fetchone()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def deaf(dsn, other):
    """A cache that hears of changes by payloads only."""
    with closing(cache_notify.Cache(dsn, heartbeat=1e6, lease=1e7)) as cache:
        assert cache.wait_until_listening(), cache.failure
        wait_for_deliveries(cache, other)  # so there is a worker
        yield cache


def wait_for_deliveries(cache, other):
    name = str(uuid.uuid4())
    other.execute("INSERT INTO disc VALUES (%s, 1)", [name])
    version, = other.execute("SELECT cache_notify.version('disc')").fetchone()
    assert until(lambda: (cache.core.heard_version(None, "disc") or 0) >= version)


def change_between(cache, db, other, amount, how, inside, outside, fresh):
    """The outer result is asked for while a change of the inner one is on its way."""
    name = f"{how} of {inside} within {outside}{' fresh' * fresh}"

    @cache.cached(name=name, **READS[inside])
    def decorated(db):
        return db.execute(AMOUNT).fetchall()

    def inner(db):
        if how == "cached":
            return decorated(db)
        if how == "query":
            tenant = READS[inside].get("tenant", WHOLE_DOMAIN)
            return cache.query(db, AMOUNT + f" -- {name}", tenant=tenant)
        return cache.get(db, ("inner", name), amount_of_1, **READS[inside])

    def outer(**options):
        return cache.get(db, ("outer", name), inner, **READS[outside], **options)

    assert inner(db) == [(amount,)], name
    with deliveries_held(other):
        other.execute("UPDATE price SET amount = amount + 1 WHERE id = 1")
        assert inner(db) == [(amount,)], f"{name}: nothing was heard of it yet"
        if fresh:
            assert outer(fresh=True) == [(amount + 1,)], name
        else:
            outer()
    wait_for_deliveries(cache, other)
    assert outer() == [(amount + 1,)], name


def test_inner_result_in_memory(deaf, db, other):
    """It may lack a change that the outer result's versions have, as its payload is on the
    way: nothing would drop the outer one."""
    kinds = itertools.product(("get", "cached", "query"), READS, READS, (False, True))
    for amount, kind in enumerate(kinds, 10):
        change_between(deaf, db, other, amount, *kind)


def test_inner_result_of_an_older_flight(deaf, dsn, db, other):
    """The outer result joins a flight that asked for its versions before the change."""
    loaded, go_on = threading.Event(), threading.Event()

    def slow(db):
        result = db.execute(AMOUNT).fetchall()
        loaded.set()
        go_on.wait(20)
        return result

    def inner(db, load):
        return deaf.get(db, "inner", load, **READS["domain"])

    def fly():
        with psycopg.connect(dsn, autocommit=True) as own:
            inner(own, slow)

    thread = threading.Thread(target=fly)
    thread.start()
    assert loaded.wait(20)
    threading.Timer(1, go_on.set).start()
    with deliveries_held(other):
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")

        def load(db):
            return inner(db, amount_of_1)

        deaf.get(db, "outer", load, **READS["domain"])
        thread.join(20)
    wait_for_deliveries(deaf, other)
    assert deaf.get(db, "outer", amount_of_1, **READS["domain"]) == [(11,)]


def test_inner_result_of_an_old_snapshot(deaf, dsn, db, other):
    with psycopg.connect(dsn) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1")
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        wait_for_deliveries(deaf, other)

        def inner(_):
            return deaf.get(old, "inner", amount_of_1, **READS["domain"])

        assert deaf.get(db, "outer", inner, **READS["domain"]) == [(10,)]
    assert deaf.get(db, "outer", amount_of_1, **READS["domain"]) == [(11,)]


def test_inner_result_of_an_own_change(deaf, dsn, db):
    with psycopg.connect(dsn) as own:
        own.execute("UPDATE price SET amount = 11 WHERE id = 1")

        def inner(_):
            return deaf.get(own, "inner", amount_of_1, **READS["domain"])

        assert deaf.get(db, "outer", inner, **READS["domain"]) == [(11,)]
        own.rollback()
    assert deaf.get(db, "outer", amount_of_1, **READS["domain"]) == [(10,)]


@pytest.mark.parametrize("option", ["stale_while_revalidate", "stale_if_error"])
def test_inner_result_that_is_served_stale(deaf, dsn, db, other, option):
    """What was allowed for the inner result was not for the outer one."""
    def inner(db, load):
        return deaf.get(db, "inner", load, **READS["domain"], **{option: 60})

    def fail(db):
        raise RuntimeError

    assert inner(db, amount_of_1) == [(10,)]
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    wait_for_deliveries(deaf, other)
    if option == "stale_if_error":
        assert deaf.get(db, "outer", lambda db: inner(db, fail), **READS["domain"]) == [(10,)]
    else:
        loading, go_on = threading.Event(), threading.Event()

        def slow(db):
            loading.set()
            go_on.wait(20)
            return amount_of_1(db)

        def fly():
            with psycopg.connect(dsn, autocommit=True) as own:
                inner(own, slow)

        thread = threading.Thread(target=fly)
        thread.start()
        assert loading.wait(20)
        assert deaf.get(db, "outer", lambda db: inner(db, amount_of_1), **READS["domain"]) == [(10,)]
        go_on.set()
        thread.join(20)
    assert deaf.get(db, "outer", amount_of_1, **READS["domain"]) == [(11,)]


def test_inner_result_is_kept_and_served(deaf, db, other):
    """Nothing is lost by it where nothing has changed."""
    calls = []

    def inner(db):
        return deaf.get(db, "inner", lambda db: calls.append(1) or 1, **READS["key"])

    for name in ("a", "b"):
        for _ in range(2):
            assert deaf.get(db, name, inner, **READS["key"]) == 1
    assert len(calls) == 1
    # Another key has changed: the inner result is current, which the server must say.
    other.execute("UPDATE price SET amount = 11 WHERE id = 2")
    wait_for_deliveries(deaf, other)
    for name in ("c", "d"):
        for _ in range(2):
            assert deaf.get(db, name, inner, **READS["key"]) == 1
    assert len(calls) == 1
    assert deaf.metrics.snapshot()["hits{validated}"] == 2


def test_inner_results_in_tasks(dsn, other):
    """asyncio: what a loader does in tasks of its own is still the loader's."""
    async def amount(db):
        cursor = await db.execute(AMOUNT)
        return await cursor.fetchall()

    async def run():
        cache = cache_notify.AsyncCache(dsn, heartbeat=1e6, lease=1e7)
        assert await asyncio.to_thread(cache.wait_until_listening), cache.failure
        await asyncio.to_thread(wait_for_deliveries, cache, other)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
            async def inner(db):
                return await cache.get(db, "inner", amount, **READS["domain"])

            async def outer():
                async def load(db):
                    return (await asyncio.gather(asyncio.create_task(inner(db))))[0]
                return await cache.get(db, "outer", load, **READS["domain"])

            assert await inner(db) == [(10,)]
            with deliveries_held(other):
                other.execute("UPDATE price SET amount = 11 WHERE id = 1")
                await outer()
            await asyncio.to_thread(wait_for_deliveries, cache, other)
            assert await outer() == [(11,)]
        await cache.aclose()
    asyncio.run(asyncio.wait_for(run(), 60))
