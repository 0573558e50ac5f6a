// Each database object that an application may have: a miss, a hit, a change, the application's
// own transaction, and query().
import assert from 'node:assert/strict'
import { test } from 'node:test'
import knex from 'knex'
import postgres from 'postgres'
import { kinds, UPDATE } from './kinds.mjs'
import { scenario, until } from './common.mjs'

const price = { reads: ['price'], tenant: 'acme' }

for (const [kind, make] of Object.entries(kinds)) {
  test(kind, () =>
    scenario(async ({ config, cache, other }) => {
      const { db, sum, write, transaction, end, alwaysAsks } = await make(config)
      try {
        let calls = 0
        const load = (db) => {
          calls += 1
          return sum(db)
        }
        const get = (db) => cache.get(db, 'sum', load, price)
        assert.equal(await get(db), 30)
        assert.equal(await get(db), 30)
        assert.equal(calls, 1)
        if (!alwaysAsks) assert.ok(cache.metrics.snapshot().hits >= 1)
        await other.query('UPDATE price SET amount = 11 WHERE id = 1')
        await until(async () => (await get(db)) === 31)
        await transaction(db, async (inner) => {
          await write(inner)
          assert.equal(await get(inner), 119)
        })
        assert.equal(await get(db), 31)
        const statement = 'SELECT sum(amount)::int AS sum FROM price WHERE tenant_id = $1'
        const query = async () => (await cache.query(db, statement, ['acme'], { tenant: 'acme' }))[0].sum
        assert.equal(await query(), 31)
        assert.equal(await query(), 31)
        await other.query('UPDATE price SET amount = 12 WHERE id = 1')
        await until(async () => (await query()) === 32)
      } finally {
        await end()
      }
    }))
}

test('what looks like a parameter of Knex, or like one of ours', () =>
  scenario(async ({ config, cache }) => {
    const db = knex({ client: 'pg', connection: config })
    const cases = [
      ["SELECT '$1 and ?' AS a, $1::text AS b, \"c?\" FROM (SELECT 1 AS \"c?\") x", ['1'], { a: '$1 and ?', b: '1', 'c?': 1 }],
      ["SELECT E'it\\'s $1?' AS a, $2::int + $1::int AS b -- $3 and ?", [1, 2], { a: "it's $1?", b: 3 }],
      ["SELECT $$?$1$$ AS a, $x$ $1 ? $$ $x$ AS b, $1::text AS c /* $2 ? */", ['1'], { a: '?$1', b: ' $1 ? $$ ', c: '1' }],
      ["SELECT '{\"a\":1}'::jsonb ? 'a' AS a, $1::text || $1 AS b", ['x'], { a: true, b: 'xx' }],
    ]
    try {
      for (const [statement, parameters, row] of cases) {
        const sql = `${statement.includes('--') ? statement.replace('--', ', count(*)::int AS n FROM price --')
          : statement.includes(' FROM ') ? statement : statement.replace(/( \/\*|$)/, ' FROM price WHERE id = 1$1')}`
        const [got] = await cache.query(db, sql, parameters)
        for (const [name, value] of Object.entries(row)) assert.deepEqual(got[name], value, statement)
      }
    } finally {
      await db.destroy()
    }
  }))

test('a reserved connection of postgres.js may be in a transaction', () =>
  scenario(async ({ config, cache }) => {
    const sql = postgres({
      host: process.env.PGHOST, port: Number(process.env.PGPORT), user: process.env.PGUSER,
      ...config, max: 2, onnotice: () => undefined,
    })
    const get = (db) => cache.get(db, 'sum', async (db) =>
      (await db.unsafe("SELECT sum(amount)::int AS sum FROM price WHERE tenant_id = 'acme'"))[0].sum, price)
    assert.equal(await get(sql), 30)
    const own = await sql.reserve()
    await own`BEGIN`
    await own.unsafe(UPDATE)
    assert.equal(await get(own), 119)
    assert.equal(await get(sql), 30)
    await own`ROLLBACK`
    assert.equal(await get(own), 30)
    own.release()
    await sql.end()
  }))
