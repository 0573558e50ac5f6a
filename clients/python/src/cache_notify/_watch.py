"""The SQL of migrations: what watches a table, and what ends that.

Literals, not parameters: migration tools show their SQL, and write it into files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def literal(value: object) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"ARRAY[{', '.join(literal(item) for item in value)}]::text[]"
    if not isinstance(value, str):
        raise TypeError(f"an option must be text, a number, a boolean or a list: {value!r}")
    quoted = value.replace("'", "''")
    # In hexadecimal digits, so that no tool takes it for an escape of its own.
    return "E'" + quoted.replace("\\", "\\x5c") + "'" if "\\" in value else f"'{quoted}'"


def setup_sql(table: str, domain: str | None, options: Mapping[str, Any]) -> str:
    """table: as SQL writes it, quoted where need be."""
    arguments = [f"{literal(table)}::regclass"]
    if domain is not None:
        arguments.append(f"domain_name => {literal(domain)}")
    for name, value in options.items():
        if not name.isidentifier():
            raise TypeError(f"no option can have the name {name!r}")
        arguments.append(f"{name} => {literal(value)}")
    return f"SELECT cache_notify.setup_table_invalidation({', '.join(arguments)})"


def remove_sql(table: str, domain: str | None) -> str:
    domain_name = "" if domain is None else f", domain_name => {literal(domain)}"
    return (f"SELECT cache_notify.remove_table_invalidation("
            f"{literal(table)}::regclass{domain_name}, if_exists => true)")
