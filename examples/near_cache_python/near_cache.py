"""A near cache for Python: results of queries, kept in the memory of this
process, and dropped when cache_notify delivers that what they were made from
has changed.

    cache = NearCache("host=primary dbname=shop")
    ...
    prices = cache.get(connection, "acme", ["price"], "all prices", load_prices)

load_prices(connection) runs the query; the name "all prices" tells results of
the same tenant apart; ["price"] are the domains that the query reads, or keys
of them: ["price/123"]. A change of other keys leaves such a result alone if the
payloads tell the keys (setup_table_invalidation with keys and fields => '{keys}').

Without a tenant (None) a result may be made from the rows of all tenants. Payloads of
single tenants tell no version of the whole domain, so any of them drops it, and
refuses those that are being made.

What get() promises: it never returns a result that is older than what was
delivered to this process, and none at all from memory while deliveries do not
come in. With fresh=True it asks the server (one round trip, no query) and
never returns a result older than the moment of the call. Inside a transaction
it always does, so that a transaction sees its own changes and its own snapshot.

With NearCache(..., claim=10), of all who miss the same result, in whatever
process, one at a time computes it; meanwhile the others get the one before, for
at most so many seconds after it was dropped, or wait.
"""

import json
import logging
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple, Optional

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

# One statement, one snapshot: the token and the versions belong together. The
# names come back as payloads tell them, whatever way they were written.
VERSIONS = """
    SELECT cache_notify.token(%(tenant)s::text, VARIADIC %(names)s::text[]),
           current_setting('transaction_isolation') = 'read committed',
           tenant_id, domain, key, version, shared_version
    FROM cache_notify.near_versions(%(tenant)s::text, VARIADIC %(names)s::text[])"""


CLAIM = "SELECT cache_notify.claim_refresh(%s, %s, make_interval(secs => %s))"
FINISH = "SELECT cache_notify.finish_refresh(%s, %s)"

# Seconds between looks whether somebody else has finished.
CLAIM_POLL = 0.02


class Part(NamedTuple):
    """What an entry depends on: a domain, or one key of it, for a tenant or
    (None) in the changes that concern all tenants."""
    tenant: Optional[str]
    domain: str
    key: Optional[str]


@dataclass(frozen=True)
class Entry:
    value: object
    token: str
    versions: dict      # Part -> version of its domain that the value is as new as


def parse_name(name):
    """'contract/123' -> ('contract', '123'); 'contract' -> ('contract', None)"""
    domain, slash, key = name.partition("/")
    if name.startswith("cache_notify/"):
        return name, None
    for escaped, character in (("%2F", "/"), ("%2f", "/"), ("%25", "%")):
        domain = domain.replace(escaped, character)
    return domain, key if slash else None


def claim_name(tenant, name):
    """The name of a result among those of all processes, in whatever language."""
    return json.dumps([tenant, name], ensure_ascii=False, separators=(",", ":"))


class NearCache:
    def __init__(self, primary, channel="cache_invalidation",
                 heartbeat=1.0, lease=5.0, max_entries=100_000, claim=None):
        """Starts listening on the server that takes the writes (primary: its
        connection string), whatever server the results are read from.

        heartbeat: seconds between questions what has changed, which also notice
        a dead connection. lease: entries are served for so many seconds after
        the last answer; so much staler a result can get when the network
        silently swallows everything. max_entries: the oldest go beyond that.
        claim: see above; at most 5 minutes."""
        self._primary = primary
        self._channel = channel
        self._heartbeat = heartbeat
        self._lease = lease
        self._max_entries = max_entries
        self._claim = claim

        self._lock = threading.Lock()
        self._entries = {}      # (tenant, name) -> Entry
        self._before = {}       # (tenant, name) -> (value, until): dropped, by that time
        self._watching = {}     # (tenant, domain) -> key -> {(tenant, name)}
        self._whole = {}        # domain -> key -> {(None, name)}: of all tenants
        self._told = {}         # domain -> how often a tenant's change was delivered
        self._heard = {}        # Part -> highest version delivered
        self._all_keys = {}     # (tenant, domain) -> the same, of all its keys
        self._generation = 0    # moves when these are forgotten
        self._overdue = None    # (tenant, domain) -> version not delivered yet
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

        claims = self._claim is not None and not fresh and not in_transaction
        while True:
            generation = self._generation
            told = self._times_told(tenant, domains)
            behind = False
            if primary and tenant is None:
                _, _, there, whole_there = self._ask(primary, tenant, domains)
            elif primary:
                self._ask_floor(primary, tenant, domains)
            token, new_snapshots, versions, whole = self._ask(connection, tenant, domains)
            if primary and tenant is None and None not in whole_there + whole:
                behind = any(here < then for here, then in zip(whole, whole_there))
            if entry and entry.token == token:
                return entry.value
            if not claims or self._claimed(primary or connection, tenant, name, token):
                break
            value, until = self._before.get((tenant, name), (None, 0))
            if time.monotonic() < min(until, self._lease_ends):
                return value
            time.sleep(CLAIM_POLL)
            filled = self._entries.get((tenant, name))
            if filled and time.monotonic() < self._lease_ends:
                return filled.value

        try:
            filled = self._entries.get((tenant, name))
            if claims and filled and filled.token == token:
                return filled.value     # by who had the claim before
            # The versions are known; only now the query. The other way round, a
            # change in between would put the old result under the new version.
            value = load(connection)
            # No token: made from uncommitted changes. An old snapshot: whatever it
            # lacks may have been delivered, and forgotten, before we began.
            # A standby that is behind lacks what was delivered, too.
            if token is not None and not behind and (new_snapshots or not in_transaction):
                self._store((tenant, name), Entry(value, token, versions), generation, told)
            return value
        finally:
            if claims:
                self._ask_one(primary or connection, FINISH, [claim_name(tenant, name), token])

    def _claimed(self, primary, tenant, name, token):
        """Whether nobody else is computing this. Only the primary knows."""
        return self._ask_one(primary, CLAIM, [claim_name(tenant, name), token, self._claim])

    @staticmethod
    def _ask_one(connection, question, arguments):
        with connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(question, arguments).fetchone()[0]

    @staticmethod
    def _ask(connection, tenant, domains):
        """The token (None if this transaction has changed one of the domains, or one
        is not known), whether each statement has a new snapshot, the versions by Part,
        and without a tenant those of the whole domains."""
        with connection.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(VERSIONS, {"tenant": tenant, "names": domains}).fetchall()
        versions = {}
        for _, _, tenant_id, domain, key, version, shared in rows:
            versions[Part(tenant_id, domain, key)], versions[Part(None, domain, key)] = version, shared
        whole = [row[5] for row in rows] if tenant is None else []
        return rows[0][0], rows[0][1], versions, whole

    def _times_told(self, tenant, domains):
        if tenant is not None:
            return {}
        return {domain: self._told.get(domain, 0) for domain, _ in map(parse_name, domains)}

    def _ask_floor(self, primary, tenant, domains):
        """A standby may lag behind what was delivered before anybody asked for
        this tenant. So the primary says where to start, once."""
        if any(Part(tenant, *parse_name(name)) not in self._heard for name in domains):
            _, _, versions, _ = self._ask(primary, tenant, domains)
            for part, version in versions.items():
                if version is not None:
                    self._hear(part.tenant, part.domain, version,
                               None if part.key is None else [part.key])

    def _floor(self, part):
        """The version below which nothing of this part may be stored."""
        heard = self._heard.get(part, 0)
        if part.key is None:
            return heard
        return max(heard, self._all_keys.get((part.tenant, part.domain), 0))

    def _store(self, key, entry, generation, told):
        with self._lock:
            if generation != self._generation:
                return          # what was delivered meanwhile is forgotten
            if key[0] is not None and 2 * sum(part.tenant is not None for part in entry.versions) \
                    != len(entry.versions):
                return          # it is not exactly known which tenant this is
            if any(self._told.get(domain, 0) != times for domain, times in told.items()):
                return          # a tenant's change was delivered: is it in there?
            if any(version < self._floor(part) for part, version in entry.versions.items()):
                return          # came too late: its own drop is already past
            self._drop(key)
            if len(self._entries) >= self._max_entries:
                self._drop(next(iter(self._entries)))
            self._entries[key] = entry
            self._before.pop(key, None)
            for part in entry.versions:
                self._watching.setdefault(part[:2], {}).setdefault(part.key, set()).add(key)
                if key[0] is None:
                    self._whole.setdefault(part.domain, {}).setdefault(part.key, set()).add(key)

    # ----------------------------------------------------------- forgetting

    def _hear(self, tenant, domain, version, keys=None):
        """(tenant, domain) has reached this version, and since it was last heard
        of, these keys have changed (None: any); tenant None: the shared one,
        which concerns the entries of every tenant."""
        with self._lock:
            if len(self._heard) >= self._max_entries:
                self._generation += 1       # fills in flight might need them
                self._heard.clear()
                self._all_keys.clear()
            heard, place = self._heard, (tenant, domain)
            changed = [None] + (keys if keys is not None else [])
            new = [key for key in changed if version > heard.get(Part(tenant, domain, key), 0)]
            for part in (Part(tenant, domain, key) for key in changed):
                heard[part] = max(version, heard.get(part, 0))
            if tenant is not None and (new or keys is None):
                self._hear_of_whole(domain, new if keys is not None else None)
            watching = self._watching.get(place, {})
            if keys is None:
                self._all_keys[place] = max(version, self._all_keys.get(place, 0))
                changed = list(watching)
            for key in changed:
                for entry in list(watching.get(key, ())):
                    held = self._entries[entry]
                    if held.versions[Part(tenant, domain, key)] < version:
                        self._drop(entry)
                        if self._claim is not None:
                            self._keep(entry, held.value)

    def _hear_of_whole(self, domain, keys):
        """A tenant's rows with these keys (None: any) have changed: so have the
        results over all tenants, by how much is not told."""
        self._told[domain] = self._told.get(domain, 0) + 1
        whole = self._whole.get(domain, {})
        for key in list(whole) if keys is None else keys:
            for entry in list(whole.get(key, ())):
                value = self._entries[entry].value
                self._drop(entry)
                if self._claim is not None:
                    self._keep(entry, value)

    def _keep(self, key, value):
        """What was dropped, for those who may not compute it."""
        now = time.monotonic()
        self._before.pop(key, None)     # so that the order is that of their ends
        self._before[key] = value, now + self._claim
        while True:
            oldest = next(iter(self._before))
            if self._before[oldest][1] > now and len(self._before) <= self._max_entries:
                break
            del self._before[oldest]

    def _drop(self, key):
        entry = self._entries.pop(key, None)
        for part in entry.versions if entry else ():
            watching = self._watching[part[:2]]
            watching[part.key].discard(key)
            if not watching[part.key]:
                del watching[part.key]
            if not watching:
                del self._watching[part[:2]]
            if key[0] is None:
                self._whole[part.domain][part.key].discard(key)

    def _reset(self):
        """Anything may have changed: forget all, refuse all fills in flight."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
            self._before.clear()
            self._watching.clear()
            self._whole.clear()
            self._told.clear()
            self._heard.clear()
            self._all_keys.clear()

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
        self._overdue = None    # what we have not heard of is lost
        while not self._closed:
            self._catch_up(connection)
            self._receive(connection, time.monotonic() + self._heartbeat)

    def _catch_up(self, connection):
        """Apply what has changed since the last time, heard of or not. While we
        listen, a payload may be on its way that says which keys have changed: it
        has until the next time to come."""
        asked_at = time.monotonic()
        overdue, self._overdue = self._overdue, {}
        position, = connection.execute("SELECT cache_notify.current_position()").fetchone()
        if self._position is None:
            self._reset()       # nobody listened while these fills began
        else:
            for tenant, domain, version in connection.execute(
                    "SELECT tenant_id, domain, version FROM cache_notify.changes_since(%s)",
                    [self._position]):
                if domain is None:
                    self._reset()
                elif overdue is None:
                    self._hear(tenant, domain, version)
                elif version > self._heard.get(Part(tenant, domain, None), 0):
                    self._hear(tenant, domain, version, keys=[])
                    self._overdue[tenant, domain] = version
            for (tenant, domain), version in (overdue or {}).items():
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
            keys = change.get("keys")
            if not all(isinstance(key, str) for key in keys or ()):
                keys = None     # primary keys of several columns have no name
            tenant, domain, version = change["tenant_id"], change["domain"], change["version"]
            self._hear(tenant, domain, version, keys)
            if self._overdue and self._overdue.get((tenant, domain), 0) <= version:
                self._overdue.pop((tenant, domain), None)
        except (ValueError, TypeError, KeyError, AttributeError):
            self._reset()       # {"reset": true}, or what we do not understand
