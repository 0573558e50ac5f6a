"""What the cache for threads and the one for asyncio share: all but the waiting."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ._adapters import Psycopg
from ._ask import ASK, Answer, answer_of, array
from ._core import Core, Entry
from ._flight import Flights
from ._heard import Ticket
from ._listener import Listener
from ._metrics import Metrics
from ._names import domain_of, names, tenant_text
from ._redis import is_redis_url
from ._redis_listener import RedisListener
from ._request import Options, Request
from ._sharing import SharedListener, share
from ._statements import Statement
from ._tier import Place, RedisTier, Store, SyncStore

log = logging.getLogger("cache_notify")

# Objects that were seen to read from a standby are remembered up to so many.
MAX_STANDBYS = 10_000

# Seconds: until the primary must answer what it is asked about standbys, and how long it is
# left alone if it does not, at first and at most.
PRIMARY_TIMEOUT = 2
FIRST_REST = 1.0
LAST_REST = 30.0


_caches: weakref.WeakSet[Base] = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_caches):
        cache._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def primary_parameters(conninfo: str) -> dict[str, Any]:
    parameters: dict[str, Any] = dict(conninfo_to_dict(conninfo))
    parameters.setdefault("connect_timeout", PRIMARY_TIMEOUT)
    parameters.setdefault("tcp_user_timeout", PRIMARY_TIMEOUT * 1000)
    parameters.setdefault("application_name", "cache_notify primary")
    return parameters


class Base:
    """See Cache and AsyncCache."""

    # What a test may put its own in the place of.
    _Core = Core
    _Flights = Flights
    _Listener: type[Listener] = Listener
    _RedisListener: type[Listener] = RedisListener

    def __init__(self, listen: str, *, primary: str | None = None, ttl: float | None = 300.0,
                 channel: str = "cache_invalidation", max_entries: int = 10_000,
                 max_bytes: int | None = None,
                 size_of: Callable[[Any], int] | None = None,
                 heartbeat: float = 1.0, lease: float = 5.0,
                 copy: Callable[[Any], Any] | None = None,
                 tier: RedisTier | None = None) -> None:
        if lease <= heartbeat:
            raise ValueError("lease must be longer than heartbeat, or nothing is ever served")
        self._listen_to = listen
        self._primary_conninfo = listen if primary is None and not is_redis_url(listen) else primary
        self._channel = channel
        self._ttl = float("inf") if ttl is None else ttl
        self._limits = max_entries, max_bytes, size_of
        self._heartbeat, self._lease = heartbeat, lease
        self._copy = copy
        self._closed = False
        self._disabled = 0
        self._serving = True  # neither closed nor disabled, and not just forked
        self._standbys: dict[int, None] = {}
        self._said: set[tuple[Hashable, str]] = set()
        self._statements: dict[tuple[str, bool], Statement] = {}  # text, without parameters
        self._statements_generation = 0
        self.metrics = Metrics(self)
        self._store = None if tier is None else self._open(tier)
        self._make()
        self._listen()
        _caches.add(self)

    def _make(self) -> None:
        self._start_lock = threading.Lock()
        self._listener: Listener | SharedListener | None = None
        self._primary: psycopg.Connection | None = None  # asked about standbys only
        self._primary_lock = threading.Lock()
        self._primary_rests_until, self._primary_rest = 0.0, FIRST_REST
        self._statements_lock = threading.Lock()
        self.core = self._Core(*self._limits, self.metrics)
        self.flights = self._Flights(self.core)

    def _listen(self) -> Listener | SharedListener:
        with self._start_lock:
            if self._listener is None:
                how = (self._listen_to, self.core, self._channel, self._heartbeat, self._lease,
                       self._forget_statements)
                if is_redis_url(self._listen_to):
                    self._listener = share(self._RedisListener, *how)
                else:
                    self._listener = self._Listener(*how)
                if self._closed:
                    self._listener.close()
            return self._listener

    # -------------------------------------------------------------- its life

    def close(self) -> None:
        """Stops listening. From then on results are computed, and none is kept."""
        self._closed, self._serving = True, False
        if self._listener is not None:
            self._listener.close()
        with self._primary_lock:
            if self._primary is not None:
                self._primary.close()
        if isinstance(self._store, SyncStore):
            self._store.close()

    def wait_until_listening(self, timeout: float = 10.0) -> bool:
        """Waits until the cache may serve from memory, or has failed to; whether it may."""
        return self._listen().wait(timeout)

    @property
    def listening(self) -> bool:
        """Whether deliveries come in, so that results are served from memory."""
        return self.core.listening

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.core)

    @property
    def failure(self) -> Exception | None:
        """Why the cache does not listen, and so serves nothing from memory."""
        return self._listen().failure

    def forget_all(self) -> None:
        """Drops every entry, and refuses the fills in flight."""
        self.core.reset("forgotten")

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Within the block everything is computed, and nothing kept: for tests."""
        self._disabled += 1
        self._serving = False
        try:
            yield
        finally:
            self._disabled -= 1
            self._serving = not self._closed and self._disabled == 0

    def _forget_statements(self) -> None:
        with self._statements_lock:
            self._statements_generation += 1
            self._statements.clear()

    def _is_off(self) -> bool:
        if self._closed or self._disabled > 0:
            return True
        if self._listener is None:
            self._listen()
        return False

    def _after_fork(self) -> None:
        """In the child: the thread that listens, the locks and the flights are the
        parent's. The child starts empty, and listens when it is first asked."""
        parents = self._listener
        self._make()
        if parents is not None:
            parents.abandon()

    # ------------------------------------------------------------ what is told

    def _signal(self) -> Any:
        """A new flight's: set() once it is over; wait() waits for that."""
        raise NotImplementedError

    def _ask_primary(self, request: Request) -> Any:
        """What the primary says of a request (in asyncio: an awaitable of it). None if
        nobody knows where it is, or it does not answer: the standby can be read all the
        same, and nothing of it is kept."""
        if self._primary_conninfo is None or monotonic() < self._primary_rests_until:
            return None
        question, parameters = ASK, [request.tenant, array(request.names)]
        with self._primary_lock:
            for attempt in range(2):
                try:
                    if self._primary is None or self._primary.closed:
                        self._primary = psycopg.connect(
                            **primary_parameters(self._primary_conninfo), autocommit=True)
                    answer = answer_of(Psycopg(self._primary).run(question, parameters))
                except psycopg.OperationalError as error:
                    if self._primary is not None:
                        self._primary.close()  # and once more, over a new one
                        self._primary = None
                    if attempt:
                        self._primary_fails(error)
                else:
                    self._primary_rest = FIRST_REST
                    return answer
        return None

    def _primary_fails(self, error: Exception) -> None:
        self.metrics.count("primary_failures")
        self._primary_rests_until = monotonic() + self._primary_rest
        self._primary_rest = min(2 * self._primary_rest, LAST_REST)
        log.warning("results of standbys are not kept: the primary does not answer: %s", error)

    def _copied(self, value: Any) -> Any:
        return value if self._copy is None else self._copy(value)

    def _entry(self, value: Any, answer: Answer, options: Options,
               at_most: float = float("inf")) -> Entry:
        now = self.core.clock()
        assert answer.token is not None
        ttl = min(at_most, self._ttl if options.ttl is None else options.ttl)
        return Entry(self._copied(value), answer.token, answer.parts, now + ttl,
                     options.stale_while_revalidate, options.stale_if_error)

    def _stale(self, request: Request, options: Options) -> Entry | None:
        return self._outdated(request, options.stale_while_revalidate, "stale_while_revalidate")

    def _stale_on_error(self, request: Request, options: Options) -> Entry | None:
        return self._outdated(request, options.stale_if_error, "stale_if_error")

    def _outdated(self, request: Request, seconds: float, why: str) -> Entry | None:
        entry = self.core.ended(request.entry) if seconds > 0 else None
        if entry is None or self.core.clock() >= entry.ended + seconds:
            return None
        self.metrics.count("stale_serves", why)
        return entry

    def _refusal(self, answer: Answer, in_transaction: bool, shared: bool,
                 primary: Answer | None) -> str | None:
        """Why a result is used and not stored; None if it may be."""
        if answer.token is None:
            return answer.reason
        if in_transaction and not answer.read_committed:
            return "old_snapshot"
        if answer.has_written:
            return "transaction_has_written"
        if not answer.in_recovery:
            return None
        if shared:
            return "pool_of_standbys"
        if primary is None or primary.token is None:
            return "lagging_standby"
        least = {(part.tenant, part.domain, part.key): part for part in primary.parts}
        for part in answer.parts:
            there = least.get((part.tenant, part.domain, part.key))
            if there is None or part.version < there.version or (
                    part.shared_version < there.shared_version):
                return "lagging_standby"
        return None

    # ---------------------------------------------------------------- the tier

    def _open(self, tier: RedisTier) -> Store:
        raise NotImplementedError

    def _pause(self, seconds: float) -> Any:
        """Waits (in asyncio: an awaitable)."""
        raise NotImplementedError

    def _place(self, request: Request, answer: Answer) -> Place | None:
        """Where other processes find this result, None if it has no name for them."""
        assert self._store is not None and answer.token is not None
        name = request.shared_name()
        if name is None:
            self.metrics.count("tier", "no_name")
            return None
        return self._store.tier.place(name, answer.token)

    def _keep(self, request: Request, entry: Entry, ticket: Ticket) -> None:
        if not self.core.store(request.entry, entry, ticket) and self.core.is_foreign(entry):
            self._say_once((), "another_database", (
                "not kept: what was read is of another database than this cache listens to (or "
                "of one that is failing over): make a cache for each database"))

    def _say_once(self, what: Hashable, reason: str, message: str, *args: Any) -> None:
        if (what, reason) not in self._said and len(self._said) < 1000:
            self._said.add((what, reason))
            log.warning(message, *args)

    def _refused(self, request: Request, reason: str) -> None:
        self.metrics.count("refusals", reason)
        if reason == "unknown_domain":
            self._say_once(
                request.names, reason,
                "not cached: nothing feeds one of the domains %s; look at "
                "cache_notify.v_invalidation_status, or watch its table",
                ", ".join(request.names))

    # ---------------------------------------------------------------- standbys

    def _may_be_standby(self, db: Any) -> bool:
        return id(db) in self._standbys

    def _remember_standby(self, db: Any) -> None:
        # By its id, which another object may have later: that costs a question.
        if len(self._standbys) >= MAX_STANDBYS:
            self._standbys.clear()
        self._standbys[id(db)] = None

    # ----------------------------------------------------------------- writing

    def _wrote(self, tenant: Any, changes: Iterable[str] | None) -> None:
        if changes is None:
            self.core.reset("own_write")
            return
        for name in names(changes):
            self.core.hear_own(tenant_text(tenant), domain_of(name))

