#!/usr/bin/python3
"""pg_partman, pg_repack, PgBouncer and TimescaleDB: what they do to watched tables counts,
and takes nothing away.

Says in TAP whether versions move with the changes that they make, by their own programs and
functions, whether nothing else moves them, and whether doctor() is content afterwards.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../include"))
from tap import Tap  # noqa: E402

WAIT = 60.0
tap = Tap()


class Database:
    def __init__(self, name):
        self.name = name
        connection = psycopg2.connect("dbname=postgres")
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        self.connection = self.connect()
        self.run("CREATE EXTENSION cache_notify")

    def connect(self, **where):
        connection = psycopg2.connect(dbname=self.name, **where)
        connection.autocommit = True
        return connection

    def run(self, statement):
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement):
        return self.run(statement)[0][0]

    def has(self, extension):
        return self.value(f"SELECT count(*) FROM pg_available_extensions WHERE name = '{extension}'") == 1

    def version(self, domain, tenant="t"):
        return self.value(f"SELECT cache_notify.version('{domain}', '{tenant}')")

    def moves(self, name, domain, change, by=1):
        """by: how often exactly; None: at all."""
        before = self.version(domain)
        change() if callable(change) else self.run(change)
        moved = self.version(domain) - before
        tap.ok(moved == by if by is not None else moved > 0, name, {"moved": moved})

    def is_well(self, name):
        tap.equal(self.run("SELECT * FROM cache_notify.doctor()"), [], f"{name}: doctor() has nothing to say")


def wait_for(condition):
    until = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def partman():
    db = Database("partman")
    db.run("CREATE SCHEMA partman")
    db.run("CREATE EXTENSION pg_partman SCHEMA partman")
    major = int(db.value("SELECT split_part(extversion, '.', 1) FROM pg_extension WHERE extname = 'pg_partman'"))
    db.run("CREATE TABLE event (id bigint NOT NULL, tenant_id text, n int) PARTITION BY RANGE (id)")
    db.run("SELECT cache_notify.setup_table_invalidation('event', keys => '{id}', buckets => 1024)")
    db.run(f"""SELECT partman.create_parent('public.event', 'id', {"'native'," if major < 5 else ""}
        p_interval => '10', p_premake => 2)""")
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event'::regclass"
    made = db.value(partitions)
    tap.ok(made >= 3, "pg_partman makes partitions of a watched table", made)
    db.is_well("pg_partman")
    db.moves("a row in a partition that it made counts", "event",
             "INSERT INTO event SELECT i, 't', 1 FROM generate_series(1, 29) AS i")
    db.moves("and so does one by the partition's own name", "event",
             f"UPDATE {db.value('SELECT tableoid::regclass FROM event WHERE id = 25')} SET n = 2 WHERE id = 25")
    db.run("SELECT partman.run_maintenance('public.event')")
    more = db.value(partitions)
    tap.ok(more > made, "maintenance makes more", made, more)
    db.moves("which count", "event", "INSERT INTO event VALUES (40, 't', 1)")
    db.run("UPDATE partman.part_config SET retention = '20', retention_keep_table = false")
    db.moves("retention drops partitions with their rows", "event",
             lambda: db.run("SELECT partman.run_maintenance('public.event')"), by=None)
    tap.ok(db.value("SELECT min(id) FROM event") > 1, "which are gone")
    # Rows that were in the default partition are moved, by whatever it takes.
    if major >= 5 or db.value("SELECT to_regclass('event_default') IS NOT NULL"):
        db.run("INSERT INTO event VALUES (905, 't', 1)")
        token = db.value("SELECT cache_notify.token('t', 'event')")
        db.run("CALL partman.partition_data_proc('public.event')")
        tap.ok(db.value("SELECT count(*) FROM event WHERE id = 905") == 1, "rows are moved out of the default partition")
        db.moves("and count there", "event", "UPDATE event SET n = 9 WHERE id = 905")
        tap.ok(not db.value(f"SELECT cache_notify.is_current('{token}')"), "a token from before is not current")
    db.is_well("after maintenance")


def repack():
    db = Database("repack")
    db.run("CREATE EXTENSION pg_repack")
    db.run("CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int)")
    db.run("SELECT cache_notify.setup_table_invalidation('item', keys => '{id}')")
    db.run("INSERT INTO item SELECT i, 't', i FROM generate_series(1, 1000) AS i")
    before = db.run("SELECT * FROM cache_notify.v_invalidation_status")
    node = db.value("SELECT relfilenode FROM pg_class WHERE oid = 'item'::regclass")
    writer = db.connect()
    writes = 0
    program = subprocess.Popen(["pg_repack", "-d", db.name, "-t", "public.item"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    first = db.version("item")
    with writer.cursor() as cursor:
        while program.poll() is None and writes < 100_000:
            writes += 1
            cursor.execute("UPDATE item SET n = n + 1 WHERE id = %s", [writes % 1000 + 1])
            time.sleep(0.001)
    said = program.communicate()[0]
    tap.ok(program.returncode == 0, "pg_repack passes while somebody writes", said)
    tap.ok(node != db.value("SELECT relfilenode FROM pg_class WHERE oid = 'item'::regclass"), "the table has another file")
    moved = db.version("item") - first
    # What it does to the table is DDL, which may move the domain besides; nothing is missed.
    tap.ok(moved >= writes > 0, "each write has counted", {"moved": moved, "writes": writes})
    tap.ok(moved - writes <= 2, "and hardly anything else", {"moved": moved, "writes": writes})
    tap.equal(db.value("SELECT sum(n) FROM item"), 500500 + writes, "no row was lost")
    db.moves("an UPDATE counts afterwards", "item", "UPDATE item SET n = 0 WHERE id = 7")
    db.moves("and reaches its key", "item/7", "UPDATE item SET n = 1 WHERE id = 7")
    db.moves("and no other", "item/8", "UPDATE item SET n = 2 WHERE id = 7", by=0)
    tap.equal(db.run("SELECT * FROM cache_notify.v_invalidation_status"), before, "it is watched as before")
    db.is_well("pg_repack")


def timescale():
    db = Database("timescale")
    if not db.has("timescaledb"):
        tap.ok(True, "TimescaleDB # SKIP Debian has none for this version")
        return
    db.run("CREATE EXTENSION timescaledb")
    db.connection = db.connect()
    tap.ok(True, "TimescaleDB " + db.value("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"))
    db.run("CREATE TABLE metric (at timestamptz NOT NULL, tenant_id text, n int)")
    db.run("SELECT create_hypertable('metric', 'at', chunk_time_interval => interval '1 day')")
    db.run("SELECT cache_notify.setup_table_invalidation('metric')")
    rows = "SELECT timestamptz '2026-01-01' + i * interval '1 day', 't', i FROM generate_series(1, 5) AS i"
    # A new chunk is a new child of the table, which counts for all tenants.
    db.moves("rows in new chunks count, and so do the chunks, once", "metric", f"INSERT INTO metric {rows}", by=2)
    db.moves("rows in chunks that are there, too", "metric", f"INSERT INTO metric {rows}")
    db.moves("an UPDATE over chunks counts once", "metric", "UPDATE metric SET n = n + 1")
    db.moves("one that changes nothing does not", "metric", "UPDATE metric SET n = n", by=0)
    db.moves("a DELETE counts", "metric", "DELETE FROM metric WHERE at = '2026-01-03'")
    chunk = db.value("SELECT c::text FROM show_chunks('metric') AS c LIMIT 1")
    db.moves("a write into a chunk by its own name counts", "metric", f"UPDATE {chunk} SET n = n + 1")
    db.moves("COPY counts", "metric", lambda: copy(db, "metric", "2026-01-02\tt\t1\n2026-02-02\tt\t1\n"), by=None)
    db.moves("chunks that are dropped count", "metric",
             "SELECT drop_chunks('metric', older_than => timestamptz '2026-01-04')", by=None)
    tap.ok(db.value("SELECT min(at) >= '2026-01-03' FROM metric"), "and their rows are gone")
    db.moves("TRUNCATE counts", "metric", "TRUNCATE metric", by=None)
    db.is_well("TimescaleDB")
    # A table with rows that becomes one.
    db.run("CREATE TABLE old (at timestamptz NOT NULL, tenant_id text, n int)")
    db.run("SELECT cache_notify.setup_table_invalidation('old')")
    db.run(f"INSERT INTO old {rows}")
    db.run("SELECT create_hypertable('old', 'at', migrate_data => true)")
    db.moves("a watched table that becomes a hypertable: a row counts", "old", "UPDATE old SET n = 7 WHERE n = 1")
    db.moves("and a row in a new chunk", "old", "INSERT INTO old VALUES ('2026-03-01', 't', 1)", by=2)
    db.is_well("and")


def copy(db, table, rows):
    import io

    with db.connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(rows))


def bouncer():
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not os.path.exists(program):
        tap.ok(True, "PgBouncer # SKIP it is not installed")
        return
    db = Database("bouncer")
    db.run("CREATE TABLE item (id int PRIMARY KEY, tenant_id text, n int)")
    db.run("SELECT cache_notify.setup_table_invalidation('item')")
    db.run("INSERT INTO item VALUES (1, 't', 1)")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        host, port = os.environ["PGHOST"], os.environ["PGPORT"]
        with open(f"{folder}/ini", "w", encoding="utf-8") as file:
            file.write(f"""[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 3
logfile = {folder}/log
""")
        with open(f"{folder}/said", "wb") as said:
            process = subprocess.Popen([program, f"{folder}/ini"], stdout=said, stderr=said)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        tap.ok(wait_for(lambda: os.path.exists(f"{folder}/.s.PGSQL.6432")), "PgBouncer runs, in transaction mode")
        pooled = [db.connect(host=folder, port=6432) for _ in range(3)]
        listener, asker, other = (connection.cursor() for connection in pooled)
        listener.execute("LISTEN cache_invalidation")
        direct = db.connect()
        direct.cursor().execute("LISTEN cache_invalidation")

        asker.execute("SELECT cache_notify.token('t', 'item')")
        token = asker.fetchone()[0]
        other.execute("UPDATE item SET n = 2")
        asker.execute("SELECT cache_notify.is_current(%s)", [token])
        tap.equal(asker.fetchone()[0], False, "tokens are right through it")
        asker.execute("SELECT cache_notify.token('t', 'item')")
        token = asker.fetchone()[0]
        asker.execute("SELECT cache_notify.claim_refresh('a', %s, '1 minute')", [token])
        tap.equal(asker.fetchone()[0], True, "a refresh is claimed by one connection")
        other.execute("SELECT cache_notify.claim_refresh('a', %s, '1 minute')", [token])
        tap.equal(other.fetchone()[0], False, "not by another")
        other.execute("SELECT cache_notify.finish_refresh('a', %s)", [token])
        asker.execute("SELECT cache_notify.claim_refresh('a', %s, '1 minute')", [token])
        tap.equal(asker.fetchone()[0], True, "and may be finished by another")

        def hears():
            direct.poll()
            return direct.notifies

        tap.ok(wait_for(hears), "a direct connection hears of the change")
        pooled[0].poll()
        tap.equal(pooled[0].notifies, [], "a listener through it does not")
        for connection in pooled:
            connection.close()


def main():
    partman()
    repack()
    timescale()
    bouncer()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
