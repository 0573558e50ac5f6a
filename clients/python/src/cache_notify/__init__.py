"""Caches for results of queries that the server itself invalidates: the client package
of the PostgreSQL extension cache_notify.

    from cache_notify import Cache

    cache = Cache("host=primary dbname=shop")

    @cache.cached(reads=["product/{id}", "category"], tenant="{tenant}")
    def product(db, tenant, id): ...

    value = cache.get(db, "all prices", load, reads=["price"], tenant="acme")
    rows = cache.query(db, "SELECT ... WHERE tenant_id = %s", ["acme"], tenant="acme")

AsyncCache is the same for asyncio.
"""

from ._aio import AsyncCache
from ._cache import Cache
from ._codec import Codec, JsonCodec, PickleCodec
from ._errors import CacheError, ConfigurationError, UnsupportedExtension
from ._explain import Explanation, explain
from ._metrics import Metrics
from ._names import WHOLE_DOMAIN
from ._tier import RedisTier

__all__ = [
    "WHOLE_DOMAIN",
    "AsyncCache",
    "Cache",
    "CacheError",
    "Codec",
    "ConfigurationError",
    "Explanation",
    "JsonCodec",
    "Metrics",
    "PickleCodec",
    "RedisTier",
    "UnsupportedExtension",
    "explain",
]

__version__ = "1.0.0"
