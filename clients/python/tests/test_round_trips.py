"""How often the server is asked, counted at a proxy: a hit not at all, a miss once more than
the query, also of pools and engines, which otherwise begin and end transactions."""

import contextlib
import socket
import tempfile
import threading

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from test_adapters import (
    alchemy_engine,
    alchemy_engine_of_psycopg2,
    psycopg2_connection,
    psycopg2_pool,
    psycopg_connection,
    psycopg_pool,
    rows_of,
)

SUM = "SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'"


class Proxy:
    """Counts how often a client spoke after the server had."""

    def __init__(self, folder, server):
        self.trips = 0
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.5432")
        self._listener.listen(10)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._server)
                state = {"server": True}
                for one, other, who in ((near, far, "client"), (far, near, "server")):
                    threading.Thread(target=self._carry, args=(one, other, who, state), daemon=True).start()

    def _carry(self, one, other, who, state):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if who == "client" and state["server"]:
                    self.trips += 1
                state["server"] = who == "server"
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def of(self, call):
        before = self.trips
        call()
        return self.trips - before


@pytest.fixture
def proxy(dsn):
    with psycopg.connect(dsn) as connection:
        info = connection.info
        server = f"{info.host}/.s.PGSQL.{info.port}"
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy(folder, server)
        proxy.dsn = make_conninfo(dsn, host=folder, port=5432)
        yield proxy
        proxy._listener.close()


@pytest.mark.parametrize("make", [
    psycopg_connection, psycopg_pool, psycopg2_connection, psycopg2_pool, alchemy_engine,
    alchemy_engine_of_psycopg2], ids=lambda make: make.__name__)
def test_round_trips(make, proxy, cache):
    with make(proxy.dsn) as db:
        def get(**options):
            return cache.get(db, "sum", lambda db: rows_of(db, SUM), reads=["price"], tenant="acme", **options)

        def query():
            return cache.query(db, SUM, tenant="acme")

        for _ in range(8):      # whatever a driver prepares, it has prepared
            rows_of(db, SUM)
            get(fresh=True)
        plain = proxy.of(lambda: rows_of(db, SUM))
        cache.forget_all()
        assert proxy.of(get) == plain + 1
        assert proxy.of(get) == 0
        assert proxy.of(lambda: get(fresh=True)) == 1
        query()
        cache.forget_all()
        assert proxy.of(query) == plain + 1
        assert proxy.of(query) == 0
