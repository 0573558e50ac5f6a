"""The shared tier: what processes share through Redis, and what they never do. Each cache
here stands for a process."""

import asyncio
import contextlib
import datetime
import decimal
import json
import os
import threading
import time
import uuid
import zoneinfo

import psycopg
import psycopg_pool
import pytest
from conftest import Counted, until
from hypothesis import given, settings
from hypothesis import strategies as st

import cache_notify
from cache_notify import JsonCodec, PickleCodec, RedisTier
from cache_notify._codec import NotShareable, name_text

SUM = "SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'"


@pytest.fixture
def make(dsn, redis):
    """Makes caches that share a tier."""
    with contextlib.ExitStack() as stack:
        def make(**options):
            cache = cache_notify.Cache(dsn, heartbeat=0.2, tier=RedisTier(
                redis.url, **{"timeout": 5.0, **options}))
            stack.callback(cache.close)
            assert cache.wait_until_listening(), cache.failure
            return cache
        yield make


@pytest.fixture
def pool(dsn):
    with psycopg_pool.ConnectionPool(
            dsn, kwargs={"autocommit": True}, min_size=1, max_size=10, open=True) as pool:
        yield pool


class Load(Counted):
    def __init__(self, seconds=0.0, error=None):
        super().__init__(SUM)
        self.seconds, self.error = seconds, error
        self.started = threading.Event()

    def __call__(self, db):
        self.started.set()
        time.sleep(self.seconds)
        if self.error is not None:
            self.calls += 1
            raise self.error
        if isinstance(db, psycopg_pool.ConnectionPool):
            with db.connection() as connection:
                return super().__call__(connection)
        return super().__call__(db)


def get(cache, db, load, **options):
    return cache.get(db, "sum", load, reads=["price"], tenant="acme", **options)


def counts(cache, event="tier"):
    return {name: n for name, n in cache.metrics.snapshot().items() if name.startswith(event)}


def test_another_process_has_it(make, db, other):
    first, second = make(), make()
    load = Load()
    assert get(first, db, load) == get(second, other, load) == [(30,)]
    assert load.calls == 1
    assert counts(second, "hits{") == {"hits{tier}": 1}
    # What came from the tier is kept in memory, and dropped as any other.
    get(second, None or db, load)
    assert second.metrics.snapshot()["hits"] == 1
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: get(second, db, load) == [(31,)])
    assert get(first, db, load, fresh=True) == [(31,)]
    assert load.calls == 2


def test_query_is_shared(make, db, other):
    statement = "SELECT id, amount FROM price WHERE tenant_id = %s ORDER BY id"
    first, second = make(), make()
    rows = first.query(db, statement, ["acme"], tenant="acme")
    assert second.query(other, statement, ["acme"], tenant="acme") == rows
    assert type(rows[0][1]) is decimal.Decimal
    assert counts(second, "hits{") == {"hits{tier}": 1}


def test_rows_of_another_form_are_another_result(make, dsn, db):
    statement = "SELECT id FROM price WHERE id = 1"
    first, second = make(), make()
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row, autocommit=True) as dicts:
        assert first.query(db, statement) == [(1,)]
        assert first.query(dicts, statement) == second.query(dicts, statement) == [{"id": 1}]
        assert second.query(db, statement) == [(1,)]


def test_cached_functions_are_shared(make, db):
    calls = []

    def price(db, tenant, id, *, currency="EUR"):
        calls.append(id)
        return [id, currency]

    for cache in make(), make():
        cached = cache.cached(reads=["price/{id}"], tenant="{tenant}", name="price")(price)
        assert cached(db, "acme", 1) == [1, "EUR"]
        assert cached(db, "acme", 1, currency="USD") == [1, "USD"]
        assert cached(db, "acme", "1") == ["1", "EUR"]
    assert calls == [1, 1, "1"]


def test_the_key_holds_the_token(make, dsn, db, redis):
    """The form that other languages read and write: doc/protocol.md."""
    get(make(prefix="shop"), db, Load())
    token, = db.execute("SELECT cache_notify.token('acme', 'price')").fetchone()
    # sha256 of ["sum","acme",["price"]]
    digest = "0fa903c42d474c55ac0ac4b92ee9343788730d99295a2bce92871821adcbc651"
    assert name_text(("sum", "acme", ("price",))) == '["sum","acme",["price"]]'
    key, = redis.all_keys()
    assert key.decode().split(":", 3) == ["shop", "1", digest, token]
    assert redis.client.get(key) == b'1 json\n[{"$":"tuple","v":[30]}]'
    assert 0 < redis.client.pttl(key) <= 300_000


def test_what_lies_there_is_never_older_than_the_call(make, db, other):
    """Processes whose memory is off compare tokens only: nothing is ever stale."""
    caches = [make(), make()]
    for cache in caches:
        cache._listener.close()
    for amount in range(20, 60):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        for cache in caches:
            assert get(cache, db, Load()) == [(20 + amount,)]
    assert all(counts(cache, "hits{tier}") for cache in caches[1:])


def test_nothing_of_a_transaction_that_has_written(make, dsn, db, redis):
    cache = make()
    with psycopg.connect(dsn) as own:
        own.execute("UPDATE price SET amount = 99 WHERE id = 1")
        assert get(cache, own, Load()) == [(119,)]
        own.rollback()
    assert redis.all_keys() == []
    assert get(cache, db, Load()) == [(30,)]


def test_a_loader_that_writes(make, dsn, redis):
    def load(own):
        own.execute("UPDATE price SET amount = 99 WHERE id = 1")
        return Load()(own)

    with psycopg.connect(dsn) as own:
        assert get(make(), own, load) == [(119,)]
        own.rollback()
    assert all(redis.client.get(key) == b"1 none\n" for key in redis.all_keys())


def test_an_old_snapshot_does_not_read_what_is_newer(make, dsn, db, other):
    first, second = make(), make()
    with psycopg.connect(dsn) as own:
        own.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        own.execute("SELECT 1 FROM price")
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert get(first, db, Load()) == [(31,)]
        assert get(second, own, Load()) == [(30,)]


def test_one_process_computes(make, pool):
    """Ten processes at once: one computes, the others get its result, and few questions
    are asked."""
    caches = [make() for _ in range(10)]
    load = Load(0.5)
    questions = []
    results = []

    def play(cache):
        results.append(get(cache, pool, load))
        questions.append(sum(counts(cache, "tier{waits}").values()))

    threads = [threading.Thread(target=play, args=[cache]) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[(30,)]] * 10
    assert load.calls == 1
    assert sum(questions) < 30


def test_no_connection_is_held_while_waiting(make, dsn, pool):
    first, second = make(), make()
    load = Load(1.0)
    with psycopg_pool.ConnectionPool(
            dsn, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True) as one:
        computing = threading.Thread(target=get, args=[first, pool, load])
        computing.start()
        assert load.started.wait(5)
        waiting = threading.Thread(target=get, args=[second, one, load])
        waiting.start()
        assert until(lambda: counts(second, "tier{waits}"))
        with one.connection(timeout=0.5) as connection:
            connection.execute("SELECT 1")
        waiting.join()
        computing.join()
    assert load.calls == 1


def test_a_failing_loader_keeps_nobody_waiting(make, pool):
    first, second = make(), make()
    failing, load = Load(0.3, ZeroDivisionError("mine")), Load()
    errors = []

    def fail():
        try:
            get(first, pool, failing)
        except ZeroDivisionError as error:
            errors.append(error)

    thread = threading.Thread(target=fail)
    thread.start()
    assert failing.started.wait(5)
    start = time.monotonic()
    assert get(second, pool, load) == [(30,)]
    assert time.monotonic() - start < 2
    thread.join()
    assert len(errors) == 1


def test_a_failing_loader_leaves_no_claim(make, pool, db):
    with pytest.raises(ZeroDivisionError):
        get(make(), pool, Load(error=ZeroDivisionError("mine")))
    token, = db.execute("SELECT cache_notify.token('acme', 'price')").fetchone()
    digest = RedisTier("redis://").place(name_text(("sum", "acme", ("price",))), token).digest
    assert db.execute("SELECT cache_notify.claim_refresh(%s, %s)", [digest, token]).fetchone()[0]


def test_who_computes_may_die(make, dsn, db):
    """Its claim ends with its session."""
    first, second = make(), make()
    load = Load(20)
    with psycopg.connect(dsn, autocommit=True) as own:
        pid = own.info.backend_pid

        def die():
            with contextlib.suppress(psycopg.Error):
                get(first, own, lambda db: (load.started.set(), db.execute("SELECT pg_sleep(60)")))

        thread = threading.Thread(target=die)
        thread.start()
        assert load.started.wait(5)
        threading.Timer(0.3, lambda: db.execute("SELECT pg_terminate_backend(%s)", [pid])).start()
        start = time.monotonic()
        with psycopg.connect(dsn, autocommit=True) as third:
            assert get(second, third, Load()) == [(30,)]
        assert time.monotonic() - start < 5
        thread.join()


def test_waits_no_longer_than_said(make, pool):
    first, second = make(wait=0.5), make(wait=0.5)
    slow = Load(1.5)
    thread = threading.Thread(target=get, args=[first, pool, slow])
    thread.start()
    assert slow.started.wait(5)
    start = time.monotonic()
    assert get(second, pool, Load()) == [(30,)]
    assert 0.3 < time.monotonic() - start < 1.4
    thread.join()


def test_processes_that_wait_for_each_other(make, pool):
    """Loaders that ask for each other's results: nobody waits within a loader."""
    caches = make(), make()
    both = threading.Barrier(2)

    def outer(cache, mine, others):
        def load(db):
            both.wait(5)
            return cache.get(db, others, lambda db: 1, reads=["price"], tenant="acme")
        return cache.get(pool, mine, load, reads=["price"], tenant="acme")

    threads = [threading.Thread(target=outer, args=[caches[0], "a", "b"]),
               threading.Thread(target=outer, args=[caches[1], "b", "a"])]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - start < 5


def test_stale_while_another_process_computes(make, pool, other):
    first, second = make(), make()
    get(second, pool, Load(), stale_while_revalidate=30)
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: len(second.core) == 0)
    slow = Load(1)
    thread = threading.Thread(target=get, args=[first, pool, slow])
    thread.start()
    assert slow.started.wait(5)
    start = time.monotonic()
    assert get(second, pool, Load(), stale_while_revalidate=30) == [(30,)]
    assert time.monotonic() - start < 0.5
    thread.join()
    assert get(second, pool, Load()) == [(31,)]
    assert counts(second, "hits{tier}")


def test_ttl_is_counted_from_the_computation(make, db, other, redis):
    first, second = make(), make()
    load = Load()
    start = time.monotonic()
    get(first, db, load, ttl=4.0)
    time.sleep(1.5)
    get(second, db, load)
    assert load.calls == 1
    time.sleep(max(0, start + 4.5 - time.monotonic()))
    get(second, db, load)
    assert load.calls == 2


def test_losing_redis_costs_hits(make, db, other, redis_server):
    """While it is gone, and when it comes back empty: right results, no errors, and the
    callers do not wait for it."""
    cache = make()
    load = Load()
    get(cache, db, load)
    redis_server.stop()
    cache.forget_all()
    start = time.monotonic()
    for amount in range(20, 30):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        assert get(cache, db, load, fresh=True) == [(20 + amount,)]
    assert time.monotonic() - start < 2
    assert counts(cache)["tier{error}"] < 5
    redis_server.start()

    def hits():
        cache.forget_all()
        get(cache, db, load)
        return counts(cache, "hits{tier}")
    assert until(hits)


def test_a_redis_that_hangs(make, db, redis_server):
    """It answers nothing, as behind a network that swallows everything."""
    cache = make(timeout=0.1)
    get(cache, db, Load())
    os.kill(redis_server.process.pid, 19)
    try:
        start = time.monotonic()
        for _ in range(20):
            cache.forget_all()
            assert get(cache, db, Load()) == [(30,)]
        assert time.monotonic() - start < 2
    finally:
        os.kill(redis_server.process.pid, 18)


PLANTED = [
    b"", b"\n", b"1 json\n", b"1 json\n[", b"2 json\n1", b"1 pickle\n\x80", b"\xff\xff", b"1 json",
    b'1 json\n{"$":"nobody","v":1}', b'1 json\n{"$":"uuid","v":1}', b'1 json\n{"$":"tuple"}',
    b"1 json\n" + b"[" * 100_000]


def test_anything_may_lie_there(make, db, other, redis):
    get(make(), db, Load())
    key, = redis.all_keys()
    second = make()
    for n, planted in enumerate(PLANTED, 1):
        redis.client.set(key, planted, px=100_000)
        second.forget_all()
        assert get(second, other, Load()) == [(30,)]
        assert counts(second)["tier{unreadable}"] >= n
        assert redis.client.get(key).startswith(b"1 json\n[{")


def test_a_result_that_cannot_be_told(make, db, other, redis):
    """It is kept in memory, and nobody waits for it a second time."""
    caches = [make(), make()]
    for cache in caches:
        for _ in range(2):
            assert isinstance(get(cache, db, lambda db: threading.Lock), type(threading.Lock))
        assert cache.metrics.snapshot()["hits"] == 1
    key, = redis.all_keys()
    assert redis.client.get(key) == b"1 none\n"


def test_a_name_that_cannot_be_told(make, db, redis):
    cache = make()
    cache.get(db, object(), Load(), reads=["price"], tenant="acme")
    assert redis.all_keys() == []
    assert counts(cache) == {"tier{no_name}": 1}


def test_pickle(make, db, other):
    first, second = make(codec=PickleCodec()), make(codec=PickleCodec())
    value = {zoneinfo.ZoneInfo("Europe/Berlin"), 1}
    assert get(first, db, lambda db: value) == get(second, other, lambda db: None) == value


def test_asyncio(dsn, redis):
    """The same course, and several event loops."""
    tier = RedisTier(redis.url, timeout=5.0)
    calls = []

    async def load(db):
        calls.append(1)
        await asyncio.sleep(0.3)
        async with db.connection() as connection:
            return await (await connection.execute(SUM)).fetchall()

    caches = [cache_notify.AsyncCache(dsn, heartbeat=0.2, tier=tier) for _ in range(3)]

    async def play():
        async with psycopg_pool.AsyncConnectionPool(
                dsn, kwargs={"autocommit": True}, min_size=1, max_size=5, open=False) as pool:
            assert await asyncio.to_thread(caches[0].wait_until_listening)
            found = await asyncio.wait_for(asyncio.gather(*(
                cache.get(pool, "sum", load, reads=["price"], tenant="acme")
                for cache in caches for _ in range(3))), 20)
            assert found == [[(30,)]] * 9
        for cache in caches:
            cache.forget_all()

    asyncio.run(play())
    asyncio.run(play())
    assert len(calls) == 1
    # The first time one computes and two are told, the second time all are.
    assert sum(counts(cache, "hits{tier}")["hits{tier}"] for cache in caches) == 5

    async def close():
        for cache in caches:
            await cache.aclose()
    asyncio.run(close())


def test_cancelled_while_it_computes(dsn, redis):
    """The claim goes, and the next one need not wait for it."""
    cache, second = (cache_notify.AsyncCache(dsn, heartbeat=0.2, tier=RedisTier(redis.url))
                     for _ in range(2))

    async def slow(db):
        started.set()
        await asyncio.sleep(30)

    async def quick(db):
        return 1

    async def play():
        async with psycopg_pool.AsyncConnectionPool(
                dsn, kwargs={"autocommit": True}, min_size=1, max_size=5, open=False) as pool:
            task = asyncio.create_task(
                cache.get(pool, "sum", slow, reads=["price"], tenant="acme"))
            await started.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            start = time.monotonic()
            assert await second.get(pool, "sum", quick, reads=["price"], tenant="acme") == 1
            assert time.monotonic() - start < 2
        await cache.aclose()
        await second.aclose()

    async def with_event():
        nonlocal started
        started = asyncio.Event()
        await play()
    started = None
    asyncio.run(with_event())


zones = st.sampled_from([None, datetime.timezone.utc, zoneinfo.ZoneInfo("Europe/Berlin"),
                         datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))])
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.uuids(), st.decimals(allow_nan=False), st.dates(), st.timedeltas(),
    st.times().map(lambda time: time.replace(fold=0)),
    st.datetimes(timezones=zones).map(lambda moment: moment.replace(fold=0)))
values = st.recursive(leaves, lambda inner: st.one_of(
    st.lists(inner), st.lists(inner).map(tuple),
    st.dictionaries(st.one_of(st.text(), st.integers(), st.just("$")), inner)), max_leaves=10)


@settings(max_examples=150, deadline=None)
@given(values)
def test_codec_gives_back_what_it_took(value):
    codec = JsonCodec()
    data = codec.dumps(value)
    back = codec.loads(data)
    assert repr(back) == repr(value) and back == value
    json.loads(data)


class Odd(int):
    pass


@pytest.mark.parametrize("value", [
    Odd(1), {1}, object(), [Odd(1)], {"a": {Odd(1): 1}}, b"1".join,
    datetime.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1)])
def test_codec_refuses_what_it_could_not_give_back(value):
    with pytest.raises(NotShareable):
        JsonCodec().dumps(value)


def test_names_differ_where_results_may():
    told = [1, "1", True, 1.0, None, "None", b"1", decimal.Decimal(1), decimal.Decimal("1.0"),
            [1], [[1]], uuid.UUID(int=1), str(uuid.UUID(int=1)), datetime.date(2020, 1, 1)]
    assert len({name_text(value) for value in told}) == len(told)
    assert name_text(("ä\n\x7f\"", 2**60)) == '["ä\\n\x7f\\"",{"$":"int","v":"1152921504606846976"}]'
    assert name_text("\ud800") is None
