"""Looks at versions and at the rows that they stand for, now and then: a version never goes
back, and one number never stands for two states of the rows. Near caches drop everything when
the history is another one, and so see nothing of this; whoever compares versions by himself,
or has put one into an ETag, relies on it."""

import time

EVERY = 0.3     # seconds between two looks

# In one statement, so of one snapshot.
LOOK = " UNION ALL ".join(
    f"SELECT '{table}', {tenant}, cache_notify.version('{table}', {tenant}),"
    f" array_agg(n ORDER BY cell) FROM {table} GROUP BY 1, 2"
    for table, tenant in (("item", "tenant_id"), ("price", "tenant_id"), ("setting", "NULL::text")))


class Versions:
    def __init__(self):
        self.seen = {}          # (domain, tenant) -> version, state
        self.wrong = 0
        self.next_look = 0

    def look(self, server):
        if time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + EVERY
        for domain, tenant, version, state in server.execute(LOOK):
            before, state_before = self.seen.get((domain, tenant), (version, state))
            if version < before or (version == before and state != state_before):
                self.wrong += 1
                if self.wrong <= 2:
                    print(f"{domain} of {tenant} is at version {version} with {state},"
                          f" and was at {before} with {state_before}", flush=True)
            self.seen[domain, tenant] = version, state
