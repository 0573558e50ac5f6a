"""The scenarios that count instructions, which a busy machine does not change."""

import dataclasses

from measure import first_commit, instructions
from model import Length, Ratio, Scenario, ratio_name
from variants import (
    COMMIT,
    KEYED,
    OFF,
    PG_NOTIFY,
    STEADY,
    UNTRIGGERED,
    UPDATE_ALL,
    UPSERT,
    WORKER,
    asking,
    empty_trigger,
    items,
    watched,
    with_key,
)

# Each of them twice before it counts: as a backend that has been there for long.
ONE_OF_300 = "UPDATE item SET price = price + 1 WHERE id = $1::int % 300 + 1"

ONE_BY_NUMBER = "UPDATE item SET price = price + 1 WHERE id = $1"


def counted(name, description, script, variants, ratios, warm_up, transactions, rows=1,
            tenants=1):
    return Scenario(
        name=name,
        description=description,
        setup=items(tenants=tenants, fillfactor=40) + STEADY,
        script=script,
        clients=1,
        measure=instructions(warm_up, rows),
        unit="instructions",
        variants=variants,
        ratios=ratios,
        quick=Length(rounds=1, transactions=transactions),
        full=Length(rounds=1, transactions=transactions),
        callgrind=True,
        on_request=True,
    )


INSTRUCTIONS_UPDATE = counted(
    "instructions_update", "an UPDATE of one row", ONE_BY_NUMBER,
    [
        UNTRIGGERED,
        OFF,
        watched("whole", "off", options=", whole_counter => true"),
        WORKER,
        COMMIT,
        PG_NOTIFY,
        UPSERT,
    ],
    [
        Ratio(ratio_name("instructions_update", v), v, "untriggered")
        for v in ("off", "whole", "worker", "commit", "pg_notify", "upsert")
    ],
    warm_up=50, transactions=500,
)

# With room on its pages as well: its storage parameters are not copied.
UNWATCHED = ("CREATE TABLE plain (LIKE item INCLUDING ALL) WITH (fillfactor = 40);\n"
             "INSERT INTO plain TABLE item;\n")

INSTRUCTIONS_CONNECTION = dataclasses.replace(
    counted(
        "instructions_connection", "the first commit of a new connection", ONE_BY_NUMBER,
        [OFF, WORKER, COMMIT],
        [
            Ratio("instructions_connection", "worker", at_most=300_000),
            Ratio("instructions_connection_off", "off"),
            Ratio("instructions_connection_commit", "commit"),
        ],
        warm_up=0, transactions=1,
    ),
    setup=items(fillfactor=40) + STEADY + UNWATCHED,
    measure=first_commit(ONE_BY_NUMBER.replace("item", "plain", 1)),
)

INSTRUCTIONS_ROW = counted(
    "instructions_row", "each row of an UPDATE of 10,000", UPDATE_ALL,
    [
        UNTRIGGERED,
        empty_trigger("empty_row", "row"),
        watched("row", "off"),
        watched("statement", "off", options=", granularity => 'statement'"),
    ],
    [
        Ratio("instructions_row", "row", "untriggered"),
        Ratio("instructions_row_floor", "row", "empty_row"),
        Ratio("instructions_row_statement", "statement", "untriggered"),
    ],
    warm_up=1, transactions=2, rows=10000,
)

INSTRUCTIONS_KEYS = counted(
    "instructions_keys", "an UPDATE of one row, keys against none", ONE_OF_300,
    [UNTRIGGERED, WORKER, KEYED],
    [Ratio("instructions_keys", "keys", "worker")],
    warm_up=600, transactions=600,
)

INSTRUCTIONS_KEYS_ROW = counted(
    "instructions_keys_row", "each row of an UPDATE of 10,000, keys against none", UPDATE_ALL,
    [
        UNTRIGGERED,
        watched("row", "off"),
        with_key("off"),
    ],
    [Ratio("instructions_keys_row", "keys", "row")],
    warm_up=1, transactions=2, rows=10000,
)

INSTRUCTIONS_READ = counted(
    "instructions_read", "what caches ask, against reading a row", "",
    [
        asking("row", "SELECT price FROM item WHERE id = $1"),
        asking("version", "SELECT cache_notify.version('item', 'tenant-7')"),
        asking("token", "SELECT cache_notify.token('tenant-7', 'item')"),
        asking("token5", "SELECT cache_notify.token('tenant-7', 'item',"
               " 'target1', 'target2', 'target3', 'target4')"),
        asking("is_current", "SELECT cache_notify.is_current(token) FROM held WHERE id = 7"),
    ],
    [
        Ratio("instructions_version", "version", "row"),
        Ratio("instructions_token", "token", "row"),
        Ratio("instructions_token_5_domains", "token5", "row"),
        Ratio("instructions_is_current", "is_current", "row"),
    ],
    warm_up=50, transactions=1000, tenants=1000,
)

COUNTED = [
    INSTRUCTIONS_UPDATE,
    INSTRUCTIONS_CONNECTION,
    INSTRUCTIONS_ROW,
    INSTRUCTIONS_KEYS,
    INSTRUCTIONS_KEYS_ROW,
    INSTRUCTIONS_READ,
]
