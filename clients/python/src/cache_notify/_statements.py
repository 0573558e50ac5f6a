"""query(): the server finds out what a statement reads, and the cache remembers it."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _steps
from ._adapters import Adapter
from ._explain import tell
from ._nesting import may_take, took
from ._request import Options, Request

if TYPE_CHECKING:
    from ._base import Base
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

    names: tuple[str, ...]
    why_not: str


def query(cache: Base, adapter: Adapter, statement: Any, parameters: Any, tenant: Any,
          options: Options) -> Course[Any]:
    text = str(statement)
    told_apart = _hashable(parameters)
    shape = adapter.row_shape()
    place = ("query", text, type(statement), told_apart, shape)
    # Taken before what is remembered is looked at: a definition that moves from now on
    # keeps the result from being stored.
    ticket = cache.core.ticket()
    known = cache._statements.get(text)
    if known is None:
        known = yield from _analyse(cache, adapter, text)
    if not known.names:
        tell("misses", "")
        cache.metrics.count("refusals", "uncacheable_statement")
        tell("why", known.why_not)
        took((), None)
        return (yield lambda: adapter.query(statement, parameters))
    request = Request.of(place, known.names, tenant, ("query", text, parameters, shape))
    if not options.fresh and not adapter.in_transaction():
        entry = cache.core.find(request.entry)
        if entry is not None and may_take(entry):
            return cache._copied(entry.value)

    def load(_: Any) -> Any:
        return adapter.query(statement, parameters)

    return (yield from _steps.get(cache, adapter, request, load, options, ticket))


def _analyse(cache: Base, adapter: Adapter, text: str) -> Course[Statement]:
    generation = cache._statements_generation
    rows = yield lambda: adapter.run(DEPENDENCIES, [for_server(text, adapter.placeholders)])
    why_not = "; ".join(sorted({
        f"{source or 'an expression'}: {reason or certainty}"
        for certainty, source, reason, _ in rows if certainty not in CACHEABLE}))
    names = () if why_not else tuple(sorted({name for *_, name in rows if name}))
    if not names and not why_not:
        why_not = "it reads nothing that is watched"
    found = Statement(names, why_not)
    if why_not:
        log.warning("not cached: %s (%s)", " ".join(text.split())[:200], why_not)
    if generation == cache._statements_generation:
        if len(cache._statements) >= MAX_STATEMENTS:
            cache._statements.clear()
        cache._statements[text] = found
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


def _hashable(parameters: Any) -> Hashable:
    """Parameters as they tell results apart: 1, True and '1' are three."""
    if isinstance(parameters, dict):
        return tuple((name, _hashable(parameters[name])) for name in sorted(parameters))
    if isinstance(parameters, (list, tuple)):
        return tuple(_hashable(value) for value in parameters)
    return type(parameters), parameters
