"""One listener for all caches of a process that listen to the same relay in the same way:
one connection, and each frame received and read once, however many caches there are.

To the listener they are one core. They share what was heard (_heard.py), so that a
change is noted once, and costs only those more that hold something it concerns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from ._core import Core
from ._heard import Heard
from ._listener import Listener
from ._payload import Change


class _Metrics:
    """A listener's, which are everybody's."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience

    def count(self, *what: Any) -> None:
        for core in self._audience.cores:
            core.metrics.count(*what)


class Audience:
    """The cores that one listener tells, as one. The lock is held while cores come and go,
    and their leases move; before any core's."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.metrics = _Metrics(self)
        self.cores: tuple[Core, ...] = ()  # replaced, never changed
        self._redefined: tuple[Callable[[], None], ...] = ()
        self._lease_ends = 0.0
        self._history: str | None = None
        self._lock = threading.Lock()

    def add(self, core: Core, redefined: Callable[[], None]) -> None:
        """An empty core. What is heard from now on concerns whatever it will hold, so it
        has the lease that there is."""
        with self._lock:
            core.heard = self.heard
            self.cores += (core,)
            self._redefined += (redefined,)
            core.learn_history(self._history)
            core.extend_lease(self._lease_ends)

    def remove(self, core: Core) -> bool:
        """Whether none is left."""
        with self._lock:
            if core in self.cores:
                n = self.cores.index(core)
                self.cores = self.cores[:n] + self.cores[n + 1:]
                self._redefined = self._redefined[:n] + self._redefined[n + 1:]
            core.end_lease()
        self.heard.leave(core)
        return not self.cores

    def redefined(self) -> None:
        for tell in self._redefined:
            tell()

    # ------------------------------------------- what a listener tells a core

    @property
    def listening(self) -> bool:
        return any(core.listening for core in self.cores[:1])

    def extend_lease(self, until: float) -> None:
        with self._lock:
            self._lease_ends = until
            for core in self.cores:
                core.extend_lease(until)

    def end_lease(self) -> None:
        with self._lock:
            self._lease_ends = 0.0
            for core in self.cores:
                core.end_lease()

    def learn_history(self, history: str | None) -> None:
        with self._lock:
            self._history = history
            for core in self.cores:
                core.learn_history(history)

    def heard_version(self, tenant: str | None, domain: str) -> float | None:
        return self.heard.version(tenant, domain)

    def hear(self, change: Change) -> None:
        # The first one notes it. Whoever stores from then on has seen that.
        for first in self.cores[:1]:
            first.hear(change)
            for core in self.heard.holding(change.tenant, change.domain):
                if core is not first:
                    core.drop_outdated(change)

    def reset(self, reason: str = "reset") -> None:
        self.heard.forget()
        for core in self.cores:
            core.reset(reason)

    def listen_anew(self) -> None:
        self.heard.forget()
        for core in self.cores:
            core.listen_anew()


class SharedListener:
    """A cache's share of a listener; to the cache, a listener."""

    def __init__(self, key: Any, core: Core, listener: Listener, audience: Audience) -> None:
        self._key = key
        self._core = core
        self._listener = listener
        self._audience = audience
        self._closed = False

    def close(self) -> None:
        """Stops being told; the last one ends the listener. May be called again."""
        with _lock:
            last = self._audience.remove(self._core) and not self._closed
            self._closed = True
            if last and _listeners.get(self._key) == (self._listener, self._audience):
                del _listeners[self._key]
        if last:
            self._listener.close()

    def abandon(self) -> None:
        self._listener.abandon()

    @property
    def failure(self) -> Exception | None:
        return self._listener.failure

    def wait(self, timeout: float) -> bool:
        self._listener.wait(timeout)
        return self._core.listening


_lock = threading.Lock()
_listeners: dict[Any, tuple[Listener, Audience]] = {}


def share(kind: type[Listener], url: str, core: Core, channel: str, heartbeat: float,
          lease: float, redefined: Callable[[], None]) -> SharedListener:
    """The listener of this process, to which the core is added."""
    key = kind, url, channel, heartbeat, lease
    with _lock:
        if key not in _listeners:
            audience = Audience()
            audience.add(core, redefined)
            told: Any = audience  # what of a core a listener uses
            listener = kind(url, told, channel, heartbeat, lease, audience.redefined)
            _listeners[key] = listener, audience
        else:
            listener, audience = _listeners[key]
            audience.add(core, redefined)
        return SharedListener(key, core, listener, audience)


def _after_fork() -> None:
    """In the child, the threads are the parent's."""
    global _lock
    _lock = threading.Lock()
    _listeners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
