// What hand-written caches did wrong when they were tried, row by row: each has the tests that
// show it right here. Those that are in no other file follow the table.
import assert from 'node:assert/strict'
import { fork, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Cache, RedisTier } from 'cache-notify'
import pg from 'pg'
import { connect, counted, quiet, scenario, SUM, until } from './common.mjs'

const SEEN = {
  'tenant 42, UUID, key 1.5 for 1.50, 50%: stale for ever': [
    'seen: names are the server\'s', 'cache: keys with reserved characters',
    'cache: writing what is named otherwise: deliveries that never come do not matter',
  ],
  'unknown domain, result over several tenants: stale for ever, fresh too': [
    'seen: an unknown domain, and the whole domain', 'cache: a result over several tenants',
    'cache: an unknown domain is not cached',
  ],
  'nested gets on a pool of ten hang; waiters of a claim hold clients': [
    'seen: nested gets on a pool of ten', 'cache: loaders that ask for each other',
    'tier: nested results do not wait for each other',
  ],
  'a terminated backend while a client is checked out: the process dies': [
    'seen: a client that breaks while it is checked out',
    'listener: a terminated backend is an error of that call, not of the process',
  ],
  'after a fork nothing is cached': ['seen: a process that is forked listens by itself'],
  'a pooler swallows LISTEN': ['listener: a pooler in transaction mode is refused'],
  'payloads of brackets, of another encoding, NaN, 9e15': [
    'listener: what is not understood is a reset', 'listener: nothing that arrives ends the listener',
    'seen: a tenant in another encoding',
  ],
  'a failing loader in a transaction: its error is hidden, its claim stays': [
    'seen: a loader that fails in a transaction',
    "cache: a loader's error is the caller's, and leaves nothing behind",
    'tier: who computes and fails: the others do not wait',
  ],
  'REPEATABLE READ, a reset in between: an old value is stored': [
    'seen: a reset under an old snapshot', 'cache: an old snapshot is used and not kept',
    'tier: nothing of a transaction that has written, nor of an old snapshot',
  ],
  'ten processes with claims: 350 questions, the last after 2.3 s': [
    'seen: a miss is one question and the query', 'tier: one process computes what ten lack',
  ],
  'single flight hands an older result to who came after the payload': [
    'cache: a flight is not joined after a payload', 'nested: an inner result of a flight that is older',
  ],
  'a listener without pg_monitor never serves, and logs six lines a second': [
    'listener: the rights of a cache',
  ],
  'close() while reconnecting fails; 20 attempts in 2 s': [
    'listener: close at any moment, and attempts that are spaced',
  ],
  'another copy of pg, no types, no ESM export': ['seen: another copy of a driver, and both ways to load it'],
}

test('each row has its tests', () => {
  const sources = {}
  for (const [row, names] of Object.entries(SEEN)) {
    for (const name of names) {
      const [, file, title] = /^(\w+): (.*)$/.exec(name)
      sources[file] ??= readFileSync(new URL(`${file}.test.mjs`, import.meta.url), 'utf8').replaceAll("\\'", "'")
      const found = [`'${title}'`, `"${title}"`].some((quoted) => sources[file].includes(`\ntest(${quoted}, `))
      assert.ok(found, `${row}: there is no test ${name}`)
    }
  }
})

// Column of a tenant or key, and what callers write for the value that is stored.
const SPELLED = [
  ['int', '42', [42, 42n, '42', ' 42', '042']],
  ['uuid', "'0a8c5f1e-0000-4000-8000-00000000000f'",
    ['0A8C5F1E-0000-4000-8000-00000000000F', '{0a8c5f1e000040008000-00000000000f}']],
  ['numeric', '1.50', [1.5, '1.5', '1.500', '01.5']],
  ['text', "'50%'", ['50%']],
  ['char(8)', "'ab'", ['ab', 'ab  ']],
]

test('names are the server\'s', () =>
  scenario(async ({ cache, pool, other }) => {
    for (const [number, [type, stored, spelled]] of SPELLED.entries()) {
      const table = `spelled_${number}`
      await other.query(`CREATE TABLE ${table} (id ${type} PRIMARY KEY, tenant_id ${type}, n int);
        INSERT INTO ${table} VALUES (${stored}, ${stored}, 0);
        SELECT cache_notify.setup_table_invalidation('${table}', keys => '{id}', fields => '{keys}')`)
      const load = counted(`SELECT n FROM ${table}`)
      const key = (id) => `${table}/${String(id).replaceAll('%', '%25')}`
      const values = async () => {
        const found = new Set()
        for (const value of spelled) {
          found.add(await cache.get(pool, 'all', load, { reads: [table], tenant: value }))
          found.add(await cache.get(pool, 'one', load, { reads: [key(value)], tenant: value }))
        }
        return [...found]
      }
      for (let n = 0; n < 3; n++) {
        await until(async () => String(await values()) === String(n), 5_000)
        await values()
        const calls = load.calls
        assert.deepEqual(await values(), [n], type)
        assert.equal(load.calls, calls, `${type}: from memory`)
        await other.query(`UPDATE ${table} SET n = n + 1`)
      }
    }
  }))

test('an unknown domain, and the whole domain', () =>
  scenario(async ({ cache, pool, other }) => {
    for (let n = 1; n < 4; n++) {
      await other.query('UPDATE plain SET n = $1', [n])
      for (const fresh of [false, true]) {
        const get = cache.get(pool, 'n', counted('SELECT n FROM plain'), { reads: ['plian'], fresh })
        assert.equal(await get, n)
      }
    }
    const sum = (fresh) =>
      cache.get(pool, 'sum', counted('SELECT sum(amount)::int AS sum FROM price'), { reads: ['price'], fresh })
    for (let n = 20; n < 40; n++) {
      await sum(false)
      await other.query('UPDATE price SET amount = $1 WHERE id IN (1, 4)', [n])
      assert.equal(await sum(true), 20 + 2 * n)
    }
  }))

test('nested gets on a pool of ten', { timeout: 30_000 }, () =>
  scenario(async ({ cache, pool }) => {
    const inner = async (pool) => {
      await new Promise((resolve) => setTimeout(resolve, 50))
      const client = await pool.connect()
      try {
        return (await client.query(SUM)).rows[0].sum
      } finally {
        client.release()
      }
    }
    const outer = async (pool) => {
      const results = []
      for (let n = 0; n < 3; n++) results.push(await cache.get(pool, n, inner, { reads: ['price'] }))
      return results
    }
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, n) => cache.get(pool, ['outer', n % 12], outer, { reads: ['price'] })),
    )
    assert.deepEqual(results, Array(20).fill([30, 30, 30]))
  }))

test('a client that breaks while it is checked out', () =>
  scenario(async ({ cache, pool, other }) => {
    for (const within of [false, true]) {
      // As applications do: nobody listens for its errors.
      const client = await pool.connect()
      const { pid } = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0]
      const end = () => other.query('SELECT pg_terminate_backend($1, 5000)', [pid])
      const load = async (client) => {
        if (within) await end()
        await new Promise((resolve) => setTimeout(resolve, 100)) // it hears of that
        return counted()(client)
      }
      if (!within) {
        await cache.get(client, 'before', counted(), { reads: ['price'] })
        await end()
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      await assert.rejects(cache.get(client, ['sum', within], load, { reads: ['price'] }))
      client.release(true)
      assert.equal(await cache.get(pool, ['sum', within], counted(), { reads: ['price'] }), 30)
    }
  }))

const CHILD = `
  import pg from 'pg'
  import { Cache } from 'cache-notify'
  const config = { database: process.env.CHILD_DATABASE }
  const pool = new pg.Pool(config)
  const cache = new Cache({ listen: config, heartbeat: 200 })
  await cache.waitUntilListening()
  const load = async (db) => (await db.query("SELECT sum(amount)::int AS sum FROM price")).rows[0].sum
  process.on('message', async () => {
    const value = await cache.get(pool, 'sum', load, { reads: ['price'] })
    process.send({ value, hits: cache.metrics.snapshot().hits ?? 0 })
  })
  process.on('disconnect', () => process.exit())
  process.send('ready')`

test('a process that is forked listens by itself', () =>
  scenario(async ({ config, other }) => {
    const file = new URL('child.mjs', import.meta.url)
    writeFileSync(file, CHILD)
    const child = fork(file, { env: { ...process.env, CHILD_DATABASE: config.database } })
    const answer = () => new Promise((resolve) => child.once('message', resolve))
    const ask = () => {
      const said = answer()
      child.send('read')
      return said
    }
    try {
      assert.equal(await answer(), 'ready')
      for (let amount = 20; amount < 23; amount++) {
        await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
        await until(async () => (await ask()).value === 30 + amount)
        const { hits } = await ask()
        assert.ok((await ask()).hits > hits, 'from memory')
      }
    } finally {
      child.disconnect()
      rmSync(file)
    }
  }))

test('a tenant in another encoding', () =>
  scenario(async ({ cache, pool, config }) => {
    const load = counted("SELECT count(*)::int AS n FROM price WHERE tenant_id = 'münchen'")
    const get = () => cache.get(pool, 'n', load, { reads: ['price'], tenant: 'münchen' })
    assert.equal(await get(), 0)
    const writer = await connect({ ...config, client_encoding: 'LATIN1' })
    await writer.query("SET client_encoding = 'LATIN1'")
    for (let n = 1; n < 4; n++) {
      await writer.query(`INSERT INTO price VALUES (${100 + n}, 'm' || chr(252) || 'nchen', 1)`)
      await until(async () => (await get()) === n)
    }
    assert.ok(cache.listening && load.calls <= 40)
    await writer.end()
  }))

/** Runs play(tier, redis's url) with a Redis of its own. */
async function withRedis(play) {
  const folder = mkdtempSync(join(tmpdir(), 'cache_notify.'))
  const socket = join(folder, 'socket')
  const server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', ''], { stdio: 'ignore' })
  try {
    await play(() => new RedisTier(`unix://${socket}`, { timeout: 5_000 }))
  } finally {
    server.kill('SIGKILL')
    await new Promise((resolve) => server.once('exit', resolve))
    rmSync(folder, { recursive: true })
  }
}

test('a loader that fails in a transaction', () =>
  withRedis((tier) =>
    scenario(async ({ cache, config, pool }) => {
      const own = await connect(config)
      for (const begun of ['BEGIN', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1']) {
        await own.query(begun)
        const fail = (db) => db.query('SELECT 1 / 0')
        await assert.rejects(cache.get(own, 'n', fail, { reads: ['price'], tenant: 'acme' }), { code: '22012' })
        await own.query('ROLLBACK')
        assert.equal(await cache.get(own, 'n', () => 1, { reads: ['disc'] }), 1)
      }
      // Whoever comes next computes at once: no claim and no flight is left.
      const began = performance.now()
      assert.equal(await cache.get(pool, 'n', () => 2, { reads: ['price'], tenant: 'acme' }), 2)
      assert.ok(performance.now() - began < 2_000)
      await own.end()
    }, { tier: tier() })))

test('a reset under an old snapshot', () =>
  withRedis((tier) =>
    scenario(async ({ cache, config, pool, other }) => {
      const resets = () => cache.metrics.snapshot()['resets{payload}'] ?? 0
      const own = await connect(config)
      await own.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
      await own.query('SELECT 1 FROM price')
      const load = async (own) => {
        const before = resets()
        await other.query('UPDATE price SET amount = 11 WHERE id = 1')
        await other.query(`NOTIFY cache_invalidation, '{"reset": true}'`)
        await until(() => resets() > before)
        return counted()(own)
      }
      assert.equal(await cache.get(own, 'sum', load, { reads: ['price'], tenant: 'acme' }), 30)
      assert.equal(cache.size, 0)
      assert.equal(await cache.get(pool, 'sum', counted(), { reads: ['price'], tenant: 'acme' }), 31)
      await own.end()
    }, { tier: tier() })))

test('a miss is one question and the query', () =>
  scenario(async ({ cache, pool }) => {
    const asked = []
    const query = (sql, parameters) => (asked.push(sql), pool.query(sql, parameters))
    const db = { connect: () => pool.connect(), totalCount: 1, query }
    for (let n = 0; n < 5; n++) await cache.get(db, n, counted('SELECT 1'), { reads: ['price'] })
    assert.equal(asked.length, 10)
    assert.ok(!asked.some((sql) => sql.includes('claim')))
  }))

test('another copy of a driver, and both ways to load it', () =>
  scenario(async ({ cache, config }) => {
    const require = createRequire(import.meta.url)
    // Loaded once more, nothing in it is an instance of what the package has.
    for (const file of Object.keys(require.cache)) delete require.cache[file]
    const copy = require('pg')
    assert.notEqual(copy.Client, pg.Client)
    const own = new copy.Client(config)
    await own.connect()
    for (let n = 0; n < 2; n++) {
      assert.deepEqual(await cache.query(own, 'SELECT count(*)::int AS n FROM price'), [{ n: 4 }])
    }
    assert.equal(cache.metrics.snapshot().hits, 1)
    await own.end()
    const other = new (require('cache-notify').Cache)({ listen: config, log: quiet })
    assert.ok(!(other instanceof Cache) && (await other.waitUntilListening()))
    await other.close()
  }))
