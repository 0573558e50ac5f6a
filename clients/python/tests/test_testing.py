"""What applications test with: check_reads(), and caches without a server."""

import asyncio
import uuid

import psycopg
import pytest
from conftest import Counted
from test_adapters import (
    aio_alchemy_session,
    aio_asyncpg,
    aio_psycopg,
    alchemy_connection,
    alchemy_session,
    django_connection,
    psycopg2_connection,
    psycopg_connection,
    psycopg_pool,
)

import cache_notify
from cache_notify._adapters import adapter_of
from cache_notify._aio_adapters import async_adapter_of
from cache_notify.testing import (
    AsyncFakeCache,
    FakeCache,
    MissingReads,
    check_reads,
    check_reads_async,
)

OBJECTS = """
    CREATE VIEW named AS SELECT p.id, d.percent FROM price p LEFT JOIN disc d ON d.name = p.tenant_id;
    CREATE FUNCTION discs() RETURNS bigint LANGUAGE plpgsql STABLE AS
        'BEGIN RETURN (SELECT count(*) FROM disc); END';
    CREATE TABLE child (id int) PARTITION BY LIST (id);
    CREATE TABLE child_1 PARTITION OF child FOR VALUES IN (1);
    SELECT cache_notify.setup_table_invalidation('child');
    INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES
        ('disc', 'offer'), ('offer', 'page');
"""
JOIN = "SELECT * FROM price p LEFT JOIN disc d ON p.id < 0 AND d.name = 'x'"


@pytest.mark.parametrize("make", [
    psycopg_connection, psycopg2_connection, alchemy_connection, alchemy_session,
    django_connection], ids=lambda make: make.__name__)
def test_what_a_loader_reads(make, dsn, other):
    def load(db):
        return adapter_of(db).query(JOIN, None)

    with make(dsn) as db:
        assert len(check_reads(db, load, reads=["price", "disc"], tenant="acme")) == 4
        with pytest.raises(MissingReads, match=r"public\.disc: add 'disc'$"):
            check_reads(db, load, reads=["price/1"], tenant="acme")
        # The connection is as it was.
        check_reads(db, load, reads=["disc", "price"])


@pytest.mark.parametrize("make", [aio_psycopg, aio_asyncpg, aio_alchemy_session],
                         ids=lambda make: make.__name__)
def test_what_an_asynchronous_loader_reads(make, dsn):
    async def load(db):
        return await async_adapter_of(db).query(JOIN, ())

    async def run():
        async with make(dsn) as db:
            assert len(await check_reads_async(db, load, reads=["price", "disc"])) == 4
            with pytest.raises(MissingReads, match=r"public\.price: add 'price'$"):
                await check_reads_async(db, load, reads=["disc"])
    asyncio.run(run())


READ = [
    ("SELECT 1", ["price"], None),
    ("SELECT id FROM named", ["price", "disc"], None),
    ("SELECT id FROM named", ["price"], "disc"),  # the join is removed, the lock is there
    ("SELECT discs()", ["price"], "disc"),
    ("SELECT discs()", ["disc/50%25"], None),
    ("SELECT * FROM child", ["child"], None),
    ("SELECT * FROM child", ["price"], "public.child: add 'child'"),
    ("SELECT * FROM price WHERE false", ["disc"], "price"),
    ("SELECT * FROM plain", ["price"], "public.plain: not watched"),
    ("SELECT * FROM disc", ["page"], None),  # by cascade rules
    ("SELECT * FROM disc", ["offer"], None),
    ("SELECT * FROM price", ["offer"], "price"),
    ("SELECT * FROM price", ["prise"], "nothing feeds"),
]


def test_what_is_read(db, other):
    other.execute(OBJECTS)
    for statement, reads, lacks in READ:
        load = Counted(statement)
        if lacks is None:
            check_reads(db, load, reads=reads)
        else:
            with pytest.raises(MissingReads, match=lacks):
                check_reads(db, load, reads=reads)


def test_within_a_transaction(dsn):
    """Where everything was read before, the scans say it."""
    load = Counted("SELECT * FROM disc")
    with psycopg.connect(dsn) as db:
        db.execute("SELECT * FROM disc")
        with pytest.raises(MissingReads, match="disc"):
            check_reads(db, load, reads=["price"])


def test_a_loader_that_ends_the_transaction(dsn):
    with alchemy_session(dsn) as db, pytest.raises(Exception, match="transaction"):
        check_reads(db, lambda db: (adapter_of(db).query("SELECT * FROM disc", None), db.rollback()),
                    reads=["price"])
    with psycopg2_connection(dsn) as db, pytest.raises(RuntimeError, match="ended the transaction"):
        check_reads(db, lambda db: (adapter_of(db).query("SELECT * FROM disc", None), db.rollback()),
                    reads=["price"])


def test_what_need_not_be_named(db):
    load = Counted("SELECT * FROM plain")
    assert check_reads(db, load, reads=["price"], ignore=["public.plain"]) == [(1, 1)]


def test_check_fails_as_the_loader_does(dsn, db):
    def load(db):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_reads(db, load, reads=["price"])
    assert db.info.transaction_status == 0
    with psycopg_pool(dsn) as pool, pytest.raises(TypeError, match="pool"):
        check_reads(pool, load, reads=["price"])


# ------------------------------------------------------------------------ the fake


class Numbers:
    def __init__(self):
        self.calls = 0

    def __call__(self, db):
        self.calls += 1
        return self.calls


def test_fake():
    cache, load, tenant = FakeCache(), Numbers(), uuid.uuid4()

    def get(reads=("price/1",), **options):
        return cache.get(None, "n", load, reads=list(reads), tenant=tenant, **options)

    assert (get(), get(), get(fresh=True)) == (1, 1, 1)
    cache.change("price/2", tenant)
    cache.change("price/1", "other")
    cache.change("disc", tenant)
    assert (get(), get(fresh=True)) == (1, 1)
    for n, change in enumerate([("price/1", tenant), ("price", tenant), ("price",)], 2):
        cache.change(*change)
        assert (get(), get(), get(fresh=True)) == (n, n, n)
    assert cache.metrics.snapshot()["misses"] == 4
    with cache.disabled():
        assert (get(), get()) == (5, 6)
    cache.close()
    assert get() == 7


def test_fake_whole_domain():
    cache, load = FakeCache(), Numbers()

    def get():
        return cache.get(None, "n", load, reads=["price"])

    assert (get(), get()) == (1, 1)
    cache.change("price/1", "acme")
    assert (get(), get()) == (2, 2)
    cache.change("price")
    assert (get(), get()) == (3, 3)


def test_fake_knows_what_is_fed():
    cache, load = FakeCache(domains=["price"]), Numbers()
    assert [cache.get(None, "n", load, reads=["prise"]) for _ in range(2)] == [1, 2]
    assert cache.metrics.snapshot()["refusals{unknown_domain}"] == 2


def test_fake_query_and_cached():
    cache = FakeCache(reads_of=lambda statement: ["price"] if "price" in statement else [])
    asked = []

    def db(statement, parameters):
        asked.append(statement)
        return len(asked)

    assert [cache.query(db, "SELECT price") for _ in range(2)] == [1, 1]
    assert [cache.query(db, "SELECT now()") for _ in range(2)] == [2, 3]

    @cache.cached(reads=["price/{id}"])
    def price(db, id):
        return db("price", id)

    assert [price(db, i) for i in (1, 1, 2)] == [4, 4, 5]
    with cache.writing(db, changes=["price"]):
        pass
    assert price(db, 1) == 6


def test_fake_for_asyncio():
    async def run():
        cache, calls = AsyncFakeCache(), []

        async def load(db):
            calls.append(1)
            return len(calls)

        async def get():
            return await cache.get(None, "n", load, reads=["price"])

        assert await asyncio.gather(get(), get()) == [1, 1]
        cache.change("price", "acme")
        assert await get() == 2
        await cache.aclose()
    asyncio.run(run())


def test_fake_does_what_the_real_one_does(cache, db, other):
    """The same changes, the same hits."""
    fake = FakeCache()
    for real in (cache, fake):
        load = Numbers()
        seen = []
        for name in ("price", "price/1", "price/2"):
            for tenant in ("acme", "globex", cache_notify.WHOLE_DOMAIN):
                seen.append(real.get(db, name, load, reads=[name], tenant=tenant))
        assert seen == list(range(1, 10))
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    fake.change("price/1", "acme")

    def again(cache):
        return [cache.get(db, name, lambda db: "new", reads=[name], tenant=tenant, fresh=True)
                for name in ("price", "price/1", "price/2")
                for tenant in ("acme", "globex", cache_notify.WHOLE_DOMAIN)]
    assert again(cache) == again(fake) == ["new", 2, "new", "new", 5, "new", 7, 8, 9]
