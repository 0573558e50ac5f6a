"""How a result comes to be served, computed and kept: one course for threads and
asyncio.

The course is a generator. What it yields is a step that may wait: a function without
arguments, which one driver calls and the other awaits. What the step returns or
raises comes back into the generator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from ._adapters import Adapter
from ._ask import ASK, Answer, answer_of, array
from ._request import Options, Request

if TYPE_CHECKING:
    from ._base import Base
    from ._core import Ticket
    from ._flight import Flight

T = TypeVar("T")
Step = Callable[[], Any]
Course = Generator[Step, Any, T]
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
                return cache._copied(stale.value)
            yield flight.signal.wait
        finally:
            cache.flights.stop_waiting(flight)
        if cache.flights.may_use(flight, joined_at):
            cache.metrics.count("joins")
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
    if held is not None and answer.token is not None and held.token == answer.token:
        cache.metrics.count("hits", "validated")
        return cache._copied(held.value)
    cache.metrics.count("misses")
    try:
        # The versions are known; only now the query. The other way round, a change in
        # between would put the old result under the new version.
        value = yield lambda: load(adapter.db)
    except Exception:
        stale = cache._stale_on_error(request, options)
        if stale is None:
            raise
        return cache._copied(stale.value)
    reason = cache._refusal(answer, in_transaction, adapter.shared, primary)
    if reason is None and adapter.in_transaction():
        # load() may have written something; a rollback would undo it.
        again = yield from _ask(adapter, request)
        if again.token != answer.token or again.has_written:
            reason = "transaction_has_written"
    if reason is not None:
        cache._refused(request, reason)
        if flight is not None and answer.in_recovery:
            flight.shareable = False  # it may lack what those who wait had heard
        return value
    cache.core.store(request.entry, cache._entry(value, answer, options), ticket)
    return cache._copied(value)


def _ask(adapter: Adapter, request: Request) -> Course[Answer]:
    rows = yield lambda: adapter.run(ASK, [request.tenant, array(request.names)])
    return answer_of(rows)
