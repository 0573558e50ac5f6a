"""How what the extension does grows: with partitions, watched tables, rules, tenants
and databases. The scenario `growth`, and what is published of it."""

import contextlib
import statistics

from beside import CHANNEL, client
from measure import percentile, probed, psql_times
from model import Length, Run, Scenario, Variant
from report import markdown
from server import BenchError

CALLS = 100         # of what takes less than a millisecond


def timed(server, database, statements, before=""):
    """Milliseconds that each of these takes in one session."""
    taken = psql_times(server, database, "".join(f"{s};\n" for s in statements), before)
    if len(taken) != len(statements):
        raise BenchError(f"{len(statements)} statements, {len(taken)} times: {statements[0]}")
    return taken


def one(server, database, statement, before=""):
    return timed(server, database, [statement], before)[0]


def first_and_next(server, database, name, statement):
    """The first call of a session, and the median of the next ones."""
    first, *later = timed(server, database, [statement] * (CALLS + 1))
    return {f"first {name}": first, f"next {name}": statistics.median(later)}


def growing(sizes, grow):
    """Measure at each size up to the length's largest. `grow(server, database, before, size,
    length)` enlarges the database from the size before, and returns milliseconds by what they
    are of; the value is how long the last of all sizes took altogether."""

    def measure(server, database, scenario, length, seed):
        more, before = {}, 0
        for size in [s for s in sizes if s <= length.largest]:
            found = grow(server, database, before, size, length)
            more |= {f"{what}|{size}": ms for what, ms in found.items()}
            before = size
        return Run(sum(found.values()), 0, more=more)

    return measure


# ---- partitions

# In two levels: the server takes quadratic time to make thousands below one table.
BRANCH = 250

ROOT = """
CREATE TABLE part (branch int, id int, tenant_id text) PARTITION BY LIST (branch);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
"""

OF_ROOT = "$$SELECT count(*) FROM part$$"


def partitions(server, database, before, size, length):
    server.sql(f"""
SET synchronous_commit = off;
SELECT format('CREATE TABLE branch_%s PARTITION OF part FOR VALUES IN (%s)'
    ' PARTITION BY LIST (id)', b, b)
FROM generate_series({-(-before // BRANCH)}, {(size - 1) // BRANCH}) AS b
\\gexec
SELECT format('CREATE TABLE part_%s PARTITION OF branch_%s FOR VALUES IN (%s)',
    i, i / {BRANCH}, i)
FROM generate_series({before}, {size - 1}) AS i
\\gexec
VACUUM ANALYZE pg_class, pg_attribute, pg_inherits, pg_depend, pg_trigger;
""", database)
    found = {
        "CREATE TRIGGER": one(server, database, "CREATE TRIGGER t AFTER INSERT ON part"
                              " FOR EACH ROW EXECUTE FUNCTION nothing()"),
        "DROP TRIGGER": one(server, database, "DROP TRIGGER t ON part"),
        "set-up": one(server, database, "SELECT cache_notify.setup_table_invalidation('part')"),
        "first domains_of()": one(server, database,
                                  f"SELECT FROM cache_notify.domains_of({OF_ROOT})"),
    }
    found |= first_and_next(server, database, "token_for()",
                            f"SELECT cache_notify.token_for({OF_ROOT})")
    found |= first_and_next(server, database, "token()", "SELECT cache_notify.token(NULL, 'part')")
    return found | {
        "removal": one(server, database, "SELECT cache_notify.remove_table_invalidation('part')"),
    }


# ---- watched tables

def tables(server, database, before, size, length):
    def each(statement):
        return (f"SELECT format($${statement}$$, i) FROM generate_series({before + 1}, {size})"
                " AS i\n\\gexec\n")

    create = "CREATE TABLE watched_%1$s (id int PRIMARY KEY, tenant_id text, n int)"
    watch = "SELECT cache_notify.setup_table_invalidation('watched_%1$s')"
    server.sql("SET synchronous_commit = off;\n" + each(create)
               + each("INSERT INTO watched_%1$s VALUES (1, 'a', 1)"), database)
    # Beside each other, as a migration would: the last ones are those that count.
    taken = timed_each(server, database, before, size, watch)
    server.sql("VACUUM ANALYZE pg_class, pg_depend, pg_trigger;", database)
    update = "UPDATE watched_1 SET n = n + 1"
    found = {"set-up of one": statistics.median(taken[-20:])}
    found |= first_and_next(server, database, "update", update)
    found |= first_and_next(server, database, "token()",
                            "SELECT cache_notify.token('a', 'watched_1')")
    found |= {
        "first domains_of()": one(server, database, "SELECT FROM cache_notify.domains_of("
                                  "'SELECT n FROM watched_1')"),
        "status of all": one(server, database,
                             "SELECT count(*) FROM cache_notify.v_invalidation_status"),
        "doctor()": one(server, database, "SELECT FROM cache_notify.doctor()"),
        "removal of one": one(server, database,
                              "SELECT cache_notify.remove_table_invalidation('watched_1')"),
    }
    server.sql(watch.replace("%1$s", "1") + ";", database)
    return found


def timed_each(server, database, before, size, statement):
    return timed(server, database,
                 [statement.replace("%1$s", str(i)) for i in range(before + 1, size + 1)],
                 before="SET synchronous_commit = off;\n")


# ---- rules

CHANGED = """
CREATE TABLE item (id int PRIMARY KEY, tenant_id text NOT NULL, n int NOT NULL);
INSERT INTO item VALUES (1, 'a', 1);
SELECT cache_notify.setup_table_invalidation('item');
"""


def rules(server, database, before, size, length):
    """Rules between other domains: those of its own cost a change what they reach."""
    add = ("INSERT INTO cache_notify.cascade_rules (source_domain, target_domain)"
           " SELECT 'source_' || i, 'target_' || i FROM generate_series({}, {}) AS i")
    server.sql(add.format(before + 1, size) + ";", database)
    another = one(server, database, add.format(0, 0))
    server.sql("DELETE FROM cache_notify.cascade_rules WHERE source_domain = 'source_0';", database)
    found = {"one more rule": another}
    found |= first_and_next(server, database, "update", "UPDATE item SET n = n + 1")
    found |= first_and_next(server, database, "token()", "SELECT cache_notify.token('a', 'item')")
    found["rules shown"] = one(server, database,
                               "SELECT count(*) FROM cache_notify.v_cascade_rules")
    return found


# ---- tenants

CHUNK = 50000


def tenants(server, database, before, size, length):
    # Fewer in a transaction than max_keys, or they would not be told apart.
    server.sql("SET synchronous_commit = off;\n" + "".join(
        f"INSERT INTO item SELECT i, 'tenant-' || i, 0"
        f" FROM generate_series({first}, {min(first + CHUNK - 1, size + 1)}) AS i;\n"
        for first in range(before + 2, size + 2, CHUNK))
        + "VACUUM ANALYZE item, _cache_notify.version_counter;", database)
    # A tenant of its own each time: what a long session remembers is no help.
    ids = [size - n * max(1, size // CALLS) % size + 1 for n in range(CALLS)]
    found = {
        "update": statistics.median(timed(server, database, [
            f"UPDATE item SET n = n + 1 WHERE id = {i}" for i in ids])),
        "token()": statistics.median(timed(server, database, [
            f"SELECT cache_notify.token('tenant-{i}', 'item')" for i in ids])),
    }
    whole = timed(server, database, ["SELECT cache_notify.token(NULL, 'item')"] * 3)
    return found | {"token() of all tenants": statistics.median(whole)}


# ---- databases

def databases(server, database, before, size, length):
    """Every one changes five times a second, and one client for each hears of it."""
    names = [f"{database}_{n}" for n in range(size)]
    server.sql("".join(f"CREATE DATABASE {name} TEMPLATE {database};\n"
                       for name in names[before:]))
    writes, heard = [], []
    with contextlib.ExitStack() as stack:
        probes = [
            stack.enter_context(client(server, "probe", name, CHANNEL, length.seconds, 200000,
                                       "UPDATE item SET n = n + 1", "item"))
            for name in names
        ]
        for probe in probes:
            for write, late in probed(probe):
                writes.append(write)
                heard.append(late)
    if size == max(s for s in DATABASES if s <= length.largest):
        server.sql("".join(f"DROP DATABASE {name} WITH (FORCE);\n" for name in names))
    if not heard:
        raise BenchError("no database was heard of")
    writes.sort()
    heard.sort()
    return {"commit, median": percentile(writes, 50), "commit, 99 %": percentile(writes, 99),
            "heard, median": percentile(heard, 50), "heard, 99 %": percentile(heard, 99)}


# ---- the scenario

PARTITIONS = (100, 1000, 5000, 20000)
TABLES = (1, 10, 100, 1000, 10000)
RULES = (1, 10, 100, 1000, 10000)
TENANTS = (1, 100, 10000, 1000000)
DATABASES = (1, 8, 32, 128)

EXTENSION = "CREATE EXTENSION cache_notify;\n"

# What grows, how it is called on the plot.
GROWING = {
    "partitions": "partitions of a table",
    "tables": "watched tables",
    "rules": "rules of other domains",
    "tenants": "tenants of a domain",
    "databases": "databases, each written 5 times a second",
}

GROWTH = Scenario(
    name="growth",
    description="partitions to 20,000, tables and rules to 10,000, tenants to 1,000,000,"
    " databases to 128",
    setup=EXTENSION,
    script="",
    clients=1,
    measure=None,  # each variant has its own
    unit="ms",
    variants=[
        Variant("partitions", setup=ROOT, measure=growing(PARTITIONS, partitions)),
        Variant("tables", measure=growing(TABLES, tables)),
        Variant("rules", setup=CHANGED, measure=growing(RULES, rules)),
        Variant("tenants", setup=CHANGED, measure=growing(TENANTS, tenants)),
        Variant("databases", setup=CHANGED, measure=growing(DATABASES, databases)),
    ],
    ratios=[],
    # Whole trees are locked, and each partition is a lock.
    settings={"cache_notify.delivery": "worker", "cache_notify.max_keys": "100000",
              "max_locks_per_transaction": "1024"},
    quick=Length(rounds=1, seconds=3, largest=1000),
    full=Length(rounds=1, seconds=10, largest=1000000),
    listeners=0,
    on_request=True,
)

# ---- published


def by_size(variant):
    """What was measured: milliseconds by size, by what they are of."""
    found = {}
    for name, value in variant["more"].items():
        if "|" in name:
            what, size = name.split("|")
            found.setdefault(what, {})[int(size)] = value["median"]
    return found


def growth_tables(scenario):
    parts = []
    for variant in scenario["variants"]:
        found = by_size(variant)
        sizes = sorted({size for values in found.values() for size in values})
        head = [GROWING[variant["name"]], *(f"{size:,}" for size in sizes)]
        rows = [[what, *(f"{values[size]:,.1f}" if values[size] >= 1 else f"{values[size]:.2f}"
                         for size in sizes)] for what, values in found.items()]
        parts.append(markdown(head, rows, right=range(1, len(head))))
    return "Milliseconds:\n\n" + "\n\n".join(parts)
