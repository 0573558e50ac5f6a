"""The protocols that the checker can run: ours, and two that are common and
wrong, to show that the checker would notice."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples/near_cache_python"))
from near_cache import Entry, NearCache  # noqa: E402


class NotifyOnly(NearCache):
    """Drops on NOTIFY, without versions: a fill that is under way when its
    notification arrives is stored afterwards."""

    def _hear(self, tenant, domain, version):
        with self._lock:
            for key in list(self._watching.get((tenant, domain), ())):
                self._drop(key)


class QueryFirst(NearCache):
    """Runs the query first and reads the versions afterwards: a change in
    between puts the old result under the new version."""

    def get(self, connection, tenant, domains, name, load, fresh=False, primary=None):
        entry = self._entries.get((tenant, name))
        if entry and not fresh and time.monotonic() < self._lease_ends:
            return entry.value
        generation = self._generation
        if entry and fresh and entry.token == self._ask(connection, tenant, domains)[0]:
            return entry.value
        value = load(connection)
        token, _, versions = self._ask(connection, tenant, domains)
        if token is not None:
            self._store((tenant, name), Entry(value, token, versions), generation)
        return value


PROTOCOLS = {"full": NearCache, "notify_only": NotifyOnly, "query_first": QueryFirst}
