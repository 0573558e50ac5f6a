"""What is measured. A new scenario is an entry here."""

import dataclasses

from beside import held_snapshot, one_more_listener
from measure import (
    Check,
    Length,
    Ratio,
    Scenario,
    Variant,
    reading_time,
    statement_time,
    throughput,
    time_to_listener,
)

QUICK = Length(rounds=3, seconds=1)
FULL = Length(rounds=9, seconds=5)

# Every commit waits for 2 ms before it flushes, as if the storage were slow.
LATENCY = {"commit_delay": "2000", "commit_siblings": "0"}

# ---- the table and its load


def items(rows=10000, tenants=1, fillfactor=50):
    """SQL for the table that all scenarios change; room on its pages keeps updates HOT."""
    return f"""
CREATE TABLE item (
    id int PRIMARY KEY,
    tenant_id text NOT NULL,
    name text NOT NULL,
    price numeric NOT NULL,
    filler text NOT NULL
) WITH (fillfactor = {fillfactor});
INSERT INTO item
SELECT id, 'tenant-' || id % {tenants}, 'item ' || id, id, repeat('x', 60)
FROM generate_series(1, {rows}) AS id;
"""


UPDATE_ONE = """\
\\set id random(1, 10000)
UPDATE item SET price = price + 1 WHERE id = :id;
"""

UPDATE_ALL = "UPDATE item SET price = price + 1;\n"

# ---- variants

UNTRIGGERED = Variant("untriggered")

HEARD = """
SELECT json_build_array(tenant_id, domain, version) FROM cache_notify.domain_version;
"""

ONE_VERSION = Check("SELECT cache_notify.version('item', 'tenant-0');", heard=HEARD)


def watched(name, delivery, check=ONE_VERSION, options="", more=""):
    if delivery == "off" and check:
        check = dataclasses.replace(check, heard=None)
    return Variant(
        name,
        setup=f"""
CREATE EXTENSION cache_notify;
SELECT cache_notify.setup_table_invalidation('item', 'item'{options});
{more}""",
        settings={"cache_notify.delivery": delivery},
        check=check,
    )


OFF = watched("off", "off")
COMMIT = watched("commit", "commit")
WORKER = watched("worker", "worker")

# What one writes without an extension: a version per tenant, counted with an
# upsert and told with pg_notify, once per statement.
OBVIOUS = Variant(
    "obvious",
    setup="""
CREATE TABLE obvious_version (
    tenant_id text,
    domain text,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, domain)
);
CREATE FUNCTION obvious_bump() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bumped record;
BEGIN
    FOR bumped IN
        INSERT INTO obvious_version AS v
        SELECT DISTINCT tenant_id, 'item', 1 FROM changed ORDER BY tenant_id
        ON CONFLICT (tenant_id, domain) DO UPDATE SET version = v.version + 1
        RETURNING v.tenant_id, v.domain, v.version
    LOOP
        PERFORM pg_notify('cache_invalidation', row_to_json(bumped)::text);
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER obvious_bump AFTER UPDATE ON item
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION obvious_bump();
""",
    check=Check(
        "SELECT coalesce(max(version), 0) FROM obvious_version;",
        heard="SELECT json_build_array(tenant_id, domain, version) FROM obvious_version;",
    ),
)


def empty_trigger(name, level):
    """A C trigger that does nothing: the floor for any trigger."""
    return Variant(
        name,
        setup=f"""
CREATE FUNCTION empty_trigger() RETURNS trigger LANGUAGE c
    AS :'empty_trigger', 'empty_{level}_trigger';
CREATE TRIGGER empty_trigger AFTER INSERT OR UPDATE OR DELETE ON item
    FOR EACH {level} EXECUTE FUNCTION empty_trigger();
""",
    )


# ---- scenarios


def single_rows(
    name, clients, description, variants, targets, tenants=1, settings=None, quick=QUICK,
    on_request=False,
):
    """Clients that update one random row per transaction, as fast as they can.
    `targets` holds the least ratio to the untriggered table, by variant."""
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
            Ratio(f"{name}_{v.name}", v.name, "untriggered", at_least=targets.get(v.name))
            for v in variants
        ],
        settings=settings or {},
        quick=quick,
        full=FULL,
        on_request=on_request,
    )


def hot(
    name, clients, variants=(OFF, WORKER, COMMIT), targets=None, latency=False, quick=QUICK,
    on_request=False,
):
    """All clients change rows of one tenant: one hot (tenant, domain)."""
    writers = "1 client" if clients == 1 else f"{clients} clients"
    return single_rows(
        name,
        clients,
        f"{writers}, one hot domain" + (", 2 ms commit latency" if latency else ""),
        variants,
        targets or {},
        settings=LATENCY if latency else {},
        quick=quick,
        on_request=on_request,
    )


# More where there is a target, and where one slow flush ruins a run.
MORE_ROUNDS = Length(rounds=5, seconds=1)

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

# After two updates of everything each page has the shape that it then keeps.
STEADY = UPDATE_ALL + UPDATE_ALL

# The measuring writer's own tenant, so that each of its commits is one version.
PROBED = items() + """
INSERT INTO item VALUES (0, 'probe', 'probe', 0, '');
"""

PROBE = "UPDATE item SET price = price + 1 WHERE id = 0"

# What one writes to be told and nothing more.
PG_NOTIFY = Variant(
    "pg_notify",
    setup="""
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('cache_invalidation',
        json_build_object('tenant_id', NEW.tenant_id, 'domain', 'item')::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tell();
""",
)


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
            PG_NOTIFY,
        ],
        ratios=[
            Ratio(f"{name}_p50_ms", "worker", of="p50", at_most=p50),
            Ratio(f"{name}_p99_ms", "worker", of="p99", at_most=p99),
            Ratio(f"{name}_pg_notify_p50_ms", "pg_notify", of="p50"),
            Ratio(f"{name}_pg_notify_p99_ms", "pg_notify", of="p99"),
            Ratio(f"{name}_write_p50_ms", "worker", of="write_p50"),
            Ratio(f"{name}_pg_notify_write_p50_ms", "pg_notify", of="write_p50"),
        ],
        quick=quick,
        full=full,
    )


def many_statements(name, description, script, statements, targets):
    """Clients whose transactions have many single-row statements."""
    return dataclasses.replace(
        single_rows(
            name, 8, description,
            [watched("worker", "worker", dataclasses.replace(ONE_VERSION, bumps=statements))],
            targets,
            on_request=True,
        ),
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
            Ratio(f"{name}_row", "row", "untriggered"),
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
        Length(rounds=3, transactions=1), Length(rounds=5, transactions=1),
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

KEYS = Check("SELECT sum(n) FROM cache_notify.version_counter;")


def with_keys(count):
    """As many counters as if that many tenants had changed something."""
    return watched(f"keys{count}", "worker", KEYS, more=f"""
UPDATE item SET tenant_id = 'tenant-' || id % {count};
UPDATE cache_notify.version_counter SET n = n WHERE false;
INSERT INTO cache_notify.version_counter (n, last_modified, domain, tenant_id)
SELECT 1, now(), 'item', 'tenant-' || n FROM generate_series(0, {count} - 1) AS n;
""")


LISTENERS64 = dataclasses.replace(
    hot("listeners64", 32, []),
    description="32 clients, 64 listeners of which one has stopped reading",
    listeners=63,
    variants=[
        dataclasses.replace(WORKER, name="reading", beside=one_more_listener(stopped=False)),
        dataclasses.replace(WORKER, name="stopped", beside=one_more_listener(stopped=True)),
    ],
    ratios=[Ratio("listeners64", "stopped", "reading", at_least=0.95)],
    quick=MORE_ROUNDS,
    on_request=True,
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
    full=FULL,
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
    full=FULL,
    on_request=True,
)

SYNC_STANDBY = dataclasses.replace(
    single_rows(
        "sync_standby", 32, "32 clients, one hot domain, a synchronous standby",
        [WORKER], {"worker": 0.97}, settings={"synchronous_standby_names": "*"},
        quick=Length(rounds=3, seconds=3),
    ),
    standby=True,
    on_request=True,
)

SCENARIOS = [
    hot("single", 1, targets={"worker": 0.92}, quick=MORE_ROUNDS),
    hot("hot8", 8, on_request=True),
    hot(
        "hot32", 32, [OFF, WORKER, COMMIT, OBVIOUS], {"worker": 0.92},
        quick=MORE_ROUNDS,
    ),
    hot("single_latency", 1, latency=True, on_request=True),
    hot("hot8_latency", 8, latency=True, on_request=True),
    hot(
        "hot32_latency", 32, [OFF, WORKER, COMMIT, OBVIOUS], {"worker": 0.97},
        latency=True, quick=MORE_ROUNDS,
    ),
    hot(
        "hot128_latency", 128, [WORKER], {"worker": 0.95}, latency=True, on_request=True,
    ),
    single_rows(
        "cascade10",
        8,
        "8 clients, one hot domain, each change reaches 10 more",
        [
            watched("off", "off", ELEVEN_VERSIONS, more=TEN_RULES),
            watched("worker", "worker", ELEVEN_VERSIONS, more=TEN_RULES),
            watched("commit", "commit", ELEVEN_VERSIONS, more=TEN_RULES),
        ],
        {},
        on_request=True,
    ),
    single_rows(
        "tenants32",
        32,
        "32 clients, 1,000 tenants",
        [
            watched("off", "off", SUM_OF_TENANTS),
            watched("worker", "worker", SUM_OF_TENANTS),
            watched("commit", "commit", SUM_OF_TENANTS),
        ],
        {"worker": 0.90},
        tenants=1000,
    ),
    heard_after(
        "latency", 32, "32 clients at full speed", 3, 15, 5000,
        Length(rounds=3, seconds=3), Length(rounds=5, seconds=15),
    ),
    heard_after(
        "latency_idle", 0, "nothing else going on", 0.5, 2, 10000,
        Length(rounds=3, seconds=2), Length(rounds=5, seconds=10),
    ),
    Scenario(
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
            watched("statement", "worker", options=", granularity => 'statement'"),
        ],
        ratios=[
            Ratio("row_floor", "row", "empty_row", at_most=1.10),
            Ratio("statement", "statement", "untriggered", at_most=1.02),
            Ratio("bulk10k_empty_row", "empty_row", "untriggered"),
            Ratio("bulk10k_row", "row", "untriggered"),
            Ratio("bulk10k_empty_statement", "empty_statement", "untriggered"),
        ],
        quick=Length(rounds=15, transactions=8),
        full=Length(rounds=21, transactions=25),
    ),
    many_statements(
        "orm", "8 clients, 50 single-row statements per transaction", ORM, 50,
        {"worker": 0.95},
    ),
    many_statements(
        "savepoints", "8 clients, 100 savepoints per transaction", SAVEPOINTS, 100,
        {"worker": 0.95},
    ),
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
    HELD_SNAPSHOT,
    SYNC_STANDBY,
]
