"""cache-notify doctor and cache-notify tail, for those who operate a server."""

import json
import os
import pty
import re
import select
import subprocess
import sys

import psycopg
import pytest

from cache_notify import _doctor

PROGRAM = [sys.executable, "-m", "cache_notify._cli"]


def doctor(dsn, *arguments):
    told = subprocess.run([*PROGRAM, "doctor", dsn, *arguments], check=False,
                          capture_output=True, text=True, timeout=60)
    assert "Traceback" not in told.stderr, told.stderr
    return told


def test_all_is_well(dsn):
    told = doctor(dsn, "--domain", "price", "--domain", "price/1")
    assert (told.returncode, told.stdout) == (0, "all is well\n"), told


def test_an_error(dsn, db):
    db.execute("ALTER TABLE price DISABLE TRIGGER USER")
    told = doctor(dsn)
    assert told.returncode == 2
    assert told.stdout.startswith("error: public.price (domain price): the row trigger is disabled\n")
    told = doctor(dsn, "--json")
    finding, = map(json.loads, told.stdout.splitlines())
    assert set(finding) == {"severity", "object", "problem", "advice"}
    db.execute(finding["advice"])
    assert doctor(dsn).returncode == 0


def test_a_warning_and_what_is_ignored(dsn, db):
    db.execute("ALTER TABLE price SET UNLOGGED")
    assert doctor(dsn).returncode == 1
    assert doctor(dsn, "--ignore", "price.*unlogged").returncode == 0
    assert doctor(dsn, "--ignore", "price.*logged", "--domain", "typo").returncode == 2


def test_rights_of_a_cache(dsn, db):
    role = f"cache_{os.getpid()}"
    db.execute(f"CREATE ROLE {role}")
    try:
        told = doctor(dsn, "--cache-role", role)
        assert told.returncode == 1 and f"TO {role};" in told.stdout
    finally:
        db.execute(f"DROP ROLE {role}")


def test_it_could_not_ask(dsn):
    for arguments in [(f"{dsn} port=1",), (dsn, "--cache-role", "nobody")]:
        told = doctor(*arguments)
        assert told.returncode == 3 and "could not ask" in told.stderr, arguments
    assert "HINT" in told.stderr


def test_no_extension():
    told = doctor("dbname=template1")
    assert told.returncode == 2 and "CREATE EXTENSION cache_notify" in told.stdout


def test_a_pooler_is_found_out(dsn, monkeypatch, capsys):
    """A listener that hears nothing of what others send."""
    from cache_notify import _cli

    monkeypatch.setattr(_doctor, "PROBE_TIMEOUT", 0.3)
    connect = psycopg.connect

    def through_a_pooler(*arguments, **parameters):
        connection = connect(*arguments, **parameters)
        if "application_name" in parameters:
            execute = connection.execute
            connection.execute = lambda query, *rest: execute(
                "SELECT 1" if "LISTEN" in str(query) else query, *rest)
        return connection

    monkeypatch.setattr(psycopg, "connect", through_a_pooler)
    assert _cli.main(["doctor", dsn]) == 2
    assert "a direct connection" in capsys.readouterr().out
    assert _cli.main(["doctor", dsn, "--no-listen"]) == 0


@pytest.fixture
def tail(dsn):
    """Starts it; returns the process when it listens."""
    started = []

    def start(*arguments, stdout=subprocess.PIPE):
        process = subprocess.Popen([*PROGRAM, "tail", dsn, *arguments], stdout=stdout,
                                   stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert select.select([process.stderr], [], [], 20)[0]
        assert process.stderr.readline().startswith("listening on "), arguments
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_json_lines(tail, other):
    process = tail("--count", "2")
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    other.execute("UPDATE disc SET percent = 2 WHERE name = 'a/b'")
    out, _ = process.communicate(timeout=20)
    *heard, rates = map(json.loads, out.splitlines())
    assert [line["channel"] for line in heard] == ["cache_invalidation"] * 2
    assert heard[0]["payload"] == {"tenant_id": "acme", "domain": "price", "version": 1, "keys": ["1"]}
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]", heard[0]["at"])
    assert rates["payloads"] == {"price": 1, "disc": 1} and rates["per_second"]["price"] > 0
    assert process.returncode == 0


def test_every_channel_in_use(tail, other):
    other.execute("SELECT cache_notify.setup_table_invalidation('plain', channel => 'loud')")
    process = tail("--count", "1", "--rates", "0")
    other.execute("UPDATE plain SET n = 2")
    assert json.loads(process.communicate(timeout=20)[0])["channel"] == "loud"


def test_what_is_not_asked_for(tail, other):
    process = tail("--domain", "price", "--tenant", "acme", "--count", "1", "--rates", "0")
    other.execute("UPDATE disc SET percent = 2")
    other.execute("UPDATE price SET amount = 11 WHERE tenant_id = 'globex'")
    other.execute("UPDATE price SET amount = 11 WHERE tenant_id = 'acme'")
    told, = map(json.loads, process.communicate(timeout=20)[0].splitlines())
    assert (told["payload"]["domain"], told["payload"]["tenant_id"]) == ("price", "acme")


def test_what_is_no_payload_of_ours(tail, other):
    process = tail("--count", "3", "--rates", "0")
    for payload in ("nonsense", '{"reset": true}', "[1]"):
        other.execute("SELECT pg_notify('cache_invalidation', %s)", [payload])
    out, _ = process.communicate(timeout=20)
    assert [json.loads(line)["payload"] for line in out.splitlines()] == ["nonsense", {"reset": True}, [1]]


def test_on_a_terminal(tail, other):
    ours, theirs = pty.openpty()
    process = tail("--count", "1", stdout=theirs)
    os.close(theirs)
    other.execute("UPDATE price SET amount = 11 WHERE id = 4")
    process.wait(timeout=20)
    shown = os.read(ours, 10000).decode()
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3} \x1b\[\d+mprice\x1b\[0m globex 1 \{\"keys\": \[\"4\"\]\}", shown), shown
    assert "-- per second: " in shown
    os.close(ours)


def test_nobody_reads_any_more(tail, other):
    process = tail("--rates", "0")
    process.stdout.close()
    other.execute("UPDATE disc SET percent = 3")
    assert process.wait(timeout=20) == 0


def test_no_server():
    told = subprocess.run([*PROGRAM, "tail", "port=1"], check=False, capture_output=True, text=True, timeout=60)
    assert told.returncode == 3 and "Traceback" not in told.stderr
