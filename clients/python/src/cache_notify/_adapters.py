"""One small adapter for each kind of database object of an application.

An object is known by the names of its class and module, so that no driver is
imported here and several copies of one do no harm. An adapter knows how to run our
questions, and whether a transaction of the caller's is open; whether it can, it
never begins one that was not there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_PLACEHOLDER = re.compile(r"\{(\d+)\}")


def percent(question: str) -> tuple[str, list[int]]:
    """A question for drivers with %s: the text, and which parameter each one is."""
    order = [int(number) for number in _PLACEHOLDER.findall(question)]
    return _PLACEHOLDER.sub("%s", question), order


def numbered(question: str) -> str:
    """A question for drivers with $1."""
    return _PLACEHOLDER.sub(lambda found: f"${int(found[1]) + 1}", question)


class Adapter:
    """How to ask over one object of the application. Sync; the asynchronous ones
    have the same methods, with run() a coroutine."""

    #: Whether other threads or tasks may use the object meanwhile (a pool).
    shared = False

    #: How the application writes parameters: 'percent', 'numbered' ($1), 'named' (:a).
    placeholders = "percent"

    def __init__(self, db: Any) -> None:
        self.db = db

    def in_transaction(self) -> bool:
        """Whether a transaction is open that began before this call. No I/O."""
        return False

    def row_form(self) -> Hashable:
        """What tells rows of one form from those of another, in this process: on the path
        of every hit of query()."""
        return (type(self.db),)

    def row_shape(self) -> str:
        """The same, as other processes say it."""
        return type(self.db).__module__.partition(".")[0]

    def told(self, statement: Any) -> tuple[str, Any]:
        """The text of the application's statement, and what besides its parameters it is
        made with. TypeError for what is no statement."""
        if not isinstance(statement, str):
            raise TypeError(f"a statement must be a string, not {type(statement).__qualname__}")
        return statement, None

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        """The rows of one of our questions, as tuples."""
        raise NotImplementedError

    def query(self, statement: str, parameters: Any) -> Any:
        """The rows of the application's query, as its driver gives them."""
        raise NotImplementedError


class _DBAPI(Adapter):
    """Objects that make cursors with %s."""

    def cursor(self) -> Any:
        return self.db.cursor()

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        text, order = percent(question)
        with self.cursor() as cursor:
            cursor.execute(text, [parameters[i] for i in order])
            return cursor.fetchall()

    def query(self, statement: str, parameters: Any) -> Any:
        with self.db.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()


@contextmanager
def autocommit(connection: Any) -> Iterator[None]:
    """Around a question over a connection of psycopg or psycopg2 that nobody else uses now:
    BEGIN and COMMIT would be two round trips more."""
    if connection.autocommit:
        yield
        return
    connection.autocommit = True
    try:
        yield
    finally:
        if not connection.closed:
            connection.autocommit = False


def composed(statement: Any, connection: Any) -> tuple[str, Any] | None:
    """The text of what psycopg.sql or psycopg2.sql has put together; None for anything else."""
    if hasattr(statement, "as_string"):
        return str(statement.as_string(connection)), None
    return None


def _named(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', function)}"


def psycopg_shape(connection: Any) -> str:
    """By the connection's row factory."""
    return f"psycopg {_named(connection.row_factory)}"


def psycopg_pool_form(pool: Any) -> Hashable:
    """As far as the pool says it; a configure() that sets another one for some of its
    connections is not seen."""
    kwargs = pool.kwargs
    return (kwargs.get("row_factory") if type(kwargs) is dict else None) or _tuple_row()


@functools.cache
def _tuple_row() -> Hashable:
    from psycopg.rows import tuple_row

    return tuple_row


def psycopg_pool_shape(pool: Any) -> str:
    return f"psycopg {_named(psycopg_pool_form(pool))}"


class Psycopg(_DBAPI):
    """psycopg 3: Connection."""

    def row_form(self) -> Hashable:
        return self.db.row_factory  # type: ignore[no-any-return]

    def told(self, statement: Any) -> tuple[str, Any]:
        return composed(statement, self.db) or super().told(statement)

    def row_shape(self) -> str:
        return psycopg_shape(self.db)

    def in_transaction(self) -> bool:
        return int(self.db.pgconn.transaction_status) != 0

    def cursor(self) -> Any:
        from psycopg.rows import tuple_row

        return self.db.cursor(row_factory=tuple_row)


class PsycopgPool(Adapter):
    """psycopg_pool: ConnectionPool."""

    shared = True

    def row_form(self) -> Hashable:
        return psycopg_pool_form(self.db)

    def told(self, statement: Any) -> tuple[str, Any]:
        return composed(statement, None) or super().told(statement)

    def row_shape(self) -> str:
        return psycopg_pool_shape(self.db)

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        with self.db.connection() as connection, autocommit(connection):
            return Psycopg(connection).run(question, parameters)

    def query(self, statement: str, parameters: Any) -> Any:
        with self.db.connection() as connection:
            return Psycopg(connection).query(statement, parameters)


class Psycopg2(_DBAPI):
    """psycopg2: connection."""

    def row_form(self) -> Hashable:
        return Psycopg2, self.db.cursor_factory

    def told(self, statement: Any) -> tuple[str, Any]:
        return composed(statement, self.db) or super().told(statement)

    def row_shape(self) -> str:
        return f"psycopg2 {_named(self.db.cursor_factory)}"

    def in_transaction(self) -> bool:
        return bool(self.db.get_transaction_status() != 0)

    def cursor(self) -> Any:
        from psycopg2.extensions import cursor

        return self.db.cursor(cursor_factory=cursor)


class Psycopg2Pool(Adapter):
    """psycopg2.pool: ThreadedConnectionPool."""

    shared = True

    def _with_connection(self, use: Callable[[Psycopg2], Any]) -> Any:
        connection = self.db.getconn()
        try:
            return use(Psycopg2(connection))
        finally:
            if not connection.closed:
                connection.rollback()
            self.db.putconn(connection)

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        def ask(adapter: Psycopg2) -> Any:
            with autocommit(adapter.db):
                return adapter.run(question, parameters)

        return self._with_connection(ask)

    def query(self, statement: str, parameters: Any) -> Any:
        return self._with_connection(lambda adapter: adapter.query(statement, parameters))


class Django(_DBAPI):
    """django.db: connection, or connections['name']."""

    def in_transaction(self) -> bool:
        return bool(self.db.in_atomic_block or not self.db.get_autocommit())


def alchemy_question(question: str, parameters: Sequence[str | None]) -> tuple[Any, dict[str, Any]]:
    from sqlalchemy import text

    named = _PLACEHOLDER.sub(r":p\1", question.replace("::", r"\:\:"))
    return text(named), {f"p{i}": value for i, value in enumerate(parameters)}


def alchemy_told(statement: Any) -> tuple[str, Any]:
    """A construct is told from others by its text and by the values bound in it."""
    if isinstance(statement, str):
        return statement, None
    if not hasattr(statement, "compile"):
        raise TypeError(f"no statement of SQLAlchemy's: {type(statement).__qualname__}")
    from sqlalchemy.dialects import postgresql

    compiled = statement.compile(
        dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
        compile_kwargs={"render_postcompile": True})
    return str(compiled), dict(compiled.params)


def alchemy_statement(statement: Any) -> Any:
    from sqlalchemy import text

    return text(statement) if isinstance(statement, str) else statement


class Alchemy(Adapter):
    """SQLAlchemy: Connection, Session."""

    placeholders = "named"

    def told(self, statement: Any) -> tuple[str, Any]:
        return alchemy_told(statement)

    def in_transaction(self) -> bool:
        return bool(self.db.in_transaction())

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        text, named = alchemy_question(question, parameters)
        if not self.db.in_transaction() and hasattr(self.db, "get_bind"):
            # A session: its transaction would stay open, and its rollback would
            # expire the application's objects. It holds no connection now.
            return AlchemyEngine(self.db.get_bind().engine).run(question, parameters)
        began = not self.db.in_transaction()
        rows = [tuple(row) for row in self.db.execute(text, named)]
        if began:
            self.db.rollback()  # it begins one by itself; the caller has none
        return rows

    def query(self, statement: str, parameters: Any) -> Any:
        # A session's own execute() makes mapped objects, which are that session's.
        db = self.db.connection() if hasattr(self.db, "get_bind") else self.db
        return db.execute(alchemy_statement(statement), parameters or {}).fetchall()


class AlchemyRegistry(Alchemy):
    """SQLAlchemy: scoped_session, the session of whoever uses it now."""

    def __init__(self, db: Any) -> None:
        super().__init__(db())


class AlchemyEngine(Adapter):
    """SQLAlchemy: Engine."""

    shared = True
    placeholders = "named"

    def told(self, statement: Any) -> tuple[str, Any]:
        return alchemy_told(statement)

    def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        # Without BEGIN and ROLLBACK, which would be two round trips more.
        with self.db.connect() as connection:
            driver = connection.connection.driver_connection
            kind = find(type(driver), _SYNC)
            if kind in (Psycopg, Psycopg2):
                with autocommit(driver):
                    return kind(driver).run(question, parameters)
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            return Alchemy(connection).run(question, parameters)

    def query(self, statement: str, parameters: Any) -> Any:
        with self.db.connect() as connection:
            return Alchemy(connection).query(statement, parameters)


_SYNC: dict[tuple[str, str], type[Adapter]] = {
    ("psycopg", "Connection"): Psycopg,
    ("psycopg_pool", "ConnectionPool"): PsycopgPool,
    ("psycopg2", "connection"): Psycopg2,
    ("psycopg2", "AbstractConnectionPool"): Psycopg2Pool,
    ("django", "BaseDatabaseWrapper"): Django,
    ("django", "ConnectionProxy"): Django,
    ("sqlalchemy", "Engine"): AlchemyEngine,
    ("sqlalchemy", "Connection"): Alchemy,
    ("sqlalchemy", "Session"): Alchemy,
    ("sqlalchemy", "scoped_session"): AlchemyRegistry,
}


def find(kind: type, known: dict[tuple[str, str], Any]) -> Any:
    for base in kind.__mro__:
        found = known.get((base.__module__.partition(".")[0], base.__name__))
        if found is not None:
            return found
    return None


_found: dict[type, type[Adapter]] = {}

#: Kinds of pools that were seen: never in a transaction of the caller's.
shared_kinds: set[type] = set()


def remember(kind: type, adapter: type[Adapter], found: dict[type, type[Adapter]]) -> None:
    found[kind] = adapter
    if adapter.shared:
        shared_kinds.add(kind)


def adapter_of(db: Any) -> Adapter:
    """The adapter of an object. TypeError for one that nobody knows."""
    kind = type(db)
    adapter = _found.get(kind)
    if adapter is None:
        adapter = find(kind, _SYNC)
        if adapter is None:
            raise TypeError(
                f"{kind.__module__}.{kind.__qualname__} is no database object that this "
                "cache knows: pass a psycopg, psycopg2, SQLAlchemy or Django connection, "
                "session or pool; asynchronous ones go to AsyncCache")
        remember(kind, adapter, _found)
    return adapter(db)
