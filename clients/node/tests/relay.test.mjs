// A cache that listens to a relay, as the Python package has it: whatever dies, is paused
// or emptied, nothing stale is served, and listening goes on by itself.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cache } from 'cache-notify'
import { counted, quiet, scenario, until } from './common.mjs'
import { relayed, skip } from './relaying.mjs'

test('changes come', { skip }, () =>
  relayed(async ({ change, comes, other }) => {
    for (let i = 0; i < 5; i++) {
      await change()
      await comes()
    }
    const { rows } = await other.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'cache_notify listener'`,
    )
    assert.equal(rows[0].n, 1)
  }))

test('a statement is analysed anew when a view is redefined', { skip }, () =>
  relayed(async ({ node, pool, other }) => {
    await other.query('CREATE VIEW cheap AS SELECT * FROM price')
    const get = async () => (await node.query(pool, 'SELECT id FROM cheap', [], { tenant: 'acme' })).length
    assert.equal(await get(), 4)
    await other.query('CREATE OR REPLACE VIEW cheap AS SELECT * FROM price WHERE id = 1')
    await until(async () => (await get()) === 1)
  }))

test('no relay is left: the lease ends, and nothing is missed afterwards', { skip }, () =>
  relayed(async ({ node, relay, startRelay, change, comes, neverStaleFromNow, load }) => {
    await comes()
    relay.kill('SIGKILL')
    await until(() => !node.listening)
    await change()
    await neverStaleFromNow()
    await until(() => node.failure !== undefined)
    startRelay()
    await until(() => node.listening)
    await neverStaleFromNow()
    await comes()
    const { calls } = load
    assert.equal(node.metrics.snapshot()['resets{relay_epoch}'], undefined)
    assert.ok(calls > 0)
  }))

test('another relay takes over', { skip }, () =>
  relayed(async ({ relay, startRelay, change, comes }) => {
    const second = startRelay()
    await comes()
    relay.kill('SIGKILL')
    await change()
    await comes()
    assert.equal(second.exitCode, null)
  }))

test('Redis is killed, and comes back empty', { skip }, () =>
  relayed(async ({ node, store, change, comes, neverStaleFromNow }) => {
    for (let i = 0; i < 2; i++) {
      await comes()
      await store.kill()
      await until(() => !node.listening)
      await change()
      await neverStaleFromNow(200)
      await store.start()
      await until(() => node.listening)
      await neverStaleFromNow()
      await change()
      await comes()
    }
    const counts = node.metrics.snapshot()
    assert.ok((counts['resets{relay_epoch}'] ?? 0) + counts['resets{began_to_listen}'] >= 3)
  }))

test('Redis is emptied', { skip }, () =>
  relayed(async ({ store, change, comes }) => {
    for (let i = 0; i < 3; i++) {
      await change()
      await store.command('FLUSHALL')
      await change()
      await comes()
    }
  }))

test('frames that did not come are read from the stream', { skip }, () =>
  relayed(async ({ node, store, change, comes }) => {
    for (let i = 0; i < 3; i++) {
      await comes()
      await store.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await change()
      await comes()
    }
    assert.equal(node.metrics.snapshot()['resets{relay_gap}'], undefined)
  }))

test('frames that nobody has any more are a reset', { skip }, () =>
  relayed(
    async ({ node, store, change, comes }) => {
      await comes()
      await store.command('CLIENT', 'KILL', 'TYPE', 'pubsub')
      await change()
      await until(async () => Number(await store.command('XLEN', 'cache_notify:changes')) > 0)
      await store.command('XTRIM', 'cache_notify:changes', 'MAXLEN', '0')
      await change()
      await comes()
      assert.ok(node.listening)
    },
    { heartbeat: 1_000, lease: 10_000 },
  ))

test('Redis is paused: the lease ends, and what comes late proves nothing', { skip }, () =>
  relayed(
    async ({ node, store, change, comes, neverStaleFromNow }) => {
      await comes()
      store.process.kill('SIGSTOP')
      await until(() => !node.listening, 3_000)
      await change()
      await neverStaleFromNow(1_000)
      store.process.kill('SIGCONT')
      await neverStaleFromNow(1_000)
      await comes()
    },
    { lease: 1_000 },
  ))

test('close at any moment', { skip }, () =>
  relayed(async ({ startRelay }) => {
    assert.ok(startRelay)
    for (const delay of [0, 10, 300]) {
      const node = new Cache({ listen: 'redis://127.0.0.1:1', log: quiet })
      await new Promise((done) => setTimeout(done, delay))
      await node.close()
      await node.close()
      assert.equal(node.listening, false)
    }
  }))

test('connection lost while keys were on their way', () =>
  scenario(
    async ({ cache, pool, other }) => {
      const get = () =>
        cache.get(pool, 'one', counted('SELECT amount::int FROM price WHERE id = 1'), {
          reads: ['price/1'],
          tenant: 'acme',
        })
      assert.equal(await get(), 10)
      await other.query('UPDATE price SET amount = 11 WHERE id = 1')
      const { version } = (await other.query("SELECT cache_notify.version('price', 'acme')::int")).rows[0]
      await until(() => cache.core.heardVersion('acme', 'price') === version)
      const listener = async () =>
        (
          await other.query(
            `SELECT pid FROM pg_stat_activity
             WHERE application_name = 'cache_notify listener' AND datname = current_database()`,
          )
        ).rows[0]?.pid
      const pid = await listener()
      await other.query('SELECT pg_terminate_backend($1, 5000)', [pid])
      // It may listen again before anybody sees that it did not.
      await until(async () => ![undefined, pid].includes(await listener()))
      await until(() => cache.listening)
      assert.equal(await get(), 11)
    },
    { channel: 'where_nothing_is_sent', heartbeat: 1_000 },
  ))
