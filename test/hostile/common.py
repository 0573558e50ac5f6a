"""What the parts of test/hostile share: writers, versions, the server's log."""

import os
import re
import subprocess
import sys

import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
LOG = os.path.join(os.environ["PGHOST"], "log")

problems = []


def fail(what):
    print(f"FAILED: {what}", flush=True)
    problems.append(what)


def finish():
    sys.exit(1 if problems else 0)


def connect(**options):
    return psycopg.connect("", autocommit=True, **options)


def run_file(name):
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", os.path.join(HERE, name)],
                   check=True, stdout=subprocess.DEVNULL)


class Writers:
    """pgbench with one of our scripts: writes of which none may fail."""

    def __init__(self, seconds, clients, *options, script="write.sql"):
        self.process = subprocess.Popen(
            ["pgbench", "-n", "-f", os.path.join(HERE, script), "-c", str(clients),
             "-T", str(int(seconds)), *options],
            env={**os.environ, "PGAPPNAME": "writer"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def check(self):
        """Wait for their end; how many transactions it was."""
        said = self.process.communicate()[0]
        done = re.search(r"transactions actually processed: (\d+)", said)
        if self.process.returncode != 0 or not done:
            fail("a writer gave up: " + said[-600:])
        failed = re.search(r"number of failed transactions: ([1-9]\d*)", said)
        if failed:
            fail(f"{failed.group(1)} writes failed")
        return int(done.group(1)) if done else 0


def check_versions(conn):
    """What the ledger says was written is what its versions say. Versions are
    without their origin, which new_history() moves."""
    rows = conn.execute(
        "SELECT tenant_id, written, cache_notify.version('ledger', tenant_id)"
        " - cache_notify.version_origin() FROM shop.ledger").fetchall()
    wrong = [row for row in rows if row[1] != row[2]]
    if wrong:
        fail(f"(tenant, written, version) of {len(wrong)} tenants differ: {wrong[:3]}")
    written = sum(row[1] for row in rows)
    if not written:
        fail("nothing was written")
    print(f"{written} changes of {len(rows)} tenants are what their versions say")


def our_places():
    """Our C functions and files, as errors in the log name where they come from."""
    pkglibdir = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--pkglibdir"],
                               check=True, capture_output=True, text=True).stdout.strip()
    found = subprocess.run(["nm", os.path.join(pkglibdir, "cache_notify.so")],
                           check=True, capture_output=True, text=True).stdout
    return (set(re.findall(r"^[0-9a-f]+ [tT] (\w+)", found, re.M)),
            {file for _, _, files in os.walk(os.path.join(TOP, "src")) for file in files})


# What the server or a library under it says when something broke.
BROKEN = re.compile(r"PANIC:|TRAP:|runtime error:|was terminated by signal|"
                    r"server process .* exited with exit code (?!1\b)|AddressSanitizer|stuck spinlock")


class Entry:
    """An entry of the log as log_line_prefix '%p %e %a|' and verbose errors make it."""

    def __init__(self, line):
        found = re.match(r"\d+ (\w{5}) ([^|]*)\|(\w+): +(.*)", line)
        self.state, self.application, self.level, self.message = found.groups()
        self.location = self.statement = self.context = ""

    def add(self, line):
        for name in ("LOCATION", "STATEMENT", "CONTEXT"):
            found = re.match(r"\d+ \w{5} [^|]*\|" + name + r": +(.*)", line)
            if found:
                setattr(self, name.lower(), found.group(1))
                self.last = name.lower()
                return
        if line.startswith("\t") and getattr(self, "last", None):
            setattr(self, self.last, getattr(self, self.last) + line)


def log_entries():
    """The entries of errors in the log; what broke is a failure at once."""
    entry = None
    with open(LOG, encoding="utf-8", errors="replace") as log:
        for line in log:
            if BROKEN.search(line):
                fail("in the log: " + line.strip()[:300])
            if re.match(r"\d+ \w{5} [^|]*\|(ERROR|FATAL|WARNING|LOG): ", line):
                if entry:
                    yield entry
                entry = Entry(line)
            elif entry:
                entry.add(line)
    if entry:
        yield entry
