// A Redis and a relay, as the Python package has it, which tests may kill, pause and empty.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Cache } from 'cache-notify'
import { createClient } from 'redis'
import { counted, quiet, scenario, until } from './common.mjs'

const PYTHON = resolve(import.meta.dirname, '../../../../python/build/venv/bin/python')
export const skip = existsSync(PYTHON) ? false : 'the Python package is not prepared'

export const ended = (process) => new Promise((done) => process.once('exit', done))

/** Runs play({ pool, other, store, relay, node, ... }) with a Redis, a relay and a node. */
export const relayed = (play, options = {}) =>
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
      await play({ ...rest, config, url, store, relay, startRelay, node, ...watch(node, rest) })
    } finally {
      await node?.close()
      for (const child of processes) child.kill('SIGKILL')
      await Promise.all(processes.map((child) => child.exitCode ?? child.signalCode ?? ended(child)))
      rmSync(directory, { recursive: true })
    }
  })

/** A result, and how to look whether it is served and true. */
export function watch(node, { pool, other }) {
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
