"""What a Django project gets besides the adapter of its connection."""

import psycopg
import pytest
from conftest import until
from test_adapters import django_connection

import cache_notify
from cache_notify.testing import FakeCache

pytest.importorskip("django")


@pytest.fixture
def connection(dsn):
    with django_connection(dsn) as connection:
        yield connection


@pytest.fixture
def project(connection):
    """The project's cache, in the test's database."""
    from django.conf import settings

    from cache_notify.django import get_cache
    settings.CACHE_NOTIFY = {"default": {"heartbeat": 0.2}}
    cache = get_cache()
    assert cache.wait_until_listening(), cache.failure
    assert get_cache() is cache
    yield cache
    cache.close()


def status(other, column="keys"):
    return other.execute(
        f"SELECT domain, {column} FROM cache_notify.v_invalidation_status "
        "WHERE table_name = 'shop'::regclass").fetchall()


def test_watch_table(connection, other):
    from django.db.migrations.state import ProjectState
    from django.db.migrations.writer import OperationWriter

    from cache_notify.django.operations import WatchTable
    other.execute('CREATE TABLE shop (id int PRIMARY KEY, tenant_id text);'
                  ' CREATE TABLE "Shop s" (id int PRIMARY KEY)')
    operation = WatchTable("shop", keys=["id"], fields=["keys"], payload_suffix="'\\:x%")
    state = ProjectState()
    for _ in range(2):
        with connection.schema_editor() as editor:
            operation.database_forwards("shop", editor, state, state)
        assert status(other) == [("shop", ["id"])]
        assert status(other, "payload_suffix") == [("shop", "'\\:x%")]
        with connection.schema_editor() as editor:
            operation.database_backwards("shop", editor, state, state)
        assert status(other) == []
    for each in (operation, WatchTable("Shop s", "a:b", granularity="statement")):
        # As sqlmigrate shows it, and as a migration is written.
        with connection.schema_editor(collect_sql=True) as editor:
            each.database_forwards("shop", editor, state, state)
            each.database_backwards("shop", editor, state, state)
        for statement in editor.collected_sql:
            other.execute(statement)
        text, imports = OperationWriter(each, indentation=0).serialize()
        found = {}
        exec("\n".join([*imports, f"found = {text.rstrip(',')}"]), found)  # noqa: S102
        assert found["found"].deconstruct() == each.deconstruct()
    assert operation.reversible and operation.reduces_to_sql


def test_system_check(connection, other):
    from django.core.checks import run_checks
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError

    def messages():
        return [(message.id, message.msg) for message in run_checks(databases=["default"])
                if message.id.startswith("cache_notify")]

    assert messages() == [] == [
        message for message in run_checks() if message.id.startswith("cache_notify")]
    other.execute("ALTER TABLE price DISABLE TRIGGER USER")
    (number, text), = messages()
    assert number == "cache_notify.E001" and text.startswith("price in the database 'default': ")
    with pytest.raises(SystemCheckError, match="cache_notify.E001"):
        call_command("check", databases=["default"])
    other.execute("DROP EXTENSION cache_notify CASCADE")
    assert [number for number, _ in messages()] == ["cache_notify.W001"]


def test_cached_function(project, connection, other):
    from cache_notify.django import cached
    calls = []

    @cached(reads=["price/{id}"], tenant="{tenant}")
    def price(id, tenant="acme", *, digits=2):
        calls.append(id)
        with connection.cursor() as cursor:
            cursor.execute("SELECT round(amount, %s)::text FROM price WHERE id = %s", [digits, id])
            return cursor.fetchone()[0]

    assert [price(1), price(1), price(id=1), price(1, digits=1), price(2)] == [
        "10.00", "10.00", "10.00", "10.0", "10.00"]
    assert calls in ([1, 1, 2], [1, 1, 1, 2])
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: price(1) == "11.00")
    assert price.__name__ == "price"


def test_cached_view(project, connection, other):
    from django.http import JsonResponse
    from django.test import RequestFactory

    from cache_notify.django import cached_view

    @cached_view(reads=["price/{id}"], tenant=lambda request, id: request.headers["X-Tenant"],
                 vary_on=["Accept-Language"])
    def page(request, id):
        with connection.cursor() as cursor:
            cursor.execute("SELECT amount::int FROM price WHERE id = %s", [id])
            return JsonResponse({"amount": cursor.fetchone()[0], "q": request.GET.get("q")},
                                headers={"Vary": "Accept-Language", "X-Request": "1"})

    def get(path="/p/1", method="get", **headers):
        request = getattr(RequestFactory(), method)(path, HTTP_X_TENANT="acme", **headers)
        response = page(request, id=1)
        return response.headers.get("X-Cache-Notify"), response

    assert [get()[0], get()[0]] == ["miss", "hit"]
    assert get()[1].content == b'{"amount": 10, "q": null}'
    assert get()[1].headers["Content-Type"] == "application/json"
    assert "X-Request" not in get()[1].headers
    # What tells pages apart.
    assert [get("/p/1?q=2")[0], get("/p/1?q=2")[0], get("/p/1?q=3")[0]] == ["miss", "hit", "miss"]
    assert [get(HTTP_ACCEPT_LANGUAGE="de")[0], get(HTTP_ACCEPT_LANGUAGE="de")[0]] == ["miss", "hit"]
    assert get(method="post")[0] is None
    assert get(method="head")[0] == "miss"
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert until(lambda: get()[1].content == b'{"amount": 11, "q": null}')


def responses():
    from django.http import HttpResponse, StreamingHttpResponse
    from django.middleware.csrf import get_token

    def cookie(request):
        response = HttpResponse("")
        response.set_cookie("a", "b")
        return response

    return {
        "cookie": cookie,
        "status": lambda request: HttpResponse("", status=404),
        "stream": lambda request: StreamingHttpResponse([b"a"]),
        "private": lambda request: HttpResponse("", headers={"Cache-Control": "private"}),
        "no-store": lambda request: HttpResponse("", headers={"Cache-Control": "No-Store"}),
        "vary": lambda request: HttpResponse("", headers={"Vary": "Accept-Language"}),
        "vary cookie": lambda request: HttpResponse("", headers={"Vary": "Cookie"}),
        "vary all": lambda request: HttpResponse("", headers={"Vary": "*"}),
        "session": lambda request: HttpResponse(request.session.get("user", "")),
        "token": lambda request: HttpResponse(get_token(request)),
    }


def requested(path="/"):
    from django.contrib.sessions.backends.signed_cookies import SessionStore
    from django.test import RequestFactory
    request = RequestFactory().get(path)
    request.session = SessionStore()
    return request


def test_what_only_one_may_see_is_not_kept(connection):
    from cache_notify.django import cached_view, set_cache
    set_cache(FakeCache())
    try:
        for name, view in responses().items():
            told = [cached_view(reads=["price"])(view)(requested(f"/{name}"))["X-Cache-Notify"]
                    for _ in range(2)]
            assert told == ["uncacheable", "uncacheable"], name
        # Whoever says what tells them apart may keep what looks at the session.
        kept = cached_view(reads=["price"], vary=lambda request: request.session.get("user"))(
            responses()["session"])
        assert [kept(requested())["X-Cache-Notify"] for _ in range(2)] == ["miss", "hit"]
    finally:
        set_cache(None)


def test_atomic_requests(project, connection, other):
    """Within a transaction nothing older than the call is served, and own changes are
    seen."""
    from django.db import transaction

    from cache_notify.django import cached

    @cached(reads=["price"], tenant="acme")
    def total():
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(amount)::int FROM price WHERE tenant_id = 'acme'")
            return cursor.fetchone()[0]

    for amount in range(11, 15):
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        with transaction.atomic():
            assert total() == 20 + amount
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("UPDATE price SET amount = 99 WHERE id = 1")
        assert total() == 119
        transaction.set_rollback(True)
    assert total() == 34


def test_fake_in_tests_of_a_project(connection):
    from cache_notify.django import cached, set_cache
    calls = []

    @cached(reads=["price"])
    def price():
        calls.append(1)
        return len(calls)

    fake = FakeCache()
    set_cache(fake)
    try:
        assert [price(), price()] == [1, 1]
        fake.change("price")
        assert price() == 2
    finally:
        set_cache(None)
    assert isinstance(cache_notify.django.get_cache(), cache_notify.Cache)
    cache_notify.django.get_cache().close()


def test_alembic(dsn, other):
    pytest.importorskip("alembic")
    import io

    import sqlalchemy
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from test_adapters import url

    from cache_notify.alembic import UnwatchTable, WatchTable
    other.execute('CREATE TABLE shop (id int PRIMARY KEY); CREATE SCHEMA "S 1";'
                  'CREATE TABLE "S 1"."Shop" (id int PRIMARY KEY)')

    def watched():
        return other.execute(
            "SELECT table_name::text, domain, payload_suffix FROM cache_notify.v_invalidation_status "
            "WHERE table_name::text ILIKE '%shop%' ORDER BY 1").fetchall()

    def upgrade(op):
        op.watch_table("shop", keys=["id"], fields=["keys"], payload_suffix="'\\:x")
        op.watch_table("Shop", "b:c", schema="S 1")

    def downgrade(op):
        op.unwatch_table("Shop", "b:c", schema="S 1")
        op.unwatch_table("shop")

    engine = sqlalchemy.create_engine(url(dsn, "psycopg"))
    for _ in range(2):
        for change, count in ((upgrade, 2), (downgrade, 0), (downgrade, 0)):
            with engine.begin() as connection:
                change(Operations(MigrationContext.configure(connection)))
            assert len(watched()) == count
    # alembic upgrade --sql
    for change, expected in ((upgrade, [('"S 1"."Shop"', "b:c", None), ("shop", "shop", "'\\:x")]),
                             (downgrade, [])):
        out = io.StringIO()
        change(Operations(MigrationContext.configure(
            dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})))
        with psycopg.connect(dsn) as connection:
            connection.execute(out.getvalue())
        assert watched() == expected
    operation = WatchTable("shop", None, None, {"keys": ["id"]})
    assert isinstance(operation.reverse(), UnwatchTable)
    assert operation.reverse().reverse().options == {"keys": ["id"]}
    engine.dispose()
