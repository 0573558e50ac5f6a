"""Results in FraiseQL's PostgresCache, served as long as their domains' versions
stay. Nothing differs from what its documentation says."""

import asyncio
import uuid

import psycopg
from fraiseql.caching import PostgresCache
from psycopg_pool import AsyncConnectionPool

TENANT = uuid.UUID(int=1)


async def names(cache, database):
    result, then = await cache.get_with_metadata("names")
    now = await cache.get_domain_versions(TENANT, ["user"])
    if result is not None and then == now:
        return "cached", result
    cursor = await database.execute("SELECT name FROM tb_user WHERE tenant_id = %s", [TENANT])
    result = [row[0] for row in await cursor.fetchall()]
    await cache.set("names", result, ttl=3600, versions=now)
    return "queried", result


async def main():
    database = await psycopg.AsyncConnection.connect(autocommit=True)
    await database.execute("CREATE EXTENSION IF NOT EXISTS pg_fraiseql_cache CASCADE")
    await database.execute("CREATE TABLE tb_user (tenant_id uuid, name text)")
    async with AsyncConnectionPool(open=False) as pool:
        cache = PostgresCache(pool)
        await cache.cleanup_expired()       # looks for the extension
        await cache.setup_table_trigger("tb_user")
        await database.execute("INSERT INTO tb_user VALUES (%s, 'ann')", [TENANT])
        print(*await names(cache, database))
        print(*await names(cache, database))
        await database.execute("UPDATE tb_user SET name = 'anna'")
        print(*await names(cache, database))
    await database.close()


asyncio.run(main())
