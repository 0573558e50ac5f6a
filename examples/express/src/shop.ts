/**
 * A shop in Express whose pages are kept in memory, and never stale.
 *
 *     tools/with-server sh -c 'psql -qf examples/express/schema.sql && node examples/express/build/src/main.js'
 *
 * Then look at http://127.0.0.1:3000/acme, change a price there or in psql, and look again: at
 * the foot of the page stands what the cache did.
 */
import { Cache, explain } from 'cache-notify'
import express from 'express'
import type { Express, Request, Response } from 'express'
import type { Pool } from 'pg'

interface Product {
  id: number
  name: string
  price: string
}

/** Express's own parameters may be lists; ours are not. */
type Params = Record<string, string>

export function makeApp(pool: Pool, cache: Cache): Express {
  const app = express()
  app.use(express.urlencoded({ extended: false }))

  /** Says only whose rows it reads: what the statement reads, the server finds out. */
  const catalogue = (tenant: string): Promise<Product[]> =>
    cache.query<Product>(
      pool,
      'SELECT id, name, price FROM product WHERE tenant_id = $1 ORDER BY id',
      [tenant],
      { tenant },
    )

  /** Made from one row: changes of others leave it where it is. */
  const product = cache.cached(
    async function product(db: Pool, tenant: string, id: number): Promise<Product | undefined> {
      const sql = 'SELECT id, name, price FROM product WHERE tenant_id = $1 AND id = $2'
      return (await db.query<Product>(sql, [tenant, id])).rows[0]
    },
    { reads: (_, __, id) => [`product/${id}`], tenant: (_, tenant) => tenant },
  )

  app.get('/metrics', (_, response) => {
    response.type('text/plain').send(cache.metrics.prometheus())
  })

  app.get('/:tenant', async (request: Request<Params>, response: Response) => {
    const tenant = request.params['tenant'] ?? ''
    const [products, what] = await explain(() => catalogue(tenant))
    const rows = products.map(
      ({ id, name, price }) =>
        `<tr><td><a href="/${encodeURIComponent(tenant)}/${id}">${escape(name)}</a><td>${price}`,
    )
    response.send(page(`Products of ${tenant}`, `<table>${rows.join('')}</table>`, `catalogue: ${what}`))
  })

  app.get('/:tenant/:id', async (request: Request<Params>, response: Response) => {
    const { tenant = '', id = '' } = request.params
    const [row, what] = await explain(() => product(pool, tenant, Number.parseInt(id, 10) || 0))
    if (row === undefined) {
      response.sendStatus(404)
      return
    }
    const form =
      `<form method="post"><input name="price" value="${row.price}">` +
      '<button>Change the price</button></form>'
    response.send(page(row.name, form, `product/${id}: ${what}`))
  })

  app.post('/:tenant/:id', async (request: Request<Params>, response: Response) => {
    const { tenant = '', id = '' } = request.params
    const price = Number((request.body as { price?: string }).price)
    if (!(price > 0)) {
      response.sendStatus(422)
      return
    }
    // Whoever follows the redirect sees the new price, even before it is delivered here.
    await cache.writing(
      () =>
        pool.query('UPDATE product SET price = $1 WHERE tenant_id = $2 AND id = $3', [
          price,
          tenant,
          Number.parseInt(id, 10) || 0,
        ]),
      { changes: ['product'], tenant },
    )
    response.redirect(303, request.originalUrl)
  })

  return app
}

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)

const page = (title: string, body: string, told: string): string =>
  `<!DOCTYPE html><title>${escape(title)}</title><h1>${escape(title)}</h1>${body}` +
  `<footer>${escape(told)}</footer>`
