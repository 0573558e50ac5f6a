"""The caches of a Django project, one for each of its databases."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.conf import settings
from django.db import connections
from psycopg.conninfo import make_conninfo

from .._cache import Cache
from .._names import WHOLE_DOMAIN
from .._request import label_of

F = TypeVar("F", bound=Callable[..., Any])

_lock = threading.Lock()
_caches: dict[tuple[str, Any], Cache] = {}
_set: dict[str, Cache] = {}


def get_cache(using: str = "default") -> Cache:
    """The cache of a database, made when it is first needed.

    Its options are those in settings.CACHE_NOTIFY: {"default": {"ttl": 60}}. "listen" among
    them is needed only if DATABASES leads to a pooler or a standby."""
    return _cache_of(using, connections[using])


def _cache_of(using: str, connection: Any) -> Cache:
    if using in _set:
        return _set[using]
    # A test run changes the name.
    place = using, connection.settings_dict["NAME"]
    cache = _caches.get(place)
    if cache is None:
        with _lock:
            cache = _caches.get(place)
            if cache is None:
                options = dict(getattr(settings, "CACHE_NOTIFY", {}).get(using, {}))
                listen = options.pop("listen", None) or _conninfo(using)
                cache = _caches[place] = Cache(listen, **options)
    return cache


def set_cache(cache: Cache | None, using: str = "default") -> None:
    """Puts a cache of one's own in the place of the database's, for instance a FakeCache in
    tests; None: the database's own again."""
    if cache is None:
        _set.pop(using, None)
    else:
        _set[using] = cache


def _conninfo(using: str) -> str:
    found = connections[using].settings_dict
    told = {"dbname": found["NAME"], "host": found["HOST"], "port": found["PORT"],
            "user": found["USER"], "password": found["PASSWORD"]}
    options = found.get("OPTIONS", {})
    told |= {name: value for name, value in options.items()
             if name.startswith("ssl") or name in ("service", "passfile", "target_session_attrs")}
    return make_conninfo(**{name: str(value) for name, value in told.items() if value})


def cached(reads: Sequence[str], tenant: Any = WHOLE_DOMAIN, *, using: str = "default",
           **options: Any) -> Callable[[F], F]:
    """A decorator for functions that query the database `using`, with whatever arguments.

    reads and tenant may name the function's arguments; options are those of
    Cache.cached(). A list of model instances is one object for all callers: return
    values() or tuples, or set copy=copy.deepcopy in settings.CACHE_NOTIFY."""

    def decorate(function: F) -> F:
        import inspect

        if inspect.iscoroutinefunction(function):
            raise TypeError("Django's connections are synchronous: wrap a function")
        parameters = [*inspect.signature(function).parameters.values()]
        of_cache: dict[int, tuple[Cache, Any]] = {}
        label = label_of(function)
        how = {"name": label if isinstance(label, str) else None, **options}

        def with_db(db: Any, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        first = inspect.Parameter("django_connection", inspect.Parameter.POSITIONAL_ONLY)
        with_db.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            connection = connections[using]
            cache = _cache_of(using, connection)
            held = of_cache.get(id(cache))
            if held is None or held[0] is not cache:
                wrapped = cache.cached(reads, tenant, **how)(with_db)
                held = of_cache[id(cache)] = cache, wrapped
            return held[1](connection, *args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
