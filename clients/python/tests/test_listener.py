"""What may happen to a listener: nothing that it hears ends it, and nothing is served
from memory unless deliveries come in."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import psycopg
import pytest
from conftest import Counted, until
from psycopg.conninfo import make_conninfo

import cache_notify
from cache_notify._payload import parse_payload

CHANNEL = "cache_invalidation"


def sum_of(tenant):
    return Counted("SELECT sum(amount)::int FROM price WHERE tenant_id = %s", [tenant])


def listeners(other):
    return other.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'cache_notify listener'"
        " AND datname = current_database()").fetchall()


NONSENSE = [
    b"", b"x", b"{}", b"[]", b"null", b"1", b'"x"', b"{", b"[" * 7000,
    b'{"tenant_id": "acme", "domain": "price", "version": ' + b"[" * 3000,
    b'{"tenant_id": "acme", "domain": "price", "version": NaN}',
    b'{"tenant_id": "acme", "domain": "price", "version": 9e15}',
    b'{"tenant_id": "acme", "domain": "price", "version": 1.0}',
    b'{"tenant_id": "acme", "domain": "price", "version": -1}',
    b'{"tenant_id": "acme", "domain": "price", "version": true}',
    b'{"tenant_id": "acme", "domain": "price", "version": 9007199254740992}',
    b'{"tenant_id": "acme", "domain": "price", "version": ' + b"9" * 5000 + b"}",
    b'{"tenant_id": "acme", "domain": "price", "version": "1"}',
    b'{"tenant_id": "acme", "domain": "price"}',
    b'{"tenant_id": 1, "domain": "price", "version": 1}',
    b'{"tenant_id": "acme", "domain": null, "version": 1}',
    b'{"reset": true}',
    b'{"reset": true, "tenant_id": "acme", "domain": "price", "version": 1}',
    b"\xe6\x9d", '{"tenant_id": "東", "domain": "price", "version": 1}'.encode("utf-16"),
    '{"tenant_id": "é", "domain": "price", "version": 1}'.encode("latin-1"),
]


@pytest.mark.parametrize("payload", NONSENSE)
def test_what_is_not_understood_is_a_reset(payload):
    assert parse_payload(payload) is None


def test_payload():
    text = '{"tenant_id": "acme", "domain": "price", "version": 3, "keys": ["1"], "more": []}'
    change = parse_payload(text.encode())
    assert (change.tenant, change.domain, change.version, change.keys) == ("acme", "price", 3, ("1",))
    for keys in (None, [1], [["1", "2"]], "x", {}):
        told = dict(json.loads(text), keys=keys)
        assert parse_payload(json.dumps(told).encode()).keys is None


def test_nothing_that_arrives_ends_the_listener(cache, db, other):
    """Not even a version beyond all others: after it, results are kept again."""
    load = sum_of("acme")

    def get():
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    said = []
    for payload in NONSENSE:
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            continue
        if len(text) < 7999:
            said.append(text)
    said.append('{"tenant_id": "acme", "domain": "price", "version": 9007199254740991}')
    for text in said:
        get()
        assert get() == [(30,)]
        before = cache.core.ticket()
        other.execute("SELECT pg_notify(%s, %s)", [CHANNEL, text])
        assert until(lambda before=before: cache.core.ticket() != before), text
    for amount in (11, 12):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        assert until(lambda amount=amount: get() == [(20 + amount,)])
        get()
        calls = load.calls
        assert get() == [(20 + amount,)] and load.calls == calls
    assert cache.listening and len(listeners(other)) == 1


def test_nothing_from_memory_while_not_listening(cache, dsn, db, other):
    """Nor is anything missed afterwards: what was changed meanwhile is known before
    the first result is served from memory."""
    def get():
        return cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme")

    def allow(yes):
        with psycopg.connect(autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {other.info.dbname} ALLOW_CONNECTIONS {yes}")

    for amount in range(20, 25):
        get()
        (pid,), = listeners(other)
        allow(False)
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert until(lambda: not cache.listening)
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        assert get() == [(20 + amount,)]
        other.execute("UPDATE price SET amount = %s WHERE id = 2", [amount])
        allow(True)
        assert until(lambda: cache.listening)
        assert get() == [(10 + 2 * amount,)]
        other.execute("UPDATE price SET amount = 10 WHERE id = 2")


def test_connection_lost_while_keys_were_on_their_way(dsn, db, other):
    """A heartbeat has told of a change, but its payload, which tells the keys, is lost with
    the connection."""
    cache = cache_notify.Cache(dsn, heartbeat=1.0, channel="where_nothing_is_sent")
    assert cache.wait_until_listening(), cache.failure

    def get():
        return cache.get(db, "one", Counted("SELECT amount::int FROM price WHERE id = 1"),
                         reads=["price/1"], tenant="acme")

    assert get() == [(10,)]
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    version, = other.execute("SELECT cache_notify.version('price', 'acme')").fetchone()
    assert until(lambda: cache.core.heard_version("acme", "price") == version)
    (pid,), = listeners(other)
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert until(lambda: listeners(other) not in ([], [(pid,)]))
    assert until(lambda: cache.listening)
    assert get() == [(11,)]
    cache.close()


def test_checked_out_connection_that_breaks(cache, dsn, other):
    with psycopg.connect(dsn, autocommit=True) as db:
        pid = db.info.backend_pid
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        with pytest.raises(psycopg.OperationalError):
            cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme")
    with psycopg.connect(dsn, autocommit=True) as db:
        assert cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme") == [(30,)]


def test_fork(cache, dsn):
    """The child listens by itself, and serves nothing of its parent's."""
    with psycopg.connect(dsn, autocommit=True) as db:
        cache.get(db, "sum", sum_of("acme"), reads=["price"], tenant="acme")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with psycopg.connect(dsn, autocommit=True) as db:
                load = sum_of("acme")

                def get():
                    return cache.get(db, "sum", load, reads=["price"], tenant="acme")

                assert cache.wait_until_listening()
                get(), get()
                assert load.calls == 1
                db.execute("UPDATE price SET amount = 11 WHERE id = 1")
                assert until(lambda: get() == [(31,)])
                cache.close()
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with psycopg.connect(dsn, autocommit=True) as db:
        assert until(lambda: cache.get(
            db, "sum", sum_of("acme"), reads=["price"], tenant="acme") == [(31,)])


@pytest.fixture
def pooler(dsn):
    """PgBouncer in transaction mode."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with psycopg.connect(dsn) as connection:
        info = connection.info
        database, user = info.dbname, info.user
        server = f"host={info.host} port={info.port} user={user}"
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        configuration = os.path.join(directory, "pgbouncer.ini")
        with open(configuration, "w") as file:
            file.write(f"""
                [databases]
                {database} = {server}
                [pgbouncer]
                listen_addr = 127.0.0.1
                listen_port = {port}
                unix_socket_dir =
                auth_type = any
                pool_mode = transaction
                default_pool_size = 1
                """.replace("                ", ""))
        command = [program, configuration]
        if os.getuid() == 0:
            command[1:1] = ["-u", "postgres"]
        with open(os.path.join(directory, "log"), "w+") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log)
            pooled = make_conninfo(dsn, host="127.0.0.1", port=port, user=user)

            def answers():
                try:
                    psycopg.connect(pooled).close()
                except psycopg.OperationalError:
                    return False
                return True

            if not until(answers):
                log.seek(0)
                pytest.fail(log.read())
            yield pooled
            process.kill()
            process.wait(20)


def test_pooler_in_transaction_mode_is_refused(pooler, dsn, caplog):
    cache = cache_notify.Cache(pooler)
    assert not cache.wait_until_listening(20)
    assert isinstance(cache.failure, cache_notify.ConfigurationError)
    assert "direct connection" in str(cache.failure)
    load = sum_of("acme")
    with psycopg.connect(dsn, autocommit=True) as db:
        for _ in range(2):
            cache.get(db, "sum", load, reads=["price"], tenant="acme")
    assert load.calls == 2
    cache.close()


def test_without_the_extension(dsn, caplog):
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("DROP EXTENSION cache_notify CASCADE")
    cache = cache_notify.Cache(dsn)
    assert not cache.wait_until_listening(20)
    assert isinstance(cache.failure, cache_notify.UnsupportedExtension)
    assert "CREATE EXTENSION" in str(cache.failure)
    cache.close()


def test_an_extension_that_it_does_not_know(dsn, other):
    other.execute("UPDATE pg_extension SET extversion = '2.0' WHERE extname = 'cache_notify'")
    cache = cache_notify.Cache(dsn)
    assert not cache.wait_until_listening(20)
    assert isinstance(cache.failure, cache_notify.UnsupportedExtension)
    assert "cache_notify 2.0" in str(cache.failure) and "1.x" in str(cache.failure)
    cache.close()


def test_rights_of_a_cache(dsn, db, other, caplog):
    """No right but to connect and to read: entries are kept, and nothing is said
    more than once."""
    other.execute("DROP ROLE IF EXISTS reader")
    other.execute("CREATE ROLE reader LOGIN")
    caplog.set_level("INFO", "cache_notify")
    cache = cache_notify.Cache(make_conninfo(dsn, user="reader"), heartbeat=0.1)
    assert cache.wait_until_listening(), cache.failure
    load = sum_of("acme")

    def get():
        return cache.get(db, "sum", load, reads=["price"], tenant="acme")

    get()
    time.sleep(0.5)     # heartbeats: without the right they must not drop anything
    get()
    assert load.calls == 1
    (pid,), = listeners(other)
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert until(lambda: listeners(other) not in ([], [(pid,)]))
    assert until(lambda: cache.listening)
    assert get() == [(31,)]
    assert sum("changes_since" in message for message in caplog.messages) == 1
    cache.close()
    other.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_close_at_any_moment(dsn):
    refused = "host=127.0.0.1 port=1 dbname=none"
    for conninfo, delay in ((refused, 0), (refused, 0.2), (dsn, 0), (dsn, 0.01), (dsn, 0.2)):
        cache = cache_notify.Cache(conninfo)
        time.sleep(delay)
        cache.close()
        cache.close()
        assert not cache.listening
        assert until(lambda cache=cache: not cache._listener._thread.is_alive())


def test_attempts_to_connect_are_spaced():
    cache = cache_notify.Cache("host=127.0.0.1 port=1 dbname=none")
    time.sleep(1)
    assert cache.metrics.snapshot()["listener_failures"] <= 6
    cache.close()


def test_many_threads_beside_a_writer(cache, dsn, other):
    """Nothing older than what was delivered before the call began."""
    stop = threading.Event()
    wrong = []
    floor = [0]

    def read():
        with psycopg.connect(dsn, autocommit=True) as db:
            while not stop.is_set():
                least = floor[0]
                (value,), = cache.get(db, "n", Counted(
                    "SELECT amount::int FROM price WHERE id = 1"), reads=["price"], tenant="acme")
                if value < least:
                    wrong.append((value, least))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for amount in range(100, 140):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        with psycopg.connect(dsn, autocommit=True) as db:
            version, = db.execute("SELECT cache_notify.version('price', 'acme')").fetchone()
        assert until(lambda version=version: (cache.core.heard_version("acme", "price") or 0) >= version)
        floor[0] = amount
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not wrong


@contextlib.contextmanager
def lane(other, name):
    """Of the whole server, as long as this lasts."""
    def reload(what):
        other.execute(f"ALTER SYSTEM {what}")
        other.execute("SELECT pg_reload_conf()")

    other.execute("LOAD 'cache_notify'")
    reload(f"SET cache_notify.delivery = {name}")
    try:
        yield
    finally:
        reload("RESET cache_notify.delivery")


def cheap_ones(db, cache):
    """What a view says, which depends on its definition."""
    return len(cache.query(db, "SELECT id FROM cheap", tenant="acme"))


@pytest.fixture
def cheap(other):
    other.execute("CREATE VIEW cheap AS SELECT * FROM price WHERE amount < 100")


@pytest.mark.parametrize("name", ["off", "wal"])
def test_no_lane_that_tells_listeners(cache, cheap, db, other, name):
    assert cheap_ones(db, cache) == 4
    with lane(other, name):
        assert until(lambda: not cache.listening)
        assert "cache_notify.delivery" in str(cache.failure)
        other.execute("CREATE OR REPLACE VIEW cheap AS SELECT * FROM price WHERE id = 1")
        assert cheap_ones(db, cache) == 1
        other.execute("CREATE OR REPLACE VIEW cheap AS SELECT * FROM price WHERE id IN (2, 3)")
        assert cheap_ones(db, cache) == 2
    assert until(lambda: cache.listening)
    assert cheap_ones(db, cache) == 2


@pytest.mark.parametrize("may_catch_up", [True, False])
def test_no_such_lane_for_a_moment(dsn, cheap, db, other, may_catch_up):
    """Between two heartbeats; nobody was told of what was changed meanwhile."""
    other.execute("CREATE ROLE listening LOGIN")
    try:
        listen = dsn if may_catch_up else make_conninfo(dsn, user="listening")
        with contextlib.closing(cache_notify.Cache(listen, heartbeat=3, lease=20)) as cache:
            assert cache.wait_until_listening(), cache.failure
            assert cheap_ones(db, cache) == cheap_ones(db, cache) == 4
            with lane(other, "off"):
                time.sleep(0.5)
                other.execute("CREATE OR REPLACE VIEW cheap AS SELECT * FROM price WHERE id = 1")
            assert until(lambda: cheap_ones(db, cache) == 1)
    finally:
        other.execute("DROP ROLE listening")
