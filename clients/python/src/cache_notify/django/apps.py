"""What INSTALLED_APPS finds."""

from __future__ import annotations

from django.apps import AppConfig


class CacheNotifyConfig(AppConfig):  # type: ignore[misc]
    name = "cache_notify.django"
    label = "cache_notify"
    verbose_name = "cache_notify"

    def ready(self) -> None:
        from django.core import checks

        from ._checks import check_databases

        checks.register(check_databases, checks.Tags.database)
