"""What a scenario is made of."""

import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class Length:
    """How much is measured: `rounds` runs of each variant, each of so many
    seconds, or of so many transactions per client; of sizes up to `largest`, where
    what grows is measured."""

    rounds: int
    seconds: int = 0
    transactions: int = 0
    largest: int = 0

    def pgbench_options(self):
        if self.transactions:
            return ["-t", str(self.transactions)]
        return ["-T", str(self.seconds)]

    def __str__(self):
        if self.largest:
            return f"{self.rounds} rounds, up to {self.largest:,} of each"
        each = f"{self.transactions} executions" if self.transactions else f"{self.seconds} s"
        return f"{self.rounds} rounds of {each}"


@dataclasses.dataclass(frozen=True)
class Check:
    """`sql`, if it is given, returns one or more counters: each must move by exactly `bumps` per
    transaction that was measured. `heard`, if it is given, returns JSON arrays
    [tenant, domain, version]: what has moved must be what each listener heard last.
    `notifications`, if it is given, is how many each listener must hear per
    transaction."""

    sql: typing.Optional[str] = None
    bumps: int = 1
    heard: typing.Optional[str] = None
    notifications: typing.Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the things that a scenario compares, in a database of its own."""

    name: str
    setup: str = ""
    settings: dict = dataclasses.field(default_factory=dict)
    check: typing.Optional[Check] = None
    script: typing.Optional[str] = None  # if not the scenario's
    measure: typing.Optional[typing.Callable] = None  # likewise
    # (server, database): what the set-up needs beside SQL, and what for that must
    # be there (see needs.py)
    install: typing.Optional[typing.Callable] = None
    needs: typing.Optional[str] = None
    # (server, database) -> context manager: what goes on during each run
    beside: typing.Optional[typing.Callable] = None


@dataclasses.dataclass(frozen=True)
class Ratio:
    """`variant` over `base`, round by round; the median of that is the ratio.
    Without a base it is the value itself. `of` names another thing that was
    measured than the scenario's main value."""

    name: str
    variant: str
    base: typing.Optional[str] = None
    of: str = "value"
    at_least: typing.Optional[float] = None
    at_most: typing.Optional[float] = None

    def target(self):
        if self.at_least is not None:
            return f">= {self.at_least:.2f}"
        if self.at_most is not None:
            return f"<= {self.at_most:.2f}"
        return None

    def met(self, value):
        """Whether the value meets the target; None where there is none."""
        if self.at_least is not None:
            return value >= self.at_least
        if self.at_most is not None:
            return value <= self.at_most
        return None


def ratio_name(scenario, variant):
    """The ratio of the default lane is called like the scenario."""
    return scenario if variant == "worker" else f"{scenario}_{variant}"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of one variant."""

    value: float
    transactions: int
    wrong: tuple = ()  # what the variant's check found
    more: dict = dataclasses.field(default_factory=dict)  # what else was measured

    def measured(self, of):
        return self.value if of == "value" else self.more[of]


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    description: str
    setup: str  # SQL, run for every variant before the variant's own
    script: str  # for pgbench; with `callgrind` one statement
    clients: int
    measure: typing.Callable  # (server, database, scenario, length, seed) -> Run
    unit: str  # of what `measure` returns
    variants: list
    ratios: list
    quick: Length
    full: Length
    settings: dict = dataclasses.field(default_factory=dict)  # of every variant
    listeners: int = 1  # connected during every run
    standby: bool = False  # whether there is a synchronous one
    callgrind: bool = False  # whether the server runs under it
    on_request: bool = False  # not among those that run by default

    def needs(self):
        """What must be there for all of it to be measured (see needs.py)."""
        own = ["callgrind"] if self.callgrind else []
        return own + [v.needs for v in self.variants if v.needs]

    def without(self, missing):
        """The scenario less the variants that need something of `missing`."""
        variants = [v for v in self.variants if v.needs not in missing]
        names = [v.name for v in variants]
        ratios = [r for r in self.ratios if r.variant in names and r.base in (None, *names)]
        return dataclasses.replace(self, variants=variants, ratios=ratios)
