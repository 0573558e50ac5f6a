"""Hears every notification, and tells in the end which were missing."""

import time

import psycopg

from protocols import Cache, Core


class Observer:
    """A cache without entries: it remembers what it heard last of each key. It
    has no heartbeat, so what no notification said it does not know."""

    def __init__(self, cluster):
        # (tenant, domain) -> its version, and the shared version known by then
        self.known = {}
        self.primary = (f"host={cluster.primary_host} user=postgres dbname=postgres"
                        " application_name=observer")
        observer = self

        class ObservedCore(Core):
            def _hear(self, tenant, domain, version, keys):
                super()._hear(tenant, domain, version, keys)
                observer.note(tenant, domain, version)

            def reset(self, reason="reset"):
                super().reset(reason)
                observer.reset()

        class ObservedCache(Cache):
            _Core = ObservedCore

        self.cache = ObservedCache(self.primary, heartbeat=1e6, lease=1e7)

    def close(self):
        self.cache.close()

    def note(self, tenant, domain, version):
        shared = self.known.get((None, domain), (0, 0))[0] if tenant is not None else 0
        before = self.known.get((tenant, domain), (0, 0))
        # A notification can overtake the rows of a catch-up that did not see its change.
        if version - shared >= before[0] - before[1]:
            self.known[tenant, domain] = version, shared

    def reset(self):
        """Nothing heard so far counts, and what has happened by now is known."""
        self.known.clear()      # a key whose every change was lost is no more
        with psycopg.connect(self.primary) as connection:
            for key, version in self.versions(connection):
                self.note(*key, version)

    @staticmethod
    def versions(connection):
        """All versions there are, the shared ones first."""
        return [((tenant, domain), version) for tenant, domain, version in connection.execute(
            "SELECT tenant_id, domain, version FROM cache_notify.domain_version"
            " ORDER BY tenant_id NULLS FIRST")]

    def compare(self, patience=10):
        """Once everybody has stopped: of how many keys a change was not heard of
        (lost), and of how many one that never was (spurious)."""
        with psycopg.connect(self.primary, autocommit=True) as connection:
            # Whatever is still owed to listeners goes out with this change.
            connection.execute("SELECT cache_notify.invalidate('end')")
            actual = dict(self.versions(connection))
        until = time.monotonic() + patience
        while (lost := self.unheard(actual)) and time.monotonic() < until:
            time.sleep(0.05)
        for key in lost:
            print(f"{key} is at version {actual[key]}, last heard of was {self.known.get(key)}")
        # Definitions are heard of, and are in no view.
        spurious = [key for key, (version, _) in list(self.known.items())
                    if version > actual.get(key, 0) and not key[1].startswith("cache_notify/")]
        return len(lost), len(spurious)

    def unheard(self, actual):
        """A tenant's version includes the shared one, which is heard of apart:
        so the parts of it that are the tenant's own are compared."""
        unheard = []
        for (tenant, domain), version in actual.items():
            shared_now = actual.get((None, domain), 0) if tenant is not None else 0
            heard, shared_then = self.known.get((tenant, domain), (0, 0))
            if heard - shared_then < version - shared_now:
                unheard.append((tenant, domain))
        return unheard
