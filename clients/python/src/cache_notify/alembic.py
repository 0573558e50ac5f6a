"""Alembic operations that watch tables. Import this module in env.py or in a migration:

    import cache_notify.alembic

    def upgrade():
        op.create_table("price", ...)
        op.watch_table("price", keys=["id"], fields=["keys"])

    def downgrade():
        op.unwatch_table("price")
        op.drop_table("price")
"""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, Operations
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from ._watch import remove_sql, setup_sql


class _TableOperation(MigrateOperation):
    def __init__(self, table: str, domain: str | None, schema: str | None,
                 options: dict[str, Any]) -> None:
        self.table = table
        self.domain = domain
        self.schema = schema
        self.options = options

    @property
    def name(self) -> str:
        """The table as SQL writes it."""
        quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]
        name = str(quote(self.table))
        return name if self.schema is None else f"{quote(self.schema)}.{name}"


@Operations.register_operation("watch_table")
class WatchTable(_TableOperation):
    """op.watch_table(table, domain=None, schema=None, **options): watches a table, with the
    options of setup_table_invalidation()."""

    @classmethod
    def watch_table(cls, operations: Any, table: str, domain: str | None = None, *,
                    schema: str | None = None, **options: Any) -> Any:
        """Watches a table: setup_table_invalidation()."""
        return operations.invoke(cls(table, domain, schema, options))

    def reverse(self) -> UnwatchTable:
        return UnwatchTable(self.table, self.domain, self.schema, self.options)


@Operations.register_operation("unwatch_table")
class UnwatchTable(_TableOperation):
    """op.unwatch_table(table, domain=None, schema=None): ends what watch_table() began; no
    error if it is not watched. Options are for reverse() only."""

    @classmethod
    def unwatch_table(cls, operations: Any, table: str, domain: str | None = None, *,
                      schema: str | None = None, **options: Any) -> Any:
        """Ends watching a table: remove_table_invalidation()."""
        return operations.invoke(cls(table, domain, schema, options))

    def reverse(self) -> WatchTable:
        return WatchTable(self.table, self.domain, self.schema, self.options)


def _run(operations: Any, sql: str) -> None:
    operations.execute(text(sql.replace(":", "\\:")))


@Operations.implementation_for(WatchTable)
def _watch(operations: Any, operation: WatchTable) -> None:
    _run(operations, setup_sql(operation.name, operation.domain, operation.options))


@Operations.implementation_for(UnwatchTable)
def _unwatch(operations: Any, operation: UnwatchTable) -> None:
    _run(operations, remove_sql(operation.name, operation.domain))
