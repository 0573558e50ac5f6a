"""Caches for tests of applications: the real ones, over versions in memory.

What a test calls change() for is what a server would have delivered.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ._adapters import Adapter
from ._aio import AsyncCache
from ._ask import ASK
from ._base import Base
from ._cache import Cache
from ._core import Core
from ._names import WHOLE_DOMAIN, tenant_text
from ._payload import Change
from ._statements import DEPENDENCIES


class _Versions:
    """What a server would know: how often each (tenant, domain, key) has changed."""

    def __init__(self, domains: Sequence[str] | None,
                 reads_of: Callable[[str], Sequence[str]] | None) -> None:
        self.domains = None if domains is None else set(domains)
        self.reads_of = reads_of
        self._changes: defaultdict[tuple[str | None, str, str | None], int] = defaultdict(int)

    def change(self, name: str, tenant: str | None) -> Change:
        domain, _, key = name.partition("/")
        for part in {None, key or None}:
            self._changes[tenant, domain, part] += 1
        if not key:
            self._changes[tenant, domain, "/"] += 1  # of all keys
        version, shared, _ = self._state(tenant, domain, None)
        return Change(tenant, domain, shared if tenant is None else version,
                      (key,) if key else None)

    def _state(self, tenant: str | None, domain: str, key: str | None) -> tuple[int, int, int]:
        """Version, shared version, and what a token of this key says."""
        def count(part: str | None) -> int:
            return sum(n for (whose, what, which), n in self._changes.items()
                       if (what, which) == (domain, part) and
                       (tenant is None or whose in (None, tenant)))

        return (count(None), self._changes[None, domain, None],
                count(None) if key is None else count(key) + count("/"))

    def answer(self, question: str, parameters: Sequence[str | None]) -> Any:
        if question == ASK:
            return self._ask(parameters[0], str(parameters[1]))
        if question == DEPENDENCIES:
            reads = [] if self.reads_of is None else self.reads_of(str(parameters[0]))
            return [("exact", None, None, name) for name in reads]
        raise AssertionError(f"a fake cache does not know: {question}")

    def _ask(self, tenant: str | None, asked: str) -> Any:
        told = [name.replace('\\"', '"').replace("\\\\", "\\")
                for name in asked[2:-2].split('","')]
        rows, token = [], []
        for name in told:
            domain, _, key = name.partition("/")
            version, shared, state = self._state(tenant, domain, key or None)
            token.append([tenant, name, state])
            known = self.domains is None or domain in self.domains
            rows.append((tenant, domain, key or None, version, shared, known))
        return [(json.dumps(token), True, False, False, *row) for row in rows]


class _FakeAdapter(Adapter):
    """Of an object that nobody asks. query() calls it: db(statement, parameters)."""

    shared = True

    def __init__(self, db: Any, versions: _Versions) -> None:
        super().__init__(db)
        self._versions = versions

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        return self._versions.answer(question, parameters)

    def query(self, statement: str, parameters: Any) -> Any:
        return self.db(statement, parameters)


class _FakeListener:
    """Hears what change() tells."""

    failure = None

    def __init__(self, _conninfo: str, core: Core, *_: Any) -> None:
        core.extend_lease(float("inf"))

    def wait(self, timeout: float) -> bool:
        return True

    def close(self) -> None:
        pass

    abandon = close


class _Fake(Base):
    _Listener = _FakeListener  # type: ignore[assignment]

    def __init__(self, domains: Sequence[str] | None = None, *,
                 reads_of: Callable[[str], Sequence[str]] | None = None, **options: Any) -> None:
        """domains: those that something feeds; None: all. reads_of: what query() would
        find out of a statement. The rest is as for Cache."""
        self._versions = _Versions(domains, reads_of)
        super().__init__("", **options)

    def _adapter_of(self, db: Any) -> Adapter:
        return _FakeAdapter(db, self._versions)

    def change(self, name: str, tenant: Any = WHOLE_DOMAIN) -> None:
        """Somebody has committed a change of a domain, or of a key of it ('price/42'),
        and it was delivered. tenant: whose; left out: everybody's."""
        self.core.hear(self._versions.change(name, tenant_text(tenant)))


class FakeCache(_Fake, Cache):
    """A Cache that needs no server: db may be anything, load(db) gets it as it is, and
    query() calls db(statement, parameters). What it does is what Cache does, except that
    changes are what change() tells."""


class AsyncFakeCache(_Fake, AsyncCache):
    """FakeCache for asyncio."""
