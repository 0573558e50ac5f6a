#!/usr/bin/python3
"""PostgreSQL -> postgres_exporter -> Prometheus, with the files of monitoring/.

Says in TAP whether the exporter reports what the server knows, with the rights of
pg_monitor only, whether every expression of the dashboard and of the alerts has an
answer, and whether alerts go off.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../include"))
from tap import Tap  # noqa: E402

MONITORING = "monitoring"
WAIT = 120.0  # seconds for what must come
UPDATES = 7
TENANTS = 100


def wait_for(what, condition):
    deadline = time.monotonic() + WAIT
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            sys.exit(f"timed out: {what}")
        time.sleep(0.1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return None


@contextlib.contextmanager
def running(command, log, **environment):
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output,
                                   env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def metrics(text):
    """{name: {labels: value}} of what an exporter says."""
    found = {}
    for name, labels, value in re.findall(r"^([a-z_]+)\{([^}]*)\} (\S+)$", text, re.M):
        found.setdefault(name, {})[labels] = float(value)
    return found


def of_database(found, name, *labels):
    for key, value in found.get(name, {}).items():
        if all(label in key for label in ('datname="shop"',) + labels):
            return value
    return None


def expressions():
    """What the dashboard and the alerts ask."""
    with open(f"{MONITORING}/dashboard.json", encoding="utf-8") as file:
        for panel in json.load(file)["panels"]:
            for target in panel["targets"]:
                yield panel["title"], (target["expr"].replace("$datname", ".*")
                                       .replace("$__rate_interval", "1m"))
    with open(f"{MONITORING}/alerts.yaml", encoding="utf-8") as file:
        for name, expr in re.findall(r"alert: (\w+)\n *expr: (.*)", file.read()):
            yield name, expr


def connect(dbname):
    connection = psycopg2.connect(dbname=dbname)
    connection.autocommit = True
    return connection.cursor()


def make_shop():
    connect("postgres").execute("CREATE DATABASE shop")
    shop = connect("shop")
    shop.execute("""
        CREATE EXTENSION cache_notify;
        CREATE ROLE exporter LOGIN IN ROLE pg_monitor;
        CREATE TABLE price (id int PRIMARY KEY, tenant_id text, amount int);
        CREATE TABLE contract (id int PRIMARY KEY);
        SELECT cache_notify.setup_table_invalidation('price');
        SELECT cache_notify.setup_table_invalidation('contract')""")
    shop.execute("INSERT INTO price VALUES (1, 'acme', 10)")
    for _ in range(UPDATES):
        shop.execute("UPDATE price SET amount = amount + 1")
    wait_for("deliveries", lambda: stat(shop, "waiting") == 0 and stat(shop, "cycles") > 0)
    return shop


def stat(shop, column):
    shop.execute(f"SELECT {column} FROM cache_notify.stats")
    return shop.fetchone()[0]


def check_exporter(tap, shop, url):
    text = wait_for("the exporter", lambda: get(url))
    found = metrics(text)
    tap.equal(list(found["pg_exporter_user_queries_load_error"].values()), [0.0], "the queries can be read")
    tap.ok("pg_exporter_last_scrape_error 0" in text, "no query fails for a member of pg_monitor", text[-3000:])

    with open(f"{MONITORING}/queries.yaml", encoding="utf-8") as file:
        queries = file.read()
    for space, rest in re.findall(r"^(\w+):\n(.*?)(?=^\w|\Z)", queries, re.M | re.S):
        for column in re.findall(r"^ +- (\w+): \{usage: (?!LABEL)", rest, re.M):
            tap.ok(of_database(found, f"{space}_{column}") is not None, f"{space}_{column} is there")

    tap.equal(of_database(found, "cache_notify_bumps_total"), UPDATES + 1.0, "bumps")
    tap.equal(of_database(found, "cache_notify_domain_changes_total", 'domain="price"'),
              UPDATES + 1.0, "changes of a domain")
    tap.equal(of_database(found, "cache_notify_delivered_total"), float(stat(shop, "delivered")), "delivered")
    tap.equal(of_database(found, "cache_notify_watched_relations"), 2.0, "watched relations")
    tap.equal(of_database(found, "cache_notify_watched_not_seen"), 0.0, "nothing is missed")
    tap.equal(of_database(found, "cache_notify_worker_running"),
              1.0 if stat(shop, "worker_pid") else 0.0, "the worker")
    return found


def check_prometheus(tap, shop, found, base):
    def ask(expression):
        query = urllib.parse.urlencode({"query": expression})
        answer = get(f"{base}/api/v1/query?{query}")
        return json.loads(answer) if answer and answer.startswith("{") else {"status": answer}

    def value(expression):
        result = ask(expression).get("data", {}).get("result", [])
        return float(result[0]["value"][1]) if result else None

    def alerts():
        answer = json.loads(get(f"{base}/api/v1/alerts"))
        return {alert["labels"]["alertname"] for alert in answer["data"]["alerts"]}

    wait_for("the first scrape", lambda: value("cache_notify_waiting") is not None)
    known = set(found)
    for title, expression in expressions():
        used = set(re.findall(r"\bcache_notify_\w+", expression))
        tap.ok(used and used <= known, f"{title}: asks for what there is", used - known)
        answer = ask(expression)
        tap.ok(answer["status"] == "success", f"{title}: can be asked", answer)

    tap.equal(alerts(), set(), "no alert while all is well")
    before = value("cache_notify_overflows_total")
    shop.execute("INSERT INTO price SELECT i, 'tenant ' || i, 0 FROM generate_series(2, %s) i", (TENANTS,))
    shop.execute("ALTER TABLE contract DISABLE TRIGGER ALL")
    wait_for("the alert of an overflow", lambda: "CacheNotifyOverflow" in alerts())
    # A worker that takes what has come meanwhile makes two of it.
    tap.ok(value("cache_notify_overflows_total") > before, "an overflow is seen, and an alert goes off")
    wait_for("the alert of missed changes", lambda: "CacheNotifyChangesMissed" in alerts())
    tap.ok(True, "a disabled trigger is seen, and an alert goes off")


def main():
    tap = Tap()
    shop = make_shop()
    exporter, prometheus = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        # As it is delivered, but for how long its answers are kept.
        with open(f"{MONITORING}/queries.yaml", encoding="utf-8") as file:
            queries = file.read().replace("cache_seconds: 60", "cache_seconds: 1")
        with open(f"{directory}/queries.yaml", "w", encoding="utf-8") as file:
            file.write(queries)
        stack.enter_context(running(
            ["prometheus-postgres-exporter", f"--extend.query-path={directory}/queries.yaml",
             f"--web.listen-address={exporter}"],
            f"{directory}/exporter.log",
            DATA_SOURCE_NAME=f"host={os.environ['PGHOST']} port={os.environ['PGPORT']}"
                             " user=exporter dbname=shop sslmode=disable"))
        found = check_exporter(tap, shop, f"http://{exporter}/metrics")

        with open(f"{directory}/prometheus.yaml", "w", encoding="utf-8") as file:
            file.write(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ['{os.path.abspath(MONITORING)}/alerts.yaml']
scrape_configs:
  - job_name: postgresql
    static_configs: [{{targets: ['{exporter}']}}]
""")
        stack.enter_context(running(
            ["prometheus", f"--config.file={directory}/prometheus.yaml",
             f"--storage.tsdb.path={directory}/data", f"--web.listen-address={prometheus}"],
            f"{directory}/prometheus.log"))
        wait_for("Prometheus", lambda: get(f"http://{prometheus}/-/ready"))
        check_prometheus(tap, shop, found, f"http://{prometheus}")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
