"""A thread that listens on the primary and tells a Core what it hears.

The order of things is what makes it safe: first LISTEN, then a notification of our
own that must come back, then the question what was missed, and only then the lease
that lets entries be served. The lease is renewed by an answer to each heartbeat.
"""

from __future__ import annotations

import logging
import math
import random
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PGnotify

from ._core import INTERNAL, Core, history_of
from ._errors import ConfigurationError, UnsupportedExtension
from ._payload import Change, is_version, parse_payload

log = logging.getLogger("cache_notify")

#: Versions of the extension that this package speaks with: major.minor.
SUPPORTED = ("1.",)

# Where the extension tells that views, functions and types were redefined.
DEFINITIONS = "cache_notify_definition"

# Seconds: until our own notification must have come, and between attempts to connect.
PROBE_TIMEOUT = 5.0
FIRST_DELAY = 0.1
LAST_DELAY = 5.0

# A connection that lasted so many seconds was a good one: the next attempt is soon.
GOOD_CONNECTION = 1.0
CONNECT_TIMEOUT = 5

EXTENSION = """
    SELECT (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'cache_notify'),
           pg_catalog.pg_is_in_recovery()"""

# The position; where deliveries go, once the library is loaded; and when the configuration
# was read last.
POSITION = """
    SELECT cache_notify.current_position(),
           pg_catalog.current_setting('cache_notify.delivery', true),
           pg_catalog.pg_conf_load_time()"""

# Lanes that send notifications.
LANES = {"auto", "commit", "worker"}

# Who may not read every tenant's changes is told so here, and not by an error.
MAY_CATCH_UP = """
    SELECT pg_catalog.has_function_privilege('cache_notify.changes_since(text)', 'EXECUTE')"""


def readable(sources: list[Any], seconds: float) -> list[Any]:
    """Which of these sockets can be read, within so many seconds. Not by select(), which
    ends at the 1,024th file of a process."""
    if not hasattr(select, "poll"):
        return select.select(sources, [], [], seconds)[0]
    poll = select.poll()
    by_number = {}
    for source in sources:
        number = source if isinstance(source, int) else source.fileno()
        by_number[number] = source
        poll.register(number, select.POLLIN)
    # Never too short, which would be once more in no time at all.
    return [by_number[number] for number, _ in poll.poll(math.ceil(max(seconds, 0) * 1000))]


class Listener:
    """Listens until close(). Every method may be called from any thread."""

    # What is said when it does not.
    _CONSEQUENCE = "not listening, nothing is served from memory"

    def __init__(self, conninfo: str, core: Core, channel: str, heartbeat: float,
                 lease: float, redefined: Callable[[], None]) -> None:
        self._conninfo = conninfo
        self._redefined = redefined  # what to do when a definition may have moved
        self._core = core
        self._channel = channel
        self._heartbeat = heartbeat
        self._lease = lease
        self._closed = False
        self._failure: Exception | None = None
        self._said: set[str] = set()
        self._tried = threading.Event()
        self._probe = b""
        self._probe_came = False
        self._position: str | None = None  # what changed before it was asked for
        self._settled: str | None = None  # what changed before it was told, with its keys
        self._configured_at: object = None
        # (tenant, domain) -> version that was not delivered yet; None: ask for all
        self._overdue: dict[tuple[str | None, str], int] | None = None
        self._wake_up, self._woken = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, name="cache_notify listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening. May be called at any moment, and again."""
        self._closed = True
        self._core.end_lease()
        self._wake_up.send(b"x")
        self._thread.join(timeout=CONNECT_TIMEOUT + 1)
        self._core.end_lease()  # it may just have been extended

    def abandon(self) -> None:
        """In a forked child: the thread is the parent's, and so is its connection."""
        self._closed = True
        self._wake_up.close()
        self._woken.close()

    @property
    def failure(self) -> Exception | None:
        """Why it does not listen, if it does not."""
        return self._failure

    def wait(self, timeout: float) -> bool:
        """Waits until it listens or has failed once; whether it listens."""
        self._tried.wait(timeout)
        return self._core.listening

    # ------------------------------------------------------------- the thread

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._closed:
            started = time.monotonic()
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 (nothing may end the listener)
                if self._failure is None and time.monotonic() - started > GOOD_CONNECTION:
                    delay = FIRST_DELAY
                self._failed(error)
            self._core.end_lease()
            self._sleep(delay * random.uniform(0.5, 1.5))
            delay = min(2 * delay, LAST_DELAY)

    def _failed(self, error: Exception) -> None:
        self._failure = error
        self._tried.set()
        if self._closed:
            return
        self._core.metrics.count("listener_failures")
        if isinstance(error, ConfigurationError):
            self._say(logging.ERROR, str(error))
        else:
            log.warning("%s: %s", self._CONSEQUENCE, error)

    def _say(self, level: int, message: str) -> None:
        """Says it once, not at each attempt."""
        if message not in self._said:
            self._said.add(message)
            log.log(level, message)

    def _sleep(self, seconds: float) -> None:
        if not self._closed:
            readable([self._woken], seconds)

    def _listen(self) -> None:
        parameters: dict[str, Any] = dict(conninfo_to_dict(self._conninfo))
        parameters.setdefault("connect_timeout", CONNECT_TIMEOUT)
        # A network that swallows everything: the lease ends by itself, the connection so.
        parameters.setdefault("tcp_user_timeout", int(min(self._lease, 1e6) * 1000))
        parameters.setdefault("application_name", "cache_notify listener")
        # What cannot be said in another encoding would end the connection.
        parameters["client_encoding"] = "UTF8"
        with psycopg.connect(**parameters, autocommit=True) as connection:
            # Before psycopg decodes it: what cannot be decoded is a reset, not an error.
            connection.pgconn.notify_handler = self._take
            self._check_server(connection)
            for channel in (self._channel, DEFINITIONS):
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._prove(connection, parameters)
            self._overdue = None  # what was sent while we did not listen is lost
            self._configured_at = None
            self._redefined()
            self._core.listen_anew()
            may_catch_up = self._may_catch_up(connection)
            while not self._closed:
                self._catch_up(connection, may_catch_up)
                self._failure = None
                self._tried.set()
                self._receive(connection, time.monotonic() + self._heartbeat)

    def _check_server(self, connection: psycopg.Connection) -> None:
        row = connection.execute(EXTENSION).fetchone()
        assert row is not None
        version, in_recovery = row
        if version is None:
            raise UnsupportedExtension(
                "the extension cache_notify is not in this database: "
                "CREATE EXTENSION cache_notify")
        if not version.startswith(SUPPORTED):
            raise UnsupportedExtension(
                f"the server has cache_notify {version}; this package speaks with "
                f"{', '.join(known + 'x' for known in SUPPORTED)}")
        if in_recovery:
            raise ConfigurationError(
                "listen on the primary: this server is a standby, where nobody can LISTEN")

    def _prove(self, connection: psycopg.Connection, parameters: dict[str, Any]) -> None:
        """A transaction pooler takes LISTEN, and swallows what should come of it, unless
        it happens to come while the server connection is ours: so somebody else sends
        it."""
        channel = f"cache_notify_{uuid.uuid4().hex}"
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        self._probe, self._probe_came = channel.encode(), False
        with psycopg.connect(**parameters, autocommit=True) as sender:
            sender.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(channel)))
        until = time.monotonic() + PROBE_TIMEOUT
        while not self._probe_came and not self._closed:
            if time.monotonic() >= until:
                raise ConfigurationError(
                    "a notification sent over the listening connection did not come back: "
                    "listen over a direct connection to PostgreSQL, not through a pooler "
                    "in transaction mode")
            self._receive(connection, min(until, time.monotonic() + 0.05))
        connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel)))

    def _may_catch_up(self, connection: psycopg.Connection) -> bool:
        row = connection.execute(MAY_CATCH_UP).fetchone()
        assert row is not None
        if not row[0]:
            self._say(logging.INFO, (
                "this role may not execute cache_notify.changes_since(text): after each "
                "lost connection the cache starts empty; GRANT EXECUTE to keep entries"))
        return bool(row[0])

    # -------------------------------------------------------------- heartbeat

    def _catch_up(self, connection: psycopg.Connection, may_catch_up: bool) -> None:
        """Hears what has changed since the last time. What we listened for may still
        be on its way, with the keys that it tells: it has until the next time."""
        asked_at = time.monotonic()
        row = connection.execute(POSITION).fetchone()
        assert row is not None
        self._check_lanes(row[1], row[2], may_catch_up)
        overdue, self._overdue = self._overdue, {}
        # What was overdue when the connection was lost came to nobody.
        since = self._settled if overdue is None else self._position
        if self._position is None or (not may_catch_up and overdue is None):
            self._reset("began_to_listen")
        elif may_catch_up:
            for tenant, domain, version in connection.execute(
                    "SELECT tenant_id, domain, version FROM cache_notify.changes_since(%s)",
                    [since]):
                self._missed(tenant, domain, version, overdue is None)
            for (tenant, domain), version in (overdue or {}).items():
                self._core.hear(Change(tenant, domain, version))
        self._settled = self._position if self._overdue else row[0]
        self._position = row[0]
        self._core.learn_history(history_of(row[0]))
        if not self._closed:
            self._core.extend_lease(asked_at + self._lease)

    def _check_lanes(self, setting: str | None, configured_at: object,
                     may_catch_up: bool) -> None:
        """Not every lane sends notifications, and of definitions nothing else tells."""
        if not LANES & {lane.strip().lower() for lane in (setting or "auto").split(",")}:
            raise ConfigurationError(
                f"cache_notify.delivery is {setting!r}: listeners are told of nothing; add "
                "worker to it")
        if self._configured_at not in (None, configured_at):
            # It may have been another lane in between.
            if not may_catch_up:
                self._reset("reloaded")
            self._redefined()
            self._core.listen_anew()
        self._configured_at = configured_at

    def _missed(self, tenant: str | None, domain: str | None, version: object,
                all_keys: bool) -> None:
        if domain is None or not is_version(version):
            self._reset("new_history")
            return
        assert isinstance(version, int)
        if all_keys:
            self._core.hear(Change(tenant, domain, version))
        elif version != self._core.heard_version(tenant, domain):
            self._core.hear(Change(tenant, domain, version, ()))
            assert self._overdue is not None
            self._overdue[tenant, domain] = version

    def _receive(self, connection: psycopg.Connection, until: float) -> None:
        """Hears what comes until then."""
        pgconn = connection.pgconn
        while not self._closed:
            while (notification := pgconn.notifies()) is not None:
                self._take(notification)
            now = time.monotonic()
            if now >= until:
                break
            wait = min(until, self._drained()) - now
            if wait <= 0:
                continue
            sources: list[Any] = [pgconn.socket, self._woken]
            if pgconn.socket in readable(sources, wait):
                pgconn.consume_input()

    def _drained(self) -> float:
        """All that has come is heard. Until when nothing else is to be done."""
        return float("inf")

    def _take(self, notification: PGnotify) -> None:
        if notification.relname == self._probe:
            self._probe_came = True
        else:
            self._heard(notification.extra)

    def _reset(self, reason: str) -> None:
        """Anything may have changed, definitions as well. What is known of statements goes
        first: a fill that begins after the reset must not meet it."""
        self._redefined()
        self._core.reset(reason)

    def _heard(self, payload: bytes) -> None:
        change = parse_payload(payload)
        if change is None:
            self._reset("payload")
            return
        if change.domain.startswith(INTERNAL):
            self._redefined()
        self._core.hear(change)
        place = (change.tenant, change.domain)
        if self._overdue and self._overdue.get(place, -1) <= change.version:
            self._overdue.pop(place, None)
