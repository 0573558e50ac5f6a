"""Connections to Redis or Valkey, for whatever needs one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from ._errors import ConfigurationError

SCHEMES = ("redis://", "rediss://", "unix://")

# What keys and channels begin with, unless the URL says ?name=...
NAME = "cache_notify"


def is_redis_url(text: str) -> bool:
    return text.startswith(SCHEMES)


def split_name(url: str) -> tuple[str, str]:
    """The URL without ?name=, and the name that it told."""
    server, _, query = url.partition("?")
    settings = dict(parse_qsl(query))
    name = settings.pop("name", NAME)
    return server + ("?" + urlencode(settings) if settings else ""), name


def connect(url: str, timeout: float) -> Any:
    """A client that waits at most so many seconds for an answer, and tries nothing twice:
    whoever uses it must know that a connection was lost. ConfigurationError if the package
    redis is missing, or for a URL that it does not understand."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigurationError(
            "the package redis is missing: pip install 'cache-notify[redis]'") from error
    options: dict[str, Any] = {"socket_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    if not url.startswith("unix://"):
        options.update(socket_connect_timeout=timeout, socket_keepalive=True)
    try:
        return redis.Redis.from_url(url, **options)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"not a URL of Redis: {error}") from error
