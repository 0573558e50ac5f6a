"""What a cache for threads serves, computes and keeps."""

import threading
import uuid
from decimal import Decimal

import psycopg
import pytest
from conftest import SCHEMA, Counted, until

import cache_notify


def sum_of(tenant):
    return Counted("SELECT sum(amount)::int FROM price WHERE tenant_id = %s", [tenant])


def test_hit_and_change(cache, db, other):
    load = sum_of("acme")

    def get():
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    assert get() == get() == [(30,)]
    assert load.calls == 1
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: get() == [(31,)])
    assert get() == [(31,)] and load.calls == 2


def test_other_tenants_do_not_matter(cache, db, other):
    load = sum_of("acme")
    cache.get(db, "sum", load, reads=["price"], tenant="acme")
    other.execute("UPDATE price SET amount = 11 WHERE tenant_id = 'globex'")
    wait_for_delivery(cache, other)
    cache.get(db, "sum", load, reads=["price"], tenant="acme")
    assert load.calls == 1


def wait_for_delivery(cache, other):
    """Waits until the cache has heard something that was sent after all else."""
    before = cache.metrics.snapshot().get("resets{payload}", 0)
    other.execute("INSERT INTO disc VALUES (%s, 1)", [str(uuid.uuid4())])
    heard = cache.core.heard_version
    last = heard(None, "disc")
    other.execute("UPDATE disc SET percent = percent + 1")
    assert until(lambda: heard(None, "disc") not in (None, last))
    assert cache.metrics.snapshot().get("resets{payload}", 0) == before


def test_keys(cache, db, other):
    loads = {i: Counted("SELECT amount FROM price WHERE id = %s", [i]) for i in (1, 2)}

    def get(i):
        return cache.get(db, "one", loads[i], reads=[f"price/{i}"], tenant="acme")

    assert get(1) == get(2)
    other.execute("UPDATE price SET amount = 12 WHERE id = 1")
    assert until(lambda: get(1) == [(12,)])
    get(2)
    assert loads[2].calls == 1


def test_key_with_reserved_characters(cache, db, other):
    cached = cache.cached(reads=["disc/{name}"])(lambda db, name: db.execute(
        "SELECT percent FROM disc WHERE name = %s", [name]).fetchone())
    for name in ("50%", "a/b"):
        assert cached(db, name) == (1,)
        other.execute("UPDATE disc SET percent = 2 WHERE name = %s", [name])
        assert until(lambda name=name: cached(db, name) == (2,))


def test_whole_domain(cache, db, other):
    """A result over several tenants is current, whichever tenant's row changes."""
    load = Counted("SELECT sum(amount)::int FROM price")

    def get():
        return cache.get(db, "sum", load, reads=["price"])

    assert get() == get() == [(40,)]
    assert load.calls == 1
    other.execute("UPDATE price SET amount = 11 WHERE tenant_id = 'globex'")
    assert until(lambda: get() == [(41,)])


def test_unknown_domain_is_not_cached(cache, db):
    load = Counted("SELECT n FROM plain")
    for _ in range(3):
        cache.get(db, "n", load, reads=["plain"])
    assert load.calls == 3
    assert cache.metrics.snapshot()["refusals{unknown_domain}"] == 3


@pytest.mark.parametrize("tenant", [None, 1.5, b"acme", ["acme"], True])
def test_what_cannot_be_a_tenant(cache, db, tenant):
    with pytest.raises(TypeError, match="tenant"):
        cache.get(db, "n", lambda db: 1, reads=["price"], tenant=tenant)


@pytest.mark.parametrize("tenant", [42, uuid.uuid4(), Decimal("1.50"), "acme"])
def test_tenants_of_other_types(cache, db, tenant):
    assert cache.get(db, "n", lambda db: 1, reads=["price"], tenant=tenant) == 1


@pytest.mark.parametrize("reads", [[], "price", [None], [1]])
def test_what_cannot_be_reads(cache, db, reads):
    with pytest.raises((TypeError, ValueError), match="reads"):
        cache.get(db, "n", lambda db: 1, reads=reads)


def test_fresh(cache, db, other):
    load = sum_of("acme")
    cache.get(db, "sum", load, reads=["price"], tenant="acme")
    for amount in range(20, 30):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        value = cache.get(db, "sum", load, reads=["price"], tenant="acme", fresh=True)
        assert value == [(20 + amount,)]


def test_own_change_is_seen_and_not_kept(cache, dsn, db):
    load = sum_of("acme")

    def get(db):
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    get(db)
    with psycopg.connect(dsn) as own:
        own.execute("UPDATE price SET amount = 99 WHERE id = 1")
        assert get(own) == [(119,)]
        assert get(db) == [(30,)]
        own.rollback()
    assert get(db) == [(30,)]


def test_loader_that_writes(cache, dsn, db):
    """What a loader wrote is not kept, if it may still be rolled back."""
    def load(own):
        own.execute("UPDATE price SET amount = 99 WHERE id = 1")
        return own.execute("SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'").fetchall()

    with psycopg.connect(dsn) as own:
        assert cache.get(own, "sum", load, reads=["price"], tenant="acme") == [(119,)]
        own.rollback()
    assert cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme") == [(30,)]


def test_old_snapshot_is_used_and_not_kept(cache, dsn, db, other):
    load = sum_of("acme")
    with psycopg.connect(dsn) as own:
        own.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        own.execute("SELECT 1 FROM price")
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        wait_for_delivery(cache, other)
        assert cache.get(own, "sum", load, reads=["price"], tenant="acme") == [(30,)]
    assert cache.get(db, "sum", load, reads=["price"], tenant="acme") == [(31,)]
    assert cache.metrics.snapshot()["refusals{old_snapshot}"] == 1


def test_fill_that_comes_late(cache, db, other):
    """A change that is delivered while the loader runs is not lost."""
    def load(db):
        rows = db.execute("SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'").fetchall()
        other.execute("UPDATE price SET amount = amount + 1 WHERE id = 1")
        wait_for_delivery(cache, other)
        return rows

    assert cache.get(db, "sum", load, reads=["price"], tenant="acme") == [(30,)]
    assert cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme") == [(31,)]


def test_fill_that_comes_late_of_the_whole_domain(cache, db, other):
    def load(db):
        rows = db.execute("SELECT sum(amount)::int FROM price").fetchall()
        other.execute("UPDATE price SET amount = amount + 1 WHERE id = 4")
        wait_for_delivery(cache, other)
        return rows

    assert cache.get(db, "sum", load, reads=["price"]) == [(40,)]
    assert cache.get(db, "sum", Counted("SELECT sum(amount)::int FROM price"), reads=["price"]) == [(41,)]


def test_one_flight(cache, dsn):
    """Of many who miss, one computes."""
    started, go = threading.Barrier(9), threading.Event()
    load_sum = sum_of("acme")

    def load(db):
        go.wait(20)
        return load_sum(db)

    values = []

    def get():
        with psycopg.connect(dsn, autocommit=True) as db:
            started.wait()
            values.append(cache.get(db, "sum", load, reads=["price"], tenant="acme"))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait()
    go.set()
    for thread in threads:
        thread.join(20)
    assert values == [[(30,)]] * 8
    assert load_sum.calls <= 2


def test_flight_is_not_joined_after_a_payload(cache, dsn, other):
    """Whoever comes after a change was heard gets nothing older from a flight."""
    reading, go = threading.Event(), threading.Event()

    def slow(db):
        rows = db.execute("SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'").fetchall()
        reading.set()
        go.wait(20)
        return rows

    def first():
        with psycopg.connect(dsn, autocommit=True) as db:
            cache.get(db, "sum", slow, reads=["price"], tenant="acme")

    thread = threading.Thread(target=first)
    thread.start()
    assert reading.wait(20)
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    wait_for_delivery(cache, other)
    with psycopg.connect(dsn, autocommit=True) as db:
        timer = threading.Timer(1, go.set)
        timer.start()
        assert cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme") == [(31,)]
    go.set()
    thread.join(20)


def test_loaders_that_ask_for_each_other(cache, dsn):
    """Two flights that wait for each other, and one that waits for itself."""
    both = threading.Barrier(2)

    def load(name, partner):
        def run(db):
            if both.n_waiting < 2 and not both.broken:
                try:
                    both.wait(2)
                except threading.BrokenBarrierError:
                    pass
            with psycopg.connect(dsn, autocommit=True) as inner:
                return cache.get(inner, partner, lambda db: 1, reads=["price"], tenant="acme") + 1
        return run

    values = []

    def get(name, partner):
        with psycopg.connect(dsn, autocommit=True) as db:
            values.append(cache.get(db, name, load(name, partner), reads=["price"], tenant="acme"))

    threads = [threading.Thread(target=get, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    with psycopg.connect(dsn, autocommit=True) as db:
        def again(db):
            return cache.get(db, "self", lambda db: 5, reads=["price"], tenant="acme")
        assert cache.get(db, "self", again, reads=["price"], tenant="acme") == 5


def test_error_of_the_loader(cache, dsn, db):
    class Mine(Exception):
        pass

    def load(db):
        raise Mine

    for _ in range(2):
        with pytest.raises(Mine):
            cache.get(db, "sum", load, reads=["price"], tenant="acme")
    with psycopg.connect(dsn) as own, pytest.raises(Mine):
        cache.get(own, "sum", load, reads=["price"], tenant="acme")
    assert cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme") == [(30,)]


def test_stale_if_error(cache, db, other):
    def get(load):
        return cache.get(db, "sum", load, reads=["price"], tenant="acme", stale_if_error=60)

    def fail(db):
        raise RuntimeError

    assert get(sum_of("acme")) == [(30,)]
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    wait_for_delivery(cache, other)
    assert get(fail) == [(30,)]
    assert get(sum_of("acme")) == [(31,)]


def test_ttl(cache, db):
    load = sum_of("acme")
    clock = [cache.core.clock()]
    cache.get(db, "sum", load, reads=["price"], tenant="acme", ttl=3600)
    held = cache.core.peek(next(iter(cache.core._held)))
    assert held.expires - clock[0] == pytest.approx(3600, abs=60)
    held.expires = clock[0]
    cache.get(db, "sum", load, reads=["price"], tenant="acme")
    assert load.calls == 2


def test_writing(cache, dsn, db):
    load = sum_of("acme")

    def get():
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    for amount in range(20, 40):
        get()
        with cache.writing(db, changes=["price"], tenant="acme"):
            db.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        assert get() == [(amount + 20,)]


def test_writing_what_is_named_otherwise(dsn, db, other):
    """A key, a tenant in another spelling, one that was never asked for: deliveries that
    never come do not matter."""
    other.execute("CREATE TABLE item (id int PRIMARY KEY, tenant_id int, n int);"
                  "INSERT INTO item VALUES (1, 7, 0);"
                  "SELECT cache_notify.setup_table_invalidation('item', keys => '{id}')")
    cache = cache_notify.Cache(dsn, heartbeat=100, lease=200, channel="nobody sends here")
    assert cache.wait_until_listening()
    load = Counted("SELECT n FROM item")
    spellings = [(7, "item"), ("007", "item/1"), ("7", "item/2"), (Decimal(7), "item")]
    for n, (tenant, name) in enumerate(spellings, 1):
        for reads in ("item", "item/1"):
            cache.get(db, reads, load, reads=[reads], tenant="7")
        with cache.writing(db, changes=[name], tenant=tenant):
            db.execute("UPDATE item SET n = %s", [n])
        for reads in ("item", "item/1"):
            assert cache.get(db, reads, load, reads=[reads], tenant="7") == [(n,)]
    cache.close()


def test_bounded(dsn, db):
    cache = cache_notify.Cache(dsn, max_entries=5)
    assert cache.wait_until_listening()
    for i in range(50):
        cache.get(db, i, lambda db: 1, reads=["price"], tenant="acme")
    assert len(cache.core) == 5
    assert sum(len(names) for tenants in cache.core._watching.values()
               for keys in tenants.values() for names in keys.values()) == 5
    cache.close()


def test_disabled_and_closed(cache, db):
    load = sum_of("acme")
    with cache.disabled():
        for _ in range(2):
            cache.get(db, "sum", load, reads=["price"], tenant="acme")
    assert load.calls == 2
    cache.close()
    for _ in range(2):
        cache.get(db, "sum", load, reads=["price"], tenant="acme")
    assert load.calls == 4


def test_unknown_database_object(cache):
    with pytest.raises(TypeError, match="no database object"):
        cache.get(object(), "sum", sum_of("acme"), reads=["price"])


def test_prometheus(cache, db):
    for _ in range(2):
        cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme")
    text = cache.metrics.prometheus()
    assert "cache_notify_client_hits_total 1\n" in text
    assert "# TYPE cache_notify_client_misses_total counter\n" in text


def test_functions_made_within_a_function(cache, db):
    """They have one name, and enclose what they like."""
    def make(n):
        @cache.cached(reads=["price"])
        def made(db):
            return n

        return made

    made = [make(n) for n in range(3)]
    lambdas = [cache.cached(reads=["price"])(lambda db, n=n: n) for n in range(3)]
    for _ in range(2):
        assert [function(db) for function in made] == [0, 1, 2]
        assert [function(db) for function in lambdas] == [0, 1, 2]
    assert cache.metrics.snapshot()["misses"] == 6


def test_fresh_functions(cache, db, other):
    load = sum_of("acme")
    get = cache.cached(reads=["price"], tenant="acme", fresh=True)(load.__call__)
    for amount in range(20, 30):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        assert get(db) == [(20 + amount,)]


def test_another_database_than_the_one_listened_to(cache, dsn, db, caplog):
    """Nobody would tell this cache of its changes."""
    name = f"{db.info.dbname}_other"
    db.execute(f"CREATE DATABASE {name}")
    foreign = psycopg.conninfo.make_conninfo(dsn, dbname=name)
    try:
        with psycopg.connect(foreign, autocommit=True) as elsewhere:
            elsewhere.execute(SCHEMA)
            load = sum_of("acme")
            for amount in range(20, 30):
                elsewhere.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
                for _ in range(2):
                    rows = cache.get(elsewhere, "sum", load, reads=["price"], tenant="acme")
                    assert rows == [(20 + amount,)]
        assert cache.size == 0
        assert cache.metrics.snapshot()["refusals{another_database}"] == 20
        assert sum("another database" in message for message in caplog.messages) == 1
        cache.get(db, "sum", load, reads=["price"], tenant="acme")
        assert cache.size == 1
    finally:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")
