"""The table that scenarios change, and what can watch it."""

import dataclasses

from beside import CHANNEL
from model import Check, Variant
from needs import install_pgcachewatch, install_sequel_trigger

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

# After two updates of everything each page has the shape that it then keeps.
STEADY = UPDATE_ALL + UPDATE_ALL

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

# ---- the same with keys

# Each bucket has a counter once it was touched; a first touch costs more.
TOUCH_ALL = """
SET synchronous_commit = off;
DO $$
BEGIN
    FOR n IN 1 .. 10000 LOOP
        PERFORM cache_notify.invalidate('item/' || n, 'tenant-0');
        COMMIT;
    END LOOP;
END $$;
"""


def with_key(delivery):
    return watched("keys", delivery, options=", keys => '{id}'", more=TOUCH_ALL)


KEYED = with_key("worker")

# ---- with something to ask for

# Five domains of 1,000 tenants that have all changed, and a token of each tenant.
ASKED = """
INSERT INTO cache_notify.cascade_rules (source_domain, target_domain)
SELECT 'item', 'target' || n FROM generate_series(1, 4) AS n;
UPDATE item SET price = price + 1;
CREATE TABLE held AS
SELECT id, cache_notify.token('tenant-' || id, 'item') AS token
FROM generate_series(0, 999) AS id;
ALTER TABLE held ADD PRIMARY KEY (id);
"""


def asking(name, script):
    return dataclasses.replace(
        watched(name, "worker", check=None, more=ASKED), script=script
    )


# ---- what one writes or takes without this extension

# A version per tenant, counted with an upsert and told with pg_notify, once per
# statement.
UPSERT = Variant(
    "upsert",
    setup=f"""
CREATE TABLE upsert_version (
    tenant_id text,
    domain text,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, domain)
);
CREATE FUNCTION upsert_bump() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bumped record;
BEGIN
    FOR bumped IN
        INSERT INTO upsert_version AS v
        SELECT DISTINCT tenant_id, 'item', 1 FROM changed ORDER BY tenant_id
        ON CONFLICT (tenant_id, domain) DO UPDATE SET version = v.version + 1
        RETURNING v.tenant_id, v.domain, v.version
    LOOP
        PERFORM pg_notify('{CHANNEL}', row_to_json(bumped)::text);
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER upsert_bump AFTER UPDATE ON item
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION upsert_bump();
""",
    check=Check(
        "SELECT coalesce(max(version), 0) FROM upsert_version;",
        heard="SELECT json_build_array(tenant_id, domain, version) FROM upsert_version;",
    ),
)


# The same where a row trigger finds the tenants: what the statement has counted
# already is in a table, which the end of the statement clears. Unlogged, and with
# room for HOT updates, so as not to be slower than it must.
TRACKER = Variant(
    "tracker",
    setup=f"""
CREATE TABLE tracker_version (
    tenant_id text,
    domain text,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, domain)
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE tracker_seen (
    xid xid8,
    tenant_id text,
    PRIMARY KEY (xid, tenant_id)
);
CREATE FUNCTION tracker_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bumped record;
BEGIN
    INSERT INTO tracker_seen VALUES (pg_current_xact_id(), NEW.tenant_id)
        ON CONFLICT DO NOTHING;
    IF FOUND THEN
        INSERT INTO tracker_version AS v VALUES (NEW.tenant_id, 'item', 1)
            ON CONFLICT (tenant_id, domain) DO UPDATE SET version = v.version + 1
            RETURNING v.tenant_id, v.domain, v.version INTO bumped;
        PERFORM pg_notify('{CHANNEL}', row_to_json(bumped)::text);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION tracker_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tracker_seen WHERE xid = pg_current_xact_id();
    RETURN NULL;
END $$;
CREATE TRIGGER tracker_row AFTER UPDATE ON item
    FOR EACH ROW EXECUTE FUNCTION tracker_row();
CREATE TRIGGER tracker_statement AFTER UPDATE ON item
    FOR EACH STATEMENT EXECUTE FUNCTION tracker_statement();
""",
    check=Check(
        "SELECT coalesce(max(version), 0) FROM tracker_version;",
        heard="SELECT json_build_array(tenant_id, domain, version) FROM tracker_version;",
    ),
)

# What they promise: one notification per transaction that changes the table.
HEARD_ONCE = Check(notifications=1)

# To be told and nothing more.
PG_NOTIFY = Variant(
    "pg_notify",
    setup=f"""
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}',
        json_build_object('tenant_id', NEW.tenant_id, 'domain', 'item')::text);
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tell();
""",
    check=HEARD_ONCE,
)

SEQUEL = Variant(
    "sequel", install=install_sequel_trigger(CHANNEL), needs="sequel", check=HEARD_ONCE
)

PGCACHEWATCH = Variant(
    "pgcachewatch", install=install_pgcachewatch(CHANNEL), needs="pgcachewatch",
    check=HEARD_ONCE,
)


def tcn(rows=1):
    """PostgreSQL's own module: one notification for each row."""
    return Variant(
        "tcn",
        setup=f"""
CREATE EXTENSION tcn;
CREATE TRIGGER tcn AFTER INSERT OR UPDATE OR DELETE ON item
    FOR EACH ROW EXECUTE FUNCTION triggered_change_notification('{CHANNEL}');
""",
        needs="tcn",
        check=Check(notifications=rows),
    )


# ---- floors


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
