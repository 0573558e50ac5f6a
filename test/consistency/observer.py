"""Hears every notification, and tells in the end which were missing."""

import psycopg

from protocols import NearCache


class Observer(NearCache):
    """A cache without entries: it remembers the highest version of each key.
    It has no heartbeat, so what no notification said it does not know."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.baseline = {}
        super().__init__(f"host={cluster.primary_host} user=postgres dbname=postgres",
                         heartbeat=1e6, max_entries=1_000_000)

    def _follow(self, connection):
        super()._follow(connection)

    def _reset(self):
        """Nothing heard so far counts: what has happened by now is known."""
        super()._reset()
        with psycopg.connect(self._primary) as connection:
            self.baseline = self.versions(connection)

    @staticmethod
    def versions(connection):
        return {(tenant, domain): version for tenant, domain, version in connection.execute(
            "SELECT tenant_id, domain, version FROM cache_notify.domain_version")}

    def compare(self):
        """Once everybody has stopped: how many keys were last heard of with a
        version below the present one, and how many above it."""
        with psycopg.connect(self._primary, autocommit=True) as connection:
            connection.execute("SELECT cache_notify.invalidate('end')")
            self.wait_for("end", connection)
            actual = self.versions(connection)
        lost = spurious = 0
        with self._lock:
            for key, version in actual.items():
                heard = max(self._heard.get(key, 0), self.baseline.get(key, 0))
                shared = max(self._heard.get((None, key[1]), 0), self.baseline.get((None, key[1]), 0))
                print(key, heard, version, shared) if heard < version else None
                lost += heard < version
                spurious += heard > version
            spurious += sum(key not in actual for key in self._heard)
        return lost, spurious
