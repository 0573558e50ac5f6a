// The code of the documents runs, and comes to what it says: each block of README.md in turn.
// "// runs the query" and "// from memory" are compared with what explain() tells.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import * as package_ from 'cache-notify'
import * as testing from 'cache-notify/testing'
import ts from 'typescript'
import { scenario } from './common.mjs'

const README = new URL('../../../README.md', import.meta.url)
const AsyncFunction = (async () => undefined).constructor

test('what the README shows', () =>
  scenario(async ({ config, pool, other }) => {
    await other.query(`
      CREATE TABLE product (id int PRIMARY KEY, tenant_id text, name text);
      SELECT cache_notify.setup_table_invalidation('product', keys => '{id}', fields => '{keys}');
      INSERT INTO product VALUES (42, 'acme', 'chair');`)
    const blocks = [...(await readFile(README, 'utf8')).matchAll(/^```(?:ts|js)\n(.*?)^```$/gms)].map((found) => found[1])
    assert.ok(blocks.length >= 4)

    // Addresses are those of the test; who shares or relays is not there, as if it had died.
    const opened = []
    class Cache extends package_.Cache {
      constructor(options) {
        const listen = String(options.listen).startsWith('redis') ? 'redis://127.0.0.1:1/0?name=shop' : config
        super({ ...options, listen, log: { info() {}, warn() {} } })
        opened.push(this)
      }
    }
    class RedisTier extends package_.RedisTier {
      constructor() {
        super('redis://127.0.0.1:1')
      }
    }
    const told = []
    const names = {
      ...package_, ...testing, Cache, RedisTier, pool,
      app: { set() {}, use: (middleware) => assert.equal(typeof middleware, 'function') },
      loadTotal: async (db) => (await db.query('SELECT sum(amount)::int AS sum FROM price')).rows[0].sum,
      listening: async () => assert.ok(await opened[0].waitUntilListening()),
      saying: async (call) => {
        const [, what] = await package_.explain(call)
        told.push(String(what).split(' ')[0])
      },
    }
    const promised = []
    try {
      let cache
      for (const block of blocks) {
        const body = block
          .replace(/^import .*\n/gm, '')
          .replace(/^const pool = .*\n/gm, '')
          .replace(/^(await .*?) \/\/ (runs the query|from memory).*$/gm, (_, call, says) => {
            promised.push(says === 'from memory' ? 'hit' : 'miss')
            return `await listening(); await saying(async () => ${call})`
          })
        const own = /const cache = /.test(body)
        const { outputText } = ts.transpileModule(body, { compilerOptions: { target: 'es2022', module: 'esnext' } })
        const run = new AsyncFunction(...Object.keys(names), ...(own ? [] : ['cache']), `${outputText}\nreturn cache`)
        cache = await run(...Object.values(names), ...(own ? [] : [cache]))
      }
    } finally {
      for (const one of opened) await one.close()
    }
    assert.deepEqual(promised, ['miss', 'hit'])
    assert.deepEqual(told, promised)
  }))
