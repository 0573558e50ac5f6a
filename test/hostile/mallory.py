"""What mallory does, a role that owns tables and nothing else: for test/hostile/fuzz."""

import os
import time

import psycopg

from common import connect, fail
from hostile_text import argument_of, array, identifier, literal

VERBOSE = os.environ.get("FUZZ_VERBOSE")
PATIENCE = float(os.environ.get("FUZZ_PATIENCE", "20"))
SHORT = f"{max(2, int(PATIENCE / 10))}s"

# Operators and functions of the server's names, that note who calls them.
TRAPS = """
CREATE FUNCTION mallory.trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
	IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user) THEN
		PERFORM pg_catalog.nextval('trap.caught'); RAISE LOG 'the trap % caught %', $1, current_user; END IF;
	RETURN true; END $$
"""
TRAPPED_TYPES = ["oid, regclass", "oid, oid", "name, text", "text, text", "regclass, oid", "bigint, bigint",
                 "integer, integer", "text[], text[]", "name, name", "\"char\", \"char\"", "smallint, integer"]


def log(*what):
    if VERBOSE:
        print(*what, flush=True)


class Mallory:
    """Statements of a role without rights; errors are his own, lost connections ours."""

    def __init__(self, text, calls):
        self.text, self.random, self.calls = text, text.random, calls
        self.conn, self.made, self.done, self.failed = None, 0, 0, 0

    def run(self, sql, seconds=2.0):
        if self.conn is None:
            self.conn = connect(user="mallory", application_name="mallory", options="-c lock_timeout=1s")
            self.conn.execute(f"SET statement_timeout = '{SHORT}'")
        log("mallory:", sql[:300])
        start = time.monotonic()
        try:
            self.conn.execute(sql.encode("utf-8", "replace"))
            self.done += 1
        except psycopg.OperationalError as error:
            if self.conn.broken:
                fail(f"mallory lost his connection by {sql[:600]}: {error}")
                self.conn = None
        except psycopg.Error:
            self.failed += 1
        if time.monotonic() - start > seconds + PATIENCE / 8:
            fail(f"took {time.monotonic() - start:.1f} s with a statement_timeout of {seconds:g} s: {sql[:300]}")

    def trigger(self):
        """One of our functions behind a trigger of his, on whatever occasion."""
        r, text = self.random, self.text
        self.made += 1
        row = r.random() < 0.5
        events = "INSERT OR UPDATE OR DELETE" + ("" if row or r.random() < 0.5 else " OR TRUNCATE")
        if r.random() < 0.25 and not row:
            events = "TRUNCATE"
        arguments = ", ".join(literal(a) for a in text.arguments())
        self.run(f"CREATE TRIGGER x{self.made} {r.choice(['AFTER', 'AFTER', 'AFTER', 'BEFORE'])} {events}"
                 f" ON mallory.thing FOR EACH {'ROW' if row else 'STATEMENT'}"
                 f" EXECUTE FUNCTION cache_notify.{'row' if row else 'statement'}_change({arguments})")
        self.write()
        if r.random() < 0.6:
            self.run(r.choice([f"DROP TRIGGER x{self.made} ON mallory.thing",
                               f"ALTER TABLE mallory.thing DISABLE TRIGGER x{self.made}",
                               f"ALTER TRIGGER x{self.made} ON mallory.thing RENAME TO {identifier(text.short())}"]))

    def write(self):
        r, text = self.random, self.text
        if r.random() < 0.3:
            self.run(f"SET app.tenant = {literal(text.any())}")
        self.run(r.choice([
            f"INSERT INTO mallory.thing VALUES ({r.randrange(1000)}, {literal(text.any())}, {literal(text.any())})",
            f"UPDATE mallory.thing SET tenant_id = {literal(text.any())} WHERE id % 3 = 0",
            f"INSERT INTO mallory.thing SELECT i, 't' || i, md5(i::text) FROM generate_series(1, {r.choice([10, 3000])}) i",
            "DELETE FROM mallory.thing WHERE id % 2 = 0", "TRUNCATE mallory.thing"]))

    def prepared(self):
        text = self.text
        self.run("BEGIN")
        self.run(f"INSERT INTO mallory.thing VALUES (7, {literal(text.any())}, {literal(text.any())})")
        self.run("PREPARE TRANSACTION 'm'")
        self.run("ROLLBACK")
        self.run("COMMIT PREPARED 'm'")

    def label(self):
        r, text = self.random, self.text
        label = text.any() if r.random() < 0.2 else "{" + ",".join(
            '"' + a.replace("\\", "\\\\").replace('"', '\\"') + '"' for a in text.arguments()) + "}"
        kind, name = r.choice([("VIEW", "seen"), ("MATERIALIZED VIEW", "stored")])
        self.run(f"SECURITY LABEL FOR cache_notify ON {kind} mallory.{name} IS {literal(label)}")
        self.run(r.choice(["REFRESH MATERIALIZED VIEW mallory.stored",
                           f"CREATE OR REPLACE VIEW mallory.seen AS SELECT {r.randrange(99)} AS x"]))

    def option(self):
        """Something of everything that the set-up takes."""
        r, text = self.random, self.text
        options = []
        for name, names in (("domain_name", "domain"), ("tenant_column", "tenant_column"), ("channel", "channel"),
                            ("payload", "payload"), ("payload_suffix", "payload_suffix"),
                            ("tenant_setting", "tenant_setting"), ("granularity", "granularity")):
            if r.random() < 0.35:
                options.append(f"{name} => {literal(text.value(names))}")
        for name, names in (("columns", "column"), ("keys", "key"), ("fields", "field")):
            if r.random() < 0.2:
                options.append(f"{name} => {array([text.value(names) for _ in range(r.randrange(3))])}")
        if r.random() < 0.2:
            options.append(f"buckets => {r.choice([16, 64, 17, -1, 1048576])}")
        self.run("SELECT cache_notify.setup_table_invalidation(" +
                 ", ".join(["'mallory.%s'" % r.choice(["thing", "whole", "stored"])] + options) + ")")
        self.write()

    def named(self):
        """A table, a column and a schema of this name, watched."""
        r, text = self.random, self.text
        table, column, schema = (text.short() for _ in range(3))
        if r.random() < 0.3:
            self.run(f"CREATE SCHEMA {identifier(schema)}")
        where = f"mallory.{identifier(table)}"
        self.run(f"CREATE TABLE {where} ({identifier(column)} text PRIMARY KEY, tenant_id text)")
        options = r.choice(["", ", payload => 'tcn', channel => 'lines'", ", payload => 'pgcachewatch', channel => 'notes'",
                            ", channel => 'items'", f", tenant_column => {literal(column)}",
                            f", keys => {array([column])}, fields => '{{keys}}', channel => 'items'"])
        self.run(f"SELECT cache_notify.setup_table_invalidation({literal(where)}::regclass{options})")
        self.run(f"INSERT INTO {where} VALUES ({literal(text.any())}, {literal(text.any())})")
        self.run(f"ALTER TABLE {where} RENAME COLUMN {identifier(column)} TO {identifier(text.short())}")
        if r.random() < 0.7:
            self.run(f"DROP TABLE {where}")

    def call(self):
        name, types = self.random.choice(self.calls)
        arguments = [argument_of(self.text, t) for t in types]
        if None not in arguments:
            self.run(f"SELECT {name}({', '.join(arguments)})")

    def buckets(self):
        """Keys by hand for a domain of the victim's, in bucket layouts that come and go. Domain calm is always fed by
        both triggers or none, so that it has versions that can be looked at."""
        r, text = self.random, self.text
        for _ in range(r.randrange(1, 5)):
            arguments = ["domain=" + r.choice(["item", "calm", "calm", "calm", "page", text.internal(), "item/1", "item/7"]), "key=id", f"bucket_layout={text.layout()}"]
            if r.random() < 0.3:
                arguments = r.choice([arguments[:1], arguments + ["tenant_column=tenant_id"], arguments + ["inherited=true"]])
            given = ", ".join(literal(a) for a in arguments)
            for kind in "row", "statement":
                self.run(f"CREATE OR REPLACE TRIGGER k_{kind} AFTER INSERT OR UPDATE ON mallory.kept FOR EACH {kind}"
                         f" EXECUTE FUNCTION cache_notify.{kind}_change({given})")
            self.run(f"INSERT INTO mallory.kept VALUES ({r.randrange(1, 40)}, 't1'), ({r.randrange(1, 40)}, 't1')")
            for _ in range(r.randrange(6)):
                self.run(f"UPDATE mallory.kept SET tenant_id = tenant_id || '.' WHERE id <= {r.randrange(1, 40)}")
            if r.random() < 0.5:
                for kind in "row", "statement":
                    self.run(f"DROP TRIGGER k_{kind} ON mallory.kept")

    def channels(self):
        """As many channels as he likes for a domain of the victim's."""
        r = self.random
        for _ in range(r.choice([1, 5, 60])):
            self.made += 1
            self.run(f"CREATE TRIGGER x{self.made} AFTER TRUNCATE ON mallory.kept FOR EACH STATEMENT EXECUTE FUNCTION"
                     f" cache_notify.statement_change('domain={r.choice(['item', 'page'])}', 'granularity=statement',"
                     f" 'channel=c{self.made}', 'payload={r.choice(['json', 'json', 'oid'])}')")

    def long_call(self):
        """What takes long can be ended."""
        function = self.random.choice(["token('t1', VARIADIC a)", "versions('t1', VARIADIC a)", "stale(a)",
                                       "changes_since(cache_notify.current_position(), 't1', VARIADIC a)"])
        self.run("SET statement_timeout = '200ms'")
        self.run(f"SELECT count(*) FROM mallory.many, LATERAL (SELECT cache_notify.{function} AS x OFFSET 0) t", 0.2)
        self.run(f"SET statement_timeout = '{SHORT}'")

    def claims(self):
        self.run("SELECT count(cache_notify.claim_refresh('c' || i, 'c', '5 min')) FROM generate_series(1, 9000) i")

    def step(self):
        act = self.random.choices(
            [self.trigger, self.option, self.label, self.named, self.call, self.write, self.prepared, self.buckets,
             self.channels, self.long_call, self.claims], [24, 14, 12, 12, 24, 6, 4, 8, 2, 1, 1])[0]
        act()
        return act.__name__

    def clean_up(self):
        for schema, in self.conn.execute("SELECT nspname FROM pg_namespace WHERE nspowner = 'mallory'::regrole").fetchall():
            self.run(f"DROP SCHEMA {identifier(schema)} CASCADE")
        self.run("CREATE SCHEMA mallory")

    def set_up(self):
        self.run("CREATE TABLE mallory.thing (id int, tenant_id text, t text)")
        self.run("CREATE TABLE mallory.kept (id int, tenant_id text)")
        self.run("CREATE TABLE mallory.whole (id int, tenant_id text) PARTITION BY LIST (id)")
        self.run("CREATE TABLE mallory.half PARTITION OF mallory.whole DEFAULT")
        self.run("CREATE TABLE mallory.many AS SELECT array_agg('item/' || i) AS a FROM generate_series(1, 1000000) i")
        self.run("CREATE VIEW mallory.seen AS SELECT 1 AS x")
        self.run("CREATE MATERIALIZED VIEW mallory.stored AS SELECT 1 AS x")
        self.run(TRAPS)
        for types in TRAPPED_TYPES:
            left, right = types.split(", ")
            if types != "text, text":
                self.run(f"CREATE FUNCTION mallory.trap({types}) RETURNS boolean LANGUAGE sql AS"
                         f" $$ SELECT mallory.trap('{types.replace(chr(34), '')}'::text, 'x'::text) $$")
            for operator in "=", "<>", "<", ">", "~~", "@>", "<@":
                self.run(f"CREATE OPERATOR mallory.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = mallory.trap)")
