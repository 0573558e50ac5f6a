"""Texts for what callers name: tenants, domains and keys.

The server makes them canonical (a uuid in capitals, 1.50 for 1.5); here they only
become text, and what cannot be meant is an error.
"""

from __future__ import annotations

import decimal
import enum
import string
import uuid
from collections.abc import Iterable, Mapping
from typing import Any


class Whole(enum.Enum):
    """The type of WHOLE_DOMAIN."""

    WHOLE_DOMAIN = "whole domain"


#: The default of tenant: the result is of the whole domain, whichever tenant's.
WHOLE_DOMAIN = Whole.WHOLE_DOMAIN

_texts: dict[type, Any] = {
    str: str,
    int: str,
    uuid.UUID: str,
    decimal.Decimal: lambda value: format(value, "f"),
}


def tenant_text(tenant: object) -> str | None:
    """The text of a tenant; None for the whole domain.

    Takes str, int, UUID and Decimal. None is an error: a tenant that somebody
    forgot must not become everybody's result."""
    if tenant is WHOLE_DOMAIN:
        return None
    text = _texts.get(type(tenant))
    if text is None:
        raise TypeError(
            f"tenant must be str, int, UUID or Decimal, not {type(tenant).__name__}; "
            "leave it out for a result over all tenants"
        )
    return text(tenant)  # type: ignore[no-any-return]


def key_part(value: object) -> str:
    """The text of a value within a key, escaped as names are: % and / only."""
    text = _texts.get(type(value))
    if text is None:
        raise TypeError(f"a key must be str, int, UUID or Decimal, not {type(value).__name__}")
    return text(value).replace("%", "%25").replace("/", "%2F")  # type: ignore[no-any-return]


def domain_of(name: str) -> str:
    """The domain of a name: of '50%25/1' it is '50%'."""
    return name.partition("/")[0].replace("%2F", "/").replace("%25", "%")


def names(reads: Iterable[str]) -> tuple[str, ...]:
    """The names of what a result is made from, checked and sorted."""
    if isinstance(reads, str):
        raise TypeError(f"reads must be a list of names, not a string: reads=[{reads!r}]")
    found = tuple(sorted(set(reads)))
    if not found:
        raise ValueError("reads must name at least one domain")
    for name in found:
        if not isinstance(name, str) or not name:
            raise TypeError(f"reads must be names such as 'price' or 'price/42', not {name!r}")
    return found


class _KeyFormatter(string.Formatter):
    """Fills '{id}' in the names of reads with escaped parts of keys."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion is not None:
            raise ValueError("names in reads take no conversions such as {id!r}")
        return key_part(value)


_key_formatter = _KeyFormatter()


def fill_name(template: str, arguments: Mapping[str, object]) -> str:
    """'product/{id}' and {'id': 42} -> 'product/42'."""
    return _key_formatter.vformat(template, (), arguments)
