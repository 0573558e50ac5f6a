// Results that are made from other results.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, scenario, until } from './common.mjs'

const AMOUNT = 'SELECT amount::int AS amount FROM price WHERE id = 1'
const READS = {
  domain: { reads: ['price'], tenant: 'acme' },
  key: { reads: ['price/1'], tenant: 'acme' },
  'whole domain': { reads: ['price'] },
}
// Of changes payloads tell, and nothing else.
const deaf = { heartbeat: 1e6, lease: 1e7 }

const amountOf1 = async (db) => (await db.query(AMOUNT)).rows[0].amount

let number = 0

/** Waits until everything committed by now was heard. */
async function delivered(cache, other) {
  const name = `nested ${number++}`
  const probe = { reads: ['disc'] }
  let calls = 0
  const load = () => (calls += 1)
  await cache.get(other, name, load, probe)
  await other.query('INSERT INTO disc VALUES ($1, 1)', [name])
  await until(async () => {
    await cache.get(other, name, load, probe)
    return calls > 1
  })
}

/** While it runs the worker delivers nothing. */
async function deliveriesHeld(other, run) {
  const { rows } = await other.query(
    `SELECT pid FROM pg_stat_activity
     WHERE backend_type LIKE 'cache_notify%' AND datname = current_database()`,
  )
  process.kill(rows[0].pid, 'SIGSTOP')
  try {
    return await run()
  } finally {
    process.kill(rows[0].pid, 'SIGCONT')
  }
}

test('an inner result in memory may lack what the outer versions have', () =>
  scenario(async ({ cache, pool, other }) => {
    await delivered(cache, other)
    let amount = 10
    for (const how of ['get', 'cached', 'query']) {
      for (const inside of Object.keys(READS)) {
        for (const outside of Object.keys(READS)) {
          for (const fresh of [false, true]) {
            const name = `${how} of ${inside} within ${outside}${fresh ? ' fresh' : ''}`
            const decorated = cache.cached(amountOf1, { ...READS[inside], name })
            const inner = async (db) => {
              if (how === 'cached') return decorated(db)
              if (how === 'get') return cache.get(db, ['inner', name], amountOf1, READS[inside])
              const { reads: _, ...whose } = READS[inside]
              return (await cache.query(db, `${AMOUNT} -- ${name}`, [], whose))[0].amount
            }
            const outer = (options) =>
              cache.get(pool, ['outer', name], inner, { ...READS[outside], ...options })
            assert.equal(await inner(pool), amount, name)
            await deliveriesHeld(other, async () => {
              await other.query('UPDATE price SET amount = amount + 1 WHERE id = 1')
              assert.equal(await inner(pool), amount, `${name}: nothing was heard of it yet`)
              amount += 1
              if (fresh) assert.equal(await outer({ fresh }), amount, name)
              else await outer()
            })
            await delivered(cache, other)
            assert.equal(await outer(), amount, name)
          }
        }
      }
    }
  }, deaf))

test('an inner result of a flight that is older', () =>
  scenario(async ({ cache, pool, other }) => {
    await delivered(cache, other)
    let go, loaded
    const gate = new Promise((resolve) => (go = resolve))
    const started = new Promise((resolve) => (loaded = resolve))
    const slow = async (db) => {
      const value = await amountOf1(db)
      loaded()
      await gate
      return value
    }
    const inner = (db, load) => cache.get(db, 'inner', load, READS.domain)
    const outer = () => cache.get(pool, 'outer', (db) => inner(db, amountOf1), READS.domain)
    const flight = inner(pool, slow)
    await started
    setTimeout(go, 500)
    await deliveriesHeld(other, async () => {
      await other.query('UPDATE price SET amount = 11 WHERE id = 1')
      await outer()
      await flight
    })
    await delivered(cache, other)
    assert.equal(await outer(), 11)
  }, deaf))

for (const written of [false, true]) {
  test(`an inner result of ${written ? 'an own change' : 'an old snapshot'}`, () =>
    scenario(async ({ cache, pool, other, config }) => {
      const own = await connect(config)
      await own.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
      await own.query('SELECT FROM price')
      await (written ? own : other).query('UPDATE price SET amount = 11 WHERE id = 1')
      await delivered(cache, other)
      const inner = () => cache.get(own, 'inner', amountOf1, READS.domain)
      assert.equal(await cache.get(pool, 'outer', inner, READS.domain), written ? 11 : 10)
      await own.query('ROLLBACK')
      await own.end()
      assert.equal(await cache.get(pool, 'outer', amountOf1, READS.domain), written ? 10 : 11)
    }, deaf))
}

test('an inner result that is served stale, because of an error', () =>
  scenario(async ({ cache, pool, other }) => {
    const inner = (db, load) => cache.get(db, 'inner', load, { ...READS.domain, staleIfError: 60_000 })
    assert.equal(await inner(pool, amountOf1), 10)
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await delivered(cache, other)
    const fail = () => {
      throw new Error('no')
    }
    assert.equal(await cache.get(pool, 'outer', (db) => inner(db, fail), READS.domain), 10)
    assert.equal(await cache.get(pool, 'outer', amountOf1, READS.domain), 11)
  }, deaf))

test('an inner result that is served stale, while another is computed', () =>
  scenario(async ({ cache, pool, other }) => {
    const inner = (db, load) =>
      cache.get(db, 'inner', load, { ...READS.domain, staleWhileRevalidate: 60_000 })
    assert.equal(await inner(pool, amountOf1), 10)
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await delivered(cache, other)
    let go
    const gate = new Promise((resolve) => (go = resolve))
    const flight = inner(pool, () => gate)
    assert.equal(await cache.get(pool, 'outer', (db) => inner(db, amountOf1), READS.domain), 10)
    go(11)
    await flight
    assert.equal(await cache.get(pool, 'outer', amountOf1, READS.domain), 11)
  }, deaf))

test('an inner result that has not changed is served and kept', () =>
  scenario(async ({ cache, pool, other }) => {
    let calls = 0
    const inner = (db) => cache.get(db, 'inner', () => (calls += 1), READS.key)
    const outer = (name) => cache.get(pool, name, inner, READS.key)
    for (const name of ['a', 'a', 'b', 'b']) assert.equal(await outer(name), 1)
    // Another key has changed: the inner result is current, which the server must say.
    await other.query('UPDATE price SET amount = 11 WHERE id = 2')
    await delivered(cache, other)
    for (const name of ['c', 'c', 'd', 'd']) assert.equal(await outer(name), 1)
    assert.equal(calls, 1)
    assert.equal(cache.metrics.snapshot()['hits{validated}'], 2)
  }, deaf))
