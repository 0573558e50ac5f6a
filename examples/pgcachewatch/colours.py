"""A function whose results PGCacheWatch caches until the table changes. Only the
set-up differs from what its documentation says: no "pgcachewatch install"."""

import asyncio

import asyncpg
from pgcachewatch import decorators, listeners, strategies


async def main():
    connection = await asyncpg.connect()  # PGHOST and the like say where
    await connection.execute("""
        CREATE EXTENSION IF NOT EXISTS cache_notify;
        CREATE TABLE colour (id int PRIMARY KEY, name text);
        INSERT INTO colour VALUES (1, 'red');
        SELECT cache_notify.setup_table_invalidation('colour', payload => 'pgcachewatch');
    """)

    listener = listeners.PGEventQueue()
    await listener.connect(connection)

    @decorators.cache(strategies.Greedy(listener), statistics_callback=print)
    async def colours():
        return await connection.fetchval("SELECT string_agg(name, ', ') FROM colour")

    print(await colours())
    print(await colours())
    await connection.execute("UPDATE colour SET name = 'scarlet'")
    while listener.empty():
        await asyncio.sleep(0.01)
    print(await colours())
    await connection.close()


asyncio.run(main())
