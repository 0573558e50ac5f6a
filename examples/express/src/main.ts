/** The shop on its port, with the database that PGHOST and the like lead to. */
import { Cache } from 'cache-notify'
import pg from 'pg'
import { makeApp } from './shop.js'

const pool = new pg.Pool()
// A connection that breaks while nobody uses it is replaced by the next one.
pool.on('error', (error) => console.warn(error.message))
// Queries may go through a pooler; LISTEN may not.
const cache = new Cache({ listen: {}, ttl: 300_000 })
const server = makeApp(pool, cache).listen(3000, () => console.log('http://127.0.0.1:3000/acme'))

process.once('SIGTERM', () => {
  server.close()
  void cache.close().then(() => pool.end())
})
