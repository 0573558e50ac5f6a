"""The protocols that the checker can run: ours, and three that are wrong, to show
that the checker would notice."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples/near_cache_python"))
from near_cache import NearCache  # noqa: E402


class NotifyOnly(NearCache):
    """Drops on NOTIFY, without versions: a fill that is under way when its
    notification arrives is stored afterwards."""

    def _hear(self, tenant, domain, version, keys=None):
        with self._lock:
            for entries in list(self._watching.get((tenant, domain), {}).values()):
                for key in list(entries):
                    self._drop(key)


class QueryFirst(NearCache):
    """Runs the query first and reads the versions afterwards: a change in
    between puts the old result under the new version."""

    def get(self, connection, tenant, domains, name, load, **options):
        results = []
        self._load_early = lambda: results.append(load(connection))
        return super().get(connection, tenant, domains, name, lambda _: results[-1], **options)

    def _ask(self, connection, tenant, domains):
        self._load_early()
        return super()._ask(connection, tenant, domains)


class ForgetsKeys(NearCache):
    """Drops by key, but does not remember of which keys it was told: a fill that
    is under way then is stored afterwards."""

    def _floor(self, part):
        return 0 if part.key is not None else super()._floor(part)


PROTOCOLS = {"full": NearCache, "notify_only": NotifyOnly, "query_first": QueryFirst,
             "forgets_keys": ForgetsKeys}
