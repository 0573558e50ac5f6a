"""Operations for migrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.migrations.operations.base import Operation

from .._watch import remove_sql, setup_sql


class WatchTable(Operation):  # type: ignore[misc]
    """Watches a table: each change of it moves the version of its domain.

        operations = [
            CreateExtension("cache_notify"),
            WatchTable("shop_product", "product", keys=["id"], fields=["keys"]),
        ]

    table: its name in the database (Model._meta.db_table). domain: what `reads` names;
    left out: the table's name. options: those of setup_table_invalidation(). Backwards it
    ends the watch, also one that was there before. Does nothing on other databases than
    PostgreSQL, and where the router does not allow the app's migrations."""

    reduces_to_sql = True
    reversible = True

    def __init__(self, table: str, domain: str | None = None, *,
                 tenant_column: str | None = None, channel: str | None = None,
                 payload: str | None = None, granularity: str | None = None,
                 tenant_setting: str | None = None, columns: Sequence[str] | None = None,
                 fields: Sequence[str] | None = None, fire_on_replica: bool | None = None,
                 payload_suffix: str | None = None, keys: Sequence[str] | None = None,
                 buckets: int | None = None) -> None:
        # By name, one after the other: squashmigrations writes them so.
        options = {
            "tenant_column": tenant_column, "channel": channel, "payload": payload,
            "granularity": granularity, "tenant_setting": tenant_setting, "columns": columns,
            "fields": fields, "fire_on_replica": fire_on_replica,
            "payload_suffix": payload_suffix, "keys": keys, "buckets": buckets}
        self.table = table
        self.domain = domain
        self.options = {name: value for name, value in options.items() if value is not None}

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        named = {} if self.domain is None else {"domain": self.domain}
        return self.__class__.__qualname__, [self.table], {**named, **self.options}

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any,
                          to_state: Any) -> None:
        if self._concerns(app_label, schema_editor):
            name = schema_editor.quote_name(self.table)
            schema_editor.execute(setup_sql(name, self.domain, self.options), None)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any,
                           to_state: Any) -> None:
        if self._concerns(app_label, schema_editor):
            name = schema_editor.quote_name(self.table)
            schema_editor.execute(remove_sql(name, self.domain), None)

    def _concerns(self, app_label: str, schema_editor: Any) -> bool:
        from django.db import router

        connection = schema_editor.connection
        return connection.vendor == "postgresql" and bool(
            router.allow_migrate(connection.alias, app_label))

    def describe(self) -> str:
        return f"Watch the table {self.table}"

    @property
    def migration_name_fragment(self) -> str:
        return f"watch_{self.table.lower()}"
