"""How processes share a result: the steps at the shared tier (see _tier.py).

A result's place is known once the token is. If nothing lies there, claim_refresh() of the
server lets one process compute it, and the others look again from time to time. It is
made only outside the caller's transaction: nobody is to wait while he holds one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from ._adapters import Adapter
from ._core import Entry
from ._course import Course
from ._tier import COMPUTE, FAILED_FOR, MISSING, NOTHING, Found, Place

if TYPE_CHECKING:
    from ._base import Base

CLAIM = "SELECT cache_notify.claim_refresh({0}::text, {1}::text, {2}::text::interval)"
FINISH = "SELECT cache_notify.finish_refresh({0}::text, {1}::text)"

# Seconds between looks at the place, the first and the longest; between claims, as the
# one who computes may be gone.
FIRST_LOOK = 0.005
LAST_LOOK = 0.05
CLAIM_AFTER = 0.5


class Look(NamedTuple):
    """What came of looking: a result, one that is good enough, or the duty to compute."""

    found: Found | None = None
    stale: Entry | None = None
    claimed: bool = False
    may_put: bool = True


def look(cache: Base, adapter: Adapter, place: Place | None, may_wait: bool,
         stale: Callable[[], Entry | None]) -> Course[Look]:
    """Looks for a result, for as long as somebody else computes it."""
    store = cache._store
    if place is None or store is None:
        return Look(may_put=False)
    got = yield lambda: store.get(place)
    if isinstance(got, Found):
        return Look(got)
    if got is COMPUTE:
        return Look()
    may_wait = may_wait and store.tier.wait > 0 and not adapter.in_transaction()
    until = monotonic() + store.tier.wait
    while may_wait and monotonic() < until:
        claimed = yield from _claim(cache, adapter, place)
        if claimed is None:
            break
        if claimed:
            return (yield from _look_again(cache, adapter, place))
        good_enough = stale()
        if good_enough is not None:
            return Look(stale=good_enough)
        cache.metrics.count("tier", "waits")
        got = yield from _wait(cache, place, min(until, monotonic() + CLAIM_AFTER))
        if isinstance(got, Found):
            return Look(got)
        if got is COMPUTE:
            break
    return Look()


def _look_again(cache: Base, adapter: Adapter, place: Place) -> Course[Look]:
    """With the claim: somebody may have finished since we looked."""
    store, got = cache._store, None
    assert store is not None
    try:
        got = yield lambda: store.get(place)
    except BaseException:
        yield from _finish(adapter, place)
        raise
    if not isinstance(got, Found):
        return Look(claimed=True)
    yield from _finish(adapter, place)
    return Look(got)


def _wait(cache: Base, place: Place, until: float) -> Course[object]:
    store, pause = cache._store, FIRST_LOOK
    assert store is not None
    while monotonic() < until:
        yield partial(cache._pause, pause)
        pause = min(2 * pause, LAST_LOOK)
        got = yield lambda: store.get(place)
        if got is not MISSING:
            return got
    return MISSING


def leave(cache: Base, adapter: Adapter, place: Place | None, look: Look,
          kept: list[Entry]) -> Course[None]:
    """After the computation: puts the result in its place, or says that nothing comes,
    and ends the claim."""
    store = cache._store
    if place is None or store is None or not look.may_put:
        return
    data, ttl = None, FAILED_FOR
    if kept:
        ttl = min(kept[0].expires - monotonic(), store.tier.ttl)
        data = store.encoded(kept[0].value)
    if ttl > 0 and (data is not None or look.claimed):
        told = NOTHING if data is None else data
        yield lambda: store.put(place, told, ttl, replace=data is not None)
    if look.claimed:
        yield from _finish(adapter, place)


def _claim(cache: Base, adapter: Adapter, place: Place) -> Course[bool | None]:
    """Whether this process is to compute it; None if nobody can say."""
    store = cache._store
    assert store is not None
    try:
        rows = yield lambda: adapter.run(
            CLAIM, [place.digest, place.token, f"{store.tier.wait} seconds"])
    except Exception:  # noqa: BLE001 (the caller's query will say what is wrong)
        cache.metrics.count("tier", "claim_errors")
        return None
    return bool(rows[0][0])


def _finish(adapter: Adapter, place: Place) -> Course[None]:
    # If it cannot be said, the claim ends by its time; the loader's error is the caller's.
    with suppress(Exception):
        yield lambda: adapter.run(FINISH, [place.digest, place.token])
