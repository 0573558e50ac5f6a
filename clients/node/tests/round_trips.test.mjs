// How often the server is asked, counted at a proxy: a hit not at all, a miss once more than the
// query, whichever library asks.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { adapterOf } from '../node_modules/cache-notify/dist/esm/adapters.js'
import { kinds } from './kinds.mjs'
import { scenario } from './common.mjs'

const price = { reads: ['price'], tenant: 'acme' }

/** Runs play(where it listens, trips()): counts how often a client spoke after the server had. */
async function proxied(play) {
  const folder = mkdtempSync(join(tmpdir(), 'cache_notify.'))
  let trips = 0
  const server = createServer((near) => {
    const far = createConnection(`${process.env.PGHOST}/.s.PGSQL.${process.env.PGPORT}`)
    let serverSpoke = true
    near.on('data', (data) => {
      if (serverSpoke) trips += 1
      serverSpoke = false
      far.write(data)
    })
    far.on('data', (data) => {
      serverSpoke = true
      near.write(data)
    })
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on('error', () => other.destroy()).on('close', () => other.destroy())
    }
  })
  await new Promise((done) => server.listen(join(folder, '.s.PGSQL.5432'), done))
  try {
    await play({ host: folder, port: 5432 }, () => trips)
  } finally {
    server.close()
    rmSync(folder, { recursive: true })
  }
}

for (const [kind, make] of Object.entries(kinds)) {
  test(kind, () =>
    proxied((where, trips) =>
      scenario(async ({ config, cache }) => {
        const { db, sum, end, alwaysAsks } = await make({ ...config, ...where })
        const of = async (call) => {
          const before = trips()
          await call()
          return trips() - before
        }
        const get = (options) => cache.get(db, 'sum', sum, { ...price, ...options })
        const statement = 'SELECT sum(amount)::int AS sum FROM price WHERE tenant_id = $1'
        const query = () => cache.query(db, statement, ['acme'], { tenant: 'acme' })
        try {
          for (let i = 0; i < 3; i++) {
            await sum(db)
            await get({ fresh: true })
            await query()
          }
          const plain = await of(() => sum(db))
          cache.forgetAll()
          // What may be in a transaction is asked once more: the loader may have written.
          assert.equal(await of(get), plain + (alwaysAsks ? 2 : 1))
          assert.equal(await of(get), alwaysAsks ? 1 : 0)
          assert.equal(await of(() => get({ fresh: true })), 1)
          const itself = await of(() => adapterOf(db).query(statement, ['acme']))
          assert.equal(await of(query), itself + (alwaysAsks ? 2 : 1))
          assert.equal(await of(query), alwaysAsks ? 1 : 0)
        } finally {
          await end()
        }
      })))
}
