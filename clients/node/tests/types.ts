// What an application's compiler must accept, and what it must refuse; see ../test.
import { Cache, ConfigurationError, key } from 'cache-notify'
import type { Name } from 'cache-notify'
import pg from 'pg'

const pool = new pg.Pool()
const cache = new Cache({ listen: 'postgres://primary/shop', ttl: 300_000 })

interface Product {
  name: string
}

const product = cache.cached(
  async function product(db: pg.Pool, tenant: string, id: number): Promise<Product> {
    return (await db.query<Product>('SELECT name FROM product WHERE id = $1', [id])).rows[0] as Product
  },
  { reads: (_db, _tenant, id) => [key('product', id)], tenant: (_db, tenant): Name => tenant },
)

export async function main(): Promise<string> {
  const one: Product = await product(pool, 'acme', 42)
  const all: number = await cache.get(pool, 'all', async (db) => (await db.query('SELECT 1')).rowCount ?? 0, {
    reads: ['price'],
    tenant: 'acme',
  })
  const rows = await cache.query<Product>(pool, 'SELECT name FROM product', [], { tenant: 'acme' })
  // @ts-expect-error: the name of a product is no number
  const wrong: number = (await product(pool, 'acme', 42)).name
  // @ts-expect-error: reads are needed
  await cache.get(pool, 'all', () => 1, { tenant: 'acme' })
  // @ts-expect-error: undefined is no tenant
  await cache.get(pool, 'all', () => 1, { reads: ['price'], tenant: undefined })
  if (cache.failure instanceof ConfigurationError) await cache.close()
  return one.name + String(all) + (rows[0]?.name ?? '') + String(wrong)
}
