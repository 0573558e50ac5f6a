#!/usr/bin/python3
"""PostgreSQL -> Debezium (Relay.java) -> Redis -> an application's cache (cache.py).

Runs all of them on private sockets and says in TAP whether the cache heard every
commit, in commit order, and never served what was no longer true; then Debezium as it
comes (Tables.java), which publishes all tables: none of ours.
"""

import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../include"))
from tap import Tap  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
STREAM = "cache_notify"
WAIT = 120.0  # seconds for what must come
QUIET = 0.5  # seconds in which nothing else may come
WRITERS = 4
TRANSACTIONS = 60  # of each writer
CONTRACT = "SELECT title FROM tv_contract WHERE id = %s"


class Redis:
    """A Redis of our own, with nothing on disk."""

    def __init__(self, directory):
        self.socket = os.path.join(directory, "redis")
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "",
             "--dir", directory],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + WAIT
        while not os.path.exists(self.socket):
            if time.monotonic() > deadline:
                sys.exit("redis-server did not start")
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Relay:
    """Relay.java as a process, and what it logs."""

    def __init__(self, directory, redis):
        self.log = os.path.join(directory, "relay.log")
        self.command = [
            "java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.log.org.apache.kafka=warn",
            "-cp", f"{HERE}/build/classes:{HERE}/build/lib/*",
            "Relay", f"{HERE}/relay.properties", redis.socket, STREAM,
        ]
        self.process = None

    def start(self):
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self):
        """The hard way: it can neither confirm nor clean up anything."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Tables:
    """Tables.java as a process, and the events that it prints."""

    def __init__(self, log):
        with open(log, "a", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                ["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.log.org.apache.kafka=warn",
                 "-cp", f"{HERE}/build/classes:{HERE}/build/lib/*", "Tables", f"{HERE}/tables.properties"],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )
        self.events = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.events.put(line.strip())

    def until(self, last):
        """The events up to this one."""
        events = []
        deadline = time.monotonic() + WAIT
        while last not in events:
            try:
                events.append(self.events.get(timeout=max(0, deadline - time.monotonic())))
            except queue.Empty:
                break
        return events

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Application:
    """cache.py, or another like it, as a process: what it heard, and what it answers."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.heard = queue.Queue()
        self.messages = []
        self.repeated = 0
        self.answers = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "heard" in said:
                self.heard.put(said["heard"])
            else:
                self.answers.put(said)

    def request(self, tenant, query, *parameters):
        """Ask for a query; answers come in the order of the requests."""
        asked = {"tenant": tenant, "domains": ["contract"], "query": query % parameters}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def ask(self, tenant, query, *parameters):
        self.request(tenant, query, *parameters)
        return self.answers.get(timeout=WAIT)

    def hear(self, seconds=WAIT):
        """The next news, None if there are none within this time.

        Without the version, which may be the same for transactions that commit at
        the same time; and without what was heard before the relay was restarted.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                said = self.heard.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if not said.startswith("{"):
                return said
            message = json.loads(said)
            message.pop("version", None)
            if "xid" not in message:
                return message
            if message not in self.messages:
                self.messages.append(message)
                return message
            self.repeated += 1

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def connect():
    session = psycopg2.connect("")
    session.autocommit = True
    return session


def run(session, *statements):
    """Run statements; the rows of the last, if it has any."""
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


def change(session, tenant, contract):
    """Give a contract a new title; the message that must come of it, and the title."""
    title, xid = run(
        session,
        f"UPDATE tv_contract SET title = (title::int + 1)::text WHERE id = {contract}"
        " RETURNING title, pg_current_xact_id()::text::bigint",
    )[0]
    return {"tenant_id": tenant, "domain": "contract", "xid": xid, "bumps": 1}, title


def set_up(session):
    run(
        session,
        "CREATE EXTENSION cache_notify",
        "CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id text, title text)",
        "INSERT INTO tv_contract SELECT i, CASE WHEN i < 100 THEN 'acme' ELSE 'globex' END, '0'"
        " FROM generate_series(1, 199) AS i",
        "SELECT cache_notify.setup_table_invalidation('tv_contract')",
        "CREATE PUBLICATION cache_notify",  # of no table
    )


def one_by_one(tap, session, application):
    answer = application.ask("acme", CONTRACT, 1)
    tap.equal(answer, {"rows": [["0"]], "from": "database", "stored": True}, "a result is cached")
    application.ask("globex", CONTRACT, 100)
    message, _ = change(session, "acme", 1)
    tap.equal(application.hear(), message, "a commit is heard on the far side")
    tap.equal(application.ask("acme", CONTRACT, 1)["rows"], [["1"]], "its result was dropped")
    tap.equal(application.ask("globex", CONTRACT, 100)["from"], "cache", "another tenant's was not")

    run(session, "BEGIN")
    change(session, "acme", 1)
    run(session, "ROLLBACK")
    tap.equal(application.hear(QUIET), None, "a rollback is not heard")
    tap.equal(application.ask("acme", CONTRACT, 1)["from"], "cache", "and drops nothing")

    run(session, "BEGIN")
    first, _ = change(session, "acme", 1)
    run(session, "SAVEPOINT s")
    change(session, "globex", 100)
    run(session, "ROLLBACK TO s", "COMMIT")
    tap.equal(application.hear(), first, "of a transaction with a savepoint, what was kept is heard")
    tap.equal(application.hear(QUIET), None, "and nothing else")

    run(session, "TRUNCATE tv_contract")
    message = application.hear()
    tap.equal((message["tenant_id"], message["domain"]), (None, "contract"), "a shared change is heard")
    tap.equal(application.ask("globex", CONTRACT, 100)["rows"], [], "and drops every tenant's results")
    run(session, "INSERT INTO tv_contract SELECT i, CASE WHEN i < 100 THEN 'acme' ELSE 'globex' END, '0'"
        " FROM generate_series(1, 199) AS i")
    tap.equal({application.hear()["tenant_id"], application.hear()["tenant_id"]}, {"acme", "globex"},
              "one statement, two tenants, two messages")


def in_commit_order(tap, session, application):
    other = connect()
    run(session, "BEGIN")
    early, _ = change(session, "acme", 1)
    run(other, "BEGIN")
    late, _ = change(other, "acme", 2)
    run(other, "COMMIT")
    run(session, "COMMIT")
    tap.equal([application.hear(), application.hear()], [late, early], "the order is that of the commits")
    other.close()


def prepared(tap, session, application, relay):
    application.ask("acme", CONTRACT, 3)
    run(session, "BEGIN")
    message, title = change(session, "acme", 3)
    run(session, "PREPARE TRANSACTION 'kept'", "BEGIN")
    change(session, "acme", 4)
    run(session, "PREPARE TRANSACTION 'undone'")
    tap.equal(application.hear(QUIET), None, "PREPARE TRANSACTION is not heard")
    later, _ = change(session, "globex", 100)
    tap.equal(application.hear(), later, "a later commit is")
    tap.equal(application.ask("acme", CONTRACT, 3)["from"], "cache", "the result is current until then")

    # What is now to come lies before what the relay has confirmed.
    time.sleep(QUIET)
    relay.kill()
    relay.start()
    run(session, "ROLLBACK PREPARED 'undone'", "COMMIT PREPARED 'kept'")
    tap.equal(application.hear(), message, "COMMIT PREPARED is heard, from a relay started after the PREPARE")
    tap.equal(application.hear(QUIET), None, "ROLLBACK PREPARED is not")
    tap.equal(application.ask("acme", CONTRACT, 3)["rows"], [[title]], "the result was dropped")


def late_fill(tap, session, application):
    """A query that began before the commit ends after its message was heard."""
    run(session, "SELECT pg_advisory_lock(1)")
    slow = CONTRACT + " AND pg_advisory_xact_lock(1) IS NOT NULL"
    application.request("acme", slow, 5)
    deadline = time.monotonic() + WAIT
    while not run(session, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    message, title = change(session, "acme", 5)
    tap.equal(application.hear(), message, "a commit is heard while a query is under way")
    run(session, "SELECT pg_advisory_unlock(1)")
    answer = application.answers.get(timeout=WAIT)
    tap.equal(answer, {"rows": [["0"]], "from": "database", "stored": False},
              "the query's result, which does not include it, is not cached")
    answer = application.ask("acme", slow, 5)
    tap.equal(answer, {"rows": [[title]], "from": "database", "stored": True}, "the next one is")


def write(number, done):
    """One writer under load: append what it committed to done."""
    session = connect()
    for _ in range(TRANSACTIONS):
        contract = random.choice((10, 11, 110))
        tenant = "acme" if contract < 100 else "globex"
        kind = random.choice(("plain", "plain", "rollback", "prepared"))
        run(session, "BEGIN")
        message, title = change(session, tenant, contract)
        if kind == "rollback":
            run(session, "ROLLBACK")
            continue
        if kind == "prepared":
            run(session, f"PREPARE TRANSACTION 'w{number}'", f"COMMIT PREPARED 'w{number}'")
        else:
            run(session, "COMMIT")
        done.append((contract, int(title), message))
        time.sleep(random.random() / 50)
    session.close()


def under_load(tap, session, application, relay):
    """Writers side by side, the relay killed twice in the middle."""
    done = []
    writers = [threading.Thread(target=write, args=(n, done)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(2):
        time.sleep(random.random())
        relay.kill()
        relay.start()
        for _ in range(20):
            application.ask("acme", CONTRACT, 10)
            application.ask("globex", CONTRACT, 110)
            time.sleep(0.05)
    for writer in writers:
        writer.join()
    end, _ = change(session, "globex", 150)

    heard = []
    while True:
        message = application.hear()
        if message is None or message == end:
            break
        heard.append(message)
    tap.equal(message, end, "after two kills of the relay, the last commit is heard")
    print(f"# {application.repeated} of {len(application.messages)} messages came more than once")
    # Writers of one contract wait for each other: its titles are in commit order.
    for contract in 10, 11, 110:
        expected = [message for c, _, message in sorted(done, key=lambda d: d[:2]) if c == contract]
        own = [message for message in heard if message in expected]
        tap.ok(own == expected, f"every one of {len(expected)} commits is heard, in commit order",
               own, expected)
    tap.equal(sum(m["bumps"] for m in heard), len(done), "and nothing that did not commit")
    wrong = []
    for tenant, contract in ("acme", 10), ("acme", 11), ("globex", 110):
        answer = application.ask(tenant, CONTRACT, contract)
        if [tuple(row) for row in answer["rows"]] != run(session, CONTRACT % contract):
            wrong.append(answer)
    tap.equal(wrong, [], "no result is outdated")


def slot_lost(tap, session, application, relay):
    application.ask("acme", CONTRACT, 6)
    relay.kill()
    deadline = time.monotonic() + WAIT
    while run(session, "SELECT 1 FROM pg_replication_slots WHERE active"):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    run(session, "SELECT pg_drop_replication_slot('cache_notify')")
    change(session, "acme", 6)  # nobody will hear of it
    relay.start()
    while (heard := application.hear()) not in (None, {"reset": True}):
        pass
    tap.equal(heard, {"reset": True}, "when the slot is lost, a reset is heard")
    tap.equal(application.ask("acme", CONTRACT, 6)["rows"], [["1"]], "and everything was dropped")
    message, _ = change(session, "acme", 6)
    tap.equal(application.hear(), message, "the new slot goes on")


# All of ours that Debezium reads when it begins.
OF_RULES = ["cache_notify cascade_rules"]


def all_tables(tap, session, log):
    """What Debezium does if nobody says which tables: all of them, as it finds them."""
    run(session, "CREATE TABLE first (id int PRIMARY KEY)", "INSERT INTO first VALUES (1)",
        "CREATE TABLE last (id int PRIMARY KEY)",
        "SELECT cache_notify.setup_table_invalidation('first')",
        "INSERT INTO cache_notify.cascade_rules VALUES ('first', 'page')",
        "SELECT cache_notify.setup_schema_invalidation('postgrest')")
    tables = Tables(log)
    try:
        read = tables.until("public first")
        deadline = time.monotonic() + WAIT
        while not run(session, "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'tables' AND active"):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        tap.equal(run(session, "SELECT puballtables FROM pg_publication WHERE pubname = 'tables'"), [(True,)],
                  "Debezium publishes all tables")
        tap.equal(run(session, "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'tables'"
                      " AND schemaname LIKE '%cache\\_notify'"), [], "and none of ours")
        # What writes our state in every way: counters, what is owed, rules, a history.
        run(session, "UPDATE first SET id = id + 1", "BEGIN", "UPDATE first SET id = id + 1",
            "CREATE TABLE made (id int PRIMARY KEY)", "PREPARE TRANSACTION 'tables'", "COMMIT PREPARED 'tables'",
            "SELECT cache_notify.invalidate('page')", "SELECT cache_notify.compact()",
            "INSERT INTO cache_notify.cascade_rules VALUES ('first', 'other')",
            "SELECT cache_notify.new_history()", "UPDATE first SET id = id + 1", "INSERT INTO last VALUES (1)")
        told = tables.until("public last")
        tap.ok("public first" in read and {"public first", "public last"} <= set(told),
               "the tables are read and told", [*read, *told], "first, last")
        # It begins by reading every table, of ours the one that people write rules into.
        tap.equal([e for e in [*read, *told] if "cache_notify " in e and e not in OF_RULES], [],
                  "and no state of ours")
        tap.equal([e for e in told[told.index("public first"):] if e in OF_RULES], [],
                  "nor changes of the rules")
        run(session, "INSERT INTO made VALUES (1)")
        tap.ok("public made" in tables.until("public made"), "it goes on")
    finally:
        tables.kill()


def main():
    tap = Tap()
    directory = tempfile.mkdtemp(prefix="cache_notify.")
    redis = Redis(directory)
    relay = Relay(directory, redis)
    application = None
    try:
        session = connect()
        set_up(session)
        application = Application([f"{HERE}/cache.py", redis.socket, STREAM])
        relay.start()
        tap.equal([application.hear(), application.hear()], ["started anew", {"reset": True}],
                  "the first start of the relay is a reset")
        one_by_one(tap, session, application)
        in_commit_order(tap, session, application)
        prepared(tap, session, application, relay)
        late_fill(tap, session, application)
        under_load(tap, session, application, relay)
        slot_lost(tap, session, application, relay)
        all_tables(tap, session, relay.log)
    finally:
        if tap.failed or sys.exc_info()[0]:
            with open(relay.log, encoding="utf-8") as log:
                sys.stderr.writelines(log.readlines()[-60:])
        if relay.process:
            relay.kill()
        if application:
            application.stop()
        redis.stop()
        shutil.rmtree(directory)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
