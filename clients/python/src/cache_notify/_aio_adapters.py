"""The adapters of asynchronous database objects: see _adapters.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._adapters import (
    Adapter,
    alchemy_question,
    alchemy_statement,
    find,
    numbered,
    percent,
    psycopg_pool_shape,
    psycopg_shape,
    remember,
)


class AsyncPsycopg(Adapter):
    """psycopg 3: AsyncConnection."""

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

    def row_shape(self) -> str:
        return psycopg_pool_shape(self.db)

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        async with self.db.connection() as connection:
            return await AsyncPsycopg(connection).run(question, parameters)

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
        return await self.db.fetch(statement, *parameters)


class AsyncpgPool(Asyncpg):
    """asyncpg: Pool, which has the methods of a connection."""

    shared = True

    def in_transaction(self) -> bool:
        return False


class AsyncAlchemy(Adapter):
    """SQLAlchemy: AsyncConnection, AsyncSession, async_scoped_session."""

    placeholders = "named"

    def in_transaction(self) -> bool:
        return bool(self.db.in_transaction())

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        text, named = alchemy_question(question, parameters)
        if not self.db.in_transaction() and hasattr(self.db, "sync_session"):
            # Its own connection would begin a transaction that stays open.
            bind = self.db.get_bind()
            from sqlalchemy.ext.asyncio import AsyncEngine

            async with AsyncEngine(bind.engine).connect() as connection:
                return [tuple(row) for row in await connection.execute(text, named)]
        began = not self.db.in_transaction()
        rows = [tuple(row) for row in await self.db.execute(text, named)]
        if began:
            await self.db.rollback()
        return rows

    async def query(self, statement: str, parameters: Any) -> Any:
        result = await self.db.execute(alchemy_statement(statement), parameters or {})
        return result.fetchall()


class AsyncAlchemyEngine(Adapter):
    """SQLAlchemy: AsyncEngine."""

    shared = True
    placeholders = "named"

    async def run(self, question: str, parameters: Sequence[str | None] = ()) -> Any:
        async with self.db.connect() as connection:
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
    ("sqlalchemy", "async_scoped_session"): AsyncAlchemy,
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
