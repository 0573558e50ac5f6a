"""What was heard: for the fills in flight, which must not be kept if they lack it.

Caches that share a listener share this memory, so that what is heard is noted once,
however many they are; it also knows which of them hold anything that a change
concerns. Under a lock of its own: who holds a core's lock may take it, and not the
other way round.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core import Core, Part

# What was heard is forgotten beyond so many (tenant, domain, key).
MAX_HEARD = 100_000


@dataclass(frozen=True)
class Ticket:
    """When a fill began."""

    generation: int
    sequence: int


@dataclass
class _Floor:
    version: float
    sequence: int


@dataclass
class _News:
    """When something of a domain was last heard of any tenant."""

    any_key: int = 0
    by_key: dict[str | None, int] = field(default_factory=dict)


def fold(key: str | None) -> str | None:
    # Letter case in keys is ignored: coarser for some, wrong for none.
    return None if key is None else key.lower()


class Heard:
    """See above."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._floors: dict[tuple[str | None, str, str | None], _Floor] = {}
        self._all_keys: dict[tuple[str | None, str], _Floor] = {}
        self._news: dict[str, _News] = {}
        self._sequence = 0
        self._generation = 0
        # domain -> tenant (None: whole) -> id of a core -> the core
        self._holding: dict[str, dict[str | None, dict[int, Core]]] = {}

    def ticket(self) -> Ticket:
        with self.lock:
            return Ticket(self._generation, self._sequence)

    def version(self, tenant: str | None, domain: str) -> float | None:
        """The version last heard of, None if it is not remembered."""
        with self.lock:
            floor = self._floors.get((tenant, domain, None))
            return None if floor is None else floor.version

    # --------------------------------------------------------------- hearing

    def note(self, tenant: str | None, domain: str, version: float,
             changed: list[str | None], all_keys: bool) -> None:
        """changed: the folded keys, and None."""
        with self.lock:
            if len(self._floors) + len(self._all_keys) >= MAX_HEARD:
                self.forget()
            self._sequence += 1
            for key in changed:
                self._remember(self._floors, (tenant, domain, key), version)
            if all_keys:
                self._remember(self._all_keys, (tenant, domain), version)
            news = self._news.setdefault(domain, _News())
            if all_keys or len(news.by_key) >= MAX_HEARD:
                news.any_key = self._sequence
                news.by_key.clear()
            else:
                for key in changed:
                    news.by_key[key] = self._sequence

    def forget(self) -> None:
        """From now on nothing is known of what was heard: the fills in flight are refused."""
        with self.lock:
            self._generation += 1
            self._sequence += 1
            self._floors.clear()
            self._all_keys.clear()
            self._news.clear()

    def _remember(self, floors: dict[Any, _Floor], place: Any, version: float) -> None:
        # The newest is what fills in flight lack. One with a higher version that
        # was heard before concerns older fills: theirs is the higher of both.
        before = floors.get(place)
        highest = version if before is None else max(version, before.version)
        floors[place] = _Floor(highest, self._sequence)

    # --------------------------------------------------------------- filling

    def forgotten_since(self, ticket: Ticket) -> bool:
        return ticket.generation != self._generation

    def silent_since(self, ticket: Ticket) -> bool:
        return ticket.sequence == self._sequence

    def lacks(self, ticket: Ticket, part: Part) -> bool:
        """Whether something heard since the ticket says more than this part does."""
        with self.lock:
            if self._beyond(ticket, None, part, part.shared_version):
                return True
            if part.tenant is not None and not part.internal:
                return self._beyond(ticket, part.tenant, part, part.version)
            news = self._news.get(part.domain)
            if news is None:
                return False
            # Whichever key changes, None is noted with it.
            return max(news.any_key, news.by_key.get(fold(part.key), 0)) > ticket.sequence

    def _beyond(self, ticket: Ticket, tenant: str | None, part: Part, version: int) -> bool:
        """Whether more than this version was heard since the ticket."""
        floors = [self._floors.get((tenant, part.domain, fold(part.key)))]
        if part.key is not None:
            floors.append(self._all_keys.get((tenant, part.domain)))
        return any(floor is not None and floor.sequence > ticket.sequence
                   and version < floor.version for floor in floors)

    # ------------------------------------------------------- who holds anything

    def hold(self, tenant: str | None, domain: str, core: Core) -> None:
        """The core holds something of this tenant, or of the whole domain (None)."""
        with self.lock:
            self._holding.setdefault(domain, {}).setdefault(tenant, {})[id(core)] = core

    def hold_no_more(self, tenant: str | None, domain: str, core: Core) -> None:
        with self.lock:
            tenants = self._holding.get(domain, {})
            cores = tenants.get(tenant)
            if cores is None:
                return
            cores.pop(id(core), None)
            if not cores:
                del tenants[tenant]
            if not tenants:
                del self._holding[domain]

    def holding(self, tenant: str | None, domain: str) -> list[Core]:
        """The cores that a change concerns."""
        with self.lock:
            tenants = self._holding.get(domain)
            if not tenants:
                return []
            if tenant is None:
                found = {number: core for cores in tenants.values()
                         for number, core in cores.items()}
            else:
                found = {**tenants.get(None, {}), **tenants.get(tenant, {})}
            return list(found.values())

    def leave(self, core: Core) -> None:
        """The core is told nothing any more."""
        with self.lock:
            for domain, tenants in list(self._holding.items()):
                for tenant in list(tenants):
                    self.hold_no_more(tenant, domain, core)
