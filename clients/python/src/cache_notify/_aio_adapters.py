"""The adapters of asynchronous database objects: see _adapters.py."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from ._adapters import (
    Adapter,
    alchemy_question,
    alchemy_statement,
    alchemy_told,
    composed,
    find,
    numbered,
    percent,
    psycopg_pool_form,
    psycopg_pool_shape,
    psycopg_shape,
    remember,
)


class AsyncPsycopg(Adapter):
    """psycopg 3: AsyncConnection."""

    def row_form(self) -> Hashable:
        return self.db.row_factory  # type: ignore[no-any-return]

    def told(self, statement: Any) -> tuple[str, Any]:
        return composed(statement, self.db) or super().told(statement)

    def row_shape(self) -> str:
        return psycopg_shape(self.db)

    def in_transaction(self) -> bool:
        return int(self.db.pgconn.transaction_status) != 0

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        from psycopg.rows import tuple_row

        text, order = percent(question)
        async with self.db.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(text, [parameters[i] for i in order])
            return await cursor.fetchall()

    async def query(self, statement: str, parameters: Any) -> Any:
        async with self.db.cursor() as cursor:
            await cursor.execute(statement, parameters)
            return await cursor.fetchall()


class AsyncPsycopgPool(Adapter):
    """psycopg_pool: AsyncConnectionPool."""

    shared = True

    def row_form(self) -> Hashable:
        return psycopg_pool_form(self.db)

    def told(self, statement: Any) -> tuple[str, Any]:
        return composed(statement, None) or super().told(statement)

    def row_shape(self) -> str:
        return psycopg_pool_shape(self.db)

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        async with self.db.connection() as connection:
            if connection.autocommit:
                return await AsyncPsycopg(connection).run(question, parameters)
            # BEGIN and COMMIT would be two round trips more.
            await connection.set_autocommit(True)
            try:
                return await AsyncPsycopg(connection).run(question, parameters)
            finally:
                if not connection.closed:
                    await connection.set_autocommit(False)

    async def query(self, statement: str, parameters: Any) -> Any:
        async with self.db.connection() as connection:
            return await AsyncPsycopg(connection).query(statement, parameters)


class Asyncpg(Adapter):
    """asyncpg: Connection."""

    placeholders = "numbered"

    def in_transaction(self) -> bool:
        return bool(self.db.is_in_transaction())

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        return [tuple(row) for row in await self.db.fetch(numbered(question), *parameters)]

    async def query(self, statement: str, parameters: Any) -> Any:
        return await self.db.fetch(statement, *(parameters or ()))


class AsyncpgPool(Asyncpg):
    """asyncpg: Pool, which has the methods of a connection."""

    shared = True

    def in_transaction(self) -> bool:
        return False


class AsyncAlchemy(Adapter):
    """SQLAlchemy: AsyncConnection, AsyncSession."""

    placeholders = "named"

    def told(self, statement: Any) -> tuple[str, Any]:
        return alchemy_told(statement)

    def in_transaction(self) -> bool:
        return bool(self.db.in_transaction())

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        text, named = alchemy_question(question, parameters)
        if not self.db.in_transaction() and hasattr(self.db, "get_bind"):
            # Its own connection would begin a transaction that stays open.
            from sqlalchemy.ext.asyncio import AsyncEngine

            engine = AsyncEngine(self.db.get_bind().engine)
            return await AsyncAlchemyEngine(engine).run(question, parameters)
        began = not self.db.in_transaction()
        rows = [tuple(row) for row in await self.db.execute(text, named)]
        if began:
            await self.db.rollback()
        return rows

    async def query(self, statement: str, parameters: Any) -> Any:
        # A session's own execute() makes mapped objects, which are that session's.
        db = await self.db.connection() if hasattr(self.db, "get_bind") else self.db
        result = await db.execute(alchemy_statement(statement), parameters or {})
        return result.fetchall()


class AsyncAlchemyRegistry(AsyncAlchemy):
    """SQLAlchemy: async_scoped_session, the session of whoever uses it now."""

    def __init__(self, db: Any) -> None:
        super().__init__(db())


class AsyncAlchemyEngine(Adapter):
    """SQLAlchemy: AsyncEngine."""

    shared = True
    placeholders = "named"

    def told(self, statement: Any) -> tuple[str, Any]:
        return alchemy_told(statement)

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        async with self.db.connect() as connection:
            # Without BEGIN and ROLLBACK, which would be two round trips more.
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            return await AsyncAlchemy(connection).run(question, parameters)

    async def query(self, statement: str, parameters: Any) -> Any:
        async with self.db.connect() as connection:
            return await AsyncAlchemy(connection).query(statement, parameters)


_ASYNC: dict[tuple[str, str], type[Adapter]] = {
    ("psycopg", "AsyncConnection"): AsyncPsycopg,
    ("psycopg_pool", "AsyncConnectionPool"): AsyncPsycopgPool,
    ("asyncpg", "Connection"): Asyncpg,
    ("asyncpg", "PoolConnectionProxy"): Asyncpg,
    ("asyncpg", "Pool"): AsyncpgPool,
    ("sqlalchemy", "AsyncEngine"): AsyncAlchemyEngine,
    ("sqlalchemy", "AsyncConnection"): AsyncAlchemy,
    ("sqlalchemy", "AsyncSession"): AsyncAlchemy,
    ("sqlalchemy", "async_scoped_session"): AsyncAlchemyRegistry,
}

_found: dict[type, type[Adapter]] = {}


def async_adapter_of(db: Any) -> Adapter:
    """The adapter of an object. TypeError for one that nobody knows."""
    kind = type(db)
    adapter = _found.get(kind)
    if adapter is None:
        adapter = find(kind, _ASYNC)
        if adapter is None:
            raise TypeError(
                f"{kind.__module__}.{kind.__qualname__} is no asynchronous database object "
                "that this cache knows: pass one of psycopg, asyncpg or SQLAlchemy, a "
                "connection, session or pool; synchronous ones go to Cache")
        remember(kind, adapter, _found)
    return adapter(db)
