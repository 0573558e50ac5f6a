"""Results that are made from other results.

A loader may ask for other results, and what it gets becomes part of its own. Its result
is kept under versions that were asked for before it ran. So everything that it gets must
be as new as these: a result in memory need not be, when a change is committed and its
payload on the way. Nothing would ever drop the outer result, as the payload says what its
versions say already.

So, while a loader runs, what memory or somebody else's flight gives is used only if its
versions prove that it is as new; if not, the server is asked. What is older
nevertheless, such as a result that is served stale, or one of an old snapshot, spoils the
outer results: they are used, and not kept.

A loader is known by its context: what it does in another thread counts if that runs in a
copy of it (asyncio's tasks and asyncio.to_thread() do).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ._core import Entry, Part


class Loading:
    """A loader that runs, and the versions that its result is to be kept under."""

    __slots__ = ("parts", "spoilt")

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self.parts = tuple(parts)
        self.spoilt = False

    def took(self, parts: Iterable[Part], token: str | None) -> None:
        """A result was given, which is current by this token; None if that is not known."""


_loadings: ContextVar[tuple[Loading, ...]] = ContextVar("cache_notify_loadings", default=())

#: The loaders that run in this context, the innermost last.
loadings = _loadings.get


@contextmanager
def loading(parts: Iterable[Part]) -> Iterator[Loading]:
    """Around the call of a loader."""
    with within(Loading(parts)) as it:
        yield it


@contextmanager
def within(it: Loading) -> Iterator[Loading]:
    token = _loadings.set((*loadings(), it))
    try:
        yield it
    finally:
        _loadings.reset(token)


def as_new(parts: Iterable[Part]) -> bool:
    """Whether a result with these versions is certainly as new as those of every loader in
    whose result it will be."""
    return all(_reaches(part, least)
               for it in loadings() for least in it.parts for part in parts
               if part.domain == least.domain)


def _reaches(part: Part, least: Part) -> bool:
    if part.shared_version < least.shared_version:
        return False
    if part.tenant == least.tenant:
        return part.version >= least.version
    # Versions of a tenant and of the whole domain cannot be compared. What another tenant's
    # part lacks is not of this tenant.
    return part.tenant is not None and least.tenant is not None


def may_take(entry: Entry) -> bool:
    """Whether what memory holds may be given to every loader; if so, they took it."""
    return as_new(entry.parts) and took(entry.parts, entry.token)


def took(parts: Iterable[Part], token: str | None) -> bool:
    """They were given it. True."""
    for it in loadings():
        it.took(parts, token)
    return True


def spoil() -> None:
    """What this context gives to its loaders may be older than their versions."""
    for it in loadings():
        it.spoilt = True
