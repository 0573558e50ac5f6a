// What applications test with: checkReads(), and a cache without a server.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cache } from 'cache-notify'
import { checkReads, FakeCache, MissingReads } from 'cache-notify/testing'
import { kinds } from './kinds.mjs'
import { connect, scenario } from './common.mjs'

const OBJECTS = `
  CREATE VIEW named AS SELECT p.id, d.percent FROM price p LEFT JOIN disc d ON d.name = p.tenant_id;
  CREATE FUNCTION discs() RETURNS bigint LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN (SELECT count(*) FROM disc); END';
  CREATE TABLE child (id int) PARTITION BY LIST (id);
  CREATE TABLE child_1 PARTITION OF child FOR VALUES IN (1);
  SELECT cache_notify.setup_table_invalidation('child');
  INSERT INTO cache_notify.cascade_rules (source_domain, target_domain) VALUES
    ('disc', 'offer'), ('offer', 'page')`

// Statement, reads, what is lacking.
const READ = [
  ['SELECT 1', ['price'], null],
  ['SELECT id FROM named', ['price', 'disc'], null],
  ['SELECT id FROM named', ['price'], /disc/], // the join is removed, the lock is there
  ['SELECT discs()', ['price'], /disc/],
  ['SELECT discs()', ['disc/50%25'], null],
  ['SELECT * FROM child', ['child'], null],
  ['SELECT * FROM child', ['price'], /public\.child: add 'child'/],
  ['SELECT * FROM price WHERE false', ['disc'], /price/],
  ['SELECT * FROM plain', ['price'], /public\.plain: not watched/],
  ['SELECT * FROM disc', ['page'], null], // by cascade rules
  ['SELECT * FROM disc', ['offer'], null],
  ['SELECT * FROM price', ['offer'], /price/],
  ['SELECT * FROM price', ['prise'], /nothing feeds/],
]

test('what a loader reads', () =>
  scenario(async ({ pool, other }) => {
    await other.query(OBJECTS)
    for (const [statement, reads, lacks] of READ) {
      const checked = checkReads(pool, (db) => db.query(statement), { reads })
      if (lacks === null) await checked
      else await assert.rejects(checked, (error) => error instanceof MissingReads && lacks.test(error.message))
    }
    assert.equal(await checkReads(pool, async (db) => (await db.query('SELECT n FROM plain')).rows[0].n,
      { reads: ['price'], ignore: ['public.plain'] }), 1)
  }))

for (const [kind, make] of Object.entries(kinds)) {
  test(`checkReads() with ${kind}`, () =>
    scenario(async ({ config, cache }) => {
      const { db, sum, end } = await make(config)
      try {
        assert.equal(await checkReads(db, sum, { reads: ['price'], tenant: 'acme' }), 30)
        await assert.rejects(checkReads(db, sum, { reads: ['disc'] }), /public\.price: add 'price'/)
        // The connection is as it was.
        assert.equal(await cache.get(db, 'sum', sum, { reads: ['price'], tenant: 'acme' }), 30)
      } finally {
        await end()
      }
    }))
}

test('within a transaction, and loaders that end it or fail', () =>
  scenario(async ({ config, pool }) => {
    const own = await connect(config)
    await own.query('SELECT 1')
    await checkReads(own, (db) => db.query('SELECT 1'), { reads: ['price'] })
    await own.query('BEGIN')
    await own.query('SELECT * FROM disc')
    // Everything was read before: the scans say it.
    await assert.rejects(checkReads(own, (db) => db.query('SELECT * FROM disc'), { reads: ['price'] }), /disc/)
    await own.query('ROLLBACK')
    await own.end()
    await assert.rejects(checkReads(pool, (db) => db.query('COMMIT'), { reads: ['price'] }), /ended the transaction/)
    await assert.rejects(checkReads(pool, () => Promise.reject(new RangeError('mine')), { reads: ['price'] }), RangeError)
    for (const wrong of [{ reads: [] }, { reads: ['price'], tenant: undefined }]) {
      await assert.rejects(checkReads(pool, () => 1, wrong), TypeError)
    }
  }))

// ---------------------------------------------------------------------- the fake

const numbers = () => {
  let calls = 0
  return () => (calls += 1)
}

test('the fake', async () => {
  const cache = new FakeCache()
  const load = numbers()
  const get = (options) => cache.get(null, 'n', load, { reads: ['price/1'], tenant: 7, ...options })
  assert.deepEqual([await get(), await get(), await get({ fresh: true })], [1, 1, 1])
  cache.change('price/2', 7)
  cache.change('price/1', 'other')
  cache.change('disc', 7)
  assert.deepEqual([await get(), await get({ fresh: true })], [1, 1])
  for (const [n, change] of [['price/1', 7], ['price', 7], ['price']].entries()) {
    cache.change(...change)
    assert.deepEqual([await get(), await get(), await get({ fresh: true })], [n + 2, n + 2, n + 2])
  }
  assert.equal(cache.metrics.snapshot().misses, 4)
  await cache.disabled(async () => assert.deepEqual([await get(), await get()], [5, 6]))
  await cache.close()
  assert.equal(await get(), 7)
})

test('the fake: whole domains, what is fed, query() and cached()', async () => {
  const whole = new FakeCache()
  const load = numbers()
  const get = () => whole.get(null, 'n', load, { reads: ['price'] })
  assert.deepEqual([await get(), await get()], [1, 1])
  whole.change('price/1', 'acme')
  assert.deepEqual([await get(), await get()], [2, 2])
  const fed = new FakeCache({ domains: ['price'], log: { info() {}, warn() {} } })
  const unknown = numbers()
  for (const n of [1, 2]) assert.equal(await fed.get(null, 'n', unknown, { reads: ['prise'] }), n)
  assert.equal(fed.metrics.snapshot()['refusals{unknown_domain}'], 2)
  const cache = new FakeCache({ readsOf: (statement) => (statement.includes('price') ? ['price'] : []), log: { info() {}, warn() {} } })
  let asked = 0
  const db = async () => [(asked += 1)]
  for (let i = 0; i < 2; i++) assert.deepEqual(await cache.query(db, 'SELECT price'), [1])
  for (const n of [2, 3]) assert.deepEqual(await cache.query(db, 'SELECT now()'), [n])
  const one = cache.cached((db, id) => db(id), { reads: (_, id) => [`price/${id}`] })
  const got = []
  for (const id of [1, 1, 2]) got.push((await one(db, id))[0])
  assert.deepEqual(got, [4, 4, 5])
  await cache.writing(() => undefined, { changes: ['price'] })
  assert.deepEqual(await one(db, 1), [6])
})

test('the fake does what the real one does', () =>
  scenario(async ({ cache, pool, other }) => {
    const fake = new FakeCache()
    assert.ok(fake instanceof Cache && fake.listening)
    const all = async (cache, load, fresh) => {
      const seen = []
      for (const name of ['price', 'price/1', 'price/2']) {
        for (const whose of [{ tenant: 'acme' }, { tenant: 'globex' }, {}]) {
          seen.push(await cache.get(pool, name, load, { reads: [name], fresh, ...whose }))
        }
      }
      return seen
    }
    for (const each of [cache, fake]) assert.deepEqual(await all(each, numbers(), false), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    fake.change('price/1', 'acme')
    const expected = ['new', 2, 'new', 'new', 5, 'new', 7, 8, 9]
    for (const each of [cache, fake]) assert.deepEqual(await all(each, () => 'new', true), expected)
  }))
