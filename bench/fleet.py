"""What it costs that many nodes listen, directly or to a relay: the scenario that runs
nodes.py."""

import contextlib
import json
import os
import subprocess
import time

from measure import throughput
from model import Length, Ratio, Run, Scenario, Variant
from report import markdown
from rounds import shown
from server import BenchError
from variants import UPDATE_ONE, items

HERE = os.path.dirname(os.path.abspath(__file__))

# Changes a second while it is measured how late the last node hears of them.
RATE = 20

NODES = (1, 10, 100, 1000)

# Seconds after the load, for what nodes have not read yet.
SETTLE_S = 2


class Nodes:
    """nodes.py, which does what it is told."""

    def __init__(self, server, database, count, how):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", os.path.join(HERE, "nodes.py"), "--nodes", str(count),
             "--how", how],
            env={**server.environment, "PGDATABASE": database},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"nodes.py ended with {self.process.wait()}")
        return json.loads(line)

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self):
        with contextlib.suppress(OSError):
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
        self.process.wait()


def listening(count, how):
    """Transactions per second while they listen; and how late they hear."""

    def measure(server, database, scenario, length, seed):
        nodes = Nodes(server, database, count, how)
        try:
            before = nodes.tell("usage")
            done = throughput(server, database, scenario, length, seed)
            time.sleep(SETTLE_S)
            after = nodes.tell("usage")
            heard = nodes.tell(f"probe {length.seconds} {RATE}")
            if how == "relay":
                heard |= nodes.tell("hot")
        finally:
            nodes.end()
        more = dict(done.more) | heard
        more |= {f"{name}_per_1000_writes": (after[name] - used) * 1000 / done.transactions
                 for name, used in before.items()}
        wrong = ()
        if heard["complete"] == 0:
            wrong = ("no change was heard by all nodes one by one",)
        if heard.get("hot_loads", 1) != 1:
            wrong += (f"the hot result was computed {heard['hot_loads']} times",)
        if how != "direct" and heard["connections"] > 2:
            wrong += (f"{heard['connections']} listening connections",)
        return Run(done.value, done.transactions, wrong, more)

    return Variant(
        f"{how}{count}",
        setup="CREATE EXTENSION cache_notify;\n"
              "SELECT cache_notify.setup_table_invalidation('item', 'item');\n",
        settings={"cache_notify.delivery": "worker"},
        measure=measure,
        needs="nodes",
    )


NODES_SCENARIO = Scenario(
    name="nodes",
    description="32 clients; 1 to 1,000 nodes that listen, directly and to a relay",
    setup=items(),
    script=UPDATE_ONE,
    clients=32,
    measure=None,  # each variant has its own
    unit="tps",
    variants=[listening(count, how) for count in NODES for how in ("direct", "relay")]
    + [listening(1000, "own")],
    ratios=[
        Ratio(f"nodes_{how}{count}", f"{how}{count}", "direct1",
              at_least=0.97 if (how, count) == ("relay", 1000) else None)
        for count in NODES for how in ("direct", "relay") if (how, count) != ("direct", 1)
    ] + [
        Ratio(f"nodes_{how}{count}_p{p}_ms", f"{how}{count}", of=f"p{p}",
              at_most=limit if (how, count) == ("relay", 1000) else None)
        for count in NODES for how in ("direct", "relay") for p, limit in ((50, 50), (99, 250))
    ] + [Ratio(f"nodes_own1000_p{p}_ms", "own1000", of=f"p{p}") for p in (50, 99)],
    settings={"max_connections": "1100"},
    listeners=0,
    quick=Length(rounds=1, seconds=5),
    full=Length(rounds=2, seconds=8),
    on_request=True,
)


# How the nodes listen, as the table calls it.
WAYS = {"direct": "PostgreSQL, a connection per node",
        "relay": "two relays and Redis, a connection per process",
        "own": "the same, a connection per node"}


def nodes_table(scenario):
    """Of each number of nodes and each way a row."""
    rows = []
    variants = {v["name"]: v for v in scenario["variants"]}
    base = variants["direct1"]["median"]
    for how, label in WAYS.items():
        for count in NODES:
            if v := variants.get(f"{how}{count}"):
                more = {name: value["median"] for name, value in v["more"].items()}
                rows.append([
                    label, f"{count:,}", shown(v["median"]), f"{v['median'] / base:.2f}",
                    shown(more["p50"]), shown(more["p99"]), shown(more["connections"]),
                    shown(more["hot_loads"]) if "hot_loads" in more else "",
                    *(f"{1000 * more[f'{what}_s_per_1000_writes']:,.1f}"
                      if f"{what}_s_per_1000_writes" in more else ""
                      for what in ("nodes", "redis", "relay"))])
    return markdown(
        ["listen to", "nodes", "tps", "to one listener", "p50, ms", "p99, ms",
         "connections to PostgreSQL", "loads of a hot result", "nodes, ms per 1,000 writes",
         "Redis", "relay"], rows, right=range(1, 11))
