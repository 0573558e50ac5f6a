"""What the cache did, counted."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from ._explain import tell


class Metrics:
    """Counters: hits, misses, joins, stores, drops, resets, and refusals by reason.

    Thread-safe. on_event is called with (event, reason) after each but a hit; it must be
    quick and raise nothing."""

    def __init__(self, cache: Any) -> None:
        self._cache = weakref.ref(cache)
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.on_event: Callable[[str, str], None] | None = None

    def count(self, event: str, reason: str = "", n: int = 1) -> None:
        with self._lock:
            self._counts[event, reason] += n
        tell(event, reason)
        if self.on_event is not None:
            self.on_event(event, reason)

    def _all(self) -> list[tuple[tuple[str, str], int]]:
        with self._lock:
            counts = dict(self._counts)
        cache = self._cache()
        if cache is not None:
            counts["hits", ""] = cache.core.hits
        return sorted(counts.items())

    def snapshot(self) -> dict[str, int]:
        """All counters: 'hits', 'misses', 'refusals{unknown}' and so on."""
        return {
            event + (f"{{{reason}}}" if reason else ""): n
            for (event, reason), n in self._all()
        }

    def prometheus(self) -> str:
        """The counters in the text format of Prometheus."""
        lines = []
        last = None
        for (event, reason), n in self._all():
            if event != last:
                lines.append(f"# TYPE cache_notify_client_{event}_total counter")
                last = event
            label = f'{{reason="{reason}"}}' if reason else ""
            lines.append(f"cache_notify_client_{event}_total{label} {n}")
        return "\n".join(lines) + "\n"
