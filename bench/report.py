"""The benchmark's results, for people and for programs."""

import json
import os
import platform
import re
import subprocess

from rounds import shown
from server import SETTINGS


def machine(server):
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": file_system(server.data),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def file_system(path):
    """Its type: a benchmark of commits means little on one in memory."""
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def versions(server):
    extension = server.sql(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'cache_notify';"
    )
    return {
        "cache_notify": extension or None,
        "postgresql": server.sql("SHOW server_version;"),
        "compiled_by": server.sql("SELECT split_part(version(), ', ', 2);"),
        "python": platform.python_version(),
    }


def write(path, head, results):
    text = json.dumps({**head, "server_settings": SETTINGS, "scenarios": results}, indent=2)
    # A list of numbers is one line.
    text = re.sub(r"\[[-0-9.,\s]+\]", lambda found: " ".join(found[0].split()), text)
    with open(path, "w") as file:
        file.write(text + "\n")


def table(results):
    """The summary, as text."""
    rows = [["scenario", "variant", "median", "lowest", "highest", "unit", "versions"]]
    for result in results:
        for v in result["variants"]:
            numbers = [shown(v[key]) for key in ("median", "min", "max")]
            rows.append([result["name"], v["name"], *numbers, result["unit"],
                         "WRONG" if v["wrong"] else "right" if v["checked"] else "-"])
    ratios = [["ratio", "variant / base", "median", "lowest", "highest", "target", ""]]
    for result in results:
        for r in result["ratios"]:
            numbers = [f"{r[key]:.3f}" for key in ("median", "min", "max")]
            met = {None: "", True: "met", False: "MISSED"}[r["met"]]
            ratios.append([r["name"], what(r), *numbers,
                           r["target"] or "-", met])
    return aligned(rows) + "\n\n" + aligned(ratios)


def what(ratio):
    return ratio["variant"] + (f" / {ratio['base']}" if ratio["base"] else "")


def failures(results):
    return [
        f"{result['name']}, {variant['name']}: {text}"
        for result in results for variant in result["variants"] for text in variant["wrong"]
    ]


def ratio_lines(results):
    return "\n".join(
        f"RATIO {r['name']} {r['median']:.3f}" for result in results for r in result["ratios"]
    )


def aligned(rows):
    """Columns of text; the third to the fifth hold numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 2 <= i <= 4 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def markdown(head, rows, right=()):
    """A table in Markdown; the columns `right` hold numbers."""
    rule = ["---:" if i in right else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, rule, *rows])
