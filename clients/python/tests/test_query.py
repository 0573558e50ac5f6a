"""query(): what a statement reads is found by the server, and found again."""

import threading
from decimal import Decimal

import psycopg
import pytest
from conftest import until
from psycopg import sql
from test_adapters import alchemy_connection, alchemy_engine, alchemy_session, end_transaction

VIEW = "CREATE OR REPLACE VIEW total AS SELECT tenant_id, sum(amount)::int + {} AS sum FROM price GROUP BY 1"


@pytest.fixture
def views(other):
    other.execute(VIEW.format(0))
    other.execute("CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n'")
    other.execute("CREATE FUNCTION all_sum() RETURNS int LANGUAGE sql STABLE AS 'SELECT sum(sum)::int FROM total'")


def ask(cache, db, statement, parameters=None, **options):
    before = cache.metrics.snapshot().get("hits", 0)
    rows = cache.query(db, statement, parameters, **options)
    return rows, cache.metrics.snapshot().get("hits", 0) > before


STATEMENTS = [
    ("SELECT sum FROM total WHERE tenant_id = %s", ["acme"], {"tenant": "acme"}),
    ("SELECT sum FROM total WHERE tenant_id = %(tenant)s", {"tenant": "acme"}, {"tenant": "acme"}),
    ("SELECT all_sum() - 10", (), {}),
]


@pytest.mark.parametrize(("statement", "parameters", "options"), STATEMENTS)
def test_rows_and_definitions(cache, db, other, views, statement, parameters, options):
    def query():
        return ask(cache, db, statement, parameters, **options)

    def follows():
        now = db.execute(statement, parameters).fetchall()
        return until(lambda: query()[0] == now)

    assert query() == ([(30,)], False)
    assert query() == ([(30,)], True)
    other.execute("UPDATE price SET amount = 11 WHERE id = 1")
    assert follows()
    other.execute(VIEW.format(5))
    assert follows()
    # It reads another table now, and that is known at once.
    other.execute("CREATE TABLE extra (id int PRIMARY KEY, tenant_id text, amount int)")
    other.execute("INSERT INTO extra VALUES (1, 'acme', 100)")
    other.execute("SELECT cache_notify.setup_table_invalidation('extra')")
    other.execute(
        "CREATE OR REPLACE VIEW total AS SELECT tenant_id, sum(amount)::int AS sum"
        " FROM (SELECT tenant_id, amount FROM price WHERE tenant_id = 'acme'"
        "       UNION ALL SELECT tenant_id, amount FROM extra) u GROUP BY 1")
    assert follows()
    query()
    other.execute("UPDATE extra SET amount = 200")
    assert follows()


@pytest.mark.parametrize("statement", [
    "SELECT now()", "SELECT random()", "SELECT n FROM plain", "SELECT current_setting('work_mem')",
    "SELECT 1 FROM pg_class", "SELECT amount FROM price WHERE 'today'::date > '2000-01-01'",
])
def test_what_cannot_be_cached_is_run_and_said_once(cache, db, caplog, statement):
    for _ in range(3):
        assert not ask(cache, db, statement)[1]
    assert sum("not cached" in message for message in caplog.messages) == 1


def test_parameters_tell_results_apart(cache, db):
    for value in (1, "1", True, None, 1.5, [1], (1, 2), Decimal("1.0"), Decimal("1.00"), 0.0, -0.0):
        statement = "SELECT count(*), %s::text FROM price"
        (first,), hit = ask(cache, db, statement, [value])
        assert not hit
        (second,), hit = ask(cache, db, statement, [value])
        assert hit and first == second


def test_a_definition_that_moves_between_the_look_and_the_versions(cache, dsn, db, other, views):
    """What the statement reads was found out before: the result is not kept."""
    statement = "SELECT sum FROM total WHERE tenant_id = 'acme'"
    other.execute("CREATE TABLE extra (id int PRIMARY KEY, tenant_id text, amount int)")
    other.execute("INSERT INTO extra VALUES (1, 'acme', 100)")
    other.execute("SELECT cache_notify.setup_table_invalidation('extra')")
    import cache_notify._statements as statements
    analyse = statements._analyse

    def slow(*args):
        found = yield from analyse(*args)
        before = cache.core.ticket()
        other.execute(
            "CREATE OR REPLACE VIEW total AS SELECT tenant_id, sum(amount)::int AS sum"
            " FROM extra GROUP BY 1")
        assert until(lambda: cache.core.ticket() != before)
        return found

    statements._analyse = slow
    try:
        assert ask(cache, db, statement, tenant="acme")[0] == [(100,)]
    finally:
        statements._analyse = analyse
    other.execute("UPDATE extra SET amount = 200")
    assert until(lambda: ask(cache, db, statement, tenant="acme")[0] == [(200,)])


def test_definitions_that_move_while_nobody_listens(cache, db, other, views):
    statement = "SELECT sum FROM total WHERE tenant_id = 'acme'"

    def query():
        return ask(cache, db, statement, tenant="acme")[0]

    def allow(yes):
        with psycopg.connect(autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {other.info.dbname} ALLOW_CONNECTIONS {yes}")

    query()
    allow(False)
    other.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                  " WHERE application_name = 'cache_notify listener' AND datname = current_database()")
    assert until(lambda: not cache.listening)
    other.execute(VIEW.format(7))
    allow(True)
    assert until(lambda: cache.listening)
    assert query() == [(37,)]


def test_a_reset_is_one_of_definitions_as_well(cache, db, other):
    """The extension is created anew, and two tables have changed their domains."""
    statement = "SELECT amount::int FROM price WHERE id = 1"

    def query():
        return ask(cache, db, statement, tenant="acme")[0]

    assert query() == [(10,)]
    other.execute("CREATE TABLE extra (id int PRIMARY KEY, tenant_id text)")
    before = cache.core.ticket().generation
    # In one transaction: the listener never finds it missing, and listens anew.
    other.execute("DROP EXTENSION cache_notify CASCADE; CREATE EXTENSION cache_notify;"
                  "SELECT cache_notify.setup_table_invalidation('price', 'extra'),"
                  " cache_notify.setup_table_invalidation('extra', 'price')")
    assert until(lambda: cache.core.ticket().generation != before)
    for amount in range(11, 14):
        assert until(lambda: ask(cache, db, statement, tenant="acme")[1])
        other.execute("UPDATE price SET amount = %s WHERE id = 1", [amount])
        assert until(lambda: query() == [(amount,)])  # noqa: B023


def test_threads_that_ask_the_same(cache, dsn, views):
    values = []

    def query():
        with psycopg.connect(dsn, autocommit=True) as db:
            values.append(cache.query(db, "SELECT all_sum()"))

    threads = [threading.Thread(target=query) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert values == [[(40,)]] * 8


def test_a_percent_sign_without_parameters(cache, db, other):
    """As the driver takes it."""
    other.execute("INSERT INTO price VALUES (7, 'acme%', 1), (8, 'acme%%', 1)")
    statement = "SELECT count(*) FROM price WHERE tenant_id LIKE 'acme%'"
    assert until(lambda: ask(cache, db, statement) == ([(5,)], True))
    # With parameters, be there none of them, % is of a placeholder, and %% is one %.
    for run in (db.execute, lambda *how: cache.query(db, *how)):
        with pytest.raises(psycopg.Error):
            run(statement, ())
    exact = "SELECT id FROM price WHERE tenant_id = 'acme%%'"
    for _ in range(2):
        assert cache.query(db, exact) == db.execute(exact).fetchall() == [(8,)]
        assert cache.query(db, exact, ()) == db.execute(exact, ()).fetchall() == [(7,)]


def test_composed_statements(cache, db, dsn):
    for table, count in (("price", 4), ("disc", 2)):
        statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        assert ask(cache, db, statement) == ([(count,)], False)
        assert ask(cache, db, statement) == ([(count,)], True)
    for statement in (b"SELECT 1", None, 1):
        with pytest.raises(TypeError, match="statement"):
            cache.query(db, statement)


@pytest.mark.parametrize("make", [alchemy_engine, alchemy_connection, alchemy_session],
                         ids=lambda make: make.__name__)
def test_constructs_of_sqlalchemy(make, cache, dsn, other):
    """What is bound in them tells them apart; rows are plain."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    class Mapping(DeclarativeBase):
        pass

    class Price(Mapping):
        __tablename__ = "price"
        id: Mapped[int] = mapped_column(primary_key=True)
        amount: Mapped[int]

    def made(*ids):
        return sqlalchemy.select(Price.id, Price.amount).where(Price.id.in_(ids)).order_by(Price.id)

    with make(dsn) as db:
        def query(statement):
            rows, hit = ask(cache, db, statement)
            end_transaction(db)
            return [tuple(row) for row in rows], hit

        for ids in ([1], [2], [1, 2], [1]):
            assert query(made(*ids))[0] == [(number, 10) for number in ids]
        assert query(made(1)) == ([(1, 10)], True)
        assert query(sqlalchemy.select(Price).where(Price.id == 3))[0] == [(3, 10)]
        assert query(sqlalchemy.text("SELECT :n + 0 FROM price WHERE id = 1").bindparams(n=1))[0] == [(1,)]
        assert query(sqlalchemy.text("SELECT :n + 0 FROM price WHERE id = 1").bindparams(n=2))[0] == [(2,)]
        other.execute("UPDATE price SET amount = 11 WHERE id = 1")
        assert until(lambda: query(made(1))[0] == [(1, 11)])


@pytest.mark.parametrize("statement", [
    "INSERT INTO written SELECT count(*) FROM price RETURNING 1",
    "WITH w AS (INSERT INTO written SELECT 1 RETURNING n) SELECT n, (SELECT count(*) FROM price) FROM w",
    "SELECT nextval('numbers'), count(*) FROM price",
    "SELECT writes(), count(*) FROM price",
    "UPDATE price SET amount = amount + 1 WHERE id = 1 RETURNING 1",
])
def test_what_writes_is_run_each_time(cache, db, other, statement):
    """Whether as an error or not, it is never answered from memory."""
    other.execute("CREATE TABLE written (n bigint); CREATE SEQUENCE numbers;"
                  "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS"
                  " 'INSERT INTO written VALUES (1) RETURNING 1'")
    for _ in range(3):
        try:
            assert not ask(cache, db, statement)[1]
        except psycopg.Error:
            db.rollback()
    assert cache.size == 0


def test_locks_are_taken_each_time(cache, db, dsn):
    for strength in ("UPDATE", "SHARE"):
        statement = f"SELECT amount FROM price WHERE id = 1 FOR {strength}"
        for _ in range(2):
            assert ask(cache, db, statement) == ([(10,)], False)


def test_a_statement_that_fails_now(cache, db, other):
    """Its last result, for so long as the caller says."""
    statement = "SELECT sum(10 / amount)::int FROM price"
    options = {"stale_if_error": 60.0}
    assert cache.query(db, statement, **options) == [(4,)]
    other.execute("UPDATE price SET amount = 0 WHERE id = 1")
    assert until(lambda: cache.size == 0)
    assert cache.query(db, statement, **options) == [(4,)]
    assert cache.metrics.snapshot()["stale_serves{stale_if_error}"] == 1
    with pytest.raises(psycopg.errors.DivisionByZero):
        cache.query(db, statement)
