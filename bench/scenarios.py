"""What is measured. A new scenario is an entry here."""

import dataclasses

from apps import APP
from beside import held_snapshot, one_more_listener
from fleet import NODES_SCENARIO
from growth import GROWTH
from hits import HIT_RATE
from instructions import COUNTED
from measure import (
    reading_time,
    statement_time,
    throughput,
    time_to_listener,
)
from model import Check, Length, Ratio, Scenario, ratio_name
from variants import (
    COMMIT,
    HEARD,
    KEYED,
    OFF,
    ONE_VERSION,
    PGCACHEWATCH,
    PG_NOTIFY,
    SEQUEL,
    STEADY,
    TRACKER,
    UNTRIGGERED,
    UPDATE_ALL,
    UPDATE_ONE,
    UPSERT,
    WORKER,
    asking,
    empty_trigger,
    items,
    tcn,
    watched,
)
from waits import with_waits

QUICK = Length(rounds=3, seconds=1)
FULL = Length(rounds=5, seconds=2)

# More where there is a target, and where one slow flush ruins a run.
QUICK_MORE = Length(rounds=4, seconds=1)
FULL_MORE = Length(rounds=7, seconds=2)


def slow_commits(ms):
    """Every commit waits so long before it flushes, as if the storage were slow."""
    return {"commit_delay": str(ms * 1000), "commit_siblings": "0"}


def single_rows(
    name, clients, description, variants, target=None, tenants=1, settings=None,
    quick=QUICK, full=FULL, on_request=False,
):
    """Clients that update one random row per transaction, as fast as they can.
    `target` is the least ratio of the worker lane to the untriggered table."""
    return Scenario(
        name=name,
        description=description,
        setup=items(tenants=tenants),
        script=UPDATE_ONE,
        clients=clients,
        measure=throughput,
        unit="tps",
        variants=[UNTRIGGERED, *variants],
        ratios=[
            Ratio(ratio_name(name, v.name), v.name, "untriggered",
                  at_least=target if v.name == "worker" else None)
            for v in variants
        ],
        settings=settings or {},
        quick=quick,
        full=full,
        on_request=on_request,
    )


def hot(name, clients, variants=(OFF, WORKER, COMMIT), latency_ms=0, **more):
    """All clients change rows of one tenant: one hot (tenant, domain)."""
    writers = "1 client" if clients == 1 else f"{clients} clients"
    latency = f", {latency_ms} ms commit latency" if latency_ms else ""
    return single_rows(
        name, clients, f"{writers}, one hot domain{latency}", variants,
        settings=slow_commits(latency_ms) if latency_ms else {}, **more,
    )


def peers(name, clients, latency_ms=0):
    """Against what one writes or takes without this extension."""
    scenario = hot(
        f"peers_{name}", clients,
        [WORKER, COMMIT, PG_NOTIFY, SEQUEL, PGCACHEWATCH, tcn(), UPSERT, TRACKER],
        latency_ms, full=Length(rounds=3, seconds=2), on_request=True,
    )
    return dataclasses.replace(scenario, description=scenario.description + ", all peers")


SUM_OF_TENANTS = Check(
    "SELECT coalesce(sum(version), 0) FROM cache_notify.domain_version WHERE domain = 'item';",
    heard=HEARD,
)

TEN_RULES = """
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain)
SELECT 'item', 'target' || n FROM generate_series(1, 10) AS n;
"""

ELEVEN_VERSIONS = Check("""
SELECT cache_notify.version(domain, 'tenant-0')
FROM (SELECT 'item' UNION ALL SELECT 'target' || n FROM generate_series(1, 10) AS n) AS d (domain);
""", heard=HEARD)

# The measuring writer's own tenant, so that each of its commits is one version.
PROBED = items() + """
INSERT INTO item VALUES (0, 'probe', 'probe', 0, '');
"""

PROBE = "UPDATE item SET price = price + 1 WHERE id = 0"


def heard_after(name, clients, description, p50, p99, pause_us, quick, full):
    """From a commit to when a listener has heard of it."""
    return Scenario(
        name=name,
        description=f"commit to listener, {description}",
        setup=PROBED,
        script=UPDATE_ONE,
        clients=clients,
        measure=time_to_listener(PROBE, '"probe"', pause_us),
        unit="ms",
        variants=[
            watched("worker", "worker", Check(heard=HEARD)),
            watched("commit", "commit", Check(heard=HEARD)),
            dataclasses.replace(PG_NOTIFY, check=None),
        ],
        ratios=[
            Ratio(f"{name}_p50_ms", "worker", of="p50", at_most=p50),
            Ratio(f"{name}_p99_ms", "worker", of="p99", at_most=p99),
            Ratio(f"{name}_commit_p50_ms", "commit", of="p50"),
            Ratio(f"{name}_pg_notify_p50_ms", "pg_notify", of="p50"),
            Ratio(f"{name}_pg_notify_p99_ms", "pg_notify", of="p99"),
            Ratio(f"{name}_write_p50_ms", "worker", of="write_p50"),
            Ratio(f"{name}_pg_notify_write_p50_ms", "pg_notify", of="write_p50"),
        ],
        quick=quick,
        full=full,
    )


def many_statements(name, description, script, statements):
    """Clients whose transactions have many single-row statements."""
    check = dataclasses.replace(ONE_VERSION, bumps=statements)
    return dataclasses.replace(
        single_rows(name, 8, description, [watched("worker", "worker", check)], 0.95,
                    full=FULL_MORE, on_request=True),
        script=script,
    )


# In ascending order, or the clients would deadlock.
ORM = (
    "\\set id random(1, 9900)\nBEGIN;\n"
    + "".join(f"UPDATE item SET price = price + 1 WHERE id = :id + {n};\n" for n in range(50))
    + "COMMIT;\n"
)

SAVEPOINTS = (
    "\\set id random(1, 9800)\nBEGIN;\n"
    + "".join(
        "SAVEPOINT s;\n"
        f"UPDATE item SET price = price + 1 WHERE id = :id + {n};\n"
        "RELEASE s;\n"
        for n in range(100)
    )
    + "COMMIT;\n"
)


def bulk(name, description, script, rows, quick, full, bumps=1, setup=""):
    """One client, one large statement: what a row costs."""
    return Scenario(
        name=name,
        description=f"1 client, {description}",
        setup=items(rows=rows, fillfactor=40) + setup,
        script=script,
        clients=1,
        measure=statement_time,
        unit="ms",
        variants=[
            UNTRIGGERED,
            empty_trigger("empty_row", "row"),
            watched("row", "worker", dataclasses.replace(ONE_VERSION, bumps=bumps)),
        ],
        ratios=[
            Ratio(f"{name}_floor", "row", "empty_row", at_most=1.10),
            Ratio(f"{name}_empty_row", "empty_row", "untriggered"),
            Ratio(name, "row", "untriggered"),
        ],
        quick=quick,
        full=full,
        on_request=True,
    )


def bulk1m(operation, statement, setup=""):
    """Rolled back, so that each execution finds the same table, and bumps nothing."""
    return bulk(
        f"bulk1m_{operation}", f"{operation} of 1,000,000 rows",
        f"BEGIN;\n{statement};\nROLLBACK;\n", 1000000,
        Length(rounds=3, transactions=1), Length(rounds=3, transactions=1),
        bumps=0, setup=setup,
    )


# To the server's own directory, which is where its programs run.
COPY_OUT = "COPY item TO PROGRAM 'cat > item.copy';\nTRUNCATE item;\n"

# Each commit leaves a dead row version that the snapshot keeps.
BUMP_PROCEDURE = """
CREATE PROCEDURE bump(times int) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1 .. times LOOP
        PERFORM cache_notify.invalidate('item', 'tenant-0');
        COMMIT;
    END LOOP;
END $$;
"""

BUMPS = "SET synchronous_commit = off; CALL bump(1000000);"

KEYS = Check("SELECT sum(n) FROM _cache_notify.version_counter;")


def with_keys(count):
    """As many counters as if that many tenants had changed something."""
    return watched(f"keys{count}", "worker", KEYS, more=f"""
UPDATE item SET tenant_id = 'tenant-' || id % {count};
UPDATE _cache_notify.version_counter SET n = n WHERE false;
INSERT INTO _cache_notify.version_counter (n, last_modified, domain, tenant_id)
SELECT 1, now(), 'item', 'tenant-' || n FROM generate_series(0, {count} - 1) AS n;
""")


READING = one_more_listener(stopped=False)

LISTENERS64 = dataclasses.replace(
    hot("listeners64", 32, [], on_request=True),
    description="32 clients, 64 listeners, all reading or one of them stopped",
    listeners=63,
    variants=[
        dataclasses.replace(UNTRIGGERED, beside=READING),
        dataclasses.replace(WORKER, name="reading", beside=READING),
        dataclasses.replace(WORKER, name="stopped", beside=one_more_listener(stopped=True)),
    ],
    ratios=[
        Ratio("listeners64", "reading", "untriggered"),
        Ratio("listeners64_stopped", "stopped", "reading", at_least=0.95),
    ],
)

# An update of everything leaves the statement's own bump to the shared counter.
KEYS1M = Scenario(
    name="keys1m",
    description="8 clients, 1,000,000 counters against 1,000",
    setup=items(rows=1000000, fillfactor=50),
    script=UPDATE_ONE.replace("10000", "1000000"),
    clients=8,
    measure=throughput,
    unit="tps",
    variants=[with_keys(1000), with_keys(1000000)],
    ratios=[Ratio("keys1m", "keys1000", "keys1000000", at_most=1.2)],
    quick=Length(rounds=3, seconds=5),
    full=Length(rounds=3, seconds=5),
    on_request=True,
)

# The untriggered variant has nothing to read.
READ = """
SELECT CASE WHEN to_regproc('cache_notify.version') IS NULL THEN 'SELECT 1'
    ELSE 'SELECT cache_notify.version(''item'', ''tenant-0'')' END AS read \\gset
:read;
"""

HELD_SNAPSHOT = Scenario(
    name="held_snapshot",
    description="8 clients, a snapshot open since 1,000,000 bumps",
    setup=items(),
    script=UPDATE_ONE,
    clients=8,
    measure=reading_time(READ),
    unit="tps",
    variants=[
        dataclasses.replace(UNTRIGGERED, beside=held_snapshot("")),
        dataclasses.replace(
            watched("worker", "worker", more=BUMP_PROCEDURE),
            beside=held_snapshot(BUMPS),
        ),
    ],
    ratios=[
        Ratio("held_snapshot", "worker", "untriggered", at_least=0.95),
        Ratio("held_snapshot_read_ms", "worker", of="read_ms", at_most=5),
    ],
    quick=Length(rounds=3, seconds=5),
    full=Length(rounds=3, seconds=5),
    on_request=True,
)

SYNC_STANDBY = dataclasses.replace(
    single_rows(
        "sync_standby", 32, "32 clients, one hot domain, a synchronous standby",
        [WORKER], 0.97, settings={"synchronous_standby_names": "*"},
        quick=Length(rounds=3, seconds=3), full=FULL_MORE, on_request=True,
    ),
    standby=True,
)

BY_STATEMENT = watched("statement", "worker", options=", granularity => 'statement'")

BULK10K = Scenario(
    name="bulk10k",
    description="1 client, one UPDATE of 10,000 rows",
    setup=items(fillfactor=40) + STEADY,
    script=UPDATE_ALL,
    clients=1,
    measure=statement_time,
    unit="ms",
    variants=[
        UNTRIGGERED,
        empty_trigger("empty_row", "row"),
        watched("row", "worker"),
        empty_trigger("empty_statement", "statement"),
        BY_STATEMENT,
    ],
    ratios=[
        Ratio("row_floor", "row", "empty_row", at_most=1.10),
        Ratio("statement", "statement", "untriggered", at_most=1.01),
        Ratio("bulk10k", "row", "untriggered"),
        Ratio("bulk10k_empty_row", "empty_row", "untriggered"),
        Ratio("bulk10k_empty_statement", "empty_statement", "untriggered"),
    ],
    quick=Length(rounds=11, transactions=8),
    full=Length(rounds=21, transactions=20),
)

# ---- keys against no keys

def keyed(scenario, name, ratio):
    """The scenario with a table that has keys against one that has none."""
    bases = [v for v in scenario.variants if v.name in ("worker", "row")]
    return dataclasses.replace(
        scenario,
        name=name,
        description=scenario.description + ", keys against none",
        variants=[*bases, KEYED],
        ratios=[dataclasses.replace(ratio, name=name, variant="keys", base=bases[0].name)],
        on_request=True,
    )


KEYS_HOT32 = keyed(
    hot("hot32", 32, [WORKER], quick=Length(rounds=9, seconds=1), full=FULL_MORE),
    "keys_hot32", Ratio("", "", at_least=0.95),
)

KEYS_BULK10K = keyed(BULK10K, "keys_bulk10k", Ratio("", "", at_most=1.05))

BULK10K_PEERS = [
    watched("row", "worker"), BY_STATEMENT,
    PG_NOTIFY, SEQUEL, PGCACHEWATCH, tcn(rows=10000), UPSERT, TRACKER,
]

PEERS_BULK10K = dataclasses.replace(
    BULK10K,
    name="peers_bulk10k",
    description=BULK10K.description + ", all peers",
    variants=[UNTRIGGERED, *BULK10K_PEERS],
    ratios=[Ratio(f"peers_bulk10k_{v.name}", v.name, "untriggered") for v in BULK10K_PEERS],
    quick=Length(rounds=5, transactions=5),
    full=Length(rounds=7, transactions=10),
    on_request=True,
)

# ---- what caches ask

ONE = "\\set id random(0, 999)\n"

TOKEN = Scenario(
    name="token",
    description="8 clients that only ask, against reading a row by its primary key",
    setup=items(tenants=1000),
    script="",
    clients=8,
    measure=throughput,
    unit="tps",
    variants=[
        asking("row", ONE + "SELECT price FROM item WHERE id = :id + 1;\n"),
        asking("version", ONE + "SELECT cache_notify.version('item', 'tenant-' || :id);\n"),
        asking("token", ONE + "SELECT cache_notify.token('tenant-' || :id, 'item');\n"),
        asking("token5", ONE + "SELECT cache_notify.token('tenant-' || :id, 'item',"
               " 'target1', 'target2', 'target3', 'target4');\n"),
        asking("is_current",
               ONE + "SELECT cache_notify.is_current(token) FROM held WHERE id = :id;\n"),
        asking("stale1000", "SELECT cache_notify.stale(array_agg(token)) FROM held;\n"),
    ],
    ratios=[
        Ratio("token", "token", "row"),
        Ratio("token_version", "version", "row"),
        Ratio("token_5_domains", "token5", "row"),
        Ratio("token_is_current", "is_current", "row"),
        Ratio("token_stale_1000", "stale1000", "row"),
    ],
    quick=QUICK,
    full=QUICK,
    on_request=True,
)

# ---- all of it

SCENARIOS = [
    hot("single", 1, target=0.92, quick=QUICK_MORE, full=FULL_MORE),
    hot("hot8", 8, on_request=True),
    hot("hot32", 32, target=0.92, quick=QUICK_MORE, full=FULL_MORE),
    hot("hot32_latency", 32, latency_ms=2, target=0.97, quick=QUICK_MORE, full=FULL_MORE),
    hot("hot128_latency", 128, [WORKER], latency_ms=2, target=0.95, full=FULL_MORE,
        on_request=True),
    with_waits(hot("hot128_latency", 128, [OFF, WORKER], latency_ms=2, on_request=True),
               "hot128_waits"),
    single_rows(
        "cascade10",
        8,
        "8 clients, one hot domain, each change reaches 10 more",
        [
            watched("off", "off", ELEVEN_VERSIONS, more=TEN_RULES),
            watched("worker", "worker", ELEVEN_VERSIONS, more=TEN_RULES),
            watched("commit", "commit", ELEVEN_VERSIONS, more=TEN_RULES),
        ],
        on_request=True,
    ),
    single_rows(
        "tenants32",
        32,
        "32 clients, 1,000 tenants",
        [
            watched("worker", "worker", SUM_OF_TENANTS),
            watched("commit", "commit", SUM_OF_TENANTS),
        ],
        0.90,
        tenants=1000,
        full=FULL_MORE,
    ),
    heard_after(
        "latency", 32, "32 clients at full speed", 3, 15, 5000,
        Length(rounds=2, seconds=2), Length(rounds=5, seconds=4),
    ),
    heard_after(
        "latency_idle", 0, "nothing else going on", 0.5, 2, 10000,
        Length(rounds=2, seconds=2), Length(rounds=3, seconds=4),
    ),
    BULK10K,
    many_statements("orm", "8 clients, 50 single-row statements per transaction", ORM, 50),
    many_statements(
        "savepoints", "8 clients, 100 savepoints per transaction", SAVEPOINTS, 100,
    ),
    KEYS_HOT32,
    KEYS_BULK10K,
    LISTENERS64,
    bulk(
        "bulk100", "one UPDATE of 100 rows",
        "\\set id random(1, 9900)\n"
        "UPDATE item SET price = price + 1 WHERE id BETWEEN :id AND :id + 99;\n",
        10000, Length(rounds=5, transactions=500), Length(rounds=9, transactions=2000),
    ),
    bulk1m("update", "UPDATE item SET price = price + 1"),
    bulk1m(
        "insert",
        "INSERT INTO item SELECT id + 1000000, tenant_id, name, price, filler FROM item",
    ),
    bulk1m("copy", "COPY item FROM PROGRAM 'cat item.copy'", setup=COPY_OUT),
    bulk1m("delete", "DELETE FROM item"),
    KEYS1M,
    TOKEN,
    HIT_RATE,
    APP,
    NODES_SCENARIO,
    GROWTH,
    HELD_SNAPSHOT,
    SYNC_STANDBY,
    *COUNTED,
    peers("single", 1),
    peers("hot8", 8),
    peers("hot32", 32),
    peers("hot32_latency", 32, latency_ms=2),
    peers("hot32_10ms", 32, latency_ms=10),
    PEERS_BULK10K,
]
