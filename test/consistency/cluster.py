"""Throwaway servers that the checker may kill, restart, and promote."""

import os
import shutil
import subprocess
import time

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
BINDIR = subprocess.check_output([PG_CONFIG, "--bindir"], text=True).strip()


def program(name, *arguments, **options):
    with open(os.devnull, "w") as nowhere:
        subprocess.run([os.path.join(BINDIR, name), *arguments], check=True,
                       stdout=nowhere, **options)


class Server:
    """One data directory, with its socket beside it."""

    def __init__(self, directory):
        self.directory = directory
        self.data = os.path.join(directory, "data")

    def initialize(self, settings):
        os.mkdir(self.directory, 0o700)
        program("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--no-locale", "--no-sync")
        with open(os.path.join(HERE, "../../tools/server.conf")) as common:
            lines = common.read()
        with open(os.path.join(self.data, "postgresql.conf"), "a") as conf:
            conf.write(lines)
            for setting in settings:
                name, _, value = setting.partition("=")
                conf.write(f"{name} = '{value}'\n")

    def copy_from(self, primary):
        """Becomes a standby of another server."""
        os.mkdir(self.directory, 0o700)
        program("pg_basebackup", "-D", self.data, "-h", primary.directory, "-U", "postgres",
                "-R", "-c", "fast", "--no-sync")

    def start(self):
        program("pg_ctl", "start", "-s", "-w", "-D", self.data, "-l", self.directory + "/log",
                "-o", f"-c listen_addresses='' -k '{self.directory}'")

    def stop(self, mode):
        program("pg_ctl", "stop", "-s", "-D", self.data, "-m", mode)

    def promote(self):
        program("pg_ctl", "promote", "-s", "-w", "-D", self.data)

    def connect(self):
        return psycopg.connect(host=self.directory, autocommit=True, user="postgres", dbname="postgres")

    def execute(self, statement, *parameters):
        with self.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def take_schema_of(self, other):
        """Everything but the rows, and what belongs to replication."""
        file = os.path.join(self.directory, "schema.sql")
        program("pg_dump", "-h", other.directory, "-U", "postgres", "--schema-only",
                "--no-publications", "--no-subscriptions", "-f", file, "postgres")
        program("psql", "-h", self.directory, "-U", "postgres", "-X", "-q", "-v",
                "ON_ERROR_STOP=1", "-f", file, "postgres")

    def destroy(self):
        shutil.rmtree(self.directory)


class Cluster:
    """A primary and, if asked for, an asynchronous standby. Clients reach them
    as the hosts `primary` and `standby`, whichever servers these are now."""

    def __init__(self, directory, settings, with_standby):
        self.directory = directory
        self.settings = settings
        self.primary_host = os.path.join(directory, "primary")
        self.standby_host = os.path.join(directory, "standby")
        self._made = 0
        self.meanwhile = lambda: None   # called now and then while something takes long
        self.omitted = None     # one of protocols.STEPS
        self.former = None      # the old side, if it was left open
        self.primary = self._new_server()
        self.primary.initialize(settings)
        self.primary.start()
        self._point(self.primary_host, self.primary)
        self.standby = None
        self.failed_at = self.promoted_at = 0.0     # by time.monotonic()
        if with_standby:
            self.add_standby()

    def _new_server(self):
        self._made += 1
        return Server(os.path.join(self.directory, f"server{self._made}"))

    @staticmethod
    def _point(host, server):
        os.symlink(server.directory, host + ".new")
        os.replace(host + ".new", host)

    def add_standby(self):
        standby = self._new_server()
        standby.copy_from(self.primary)
        standby.start()
        self._point(self.standby_host, standby)
        self.standby = standby

    def restart(self, mode):
        self.primary.stop(mode)
        self.primary.start()

    def cut_off_standby(self):
        """From now on the standby receives nothing."""
        self.standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.execute("SELECT pg_reload_conf()")

    def fail_over(self):
        """The primary dies, and with it whatever the standby has not received."""
        old, self.primary, self.standby = self.primary, self.standby, None
        self.failed_at = time.monotonic()
        old.stop("immediate")
        self.primary.promote()
        self._point(self.primary_host, self.primary)
        self.promoted_at = time.monotonic()
        old.destroy()

    def replicate(self):
        """A new server that logical replication fills; returned once it has all rows."""
        old, new = self.primary, self._new_server()
        new.initialize(self.settings)
        new.start()
        new.execute("CREATE ROLE reader LOGIN IN ROLE pg_monitor; CREATE ROLE writer LOGIN")
        new.take_schema_of(old)
        if self.omitted == "counts_no_replicated_rows":
            for table in ("item", "price", "setting"):
                new.execute("SELECT cache_notify.setup_table_invalidation(%s)", table)
        old.execute("DROP PUBLICATION IF EXISTS moving; CREATE PUBLICATION moving FOR ALL TABLES")
        new.execute(f"CREATE SUBSCRIPTION moving CONNECTION 'host={old.directory} user=postgres"
                    " dbname=postgres application_name=moving' PUBLICATION moving")
        self._until(lambda: self.meanwhile() or new.execute(
            "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"))
        return new

    def leave_early(self, new):
        new.execute("DROP SUBSCRIPTION moving")
        time.sleep(0.2)

    def switch_over(self, new):
        """As doc/operations.md says. Nobody writes meanwhile but who ignores that."""
        old, standby = self.primary, self.standby
        old.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        old.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {self._ended()}")
        self._until(lambda: old.execute("SELECT count(*) = 0 FROM pg_prepared_xacts"))
        (lsn,), = old.execute("SELECT pg_current_wal_lsn()")
        if self.omitted != "leaves_early":
            self._until(lambda: old.execute(
                "SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots WHERE slot_name = 'moving'", lsn))
            new.execute("DROP SUBSCRIPTION moving")
        (origin,), = old.execute("SELECT cache_notify.version_origin()")
        if self.omitted not in ("leaves_listeners", "leaves_readers"):
            self._close(old)
        else:
            if self.former:
                self._close(self.former)
            self.former = old
        if self.omitted != "keeps_history":
            new.execute("SELECT cache_notify.new_history(%s)", origin)
        if standby:
            self._close(standby)
        self.primary, self.standby = new, None
        self._point(self.primary_host, new)
        if standby:
            self.add_standby()

    def _ended(self):
        """Whose connections end."""
        everybody = ("datname = current_database() AND backend_type = 'client backend'"
                     " AND pid <> pg_backend_pid()")
        return everybody + {"leaves_listeners": " AND application_name NOT LIKE '%%listener%%'",
                            "leaves_readers": " AND application_name <> ''"}.get(self.omitted, "")

    @staticmethod
    def _close(server):
        server.stop("immediate")
        server.destroy()

    @staticmethod
    def _until(question, patience=120):
        end = time.monotonic() + patience
        while question() != [(True,)]:
            if time.monotonic() > end:
                raise SystemExit("the new server does not get what the old one has")
            time.sleep(0.02)

    def wait_until_up(self):
        while True:
            try:
                return self.primary.execute("SELECT")
            except psycopg.OperationalError:
                time.sleep(0.02)

    def stop(self):
        for server in (self.standby, self.former, self.primary):
            if server:
                server.stop("immediate")
