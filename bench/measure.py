"""What a scenario is, and how its variants are run against each other."""

import dataclasses
import glob
import os
import re
import statistics
import tempfile
import typing

from server import BenchError, run


@dataclasses.dataclass(frozen=True)
class Length:
    """How much is measured: `rounds` runs of each variant, each of so many
    seconds, or of so many transactions per client."""

    rounds: int
    seconds: int = 0
    transactions: int = 0

    def pgbench_options(self):
        if self.transactions:
            return ["-t", str(self.transactions)]
        return ["-T", str(self.seconds)]

    def __str__(self):
        each = f"{self.transactions} executions" if self.transactions else f"{self.seconds} s"
        return f"{self.rounds} rounds of {each}"


@dataclasses.dataclass(frozen=True)
class Check:
    """`sql` returns one or more counters: each must move by exactly `bumps` per
    transaction that pgbench reports."""

    sql: str
    bumps: int = 1


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the things that a scenario compares, in a database of its own."""

    name: str
    setup: str = ""
    settings: dict = dataclasses.field(default_factory=dict)
    check: typing.Optional[Check] = None


@dataclasses.dataclass(frozen=True)
class Ratio:
    """`variant` over `base`, round by round; the median of that is the ratio."""

    name: str
    variant: str
    base: str
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


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of one variant."""

    value: float
    transactions: int
    wrong: tuple = ()  # what the variant's check found


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    description: str
    setup: str  # SQL, run for every variant before the variant's own
    script: str  # for pgbench
    clients: int
    measure: typing.Callable  # (server, database, scenario, length, seed) -> Run
    unit: str  # of what `measure` returns
    variants: list
    ratios: list
    quick: Length
    full: Length
    settings: dict = dataclasses.field(default_factory=dict)  # of every variant


# ---- ways to measure


def throughput(server, database, scenario, length, seed):
    """Transactions per second."""
    output = pgbench(server, database, scenario, length, seed)
    return Run(number(r"^tps = ([0-9.]+) \(without", output), transactions(output))


def statement_time(server, database, scenario, length, seed):
    """The median time of one execution, as the client sees it, in milliseconds."""
    with tempfile.TemporaryDirectory(dir=server.directory) as directory:
        prefix = os.path.join(directory, "log")
        output = pgbench(
            server, database, scenario, length, seed, ["--log", f"--log-prefix={prefix}"]
        )
        times = []
        for path in glob.glob(prefix + "*"):
            with open(path) as file:
                times += [int(line.split()[2]) / 1000 for line in file]
    return Run(statistics.median(times), transactions(output))


def pgbench(server, database, scenario, length, seed, options=()):
    """Run the scenario's script; what pgbench reports."""
    command = [server.program("pgbench"), "-n", "-M", "prepared", "-j", "2"]
    command += ["-c", str(scenario.clients), "--random-seed", str(seed), "-f", "-"]
    command += [*length.pgbench_options(), *options, database]
    try:
        output = run(command, server.environment, input=scenario.script)
    except BenchError as error:
        raise BenchError(f"{error}\n\nthe server's log:\n{server.log_tail()}") from error
    failed = re.search(r"^number of failed transactions: ([0-9]+)", output, re.MULTILINE)
    if failed and failed[1] != "0":
        raise BenchError(f"{failed[1]} transactions failed in {scenario.name}")
    return output


def number(pattern, output):
    found = re.search(pattern, output, re.MULTILINE)
    if not found:
        raise BenchError(f"pgbench does not report {pattern}:\n{output}")
    return float(found[1])


def transactions(output):
    return int(number(r"^number of transactions actually processed: ([0-9]+)", output))


# ---- a scenario from beginning to end

VACUUM_USER_TABLES = r"""
SELECT format('VACUUM ANALYZE %I.%I', nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')
\gexec
"""


def run_scenario(server, scenario, length, modules, say):
    """Run it; a dictionary for the results. `modules` are variables for the set-up
    SQL, `say` takes pieces of text that show the progress."""
    say(f"{scenario.name}: {scenario.description} ({length})\n")
    databases = {v.name: f"{scenario.name}_{v.name}" for v in scenario.variants}
    for variant in scenario.variants:
        set_up(server, scenario, variant, databases[variant.name], modules)
    server.sql("CHECKPOINT;")

    runs = {v.name: [] for v in scenario.variants}
    for round_number in range(1, length.rounds + 1):
        say(f"  round {round_number}/{length.rounds}:")
        for variant in scenario.variants:
            measured = run_once(
                server, scenario, variant, databases[variant.name], length, round_number
            )
            runs[variant.name].append(measured)
            say(f"  {variant.name} {shown(measured.value)}{' WRONG' if measured.wrong else ''}")
        say(f" {scenario.unit}\n")

    for database in databases.values():
        server.sql(f"DROP DATABASE {database} WITH (FORCE);")
    return summary(scenario, length, runs)


def set_up(server, scenario, variant, database, modules):
    settings = {**scenario.settings, **variant.settings}
    ours = any(name.startswith("cache_notify.") for name in settings)
    server.apply(settings)
    server.sql(f"CREATE DATABASE {database};")
    refused = server.refused_settings(database, "cache_notify" if ours else None)
    if refused:
        raise BenchError(f"{scenario.name}, {variant.name}: setting refused: {refused}")
    try:
        server.sql(scenario.setup + variant.setup, database, **modules)
    except BenchError as error:
        raise BenchError(f"set-up of {scenario.name}, {variant.name}: {error}") from error


def run_once(server, scenario, variant, database, length, seed):
    """One run, checked."""
    server.apply({**scenario.settings, **variant.settings})
    server.sql(VACUUM_USER_TABLES, database)
    check = variant.check
    before = counters(server, database, check)
    measured = scenario.measure(server, database, scenario, length, seed)
    after = counters(server, database, check)
    wrong = []
    if check:
        due = measured.transactions * check.bumps
        if len(before) != len(after) or not after:
            wrong.append(f"{len(before)} counters before the run, {len(after)} after it")
        wrong += [
            f"a counter moved by {new - old}, not {due}"
            for old, new in zip(before, after)
            if new - old != due
        ]
    return dataclasses.replace(measured, wrong=tuple(wrong))


def counters(server, database, check):
    return [int(n) for n in server.sql(check.sql, database).split()] if check else []


def summary(scenario, length, runs):
    values = {name: [r.value for r in of_variant] for name, of_variant in runs.items()}
    return {
        "name": scenario.name,
        "description": scenario.description,
        "clients": scenario.clients,
        "script": scenario.script,
        "settings": scenario.settings,
        "length": str(length),
        "unit": scenario.unit,
        "variants": [
            {
                "name": variant.name,
                "settings": variant.settings,
                **spread(values[variant.name]),
                "transactions": [r.transactions for r in runs[variant.name]],
                "checked": variant.check is not None,
                "wrong": [text for r in runs[variant.name] for text in r.wrong],
            }
            for variant in scenario.variants
        ],
        "ratios": [ratio_summary(ratio, values) for ratio in scenario.ratios],
    }


def ratio_summary(ratio, values):
    pairs = spread([v / b for v, b in zip(values[ratio.variant], values[ratio.base])])
    return {
        "name": ratio.name,
        "variant": ratio.variant,
        "base": ratio.base,
        **pairs,
        "target": ratio.target(),
        "met": ratio.met(pairs["median"]),
    }


def spread(values):
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "values": [round(value, 4) for value in values],
    }


def shown(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
