"""Each database object that an application may have, of the released libraries:
a miss, a hit, a change, the application's own transaction, and query()."""

import asyncio
import contextlib

import psycopg
import pytest
from conftest import until

import cache_notify
from cache_notify._adapters import adapter_of, alchemy_statement
from cache_notify._aio_adapters import async_adapter_of

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
def alchemy_engine_of_psycopg2(dsn):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(url(dsn, "psycopg2"))
    yield engine
    engine.dispose()


@contextlib.contextmanager
def alchemy_scoped_session(dsn):
    pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import scoped_session, sessionmaker
    with alchemy_engine(dsn) as engine:
        db = scoped_session(sessionmaker(engine))
        yield db
        db.remove()


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
        alchemy_engine, alchemy_engine_of_psycopg2, alchemy_connection, alchemy_session,
        alchemy_scoped_session, django_connection]


def end_transaction(db):
    """Of SQLAlchemy, which begins one for each query."""
    if type(db).__module__.startswith("sqlalchemy") and hasattr(db, "rollback"):
        return db.rollback()
    return None


def rows_of(db, statement):
    rows = [tuple(row) for row in adapter_of(db).query(statement, None)]
    end_transaction(db)
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
            end_transaction(db)
            return rows

        assert query() == query() == [(30,)]
        hits = cache.metrics.snapshot().get("hits", 0)
        assert hits >= 1
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert until(lambda: query() == [(31,)])


UPDATE = "UPDATE price SET amount = 99 WHERE id = 1"


@contextlib.contextmanager
def own_transaction(db):
    """A transaction of the application's, which it rolls back; of a pool, over one of its
    connections."""
    kind = type(db).__name__
    if kind == "ConnectionPool":
        with db.connection() as connection:
            yield connection, connection.execute
            connection.rollback()
    elif kind == "ThreadedConnectionPool":
        connection = db.getconn()
        yield connection, connection.cursor().execute
        connection.rollback()
        db.putconn(connection)
    elif kind == "connection":
        db.autocommit = False
        yield db, db.cursor().execute
        db.rollback()
        db.autocommit = True
    elif kind == "Connection" and hasattr(db, "transaction"):
        with db.transaction(force_rollback=True):
            yield db, db.execute
    elif kind == "Engine":
        with db.connect() as connection:
            yield connection, lambda statement: connection.execute(alchemy_statement(statement))
            connection.rollback()
    elif kind == "DatabaseWrapper":
        from django.db import transaction
        with transaction.atomic():
            yield db, lambda statement: db.cursor().execute(statement)
            transaction.set_rollback(True)
    else:
        yield db, lambda statement: db.execute(alchemy_statement(statement))
        db.rollback()


@pytest.mark.parametrize("make", SYNC, ids=lambda make: make.__name__)
def test_own_transaction(make, dsn, cache, db):
    """What it has written is seen in it, and by nobody else; nor is it kept."""
    def load(db):
        return [tuple(row) for row in adapter_of(db).query(SUM, None)]

    def get(db):
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    with make(dsn) as it:
        assert get(db) == [(30,)]
        with own_transaction(it) as (own, execute):
            assert get(own) == [(30,)]
            execute(UPDATE)
            assert get(own) == [(119,)]
            assert [tuple(row) for row in cache.query(own, SUM, tenant="acme")] == [(119,)]
            assert get(db) == [(30,)]
        for _ in range(2):
            assert get(db) == [(30,)]
            assert [tuple(row) for row in cache.query(db, SUM, tenant="acme")] == [(30,)]


async def play_async(db, cache, other):
    calls = []

    async def load(db):
        calls.append(1)
        rows = [tuple(row) for row in await async_adapter_of(db).query(SUM, ())]
        await (end_transaction(db) or asyncio.sleep(0))
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
async def aio_alchemy_engine_of_asyncpg(dsn):
    pytest.importorskip("asyncpg")
    from sqlalchemy.ext.asyncio import create_async_engine
    engine = create_async_engine(url(dsn, "asyncpg"))
    yield engine
    await engine.dispose()


@contextlib.asynccontextmanager
async def aio_alchemy_session_of_asyncpg(dsn):
    from sqlalchemy.ext.asyncio import AsyncSession
    async with aio_alchemy_engine_of_asyncpg(dsn) as engine, AsyncSession(engine) as db:
        yield db


@contextlib.asynccontextmanager
async def aio_alchemy_scoped_session(dsn):
    from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker
    async with aio_alchemy_engine(dsn) as engine:
        db = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        yield db
        await db.remove()


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
         aio_alchemy_engine, aio_alchemy_engine_of_asyncpg, aio_alchemy_connection,
         aio_alchemy_session, aio_alchemy_session_of_asyncpg, aio_alchemy_scoped_session]


@contextlib.asynccontextmanager
async def own_async_transaction(db):
    """As own_transaction()."""
    kind = type(db).__name__
    if kind == "AsyncConnectionPool":
        async with db.connection() as connection:
            yield connection, connection.execute
            await connection.rollback()
    elif kind == "Pool":
        async with db.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            yield connection, connection.execute
            await transaction.rollback()
    elif kind == "AsyncConnection" and hasattr(db, "pgconn"):
        async with db.transaction(force_rollback=True):
            yield db, db.execute
    elif kind == "Connection":
        transaction = db.transaction()
        await transaction.start()
        yield db, db.execute
        await transaction.rollback()
    elif kind == "AsyncEngine":
        async with db.connect() as connection:
            yield connection, lambda statement: connection.execute(alchemy_statement(statement))
            await connection.rollback()
    else:
        yield db, lambda statement: db.execute(alchemy_statement(statement))
        await db.rollback()


@pytest.mark.parametrize("make", ASYNC, ids=lambda make: make.__name__)
def test_own_async_transaction(make, dsn):
    async def load(db):
        return [tuple(row) for row in await async_adapter_of(db).query(SUM, None)]

    async def run():
        cache = cache_notify.AsyncCache(dsn, heartbeat=0.2)
        assert await asyncio.to_thread(cache.wait_until_listening)

        async def get(db):
            return await cache.get(db, "sum", load, reads=["price"], tenant="acme")

        async with make(dsn) as it, aio_psycopg(dsn) as db:
            assert await get(db) == [(30,)]
            async with own_async_transaction(it) as (own, execute):
                assert await get(own) == [(30,)]
                await execute(UPDATE)
                assert await get(own) == [(119,)]
                rows = await cache.query(own, SUM, tenant="acme")
                assert [tuple(row) for row in rows] == [(119,)]
                assert await get(db) == [(30,)]
            for _ in range(2):
                assert await get(db) == [(30,)]
        await cache.aclose()
    asyncio.run(run())


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
                    await (end_transaction(db) or asyncio.sleep(0))
                    if rows == [(20 + amount,)]:
                        break
                    await asyncio.sleep(0.01)
                assert rows == [(20 + amount,)]
        await cache.aclose()
    asyncio.run(run())
