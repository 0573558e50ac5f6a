#!/usr/bin/python3
"""PostgREST's contract: DDL reloads its schema cache, and nothing else does.

PostgREST itself is in none of the package registries, so stand_in.py listens in its
place, as a process of its own. Says in TAP whether it followed, with the event
triggers of PostgREST's documentation and, after the migration in doc/migrating.md,
with those of cache_notify.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../include"))
from tap import Tap  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../../..")
WAIT = 60.0  # seconds for what must come
QUIET = 0.5  # seconds in which nothing else may come
DEBOUNCE = 0.1


class Api:
    """stand_in.py as a process."""

    def __init__(self, **environment):
        self.process = subprocess.Popen(
            [f"{HERE}/stand_in.py"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment})
        atexit.register(self.stop)
        self.port = int(self.process.stdout.readline())
        assert self.process.stdout.readline() == "listening\n"

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error).get("code")

    def loads(self):
        return self.get("/-/reloads")[1]

    def answers(self, path, expected):
        """Does it sooner or later answer this?"""
        deadline = time.monotonic() + WAIT
        while (got := self.get(path)) != expected and time.monotonic() < deadline:
            time.sleep(0.01)
        return got

    def settle(self):
        """How often it has loaded its cache, once it has ceased to."""
        count = -1
        while count != (count := len(self.loads())):
            time.sleep(QUIET)
        return count

    def stop(self):
        self.process.terminate()
        self.process.wait()


def connect(**parameters):
    session = psycopg2.connect("", **parameters)
    session.autocommit = True
    return session


def run(session, *statements):
    """Run statements; the rows of the last, if it has any."""
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


# As its documentation recommends (shortened to what these tests use).
DOCUMENTED = """
CREATE FUNCTION pgrst_ddl_watch() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()
             WHERE command_tag IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE VIEW')
             AND schema_name IS DISTINCT FROM 'pg_temp') THEN
    NOTIFY pgrst, 'reload schema';
  END IF;
END $$;
CREATE FUNCTION pgrst_drop_watch() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects()
             WHERE object_type IN ('table', 'view') AND NOT is_temporary) THEN
    NOTIFY pgrst, 'reload schema';
  END IF;
END $$;
CREATE EVENT TRIGGER pgrst_ddl_watch ON ddl_command_end EXECUTE FUNCTION pgrst_ddl_watch();
CREATE EVENT TRIGGER pgrst_drop_watch ON sql_drop EXECUTE FUNCTION pgrst_drop_watch();
"""


def follow(tap, session, api, whose):
    run(session, "CREATE TABLE api.film (title text)", "INSERT INTO api.film VALUES ('Alien')")
    tap.equal(api.answers("/film?select=title", (200, [{"title": "Alien"}])),
              (200, [{"title": "Alien"}]), f"{whose}: a new table is served")
    run(session, "ALTER TABLE api.film ADD year int DEFAULT 1979")
    tap.equal(api.answers("/film?select=year", (200, [{"year": 1979}])),
              (200, [{"year": 1979}]), f"{whose}: a new column is")
    run(session, "ALTER TABLE api.film DROP year")
    tap.equal(api.answers("/film?select=year", (400, "PGRST204")), (400, "PGRST204"),
              f"{whose}: a dropped column is no longer in the schema cache")
    run(session, "DROP TABLE api.film")
    tap.equal(api.answers("/film?select=title", (404, "PGRST205")), (404, "PGRST205"),
              f"{whose}: nor is a dropped table")


def control(tap, session, api):
    """The stand-in is as particular as PostgREST."""
    run(session, "SET session_replication_role = replica")  # no DDL trigger of anybody
    run(session, "ALTER EVENT TRIGGER cache_notify_schema_ddl_command_end DISABLE")
    before = api.settle()
    run(session, "CREATE TABLE api.control (a int)")
    for payload in "Reload Schema", "reload schema\n", "reload config", "x":
        run(session, f"SELECT pg_notify('pgrst', {psycopg2.extensions.adapt(payload)})")
    run(session, "SELECT pg_notify('PGRST', 'reload schema')")
    tap.equal(api.settle() - before, 0, "control: any other payload or channel is ignored")
    run(session, "NOTIFY pgrst, 'reload schema'")
    tap.equal(api.answers("/control?select=a", (200, [])), (200, []), "control: the exact one is not")
    run(session, "ALTER EVENT TRIGGER cache_notify_schema_ddl_command_end ENABLE ALWAYS",
        "RESET session_replication_role", "DROP TABLE api.control")


def only_when_needed(tap, session, api):
    before = api.settle()
    run(session, "CREATE TEMP TABLE t (id serial PRIMARY KEY)", "ALTER TABLE t ADD a int",
        "DROP TABLE t")
    run(session, "BEGIN", "CREATE TABLE api.never (a int)", "ROLLBACK")
    run(session, "BEGIN", "SAVEPOINT s", "CREATE TABLE api.never (a int)", "ROLLBACK TO s", "COMMIT")
    run(session, "SELECT cache_notify.setup_table_invalidation('api.always')",
        "INSERT INTO api.always VALUES (1)",
        "SELECT cache_notify.remove_table_invalidation('api.always')")
    tap.equal(api.settle() - before, 0,
              "temporary tables, what is rolled back, and our own triggers reload nothing")

    run(session, "BEGIN", *(f"CREATE TABLE api.t{i} (a int)" for i in range(100)), "COMMIT")
    tap.equal(api.answers("/t99?select=a", (200, [])), (200, []), "100 commands of a transaction are seen")
    tap.equal(api.settle() - before, 1, "with one reload")

    before = api.settle()
    for i in range(100):
        run(session, f"DROP TABLE api.t{i}")
    tap.equal(api.answers("/t99?select=a", (404, "PGRST205")), (404, "PGRST205"), "100 transactions are seen")
    api.settle()
    times = api.loads()[before:]
    tap.ok(times, "and reload it")
    tap.ok(all(c - a >= DEBOUNCE for a, c in zip(times, times[2:])),
           "at most twice per 100 ms", times)


def standby(tap, session):
    """Reads go to a standby, which changes follow; notifications come from the primary."""
    with tempfile.TemporaryDirectory(prefix="cache_notify.") as directory:
        data = f"{directory}/data"
        subprocess.run(["pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", data], check=True)
        subprocess.run(["pg_ctl", "start", "-s", "-w", "-D", data, "-l", f"{directory}/log",
                        "-o", "-p 5433"], check=True)
        try:
            api = Api(PGRST_DB_READ_PORT="5433")
            reader = connect(port="5433")
            # The server's own: a change is on the standby before it is told of.
            run(session, "ALTER SYSTEM SET synchronous_standby_names = '*'",
                "ALTER SYSTEM SET synchronous_commit = remote_apply", "SELECT pg_reload_conf()")
            deadline = time.monotonic() + WAIT
            while not run(session, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            writer = connect()
            run(writer, "CREATE TABLE api.remote AS SELECT 1 AS a")
            tap.equal(api.answers("/remote?select=a", (200, [{"a": 1}])), (200, [{"a": 1}]),
                      "reading from a standby, listening on the primary")
            tap.ok(run(reader, "SELECT pg_is_in_recovery()")[0][0], "it is a standby")
            api.stop()
        finally:
            run(session, "ALTER SYSTEM RESET synchronous_standby_names",
                "ALTER SYSTEM RESET synchronous_commit", "SELECT pg_reload_conf()")
            subprocess.run(["pg_ctl", "stop", "-s", "-m", "immediate", "-D", data], check=True)


def main():
    tap = Tap()
    session = connect()
    run(session, "CREATE SCHEMA api", "CREATE TABLE api.always (a int)", DOCUMENTED)
    api = Api()
    follow(tap, session, api, "its own event triggers")
    migration = subprocess.run([f"{ROOT}/test/interop/doc-sql", "doc/migrating.md", "PostgREST"],
                               check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"], input=migration, check=True)
    tap.equal(run(session, "SELECT evtname::text FROM pg_event_trigger WHERE evtname !~ '^cache_notify_(command|drop)'"
                  " ORDER BY 1"),
              [("cache_notify_schema_ddl_command_end",), ("cache_notify_schema_sql_drop",)],
              "the migration leaves our event triggers")
    follow(tap, session, api, "ours")
    control(tap, session, api)
    only_when_needed(tap, session, api)
    api.stop()

    run(session, "SELECT cache_notify.setup_schema_invalidation('postgrest', channel => 'Api')")
    api = Api(PGRST_DB_CHANNEL="Api")
    follow(tap, session, api, "another db-channel")
    api.stop()
    standby(tap, session)
    session.close()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
