"""What a cache did for one caller, and why: for pages of developers, logs and tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[Explanation | None] = ContextVar("cache_notify_explanation", default=None)

# Why entries were dropped is remembered once somebody has asked.
remembering = False


class Explanation:
    """What happened within explain(). str() says it in a line."""

    def __init__(self) -> None:
        #: (event, reason) as in Metrics, in their order. A hit in memory is no event.
        self.events: list[tuple[str, str]] = []

    @property
    def outcome(self) -> str:
        """'hit' if nothing was computed: in memory, in the shared tier, or by another
        caller for whom this one waited. 'miss' if something was computed and can be kept,
        'not cached' if it cannot."""
        names = [event for event, _ in self.events]
        if "refusals" in names:
            return "not cached"
        return "miss" if "misses" in names else "hit"

    @property
    def why(self) -> str:
        """Why something was computed or not kept, or where it came from."""
        told = [reason.replace("_", " ") if event != "why" else reason
                for event, reason in self.events
                if reason not in ("", "uncacheable_statement")
                and event in ("why", "refusals", "stale_serves")]
        told += [_FOUND[event, reason] for event, reason in self.events
                 if (event, reason) in _FOUND]
        return "; ".join(dict.fromkeys(told)) or ("in memory" if self.outcome == "hit" else "")

    def __str__(self) -> str:
        return f"{self.outcome} ({self.why})" if self.why else self.outcome


_FOUND = {("hits", "validated"): "the server said that it is current",
          ("hits", "tier"): "another process had computed it",
          ("joins", ""): "another caller was computing it"}


@contextmanager
def explain() -> Iterator[Explanation]:
    """Within the block, what every cache does for this thread or task, and for tasks that
    it starts:

        with explain() as what:
            rows = cache.query(db, "SELECT ...")
        print(what)          # miss (price/1 of acme has changed)
    """
    global remembering
    remembering = True
    explanation = Explanation()
    before = _current.set(explanation)
    try:
        yield explanation
    finally:
        _current.reset(before)


def tell(event: str, reason: str) -> None:
    """An event for the caller of this context."""
    explanation = _current.get()
    if explanation is not None:
        explanation.events.append((event, reason))
