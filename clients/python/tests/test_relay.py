"""Nodes that listen to a relay: whatever dies, is paused, emptied or cut, nothing stale
is served, and listening goes on by itself."""

import asyncio
import contextlib
import os
import re
import signal
import tempfile
import time
import urllib.request

import psycopg
import pytest
from conftest import Counted, until
from relaying import HEARTBEAT, LEASE, Wire, node_of

import cache_notify
from cache_notify._payload import Change
from cache_notify._publisher import Publisher
from cache_notify._relay_metrics import RelayMetrics


@pytest.fixture
def node(relay, store):
    node = node_of(store.url)
    assert node.wait_until_listening(20), node.failure
    yield node
    node.close()


class Watched:
    """A result, and how to look whether it is served and true."""

    def __init__(self, node, db, other, reads=("price",)):
        self.node, self.db, self.other, self.reads = node, db, other, list(reads)
        self.load = Counted("SELECT amount::int FROM price WHERE id = 1")
        self.amount = 10

    def get(self):
        (amount,), = self.node.get(self.db, "one", self.load, reads=self.reads, tenant="acme")
        return amount

    def is_kept(self):
        """Whether it is served from memory now."""
        calls = self.load.calls
        assert self.get() == self.amount
        self.get()
        return self.load.calls == calls

    def change(self):
        self.amount += 1
        self.other.execute("UPDATE price SET amount = %s WHERE id = 1", [self.amount])

    def comes(self):
        """The last change is seen, and then served from memory again."""
        return until(lambda: self.get() == self.amount) and until(self.is_kept)

    def never_stale_from_now(self, seconds=1.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.get() == self.amount
            time.sleep(0.01)


@pytest.fixture
def watched(node, db, other):
    watched = Watched(node, db, other)
    assert until(watched.is_kept)
    return watched


def test_changes_come(watched, other):
    for _ in range(5):
        watched.change()
        assert watched.comes()
    listening = other.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'cache_notify listener'").fetchone()
    assert listening == (1,)


def test_keys_come(node, db, other):
    """A change of one key drops nothing of another."""
    watched = Watched(node, db, other, reads=["price/1"])
    another = Counted("SELECT amount FROM price WHERE id = 2")

    def get_another():
        return node.get(db, "two", another, reads=["price/2"], tenant="acme")

    assert until(watched.is_kept)
    get_another()
    calls = another.calls
    for _ in range(3):
        watched.change()
        assert watched.comes()
    get_another()
    assert another.calls == calls


def test_statements_are_forgotten_when_definitions_move(node, db, other):
    other.execute("CREATE VIEW cheap AS SELECT * FROM price WHERE amount < 100")
    other.execute("GRANT SELECT ON cheap TO PUBLIC")

    def get():
        return len(node.query(db, "SELECT id FROM cheap", tenant="acme"))

    assert get() == 4 and get() == 4
    other.execute("CREATE OR REPLACE VIEW cheap AS SELECT * FROM price WHERE id = 1")
    assert until(lambda: get() == 1)


def test_asyncio(relay, store, dsn, other):
    async def play():
        cache = cache_notify.AsyncCache(store.url, heartbeat=HEARTBEAT, lease=LEASE)
        assert await asyncio.to_thread(cache.wait_until_listening, 20), cache.failure
        calls = []

        async def load(db):
            calls.append(1)
            return await (await db.execute(
                "SELECT amount::int FROM price WHERE id = 1")).fetchone()

        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
            async def get():
                return await cache.get(db, "one", load, reads=["price"], tenant="acme")

            assert await get() == await get() == (10,) and len(calls) == 1
            other.execute("UPDATE price SET amount = 11 WHERE id = 1")
            while await get() != (11,):
                await asyncio.sleep(0.01)
        await cache.aclose()

    asyncio.run(asyncio.wait_for(play(), 30))


def test_fork(watched, dsn):
    """The child listens over connections of its own, and its parent's go on."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            node = watched.node
            with psycopg.connect(dsn, autocommit=True) as db:
                load = Counted("SELECT amount::int FROM price WHERE id = 1")

                def get():
                    return node.get(db, "one", load, reads=["price"], tenant="acme")

                assert node.wait_until_listening(20)
                get(), get()
                assert load.calls == 1
                db.execute("UPDATE price SET amount = 11 WHERE id = 1")
                assert until(lambda: get() == [(11,)])
                node.close()
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    watched.amount = 11
    assert watched.comes()
    watched.change()
    assert watched.comes()
    assert watched.node.metrics.snapshot().get("listener_failures", 0) == 0


def test_what_a_relay_has_missed_is_not_told_while_nodes_serve(watched, relay, relays, store):
    """It comes in no order: of two changes the later could be heard of first."""
    frames = store.client.pubsub()
    frames.subscribe("cache_notify:changes")
    second = relays()
    assert until(lambda: second.has_said("standing by"))
    relay.kill()
    watched.change()
    told = []

    def is_told():
        message = frames.get_message(timeout=0.1)
        if message is not None and message["type"] == "message":
            told.extend(message["data"].split(b" ", 2)[2].split(b"\n"))
        return any(b'"price"' in payload for payload in told)

    assert until(is_told)
    price = next(at for at, payload in enumerate(told) if b'"price"' in payload)
    assert b'{"relay": "away"}' in told[:price]
    assert watched.comes()
    frames.close()


def test_another_relay_takes_over_from_one_that_was_killed(watched, relay, relays):
    """In less than the nodes' lease; what was changed in between they hear of."""
    second = relays()
    assert until(lambda: second.has_said("standing by"))
    relay.kill()
    watched.change()
    killed_at = time.monotonic()
    assert until(lambda: watched.get() == watched.amount)
    assert time.monotonic() - killed_at < LEASE
    assert second.has_said("leading") and not second.has_said("epoch")
    assert watched.comes()


def test_another_relay_takes_over_at_once_from_one_that_stops(watched, relay, relays):
    second = relays("--lease", "60", "--heartbeat", "0.1")
    assert until(lambda: second.has_said("standing by"))
    relay.kill(signal.SIGTERM)
    assert relay.process.returncode == 0
    watched.change()
    assert watched.comes()


def test_a_paused_relay_has_no_say_any_more(watched, relay, relays):
    """What it hears and says after its lease is over, another one has said."""
    second = relays()
    assert until(lambda: second.has_said("standing by"))
    for paused, leads in ((relay, second), (second, relay)):
        paused.pause()
        watched.change()
        assert watched.comes()
        paused.go_on()
        assert until(lambda paused=paused: paused.has_said("NOTLEADER"))
        watched.change()
        assert watched.comes()
        assert leads.process.poll() is None


def test_no_relay_is_left(watched, relay, relays):
    """Entries are served as long as the lease lasts, and then not before a relay has told
    what was missed."""
    relay.kill()
    assert until(lambda: not watched.node.listening, LEASE + 1)
    watched.change()
    watched.never_stale_from_now()
    assert until(lambda: isinstance(watched.node.failure, ConnectionError))
    keeps = watched.node.metrics.snapshot()
    relays()
    assert until(lambda: watched.node.listening)
    watched.never_stale_from_now()
    # It went on where the first one ended: nothing else was dropped.
    resets = [name for name in watched.node.metrics.snapshot() if name.startswith("resets")]
    assert resets == [name for name in keeps if name.startswith("resets")]


def test_entries_survive_a_restart_of_the_relay(watched, relay, relays):
    relay.kill()
    assert until(lambda: not watched.node.listening, LEASE + 1)
    calls = watched.load.calls
    relays()
    assert until(lambda: watched.node.listening)
    assert watched.get() == watched.amount and watched.load.calls == calls


def test_redis_is_killed(watched, store):
    store.kill()
    assert until(lambda: not watched.node.listening, 2)
    watched.change()
    watched.never_stale_from_now(0.3)
    store.start()
    assert until(lambda: watched.node.listening)
    watched.never_stale_from_now()
    assert watched.comes()


def test_redis_is_emptied(watched, store):
    """Frames are numbered anew, and nobody takes them for those of before."""
    for _ in range(4):
        watched.change()
        store.client.flushall()
        watched.change()
        assert watched.comes()


def test_redis_goes_back_in_time(watched, store):
    """It restarts with what it had known earlier, and the relay goes on from there: the
    numbers of frames come a second time."""
    def more():
        for _ in range(3):
            watched.change()
            assert watched.comes()

    store.restart_with_memory_of_now(more)
    for _ in range(3):
        watched.change()
        assert watched.comes()


def test_frames_wait_longer_while_each_has_several_payloads(store):
    """Each of them wakes every process; one that comes alone should not wait for others."""
    publisher = Publisher(store.url, "pauses", RelayMetrics(), lease=60, keep=10, interval=100)
    assert publisher.lead(lambda seconds: False)
    publisher.take_up("shop")

    def pause_after(payloads):
        """In intervals. Flushed without waiting for it."""
        for version in range(payloads):
            publisher.hear(Change("acme", "price", version))
        publisher.flush()
        publisher.hear(Change("acme", "price", payloads))
        pause = publisher.flush_due() - time.monotonic()
        publisher.flush()       # alone, which halves it
        return round(pause / 100)

    assert [pause_after(1), pause_after(9)] == [1, 2]
    for payloads in (3, 3, 3, 3):
        for version in range(payloads):
            publisher.hear(Change("acme", "price", version))
        publisher.flush()
    assert pause_after(2) == 5
    assert [pause_after(1) for _ in range(3)] == [1, 1, 1]
    publisher.resign()


def test_frames_that_did_not_come_are_read_from_the_stream(watched, store):
    for _ in range(3):
        store.client.client_kill_filter(_type="pubsub")
        watched.change()
        assert watched.comes()
    snapshot = watched.node.metrics.snapshot()
    assert not any(name.startswith("resets{relay") for name in snapshot), snapshot


def test_frames_that_nobody_has_any_more_are_a_reset(relays, store, db, other):
    relays("--keep", "1")
    node = node_of(store.url, heartbeat=2.0, lease=10.0)
    watched = Watched(node, db, other)
    assert until(watched.is_kept)
    key = "cache_notify:changes"
    # What Redis trims when it likes to, now.
    store.client.client_kill_filter(_type="pubsub")
    for _ in range(20):
        watched.change()
        time.sleep(0.02)
    store.client.xtrim(key, maxlen=0)
    watched.change()
    assert watched.comes()
    node.close()


def test_network_between_node_and_redis_is_cut(store, relay, db, other):
    """Without an error anywhere: the lease ends. Afterwards all that was swallowed
    arrives late, and proves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(folder, store.socket)
        node = node_of(wire.url, lease=1.0)
        watched = Watched(node, db, other)
        assert until(watched.is_kept)
        for _ in range(2):
            cut_at = time.monotonic()
            wire.cut()
            assert until(lambda: not node.listening, 5)
            assert time.monotonic() - cut_at < 1.5
            watched.change()
            watched.never_stale_from_now(1.5)
            watched.change()
            wire.mend()
            watched.never_stale_from_now(1.0)
            assert watched.comes()
        node.close()
        wire.close()


def test_network_between_relay_and_redis_is_cut(store, relays, db, other):
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(folder, store.socket)
        relays(url=wire.url)
        node = node_of(store.url, lease=1.0)
        watched = Watched(node, db, other)
        assert until(watched.is_kept)
        wire.cut()
        assert until(lambda: not node.listening, 5)
        watched.change()
        watched.never_stale_from_now()
        second = relays()
        assert watched.comes()
        wire.mend()
        watched.never_stale_from_now()
        watched.change()
        assert watched.comes()
        assert second.has_said("leading")
        node.close()
        wire.close()


def test_network_between_relay_and_postgresql_is_cut(store, relays, dsn, db, other):
    with psycopg.connect(dsn) as connection:
        host, port = connection.info.host, connection.info.port
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(folder, f"{host}/.s.PGSQL.{port}")
        os.rename(wire.path, f"{folder}/.s.PGSQL.{port}")
        relays(listen=psycopg.conninfo.make_conninfo(dsn, host=folder, user="postgres"))
        node = node_of(store.url, lease=1.0)
        watched = Watched(node, db, other)
        assert until(watched.is_kept)
        wire.cut()
        assert until(lambda: not node.listening, 5)
        watched.change()
        watched.never_stale_from_now()
        wire.mend()
        watched.never_stale_from_now()
        assert watched.comes()
        node.close()
        wire.close()


def test_the_relays_connection_is_terminated(watched, other):
    for _ in range(3):
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'cache_notify listener' AND datname = current_database()")
        watched.change()
        assert watched.comes()


def test_one_name_for_two_databases_is_refused(relay, relays, watched):
    other_one = relays(listen="dbname=postgres")
    with psycopg.connect("dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS cache_notify")
        relay.kill()
        assert until(lambda: other_one.has_said("name is taken"))
        assert until(lambda: not watched.node.listening)
        other_one.kill()
        connection.execute("DROP EXTENSION cache_notify")


def test_metrics(relays, store):
    relays("--metrics", "127.0.0.1:18901")

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:18901/{path}", timeout=5) as answer:
            return answer.read().decode()

    def healthy():
        with contextlib.suppress(OSError):
            return get("health") == "ok\n"

    assert until(healthy)
    assert "cache_notify_relay_leading 1\n" in get("metrics")
    assert until(lambda: re.search(r"cache_notify_relay_beats_total [1-9]", get("metrics")))
    store.kill()
    assert until(lambda: not healthy())


def test_close_at_any_moment(relay, store):
    for url, delay in (("redis://127.0.0.1:1", 0), ("redis://127.0.0.1:1", 0.2),
                       (store.url, 0), (store.url, 0.01), (store.url, 0.5)):
        node = node_of(url)
        time.sleep(delay)
        began = time.monotonic()
        node.close()
        node.close()
        assert not node.listening and time.monotonic() - began < 3
        assert until(lambda node=node: not node._listener._listener._thread.is_alive())


def test_without_a_relay(store, db):
    node = node_of(store.url, lease=0.5)
    assert not node.wait_until_listening(20)
    assert "relay" in str(node.failure)
    load = Counted("SELECT 1")
    for _ in range(2):
        node.get(db, "one", load, reads=["price"], tenant="acme")
    assert load.calls == 2
    node.close()
