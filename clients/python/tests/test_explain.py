"""What explain() says of each way in which a result comes to be."""

import threading

from conftest import Counted, until

from cache_notify import RedisTier, explain
from cache_notify.testing import FakeCache


def test_hit_miss_and_why():
    cache = FakeCache(domains=["price"])

    def get(name="n", reads=("price/1",), tenant="acme", load=lambda db: 1, **options):
        with explain() as what:
            cache.get(None, name, load, reads=list(reads), tenant=tenant, **options)
        return str(what)

    assert get() == "miss (not there before)"
    assert get() == "hit (in memory)"
    cache.change("price/1", "acme")
    assert get() == "miss (price/1 of acme has changed)"
    assert get(ttl=0.0) == "hit (in memory)"
    cache.forget_all()
    assert get(ttl=0.0) == "miss (forgotten)"
    assert get() == "miss (expired)"
    assert get(fresh=True) == "hit (the server said that it is current)"
    assert get(reads=["prise"]) == "not cached (not there before; unknown domain)"
    assert get("nested", load=lambda db: cache.get(
        None, "inner", lambda db: 1, reads=["price"])) == "miss (not there before)"
    cache.core.end_lease()
    assert get("again") == "not cached (not there before; not listening)"


def test_joined():
    cache = FakeCache()
    go, came = threading.Event(), threading.Event()
    told = []

    def load(db):
        came.set()
        go.wait(5)

    def get():
        with explain() as what:
            cache.get(None, "n", load, reads=["price"])
        told.append(str(what))

    threads = [threading.Thread(target=get) for _ in range(2)]
    threads[0].start()
    assert came.wait(5)
    threads[1].start()
    assert until(lambda: len(cache.flights._flying) == 1)
    until(lambda: False, 0.2)
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["hit (another caller was computing it)", "miss (not there before)"]


def test_what_the_server_says(cache, db, other, redis):
    def query(statement):
        with explain() as what:
            cache.query(db, statement)
        return str(what)

    assert query("SELECT id FROM price") == "miss (not there before)"
    assert query("SELECT id FROM price") == "hit (in memory)"
    assert "volatile" in query("SELECT id, clock_timestamp() FROM price")
    assert query("SELECT n FROM plain") == "not cached (plain: not watched)"
    other.execute("UPDATE price SET amount = 2")
    assert until(lambda: len(cache.core) == 0)
    assert query("SELECT id FROM price") == "miss (price has changed)"


def test_another_process(dsn, db, other, redis):
    from cache_notify import Cache
    caches = [Cache(dsn, tier=RedisTier(redis.url, timeout=5)) for _ in range(2)]
    told = []
    for cache in caches:
        assert cache.wait_until_listening()
        with explain() as what:
            cache.get(db, "n", Counted("SELECT 1"), reads=["price"])
        told.append(str(what))
        cache.close()
    assert told == ["miss (not there before)", "hit (another process had computed it)"]
