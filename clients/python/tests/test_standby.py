"""Reading from a standby: what the primary has said must be there."""

import os
import subprocess
import tempfile

import psycopg
import pytest
from conftest import Counted, until
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

import cache_notify

SUM = "SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'"


@pytest.fixture
def standby(dsn):
    """The connection string of a hot standby."""
    with tempfile.TemporaryDirectory() as directory:
        data = os.path.join(directory, "data")
        subprocess.run(["pg_basebackup", "-D", data, "-R", "-c", "fast"], check=True)
        subprocess.run(["pg_ctl", "start", "-s", "-w", "-D", data, "-o", f"-k {directory}",
                        "-l", data + ".log"], check=True)
        try:
            yield make_conninfo(dsn, host=directory)
        finally:
            subprocess.run(["pg_ctl", "stop", "-s", "-D", data, "-m", "immediate"], check=True)


@pytest.mark.skipif(os.getuid() == 0, reason="PostgreSQL does not run as root")
@pytest.mark.parametrize("options", [{"tenant": "acme"}, {}], ids=["tenant", "whole domain"])
def test_standby_that_lags(cache, dsn, standby, other, options):
    load = Counted(SUM)
    with psycopg.connect(standby, autocommit=True) as db:
        def get():
            return cache.get(db, "sum", load, reads=["price"], **options)

        def said(condition):
            return until(lambda: db.execute(f"SELECT {condition}").fetchone()[0])

        assert said("(SELECT count(*) = 4 FROM price)")
        get()
        assert get() == [(30,)] and load.calls == 1
        db.execute("SELECT pg_wal_replay_pause()")
        assert said("pg_get_wal_replay_pause_state() = 'paused'")
        before = cache.core.ticket()
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert until(lambda: cache.core.ticket() != before)
        for _ in range(2):
            assert get() == [(30,)]     # the standby has no other
        assert len(cache.core) == 0
        assert cache.metrics.snapshot()["refusals{lagging_standby}"] >= 2
        db.execute("SELECT pg_wal_replay_resume()")
        assert said("(SELECT max(amount) = 11 FROM price)")
        assert get() == [(31,)]
        assert len(cache.core) == 1


@pytest.mark.skipif(os.getuid() == 0, reason="PostgreSQL does not run as root")
def test_pool_of_standbys_is_not_kept(cache, standby):
    load = Counted(SUM)

    def run(pool):
        with pool.connection() as connection:
            return load(connection)

    with ConnectionPool(standby, kwargs={"autocommit": True}, min_size=1, open=True) as pool:
        for _ in range(2):
            assert cache.get(pool, "sum", run, reads=["price"], tenant="acme") == [(30,)]
    assert cache.metrics.snapshot()["refusals{pool_of_standbys}"] == 2


@pytest.mark.skipif(os.getuid() == 0, reason="PostgreSQL does not run as root")
def test_a_standby_is_read_while_the_primary_does_not_answer(dsn, standby, caplog):
    """Which is what standbys are for; nothing of it is kept."""
    cache = cache_notify.Cache(dsn, primary="host=127.0.0.1 port=1 dbname=none")
    assert cache.wait_until_listening(20)
    with psycopg.connect(standby, autocommit=True) as db:
        assert until(lambda: db.execute("SELECT count(*) = 4 FROM price").fetchone()[0])
        for _ in range(5):
            assert cache.get(db, "sum", Counted(SUM), reads=["price"], tenant="acme") == [(30,)]
    counts = cache.metrics.snapshot()
    assert counts["refusals{lagging_standby}"] == 5
    assert counts["primary_failures"] == 1
    assert cache.size == 0
    cache.close()
