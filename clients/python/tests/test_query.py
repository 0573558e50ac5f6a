"""query(): what a statement reads is found by the server, and found again."""

import threading

import psycopg
import pytest
from conftest import until

VIEW = "CREATE OR REPLACE VIEW total AS SELECT tenant_id, sum(amount)::int + {} AS sum FROM price GROUP BY 1"


@pytest.fixture
def views(other):
    other.execute(VIEW.format(0))
    other.execute("CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n'")
    other.execute("CREATE FUNCTION all_sum() RETURNS int LANGUAGE sql STABLE AS 'SELECT sum(sum)::int FROM total'")


def ask(cache, db, statement, parameters=(), **options):
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
    for value in (1, "1", True, None, 1.5, [1], (1, 2)):
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
