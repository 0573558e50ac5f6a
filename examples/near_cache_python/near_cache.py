"""A near cache for Python: results of queries, kept in the memory of this
process, and dropped when cache_notify delivers that what they were made from
has changed.

    cache = NearCache("host=primary dbname=shop")
    ...
    prices = cache.get(connection, "acme", ["price"], "all prices", load_prices)

load_prices(connection) runs the query; the name "all prices" tells results of
the same tenant apart; ["price"] are the domains that the query reads.

What get() promises: it never returns a result that is older than what was
delivered to this process, and none at all from memory while deliveries do not
come in. With fresh=True it asks the server (one round trip, no query) and
never returns a result older than the moment of the call. Inside a transaction
it always does, so that a transaction sees its own changes and its own snapshot.
"""

import json
import logging
import select
import socket
import threading
import time
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

# One statement, one snapshot: the token and the versions belong together.
VERSIONS = """
    SELECT cache_notify.token(%(tenant)s::text, VARIADIC %(domains)s::text[]),
           current_setting('transaction_isolation') = 'read committed',
           domain, version, shared_version
    FROM cache_notify.versions(%(tenant)s::text, VARIADIC %(domains)s::text[])"""


@dataclass(frozen=True)
class Entry:
    value: object
    token: str
    # What it is as new as: (tenant, domain) -> version, and for changes that
    # concern all tenants (None, domain) -> shared version.
    versions: dict


class NearCache:
    def __init__(self, primary, channel="cache_invalidation",
                 heartbeat=1.0, lease=5.0, max_entries=100_000):
        """Starts listening on the server that takes the writes (primary: its
        connection string), whatever server the results are read from.

        heartbeat: seconds between questions what has changed, which also notice
        a dead connection. lease: entries are served for so many seconds after
        the last answer; so much staler a result can get when the network
        silently swallows everything. max_entries: the oldest go beyond that."""
        self._primary = primary
        self._channel = channel
        self._heartbeat = heartbeat
        self._lease = lease
        self._max_entries = max_entries

        self._lock = threading.Lock()
        self._entries = {}      # (tenant, name) -> Entry
        self._watching = {}     # key of Entry.versions -> {(tenant, name)}
        self._heard = {}        # the same key -> highest version delivered
        self._generation = 0    # moves when that is forgotten
        self._lease_ends = 0.0  # 0: not listening

        self._position = None   # changes before it need not be asked for
        self._wake_up, self._woken = socket.socketpair()
        self._closed = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self):
        self._closed = True
        self._wake_up.send(b"x")
        self._thread.join()
        self._wake_up.close()
        self._woken.close()

    # ------------------------------------------------------------- reading

    def get(self, connection, tenant, domains, name, load, fresh=False, primary=None):
        """The result of load(connection), from memory if possible.

        connection: where to read, a standby's allowed; then primary is an idle
        connection to the primary, asked once for each tenant and domain."""
        in_transaction = connection.info.transaction_status != TransactionStatus.IDLE
        entry = self._entries.get((tenant, name))
        if (entry and not fresh and not in_transaction
                and time.monotonic() < self._lease_ends):
            return entry.value

        generation = self._generation
        if primary:
            self._ask_floor(primary, tenant, domains)
        token, new_snapshots, versions = self._ask(connection, tenant, domains)
        if entry and entry.token == token:
            return entry.value

        # The versions are known; only now the query. The other way round, a
        # change in between would put the old result under the new version.
        value = load(connection)
        # No token: made from uncommitted changes. An old snapshot: whatever it
        # lacks may have been delivered, and forgotten, before we began.
        if token is not None and (new_snapshots or not in_transaction):
            self._store((tenant, name), Entry(value, token, versions), generation)
        return value

    @staticmethod
    def _ask(connection, tenant, domains):
        """The token (None if this transaction has changed one of the domains),
        whether each statement has a new snapshot, and the versions."""
        with connection.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(VERSIONS, {"tenant": tenant, "domains": domains}).fetchall()
        versions = {}
        for _, _, domain, version, shared_version in rows:
            versions[tenant, domain] = version
            versions[None, domain] = shared_version
        return rows[0][0], rows[0][1], versions

    def _ask_floor(self, primary, tenant, domains):
        """A standby may lag behind what was delivered before anybody asked for
        this tenant. So the primary says where to start, once."""
        if any((tenant, domain) not in self._heard for domain in domains):
            _, _, versions = self._ask(primary, tenant, domains)
            for (tenant, domain), version in versions.items():
                self._hear(tenant, domain, version)

    def _store(self, key, entry, generation):
        with self._lock:
            if generation != self._generation:
                return          # what was delivered meanwhile is forgotten
            if any(version < self._heard.get(watched, 0)
                   for watched, version in entry.versions.items()):
                return          # came too late: its own drop is already past
            self._drop(key)
            if len(self._entries) >= self._max_entries:
                self._drop(next(iter(self._entries)))
            self._entries[key] = entry
            for watched in entry.versions:
                self._watching.setdefault(watched, set()).add(key)

    # ----------------------------------------------------------- forgetting

    def _hear(self, tenant, domain, version):
        """(tenant, domain) has reached this version; tenant None: the shared
        one, which concerns the entries of every tenant."""
        watched = (tenant, domain)
        with self._lock:
            if len(self._heard) >= self._max_entries:
                self._generation += 1       # fills in flight might need them
                self._heard.clear()
            self._heard[watched] = max(version, self._heard.get(watched, 0))
            for key in list(self._watching.get(watched, ())):
                if self._entries[key].versions[watched] < version:
                    self._drop(key)

    def _drop(self, key):
        entry = self._entries.pop(key, None)
        for watched in entry.versions if entry else ():
            keys = self._watching[watched]
            keys.discard(key)
            if not keys:
                del self._watching[watched]

    def _reset(self):
        """Anything may have changed: forget all, refuse all fills in flight."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
            self._watching.clear()
            self._heard.clear()

    # ------------------------------------------------------------ listening

    def _listen(self):
        while not self._closed:
            try:
                with psycopg.connect(self._primary, autocommit=True) as connection:
                    self._follow(connection)
            except psycopg.Error as error:
                self._lease_ends = 0.0      # keep, but do not serve
                logging.warning("cache: deliveries interrupted: %s", error)
                select.select([self._woken], [], [], 0.1)

    def _follow(self, connection):
        connection.add_notify_handler(lambda notification: self._heard_payload(notification.payload))
        # First LISTEN, then ask: a change in between is then told twice, not never.
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        while not self._closed:
            self._catch_up(connection)
            self._receive(connection, time.monotonic() + self._heartbeat)

    def _catch_up(self, connection):
        """Apply what has changed since the last time, heard of or not."""
        asked_at = time.monotonic()
        position, = connection.execute("SELECT cache_notify.current_position()").fetchone()
        if self._position is None:
            self._reset()       # nobody listened while these fills began
        else:
            for tenant, domain, version in connection.execute(
                    "SELECT tenant_id, domain, version FROM cache_notify.changes_since(%s)",
                    [self._position]):
                if domain is None:
                    self._reset()
                else:
                    self._hear(tenant, domain, version)
        self._position = position
        self._lease_ends = asked_at + self._lease

    def _receive(self, connection, until):
        while not self._closed and (wait := until - time.monotonic()) > 0:
            if connection in select.select([connection, self._woken], [], [], wait)[0]:
                connection.pgconn.consume_input()
                while notification := connection.pgconn.notifies():
                    self._heard_payload(notification.extra.decode())

    def _heard_payload(self, payload):
        try:
            change = json.loads(payload)
            self._hear(change["tenant_id"], change["domain"], change["version"])
        except (ValueError, TypeError, KeyError):
            self._reset()       # {"reset": true}, or what we do not understand
