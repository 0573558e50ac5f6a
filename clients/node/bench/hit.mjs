// What a hit costs, as a ratio to LRUCache.get() in the same run: medians of rounds that
// alternate. Run with the package installed and a server that PGHOST leads to; it makes nothing
// but a temporary database of the name client_hit.
import { LRUCache } from 'lru-cache'
import pg from 'pg'
import { Cache } from 'cache-notify'

async function admin(...statements) {
  const client = new pg.Client({ database: 'postgres' })
  await client.connect()
  for (const statement of statements) await client.query(statement)
  await client.end()
}

await admin('DROP DATABASE IF EXISTS client_hit', 'CREATE DATABASE client_hit')
const pool = new pg.Pool({ database: 'client_hit' })
await pool.query(`CREATE EXTENSION cache_notify; CREATE TABLE t (id int PRIMARY KEY, tenant_id text);
  SELECT cache_notify.setup_table_invalidation('t')`)
const cache = new Cache({ listen: { database: 'client_hit' } })
await cache.waitUntilListening()
const plain = new LRUCache({ max: 1000 })
plain.set('x', 1)
const options = { reads: ['t'], tenant: 'acme' }

// A plain cache behind the same kind of call: every get() of ours is a promise.
const plainly = async () => plain.get('x')
const hit = () => cache.get(pool, 'x', () => 1, options)
const load = cache.cached(async function load() { return 1 }, options)
const decorated = () => load(pool, 'x')

async function time(call, rounds = 100_000) {
  const began = performance.now()
  for (let i = 0; i < rounds; i++) await call()
  return ((performance.now() - began) / rounds) * 1e6
}

function timeBare(rounds = 100_000) {
  const began = performance.now()
  let sum = 0
  for (let i = 0; i < rounds; i++) sum += plain.get('x')
  return sum > 0 ? ((performance.now() - began) / rounds) * 1e6 : NaN
}

const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1]
const figures = { bare: [], promise: [], get: [], cached: [] }
for (const call of [plainly, hit, decorated]) await time(call)
for (let round = 0; round < 9; round++) {
  figures.bare.push(timeBare())
  figures.promise.push(await time(plainly))
  figures.get.push(await time(hit))
  figures.cached.push(await time(decorated))
}
const [bare, promise, get, cached] = Object.values(figures).map(median)
console.log(
  `hit: get() ${get.toFixed(0)} ns, cached() ${cached.toFixed(0)} ns; LRUCache.get() ${bare.toFixed(0)} ns, ` +
    `awaited ${promise.toFixed(0)} ns: ${(get / promise).toFixed(2)} times an awaited one, ` +
    `${(get / bare).toFixed(1)} times a bare one`,
)
await cache.close()
await pool.end()
await admin('DROP DATABASE client_hit WITH (FORCE)')
