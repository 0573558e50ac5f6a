"""Pages that are kept until what they show changes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .._names import WHOLE_DOMAIN, fill_name
from ._cache import get_cache

F = TypeVar("F", bound=Callable[..., Any])

# What the response says of how it was made; another one's must not be told.
_PASSED_ON = ("content-type", "content-language", "content-disposition", "etag",
              "last-modified", "location", "link")


class _NotKept(Exception):
    """Carries a response past the cache."""

    def __init__(self, response: HttpResponseBase) -> None:
        super().__init__()
        self.response = response


def cached_view(reads: Sequence[str], tenant: Any = WHOLE_DOMAIN, *,
                vary: Callable[[HttpRequest], Any] | None = None,
                vary_on: Sequence[str] = (), using: str = "default", ttl: float | None = None,
                stale_while_revalidate: float = 0.0,
                stale_if_error: float = 0.0) -> Callable[[F], F]:
    """A decorator for views: keeps the response to GET, by its whole URL, until a domain
    of reads changes.

    reads may name the view's arguments ('product/{id}'), tenant as well, or be a function
    of the request and these. vary: what else tells pages apart, such as
    `lambda request: request.user.pk`; hashable. vary_on: request headers that do.

    Kept is only what anybody with the same URL and vary may see: a response of status
    200 that sets no cookie, is not streamed, has no `Cache-Control: private` or
    `no-store`, and no Vary beyond vary_on. Without vary, a view that looked at the
    session, the user or the CSRF token is not kept either. The response has the header
    X-Cache-Notify: hit, miss, or uncacheable."""

    def decorate(view: F) -> F:
        if inspect.iscoroutinefunction(view):
            raise TypeError("Django's connections are synchronous: wrap a function")
        label = f"{view.__module__}.{view.__qualname__}"
        placeholder = isinstance(tenant, str) and tenant.startswith("{") and tenant.endswith("}")

        @functools.wraps(view)
        def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method not in ("GET", "HEAD"):
                return view(request, *args, **kwargs)
            arguments = inspect.signature(view).bind(request, *args, **kwargs).arguments
            named = {**arguments, **arguments.get("kwargs", {})}
            if callable(tenant):
                whose = tenant(request, *args, **kwargs)
            else:
                whose = named[tenant[1:-1]] if placeholder else tenant
            name = (label, request.method, request.build_absolute_uri(),
                    None if vary is None else vary(request),
                    tuple(request.headers.get(header, "") for header in vary_on))
            made = []

            def load(_: Any) -> Any:
                made.append(True)
                response = view(request, *args, **kwargs)
                if hasattr(response, "render") and callable(response.render):
                    response = response.render()
                if not _may_keep(request, response, vary is not None, vary_on):
                    raise _NotKept(response)
                return (response.status_code, bytes(response.content),
                        [(header, value) for header, value in response.items()
                         if header.lower() in _PASSED_ON or header.lower() == "vary"])

            try:
                status, content, headers = get_cache(using).get(
                    connections[using], name, load, ttl=ttl, tenant=whose,
                    reads=[fill_name(template, named) for template in reads],
                    stale_while_revalidate=stale_while_revalidate, stale_if_error=stale_if_error)
            except _NotKept as kept_not:
                kept_not.response["X-Cache-Notify"] = "uncacheable"
                return kept_not.response
            response = HttpResponse(content, status=status)
            for header, value in headers:
                response[header] = value
            response["X-Cache-Notify"] = "miss" if made else "hit"
            return response

        return call  # type: ignore[return-value]

    return decorate


def _may_keep(request: HttpRequest, response: HttpResponseBase, varies: bool,
              vary_on: Sequence[str]) -> bool:
    if response.status_code != 200 or response.streaming or response.cookies:
        return False
    control = response.get("Cache-Control", "").lower()
    if "private" in control or "no-store" in control:
        return False
    known = {header.lower() for header in vary_on} | ({"cookie"} if varies else set())
    vary = {header.strip().lower() for header in response.get("Vary", "").split(",")} - {""}
    if not vary <= known:
        return False
    if request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
        return False
    session = getattr(request, "session", None)
    return varies or session is None or not session.accessed
