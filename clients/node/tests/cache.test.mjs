// What a cache serves, computes and keeps.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cache, key } from 'cache-notify'
import { connect, counted, delivered, scenario, until } from './common.mjs'

const price = { reads: ['price'], tenant: 'acme' }

test('a hit, and a change', () =>
  scenario(async ({ cache, pool, other }) => {
    const load = counted()
    const get = () => cache.get(pool, 'sum', load, price)
    assert.equal(await get(), 30)
    assert.equal(await get(), 30)
    assert.equal(load.calls, 1)
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await until(async () => (await get()) === 31)
  }))

test('changes of other tenants do not matter', () =>
  scenario(async ({ cache, pool, other }) => {
    const load = counted()
    await cache.get(pool, 'sum', load, price)
    await other.query("UPDATE price SET amount = 11 WHERE tenant_id = 'globex'")
    await delivered(cache, other)
    await cache.get(pool, 'sum', load, price)
    assert.equal(load.calls, 1)
  }))

test('keys', () =>
  scenario(async ({ cache, pool, other }) => {
    const loads = [1, 2].map((id) => counted('SELECT amount::int FROM price WHERE id = $1', [id]))
    const get = (id) => cache.get(pool, 'one', loads[id - 1], { reads: [`price/${id}`], tenant: 'acme' })
    assert.equal(await get(1), await get(2))
    await other.query('UPDATE price SET amount = 12 WHERE id = 1')
    await until(async () => (await get(1)) === 12)
    await get(2)
    assert.equal(loads[1].calls, 1)
  }))

test('keys with reserved characters', () =>
  scenario(async ({ cache, pool, other }) => {
    const percent = cache.cached(
      async function percent(db, name) {
        return (await db.query('SELECT percent FROM disc WHERE name = $1', [name])).rows[0].percent
      },
      { reads: (db, name) => [key('disc', name)] },
    )
    for (const name of ['50%', 'a/b']) {
      assert.equal(await percent(pool, name), 1)
      await other.query('UPDATE disc SET percent = 2 WHERE name = $1', [name])
      await until(async () => (await percent(pool, name)) === 2)
    }
  }))

test('a result over several tenants', () =>
  scenario(async ({ cache, pool, other }) => {
    const load = counted('SELECT sum(amount)::int FROM price')
    const get = () => cache.get(pool, 'sum', load, { reads: ['price'] })
    assert.equal(await get(), 40)
    assert.equal(await get(), 40)
    assert.equal(load.calls, 1)
    await other.query("UPDATE price SET amount = 11 WHERE tenant_id = 'globex'")
    await until(async () => (await get()) === 41)
  }))

test('an unknown domain is not cached', () =>
  scenario(async ({ cache, pool }) => {
    const load = counted('SELECT n FROM plain')
    for (let i = 0; i < 3; i++) await cache.get(pool, 'n', load, { reads: ['plain'] })
    assert.equal(load.calls, 3)
    assert.equal(cache.metrics.snapshot()['refusals{unknown_domain}'], 3)
  }))

test('what cannot be meant is an error', () =>
  scenario(async ({ cache, pool }) => {
    for (const tenant of [undefined, null, NaN, {}, [], true, () => 1, 'x\0w']) {
      await assert.rejects(cache.get(pool, 'n', () => 1, { reads: ['price'], tenant }), TypeError)
    }
    for (const reads of [undefined, [], 'price', [1], [''], ['price\0disc']]) {
      await assert.rejects(cache.get(pool, 'n', () => 1, { reads }), TypeError)
    }
    for (const name of [undefined, Symbol('x'), NaN, [undefined], { a: undefined }]) {
      await assert.rejects(cache.get(pool, name, () => 1, price), TypeError)
    }
    await assert.rejects(cache.get({}, 'n', () => 1, price), /no database object/)
    for (const tenant of ['acme', 42, 42n]) {
      assert.equal(await cache.get(pool, 'n', () => 1, { reads: ['price'], tenant }), 1)
    }
  }))

test('fresh: nothing older than the call', () =>
  scenario(async ({ cache, pool, other }) => {
    const load = counted()
    for (let amount = 20; amount < 30; amount++) {
      await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
      assert.equal(await cache.get(pool, 'sum', load, { ...price, fresh: true }), 20 + amount)
    }
  }))

test('the own change is seen and not kept', () =>
  scenario(async ({ cache, pool, config }) => {
    const get = (db) => cache.get(db, 'sum', counted(), price)
    await get(pool)
    const own = await connect(config)
    await own.query('BEGIN')
    await own.query('UPDATE price SET amount = 99 WHERE id = 1')
    assert.equal(await get(own), 119)
    assert.equal(await get(pool), 30)
    await own.query('ROLLBACK')
    assert.equal(await get(own), 30)
    await own.end()
  }))

test('what a loader wrote is not kept, if it may still be rolled back', () =>
  scenario(async ({ cache, pool, config }) => {
    const own = await connect(config)
    for (const before of ['SELECT 1', null]) {
      if (before) await own.query(before)
      await own.query('BEGIN')
      const load = async (db) => {
        await db.query('UPDATE price SET amount = 99 WHERE id = 1')
        return counted()(db)
      }
      assert.equal(await cache.get(own, 'sum', load, price), 119)
      await own.query('ROLLBACK')
      assert.equal(await cache.get(pool, 'sum', counted(), price), 30)
      cache.forgetAll()
    }
    await own.end()
  }))

test('an old snapshot is used and not kept', () =>
  scenario(async ({ cache, pool, other, config }) => {
    const own = await connect(config)
    await own.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await own.query('SELECT 1 FROM price')
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await delivered(cache, other)
    assert.equal(await cache.get(own, 'sum', counted(), price), 30)
    await own.query('COMMIT')
    await own.end()
    assert.equal(await cache.get(pool, 'sum', counted(), price), 31)
    assert.equal(cache.metrics.snapshot()['refusals{old_snapshot}'], 1)
  }))

for (const [what, options, id] of [
  ['of one tenant', price, 1],
  ['of the whole domain', { reads: ['price'] }, 4],
]) {
  test(`a fill that comes late, ${what}`, () =>
    scenario(async ({ cache, pool, other }) => {
      const sum = 'tenant' in options ? counted() : counted('SELECT sum(amount)::int FROM price')
      let first
      const load = async (db) => {
        const value = await sum(db)
        await other.query('UPDATE price SET amount = amount + 1 WHERE id = $1', [id])
        await delivered(cache, other)
        return value
      }
      first = await cache.get(pool, 'sum', load, options)
      assert.equal(await cache.get(pool, 'sum', sum, options), first + 1)
    }))
}

test('of many who miss, one computes', () =>
  scenario(async ({ cache, pool }) => {
    const load = counted()
    const values = await Promise.all(
      Array.from({ length: 20 }, () => cache.get(pool, 'sum', load, price)),
    )
    assert.deepEqual(values, Array(20).fill(30))
    assert.equal(load.calls, 1)
  }))

test('a flight is not joined after a payload', () =>
  scenario(async ({ cache, pool, other }) => {
    let go, reading
    const gate = new Promise((resolve) => (go = resolve))
    const started = new Promise((resolve) => (reading = resolve))
    const slow = async (db) => {
      const value = await counted()(db)
      reading()
      await gate
      return value
    }
    const first = cache.get(pool, 'sum', slow, price)
    await started
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await delivered(cache, other)
    assert.equal(await cache.get(pool, 'sum', counted(), price), 31)
    go()
    assert.equal(await first, 30)
    assert.equal(await cache.get(pool, 'sum', counted(), price), 31)
  }))

for (const max of [10, 1]) {
  test(`loaders that ask for more, on a pool of ${max}`, () =>
    scenario(
      async ({ cache, pool }) => {
        const outer = async (db, i) =>
          (await cache.get(db, ['inner', i], counted(), price)) +
          (await cache.get(db, 'same', counted(), price))
        const values = await Promise.all(
          Array.from({ length: 10 }, (_, i) => cache.get(pool, ['outer', i], (db) => outer(db, i), price)),
        )
        assert.deepEqual(values, Array(10).fill(60))
      },
      { max },
    ))
}

test('loaders that ask for each other', () =>
  scenario(async ({ cache, pool }) => {
    const pause = () => new Promise((resolve) => setTimeout(resolve, 50))
    const load = (partner, depth) => async (db) => {
      await pause()
      return depth === 0 ? 1 : 1 + (await cache.get(db, partner, load(partner === 'a' ? 'b' : 'a', depth - 1), price))
    }
    await Promise.all([
      cache.get(pool, 'a', load('b', 3), price),
      cache.get(pool, 'b', load('a', 3), price),
    ])
    const self = async (db) => cache.get(db, 'self', () => 5, price)
    assert.equal(await cache.get(pool, 'self', self, price), 5)
  }))

test("a loader's error is the caller's, and leaves nothing behind", () =>
  scenario(async ({ cache, pool, config }) => {
    class Mine extends Error {}
    const fail = () => {
      throw new Mine()
    }
    for (let i = 0; i < 2; i++) await assert.rejects(cache.get(pool, 'sum', fail, price), Mine)
    const own = await connect(config)
    await own.query('BEGIN')
    await assert.rejects(cache.get(own, 'sum', fail, price), Mine)
    await own.end()
    assert.equal(await cache.get(pool, 'sum', counted(), price), 30)
    assert.equal(await cache.get(pool, 'old', counted(), { ...price, staleIfError: 60_000 }), 30)
    cache.forgetAll()
    assert.equal(await cache.get(pool, 'old', fail, { ...price, staleIfError: 60_000 }), 30)
  }))

test('writing', () =>
  scenario(async ({ cache, pool }) => {
    for (let amount = 20; amount < 40; amount++) {
      await cache.get(pool, 'sum', counted(), price)
      await cache.writing(() => pool.query('UPDATE price SET amount = $1 WHERE id = 1', [amount]), {
        changes: ['price'],
        tenant: 'acme',
      })
      assert.equal(await cache.get(pool, 'sum', counted(), price), 20 + amount)
    }
  }))

test('bounded, disabled, closed', () =>
  scenario(
    async ({ cache, pool }) => {
      for (let i = 0; i < 50; i++) await cache.get(pool, i, () => 1, price)
      assert.equal(cache.size, 5)
      assert.equal(cache.core.watched, 5)
      const load = counted()
      await cache.disabled(async () => {
        for (let i = 0; i < 2; i++) await cache.get(pool, 'sum', load, price)
      })
      assert.equal(load.calls, 2)
      await cache.close()
      for (let i = 0; i < 2; i++) await cache.get(pool, 'sum', load, price)
      assert.equal(load.calls, 4)
    },
    { maxEntries: 5 },
  ))

test('query(): the server finds what a statement reads', () =>
  scenario(async ({ cache, pool, other }) => {
    const statement = 'SELECT sum(amount)::int AS sum FROM price WHERE tenant_id = $1'
    const query = async () => (await cache.query(pool, statement, ['acme'], { tenant: 'acme' }))[0].sum
    assert.equal(await query(), 30)
    assert.equal(await query(), 30)
    assert.equal(cache.metrics.snapshot().hits, 1)
    await other.query('UPDATE price SET amount = 11 WHERE id = 1')
    await until(async () => (await query()) === 31)
    for (const never of ['SELECT now()', 'SELECT n FROM plain', 'SELECT random()']) {
      const before = cache.metrics.snapshot().hits
      await cache.query(pool, never)
      await cache.query(pool, never)
      assert.equal(cache.metrics.snapshot().hits, before)
    }
  }))

test('the lease must be longer than the heartbeat', () => {
  assert.throws(() => new Cache({ listen: {}, heartbeat: 5000, lease: 5000 }), RangeError)
})

test('names that could be mistaken for each other', () =>
  scenario(async ({ cache, pool }) => {
    const asked = [
      [1], ['1'], [1n], [[1]], [['1']], ['[1]'], ['j1'], [null], ['null'], [''], [{}], [[]], [{ a: 1 }],
      ['a\0tacme'], ['a', 'acme'], ['a'], ['a\0w\0price'], ['a', 'acme', ['price', 'disc']],
    ]
    for (const [n, [name, tenant, reads = ['price']]] of asked.entries()) {
      const whose = tenant === undefined ? {} : { tenant }
      assert.equal(await cache.get(pool, name, () => n, { reads, ...whose }), n, String(n))
    }
  }))

test('writing what is named otherwise: deliveries that never come do not matter', () =>
  scenario(async ({ cache, pool, other }) => {
    for (const table of ['item', '"50%"']) {
      await other.query(`CREATE TABLE ${table} (id int PRIMARY KEY, tenant_id int, n int);
        INSERT INTO ${table} VALUES (1, 7, 0);
        SELECT cache_notify.setup_table_invalidation('${table}', keys => '{id}')`)
    }
    const written = [
      ['item', 7, 'item'], ['item', '007', 'item/1'], ['item', '7', 'item/2'], ['item', 7n, 'item'],
      ['"50%"', '7', '50%'], ['"50%"', '7', '50%25/1'],
    ]
    let n = 0
    for (const [table, tenant, name] of written) {
      const domain = name.split('/')[0]
      n += 1
      const get = (reads) =>
        cache.get(pool, reads, async (db) => (await db.query(`SELECT n FROM ${table}`)).rows[0].n,
          { reads: [reads], tenant: '7' })
      for (const reads of [domain, `${domain}/1`]) await get(reads)
      await cache.writing(() => pool.query(`UPDATE ${table} SET n = ${n}`), { changes: [name], tenant })
      for (const reads of [domain, `${domain}/1`]) assert.equal(await get(reads), n, `${tenant} ${name}`)
    }
  }, { heartbeat: 1e5, lease: 2e5, channel: 'nobody sends here' }))

test('functions of one name are several results', () =>
  scenario(async ({ cache, pool }) => {
    const make = (n) => cache.cached(async function made() { return n }, { reads: ['price'] })
    const made = [make(0), make(1), cache.cached(() => 2, { reads: ['price'] }), cache.cached(() => 3, { reads: ['price'] })]
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(await Promise.all(made.map((load) => load(pool))), [0, 1, 2, 3])
    }
    assert.equal(cache.metrics.snapshot().hits, 4)
    // With a name, they are what the application says.
    const named = [4, 5].map((n) => cache.cached(() => n, { reads: ['price'], name: 'one' }))
    for (const load of named) assert.equal(await load(pool), 4)
  }))

test('another database than the one listened to: nobody would tell of changes', () => {
  const said = []
  const log = { info: () => undefined, warn: (message) => said.push(message) }
  return scenario(async ({ cache, pool: own }) =>
    scenario(async ({ pool, other }) => {
      for (let amount = 20; amount < 30; amount++) {
        await other.query('UPDATE price SET amount = $1 WHERE id = 1', [amount])
        for (let i = 0; i < 2; i++) assert.equal(await cache.get(pool, 'sum', counted(), price), 20 + amount)
      }
      assert.equal(cache.size, 0)
      assert.equal(cache.metrics.snapshot()['refusals{another_database}'], 20)
      assert.equal(said.filter((message) => message.includes('another database')).length, 1)
      await cache.get(own, 'sum', counted(), price)
      assert.equal(cache.size, 1)
    }), { log })
})

test('events are told as they come', () =>
  scenario(async ({ cache, pool }) => {
    const told = []
    cache.metrics.onEvent = (event, reason) => told.push(`${event} ${reason}`)
    await cache.get(pool, 'sum', counted(), price)
    await cache.get(pool, 'sum', counted(), price)
    await cache.get(pool, 'n', () => 1, { reads: ['plian'] })
    assert.deepEqual(told, ['misses ', 'stores ', 'misses ', 'refusals unknown_domain'])
  }))

test('query(): what is no statement, what writes, what locks, and parameters', () =>
  scenario(async ({ cache, pool, other }) => {
    for (const statement of [undefined, null, 1, { text: 'SELECT 1' }, ['SELECT 1']]) {
      await assert.rejects(cache.query(pool, statement), TypeError)
    }
    await other.query('CREATE TABLE written (n bigint)')
    for (const writes of ['INSERT INTO written SELECT count(*) FROM price RETURNING 1',
      'WITH w AS (INSERT INTO written SELECT 1 RETURNING n) SELECT n, (SELECT count(*) FROM price) FROM w']) {
      await assert.rejects(cache.query(pool, writes), /must be a SELECT/)
    }
    for (let i = 0; i < 2; i++) await cache.query(pool, 'SELECT amount FROM price WHERE id = 1 FOR UPDATE')
    assert.equal(cache.metrics.snapshot().hits, undefined)
    const values = [1, '1', 1n, true, 'true', null, 'null', 1.5, new Date(0), [1], ['1'], '\u0001', { a: 1 }]
    for (const round of [0, 1]) {
      for (const [n, value] of values.entries()) {
        const [{ text }] = await cache.query(pool, 'SELECT count(*), $1::text AS text FROM price', [value])
        assert.equal(text, (await pool.query('SELECT $1::text AS text', [value])).rows[0].text, `${n}`)
      }
      if (round === 0) assert.equal(cache.size, values.length)
    }
    assert.equal(cache.metrics.snapshot().hits, values.length)
    await assert.rejects(cache.query(pool, 'SELECT count(*), $1::text FROM price', [undefined]), TypeError)
  }))
