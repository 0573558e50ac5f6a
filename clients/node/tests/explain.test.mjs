// What explain() says of what a cache did.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explain } from 'cache-notify'
import { counted, scenario, until } from './common.mjs'

const price = { reads: ['price'], tenant: 'acme' }

test('a miss, a hit, and what has changed', () =>
  scenario(async ({ cache, pool, other }) => {
    const get = async (reads = ['price']) => {
      const [value, what] = await explain(() => cache.get(pool, 'sum', counted(), { ...price, reads }))
      return [value, String(what)]
    }
    await get()
    cache.forgetAll()
    assert.deepEqual(await get(), [30, 'miss (forgotten)'])
    assert.deepEqual(await get(), [30, 'hit (in memory)'])
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    let told
    await until(async () => ([, told] = await get())[0] === 31)
    assert.equal(told, 'miss (price of acme has changed)')
    await get(['price/2'])
    await other.query('UPDATE price SET amount = 12 WHERE id = 2')
    await until(async () => ([, told] = await get(['price/2']))[1] !== 'hit (in memory)')
    assert.equal(told, 'miss (price/2 of acme has changed)')
  }))

test('what is not cached, and where else a result came from', () =>
  scenario(async ({ cache, pool }) => {
    const query = (statement) => explain(() => cache.query(pool, statement))
    const [, volatile] = await query('SELECT now()')
    assert.equal(String(volatile), 'not cached (now(): the result changes with time)')
    assert.equal(volatile.outcome, 'not cached')
    const [, unknown] = await explain(() => cache.get(pool, 'n', () => 1, { reads: ['plain'] }))
    assert.equal(String(unknown), 'not cached (not there before; unknown domain)')
    const get = (options) => explain(() => cache.get(pool, 'sum', counted(), { ...price, ...options }))
    const both = await Promise.all([get(), get()])
    assert.deepEqual(both.map(([, what]) => String(what)).sort(),
      ['hit (another caller was computing it)', 'miss (not there before)'])
    assert.equal(String((await get({ fresh: true }))[1]), 'hit (the server said that it is current)')
  }))

test('callers are told apart, and an error is the caller\'s', () =>
  scenario(async ({ cache, pool }) => {
    const got = await Promise.all(['a', 'b'].map((name) =>
      explain(() => cache.get(pool, name, counted(), price))))
    for (const [, what] of got) assert.deepEqual(what.events.filter(([event]) => event === 'misses').length, 1)
    await assert.rejects(explain(() => Promise.reject(new Error('mine'))), /mine/)
  }))
