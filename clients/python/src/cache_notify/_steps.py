"""How a result comes to be served, computed and kept: one course for threads and
asyncio.

The course is a generator. What it yields is a step that may wait: a function without
arguments, which one driver calls and the other awaits. What the step returns or
raises comes back into the generator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from . import _shared
from ._adapters import Adapter
from ._ask import ASK, Answer, answer_of, array
from ._course import Course
from ._explain import tell
from ._nesting import as_new, loading, spoil, took
from ._request import Options, Request

if TYPE_CHECKING:
    from ._base import Base
    from ._core import Entry
    from ._flight import Flight
    from ._heard import Ticket

T = TypeVar("T")
Load = Callable[[Any], Any]


def run(course: Course[T]) -> T:
    """Drives a course in this thread."""
    try:
        step = next(course)
        while True:
            try:
                result = step()
            except BaseException as error:  # noqa: BLE001 (it is thrown again, inside)
                step = course.throw(error)
            else:
                step = course.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def run_async(course: Course[T]) -> T:
    """Drives a course in this task: steps return awaitables."""
    try:
        step = next(course)
        while True:
            try:
                result = step()
                if isinstance(result, Awaitable):
                    result = await result
            except BaseException as error:  # noqa: BLE001 (it is thrown again, inside)
                step = course.throw(error)
            else:
                step = course.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def get(cache: Base, adapter: Adapter, request: Request, load: Load, options: Options,
        began: Ticket | None = None) -> Course[Any]:
    """A result that memory cannot give: from somebody else's flight, or our own. began:
    when it was found out what the result is made from, if that was asked for."""
    if options.fresh or adapter.in_transaction():
        return (yield from _fill(cache, adapter, request, load, options, None, began))
    for _ in range(2):
        flight, joined_at = cache.flights.join_or_start(request.entry, cache._signal())
        if joined_at is None:
            return (yield from _fly(cache, adapter, request, load, options, flight, began))
        try:
            stale = cache._stale(request, options)
            if stale is not None:
                spoil()
                return cache._copied(stale.value)
            yield flight.signal.wait
        finally:
            cache.flights.stop_waiting(flight)
        if cache.flights.may_use(flight, joined_at) and as_new(flight.parts or ()):
            cache.metrics.count("joins")
            took(flight.parts or (), flight.token)
            return cache._copied(flight.value)
    return (yield from _fill(cache, adapter, request, load, options, None, began))


def _fly(cache: Base, adapter: Adapter, request: Request, load: Load, options: Options,
         flight: Flight, began: Ticket | None) -> Course[Any]:
    try:
        flight.value = yield from _fill(cache, adapter, request, load, options, flight, began)
        flight.succeeded = True
        return flight.value
    finally:
        cache.flights.land(request.entry, flight)


def _fill(cache: Base, adapter: Adapter, request: Request, load: Load, options: Options,
          flight: Flight | None, began: Ticket | None) -> Course[Any]:
    """Computes a result, for the others who wait for this flight too, if there is one."""
    in_transaction = adapter.in_transaction()
    held = cache.core.peek(request.entry)
    ticket = began or cache.core.ticket()
    if flight is not None:
        flight.ticket = ticket
    primary = None
    if cache._may_be_standby(adapter.db):
        primary = yield lambda: cache._ask_primary(request)
    answer = yield from _ask(adapter, request)
    if answer.in_recovery and primary is None:
        # What was heard may not be there yet: the primary says how far it must be.
        cache._remember_standby(adapter.db)
        ticket = began or cache.core.ticket()
        primary = yield lambda: cache._ask_primary(request)
        answer = yield from _ask(adapter, request)
    if flight is not None:
        flight.ticket = ticket
        flight.parts = None if answer.token is None else answer.parts
        flight.token = answer.token
    cache.core.learn_spelling(request.tenant, answer.parts)
    if held is not None and answer.token is not None and held.token == answer.token:
        cache.metrics.count("hits", "validated")
        refusal = cache._refusal(answer, in_transaction, adapter.shared, primary)
        _spoil_if_older(answer, refusal)
        took(answer.parts, None if refusal else answer.token)
        return cache._copied(held.value)
    reason = cache._refusal(answer, in_transaction, adapter.shared, primary)
    if reason is not None or cache._store is None:
        return (yield from _compute(cache, adapter, request, load, options, flight, ticket,
                                    answer, reason))
    return (yield from _fill_shared(cache, adapter, request, load, options, flight, ticket,
                                    answer))


def _fill_shared(cache: Base, adapter: Adapter, request: Request, load: Load,
                 options: Options, flight: Flight | None, ticket: Ticket,
                 answer: Answer) -> Course[Any]:
    """As _fill(), where another process may have computed it."""
    place = cache._place(request, answer)
    # Who is waited for within a flight may wait for that flight, in another process.
    may_wait = not cache.flights.nested(flight) and not answer.in_recovery
    look = yield from _shared.look(cache, adapter, place, may_wait,
                                   lambda: cache._stale(request, options))
    if look.stale is not None:
        spoil()
        if flight is not None:
            flight.shareable = False
        return cache._copied(look.stale.value)
    if look.found is not None:
        cache.metrics.count("hits", "tier")
        _spoil_if_older(answer, None)
        took(answer.parts, answer.token)
        entry = cache._entry(look.found.value, answer, options, look.found.ttl)
        cache._keep(request, entry, ticket)
        return cache._copied(look.found.value)
    kept: list[Entry] = []
    try:
        return (yield from _compute(cache, adapter, request, load, options, flight, ticket,
                                    answer, None, kept.append))
    finally:
        yield from _shared.leave(cache, adapter, place, look, kept)


def _compute(cache: Base, adapter: Adapter, request: Request, load: Load, options: Options,
             flight: Flight | None, ticket: Ticket, answer: Answer, reason: str | None,
             kept: Callable[[Entry], None] | None = None) -> Course[Any]:
    """Runs the query, and keeps its result if there is no reason not to. kept: is told
    what may be kept, by other processes too."""
    in_recovery = answer.in_recovery
    cache.metrics.count("misses")
    tell("why", cache.core.why_gone(request.entry))
    try:
        # The versions are known; only now the query. The other way round, a change in
        # between would put the old result under the new version.
        with loading(answer.parts) as it:
            value = yield lambda: load(adapter.db)
    except Exception:
        stale = cache._stale_on_error(request, options)
        took((), None)
        if stale is None:
            raise
        spoil()
        if flight is not None:
            flight.shareable = False  # those who wait have not said that they take it
        return cache._copied(stale.value)
    if reason is None and adapter.in_transaction():
        # load() may have written something; a rollback would undo it.
        again = yield from _ask(adapter, request)
        if again.token != answer.token or again.has_written:
            reason = "transaction_has_written"
    _spoil_if_older(answer, reason)
    if it.spoilt:
        reason = reason or "made_from_older"
    took(answer.parts, answer.token if reason is None else None)
    if it.spoilt and flight is not None:
        flight.shareable = False
    if reason is not None:
        cache._refused(request, reason)
        if flight is not None:
            flight.token = None
        if flight is not None and in_recovery:
            flight.shareable = False  # it may lack what those who wait had heard
        return value
    entry = cache._entry(value, answer, options)
    if kept is not None:
        kept(entry)
    cache._keep(request, entry, ticket)
    return cache._copied(value)


def _spoil_if_older(answer: Answer, reason: str | None) -> None:
    """What the primary has just told is as new as what it told before. Other results are
    so if their versions are, and if nobody else's rollback can undo them."""
    if reason in ("transaction_has_written", "changed_by_transaction") or (
            (answer.in_recovery or reason == "old_snapshot") and not as_new(answer.parts)):
        spoil()


def _ask(adapter: Adapter, request: Request) -> Course[Answer]:
    rows = yield lambda: adapter.run(ASK, [request.tenant, array(request.names)])
    return answer_of(rows)
