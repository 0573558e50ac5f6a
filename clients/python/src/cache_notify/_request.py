"""What a caller asks for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from ._codec import name_text
from ._names import fill_name, names, tenant_text


class Options(NamedTuple):
    """How; see Cache.get()."""

    ttl: float | None = None
    fresh: bool = False
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0


class Request(NamedTuple):
    """What: entry tells the result apart in this process, called in others, and names
    are what it is made from."""

    entry: Hashable
    tenant: str | None
    names: tuple[str, ...]
    called: Any

    @classmethod
    def of(cls, name: Hashable, reads: Sequence[str], tenant: Any,
           called: Any = None) -> Request:
        """Checks it: TypeError for what cannot be meant."""
        if name is None:
            raise TypeError("the name of a result must not be None")
        text, told = tenant_text(tenant), names(reads)
        # Cache.get() makes the same entry for its hits.
        return cls((name, text, tuple(reads)), text, told, name if called is None else called)

    def shared_name(self) -> str | None:
        """The name that all processes know the result by, None if there is none."""
        return name_text((self.called, self.tenant, self.names))


class _Own:
    """The label of a function that no name tells from others."""


def label_of(function: Callable[..., Any]) -> Hashable:
    """What tells a function from others. Those that are made within a function have its
    name, however many are made, and with whatever they enclose; so have lambdas."""
    if "<" in function.__qualname__:
        return _Own()
    return f"{function.__module__}.{function.__qualname__}"


def requests_of(function: Callable[..., Any], label: Hashable, reads: Sequence[str],
                tenant: Any) -> Callable[..., Request]:
    """How a call of a cached function becomes a request: by its arguments, of which the
    first is the database. They are remembered, as hits should cost little."""
    signature = inspect.signature(function)
    templates = tuple(reads)
    placeholder = isinstance(tenant, str) and tenant.startswith("{") and tenant.endswith("}")

    # typed: 1, True and 1.0 are equal, and three results.
    @functools.lru_cache(maxsize=10_000, typed=True)
    def request(*args: Any, **kwargs: Any) -> Request:
        bound = signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        del arguments[next(iter(arguments))]
        read = tuple(fill_name(template, arguments) for template in templates)
        told_apart = tuple((name, type(value), value) for name, value in arguments.items())
        return Request.of((label, *told_apart), read,
                          arguments[tenant[1:-1]] if placeholder else tenant,
                          (label, *arguments.values()))

    return request
