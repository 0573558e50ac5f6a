"""cache_notify in Django projects.

    INSTALLED_APPS = [..., "cache_notify.django"]   # for the system check

    from cache_notify.django import cached, cached_view

    @cached(reads=["product/{id}"])
    def product(id): return Product.objects.values().get(pk=id)

    @cached_view(reads=["product", "category"])
    def catalogue(request): ...

Migrations watch tables with cache_notify.django.operations.WatchTable.
"""

from ._cache import cached, get_cache, set_cache
from ._views import cached_view

__all__ = ["cached", "cached_view", "get_cache", "set_cache"]
