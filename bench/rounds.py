"""How the variants of a scenario are run against each other."""

import contextlib
import dataclasses
import statistics

from beside import Listeners, versions
from model import Check
from server import BenchError

VACUUM_USER_TABLES = r"""
SELECT format('VACUUM ANALYZE %I.%I', nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema')
\gexec
"""


def run_scenario(server, scenario, length, modules, say):
    """Run it; a dictionary for the results. `modules` are variables for the set-up
    SQL, `say` takes pieces of text that show the progress."""
    with server.standby() if scenario.standby else contextlib.nullcontext():
        return run_rounds(server, scenario, length, modules, say)


def run_rounds(server, scenario, length, modules, say):
    databases = {v.name: f"{scenario.name}_{v.name}" for v in scenario.variants}
    for variant in scenario.variants:
        set_up(server, scenario, variant, databases[variant.name], modules)
    server.sql("CHECKPOINT;")

    runs = {v.name: [] for v in scenario.variants}
    with server.under_callgrind() if scenario.callgrind else contextlib.nullcontext():
        for round_number in range(1, length.rounds + 1):
            say(f"  round {round_number}/{length.rounds}:")
            for variant in scenario.variants:
                measured = run_once(
                    server, scenario, variant, databases[variant.name], length, round_number
                )
                runs[variant.name].append(measured)
                wrong = " WRONG" if measured.wrong else ""
                say(f"  {variant.name} {shown(measured.value)}{wrong}")
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
        if variant.install:
            variant.install(server, database)
        server.sql(VACUUM_USER_TABLES, database)
    except BenchError as error:
        raise BenchError(f"set-up of {scenario.name}, {variant.name}: {error}") from error


def run_once(server, scenario, variant, database, length, seed):
    """One run, checked."""
    scenario = dataclasses.replace(
        scenario,
        script=variant.script or scenario.script,
        measure=variant.measure or scenario.measure,
    )
    server.apply({**scenario.settings, **variant.settings})
    if not scenario.callgrind:  # which makes it last minutes
        server.sql(VACUUM_USER_TABLES, database)
    check = variant.check or Check()
    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(Listeners(server, database, scenario.listeners))
        if variant.beside:  # which may change something itself
            stack.enter_context(variant.beside(server, database))
        before = counters(server, database, check)
        heard_before = heard(server, database, check)

        cpu = server.cpu_seconds()
        measured = scenario.measure(server, database, scenario, length, seed)
        cpu = server.cpu_seconds() - cpu

        wrong = list(measured.wrong)
        wrong += miscounted(check, measured, before, counters(server, database, check))
        moved = heard(server, database, check).items() - heard_before.items()
        wrong += listeners.wrong(dict(moved)) if check.heard else []
        if check.notifications:
            wrong += listeners.miscounted(measured.transactions * check.notifications)
        more = {**measured.more, "notifications": listeners.notifications()}
        if measured.transactions:
            more["cpu_us"] = cpu * 1e6 / measured.transactions
    return dataclasses.replace(measured, wrong=tuple(wrong), more=more)


def miscounted(check, measured, before, after):
    """What is wrong with the counters, if something is."""
    due = measured.transactions * check.bumps
    wrong = [
        f"a counter moved by {new - old}, not {due}"
        for old, new in zip(before, after) if new - old != due
    ]
    if len(before) != len(after) or (check.sql and not after):
        wrong.append(f"{len(before)} counters before the run, {len(after)} after it")
    return wrong


def heard(server, database, check):
    return versions(server, database, check.heard) if check.heard else {}


def counters(server, database, check):
    return [int(n) for n in server.sql(check.sql, database).split()] if check.sql else []


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
