"""What hand-written caches did wrong when they were tried, row by row: each has the tests
that show it right here. Those that are in no other file follow the table."""

import contextlib
import importlib
import os
import threading
import time
import uuid
from decimal import Decimal

import psycopg
import psycopg_pool
import pytest
from conftest import Counted, until
from psycopg.conninfo import make_conninfo

import cache_notify
from cache_notify import RedisTier
from cache_notify._codec import name_text

SEEN = {
    "tenant 42, UUID, key 1.5 for 1.50, 50%: stale for ever": [
        "test_seen.test_names_are_the_servers", "test_cache.test_key_with_reserved_characters",
        "test_cache.test_writing_what_is_named_otherwise"],
    "unknown domain, result over several tenants: stale for ever, fresh too": [
        "test_seen.test_unknown_domain_and_whole_domain", "test_cache.test_whole_domain",
        "test_cache.test_unknown_domain_is_not_cached"],
    "nested gets on a pool of ten hang; waiters of a claim hold connections": [
        "test_seen.test_nested_gets_on_a_pool_of_ten", "test_aio.test_nested_gets_on_a_small_pool",
        "test_tier.test_no_connection_is_held_while_waiting",
        "test_tier.test_processes_that_wait_for_each_other"],
    "a terminated backend ends the process": [
        "test_listener.test_checked_out_connection_that_breaks"],
    "after a fork nothing is cached": ["test_listener.test_fork"],
    "a pooler swallows LISTEN": ["test_listener.test_pooler_in_transaction_mode_is_refused"],
    "payloads of brackets, of another encoding, NaN, 9e15": [
        "test_listener.test_what_is_not_understood_is_a_reset",
        "test_listener.test_nothing_that_arrives_ends_the_listener",
        "test_seen.test_tenant_in_another_encoding"],
    "a failing loader in a transaction: its error is hidden, its claim stays": [
        "test_seen.test_loader_that_fails_in_a_transaction", "test_cache.test_error_of_the_loader",
        "test_tier.test_a_failing_loader_leaves_no_claim"],
    "REPEATABLE READ, a reset in between: an old value is stored": [
        "test_seen.test_reset_under_an_old_snapshot",
        "test_cache.test_old_snapshot_is_used_and_not_kept",
        "test_tier.test_an_old_snapshot_does_not_read_what_is_newer"],
    "ten processes with claims: 350 questions, the last after 2.3 s": [
        "test_seen.test_ten_processes", "test_seen.test_no_claims_without_a_tier",
        "test_tier.test_one_process_computes"],
    "single flight hands an older result to who came after the payload": [
        "test_cache.test_flight_is_not_joined_after_a_payload",
        "test_aio.test_flight_is_not_joined_after_a_payload"],
    "a listener without pg_monitor never serves, and logs six lines a second": [
        "test_listener.test_rights_of_a_cache"],
    "close() while reconnecting fails; 20 attempts in 2 s": [
        "test_listener.test_close_at_any_moment", "test_listener.test_attempts_to_connect_are_spaced"],
    "another copy of a driver, asyncpg, asynchronous cursors, sessions that never hit": [
        "test_seen.test_another_copy_of_a_driver", "test_adapters.test_sync",
        "test_adapters.test_query", "test_adapters.test_async", "test_adapters.test_async_query"],
}


@pytest.mark.parametrize("row", SEEN)
def test_each_row_has_its_tests(row):
    for name in SEEN[row]:
        module, _, function = name.partition(".")
        assert callable(getattr(importlib.import_module(module), function, None)), name


# Column of a tenant or key, and what callers write for the value that is stored.
SPELLED = [
    ("int", "42", [42, "42", " 42", "042", Decimal(42)]),
    ("uuid", "'0a8c5f1e-0000-4000-8000-00000000000f'",
     [uuid.UUID("0A8C5F1E-0000-4000-8000-00000000000F"), "0A8C5F1E-0000-4000-8000-00000000000F",
      "{0a8c5f1e000040008000-00000000000f}"]),
    ("numeric", "1.50", [Decimal("1.5"), "1.5", "1.500", "01.5"]),
    ("text", "'50%'", ["50%"]),
    ("char(8)", "'ab'", ["ab", "ab  "]),
]


def test_names_are_the_servers(cache, db, other):
    for number, (kind, stored, spelled) in enumerate(SPELLED):
        table = f"spelled_{number}"
        other.execute(
            f"CREATE TABLE {table} (id {kind} PRIMARY KEY, tenant_id {kind}, n int);"
            f"INSERT INTO {table} VALUES ({stored}, {stored}, 0);"
            f"SELECT cache_notify.setup_table_invalidation('{table}', keys => '{{id}}', "
            "fields => '{keys}')")
        load = Counted(f"SELECT n FROM {table}")
        one = cache.cached(reads=[table + "/{id}"], tenant="{tenant}", name=table)(
            lambda db, tenant, id, load=load: load(db))

        def values(spelled=spelled, table=table, load=load, one=one):
            return [cache.get(db, "all", load, reads=[table], tenant=value)[0][0]
                    for value in spelled] + [one(db, value, value)[0][0] for value in spelled]

        for n in range(3):
            assert until(lambda n=n, values=values: set(values()) == {n}, 5), (kind, n, values())
            hits = cache.metrics.snapshot().get("hits", 0)
            assert set(values()) == {n}
            assert cache.metrics.snapshot()["hits"] == hits + 2 * len(spelled), kind
            other.execute(f"UPDATE {table} SET n = n + 1")


def test_unknown_domain_and_whole_domain(cache, db, other):
    load = Counted("SELECT n FROM plain")
    for n in range(1, 4):
        other.execute("UPDATE plain SET n = %s", [n])
        for fresh in (False, True):
            assert cache.get(db, "n", load, reads=["plian"], fresh=fresh) == [(n,)]
    load = Counted("SELECT sum(amount)::int FROM price")
    for n in range(20, 40):
        cache.get(db, "sum", load, reads=["price"])
        other.execute("UPDATE price SET amount = %s WHERE id IN (1, 4)", [n])
        assert cache.get(db, "sum", load, reads=["price"], fresh=True) == [(20 + 2 * n,)]


def test_nested_gets_on_a_pool_of_ten(cache, dsn):
    """Twenty callers at once, whose loaders ask for other results over the same pool."""
    with psycopg_pool.ConnectionPool(
            dsn, kwargs={"autocommit": True}, min_size=10, max_size=10, open=True) as pool:
        def inner(pool):
            time.sleep(0.05)
            with pool.connection() as connection:
                return connection.execute("SELECT sum(amount)::int FROM price").fetchall()

        def outer(pool):
            return [cache.get(pool, n, inner, reads=["price"]) for n in range(3)]

        results = []
        threads = [threading.Thread(daemon=True, target=lambda n=n: results.append(
            cache.get(pool, ("outer", n % 12), outer, reads=["price"]))) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == [[[(40,)]] * 3] * 20


def test_tenant_in_another_encoding(cache, db, other, dsn):
    """Of whoever writes, and of a database that is not in UTF-8."""
    load = Counted("SELECT count(*) FROM price WHERE tenant_id = 'm\u00fcnchen'")

    def get():
        return cache.get(db, "n", load, reads=["price"], tenant="m\u00fcnchen")[0][0]

    assert get() == 0
    with psycopg.connect(make_conninfo(dsn, client_encoding="latin1"), autocommit=True) as writer:
        for n in range(1, 4):
            writer.execute(f"INSERT INTO price VALUES ({100 + n}, 'm\u00fcnchen', 1)")
            assert until(lambda n=n: get() == n)
    assert cache.listening and load.calls <= 20


def test_loader_that_fails_in_a_transaction(dsn, db, redis):
    cache = cache_notify.Cache(dsn, tier=RedisTier(redis.url, timeout=5))
    assert cache.wait_until_listening()

    def load(db):
        db.execute("SELECT 1 / 0")

    for begun in (False, True):
        with psycopg.connect(dsn) as own, contextlib.suppress(psycopg.errors.InFailedSqlTransaction):
            if begun:
                own.execute("SELECT 1")
            with pytest.raises(psycopg.errors.DivisionByZero):
                cache.get(own, "n", load, reads=["price"], tenant="acme")
            own.rollback()
            assert cache.get(own, "n", lambda db: 1, reads=["disc"]) == 1
    token, = db.execute("SELECT cache_notify.token('acme', 'price')").fetchone()
    digest = RedisTier("redis://").place(name_text(("n", "acme", ("price",))), token).digest
    assert db.execute("SELECT cache_notify.claim_refresh(%s, %s)", [digest, token]).fetchone()[0]
    assert not cache.flights._flying
    cache.close()


def test_reset_under_an_old_snapshot(dsn, db, other, redis):
    cache = cache_notify.Cache(dsn, heartbeat=0.2, tier=RedisTier(redis.url, timeout=5))
    assert cache.wait_until_listening()

    def resets():
        return cache.metrics.snapshot().get("resets{payload}", 0)

    def get(db, load):
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    def load(own):
        before = resets()
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        other.execute("""NOTIFY cache_invalidation, '{"reset": true}'""")
        assert until(lambda: resets() > before)
        return own.execute("SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'").fetchall()

    with psycopg.connect(dsn) as own:
        own.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        own.execute("SELECT 1 FROM price")
        assert get(own, load) == [(30,)]
    assert len(cache.core) == 0 and redis.all_keys() == []
    assert get(db, Counted("SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'")) == [(31,)]
    cache.close()


def test_ten_processes(dsn, db, other, redis):
    """They are forked from a running server, need the same result at once, and have it
    soon: one of them computes."""
    other.execute("CREATE TABLE computed (pid int DEFAULT pg_backend_pid())")
    cache = cache_notify.Cache(dsn, heartbeat=0.2, tier=RedisTier(redis.url, timeout=5))
    assert cache.wait_until_listening()
    start = time.time() + 1.5

    def play():
        with psycopg.connect(dsn, autocommit=True) as own:
            def load(db):
                db.execute("INSERT INTO computed DEFAULT VALUES")
                return db.execute("SELECT pg_sleep(0.5), 42").fetchone()[1]

            time.sleep(max(0, start - time.time()))
            began = time.monotonic()
            assert cache.get(own, "n", load, reads=["price"]) == 42
            assert time.monotonic() - began < 5

    children = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                play()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 10
    assert db.execute("SELECT count(*) FROM computed").fetchone() == (1,)
    cache.close()


def test_no_claims_without_a_tier(cache, dsn):
    """A miss is one question and the query."""
    asked = []

    class Cursor(psycopg.Cursor):
        def execute(self, query, params=None, **options):
            asked.append(query)
            return super().execute(query, params, **options)

    with psycopg.connect(dsn, autocommit=True, cursor_factory=Cursor) as db:
        for name in range(5):
            cache.get(db, name, Counted("SELECT 1"), reads=["price"])
    assert len(asked) == 10 and not any("claim" in str(query) for query in asked)


def test_another_copy_of_a_driver(cache, dsn):
    """Objects are known by their names: no class of a module that we import."""
    psycopg2 = pytest.importorskip("psycopg2")
    copy = type("connection", (psycopg2.extensions.connection,), {"__module__": "psycopg2.of_another"})
    db = copy(dsn)
    db.autocommit = True
    for _ in range(2):
        assert cache.query(db, "SELECT count(*)::int FROM price") == [(4,)]
    assert cache.metrics.snapshot()["hits"] == 1
    db.close()
