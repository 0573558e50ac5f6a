// A cache that listens to a relay, as the Python package has it: whatever dies, is paused
// or emptied, nothing stale is served, and listening goes on by itself.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { Cache } from 'cache-notify'
import { createClient } from 'redis'
import { counted, quiet, scenario, until } from './common.mjs'

const PYTHON = resolve(import.meta.dirname, '../../../../python/build/venv/bin/python')
const skip = existsSync(PYTHON) ? false : 'the Python package is not prepared'

const ended = (process) => new Promise((done) => process.once('exit', done))

/** Runs play({ pool, other, store, relay, node, ... }) with a Redis, a relay and a node. */
const relayed = (play, options = {}) =>
  scenario(async ({ cache, config, ...rest }) => {
    await cache.close()
    const directory = mkdtempSync(join(tmpdir(), 'relay.'))
    const url = `unix://${directory}/redis`
    const processes = []
    const run = (command, args, env = {}) => {
      const child = spawn(command, args, { cwd: directory, stdio: 'ignore', env: { ...process.env, ...env } })
      processes.push(child)
      return child
    }
    const answers = () =>
      new Promise((done) => {
        const socket = createConnection(`${directory}/redis`)
        socket.on('connect', () => socket.end(() => done(true))).on('error', () => done(false))
      })
    const store = {
      async start() {
        this.process = run('redis-server', ['--port', '0', '--unixsocket', 'redis', '--save', ''])
        await until(answers)
      },
      async kill() {
        this.process.kill('SIGKILL')
        await ended(this.process)
      },
      async command(...words) {
        const client = await createClient({ socket: { path: `${directory}/redis`, tls: false } }).connect()
        try {
          return await client.sendCommand(words)
        } finally {
          client.destroy()
        }
      },
    }
    const startRelay = () =>
      run(PYTHON, ['-m', 'cache_notify._cli', 'relay', '--heartbeat', '0.1', '--lease', '1'], {
        CACHE_NOTIFY_LISTEN: `dbname=${config.database}`,
        CACHE_NOTIFY_REDIS: url,
      })
    let node
    try {
      await store.start()
      const relay = startRelay()
      node = new Cache({ listen: url, heartbeat: 200, lease: 3_000, log: quiet, ...options })
      await until(() => node.listening)
      await play({ ...rest, config, store, relay, startRelay, node, ...watch(node, rest) })
    } finally {
      await node?.close()
      for (const child of processes) child.kill('SIGKILL')
      await Promise.all(processes.map((child) => child.exitCode ?? child.signalCode ?? ended(child)))
      rmSync(directory, { recursive: true })
    }
  })

/** A result, and how to look whether it is served and true. */
function watch(node, { pool, other }) {
  const load = counted('SELECT amount::int FROM price WHERE id = 1')
  let amount = 10
  const get = () => node.get(pool, 'one', load, { reads: ['price/1'], tenant: 'acme' })
  const isKept = async () => {
    assert.equal(await get(), amount)
    const { calls } = load
    await get()
    return load.calls === calls
  }
  return {
    get,
    load,
    async change() {
      amount += 1
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
    },
    /** The last change is seen, and then served from memory again. */
    async comes() {
      await until(async () => (await get()) === amount)
      await until(isKept)
    },
    async neverStaleFromNow(ms = 500) {
      for (const end = performance.now() + ms; performance.now() < end; ) {
        assert.equal(await get(), amount)
        await new Promise((done) => setTimeout(done, 10))
      }
    },
  }
}

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
