#!/usr/bin/python3
"""What PostgREST does about its schema cache, for want of a PostgREST that can be had.

It keeps to the documented contract, to the letter: it listens on db-channel, here
PGRST_DB_CHANNEL, a name whose case counts; reloads its schema cache on the payload
"reload schema", whose case counts as well, or on an empty one, and ignores others;
reloads at once and then, if asked again meanwhile, once more after 100 ms, so at
most twice per 100 ms; answers from the cache only. It listens on the primary, also
if PGRST_DB_READ_PORT lets it read from a standby.

    GET /TABLE?select=COLUMN,...    rows, or an error if the cache does not know it
    GET /-/reloads                  how often it has loaded the cache, and the times
"""

import http.server
import json
import os
import select
import threading
import time
import urllib.parse

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

CHANNEL = os.environ.get("PGRST_DB_CHANNEL", "pgrst")
SCHEMA = "api"
DEBOUNCE = 0.1  # seconds


def connect(**parameters):
    session = psycopg2.connect("", **parameters)
    session.autocommit = True
    return session


class SchemaCache:
    """The columns of each relation, and when they were loaded."""

    def __init__(self, session):
        self.session = session
        self.lock = threading.Lock()
        self.columns = {}
        self.loads = []
        self.load()

    def load(self):
        with self.lock, self.session.cursor() as cursor:
            cursor.execute(
                "SELECT relname, array_agg(attname::text) FROM pg_class"
                " JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
                " WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'v', 'm', 'f', 'p')"
                " GROUP BY relname", (SCHEMA,))
            self.columns = dict(cursor.fetchall())
            self.loads.append(time.monotonic())


class Debouncer:
    """Runs an action at once; what comes in the pause after that, once at its end."""

    def __init__(self, action):
        self.action = action
        self.asked = threading.Semaphore(0)
        threading.Thread(target=self.work, daemon=True).start()

    def ask(self):
        self.asked.release()

    def work(self):
        while True:
            self.asked.acquire()
            while self.asked.acquire(blocking=False):
                pass
            self.action()
            time.sleep(DEBOUNCE)


def listen(cache):
    session = connect(target_session_attrs="read-write")
    with session.cursor() as cursor:
        cursor.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
    reload = Debouncer(cache.load).ask
    print("listening", flush=True)
    while True:
        select.select([session], [], [])
        session.poll()
        while session.notifies:
            if session.notifies.pop(0).payload in ("", "reload schema"):
                reload()


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        cache = self.server.cache
        if url.path == "/-/reloads":
            self.answer(200, cache.loads)
            return
        table = url.path.strip("/")
        wanted = urllib.parse.parse_qs(url.query)["select"][0].split(",")
        with cache.lock:
            if table not in cache.columns:
                self.answer(404, {"code": "PGRST205", "message": f"no {table} in the schema cache"})
            elif not set(wanted) <= set(cache.columns[table]):
                self.answer(400, {"code": "PGRST204", "message": f"no {wanted} in the schema cache"})
            else:
                self.rows(table, wanted)

    def rows(self, table, wanted):
        query = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, wanted)), sql.Identifier(SCHEMA, table))
        with self.server.cache.session.cursor() as cursor:
            try:
                cursor.execute(query)
                self.answer(200, [dict(zip(wanted, row)) for row in cursor.fetchall()])
            except psycopg2.Error as error:
                self.answer(400, {"code": error.pgcode, "message": str(error)})

    def log_message(self, *_):
        pass


def main():
    port = os.environ.get("PGRST_DB_READ_PORT")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.cache = SchemaCache(connect(**({"port": port} if port else {})))
    print(server.server_address[1], flush=True)
    threading.Thread(target=listen, args=(server.cache,), daemon=True).start()
    server.serve_forever()


main()
