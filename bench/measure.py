"""What a scenario is, and how its variants are run against each other."""

import contextlib
import dataclasses
import glob
import os
import re
import statistics
import subprocess
import tempfile
import time
import typing

from beside import CHANNEL, Listeners, client, versions
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
    """`sql`, if it is given, returns one or more counters: each must move by exactly `bumps` per
    transaction that pgbench reports. `heard`, if it is given, returns JSON arrays
    [tenant, domain, version]: what has moved must be what each listener heard last."""

    sql: typing.Optional[str] = None
    bumps: int = 1
    heard: typing.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the things that a scenario compares, in a database of its own."""

    name: str
    setup: str = ""
    settings: dict = dataclasses.field(default_factory=dict)
    check: typing.Optional[Check] = None
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
    script: str  # for pgbench
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
    on_request: bool = False  # not among those that run by default


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


def reading_time(sql, times=20):
    """Throughput, and then how long a query takes, in milliseconds: the median."""

    def measure(server, database, scenario, length, seed):
        measured = throughput(server, database, scenario, length, seed)
        output = server.sql("\\timing on\n" + sql * times, database)
        taken = [float(t) for t in re.findall(r"^Time: ([0-9.]+) ms", output, re.MULTILINE)]
        return dataclasses.replace(measured, more={"read_ms": statistics.median(taken)})

    return measure


def time_to_listener(statement, mark, pause_us):
    """A way to measure the time from commit to listener, in milliseconds: a writer
    of its own executes `statement` beside the load, and waits for the notification
    that has `mark` in it. Counted from when COMMIT has returned; `write_*` is how
    long the statement took with its commit, which is where a lane that makes
    commits wait pays."""

    def measure(server, database, scenario, length, seed):
        # Let the worker start, and the load get going.
        with load(server, database, scenario, length, seed) as running:
            with client(server, "probe", database, CHANNEL, length.seconds - 0.5,
                        pause_us, statement, mark) as probe:
                pairs = [line.split() for line in probe.stdout]
            output = running.finish() if running else None
        if not pairs:
            raise BenchError(f"no notification was heard in {scenario.name}")
        writes = sorted(int(write) / 1000 for write, _ in pairs)
        heard = sorted(int(late) / 1000 for _, late in pairs)
        more = {
            "p50": percentile(heard, 50),
            "p99": percentile(heard, 99),
            "highest": heard[-1],
            "write_p50": percentile(writes, 50),
            "write_p99": percentile(writes, 99),
            "samples": len(heard),
        }
        if output:
            more["load_tps"] = number(r"^tps = ([0-9.]+) \(without", output)
        return Run(more["p50"], transactions(output) if output else 0, more=more)

    return measure


def percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class Load:
    """pgbench, running the scenario's script in the background."""

    def __init__(self, server, database, scenario, length, seed):
        self.process = subprocess.Popen(
            pgbench_command(server, database, scenario, length, seed),
            env=server.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.process.stdin.write(scenario.script)
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self):
        """Wait for its end; what it reports."""
        output, errors = self.process.communicate()
        if self.process.returncode != 0:
            raise BenchError(f"pgbench failed:\n{errors}")
        return output


@contextlib.contextmanager
def load(server, database, scenario, length, seed):
    """The scenario's clients in the background; None if it has none."""
    if scenario.clients == 0:
        yield None
        return
    running = Load(server, database, scenario, length, seed)
    try:
        time.sleep(0.3)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def pgbench_command(server, database, scenario, length, seed, options=()):
    command = [server.program("pgbench"), "-n", "-M", "prepared", "-j", "2"]
    command += ["-c", str(scenario.clients), "--random-seed", str(seed), "-f", "-"]
    return command + [*length.pgbench_options(), *options, database]


def pgbench(server, database, scenario, length, seed, options=()):
    """Run the scenario's script; what pgbench reports."""
    command = pgbench_command(server, database, scenario, length, seed, options)
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
    with server.standby() if scenario.standby else contextlib.nullcontext():
        return run_rounds(server, scenario, length, modules, say)


def run_rounds(server, scenario, length, modules, say):
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
    heard_before = heard(server, database, check)
    beside = variant.beside(server, database) if variant.beside else contextlib.nullcontext()
    with Listeners(server, database, scenario.listeners) as listeners:
        with beside:
            cpu = server.cpu_seconds()
            measured = scenario.measure(server, database, scenario, length, seed)
            cpu = server.cpu_seconds() - cpu
        after = counters(server, database, check)
        moved = heard(server, database, check).items() - heard_before.items()
        wrong = listeners.wrong(dict(moved)) if check and check.heard else []
        more = {**measured.more, "notifications": listeners.notifications()}
        if measured.transactions:
            more["cpu_us"] = cpu * 1e6 / measured.transactions
    if check and check.sql:
        due = measured.transactions * check.bumps
        if len(before) != len(after) or not after:
            wrong.append(f"{len(before)} counters before the run, {len(after)} after it")
        wrong += [
            f"a counter moved by {new - old}, not {due}"
            for old, new in zip(before, after)
            if new - old != due
        ]
    return dataclasses.replace(measured, wrong=tuple(wrong), more=more)


def heard(server, database, check):
    return versions(server, database, check.heard) if check and check.heard else {}


def counters(server, database, check):
    return [int(n) for n in server.sql(check.sql, database).split()] if check and check.sql else []


def summary(scenario, length, runs):
    return {
        "name": scenario.name,
        "description": scenario.description,
        "clients": scenario.clients,
        "listeners": scenario.listeners,
        "script": scenario.script,
        "settings": scenario.settings,
        "length": str(length),
        "unit": scenario.unit,
        "variants": [
            {
                "name": variant.name,
                "settings": variant.settings,
                **spread([r.value for r in runs[variant.name]]),
                "more": {
                    name: spread([r.more[name] for r in runs[variant.name]])
                    for name in runs[variant.name][0].more
                },
                "transactions": [r.transactions for r in runs[variant.name]],
                "checked": variant.check is not None,
                "wrong": [text for r in runs[variant.name] for text in r.wrong],
            }
            for variant in scenario.variants
        ],
        "ratios": [ratio_summary(ratio, runs) for ratio in scenario.ratios],
    }


def ratio_summary(ratio, runs):
    values = [r.measured(ratio.of) for r in runs[ratio.variant]]
    if ratio.base:
        bases = [r.measured(ratio.of) for r in runs[ratio.base]]
        values = [v / b for v, b in zip(values, bases)]
    ratios = spread(values)
    return {
        "name": ratio.name,
        "variant": ratio.variant,
        "base": ratio.base,
        "of": ratio.of,
        **ratios,
        "target": ratio.target(),
        "met": ratio.met(ratios["median"]),
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
