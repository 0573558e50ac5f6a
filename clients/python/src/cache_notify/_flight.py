"""Single flight: of those who miss the same result at the same time, one computes it.

A caller may take the result of a flight only if nothing was heard between the
moment the flight asked for its versions and the moment the caller came, that these
versions lack. Otherwise it would get a result older than what this process had
heard before the call.

A loader may ask for other results, so flights wait for flights. One that would wait
for itself, in whatever roundabout way, computes its result by itself instead.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar
from typing import Any

from ._core import Core, Part
from ._heard import Ticket

# Joined before the flight asked for its versions: they lack nothing heard by then.
BEFORE = -1

# The flights that the current context is computing, the innermost last.
_mine: ContextVar[tuple[Flight, ...]] = ContextVar("cache_notify_flights", default=())


class Flight:
    """One computation that others may wait for. signal has set() and wait()."""

    def __init__(self, signal: Any) -> None:
        self.signal = signal
        self.ticket: Ticket | None = None
        self.parts: tuple[Part, ...] | None = None  # None: not known, or no proof
        self.token: str | None = None  # the same
        self.succeeded = False
        self.shareable = True
        self.value: Any = None
        self.ended_outdated = False
        self.waits_for: list[Flight] = []
        self.reset_token: Any = None


class Flights:
    """The flights of one cache. Under the core's lock, but for the waiting."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._flying: dict[Hashable, Flight] = {}

    def join_or_start(self, name: Hashable, signal: Any) -> tuple[Flight, int | None]:
        """A flight to wait for and the sequence number at which it was joined, or a
        new one to fly (None)."""
        with self._core.lock:
            flight = self._flying.get(name)
            if flight is not None and self._may_join(flight):
                for waiting in _mine.get()[-1:]:
                    waiting.waits_for.append(flight)
                before = flight.ticket is None
                return flight, BEFORE if before else self._core.ticket().sequence
            flight = Flight(signal)
            self._flying[name] = flight
        flight.reset_token = _mine.set((*_mine.get(), flight))
        return flight, None

    def _may_join(self, flight: Flight) -> bool:
        mine, seen, follow = _mine.get(), set(), [flight]
        while follow:
            waited_for = follow.pop()
            if waited_for in mine:
                return False
            if waited_for not in seen:
                seen.add(waited_for)
                follow.extend(waited_for.waits_for)
        if flight.ticket is None:
            return True  # its versions are still to be asked for
        return not self._core.outdated(flight.ticket, flight.parts)

    def nested(self, flight: Flight | None) -> bool:
        """Whether the current context computes another one than this."""
        return any(mine is not flight for mine in _mine.get())

    def stop_waiting(self, flight: Flight) -> None:
        with self._core.lock:
            for waiting in _mine.get()[-1:]:
                waiting.waits_for.remove(flight)

    def may_use(self, flight: Flight, joined_at: int) -> bool:
        """Whether somebody who joined at this number may take the result."""
        if not flight.succeeded or not flight.shareable or flight.ticket is None:
            return False
        if joined_at == BEFORE:
            return True
        # Without versions nothing tells whether it lacks what the caller had heard.
        if flight.parts is None:
            return False
        return not flight.ended_outdated or joined_at <= flight.ticket.sequence

    def land(self, name: Hashable, flight: Flight) -> None:
        """The flight is over, whether or not it succeeded. Wakes who waits."""
        with self._core.lock:
            if self._flying.get(name) is flight:
                del self._flying[name]
            if flight.ticket is not None:
                flight.ended_outdated = self._core.outdated(flight.ticket, flight.parts)
        _mine.reset(flight.reset_token)
        flight.signal.set()
