// Reading from a standby: what the primary has said must be there.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Cache } from 'cache-notify'
import pg from 'pg'
import { connect, counted, quiet, scenario, until } from './common.mjs'

const skip = process.getuid() === 0 && 'PostgreSQL does not run as root'

/** Runs play({ standby, ... }) with a hot standby of the server: how to connect to it. */
const replicated = (play, options) =>
  scenario(async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'cache_notify.'))
    const data = join(directory, 'data')
    const run = (program, ...args) => execFileSync(program, args, { stdio: 'ignore' })
    run('pg_basebackup', '-D', data, '-R', '-c', 'fast')
    run('pg_ctl', 'start', '-s', '-w', '-D', data, '-o', `-k ${directory}`, '-l', `${data}.log`)
    const standby = { ...context.config, host: directory }
    const db = await connect(standby)
    try {
      await until(async () => (await db.query('SELECT count(*)::int AS n FROM price')).rows[0].n === 4)
      await play({ ...context, standby, db })
    } finally {
      await db.end()
      run('pg_ctl', 'stop', '-s', '-D', data, '-m', 'immediate')
      rmSync(directory, { recursive: true })
    }
  }, options)

for (const whose of [{ tenant: 'acme' }, {}]) {
  test(`a standby that lags: ${'tenant' in whose ? 'a tenant' : 'the whole domain'}`, { skip }, () =>
    replicated(async ({ cache, db, other }) => {
      const load = counted()
      const get = () => cache.get(db, 'sum', load, { reads: ['price'], ...whose })
      await get()
      assert.equal(await get(), 30)
      assert.equal(load.calls, 1)
      await db.query('SELECT pg_wal_replay_pause()')
      await until(async () => (await db.query("SELECT pg_get_wal_replay_pause_state() = 'paused' AS it")).rows[0].it)
      const before = cache.core.ticket().sequence
      await other.query('UPDATE price SET amount = 11 WHERE id = 1')
      await until(() => cache.core.ticket().sequence !== before)
      for (let i = 0; i < 2; i++) assert.equal(await get(), 30) // the standby has no other
      assert.equal(cache.size, 0)
      assert.ok(cache.metrics.snapshot()['refusals{lagging_standby}'] >= 2)
      await db.query('SELECT pg_wal_replay_resume()')
      await until(async () => (await db.query('SELECT max(amount) = 11 AS it FROM price')).rows[0].it)
      assert.equal(await get(), 31)
      assert.equal(cache.size, 1)
      // The primary was asked over one connection.
      const { rows } = await other.query(
        `SELECT count(*)::int AS n FROM pg_stat_activity
         WHERE application_name = 'cache_notify primary' AND datname = current_database()`)
      assert.equal(rows[0].n, 1)
    }))
}

test('a pool of standbys is not kept', { skip }, () =>
  replicated(async ({ cache, standby }) => {
    const pool = new pg.Pool(standby)
    for (let i = 0; i < 2; i++) {
      assert.equal(await cache.get(pool, 'sum', counted(), { reads: ['price'], tenant: 'acme' }), 30)
    }
    assert.equal(cache.metrics.snapshot()['refusals{pool_of_standbys}'], 2)
    await pool.end()
  }))

test('a standby is read while the primary does not answer', { skip }, () =>
  replicated(async ({ config, db }) => {
    const cache = new Cache({ listen: config, primary: { host: '127.0.0.1', port: 1 }, log: quiet })
    try {
      assert.ok(await cache.waitUntilListening())
      for (let i = 0; i < 5; i++) {
        assert.equal(await cache.get(db, 'sum', counted(), { reads: ['price'], tenant: 'acme' }), 30)
      }
      const counts = cache.metrics.snapshot()
      assert.equal(counts['refusals{lagging_standby}'], 5)
      assert.equal(counts.primary_failures, 1)
      assert.equal(cache.size, 0)
    } finally {
      await cache.close()
    }
  }))
