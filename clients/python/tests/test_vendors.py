"""What a relay tells CDNs, as far as their documents go: a stand-in answers as they say."""

import http.server
import json
import re
import threading
import time

import pytest
from conftest import until

from cache_notify._payload import Change
from cache_notify._tags import tags_concerned

FASTLY = "fastly://SU1Z0isxPaozGVKXdv0eY"
CLOUDFLARE = "cloudflare://023e105f4ecef8ad9ca31a8372d0c353"

# What the documents say, as read for this test:
#
# - Fastly (the reference of its interface, "Purge multiple surrogate key tags"): POST
#   https://api.fastly.com/service/{service_id}/purge with {"surrogate_keys": [...]}, up to 256,
#   Fastly-Key; {key: id of the purge}. Without Fastly-Soft-Purge they are gone at once. Keys:
#   up to 1 KB each, separated by spaces, of a header the first 16 KB ("VCL constraints").
# - Cloudflare ("Purge Cached Content"): POST /client/v4/zones/{zone_id}/purge_cache with
#   {"tags": [...]}, up to 100, Authorization: Bearer; {"success": true, ...}. Case does not
#   count; a Cache-Tag header has up to 16 KB, a tag in a call up to 1,024 characters
#   ("Purge cache by cache-tags"). Beyond the rate, 429, with Retry-After perhaps ("Error 429").


class StandIn(http.server.ThreadingHTTPServer):
    """Answers as the vendors' documents say of their purge calls."""

    def __init__(self):
        self.purged, self.broken, self.slow = [], 0, 0.0
        self.every, self.last, self.refused = 0.0, 0.0, 0   # seconds between calls
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(stand_in.slow)
                status, answer = stand_in.answer(self.path, self.headers, body)
                self.send_response(status)
                data = json.dumps(answer).encode()
                if status == 429 and stand_in.every:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def is_too_soon(self):
        now = time.monotonic()
        if now < self.last + self.every:
            self.refused += 1
            return True
        self.last = now
        return False

    def answer(self, path, headers, body):
        if self.broken or self.is_too_soon():
            self.broken = max(self.broken - 1, 0)
            return 429, {"success": False, "errors": [{"code": 1, "message": "too many"}]}
        if headers["Content-Type"] != "application/json" or headers["Fastly-Soft-Purge"]:
            return 400, {}
        if re.fullmatch("/service/SU1Z0isxPaozGVKXdv0eY/purge", path):
            keys = body["surrogate_keys"]
            if headers["Fastly-Key"] != "secret" or not 0 < len(keys) <= 256:
                return 400, {"msg": "Bad request"}
            self.purged += keys
            return 200, {key: "108-1391560174-974124" for key in keys}
        if re.fullmatch("/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache", path):
            tags = body["tags"]
            if headers["Authorization"] != "Bearer secret" or not 0 < len(tags) <= 100:
                return 400, {"success": False, "errors": [], "messages": [], "result": None}
            self.purged += tags
            return 200, {"success": True, "errors": [], "messages": [], "result": {"id": "x"}}
        return 404, {}


@pytest.fixture
def vendor(monkeypatch):
    monkeypatch.setenv("CACHE_NOTIFY_FASTLY_TOKEN", "secret")
    monkeypatch.setenv("CACHE_NOTIFY_CLOUDFLARE_TOKEN", "secret")
    vendor = StandIn()
    yield vendor
    vendor.shutdown()


def at(vendor, url):
    return f"{url}?api=http://127.0.0.1:{vendor.server_port}"


def state_of(store):
    settled, n = store.client.hmget("cache_notify:relay", "settled", "n")
    return settled and int(settled), n and int(n)


@pytest.mark.parametrize("url", [FASTLY, CLOUDFLARE])
def test_vendors_are_called_and_called_again(url, vendor, relays, store, other):
    vendor.broken = 2
    relay = relays("--purge", at(vendor, url), "--purge-again", "0.5")
    everything, = tags_concerned("cache_notify", None)
    assert until(lambda: vendor.purged.count(everything) == 2, 20)  # nothing was known
    other.execute("UPDATE price SET amount = amount + 1")           # three keys of one tenant
    told = tags_concerned("cache_notify", [Change("acme", "price", 1, ("1", "2", "3"))])
    assert until(lambda: all(vendor.purged.count(tag) >= 2 for tag in told), 20)
    assert relay.has_said("cannot purge")
    # A relay that takes over goes on where this one ended: nothing else is purged.
    vendor.purged.clear()
    assert until(lambda: len(set(state_of(store))) == 1)
    relay.kill()
    other.execute("UPDATE price SET amount = 1 WHERE id = 4")
    relays("--purge", at(vendor, url), "--purge-again", "0.5")
    assert until(lambda: tags_concerned(
        "cache_notify", [Change("globex", "price", 1)]) <= set(vendor.purged), 20)
    assert everything not in vendor.purged


@pytest.mark.parametrize("url, most", [(FASTLY, 256), (CLOUDFLARE, 100)])
def test_more_than_the_vendor_takes_at_a_time(url, most, vendor, relays, store, other):
    """It takes one call a second: what it has taken is not sent again with the rest."""
    relays("--purge", at(vendor, url), "--purge-again", "0.5")
    assert until(lambda: len(set(state_of(store))) == 1 and vendor.purged, 20)
    other.execute("INSERT INTO price SELECT 1000 + n, 'tenant ' || n, n"
                  " FROM generate_series(1, 150) AS n")
    assert until(lambda: len(set(state_of(store))) == 1)
    vendor.purged.clear()
    vendor.every = 0.9
    other.execute("UPDATE price SET amount = amount + 1 WHERE id > 1000")
    told = set().union(*(tags_concerned("cache_notify", [Change(f"tenant {n}", "price", 1, (f"{1000 + n}",))])
                         for n in range(1, 151)))
    assert len(told) > most
    assert until(lambda: all(vendor.purged.count(tag) >= 2 for tag in told), 60)
    assert vendor.refused
    assert len(vendor.purged) <= 4 * len(told)


def test_what_was_purged_once_is_not_settled(vendor, relays, store, other):
    """A relay that takes over purges what comes after the settled frame: of several that were
    purged together, that must be all."""
    relays("--purge", at(vendor, FASTLY), "--purge-again", "3")
    assert until(lambda: len(set(state_of(store))) == 1 and vendor.purged, 20)
    _, before = state_of(store)
    vendor.slow = 1.0
    for number in (1, 4, 1, 4):     # the first is being purged while the others wait
        other.execute("UPDATE price SET amount = amount + 1 WHERE id = %s", [number])
        time.sleep(0.2)
    vendor.slow = 0.0
    told = set()

    def all_settled():
        settled, n = state_of(store)
        told.add(settled)
        return settled == n

    assert not all_settled()
    assert until(all_settled)
    settled, _ = state_of(store)
    assert settled >= before + 3
    assert told <= {before, before + 1, settled}


@pytest.mark.parametrize("urls, complaint", [("squid://x", "not an HTTP cache"),
                                             ("varnish://", "not an HTTP cache"),
                                             ("fastly://x", "CACHE_NOTIFY_FASTLY_TOKEN")])
def test_what_cannot_be_purged_is_refused_at_once(relays, urls, complaint):
    relay = relays("--purge", urls)
    assert relay.process.wait(20) == 2
    assert until(lambda: relay.has_said(complaint))
