"""The cache for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from . import _statements, _steps
from ._adapters import shared_kinds
from ._aio_adapters import async_adapter_of
from ._ask import Answer
from ._base import Base
from ._names import WHOLE_DOMAIN, tenant_text
from ._nesting import loadings, may_take, took
from ._request import Options, Request, label_of, requests_of
from ._tier import AsyncStore, RedisTier, Store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class AsyncCache(Base):
    """Cache for asyncio: the same arguments and the same rules. get() and query() are
    coroutines, and load() returns an awaitable.

    Task-safe, within any number of event loops; a thread of its own listens."""

    _adapter_of = staticmethod(async_adapter_of)

    def _may_serve(self, db: Any) -> bool:
        return self._serving and (type(db) in shared_kinds or not self._adapter_of(db).in_transaction())

    def _signal(self) -> _Signal:
        return _Signal()

    def _open(self, tier: RedisTier) -> Store:
        return AsyncStore(tier, self.metrics)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _ask_primary(self, request: Request) -> Answer | None:
        return await asyncio.to_thread(super()._ask_primary, request)

    async def get(self, db: Any, name: Hashable, load: Callable[[Any], Awaitable[T]], *,
                  reads: Sequence[str], tenant: Any = WHOLE_DOMAIN,
                  ttl: float | None = None, fresh: bool = False,
                  stale_while_revalidate: float = 0.0, stale_if_error: float = 0.0) -> T:
        """As Cache.get()."""
        # A hit is what everything is for: no call here that can be spared.
        if self._serving and not fresh and (
                type(db) in shared_kinds or not self._adapter_of(db).in_transaction()):
            text = tenant if type(tenant) is str else tenant_text(tenant)
            entry = self.core.find((name, text, tuple(reads)))
            if entry is not None and (not loadings() or may_take(entry)):
                return entry.value if self._copy is None else self._copy(entry.value)  # type: ignore[no-any-return]
        options = Options(ttl, fresh, stale_while_revalidate, stale_if_error)
        return await self._miss(db, Request.of(name, reads, tenant), load, options)  # type: ignore[no-any-return]

    async def _miss(self, db: Any, request: Request, load: Callable[[Any], Awaitable[Any]],
              options: Options) -> Any:
        if self._is_off():
            took((), None)
            return await load(db)
        return await _steps.run_async(_steps.get(self, self._adapter_of(db), request, load, options))

    def cached(self, reads: Sequence[str], tenant: Any = WHOLE_DOMAIN, *,
               ttl: float | None = None, fresh: bool = False, name: str | None = None,
               stale_while_revalidate: float = 0.0,
               stale_if_error: float = 0.0) -> Callable[[F], F]:
        """As Cache.cached(), for coroutine functions."""
        options = Options(ttl, fresh, stale_while_revalidate, stale_if_error)

        def decorate(function: F) -> F:
            label: Hashable = label_of(function) if name is None else name
            request_of = requests_of(function, label, reads, tenant)

            @functools.wraps(function)
            async def call(db: Any, *args: Any, **kwargs: Any) -> Any:
                request = request_of(*args, **kwargs)
                if not fresh and self._may_serve(db):
                    entry = self.core.find(request.entry)
                    if entry is not None and may_take(entry):
                        return self._copied(entry.value)
                return await self._miss(db, request, lambda it: function(it, *args, **kwargs), options)

            return call  # type: ignore[return-value]

        return decorate

    async def query(self, db: Any, statement: Any, parameters: Any = None, *,
                    tenant: Any = WHOLE_DOMAIN, ttl: float | None = None, fresh: bool = False,
                    stale_while_revalidate: float = 0.0, stale_if_error: float = 0.0) -> Any:
        """As Cache.query()."""
        if self._is_off():
            took((), None)
            return await self._adapter_of(db).query(statement, parameters)
        adapter = self._adapter_of(db)
        if not fresh:
            entry = _statements.held(self, adapter, statement, parameters, tenant)
            if entry is not None:
                return entry.value if self._copy is None else self._copy(entry.value)
        options = Options(ttl, fresh, stale_while_revalidate, stale_if_error)
        return await _steps.run_async(_statements.query(
            self, adapter, statement, parameters, tenant, options))

    @asynccontextmanager
    async def writing(self, db: Any, changes: Iterable[str] | None = None,
                      tenant: Any = WHOLE_DOMAIN) -> AsyncIterator[Any]:
        """As Cache.writing()."""
        try:
            yield db
        finally:
            self._wrote(tenant, changes)

    async def aclose(self) -> None:
        """close() without blocking the event loop."""
        await asyncio.to_thread(self.close)
        if isinstance(self._store, AsyncStore):
            await self._store.close()


class _Signal:
    """Set once; waited for by tasks of any event loop."""

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def set(self) -> None:
        self._future.set_result(None)

    async def wait(self) -> None:
        # Shielded: one waiting task that is cancelled must not end the others' wait.
        await asyncio.shield(asyncio.wrap_future(self._future))
