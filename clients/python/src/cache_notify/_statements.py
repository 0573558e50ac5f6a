"""query(): the server finds out what a statement reads, and the cache remembers it."""

from __future__ import annotations

import datetime
import decimal
import logging
import re
import uuid
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _steps
from ._adapters import Adapter
from ._explain import tell
from ._names import tenant_text
from ._nesting import loadings, may_take, took
from ._request import Options, Request

if TYPE_CHECKING:
    from ._base import Base
    from ._core import Entry
    from ._course import Course

log = logging.getLogger("cache_notify")

# Statements that are remembered.
MAX_STATEMENTS = 10_000

DEPENDENCIES = """
    SELECT d.certainty, d.source, d.reason,
           CASE d.certainty WHEN 'definition' THEN d.domain
                ELSE cache_notify.key_name(d.domain) END
    FROM cache_notify.domains_of({0}::text) d"""

# Whose changes are told. Of anything else the result may change without.
CACHEABLE = {"exact", "definition"}


@dataclass(frozen=True)
class Statement:
    """What a statement reads; names is empty if its result cannot be cached."""

    text: str
    names: tuple[str, ...]
    why_not: str


def held(cache: Base, adapter: Adapter, statement: Any, parameters: Any, tenant: Any) -> Entry | None:
    """The entry of a statement that memory has, and may give. On the path of every hit."""
    if type(statement) is not str:
        return None
    known = cache._statements.get((statement, parameters is None))
    if known is None or not known.names or adapter.in_transaction():
        return None
    text = tenant if type(tenant) is str else tenant_text(tenant)
    place = known.text, None, str, _hashable(parameters), adapter.row_form()
    entry = cache.core.find((place, text, known.names))
    return entry if entry is not None and (not loadings() or may_take(entry)) else None


def query(cache: Base, adapter: Adapter, statement: Any, parameters: Any, tenant: Any,
          options: Options) -> Course[Any]:
    """The rows of a statement that memory does not have."""
    text, more = adapter.told(statement)
    # Taken before what is remembered is looked at: a definition that moves from now on
    # keeps the result from being stored.
    ticket = cache.core.ticket()
    known = cache._statements.get((text, parameters is None))
    if known is None:
        known = yield from _analyse(cache, adapter, text, parameters)
    if not known.names:
        tell("misses", "")
        cache.metrics.count("refusals", "uncacheable_statement")
        tell("why", known.why_not)
        took((), None)
        return (yield lambda: adapter.query(statement, parameters))
    place = known.text, None if more is None else _hashable(more), type(statement), _hashable(parameters), adapter.row_form()
    called = ("query", text, parameters if more is None else (parameters, more), adapter.row_shape())
    request = Request.of(place, known.names, tenant, called)
    if type(statement) is not str and not options.fresh and not adapter.in_transaction():
        entry = cache.core.find(request.entry)
        if entry is not None and may_take(entry):
            return cache._copied(entry.value)

    def load(_: Any) -> Any:
        return adapter.query(statement, parameters)

    return (yield from _steps.get(cache, adapter, request, load, options, ticket))


def _analyse(cache: Base, adapter: Adapter, text: str, parameters: Any) -> Course[Statement]:
    generation = cache._statements_generation
    # Without parameters drivers with %s send the statement as it is.
    as_it_is = parameters is None and adapter.placeholders == "percent"
    asked = text if as_it_is else for_server(text, adapter.placeholders)
    rows = yield lambda: adapter.run(DEPENDENCIES, [asked])
    why_not = "; ".join(sorted({
        f"{source or 'an expression'}: {reason or certainty}"
        for certainty, source, reason, _ in rows if certainty not in CACHEABLE}))
    names = () if why_not else tuple(sorted({name for *_, name in rows if name}))
    if not names and not why_not:
        why_not = "it reads nothing that is watched"
    found = Statement(text, names, why_not)
    if why_not:
        log.warning("not cached: %s (%s)", " ".join(text.split())[:200], why_not)
    with cache._statements_lock:
        if generation == cache._statements_generation:
            if len(cache._statements) >= MAX_STATEMENTS:
                cache._statements.clear()
            cache._statements[text, parameters is None] = found
    return found


_PERCENT = re.compile(r"%(?:%|s|b|t|\((\w+)\)[sbt])")
_NAMED = re.compile(r"(?<![:\w\\]):(\w+)")


def for_server(statement: str, placeholders: str) -> str:
    """The statement with $1, $2 ... for parameters, as the server knows them."""
    numbers: dict[str, int] = {}

    def number(name: str) -> str:
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    def percent(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        return number(found[1] or f" {found.start()}")

    if placeholders == "percent":
        return _PERCENT.sub(percent, statement)
    if placeholders == "named":
        return _NAMED.sub(lambda found: number(found[1]), statement).replace(r"\:", ":")
    return statement


# Values of these types that are equal are the same to the server, too.
_PLAIN = frozenset({str, int, bool, type(None), bytes, uuid.UUID, datetime.date})


def _hashable(parameters: Any) -> Hashable:
    """Parameters as they tell results apart: 1, True and '1' are three, and so are
    Decimal('1.0') and Decimal('1.00')."""
    kind = type(parameters)
    if kind is list or kind is tuple:
        kinds = tuple(map(type, parameters))
        if _PLAIN.issuperset(kinds):
            return kinds, tuple(parameters)
    if isinstance(parameters, dict):
        return tuple((name, _hashable(parameters[name])) for name in sorted(parameters))
    if isinstance(parameters, (list, tuple)):
        return kind, tuple(_hashable(value) for value in parameters)
    if isinstance(parameters, (float, decimal.Decimal, datetime.datetime, datetime.time)):
        return kind, repr(parameters)
    return kind, parameters
