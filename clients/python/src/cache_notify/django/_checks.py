"""A system check: is every table watched as it was set up?

As a check of databases it runs with `manage.py check --database default` and before
`migrate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import connections

INSTALLED = "SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'cache_notify'"

PROBLEMS = """
    SELECT coalesce(table_name::text, domain, 'delivery'), enabled, problem
    FROM cache_notify.v_invalidation_status WHERE problem IS NOT NULL ORDER BY 1, 3"""


def check_databases(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Each problem in cache_notify.v_invalidation_status: an error where changes are
    missed, a warning where they only reach more than they need to, or arrive later."""
    found = []
    for alias in databases or ():
        connection = connections[alias]
        if connection.vendor != "postgresql":
            continue
        with connection.cursor() as cursor:
            cursor.execute(INSTALLED)
            if cursor.fetchone() is None:
                found.append(Warning(
                    f"the database {alias!r} has no extension cache_notify: nothing is cached",
                    hint="Add CreateExtension('cache_notify') to a migration.",
                    id="cache_notify.W001"))
                continue
            cursor.execute(PROBLEMS)
            for what, enabled, problem in cursor.fetchall():
                kind, number = (Warning, "W002") if enabled else (Error, "E001")
                found.append(kind(
                    f"{what} in the database {alias!r}: {problem}",
                    hint="See cache_notify.v_invalidation_status. A migration that mends it "
                         "runs with --skip-checks.",
                    id=f"cache_notify.{number}"))
    return found
