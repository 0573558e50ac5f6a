// Caches of a process that listen to one relay share a listener: each is told what it must
// know, whatever the others do.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cache } from 'cache-notify'
import { Audience, shared } from '../node_modules/cache-notify/dist/esm/audience.js'
import { Core } from '../node_modules/cache-notify/dist/esm/core.js'
import { Metrics } from '../node_modules/cache-notify/dist/esm/metrics.js'
import { counted, quiet, until } from './common.mjs'
import { relayed, skip } from './relaying.mjs'

const price = { reads: ['price'], tenant: 'acme' }
const loader = () => counted('SELECT amount::int FROM price WHERE id = 1')
const read = (cache, db, load) => cache.get(db, 'one', load, price)

/** Connections to Redis that listen. */
const listening = async (store) =>
  (await store.command('CLIENT', 'LIST')).split('\n').filter((line) => /\bsub=[1-9]/.test(line)).length

/** Runs play({ make, ... }): make() makes caches that are closed at the end. */
const nodes = (play, options) =>
  relayed(async (context) => {
    const made = []
    const make = async ({ query = '', ...options } = {}) => {
      const node = new Cache({ listen: context.url + query, heartbeat: 200, lease: 3_000, log: quiet, ...options })
      made.push(node)
      return node
    }
    try {
      await play({ ...context, make })
    } finally {
      for (const node of made) await node.close()
    }
  }, options)

test('many caches are one connection, and each is told', { skip }, () =>
  nodes(async ({ make, node, store, pool, other }) => {
    const all = [node]
    for (let i = 1; i < 20; i++) all.push(await make())
    await until(() => all.every((each) => each.listening))
    assert.equal(await listening(store), 1)
    assert.equal(shared(), 1)
    const loads = all.map(loader)
    const readAll = () => Promise.all(all.map((each, i) => read(each, pool, loads[i])))
    assert.deepEqual(await readAll(), Array(20).fill(10))
    for (let amount = 11; amount < 15; amount++) {
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
      await until(async () => (await readAll()).every((got) => got === amount))
    }
    await until(async () => {
      const before = loads.map(({ calls }) => calls)
      await readAll()
      return loads.every(({ calls }, i) => calls === before[i])
    })
    // Another tenant's changes leave all of them as they are.
    const calls = loads.map((load) => load.calls)
    const globex = counted("SELECT sum(amount)::int FROM price WHERE tenant_id = 'globex'")
    const get = () => node.get(pool, 'globex', globex, { reads: ['price'], tenant: 'globex' })
    const before = await get()
    await other.query("UPDATE price SET amount = amount + 1 WHERE tenant_id = 'globex'")
    await until(async () => (await get()) === before + 1)
    await readAll()
    assert.deepEqual(loads.map((load) => load.calls), calls)
  }))

test('closing one leaves the others, and the last one ends it', { skip }, () =>
  nodes(async ({ make, node: first, store, pool, other }) => {
    const second = await make()
    await until(() => second.listening)
    const load = loader()
    assert.equal(await read(second, pool, load), 10)
    await first.close()
    await first.close()
    assert.ok(!first.listening && second.listening)
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await until(async () => (await read(second, pool, load)) === 11)
    // One that comes later has the lease that there is, at once.
    const third = await make()
    assert.ok(third.listening)
    assert.equal(await read(third, pool, load), 11)
    const { calls } = load
    assert.equal(await read(third, pool, load), 11)
    assert.equal(load.calls, calls)
    await third.close()
    await second.close()
    await until(async () => (await listening(store)) === 0)
    assert.equal(shared(), 0)
  }))

test('other ways to listen are other listeners', { skip }, () =>
  nodes(async ({ make, store }) => {
    await make({ lease: 4_000 })
    const other = await make({ query: '?name=other' })
    await until(async () => (await listening(store)) === 3)
    assert.ok(!other.listening)
  }))

test('a reset reaches all', { skip }, () =>
  nodes(async ({ make, node, pool, other }) => {
    const all = [node, await make(), await make()]
    for (const each of all) {
      await until(() => each.listening)
      await until(async () => (await read(each, pool, loader()), each.size === 1))
    }
    await other.query("NOTIFY cache_invalidation, 'nonsense'")
    await until(() => all.every((each) => each.size === 0))
  }))

test('a fill lacks what another cache noted', { skip }, () =>
  nodes(async ({ make, pool, other }) => {
    const second = await make()
    await until(() => second.listening)
    const slow = async (db) => {
      const { rows } = await db.query('SELECT amount::int FROM price WHERE id = 1')
      const { sequence } = second.core.ticket()
      await other.query('UPDATE price SET amount = 12 WHERE id = 1')
      await until(() => second.core.ticket().sequence > sequence)
      return rows[0].amount
    }
    assert.equal(await read(second, pool, slow), 10)
    assert.equal(second.size, 0)
    assert.equal(await read(second, pool, loader()), 12)
  }))

test('a frame is read once, however many caches there are', { skip }, () =>
  nodes(async ({ make, node, pool, other }) => {
    const all = [node, await make(), await make()]
    await until(() => all.every((each) => each.listening))
    const { listener } = node.listener.shared
    let frames = 0
    const takeFrame = listener.takeFrame
    listener.takeFrame = function (...how) {
      frames += 1
      return takeFrame.apply(this, how)
    }
    for (const each of all) await read(each, pool, loader())
    frames = 0
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await until(() => all.every((each) => each.size === 0))
    assert.equal(frames, 1)
    assert.equal(new Set(all.map((each) => each.listener.shared)).size, 1)
  }))

test('nothing is lost between what is stored and what is heard', () => {
  const audience = new Audience()
  const options = { redefined() {}, log: quiet }
  const cores = Array.from({ length: 3 }, () => new Core({ maxEntries: 3 }, new Metrics()))
  for (const core of cores) audience.add(core, options)
  audience.extendLease(Infinity)
  const versions = new Map()
  const scopes = [['acme', 'price'], ['globex', 'price'], ['acme', 'disc'], [null, 'price']]
  const partOf = (tenant, domain) => ({
    tenant, domain, key: null, version: versions.get(`${tenant} ${domain}`) ?? 0, sharedVersion: 0,
  })
  const fills = []
  let held = 0
  let random = 20261129
  const pick = (n) => (random = (random * 48271) % 2147483647) % n
  for (let i = 0; i < 20_000; i++) {
    const [tenant, domain] = scopes[pick(scopes.length)]
    const core = cores[pick(3)]
    const act = pick(4)
    if (act === 0) {
      fills.push({ core, ticket: core.ticket(), parts: [partOf(tenant, domain)], name: `${pick(6)}` })
    } else if (act === 1 && fills.length > 0) {
      const { core, ticket, parts, name } = fills.splice(pick(fills.length), 1)[0]
      core.store(name, { value: i, token: '', parts, expires: Infinity, keepWhenEnded: false, ended: 0 }, ticket)
    } else if (tenant !== null) {
      const where = `${tenant} ${domain}`
      versions.set(where, (versions.get(where) ?? 0) + 1)
      versions.set(`null ${domain}`, (versions.get(`null ${domain}`) ?? 0) + 1)
      audience.hear({ tenant, domain, version: versions.get(where), keys: null })
    }
      held += cores.filter((core) => core.size > 0).length
    if (i % 100 === 0 && pick(10) === 0) audience.reset('test')
    if (i % 100 === 0) {
      for (const one of cores) {
        for (const { parts } of one.entries.values()) {
          for (const part of parts) assert.equal(part.version, partOf(part.tenant, part.domain).version)
        }
      }
    }
  }
  assert.ok(held > 1_000)
  for (const core of cores) audience.remove(core)
  assert.equal(audience.heard.held, 0)
})
