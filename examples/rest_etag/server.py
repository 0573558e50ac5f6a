#!/usr/bin/python3
"""A REST endpoint whose answers carry an ETag from cache_notify:

    GET /prices         X-Tenant: acme

Clients keep the answer and send the tag back (If-None-Match, as every browser
and HTTP cache does by itself); as long as none of the tenant's prices has
changed they get 304 Not Modified for one question to the server, without the
query, the JSON or the transfer.

Usage: server.py [PORT]; the database is that of PGHOST, PGDATABASE and so on.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from psycopg.rows import dict_row


class Prices(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        tenant = self.headers.get("X-Tenant")   # a real one would authenticate
        if self.path != "/prices" or not tenant:
            self.answer(404)
            return
        with psycopg.connect(autocommit=True, row_factory=dict_row) as connection:
            # First the tag, then the query: what changes in between makes the
            # tag too old, and the client asks again. The other way round the
            # old rows would go out under the new tag.
            now = connection.execute(
                "SELECT cache_notify.etag(%(tenant)s, 'price') AS etag,"
                " cache_notify.matches(%(seen)s, %(tenant)s, 'price') AS matches",
                {"tenant": tenant, "seen": self.headers.get("If-None-Match")}).fetchone()
            if now["matches"]:
                self.answer(304, now["etag"])
                return
            rows = connection.execute(
                "SELECT id, amount FROM price WHERE tenant_id = %s ORDER BY id",
                [tenant]).fetchall()
        self.answer(200, now["etag"], json.dumps(rows).encode())

    def answer(self, status, etag=None, body=b""):
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
            # Keep it, but ask each time; and not for another tenant.
            self.send_header("Cache-Control", "private, no-cache")
            self.send_header("Vary", "X-Tenant")
        if status == 200:
            self.send_header("Content-Type", "application/json")
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(port):
    return ThreadingHTTPServer(("127.0.0.1", port), Prices)


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8080).serve_forever()
