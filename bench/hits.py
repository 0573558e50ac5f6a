"""How often caches hit while rows change: the scenario that runs hit_rate.py, and
what is published of it."""

import json
import os

from model import Check, Length, Ratio, Run, Scenario, Variant
from report import markdown
from rounds import shown
from server import BenchError, run
from variants import HEARD

HERE = os.path.dirname(os.path.abspath(__file__))


def hit_rate(writes_per_s):
    """The hit rate of a near cache by keys; of other caches, too (see hit_rate.py)."""

    def measure(server, database, scenario, length, seed):
        done = json.loads(run(
            [os.path.join(HERE, "hit_rate.py"), "--rate", str(writes_per_s),
             "--seconds", str(length.seconds), "--seed", str(seed)],
            {**server.environment, "PGDATABASE": database},
        ))
        caches = done["caches"]
        oracle = caches["oracle"]["hit_rate"]
        more = {name: value for name, value in done.items() if name.endswith("_per_s")}
        for name, cache in caches.items():
            more |= {f"{name}_{of}": value for of, value in cache.items()}
            more[f"{name}_of_oracle"] = cache["hit_rate"] / oracle
        wrong = tuple(
            f"{name} served {cache['stale']} stale results"
            for name, cache in caches.items() if cache["stale"]
        )
        return Run(caches["keys1024"]["hit_rate"], done["writes"], wrong, more)

    return measure


WRITES_PER_S = (1, 10, 100, 1000)

# One table, three domains: with few, with the usual number and with many buckets.
BUCKETS = (64, 1024, 16384)

# Each write is one version of each domain.
EACH_WRITE = Check(
    "SELECT cache_notify.version('item' || b, 'tenant-0')"
    f" FROM unnest('{{{','.join(map(str, BUCKETS))}}}'::int[]) AS b;",
    heard=HEARD,
)


def changing(writes_per_s):
    return Variant(
        f"writes{writes_per_s}",
        setup="CREATE EXTENSION cache_notify;\n" + "".join(
            f"SELECT cache_notify.setup_table_invalidation('item', 'item{buckets}',"
            f" keys => '{{id}}', buckets => {buckets}, fields => '{{keys}}');\n"
            for buckets in BUCKETS
        ),
        settings={"cache_notify.delivery": "worker"},
        check=EACH_WRITE,
        measure=hit_rate(writes_per_s),
        needs="psycopg",
    )


HIT_CACHES = (
    "domain", *(f"keys{b}" for b in BUCKETS), *(f"token{b}" for b in BUCKETS), "ttl1", "ttl60",
)

HIT_RATE = Scenario(
    name="hit_rate",
    description="near caches of 4 processes, 1 to 1,000 writes per second, 10,000 entities",
    setup="""
CREATE TABLE item (id int PRIMARY KEY, tenant_id text NOT NULL, n int NOT NULL)
WITH (fillfactor = 50);
INSERT INTO item SELECT id, 'tenant-0', 0 FROM generate_series(1, 10000) AS id;
""",
    script="",
    clients=1,
    measure=None,  # each variant has its own
    unit="hit rate",
    variants=[changing(rate) for rate in WRITES_PER_S],
    ratios=[
        Ratio(f"hit_rate_{cache}_{rate}_of_oracle", f"writes{rate}", of=f"{cache}_of_oracle",
              at_least=0.98 if (cache, rate) == ("keys1024", 100) else None)
        for rate in WRITES_PER_S for cache in HIT_CACHES
    ] + [
        Ratio(f"hit_rate_{cache}_{rate}", f"writes{rate}", of=f"{cache}_hit_rate")
        for rate in WRITES_PER_S for cache in ("oracle", *HIT_CACHES)
    ] + [
        Ratio(f"hit_rate_ttl{ttl}_{rate}_behind", f"writes{rate}", of=f"ttl{ttl}_behind")
        for rate in WRITES_PER_S for ttl in (1, 60)
    ],
    quick=Length(rounds=1, seconds=12),
    full=Length(rounds=1, seconds=40),
    on_request=True,
)

# ---- published


def check_load(scenario):
    """BenchError if the machine was too busy for what was to be measured."""
    for v in scenario["variants"]:
        for of in ("reads", "writes"):
            due, done = (v["more"][f"{of}{which}_per_s"]["median"] for which in ("_due", ""))
            # Writes come at random times, so few of them are hardly ever just so many.
            if done < 0.9 * due - 3 * (due / 10) ** 0.5:
                raise BenchError(
                    f"hit_rate, {v['name']}: only {done:.0f} {of} per second of {due:.0f}:"
                    " measure again when the machine is less busy"
                )


def hits_tables(scenario):
    """Of each cache a row, of each number of writes a column."""
    check_load(scenario)
    measured = [v["more"] for v in scenario["variants"]]
    head = ["cache", *(f"{v['name'].removeprefix('writes')}/s" for v in scenario["variants"])]
    caches = [name.removesuffix("_hit_rate") for name in measured[0] if name.endswith("_hit_rate")]
    columns = range(1, len(head))

    def cells(of, form):
        return markdown(head, [
            [f"`{cache}`", *(form({key: more[f"{cache}_{key}"]["median"] for key in of})
                             for more in measured)]
            for cache in caches
        ], right=columns)

    def rate(v):
        return f"{100 * v['hit_rate']:.1f} % ({v['of_oracle']:.3f})"

    def behind(v):
        if not v["behind"]:
            return "0"
        return (f"{100 * v['behind']:.2f} %, {seconds(v['behind_median_s'])},"
                f" {seconds(v['behind_highest_s'])}")

    reads = min(more["reads_per_s"]["median"] for more in measured)
    writes = ", ".join(shown(more["writes_per_s"]["median"]) for more in measured)
    return "\n\n".join([
        "Hit rates, and what they are of the oracle's, by writes per second:",
        cells(("hit_rate", "of_oracle"), rate),
        "Hits that were older than a change already committed; how old in the median and"
        " at most:",
        cells(("behind", "behind_median_s", "behind_highest_s"), behind),
        f"{shown(reads)} reads per second; {writes} writes. Hits of a near cache that were"
        " older than a change that its process had been told, or of a token older than"
        " what the server said: "
        + str(sum(more[f"{cache}_stale"]["median"] for more in measured for cache in caches))
        + ".",
    ])


def seconds(value):
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.1f} ms"
