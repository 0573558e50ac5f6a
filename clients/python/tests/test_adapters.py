"""Each database object that an application may have, of the released libraries:
a miss, a hit, a change, the application's own transaction, and query()."""

import asyncio
import contextlib

import psycopg
import pytest
from conftest import until

import cache_notify

SUM = "SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'"


@contextlib.contextmanager
def psycopg_connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as db:
        yield db


@contextlib.contextmanager
def psycopg_pool(dsn):
    pool = pytest.importorskip("psycopg_pool")
    with pool.ConnectionPool(dsn, min_size=1, open=True) as db:
        yield db


@contextlib.contextmanager
def psycopg2_connection(dsn):
    psycopg2 = pytest.importorskip("psycopg2")
    db = psycopg2.connect(dsn)
    db.autocommit = True
    yield db
    db.close()


@contextlib.contextmanager
def psycopg2_pool(dsn):
    pytest.importorskip("psycopg2")
    from psycopg2.pool import ThreadedConnectionPool
    db = ThreadedConnectionPool(1, 5, dsn)
    yield db
    db.closeall()


def url(dsn, driver):
    from sqlalchemy import URL
    with psycopg.connect(dsn) as connection:
        info = connection.info
        return URL.create(f"postgresql+{driver}", username=info.user, database=info.dbname,
                          query={"host": info.host, "port": str(info.port)})


@contextlib.contextmanager
def alchemy_engine(dsn):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(url(dsn, "psycopg"))
    yield engine
    engine.dispose()


@contextlib.contextmanager
def alchemy_connection(dsn):
    with alchemy_engine(dsn) as engine, engine.connect() as db:
        yield db


@contextlib.contextmanager
def alchemy_session(dsn):
    pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session
    with alchemy_engine(dsn) as engine, Session(engine) as db:
        yield db


@contextlib.contextmanager
def django_connection(dsn):
    pytest.importorskip("django")
    from django.conf import settings
    from django.db import connections
    if not settings.configured:
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}},
            INSTALLED_APPS=["cache_notify.django"], ALLOWED_HOSTS=["*"], SECRET_KEY="of tests",
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
            TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}])
        import django
        django.setup()
    with psycopg.connect(dsn) as connection:
        info = connection.info
        database = {"NAME": info.dbname, "HOST": info.host, "PORT": str(info.port), "USER": info.user}
    db = connections["default"]
    db.close()
    db.settings_dict.update(database)
    yield db
    db.close()


SYNC = [psycopg_connection, psycopg_pool, psycopg2_connection, psycopg2_pool,
        alchemy_engine, alchemy_connection, alchemy_session, django_connection]


def rows_of(db, statement):
    from cache_notify._adapters import adapter_of
    rows = [tuple(row) for row in adapter_of(db).query(statement, None)]
    if hasattr(db, "rollback") and hasattr(db, "in_transaction"):
        db.rollback()   # SQLAlchemy begins a transaction for each query
    return rows


@pytest.mark.parametrize("make", SYNC, ids=lambda make: make.__name__)
def test_sync(make, dsn, cache, other):
    calls = []

    def load(db):
        calls.append(1)
        return rows_of(db, SUM)

    with make(dsn) as db:
        def get():
            return cache.get(db, "sum", load, reads=["price"], tenant="acme")

        assert get() == get() == [(30,)]
        assert len(calls) == 1
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert until(lambda: get() == [(31,)])


@pytest.mark.parametrize("make", SYNC, ids=lambda make: make.__name__)
def test_query(make, dsn, cache, other):
    with make(dsn) as db:
        def query():
            rows = [tuple(row) for row in cache.query(db, SUM, tenant="acme")]
            if hasattr(db, "in_transaction") and hasattr(db, "rollback"):
                db.rollback()
            return rows

        assert query() == query() == [(30,)]
        hits = cache.metrics.snapshot().get("hits", 0)
        assert hits >= 1
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert until(lambda: query() == [(31,)])


async def play_async(db, cache, other):
    from cache_notify._aio_adapters import async_adapter_of
    calls = []

    async def load(db):
        calls.append(1)
        rows = [tuple(row) for row in await async_adapter_of(db).query(SUM, ())]
        if hasattr(db, "rollback") and hasattr(db, "in_transaction"):
            await db.rollback()
        return rows

    async def get():
        return await cache.get(db, "sum", load, reads=["price"], tenant="acme")

    assert await get() == await get() == [(30,)]
    assert len(calls) == 1
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    for _ in range(2000):
        if await get() == [(31,)]:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the change never came")


@contextlib.asynccontextmanager
async def aio_psycopg(dsn):
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
        yield db


@contextlib.asynccontextmanager
async def aio_psycopg_pool(dsn):
    pool = pytest.importorskip("psycopg_pool")
    async with pool.AsyncConnectionPool(dsn, min_size=1, open=False) as db:
        yield db


@contextlib.asynccontextmanager
async def aio_asyncpg(dsn):
    asyncpg = pytest.importorskip("asyncpg")
    with psycopg.connect(dsn) as connection:
        info = connection.info
        where = {"host": info.host, "port": info.port, "user": info.user, "database": info.dbname}
    db = await asyncpg.connect(**where)
    yield db
    await db.close()


@contextlib.asynccontextmanager
async def aio_asyncpg_pool(dsn):
    asyncpg = pytest.importorskip("asyncpg")
    with psycopg.connect(dsn) as connection:
        info = connection.info
        where = {"host": info.host, "port": info.port, "user": info.user, "database": info.dbname}
    async with asyncpg.create_pool(**where, min_size=1) as db:
        yield db


@contextlib.asynccontextmanager
async def aio_alchemy_engine(dsn):
    pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import create_async_engine
    engine = create_async_engine(url(dsn, "psycopg"))
    yield engine
    await engine.dispose()


@contextlib.asynccontextmanager
async def aio_alchemy_session(dsn):
    from sqlalchemy.ext.asyncio import AsyncSession
    async with aio_alchemy_engine(dsn) as engine, AsyncSession(engine) as db:
        yield db


@contextlib.asynccontextmanager
async def aio_alchemy_connection(dsn):
    async with aio_alchemy_engine(dsn) as engine, engine.connect() as db:
        yield db


ASYNC = [aio_psycopg, aio_psycopg_pool, aio_asyncpg, aio_asyncpg_pool,
         aio_alchemy_engine, aio_alchemy_connection, aio_alchemy_session]


@pytest.mark.parametrize("make", ASYNC, ids=lambda make: make.__name__)
def test_async(make, dsn, other):
    async def run():
        cache = cache_notify.AsyncCache(dsn, heartbeat=0.2)
        assert await asyncio.to_thread(cache.wait_until_listening)
        async with make(dsn) as db:
            await play_async(db, cache, other)
        await cache.aclose()
    asyncio.run(run())


@pytest.mark.parametrize("make", ASYNC, ids=lambda make: make.__name__)
def test_async_query(make, dsn, other):
    async def run():
        cache = cache_notify.AsyncCache(dsn, heartbeat=0.2)
        assert await asyncio.to_thread(cache.wait_until_listening)
        async with make(dsn) as db:
            for amount in (10, 11):
                other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
                for _ in range(2000):
                    rows = [tuple(row) for row in await cache.query(db, SUM, tenant="acme")]
                    if hasattr(db, "in_transaction") and hasattr(db, "rollback"):
                        await db.rollback()
                    if rows == [(20 + amount,)]:
                        break
                    await asyncio.sleep(0.01)
                assert rows == [(20 + amount,)]
        await cache.aclose()
    asyncio.run(run())
