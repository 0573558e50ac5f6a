"""What a hit costs, as a ratio to LRUCache.get() in the same run: medians of rounds that
alternate. Run with the package installed and a server that PGHOST leads to; it makes
nothing but a temporary database of the name client_hit."""

import statistics
import sys
import timeit

import psycopg
from cachetools import LRUCache
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

import cache_notify


def main() -> int:
    with psycopg.connect(autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS client_hit")
        admin.execute("CREATE DATABASE client_hit")
    dsn = make_conninfo(dbname="client_hit")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION cache_notify; CREATE TABLE t (id int PRIMARY KEY, tenant_id text);"
                           "SELECT cache_notify.setup_table_invalidation('t')")
    plain: LRUCache[str, int] = LRUCache(1000)
    plain["x"] = 1
    cache = cache_notify.Cache(dsn)
    cache.wait_until_listening()
    reads = ["t"]
    with ConnectionPool(dsn, min_size=1, open=True) as pool:
        def hit() -> int:
            return cache.get(pool, "x", lambda db: 1, reads=reads, tenant="acme")

        hit()
        rounds = 200_000
        ratios = []
        for _ in range(9):
            base = timeit.timeit(lambda: plain.get("x"), number=rounds)
            ratios.append(timeit.timeit(hit, number=rounds) / base)
        print(f"hit: {statistics.median(ratios):.2f} times LRUCache.get(), "
              f"{base / rounds * 1e9:.0f} ns; counted {cache.metrics.snapshot()['hits']} hits")
    cache.close()
    with psycopg.connect(autocommit=True) as admin:
        admin.execute("DROP DATABASE client_hit WITH (FORCE)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
