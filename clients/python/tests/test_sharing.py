"""Caches of a process that listen to one relay share a listener: each is told what it
must know, whatever the others do."""

import os
import resource
import sys
import threading

import psycopg
import pytest
from conftest import Counted, until
from relaying import node_of

from cache_notify import _sharing
from cache_notify._core import Core, Entry, Part
from cache_notify._metrics import Metrics
from cache_notify._payload import Change


def connections(store):
    """Of nodes: each has one that is told, and one that asks."""
    return [line for line in store.client.client_list() if line["sub"] != "0"]


def loader(amount="amount"):
    return Counted(f"SELECT {amount}::int FROM price WHERE id = 1")


def read(cache, db, load, tenant="acme"):
    (amount,), = cache.get(db, "one", load, reads=["price"], tenant=tenant)
    return amount


def test_many_caches_are_one_connection_and_each_is_told(relay, store, dsn, db, other):
    nodes = [node_of(store.url) for _ in range(20)]
    try:
        assert all(node.wait_until_listening(20) for node in nodes)
        assert len(connections(store)) == 1
        loads = [loader() for _ in nodes]
        assert [read(*each) for each in zip(nodes, [db] * 20, loads)] == [10] * 20
        for amount in range(11, 15):
            other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
            for node, load in zip(nodes, loads):
                assert until(lambda: read(node, db, load) == amount)  # noqa: B023
        # Another tenant's changes leave all of them as they are.
        calls = [load.calls for load in loads]
        other.execute("UPDATE price SET amount = amount + 1 WHERE tenant_id = 'globex'")
        (told,), = nodes[0].get(db, "globex", loader(), reads=["price"], tenant="globex")
        assert told == 14
        assert [load.calls for load in loads] == calls
    finally:
        for node in nodes:
            node.close()
    assert until(lambda: not connections(store))
    assert not _sharing._listeners


def test_closing_one_leaves_the_others(relay, store, db, other):
    first, second = node_of(store.url), node_of(store.url)
    try:
        assert first.wait_until_listening(20)
        assert second.wait_until_listening(20)
        load = loader()
        assert read(second, db, load) == 10
        first.close()
        assert not first.listening
        assert second.listening
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert until(lambda: read(second, db, load) == 11)
        # One that comes later has the lease that there is, at once.
        third = node_of(store.url)
        assert third.listening
        assert read(third, db, load) == 11
        calls = load.calls
        assert read(third, db, load) == 11
        assert load.calls == calls
        third.close()
    finally:
        second.close()


def test_other_ways_to_listen_are_other_listeners(relay, store):
    nodes = [node_of(store.url), node_of(store.url, lease=4.0), node_of(store.url + "?name=other")]
    try:
        assert until(lambda: len(connections(store)) == 3)
        assert not nodes[2].listening
    finally:
        for node in nodes:
            node.close()


def test_a_reset_reaches_all(relay, store, db):
    nodes = [node_of(store.url) for _ in range(3)]
    try:
        assert all(node.wait_until_listening(20) for node in nodes)
        for node in nodes:
            read(node, db, loader())
            assert len(node.core) == 1
        db.execute("NOTIFY cache_invalidation, 'nonsense'")
        assert until(lambda: not any(len(node.core) for node in nodes))
    finally:
        for node in nodes:
            node.close()


def test_a_fill_lacks_what_another_cache_noted(relay, store, db, other):
    """The first cache of the listener notes it, the fill is one of the second."""
    first, second = node_of(store.url), node_of(store.url)
    try:
        assert first.wait_until_listening(20)
        assert second.wait_until_listening(20)

        def slow(db):
            rows = db.execute("SELECT amount::int FROM price WHERE id = 1").fetchall()
            sequence = second.core.ticket().sequence
            other.execute("UPDATE price SET amount = 12 WHERE id = 1")
            assert until(lambda: second.core.ticket().sequence > sequence)
            return rows

        assert read(second, db, slow) == 10
        assert len(second.core) == 0
        assert read(second, db, loader()) == 12
    finally:
        first.close()
        second.close()


def test_a_fork_listens_by_itself(relay, store, db, dsn, other):
    nodes = [node_of(store.url) for _ in range(2)]
    try:
        assert all(node.wait_until_listening(20) for node in nodes)
        child = os.fork()
        if child == 0:
            try:
                with psycopg.connect(dsn, autocommit=True) as own:
                    ok = not any(node.listening for node in nodes)
                    ok = ok and all(read(node, own, loader()) == 10 for node in nodes)
                    ok = ok and all(node.wait_until_listening(20) for node in nodes)
                    ok = ok and len(connections(store)) == 2
            finally:
                os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert all(node.listening for node in nodes)
    finally:
        for node in nodes:
            node.close()


def test_nothing_is_lost_between_a_store_and_what_is_heard():
    """Threads store and drop in three cores of one memory while changes come in:
    whatever is held in the end is as new as the last change, and the memory knows it."""
    audience = _sharing.Audience()
    caches = []

    for _ in range(3):
        core = Core(3, None, None, Metrics(audience))
        audience.add(core, lambda: None)
        caches.append(core)
    audience.extend_lease(float("inf"))
    version = [0]  # what the database says
    end = threading.Event()
    wrong = []

    def fill(core, number):
        n = 0
        while not end.is_set():
            ticket = core.ticket()
            part = Part("acme", "price", None, version[0], 0)
            n += 1
            core.forget((number, (n - 1) % 5))  # so that it holds nothing
            core.store((number, n % 5), Entry(
                n, "", (part,), float("inf")), ticket)

    threads = [threading.Thread(target=fill, args=(core, number))
               for core in caches for number in range(1)]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)     # so that threads meet in every place
    for _ in range(2000):
        version[0] += 1
        audience.hear(Change("acme", "price", version[0]))
        for core in caches:
            with core.lock:
                wrong += [entry for entry in core._held.values()
                          if entry.parts[0].version < version[0]]
    sys.setswitchinterval(interval)
    end.set()
    for thread in threads:
        thread.join()
    assert not wrong
    holding = audience.heard.holding("acme", "price")
    assert {id(core) for core in caches if len(core)} == {id(core) for core in holding}
    for core in caches:
        audience.remove(core)
    assert not audience.heard._holding


def test_listening_in_a_process_with_thousands_of_files(relay, store):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = min(hard, 4096)
    if soft < 2000:
        pytest.skip("no process can have that many here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        node = node_of(store.url)
        assert node.wait_until_listening(20), node.failure
        assert node._listener._listener._woken.fileno() > 1024
        node.close()
        # Closed while it waits for another attempt, which it is woken from.
        lost = node_of("redis://127.0.0.1:1")
        assert until(lambda: lost.failure is not None)
        assert not isinstance(lost.failure, ValueError)
        lost.close()
    finally:
        for number in files:
            os.close(number)
