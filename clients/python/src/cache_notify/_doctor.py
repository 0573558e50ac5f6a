"""cache-notify doctor: what is wrong with the server and the way to it; for people, CI
and monitoring."""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

WELL, WARNINGS, ERRORS, COULD_NOT_ASK = range(4)

#: Seconds until a notification of our own must have come.
PROBE_TIMEOUT = 5.0

COLOURS = {"error": "1;31", "warning": "33", "advice": "36"}


class Finding(NamedTuple):
    severity: str
    object: str
    problem: str
    advice: str


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor", help="say what is wrong, and what to do",
        description="Says what cache_notify.doctor() says, and whether a listener would hear"
        " anything at this address. Exit status: 0 all is well, 1 warnings, 2 errors,"
        " 3 could not ask.")
    parser.add_argument("dsn", nargs="?", default="",
                        help="the database, as postgresql://… or dbname=…; default: PGHOST and the like")
    parser.add_argument("--domain", action="append", dest="domains", metavar="NAME",
                        help="a domain or key that caches use, which must be known; may be repeated")
    parser.add_argument("--cache-role", metavar="ROLE", help="a role that runs a cache: which rights it lacks")
    parser.add_argument("--ignore", action="append", default=[], metavar="REGEX", type=re.compile,
                        help='findings whose "object: problem" matches are left out; may be repeated')
    parser.add_argument("--no-listen", action="store_true", help="do not try to listen")
    parser.add_argument("--json", action="store_true", help="a JSON object for each finding, one a line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import psycopg

    try:
        with psycopg.connect(arguments.dsn, autocommit=True, connect_timeout=10,
                             application_name="cache-notify doctor") as connection:
            found = list(examine(connection, arguments))
    except psycopg.Error as error:
        print(f"cache-notify doctor: could not ask: {error}", file=sys.stderr)
        hint = getattr(error.diag, "message_hint", None)
        if hint:
            print(f"HINT: {hint}", file=sys.stderr)
        return COULD_NOT_ASK
    found = [finding for finding in found
             if not any(pattern.search(f"{finding.object}: {finding.problem}")
                        for pattern in arguments.ignore)]
    show(found, arguments.json)
    severities = {finding.severity for finding in found}
    return ERRORS if "error" in severities else WARNINGS if severities else WELL


def examine(connection: Any, arguments: argparse.Namespace) -> Iterator[Finding]:
    if connection.execute("SELECT to_regprocedure('cache_notify.doctor(text[],name,interval)')"
                          ).fetchone()[0] is None:
        yield Finding("error", f"database {connection.info.dbname}",
                      "has no extension cache_notify that knows doctor()",
                      "CREATE EXTENSION cache_notify; or, if it is older: ALTER EXTENSION cache_notify UPDATE;")
        return
    yield from map(Finding._make, connection.execute(
        "SELECT * FROM cache_notify.doctor(%s::text[], %s::name)",
        [arguments.domains, arguments.cache_role]).fetchall())
    if arguments.no_listen:
        return
    if connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
        yield Finding("error", "listening", "this server is a standby, where nobody can listen",
                      "Listen on the primary; --no-listen asks a standby for the rest.")
    elif not hears(connection, arguments.dsn):
        yield Finding("error", "listening",
                      "a notification did not come back at this address, as through a pooler"
                      " in transaction mode",
                      "Have caches listen over a direct connection to PostgreSQL.")


def hears(connection: Any, dsn: str) -> bool:
    """Somebody else must send it: through a pooler one's own comes back, and no other."""
    import psycopg
    from psycopg import sql

    channel = sql.Identifier(f"cache_notify_{uuid.uuid4().hex}")
    connection.execute(sql.SQL("LISTEN {}").format(channel))
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as sender:
        sender.execute(sql.SQL("NOTIFY {}").format(channel))
    until = time.monotonic() + PROBE_TIMEOUT
    while time.monotonic() < until:
        if connection.pgconn.notifies() is not None:
            return True
        if select.select([connection.pgconn.socket], [], [], 0.1)[0]:
            connection.pgconn.consume_input()
    return False


def show(found: list[Finding], as_json: bool) -> None:
    if as_json:
        for finding in found:
            print(json.dumps(finding._asdict()))
        return
    for finding in found:
        print(f"{paint(finding.severity, finding.severity)}: {finding.object}: {finding.problem}")
        print(f"    {paint('advice', finding.advice)}")
    if not found:
        print("all is well")


def paint(what: str, text: str) -> str:
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\033[{COLOURS[what]}m{text}\033[0m"
