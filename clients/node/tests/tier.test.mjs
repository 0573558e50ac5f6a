// The shared tier: what processes share through Redis, and what they never do. Each cache here
// stands for a process.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { Cache, jsonCodec, NotShareable, RedisTier } from 'cache-notify'
import { createClient } from 'redis'
import { connect, counted, quiet, scenario, until } from './common.mjs'

const price = { reads: ['price'], tenant: 'acme' }
let folder, url, server, redis

async function start() {
  server = spawn('redis-server', ['--port', '0', '--unixsocket', url, '--save', ''], { stdio: 'ignore' })
  redis = createClient({ socket: { path: url, tls: false, reconnectStrategy: 20 } })
  redis.on('error', () => undefined)
  await redis.connect()
}

async function stop() {
  redis.destroy()
  const gone = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGKILL')
  await gone
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cache_notify.'))
  url = join(folder, 'socket')
  await start()
})
after(async () => {
  await stop()
  await rm(folder, { recursive: true })
})
beforeEach(() => redis.flushAll())

/** Runs play({ make, pool, other, config }): make() makes caches that share a tier. */
async function sharing(play, options) {
  await scenario(async (context) => {
    const caches = []
    const make = async ({ heartbeat = 200, ...tier } = {}) => {
      const cache = new Cache({
        listen: context.config,
        heartbeat,
        log: quiet,
        tier: new RedisTier(url, { timeout: 5_000, ...tier }),
      })
      caches.push(cache)
      if (!(await cache.waitUntilListening())) throw cache.failure
      return cache
    }
    try {
      await play({ ...context, make })
    } finally {
      for (const cache of caches) await cache.close()
    }
  }, options)
}

const get = (cache, db, load, options) => cache.get(db, 'sum', load, { ...price, ...options })
const counts = (cache, name) => cache.metrics.snapshot()[name] ?? 0

test('another process has it', () =>
  sharing(async ({ make, pool, other }) => {
    const [first, second] = [await make(), await make()]
    const load = counted()
    assert.equal(await get(first, pool, load), 30)
    assert.equal(await get(second, pool, load), 30)
    assert.equal(load.calls, 1)
    assert.equal(counts(second, 'hits{tier}'), 1)
    // What came from the tier is kept in memory, and dropped as any other.
    await get(second, pool, load)
    assert.equal(counts(second, 'hits'), 1)
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await until(async () => (await get(second, pool, load)) === 31)
    assert.equal(await get(first, pool, load, { fresh: true }), 31)
    assert.equal(load.calls, 2)
  }))

test('the key holds the token, and the form is that of other languages', () =>
  sharing(async ({ make, pool, other }) => {
    await get(await make({ prefix: 'shop' }), pool, counted())
    const { rows } = await other.query("SELECT cache_notify.token('acme', 'price')")
    // sha256 of ["sum","acme",["price"]]
    const digest = '0fa903c42d474c55ac0ac4b92ee9343788730d99295a2bce92871821adcbc651'
    const [key] = await redis.keys('*')
    assert.equal(key, `shop:1:${digest}:${rows[0].token}`)
    assert.equal(await redis.get(key), '1 json\n30')
    const ttl = await redis.pTTL(key)
    assert.ok(ttl > 0 && ttl <= 300_000)
    // What a Python process has left there.
    await redis.set(key, '1 json\n[{"$":"tuple","v":[31]}]', { PX: 10_000 })
    assert.deepEqual(await get(await make({ prefix: 'shop' }), pool, counted()), [[31]])
  }))

test('query() and decorated functions are shared', () =>
  sharing(async ({ make, pool }) => {
    const caches = [await make(), await make()]
    const load = counted('SELECT amount::int FROM price WHERE id = 1')
    for (const cache of caches) {
      const rows = await cache.query(pool, 'SELECT id, amount FROM price WHERE id = $1', [1])
      assert.deepEqual(rows, [{ id: 1, amount: '10' }])
      const cached = cache.cached((db, id) => load(db), { reads: (db, id) => [`price/${id}`], name: 'amount' })
      assert.equal(await cached(pool, 1), 10)
    }
    assert.equal(load.calls, 1)
    assert.equal(counts(caches[1], 'hits{tier}'), 2)
  }))

test('what lies there is never older than the call', () =>
  sharing(async ({ make, pool, other }) => {
    // Memory is off: tokens only.
    const caches = [await make(), await make()]
    for (const cache of caches) await cache.listener.close()
    for (let amount = 20; amount < 50; amount++) {
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
      for (const cache of caches) assert.equal(await get(cache, pool, counted()), 20 + amount)
    }
    assert.ok(counts(caches[1], 'hits{tier}') > 0)
  }))

test('nothing of a transaction that has written, nor of an old snapshot', () =>
  sharing(async ({ make, pool, other, config }) => {
    const [first, second] = [await make(), await make()]
    const own = await connect(config)
    await own.query('BEGIN')
    await own.query('UPDATE price SET amount = 99 WHERE id = 1')
    assert.equal(await get(first, own, counted()), 119)
    await own.query('ROLLBACK')
    assert.deepEqual(await redis.keys('*'), [])
    await own.query('BEGIN')
    const writes = async (db) => {
      await db.query('UPDATE price SET amount = 99 WHERE id = 1')
      return counted()(db)
    }
    assert.equal(await get(first, own, writes), 119)
    await own.query('ROLLBACK')
    for (const key of await redis.keys('*')) assert.equal(await redis.get(key), '1 none\n')
    await own.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await own.query('SELECT 1 FROM price')
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    assert.equal(await get(first, pool, counted()), 31)
    assert.equal(await get(second, own, counted()), 30)
    await own.query('ROLLBACK')
    await own.end()
  }))

test('one process computes what ten lack', () =>
  sharing(async ({ make, pool }) => {
    const caches = await Promise.all(Array.from({ length: 10 }, () => make()))
    const load = counted()
    const slow = async (db) => {
      await new Promise((resolve) => setTimeout(resolve, 500))
      return load(db)
    }
    const results = await Promise.all(caches.map((cache) => get(cache, pool, slow)))
    assert.deepEqual(results, Array(10).fill(30))
    assert.equal(load.calls, 1)
    const waits = caches.map((cache) => counts(cache, 'tier{waits}'))
    assert.ok(waits.reduce((a, b) => a + b) < 30)
  }))

test('who computes and fails: the others do not wait', () =>
  sharing(async ({ make, pool }) => {
    const [first, second] = [await make(), await make()]
    const failing = async () => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      throw new Error('the loader')
    }
    const failed = assert.rejects(get(first, pool, failing), /the loader/)
    await new Promise((resolve) => setTimeout(resolve, 100))
    const began = performance.now()
    assert.equal(await get(second, pool, counted()), 30)
    assert.ok(performance.now() - began < 5_000)
    await failed
  }))

test('nested results do not wait for each other', () =>
  sharing(async ({ make, pool }) => {
    const caches = [await make(), await make()]
    const nest = (cache, names) =>
      cache.get(pool, names[0], async (db) => {
        await new Promise((resolve) => setTimeout(resolve, 50))
        return names.length > 1 ? nest(cache, names.slice(1)) : counted()(db)
      }, price)
    const began = performance.now()
    await Promise.all([nest(caches[0], ['a', 'b']), nest(caches[1], ['b', 'a'])])
    assert.ok(performance.now() - began < 5_000)
  }))

test('a store that is gone, hangs or comes back', () =>
  sharing(async ({ make, pool, other }) => {
    const cache = await make({ timeout: 100 })
    let amount = 100
    const change = () => other.query('UPDATE price SET amount = $1 WHERE id = 1', [(amount += 1)])
    const fresh = () => get(cache, pool, counted(), { fresh: true })
    await fresh()
    server.kill('SIGSTOP')
    await change()
    const began = performance.now()
    assert.equal(await fresh(), amount + 20)
    assert.ok(performance.now() - began < 3_000)
    assert.ok(counts(cache, 'tier{error}') > 0)
    server.kill('SIGCONT')
    await stop()
    await change()
    assert.equal(await fresh(), amount + 20)
    await start()
    await until(async () => {
      await change()
      assert.equal(await fresh(), amount + 20)
      return (await redis.keys('*')).length > 0
    })
  }))

test('whatever lies there', () =>
  sharing(async ({ make, pool, other }) => {
    await get(await make(), pool, counted())
    const [key] = await redis.keys('*')
    const left = ['', '1', '1 json', '1 json\n', '1 json\n{', '2 json\n30', '1 pickle\n30', '{"$":1}',
      '1 json\n{"$":"decimal","v":"1"}', '1 json\n{"$":"__proto__","v":1}', '1 json\n{"$":"dict","v":[[1]]}',
      '1 json\n{"$":"datetime","v":"2020-01-01T00:00:00"}', '1 json\n{"$":"tuple"}',
      '1 json\n'.concat('['.repeat(100_000)), '\xff\xfe', '1 json\n{"$":"float","v":"toString"}']
    for (const value of left) {
      await redis.set(key, value, { PX: 60_000 })
      assert.equal(await get(await make({ wait: 0 }), pool, counted()), 30, value.slice(0, 60))
    }
    await redis.set(key, '1 json\n30')   // one that would never go
    const cache = await make({ wait: 0 })
    assert.equal(await get(cache, pool, counted()), 30)
    await redis.del(key)
    await redis.rPush(key, 'a list')
    assert.equal(await get(await make({ wait: 0 }), pool, counted()), 30)
  }))

test('values come back as they were, or are not shared', () => {
  const shared = ['', 'é\u2028\0', 0, -0, 1.5, 1e300, NaN, Infinity, -Infinity, 12345678901234567890n, true, null,
    [], [[]], {}, { a: { b: [1] } }, { $: 1 }, { $: 'tuple', v: [] }, new Date(0), new Date(1e12 + 7),
    Buffer.from([0, 255]), JSON.parse('{"__proto__": 1}')]
  for (const value of shared) assert.deepStrictEqual(jsonCodec.loads(jsonCodec.dumps(value)), value)
  class Row {}
  const not = [undefined, { a: undefined }, [, 1], () => 1, Symbol('a'), new Map(), new Set(), new Row(),
    new Date(NaN), new (class extends Array {})(), new Uint8Array(1), /a/]
  for (const value of not) assert.throws(() => jsonCodec.dumps(value), NotShareable)
})

test('what is not shareable is kept in memory, and said once', () =>
  sharing(async ({ make, pool }) => {
    const [first, second] = [await make(), await make()]
    const load = async () => new Map([[1, 2]])
    for (const cache of [first, first, second]) {
      assert.deepEqual(await cache.get(pool, 'map', load, price), new Map([[1, 2]]))
    }
    assert.equal(counts(first, 'hits'), 1)
    assert.equal(counts(first, 'tier{not_shareable}'), 1)
  }))

test('arguments', () => {
  for (const wrong of [{ wait: -1 }, { wait: 300_001 }, { wait: NaN }, { ttl: 0 }, { timeout: -1 }, { ttl: NaN }]) {
    assert.throws(() => new RedisTier('redis://x', wrong), RangeError)
  }
})
