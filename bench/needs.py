"""What some variants and scenarios need beyond PostgreSQL, and whether it is here.

`prepare` brings it; where it cannot, what needs it is skipped."""

import os
import shutil
import subprocess

from server import run

HERE = os.path.dirname(os.path.abspath(__file__))

# Where `prepare` puts it.
PGCACHEWATCH = os.path.join(HERE, "build", "pgcachewatch", "bin", "python3")

APP = os.path.join(HERE, "build", "app", "bin", "python3")

SEQUEL_TRIGGER = os.path.join(HERE, "peers", "sequel_trigger.rb")


def output(command):
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def sequel(_):
    return output(["ruby", "-e", "require 'pg'; require 'sequel'; print Sequel.version"])


def pgcachewatch(_):
    return output([
        PGCACHEWATCH, "-c",
        "import importlib.metadata as m, pgcachewatch.cli; print(m.version('pgcachewatch'))",
    ])


def tcn(server):
    return server.sql(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'tcn';"
    )


def callgrind(_):
    return shutil.which("valgrind") and output(["valgrind", "--version"])


def psycopg(_):
    return output([
        "/usr/bin/python3", "-c",
        "import importlib.metadata as m, psycopg; print(m.version('psycopg'))",
    ])


def django(_):
    return shutil.which("redis-server") and output([
        APP, "-c", "import importlib.metadata as m, cachetools, psycopg;"
        "print(m.version('django'), *(f'{name} ' + m.version(name)"
        " for name in ('django-cacheops', 'django-cachalot', 'redis')), sep=', ')",
    ])


def nodes(_):
    return shutil.which("redis-server") and output([
        "/usr/bin/python3", "-c",
        "import importlib.metadata as m, psycopg, redis; print(m.version('redis'))",
    ])


# What is needed: its version if it is here, and what it comes from.
NEEDS = {
    "sequel": (sequel, "the packages ruby-sequel and ruby-pg"),
    "pgcachewatch": (pgcachewatch, "the Python package pgcachewatch"),
    "tcn": (tcn, "PostgreSQL's contrib module tcn"),
    "psycopg": (psycopg, "the package python3-psycopg"),
    "django": (django, "the Python package django, with what it is compared with, or redis-server"),
    "nodes": (nodes, "the packages redis-server, python3-redis and python3-psycopg"),
    "callgrind": (callgrind, "the package valgrind"),
}


def found(scenarios, server):
    """The versions of what these scenarios need; None for what is missing."""
    wanted = dict.fromkeys(need for s in scenarios for need in s.needs())
    return {need: NEEDS[need][0](server) or None for need in wanted}


def source(need):
    return NEEDS[need][1]


# ---- the peers' own installers


def install_sequel_trigger(channel):
    def install(server, database):
        run(["ruby", SEQUEL_TRIGGER, database, "item", channel], server.environment)

    return install


def install_pgcachewatch(channel):
    def install(server, database):
        run(
            [PGCACHEWATCH, "-m", "pgcachewatch", "install", "item", "--commit",
             "--channel-name", channel, "--pg-database", database],
            server.environment,
        )

    return install
