// What may happen to a listener: nothing that it hears ends it, and nothing is served from
// memory unless deliveries come in.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, chmodSync, writeFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Cache, ConfigurationError, UnsupportedExtension } from 'cache-notify'
import { parsePayload } from '../node_modules/cache-notify/dist/esm/payload.js'
import { connect, counted, quiet, scenario, until } from './common.mjs'

const price = { reads: ['price'], tenant: 'acme' }
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const listeners = async (other) =>
  (
    await other.query(
      `SELECT pid FROM pg_stat_activity
       WHERE application_name = 'cache_notify listener' AND datname = current_database()`,
    )
  ).rows.map(({ pid }) => pid)

const change = (version) => `{"tenant_id": "acme", "domain": "price", "version": ${version}}`
const NONSENSE = [
  '', 'x', '{}', '[]', 'null', '1', '"x"', '{', '['.repeat(7000), change('['.repeat(3000)),
  change('NaN'), change('9e15'), change('1.0'), change('-1'), change('true'),
  change('9007199254740992'), change('9'.repeat(5000)), change('"1"'), change('null'),
  '{"tenant_id": "acme", "domain": "price"}',
  '{"tenant_id": 1, "domain": "price", "version": 1}',
  '{"domain": "price", "version": 1}',
  '{"tenant_id": "acme", "domain": null, "version": 1}',
  '{"tenant_id": "\uFFFD", "domain": "price", "version": 1}',
  '{"reset": true}',
  '{"reset": true, "tenant_id": "acme", "domain": "price", "version": 1}',
]

test('what is not understood is a reset', () => {
  for (const payload of NONSENSE) assert.equal(parsePayload(payload), null, payload.slice(0, 80))
})

test('payloads', () => {
  const told = { tenant_id: 'acme', domain: 'price', version: 3, keys: ['1'], more: [] }
  const { tenant, domain, version, keys } = parsePayload(JSON.stringify(told))
  assert.deepEqual({ tenant, domain, version, keys }, { tenant: 'acme', domain: 'price', version: 3, keys: ['1'] })
  for (const keys of [null, [1], [['1', '2']], 'x', {}]) {
    assert.equal(parsePayload(JSON.stringify({ ...told, keys })).keys, null)
  }
})

test('nothing that arrives ends the listener', () =>
  scenario(async ({ cache, pool, other }) => {
    const load = counted()
    const get = () => cache.get(pool, 'sum', load, price)
    const said = NONSENSE.filter((text) => text.length < 7999)
    for (const text of [...said, change('9007199254740991')]) {
      await get()
      assert.equal(await get(), 30)
      const before = cache.core.ticket().sequence
      await other.query('SELECT pg_notify($1, $2)', ['cache_invalidation', text])
      await until(() => cache.core.ticket().sequence !== before)
    }
    for (const amount of [11, 12]) {
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
      await until(async () => (await get()) === 20 + amount)
      await get()
      const calls = load.calls
      assert.equal(await get(), 20 + amount)
      assert.equal(load.calls, calls)
    }
    assert.equal((await listeners(other)).length, 1)
  }))

test('a reset is one of definitions as well: two tables have changed their domains', () =>
  scenario(async ({ cache, pool, other }) => {
    const query = async () =>
      (await cache.query(pool, 'SELECT amount::int AS n FROM price WHERE id = 1', [], { tenant: 'acme' }))[0].n
    const hits = () => cache.metrics.snapshot().hits ?? 0
    assert.equal(await query(), 10)
    await other.query('CREATE TABLE extra (id int PRIMARY KEY, tenant_id text)')
    const before = cache.core.ticket().generation
    // In one transaction: the listener never finds it missing, and listens anew.
    await other.query(
      `DROP EXTENSION cache_notify CASCADE; CREATE EXTENSION cache_notify;
       SELECT cache_notify.setup_table_invalidation('price', 'extra'),
              cache_notify.setup_table_invalidation('extra', 'price')`,
    )
    await until(() => cache.core.ticket().generation !== before)
    for (const amount of [11, 12, 13]) {
      const hit = hits()
      await until(async () => (await query(), hits() > hit))
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
      await until(async () => (await query()) === amount)
    }
  }))

test('nothing from memory while not listening, and nothing missed afterwards', () =>
  scenario(async ({ cache, pool, other, admin, config }) => {
    const get = () => cache.get(pool, 'sum', counted(), price)
    const allow = (yes) => admin.query(`ALTER DATABASE ${config.database} ALLOW_CONNECTIONS ${yes}`)
    for (let amount = 20; amount < 25; amount++) {
      await get()
      const [pid] = await listeners(other)
      await allow(false)
      await other.query('SELECT pg_terminate_backend($1, 5000)', [pid])
      await until(() => !cache.listening)
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
      assert.equal(await get(), 20 + amount)
      await other.query('UPDATE price SET amount = $1 WHERE id = 2', [amount])
      await allow(true)
      await until(() => cache.listening)
      assert.equal(await get(), 10 + 2 * amount)
      await other.query('UPDATE price SET amount = 10 WHERE id = 2')
    }
  }))

test('a terminated backend is an error of that call, not of the process', () =>
  scenario(async ({ cache, pool, other }) => {
    const broken = await connect({ database: other.database })
    const { pid } = (await broken.query('SELECT pg_backend_pid() AS pid')).rows[0]
    await other.query('SELECT pg_terminate_backend($1, 5000)', [pid])
    await assert.rejects(cache.get(broken, 'sum', counted(), price))
    await other.query(
      'SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
    await until(async () => {
      try {
        return (await cache.get(pool, 'sum', counted(), price)) === 30
      } catch {
        return false
      }
    })
  }))

const port = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

const pgbouncer = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer'].find((path) => existsSync(path))

test('a pooler in transaction mode is refused', { skip: !pgbouncer && 'pgbouncer is not installed' }, () =>
  scenario(async ({ config, pool, other }) => {
    const directory = mkdtempSync(join(tmpdir(), 'cache_notify.'))
    chmodSync(directory, 0o777)
    const listenPort = await port()
    writeFileSync(
      join(directory, 'pgbouncer.ini'),
      `[databases]
${config.database} = host=${other.host} port=${other.port} user=${other.user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
`,
    )
    const user = process.getuid() === 0 ? ['-u', 'postgres'] : []
    const child = spawn(pgbouncer, [...user, join(directory, 'pgbouncer.ini')], { stdio: 'ignore' })
    const pooled = { ...config, host: '127.0.0.1', port: listenPort, user: other.user }
    await until(async () => {
      try {
        await (await connect(pooled)).end()
        return true
      } catch {
        return false
      }
    })
    const cache = new Cache({ listen: pooled, log: quiet })
    try {
      assert.equal(await cache.waitUntilListening(20_000), false)
      assert.ok(cache.failure instanceof ConfigurationError)
      assert.match(cache.failure.message, /direct connection/)
      const load = counted()
      for (let i = 0; i < 2; i++) await cache.get(pool, 'sum', load, price)
      assert.equal(load.calls, 2)
    } finally {
      await cache.close()
      child.kill('SIGKILL')
      rmSync(directory, { recursive: true })
    }
  }),
)

test('without the extension', () =>
  scenario(async ({ config, other }) => {
    await other.query('DROP EXTENSION cache_notify CASCADE')
    const cache = new Cache({ listen: config, log: quiet })
    assert.equal(await cache.waitUntilListening(20_000), false)
    assert.ok(cache.failure instanceof UnsupportedExtension)
    await cache.close()
  }))

test('an extension that it does not know', () =>
  scenario(async ({ config, other }) => {
    await other.query("UPDATE pg_extension SET extversion = '2.0' WHERE extname = 'cache_notify'")
    const cache = new Cache({ listen: config, log: quiet })
    assert.equal(await cache.waitUntilListening(20_000), false)
    assert.ok(cache.failure instanceof UnsupportedExtension)
    assert.match(cache.failure.message, /cache_notify 2\.0.*1\.x/)
    await cache.close()
  }))

test('the rights of a cache', () =>
  scenario(async ({ config, pool, other }) => {
    await other.query('DROP ROLE IF EXISTS node_reader')
    await other.query('CREATE ROLE node_reader LOGIN')
    const said = []
    const log = { info: (message) => said.push(message), warn: (message) => said.push(message) }
    const cache = new Cache({ listen: { ...config, user: 'node_reader' }, heartbeat: 100, log })
    assert.ok(await cache.waitUntilListening(), cache.failure)
    const load = counted()
    const get = () => cache.get(pool, 'sum', load, price)
    await get()
    await sleep(500) // heartbeats: without the right they must not drop anything
    await get()
    assert.equal(load.calls, 1)
    assert.equal(said.filter((message) => message.includes('changes_since')).length, 1)
    await cache.close()
    await other.query('DROP OWNED BY node_reader; DROP ROLE node_reader')
  }))

test('close at any moment, and attempts that are spaced', async () => {
  const refused = { host: '127.0.0.1', port: 1 }
  for (const delay of [0, 1, 200]) {
    const cache = new Cache({ listen: refused, log: quiet })
    await sleep(delay)
    await cache.close()
    await cache.close()
    assert.equal(cache.listening, false)
  }
  const cache = new Cache({ listen: refused, log: quiet })
  await sleep(1000)
  assert.ok(cache.metrics.snapshot().listener_failures <= 6)
  await cache.close()
  await scenario(async ({ config }) => {
    for (const delay of [0, 1, 5, 20, 200]) {
      const cache = new Cache({ listen: config, log: quiet })
      await sleep(delay)
      await cache.close()
    }
  })
})
