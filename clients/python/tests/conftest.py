"""A database of its own for each test, on the server that PGHOST and the like lead to
(tools/with-server starts one)."""

import contextlib
import itertools
import os
import subprocess
import tempfile
import threading
import time

import psycopg
import pytest
import redis as redis_module
from psycopg.conninfo import make_conninfo

import cache_notify

numbers = itertools.count()

SCHEMA = """
    CREATE EXTENSION cache_notify;
    CREATE TABLE price (id int PRIMARY KEY, tenant_id text, amount numeric);
    INSERT INTO price SELECT i, 'acme', 10 FROM generate_series(1, 3) i;
    INSERT INTO price VALUES (4, 'globex', 10);
    SELECT cache_notify.setup_table_invalidation('price', keys => '{id}', fields => '{keys}');
    CREATE TABLE disc (name text PRIMARY KEY, percent int);
    INSERT INTO disc VALUES ('50%', 1), ('a/b', 1);
    SELECT cache_notify.setup_table_invalidation('disc', keys => '{name}', fields => '{keys}');
    CREATE TABLE plain (id int PRIMARY KEY, n int);
    INSERT INTO plain VALUES (1, 1);
"""


@pytest.fixture
def dsn():
    name = f"client_{os.getpid()}_{next(numbers)}"
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    dsn = make_conninfo(dbname=name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
    yield dsn
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(dsn):
    """The application's connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def other(dsn):
    """Somebody else's connection, who writes."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def cache(dsn):
    cache = cache_notify.Cache(dsn, heartbeat=0.2)
    assert cache.wait_until_listening(), cache.failure
    yield cache
    cache.close()


def until(condition, seconds=20):
    """Waits for a condition; whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Counted:
    """A loader that counts its calls."""

    def __init__(self, statement, parameters=()):
        self.statement = statement
        self.parameters = parameters
        self.calls = 0
        self.lock = threading.Lock()

    def __call__(self, db):
        with self.lock:
            self.calls += 1
        return db.execute(self.statement, self.parameters).fetchall()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """A Redis of the tests' own, and how to stop and start it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(redis_server):
    """An empty Redis."""
    if redis_server.process is None:
        redis_server.start()
    redis_server.client.flushall()
    return redis_server


class RedisServer:
    def __init__(self, folder):
        self.folder = folder
        self.url = f"unix://{folder}/socket"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", "socket", "--save", ""],
            cwd=self.folder, stdout=subprocess.DEVNULL)
        self.client = redis_module.Redis.from_url(self.url)
        assert until(self._answers)

    def _answers(self):
        try:
            return self.client.ping()
        except redis_module.ConnectionError:
            return False

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def all_keys(self):
        return self.client.keys("*")


@pytest.fixture(scope="module")
def redis_of_module():
    from relaying import RedisServer  # which needs this module

    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder)
        yield server
        server.kill()


@pytest.fixture
def store(redis_of_module):
    if not redis_of_module.answers():
        redis_of_module.start()
    redis_of_module.client.flushall()
    return redis_of_module


@pytest.fixture
def relays(dsn, store):
    """Starts relays, and ends what is left of them."""
    from relaying import Relay

    started = []

    def start(*flags, url=None, listen=None):
        started.append(Relay(listen or dsn, url or store.url, *flags))
        return started[-1]

    yield start
    for relay in started:
        with contextlib.suppress(ProcessLookupError):
            relay.kill()


@pytest.fixture
def relay(relays):
    return relays()
