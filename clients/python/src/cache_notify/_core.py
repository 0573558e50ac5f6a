"""The state of a near cache, and the rules that keep it from serving what is stale.

Nothing here does I/O or waits, so both caches (threads, asyncio) share it. Every
method that is not marked otherwise takes the lock for a short time.

Time is told by a sequence number that moves with each thing heard. What is heard
concerns entries that are held and fills that are in flight; a fill that begins
later sees it in the database. That is why

* a fill takes a ticket before it asks for versions, and is stored only if nothing
  heard since then says more than its versions;
* a version is compared with what was heard only if it was heard after the ticket,
  so that a payload with nonsense in it costs one refused fill and no more;
* what was heard may be forgotten at any time, if the fills in flight are refused:
  the generation.

Entries of a whole domain cannot be compared with the version of one tenant. Any
change of the domain heard drops them, and refuses the fills in flight. The same goes
for definitions: which names a statement's result was made from was found out before
the versions were asked for, so what was heard since then counts, whatever its version.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from cachetools import LRUCache

from . import _explain
from ._heard import Heard, Ticket, fold
from ._metrics import Metrics
from ._payload import Change

# The extension's own domains: that a view, a function or a type is as it was.
INTERNAL = "cache_notify/"

# Tenants of domains of which it is remembered how callers spell them.
MAX_SPELLED = 10_000

# Entries of which it is remembered why they were dropped.
MAX_GONE = 1_000

# Seconds: how exactly the least recently used entry is told.
TOUCH_AFTER = 1.0


@dataclass(frozen=True)
class Part:
    """One thing that a result was made from, by the server's names.

    tenant None: of the whole domain. key None: the domain, not one key of it."""

    tenant: str | None
    domain: str
    key: str | None
    version: int
    shared_version: int

    @property
    def internal(self) -> bool:
        return self.domain.startswith(INTERNAL)


@dataclass(slots=True)
class Entry:
    value: Any
    token: str
    parts: tuple[Part, ...]
    expires: float
    # for at most so many seconds after it was dropped or has expired
    serve_while_revalidating: float = 0.0
    serve_on_error: float = 0.0
    ended: float = 0.0
    touched: float = 0.0


class _Entries(LRUCache):  # type: ignore[type-arg]
    """An LRUCache that says what it evicts."""

    def __init__(self, maxsize: float, size_of: Callable[[Entry], float] | None,
                 evicted: Callable[[Hashable, Entry], None]) -> None:
        super().__init__(maxsize, size_of)
        self._evicted = evicted

    def popitem(self) -> tuple[Hashable, Entry]:
        name, entry = super().popitem()
        self._evicted(name, entry)
        return name, entry


class Core:
    """Entries, what was heard, and whether deliveries come in."""

    def __init__(self, max_entries: int, max_bytes: int | None,
                 size_of: Callable[[Any], int] | None, metrics: Metrics) -> None:
        self.lock = threading.RLock()
        self.metrics = metrics
        self.clock = monotonic
        if max_bytes is None:
            self._entries = _Entries(max_entries, None, self._unwatch)
        else:
            sizes = size_of or _pickled_size
            self._entries = _Entries(max_bytes, lambda entry: sizes(entry.value), self._unwatch)
        self._held: dict[Hashable, Entry] = {}  # the same, for a quick look
        # dropped and expired ones, for those who may serve them a while
        self._ended: LRUCache[Hashable, Entry] = LRUCache(max_entries)
        # (tenant as callers write it, domain) -> tenant as the server does
        self._spelled: LRUCache[tuple[str | None, str], str | None] = LRUCache(MAX_SPELLED)
        # why entries were dropped, and of what a change was, once explain() was called
        self._gone: LRUCache[Hashable, tuple[str, Part | None]] = LRUCache(MAX_GONE)
        # domain -> tenant (None: whole) -> key (None: all) -> names of entries
        self._watching: dict[str, dict[str | None, dict[str | None, set[Hashable]]]] = {}
        self.heard = Heard()
        self._lease_ends = 0.0  # 0: deliveries do not come in
        self._history: str | None = None  # whose deliveries come in, if that is known
        self.hits = 0

    # ------------------------------------------------------------- the lease

    def extend_lease(self, until: float) -> None:
        self._lease_ends = until

    def end_lease(self) -> None:
        """Keeps what is there, and serves none of it from memory."""
        self._lease_ends = 0.0

    @property
    def listening(self) -> bool:
        return self.clock() < self._lease_ends

    def learn_history(self, history: str | None) -> None:
        """Of which history (see history_of()) deliveries come in. Results of another one,
        such as those of another database, are not kept: nobody would tell of changes."""
        self._history = history

    def is_foreign(self, entry: Entry) -> bool:
        return self._history is not None and history_of(entry.token) != self._history

    # --------------------------------------------------------------- reading

    def find(self, name: Hashable) -> Entry | None:
        """The entry to serve from memory, if there is one. What everything is for: it
        costs little more than the look-up itself."""
        with self.lock:
            entry = self._held.get(name)
            if entry is None:
                return None
            now = monotonic()
            if now < self._lease_ends and now < entry.expires:
                self.hits += 1
                if now > entry.touched + TOUCH_AFTER:
                    entry.touched = now
                    self._entries[name]  # the most recently used one now
                return entry
            if now >= entry.expires:
                self._drop(name, "expired")
            return None

    def peek(self, name: Hashable) -> Entry | None:
        """The entry, whether or not it may be served without asking: compare its
        token."""
        with self.lock:
            entry = self._held.get(name)
            return entry if entry is not None and self.clock() < entry.expires else None

    def ended(self, name: Hashable) -> Entry | None:
        """The entry that was dropped or has expired, to be served for a while."""
        with self.lock:
            return self._ended.get(name)

    # --------------------------------------------------------------- filling

    def ticket(self) -> Ticket:
        """Taken before a fill asks for its versions."""
        return self.heard.ticket()

    def outdated(self, ticket: Ticket, parts: Iterable[Part] | None) -> bool:
        """Whether something heard since the ticket says more than these versions.
        Parts that are not known yet may lack anything heard."""
        with self.heard.lock:
            if self.heard.forgotten_since(ticket):
                return True
            if parts is None:
                return not self.heard.silent_since(ticket)
            return any(self._lacks(ticket, part) for part in parts)

    def store(self, name: Hashable, entry: Entry, ticket: Ticket) -> bool:
        """Keeps the entry, unless that could serve something stale."""
        # Whatever is heard is heard before the look, or of what is held by then.
        with self.lock, self.heard.lock:
            if not self.listening:
                return self._refuse("not_listening")
            if self.is_foreign(entry):
                return self._refuse("another_database")
            if self.outdated(ticket, entry.parts):
                return self._refuse("outdated")
            self._drop(name, "replaced")
            self._ended.pop(name, None)
            try:
                self._entries[name] = entry
                self._held[name] = entry
            except ValueError:
                return self._refuse("too_large")
            for part in entry.parts:
                keys = self._watching.setdefault(part.domain, {}).setdefault(part.tenant, {})
                keys.setdefault(fold(part.key), set()).add(name)
                self.heard.hold(part.tenant, part.domain, self)
            self.metrics.count("stores")
            return True

    def _refuse(self, reason: str) -> bool:
        self.metrics.count("refusals", reason)
        return False

    def _lacks(self, ticket: Ticket, part: Part) -> bool:
        return self.heard.lacks(ticket, part)

    # --------------------------------------------------------------- hearing

    def heard_version(self, tenant: str | None, domain: str) -> float | None:
        """The version last heard of, None if it is not remembered."""
        return self.heard.version(tenant, domain)

    def hear(self, change: Change) -> None:
        """A change was delivered: drops what it outdates, and remembers it for the
        fills in flight."""
        self._hear(change.tenant, change.domain, change.version, change.keys)

    def hear_own(self, tenant: str | None, domain: str) -> None:
        """The application itself has changed something, and its delivery may still
        be on its way: drops all that this may concern. tenant: as the application
        writes it; one that was never asked for may be another's, spelled otherwise."""
        with self.lock:
            self._hear(self._spelled.get((tenant, domain)), domain, float("inf"), None)

    def learn_spelling(self, tenant: str | None, parts: Iterable[Part]) -> None:
        """What the server calls a tenant."""
        with self.lock:
            for part in parts:
                self._spelled[tenant, part.domain] = part.tenant

    def reset(self, reason: str = "reset") -> None:
        """Anything may have changed: drops everything, refuses the fills in flight."""
        with self.lock:
            for name in list(self._held):
                self._drop(name, reason)
            self.heard.forget()
            self.metrics.count("resets", reason)

    def listen_anew(self) -> None:
        """What was sent while nobody listened will be asked for, but for definitions:
        drops what depends on them, and refuses the fills in flight."""
        with self.lock:
            for name, entry in list(self._held.items()):
                if any(part.internal for part in entry.parts):
                    self._drop(name, "definitions_missed")
            self.heard.forget()

    def _hear(self, tenant: str | None, domain: str, version: float,
              keys: tuple[str, ...] | None) -> None:
        with self.lock:
            changed = _changed(keys)
            self.heard.note(tenant, domain, version, changed, keys is None)
            self._drop_outdated(tenant, domain, version, changed, keys is None)

    def drop_outdated(self, change: Change) -> None:
        """Drops what a change outdates that was noted by another core of this memory."""
        with self.lock:
            self._drop_outdated(change.tenant, change.domain, change.version,
                                _changed(change.keys), change.keys is None)

    def _drop_outdated(self, tenant: str | None, domain: str, version: float,
                       changed: list[str | None], all_keys: bool) -> None:
        for watched, by_key in list(self._watching.get(domain, {}).items()):
            if tenant is None or watched is None or watched == tenant:
                for key in list(by_key) if all_keys else changed:
                    for name in list(by_key.get(key, ())):
                        self._drop_if_outdated(name, tenant, domain, version)

    def _drop_if_outdated(self, name: Hashable, tenant: str | None, domain: str,
                          version: float) -> None:
        entry = self._held.get(name)
        if entry is None:
            return
        for part in entry.parts:
            if part.domain != domain:
                continue
            if part.internal or (tenant is not None and part.tenant is None):
                outdated = True
            elif tenant is None:
                outdated = part.shared_version < version
            else:
                outdated = part.tenant == tenant and part.version < version
            if outdated:
                self._drop(name, "changed", part)
                return

    # -------------------------------------------------------------- dropping

    def why_gone(self, name: Hashable) -> str:
        """Why an entry is not there, as far as that is remembered."""
        with self.lock:
            reason, part = self._gone.get(name, ("not there before", None))
        if part is None:
            return reason.replace("_", " ")
        what = part.domain if part.key is None else f"{part.domain}/{part.key}"
        return f"{what} has changed" if part.tenant is None else (
            f"{what} of {part.tenant} has changed")

    def forget(self, name: Hashable) -> None:
        """Drops one entry."""
        with self.lock:
            self._drop(name, "forgotten")

    def __len__(self) -> int:
        return len(self._held)

    def _drop(self, name: Hashable, reason: str, part: Part | None = None) -> None:
        entry = self._held.get(name)
        if entry is None:
            return
        del self._entries[name]
        self._unwatch(name, entry)
        self.metrics.count("drops", reason)
        if _explain.remembering and reason != "replaced":
            self._gone[name] = reason, part
        if reason != "replaced" and (entry.serve_while_revalidating or entry.serve_on_error):
            entry.ended = min(self.clock(), entry.expires)
            self._ended[name] = entry

    def _unwatch(self, name: Hashable, entry: Entry) -> None:
        del self._held[name]
        for part in entry.parts:
            tenants = self._watching.get(part.domain)
            keys = tenants.get(part.tenant) if tenants is not None else None
            names = keys.get(fold(part.key)) if keys is not None else None
            if tenants is None or keys is None or names is None:
                continue
            names.discard(name)
            if not names:
                del keys[fold(part.key)]
            if not keys:
                del tenants[part.tenant]
                self.heard.hold_no_more(part.tenant, part.domain, self)
            if not tenants:
                del self._watching[part.domain]


def history_of(text: str) -> str:
    """What a token or a position says of the history of the database that it is from: its
    fingerprint, but for four bits."""
    return text[2:12]


def _changed(keys: tuple[str, ...] | None) -> list[str | None]:
    return [None] + [fold(key) for key in keys or ()]


def _pickled_size(value: Any) -> int:
    import pickle

    return len(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
