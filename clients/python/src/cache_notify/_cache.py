"""The cache for threads."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from . import _statements, _steps
from ._adapters import adapter_of, shared_kinds
from ._base import Base
from ._names import WHOLE_DOMAIN, tenant_text
from ._nesting import loadings, may_take, took
from ._request import Options, Request, label_of, requests_of
from ._tier import RedisTier, Store, SyncStore

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Cache(Base):
    """Results of queries, kept in this process, and dropped when the server says that
    what they were made from has changed.

    Thread-safe. After a fork the child listens by itself, and starts empty.

    listen: the connection string of the primary, over a direct connection (LISTEN
    does not pass a pooler in transaction mode); or redis://, rediss:// or unix://, where
    cache-notify relay hands on what it hears (channel is the relay's then). primary:
    where to ask about what standbys say, if that is not listen; without it results of
    standbys are not kept. ttl: seconds that an entry lives at
    most; None: for ever. max_entries, or max_bytes (of pickled values, or as size_of
    tells them): the least recently used ones go. heartbeat: seconds between questions
    what has changed. lease: seconds for which entries are served after the last
    answer: so much staler a result can get when a network swallows everything. copy:
    makes the value that a caller gets from the one that is kept, for instance
    copy.deepcopy; by default it is the same object, not to be changed. tier: a RedisTier,
    where processes share what they compute."""

    _adapter_of = staticmethod(adapter_of)

    def _may_serve(self, db: Any) -> bool:
        return self._serving and (type(db) in shared_kinds or not self._adapter_of(db).in_transaction())

    def _signal(self) -> threading.Event:
        return threading.Event()

    def _open(self, tier: RedisTier) -> Store:
        return SyncStore(tier, self.metrics)

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def get(self, db: Any, name: Hashable, load: Callable[[Any], T], *,
            reads: Sequence[str], tenant: Any = WHOLE_DOMAIN, ttl: float | None = None,
            fresh: bool = False, stale_while_revalidate: float = 0.0,
            stale_if_error: float = 0.0) -> T:
        """The result of load(db), from memory if that is as good.

        db: where to read: a connection, a session or a pool. name: tells results
        with the same reads and tenant apart; hashable. reads: the domains that
        load() reads, or keys of them ('product/42'). tenant: whose rows it reads, as
        str, int, UUID or Decimal; left out: any tenant's. fresh: ask the server
        (one round trip), so that nothing older than this call is returned.
        stale_while_revalidate, stale_if_error: for so many seconds after a result is
        outdated, return it while somebody else computes a new one, or if load()
        raises.

        Returns what load() returned, or its copy. What load() raises passes through.
        TypeError for a tenant or name that cannot be meant."""
        # A hit is what everything is for: no call here that can be spared.
        if self._serving and not fresh and (
                type(db) in shared_kinds or not self._adapter_of(db).in_transaction()):
            text = tenant if type(tenant) is str else tenant_text(tenant)
            entry = self.core.find((name, text, tuple(reads)))
            if entry is not None and (not loadings() or may_take(entry)):
                return entry.value if self._copy is None else self._copy(entry.value)  # type: ignore[no-any-return]
        options = Options(ttl, fresh, stale_while_revalidate, stale_if_error)
        return self._miss(db, Request.of(name, reads, tenant), load, options)  # type: ignore[no-any-return]

    def _miss(self, db: Any, request: Request, load: Callable[[Any], Any],
              options: Options) -> Any:
        if self._is_off():
            took((), None)
            return load(db)
        return _steps.run(_steps.get(self, self._adapter_of(db), request, load, options))

    def cached(self, reads: Sequence[str], tenant: Any = WHOLE_DOMAIN, *,
               ttl: float | None = None, fresh: bool = False, name: str | None = None,
               stale_while_revalidate: float = 0.0,
               stale_if_error: float = 0.0) -> Callable[[F], F]:
        """A decorator for functions that take the database as their first argument.

        reads and tenant may name the function's arguments: ['product/{id}'],
        '{tenant}'. The function and its other arguments, which must be hashable, tell
        results apart. name: by which other processes know the function, if they share
        results; left out, its module and name. A function made within another one has no
        such name: without one it shares nothing. The rest is as for get()."""
        options = Options(ttl, fresh, stale_while_revalidate, stale_if_error)

        def decorate(function: F) -> F:
            if inspect.iscoroutinefunction(function):
                raise TypeError("AsyncCache is for coroutines")
            label: Hashable = label_of(function) if name is None else name
            request_of = requests_of(function, label, reads, tenant)

            @functools.wraps(function)
            def call(db: Any, *args: Any, **kwargs: Any) -> Any:
                request = request_of(*args, **kwargs)
                if not fresh and self._may_serve(db):
                    entry = self.core.find(request.entry)
                    if entry is not None and may_take(entry):
                        return self._copied(entry.value)
                return self._miss(db, request, lambda it: function(it, *args, **kwargs), options)

            return call  # type: ignore[return-value]

        return decorate

    def query(self, db: Any, statement: Any, parameters: Any = None, *,
              tenant: Any = WHOLE_DOMAIN, ttl: float | None = None, fresh: bool = False,
              stale_while_revalidate: float = 0.0, stale_if_error: float = 0.0) -> Any:
        """The rows of a SELECT, as the driver gives them; the server finds out what it
        reads, once for each statement and again when a definition has moved.

        statement: a string with the driver's own placeholders; of psycopg and psycopg2 also
        what their module sql composes, of SQLAlchemy a construct, whose rows are plain ones.
        parameters: as the driver takes them; left out, the statement has none, and % is %.

        What cannot be cached (now(), tables that are not watched, what depends on
        the session) is run every time, and the log says why, once. The rest is as for
        get()."""
        if self._is_off():
            took((), None)
            return self._adapter_of(db).query(statement, parameters)
        adapter = self._adapter_of(db)
        if not fresh:
            entry = _statements.held(self, adapter, statement, parameters, tenant)
            if entry is not None:
                return entry.value if self._copy is None else self._copy(entry.value)
        options = Options(ttl, fresh, stale_while_revalidate, stale_if_error)
        return _steps.run(_statements.query(
            self, adapter, statement, parameters, tenant, options))

    @contextmanager
    def writing(self, db: Any, changes: Iterable[str] | None = None,
                tenant: Any = WHOLE_DOMAIN) -> Iterator[Any]:
        """Around a transaction that writes: once the block is over, nothing that it
        changed is served from this cache, even if its delivery is still on its way.

        Commit within the block. changes: the domains that it changes, of tenant or
        of any (of keys, their domains); left out: everything in memory is dropped."""
        try:
            yield db
        finally:
            self._wrote(tenant, changes)
