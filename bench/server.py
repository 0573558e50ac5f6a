"""A private PostgreSQL server, made for one benchmark and deleted with it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum": "on",
    # For all variants: it cannot come and go without a restart.
    "shared_preload_libraries": "cache_notify",
    # Checkpoints happen where the runner asks for them, not in the middle of a run.
    "checkpoint_timeout": "1h",
    "min_wal_size": "1GB",
    "max_wal_size": "16GB",
}

# Written before anything is measured, then recycled, so that no run pays for
# the creation of WAL files.
WAL_MADE_READY_MB = 768


class BenchError(Exception):
    """Something that makes the benchmark stop, with a message for its user."""


def run(command, environment, **options):
    """Run a command to its end; its standard output, or BenchError."""
    done = subprocess.run(
        command, env=environment, text=True, capture_output=True, check=False, **options
    )
    if done.returncode != 0:
        name = os.path.basename(command[0])
        raise BenchError(f"{name} failed:\n{(done.stdout + done.stderr).strip()}")
    return done.stdout


class Server:
    """Use it in a `with` block: it runs inside and leaves nothing behind."""

    def __init__(self, pg_config="pg_config", data_parent=None):
        self.pg_config = pg_config
        self.data_parent = data_parent
        self.directory = None
        self.socket_directory = None
        self.applied = {}
        self.client = None  # the program of client/, once `run` has built it
        # No PG* variable of the caller may lead to another server, no locale
        # may translate what is parsed, no surrounding make may hand on its flags.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "LC_", "LANG", "MAKE", "MFLAGS"))
        }
        self.environment["LC_ALL"] = "C"
        try:
            self.bindir = run([pg_config, "--bindir"], self.environment).strip()
        except OSError as error:
            raise BenchError(f"cannot run {pg_config}: {error.strerror}") from error

    def program(self, name):
        return os.path.join(self.bindir, name)

    # ---- life

    def __enter__(self):
        try:
            # The socket has a directory of its own: its path must be short.
            self.socket_directory = tempfile.mkdtemp(prefix="cache_notify_bench_")
            self.directory = tempfile.mkdtemp(
                prefix="cache_notify_bench_", dir=self.data_parent
            )
            self.data = os.path.join(self.directory, "data")
            self.log = os.path.join(self.directory, "log")
            self.environment.update(
                PGHOST=self.socket_directory, PGPORT="5432", PGUSER="bench"
            )
            self._create()
            self._pg_ctl("start")
            self._make_wal_ready()
        except OSError as error:
            self.__exit__()
            raise BenchError(f"cannot start a server: {error}") from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave half of it behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self.directory and os.path.exists(os.path.join(self.data, "postmaster.pid")):
            subprocess.run(
                [self.program("pg_ctl"), "stop", "-s", "-m", "immediate", "-D", self.data],
                env=self.environment,
                check=False,
                start_new_session=True,
            )
        for directory in (self.directory, self.socket_directory):
            if directory:
                shutil.rmtree(directory, ignore_errors=True)

    def _create(self):
        run(
            [self.program("initdb"), "-D", self.data, "-U", "bench", "-A", "trust",
             "-E", "UTF8", "--no-locale", "--no-sync"],
            self.environment,
        )
        self._write_applied({})
        own = dict(SETTINGS, unix_socket_directories=self.socket_directory)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as file:
            file.write(lines(own))
            file.write("include = 'applied.conf'\n")

    def _write_applied(self, settings):
        with open(os.path.join(self.data, "applied.conf"), "w") as file:
            file.write(lines(settings))

    def _pg_ctl(self, action):
        # Not through run(): the server would inherit its pipes and keep them open.
        done = subprocess.run(
            [self.program("pg_ctl"), action, "-s", "-w", "-D", self.data, "-l", self.log],
            env=self.environment, stdout=subprocess.DEVNULL, check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"the server does not {action}:\n{self.log_tail()}")

    def _make_wal_ready(self):
        self.sql(
            "SELECT count(pg_logical_emit_message(false, 'bench', repeat('x', 1024 * 1024)))"
            f" FROM generate_series(1, {WAL_MADE_READY_MB});"
        )
        self.sql("CHECKPOINT;")
        os.sync()  # or the first run would pay for what initdb has left behind

    @contextlib.contextmanager
    def standby(self):
        """A synchronous standby, for as long as the `with` block lasts."""
        data = os.path.join(self.directory, "standby")
        log = os.path.join(self.directory, "standby.log")
        run([self.program("pg_basebackup"), "-D", data, "-R", "-c", "fast", "--no-sync"],
            self.environment)
        pg_ctl = [self.program("pg_ctl"), "-s", "-w", "-D", data, "-l", log]
        subprocess.run([*pg_ctl, "-o", "-c port=5433", "start"], env=self.environment,
                       stdout=subprocess.DEVNULL, check=True)
        try:
            yield
        finally:
            self.apply({})  # or commits would wait for it
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], env=self.environment,
                           check=False)
            shutil.rmtree(data, ignore_errors=True)

    @contextlib.contextmanager
    def under_callgrind(self):
        """The server counts instructions, for as long as the `with` block lasts:
        callgrind_file() of a process that has ended says how many. Without
        autovacuum, which would come at another time in each run."""
        self._pg_ctl("stop")
        with open(self.log, "a") as log:
            valgrind = subprocess.Popen(
                ["valgrind", "-q", "--tool=callgrind",
                 f"--callgrind-out-file={self.callgrind_file('%p')}",
                 self.program("postgres"), "-D", self.data, "-c", "autovacuum=off"],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_for_start(valgrind)
            yield
        finally:
            valgrind.send_signal(signal.SIGINT)
            valgrind.wait()
        self._pg_ctl("start")

    def callgrind_file(self, pid):
        return os.path.join(self.directory, f"callgrind.{pid}")

    def _wait_for_start(self, process, patience_s=180):
        deadline = time.monotonic() + patience_s
        ready = [self.program("pg_isready"), "-q"]
        while subprocess.run(ready, env=self.environment, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the server does not start:\n{self.log_tail()}")
            time.sleep(0.2)

    def log_tail(self, count=20):
        try:
            with open(self.log, errors="replace") as file:
                return "".join(file.readlines()[-count:])
        except OSError:
            return ""

    # ---- use

    def sql(self, text, database="postgres", **variables):
        """Run SQL through psql (`:'name'` stands for a variable); the rows as text."""
        command = [self.program("psql"), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        return run(command + ["-d", database], self.environment, input=text).strip()

    def apply(self, settings):
        """Make exactly these settings hold, besides SETTINGS, for every new session."""
        if settings == self.applied:
            return
        # A file of our own rather than ALTER SYSTEM: that one refuses, up to
        # PostgreSQL 15, the settings of an extension that is not loaded.
        self._write_applied(settings)
        before = self.sql("SELECT pg_conf_load_time(); SELECT pg_reload_conf();").split()
        before = " ".join(before[:-1])
        deadline = time.monotonic() + 10
        while self.sql("SELECT pg_conf_load_time() = :'before';", before=before) == "t":
            if time.monotonic() > deadline:
                raise BenchError(f"the server does not reload its settings:\n{self.log_tail()}")
        if self.sql("SELECT count(*) FROM pg_settings WHERE pending_restart;") != "0":
            self._pg_ctl("restart")
        self.applied = dict(settings)

    def cpu_seconds(self):
        """Processor time that the server's processes have used so far, the present
        ones and those that are gone."""
        with open(os.path.join(self.data, "postmaster.pid")) as file:
            postmaster = int(file.readline())
        ticks = 0
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{int(name)}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (ValueError, OSError):
                continue
            # From the third field on: parent is 1, utime to cstime are 11 to 14.
            if int(name) == postmaster:
                ticks += sum(int(n) for n in fields[11:15])
            elif int(fields[1]) == postmaster:
                ticks += sum(int(n) for n in fields[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def refused_settings(self, database, library=None):
        """What the server, with this library loaded, does not accept as it is applied."""
        load = f"LOAD '{library}';" if library else ""
        return self.sql(
            load + "SELECT name, setting, error FROM pg_file_settings"
            " WHERE error IS NOT NULL AND sourcefile LIKE '%/applied.conf';",
            database,
        )

    def build_module(self, source):
        """Build the directory `source`; the path of the program, or of the module for
        CREATE FUNCTION."""
        name = os.path.basename(source)
        build = os.path.join(self.directory, name)
        shutil.copytree(source, build)
        run(["make", "-s", "-C", build, f"PG_CONFIG={self.pg_config}", "with_llvm=no"],
            self.environment)
        return os.path.join(build, name)


def lines(settings):
    """Settings as lines of a configuration file."""
    return "".join(
        "{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in settings.items()
    )
