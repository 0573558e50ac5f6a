"""HTTP caches in front: what responses say of themselves, and a real Varnish that a relay
purges. Nothing older than the stated time is served."""

import asyncio
import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest
import uvicorn
from conftest import until
from relaying import node_of
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from cache_notify._core import Part
from cache_notify._payload import Change
from cache_notify._tags import LENGTH, MOST, tags_concerned, tags_of
from cache_notify.http import SurrogateKeys, uncacheable

VCL = Path(__file__).parents[3] / "examples/varnish/cache_notify.vcl"
AGAIN = 2.5             # --purge-again
NODE_LEASE = 1.0
WITHIN = 1.0            # of the middleware


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Answer:
    def __init__(self, port, path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        self.status, self.headers = answer.status, answer.headers
        self.text = answer.read().decode()
        connection.close()

    @property
    def tags(self):
        return set((self.headers["Surrogate-Key"] or "").split())


class Shop:
    """An application with a cache, in a server of its own."""

    def __init__(self, dsn, node):
        self.node, self.dsn = node, dsn
        self.requests = 0
        self.delay = None           # called between reading and answering
        self.port = free_port()
        routes = [Route("/price/{tenant}/{id:int}", self.price), Route("/all", self.all),
                  Route("/plain", self.plain), Route("/both", self.both),
                  Route("/nested", self.nested), Route("/cookie", self.cookie),
                  Route("/stream", self.stream), Route("/unknown", self.unknown),
                  Route("/outside", self.outside), Route("/broken", self.broken)]
        app = Starlette(routes=routes, middleware=[Middleware(SurrogateKeys, within=WITHIN)])
        self.server = uvicorn.Server(uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="error", lifespan="off"))
        threading.Thread(target=self.server.run, daemon=True).start()
        assert until(lambda: self.server.started)

    def read(self, name, sql, reads, **options):
        with psycopg.connect(self.dsn, autocommit=True) as db:
            return self.node.get(db, name, lambda db: db.execute(sql).fetchall(), reads=reads,
                                 **options)

    # Not coroutines: they run in threads of the framework's.

    def price(self, request):
        self.requests += 1
        tenant, number = request.path_params["tenant"], request.path_params["id"]
        (amount,), = self.read("price", f"SELECT amount::int FROM price WHERE id = {number}",
                               [f"price/{number}"], tenant=tenant)
        if self.delay is not None:
            self.delay()
        return PlainTextResponse(str(amount))

    def all(self, request):
        return PlainTextResponse(str(self.read("all", "SELECT sum(amount) FROM price", ["price"])))

    def plain(self, request):
        return PlainTextResponse(str(self.read("n", "SELECT n FROM plain", ["plain"])))

    def both(self, request):
        self.read("one", "SELECT amount FROM price WHERE id = 1", ["price/1"], tenant="acme")
        return self.plain(request)

    def nested(self, request):
        def load(db):
            return self.read("discs", "SELECT percent FROM disc", ["disc"])

        with psycopg.connect(self.dsn, autocommit=True) as db:
            self.node.get(db, "nested", load, reads=["disc", "price"], tenant="acme")
        return PlainTextResponse("nested")

    def cookie(self, request):
        answer = self.all(request)
        answer.set_cookie("who", "me")
        return answer

    def stream(self, request):
        text = self.all(request).body
        return StreamingResponse(iter([text, b"more"]))

    def unknown(self, request):
        return PlainTextResponse("nothing of it was read through a cache")

    def outside(self, request):
        uncacheable()
        return self.all(request)

    def broken(self, request):
        self.all(request)
        try:
            self.read("broken", "SELECT 1 / 0", ["price"], tenant="acme")
        except psycopg.Error:
            return PlainTextResponse("some of it could not be read")

    def get(self, path, **headers):
        return Answer(self.port, path, **headers)


@pytest.fixture
def shop(dsn, store, relays):
    relays()
    node = node_of(store.url, lease=NODE_LEASE)
    assert until(lambda: node.listening), node.failure     # its lease is soon over
    shop = Shop(dsn, node)
    yield shop
    shop.server.should_exit = True
    node.close()


# ------------------------------------------------------------------ the middleware

def test_tags_and_etag_of_what_was_read(shop, other):
    first = shop.get("/price/acme/1")
    assert first.text == "10"
    again = shop.get("/price/acme/1")       # from memory
    assert (again.tags, again.headers["ETag"]) == (first.tags, first.headers["ETag"])
    assert first.tags == set(first.headers["Cache-Tag"].split(","))
    assert first.headers["ETag"].startswith('W/"')
    not_modified = shop.get("/price/acme/1", **{"If-None-Match": first.headers["ETag"]})
    assert (not_modified.status, not_modified.text) == (304, "")
    assert not_modified.tags == first.tags
    assert "content-length" not in not_modified.headers
    for change, concerned in (
            (Change("acme", "price", 1, ("1",)), True), (Change("acme", "price", 1), True),
            (Change(None, "price", 1), True), (Change(None, "price", 1, ("1",)), True),
            (Change("acme", "price", 1, ("2",)), False), (Change("acme", "price", 1, ()), False),
            (Change("globex", "price", 1), False), (Change(None, "disc", 1), False)):
        assert bool(tags_concerned("cache_notify", [change]) & first.tags) == concerned, change
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: shop.get("/price/acme/1").text == "11")
    changed = shop.get("/price/acme/1", **{"If-None-Match": first.headers["ETag"]})
    assert (changed.status, changed.text) == (200, "11")
    # Another row of the same tenant leaves the ETag as it is.
    etag = changed.headers["ETag"]
    other.execute("UPDATE price SET amount = 12 WHERE id = 2")
    shop.node.forget_all()
    assert shop.get("/price/acme/1", **{"If-None-Match": f'"x", {etag}'}).status == 304


def test_nested_reads_count(shop):
    tags = shop.get("/nested").tags
    assert tags_concerned("cache_notify", [Change(None, "disc", 1)]) & tags
    assert tags_concerned("cache_notify", [Change("acme", "price", 1)]) & tags


@pytest.mark.parametrize("path", ["/plain", "/both", "/cookie", "/stream", "/unknown",
                                  "/outside", "/broken"])
def test_unknown_dependencies_are_never_cached(shop, path):
    for _ in range(2):
        answer = shop.get(path, **{"If-None-Match": "*"})
        assert answer.status == 200
        assert "ETag" not in answer.headers
        assert not answer.tags
        # What Varnish and Fastly each read of it.
        assert answer.headers["Surrogate-Control"].startswith("no-store, max-age=0, ")
        control = answer.headers.get("Cache-Control", "")
        assert control == ("private" if path == "/cookie" else "")


def test_what_is_not_current_is_never_cached(shop, other):
    def stale():
        with psycopg.connect(shop.dsn) as db:
            return shop.node.get(db, "s", lambda db: db.execute("SELECT 1").fetchall(),
                                 reads=["price"], stale_while_revalidate=60)

    # In a transaction that has written: others do not see it, and it may be rolled back.
    def written():
        with psycopg.connect(shop.dsn) as db:
            db.execute("UPDATE price SET amount = 99 WHERE id = 1")
            rows = shop.node.get(db, "w", lambda db: db.execute(
                "SELECT amount FROM price WHERE id = 1").fetchall(), reads=["price"])
            db.rollback()
            return rows

    def old_snapshot():
        with psycopg.connect(shop.dsn) as db:
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            db.execute("SELECT 1")
            return shop.node.get(db, "o", lambda db: db.execute(
                "SELECT amount FROM price WHERE id = 1").fetchall(), reads=["price"])

    for load in (written, old_snapshot):
        assert "ETag" not in dict(asgi(lambda load=load: load()))
    assert "etag" in dict(asgi(lambda: shop.read("all", "SELECT 1", ["price"])))
    with shop.node.disabled():
        assert "etag" not in dict(asgi(lambda: shop.read("all", "SELECT 1", ["price"])))


def asgi(read, headers=(), response=(), method="GET"):
    """The headers of a response that is made by read(), without a server."""
    sent = []

    async def app(scope, receive, send):
        read()
        await send({"type": "http.response.start", "status": 200, "headers": list(response)})
        await send({"type": "http.response.body", "body": b"text"})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": list(headers)}
    asyncio.run(SurrogateKeys(app)(scope, None, send))
    return [(name.decode().lower(), value.decode()) for name, value in sent[0]["headers"]]


def test_one_users_response_is_not_anothers(shop):
    def read():
        return shop.read("all", "SELECT 1", ["price"])

    me, you = [(b"cookie", b"me")], [(b"cookie", b"you")]
    assert "etag" not in dict(asgi(read, me))
    assert "etag" not in dict(asgi(read, [(b"authorization", b"x")]))
    assert "etag" not in dict(asgi(read, [], [(b"cache-control", b"private, max-age=3")]))
    assert "etag" not in dict(asgi(read, [], [(b"vary", b"*")]))
    assert "etag" not in dict(asgi(read, method="POST"))
    vary = [(b"Vary", b"Cookie")]
    etags = {dict(asgi(read, who, vary))["etag"] for who in (me, you, [])}
    assert len(etags) == 3
    french = [(b"accept-language", b"fr")]
    vary = [(b"Vary", b"Accept-Language")]
    assert dict(asgi(read, french, vary))["etag"] != dict(asgi(read, [], vary))["etag"]
    # The application's own stays.
    assert ("etag", '"mine"') in asgi(read, [], [(b"etag", b'"mine"')])


def test_many_keys_become_their_domain():
    few = [Part("acme", "price", str(n), 1, 1) for n in range(10)]
    many = [Part("acme", "price", str(n), 1, 1) for n in range(5000)]
    tenants = [Part(str(n), "price", None, 1, 1) for n in range(5000)]
    change = tags_concerned("cache_notify", [Change("acme", "price", 2, ("4999",))])
    assert not change & set(tags_of("cache_notify", few))
    for parts in (few, many, tenants):
        assert len(tags_of("cache_notify", parts)) * (LENGTH + 1) <= MOST
    for parts in (many, tenants):
        assert change & set(tags_of("cache_notify", parts))
    assert set(tags_of("other", few)).isdisjoint(tags_of("cache_notify", few))


# ----------------------------------------------------------------------- Varnish

class Front:
    """A Varnish of Debian's, with the example's VCL."""

    def __init__(self, folder, backend, lease):
        self.port = free_port()
        self.url = f"varnish://127.0.0.1:{self.port}"
        vcl = VCL.read_text().replace('"8000"', f'"{backend}"')
        assert vcl.count("+ 5.0") == 1
        (folder / "test.vcl").write_text(vcl.replace("+ 5.0", f"+ {lease}"))
        self.command = ["varnishd", "-F", "-j", "none", "-n", folder / "varnish", "-a",
                        f"127.0.0.1:{self.port}", "-f", folder / "test.vcl",
                        "-s", "default,20m", "-p", "thread_pool_min=10"]
        self.log = (folder / "varnish.log").open("wb")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        assert until(self.answers, 30)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path, **headers):
        return Answer(self.port, path, **headers)

    def end(self):
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def front(shop, tmp_path):
    if shutil.which("varnishd") is None:
        pytest.skip("varnish is not installed")
    front = Front(tmp_path, shop.port, NODE_LEASE)
    yield front
    front.end()


@pytest.fixture
def purging(front, relays, store):
    """The relay that leads from now on, and purges."""
    relay = relays("--purge", front.url, "--purge-again", str(AGAIN))
    os.kill(leader(store), 15)
    assert until(lambda: leader(store) == relay.process.pid, 20)
    return relay


def leader(store):
    told = store.client.get("cache_notify:leader")
    return int(told.rpartition(b":")[2]) if told else None


def is_kept(shop, front, path):
    """Whether Varnish answers by itself."""
    front.get(path)
    before = shop.requests
    front.get(path)
    return shop.requests == before


def test_varnish_keeps_a_page_until_it_changes(shop, front, purging, other):
    for path in ("/price/acme/1", "/price/acme/2", "/price/globex/4"):
        assert until(lambda path=path: is_kept(shop, front, path), 20)
    time.sleep(AGAIN + 0.5)
    for path in ("/price/acme/1", "/price/acme/2", "/price/globex/4"):
        front.get(path)
    before = shop.requests
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: front.get("/price/acme/1").text == "11", 5)
    front.get("/price/acme/2")
    front.get("/price/globex/4")
    assert shop.requests - before == 1
    assert "Surrogate-Key" not in front.get("/price/acme/1").headers
    etag = front.get("/price/acme/1").headers["ETag"]
    assert front.get("/price/acme/1", **{"If-None-Match": etag}).status == 304


def test_a_response_from_before_a_change_stored_after_its_purge(shop, front, purging, other):
    """The race that every purge has: the second purge ends it."""
    assert until(lambda: is_kept(shop, front, "/price/acme/3"), 20)
    time.sleep(AGAIN + 0.5)

    def change_meanwhile():
        shop.delay = None
        other.execute("UPDATE price SET amount = 77 WHERE id = 1")
        time.sleep(0.4)                 # the first purge is over

    shop.delay = change_meanwhile
    assert front.get("/price/acme/1").text == "10"
    changed = time.monotonic()
    assert front.get("/price/acme/1").text == "10", "the race was not met"
    assert until(lambda: front.get("/price/acme/1").text == "77", AGAIN + 1)
    assert time.monotonic() - changed < AGAIN + 0.5

    def take_too_long():
        shop.delay = None
        time.sleep(WITHIN + 0.3)

    # One that takes longer than the purge waits for gets no tags.
    shop.node.forget_all()
    other.execute("UPDATE price SET amount = 78 WHERE id = 1")
    time.sleep(AGAIN + 0.5)
    shop.delay = take_too_long
    before = shop.requests
    front.get("/price/acme/1")
    front.get("/price/acme/1")
    assert shop.requests - before == 2


def test_nothing_older_than_stated_whatever_dies(shop, front, purging, relays, store, dsn, db):
    """Under writes and reads: relays killed, both of them, Redis killed, Varnish restarted."""
    stop = threading.Event()
    committed = [(time.monotonic(), 10)]    # when it was certainly there
    stale, ages = [], []
    limit = max(AGAIN, NODE_LEASE * 2) + 1.0

    def write():
        with psycopg.connect(dsn, autocommit=True) as connection:
            amount = 10
            while not stop.wait(0.02 if amount % 50 else 1.5):
                amount += 1
                connection.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
                committed.append((time.monotonic(), amount))

    def read():
        while not stop.is_set():
            asked = time.monotonic()
            try:
                text = front.get("/price/acme/1").text
            except OSError:
                continue
            if not text.isdigit():
                continue
            newer = [at for at, amount in committed[-2000:] if amount > int(text)]
            if newer:
                ages.append(asked - newer[0])
                if asked - newer[0] > limit:
                    stale.append((int(text), asked - newer[0]))

    threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(2))]
    for thread in threads:
        thread.start()
    flags = ("--purge", front.url, "--purge-again", str(AGAIN))
    second = relays(*flags)
    try:
        time.sleep(2)
        purging.kill()
        time.sleep(4)
        second.kill()
        time.sleep(limit + 2)               # nobody purges
        relays(*flags)
        time.sleep(3)
        store.kill()
        time.sleep(1)
        store.start()
        time.sleep(4)
        front.process.kill()
        front.process.wait()
        time.sleep(0.5)
        front.start()
        time.sleep(4)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not stale, stale[:5]
    assert len(ages) > 100
    print(f"{len(committed)} changes, {len(ages)} reads behind, oldest {max(ages):.2f} s")
    assert until(lambda: is_kept(shop, front, "/price/acme/1"), 20)
