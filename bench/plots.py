"""SVG plots of what is in results.json, drawn by gnuplot."""

import os
import shutil
import subprocess

from apps import WAYS
from growth import GROWING, by_size
from server import BenchError

# How variants are called and drawn, in this order.
LOOKS = {
    "untriggered": ("no trigger", "#999999"),
    "empty_row": ("empty C trigger", "#bbbbbb"),
    "worker": ("cache_notify", "#0060c0"),
    "row": ("cache_notify", "#0060c0"),
    "commit": ("cache_notify, commit lane", "#70b0f0"),
    "pg_notify": ("pg_notify", "#e09000"),
    "sequel": ("Sequel", "#c03030"),
    "pgcachewatch": ("PGCacheWatch", "#800080"),
    "tcn": ("tcn", "#207020"),
    "upsert": ("upsert", "#806040"),
    "tracker": ("tracker", "#404040"),
}

# The same of what hit_rate compares; several that lie on one line are one.
HIT_LOOKS = {
    "oracle": ("oracle: knows each change at once", "#cccccc"),
    "keys1024": ("near cache by key, any number of buckets", "#0060c0"),
    "token16384": ("tokens of keys, 16,384 buckets", "#207020"),
    "token1024": ("tokens of keys, 1,024 buckets", "#60a060"),
    "token64": ("tokens of keys, 64 buckets", "#a0d0a0"),
    "domain": ("near cache by domain", "#e09000"),
    "ttl60": ("60 seconds, stale", "#c03030"),
    "ttl1": ("1 second, stale", "#e09090"),
}

START = """\
set terminal svg size {width},{height} font "sans-serif,12" background "white" rounded noenhanced
set output "{path}"
set key {key} Left reverse
set grid ytics lc "#dddddd"
set border 3
set tics nomirror
set title "{title}"
set xlabel "{xlabel}"
set ylabel "{ylabel}"
"""


def draw(results, directory):
    """Draw into the directory what can be drawn; names of the files."""
    if not shutil.which("gnuplot"):
        return []
    scenarios = {s["name"]: s for s in results["scenarios"]}
    os.makedirs(directory, exist_ok=True)
    drawn = []
    for name, plot in PLOTS.items():
        path = os.path.join(directory, name)
        script = plot(scenarios, path)
        if script:
            gnuplot(script)
            drawn.append(name)
    return drawn


def gnuplot(script):
    # Numbers look alike whatever the caller's locale.
    done = subprocess.run(
        ["gnuplot"], input=script, capture_output=True, text=True, check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        raise BenchError(f"gnuplot failed:\n{done.stderr}")


def start(path, title, xlabel, ylabel, width=640, height=400, key="outside right"):
    return START.format(path=path, title=title, xlabel=xlabel, ylabel=ylabel,
                        width=width, height=height, key=key)


def medians(scenario, of="median"):
    return {v["name"]: v[of] for v in scenario["variants"]}


def data(name, rows):
    """Rows as a block of data that gnuplot calls `name`."""
    lines = "\n".join(" ".join(map(str, row)) for row in rows)
    return f"${name} << END\n{lines}\nEND\n"


def looks(variants):
    return [v for v in LOOKS if v in variants]


def lines(points):
    """A line for each variant through `points`, a dictionary by x."""
    script, plots = "", []
    for variant in looks({v for values in points.values() for v in values}):
        rows = [(x, values[variant]) for x, values in sorted(points.items()) if variant in values]
        title, colour = LOOKS[variant]
        script += data(variant, rows)
        plots.append(f'${variant} using 1:2 with linespoints pt 7 ps 0.6 lw 2'
                     f' lc "{colour}" title "{title}"')
    return script + "plot " + ", ".join(plots) + "\n"


def bars(groups, variants):
    """Bars for each variant beside each other; `groups` is values by variant, by label."""
    rows = [
        [f'"{label}"', *(values.get(v, "NaN") for v in variants)]
        for label, values in groups.items()
    ]
    plots = ", ".join(
        f'$bars using {column}:xtic(1) lc "{LOOKS[v][1]}" title "{LOOKS[v][0]}"'
        for column, v in enumerate(variants, 2)
    )
    return (
        "set style data histogram\nset style histogram clustered gap 1\n"
        "set style fill solid 1 noborder\n" + data("bars", rows) + f"plot {plots}\n"
    )


def measured(scenarios, names):
    """The scenarios of these names that were measured, by what stands for them."""
    return {key: scenarios[name] for key, name in names.items() if name in scenarios}


def throughput_clients(scenarios, path):
    chosen = measured(scenarios, {1: "peers_single", 8: "peers_hot8", 32: "peers_hot32"})
    if len(chosen) < 2:
        return None
    ticks = ", ".join(map(str, chosen))
    return (
        start(path, "Updates of rows of one tenant", "clients", "transactions per second")
        + f"set logscale xy\nset xrange [1:32]\nset xtics ({ticks})\n"
        + lines({clients: medians(s) for clients, s in chosen.items()})
    )


def throughput_latency(scenarios, path):
    chosen = measured(
        scenarios, {0: "peers_hot32", 2: "peers_hot32_latency", 10: "peers_hot32_10ms"}
    )
    if len(chosen) < 2:
        return None
    return (
        start(path, "Throughput, 32 clients", "latency of a commit in ms, beside the disk's own",
              "transactions per second")
        + "set logscale y\n"
        + lines({ms: medians(s) for ms, s in chosen.items()})
    )


def listener_latency(scenarios, path):
    """Two panels: as the listener sees it, and with what the writer waited for it."""
    scenario = scenarios.get("latency")
    if not scenario:
        return None
    script = start(path, "", "ms", "% heard", width=860, height=360, key="below")
    script += ("set multiplot layout 1,2\nset logscale x\nset yrange [0:100]\n"
               "set format x '%g'\n")
    for prefix, title in (("p", "32 clients: after COMMIT has returned"),
                          ("total_p", "32 clients: after the UPDATE was sent")):
        plots = []
        for variant in looks(medians(scenario)):
            more = next(v for v in scenario["variants"] if v["name"] == variant)["more"]
            percents = sorted(
                int(name[len(prefix):]) for name in more
                if name.startswith(prefix) and name[len(prefix):].isdigit()
            )
            block = prefix + variant
            script += data(block, [(more[f"{prefix}{p}"]["median"], p) for p in percents])
            plots.append(f'${block} using 1:2 with lines lw 2 lc "{LOOKS[variant][1]}"'
                         f' title "{LOOKS[variant][0]}"')
        script += f'set title "{title}"\nplot ' + ", ".join(plots) + "\n"
    return script + "unset multiplot\n"


def row_cost(scenarios, path):
    chosen = measured(scenarios, {
        "UPDATE": "bulk1m_update", "INSERT": "bulk1m_insert",
        "COPY": "bulk1m_copy", "DELETE": "bulk1m_delete",
    })
    if not chosen:
        return None
    # Milliseconds for a million rows.
    groups = {
        label: {v: ms / 1000 for v, ms in medians(s).items()} for label, s in chosen.items()
    }
    return (
        start(path, "A statement of 1,000,000 rows", "", "microseconds per row")
        + "set yrange [0:]\n"
        + bars(groups, ["untriggered", "empty_row", "row"])
    )


def against_peers(scenarios, path):
    chosen = measured(scenarios, {
        "1 client": "peers_single", "8 clients": "peers_hot8", "32 clients": "peers_hot32",
        "32 clients,\\n2 ms commits": "peers_hot32_latency",
    })
    if not chosen:
        return None
    groups = {
        label: {r["variant"]: 100 * r["median"] for r in scenario["ratios"]}
        for label, scenario in chosen.items()
    }
    variants = looks({v for values in groups.values() for v in values})
    return (
        start(path, "Throughput that is left", "", "% of a table without trigger", width=760)
        + "set yrange [0:]\n"
        + bars(groups, variants)
    )


def hit_rates(scenarios, path):
    """Two panels: what hits, and how much of that is older than a change."""
    scenario = scenarios.get("hit_rate")
    if not scenario or not scenario["variants"]:
        return None
    by_rate = {int(v["name"].removeprefix("writes")): v["more"] for v in scenario["variants"]}
    script = start(path, "", "", "", width=860, height=420,
                   key="off")
    script += "set multiplot layout 1,2\nset logscale x\nset yrange [0:100]\nset format x '%g'\n"
    for of, title in (("hit_rate", "% of reads that hit"), ("behind", "% of hits that are stale")):
        if of == "behind":
            script += "set key at graph -0.05, graph -0.2 center top maxrows 4\n"
        plots = []
        for cache, (label, colour) in HIT_LOOKS.items():
            block = f"{of}_{cache}"
            script += data(block, [(rate, 100 * more[f"{cache}_{of}"]["median"])
                                   for rate, more in sorted(by_rate.items())])
            width = 6 if cache == "oracle" else 2     # to be seen behind the others
            plots.append(f'${block} using 1:2 with linespoints pt 7 ps 0.6 lw {width}'
                         f' lc "{colour}" title "{label}"')
        script += f'set title "{title}, by writes per second"\nset bmargin 9\nplot ' + ", ".join(plots) + "\n"
    return script + "unset multiplot\n"


def application(scenarios, path):
    """Two panels: pages per second of processor time, and what of them is old."""
    scenario = scenarios.get("app")
    if not scenario or not scenario["variants"]:
        return None
    script = start(path, "", "", "", width=860, height=360, key="off")
    script += ("set multiplot layout 1,2\nset style fill solid 1 noborder\nset boxwidth 0.7\n"
               "set yrange [0:]\nset xtics rotate by -35\n")
    measured_ways = {v["name"]: v for v in scenario["variants"]}
    for title, value in (
            ("pages per second of processor time", lambda v: v["median"]),
            ("% of pages older than a committed change",
             lambda v: 100 * v["more"]["behind"]["median"])):
        rows = [(i, value(measured_ways[way]), int(colour[1:], 16), f'"{label}"')
                for i, (way, (label, colour)) in enumerate(WAYS.items()) if way in measured_ways]
        block = f"app{len(script)}"
        script += data(block, rows)
        script += (f'set title "{title}"\nplot ${block} using 1:2:3:xtic(4) with boxes'
                   " lc rgb variable\n")
    return script + "unset multiplot\n"


def cost_of_nodes(scenarios, path):
    """Two panels: what is left of the throughput, and how late the last node hears."""
    scenario = scenarios.get("nodes")
    if not scenario or not scenario["variants"]:
        return None
    variants = {v["name"]: v for v in scenario["variants"]}
    base = variants["direct1"]["median"]
    script = start(path, "", "nodes", "", width=860, height=360, key="bottom left")
    script += "set multiplot layout 1,2\nset logscale x\n"
    for panel, title, value in (
            ("left", "% of the transactions per second with one listener",
             lambda v: 100 * v["median"] / base),
            ("late", "ms from a change to the last node, median and p99",
             lambda v: (v["more"]["p50"]["median"], v["more"]["p99"]["median"]))):
        plots = []
        for how, label, colour in (("direct", "direct", "#c03030"), ("relay", "relay", "#0060c0")):
            rows = []
            for name, variant in variants.items():
                count = name.removeprefix(how)
                if count.isdigit():
                    told = value(variant)
                    rows.append((int(count), *(told if isinstance(told, tuple) else (told,))))
            block = f"{panel}_{how}"
            script += data(block, sorted(rows))
            plots += [f'${block} using 1:{column} with linespoints pt 7 ps 0.6 lw {width}'
                      f' lc "{colour}" title "{label}"'
                      for column, width in zip(range(2, len(rows[0]) + 1), (2, 1))]
        script += "set yrange [0:]\n" if panel == "left" else "set logscale y\nset yrange [*:*]\n"
        script += f'set title "{title}"\nplot ' + ", ".join(plots) + "\n"
    return script + "unset multiplot\n"


COLOURS = ("#0060c0", "#c03030", "#207020", "#e09000", "#800080", "#70b0f0", "#806040",
           "#404040", "#999999", "#e09090")


def growth(scenarios, path):
    """A panel for each thing that grows: milliseconds by how many there are."""
    scenario = scenarios.get("growth")
    if not scenario or not scenario["variants"]:
        return None
    rows = (len(scenario["variants"]) + 1) // 2
    script = start(path, "", "", "ms", width=1100, height=380 * rows, key="outside right")
    script += (f"set multiplot layout {rows},2\nset logscale xy\nset format x '%.0f'\n"
               "set format y '%g'\n")
    for variant in scenario["variants"]:
        plots = []
        for colour, (what, values) in zip(COLOURS, by_size(variant).items()):
            block = f"{variant['name']}{len(plots)}"
            script += data(block, sorted(values.items()))
            plots.append(f'${block} using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc "{colour}"'
                         f' title "{what}"')
        script += f'set title "{GROWING[variant["name"]]}"\nplot ' + ", ".join(plots) + "\n"
    return script + "unset multiplot\n"


PLOTS = {
    "nodes.svg": cost_of_nodes,
    "growth.svg": growth,
    "application.svg": application,
    "hit-rate.svg": hit_rates,
    "throughput-clients.svg": throughput_clients,
    "throughput-commit-latency.svg": throughput_latency,
    "listener-latency.svg": listener_latency,
    "row-cost.svg": row_cost,
    "peers.svg": against_peers,
}
