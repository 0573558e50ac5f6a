'use strict';

// Tests of the near cache, against the server that PGHOST and PGPORT name; run
// by `tools/with-server examples/near_cache_node/test`.

const assert = require('node:assert/strict');
const { after, afterEach, before, beforeEach, test } = require('node:test');
const { Client, Pool } = require('pg');
const { NearCache } = require('./near_cache');

const SCHEMA = `
  CREATE EXTENSION IF NOT EXISTS cache_notify;
  CREATE TABLE price (id int PRIMARY KEY, tenant_id text, amount int);
  CREATE TABLE rate (percent int);
  INSERT INTO price VALUES (1, 'acme', 10), (2, 'globex', 20);
  INSERT INTO rate VALUES (7);
  CREATE TABLE item (id int PRIMARY KEY, tenant_id text, amount int);
  INSERT INTO item SELECT i, 'acme', 0 FROM generate_series(1, 1000) i;
  SELECT cache_notify.setup_table_invalidation('item', keys => '{id}', fields => '{keys}');
  SELECT cache_notify.setup_table_invalidation('price');
  SELECT cache_notify.setup_table_invalidation('rate');
  CREATE ROLE listener LOGIN IN ROLE pg_monitor;   -- for changes_since()
`;

let admin;
let pool;
let cache;
let loads;

async function waitUntil(condition) {
  const ends = performance.now() + 10_000;
  while (!(await condition())) {
    assert.ok(performance.now() < ends, 'waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// No heartbeat comes to the rescue of a lost notification.
const newCache = (options) => new NearCache({ user: 'listener' },
  { heartbeat: 30_000, lease: 60_000, onError() {}, ...options });

const load = (tenant) => async (client) => {
  loads++;
  const { rows: [row] } = await client.query(
    'SELECT amount, (SELECT percent FROM rate) AS percent FROM price WHERE tenant_id = $1', [tenant]);
  return row;
};

const get = (tenant = 'acme', { from = pool, by = load(tenant), ...options } = {}) =>
  cache.get(from, tenant, ['price', 'rate'], 'price', by, options);

const held = (tenant = 'acme') => cache.has(tenant, 'price');

// get(), which must load so often.
async function getLoading(expected, ...args) {
  const start = loads;
  const value = await get(...args);
  assert.equal(loads - start, expected);
  return value;
}

// Changes the tenant's price by another session; returns the new one.
async function change(tenant = 'acme') {
  const { rows: [{ amount }] } = await admin.query(
    'UPDATE price SET amount = amount + 1 WHERE tenant_id = $1 RETURNING amount', [tenant]);
  return amount;
}

before(async () => {
  admin = new Client();
  await admin.connect();
  await admin.query(SCHEMA);
  pool = new Pool();
});

after(async () => {
  await pool.end();
  await admin.end();
});

beforeEach(async () => {
  loads = 0;
  cache = newCache();
  await waitUntil(() => cache.listening);
});

afterEach(() => cache.close());

test('served from memory until changed', async () => {
  const first = await get();
  assert.equal(await getLoading(0), first);
  const amount = await change();
  await waitUntil(() => !held());
  assert.equal((await getLoading(1)).amount, amount);
  assert.equal((await getLoading(0)).amount, amount);
});

test('other tenants keep theirs', async () => {
  await get();
  await get('globex');
  await change();
  await waitUntil(() => !held());
  await getLoading(0, 'globex');
});

test('a shared change concerns every tenant', async () => {
  await get();
  await get('globex');
  const { rows: [{ percent }] } = await admin.query(
    'UPDATE rate SET percent = percent + 1 RETURNING percent');
  await waitUntil(() => !held() && !held('globex'));
  assert.equal((await getLoading(1)).percent, percent);
  assert.equal((await getLoading(1, 'globex')).percent, percent);
});

test('a rollback changes nothing', async () => {
  await get();
  await get('globex');
  await admin.query('BEGIN');
  await change();
  await admin.query('ROLLBACK');
  await change('globex'); // heard after what the other would have sent
  await waitUntil(() => !held('globex'));
  await getLoading(0);
});

test('a late fill is refused', async () => {
  await get('globex');
  await get('acme', {
    by: async (client) => {
      const value = await load('acme')(client);
      await change();
      await change('globex'); // heard after the other
      await waitUntil(() => !held('globex'));
      return value;
    },
  });
  assert.ok(!held());
  await getLoading(1);
  assert.ok(held());
});

test('a fill overtaken by a reset is refused', async () => {
  await get('globex');
  await get('acme', {
    by: async (client) => {
      const value = await load('acme')(client);
      await admin.query(`NOTIFY cache_invalidation, '{"reset": true}'`);
      await waitUntil(() => !held('globex'));
      return value;
    },
  });
  assert.ok(!held());
});

for (const payload of ['{"reset": true}', 'something new', 'null']) {
  test(`everything is dropped by: ${payload}`, async () => {
    await get();
    await get('globex');
    await admin.query(`SELECT pg_notify('cache_invalidation', $1)`, [payload]);
    await waitUntil(() => !held() && !held('globex'));
  });
}

test('own changes are seen and kept from others', async () => {
  const others = await get();
  const client = await pool.connect();
  const inside = { from: client, transaction: true };
  await client.query('BEGIN');
  await getLoading(0, 'acme', inside); // nothing changed yet
  await client.query(`UPDATE price SET amount = -1 WHERE tenant_id = 'acme'`);
  assert.equal((await getLoading(1, 'acme', inside)).amount, -1);
  assert.equal(await getLoading(0), others);
  await client.query('ROLLBACK');
  client.release();
  assert.equal(await getLoading(0), others);
});

test('an old snapshot fills nothing', async () => {
  await get('globex');
  const client = await pool.connect();
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await client.query('SELECT FROM price');
  const amount = await change();
  await admin.query(`NOTIFY cache_invalidation, '{"reset": true}'`); // so that nobody remembers it
  await waitUntil(() => !held('globex'));
  assert.notEqual((await get('acme', { from: client, transaction: true })).amount, amount);
  await client.query('COMMIT');
  client.release();
  assert.equal((await get()).amount, amount);
});

test('fresh sees what was not delivered', async () => {
  await cache.close();
  cache = newCache({ channel: 'elsewhere' });
  await waitUntil(() => cache.listening);
  const { amount: old } = await get();
  const amount = await change();
  assert.equal((await getLoading(0)).amount, old);
  assert.equal((await getLoading(1, 'acme', { fresh: true })).amount, amount);
  await getLoading(0, 'acme', { fresh: true });
});

test('a lost connection is caught up', async () => {
  await get();
  await get('globex');
  await admin.query('ALTER ROLE listener NOLOGIN');
  await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'listener'`);
  await waitUntil(() => !cache.listening);
  await getLoading(0); // one question to the server: still current
  let amount = await change();
  assert.equal((await getLoading(1)).amount, amount);
  amount = await change(); // while nobody listens
  await admin.query('ALTER ROLE listener LOGIN');
  await waitUntil(() => cache.listening);
  assert.equal((await getLoading(1)).amount, amount);
  await getLoading(0, 'globex'); // was not touched, was not dropped
});

// ---------------------------------------------------------------------- keys

const getItem = (number, by) => cache.get(pool, 'acme', [`item/${number}`], `item ${number}`,
  by ?? (async (client) => {
    loads++;
    const { rows: [{ amount }] } = await client.query('SELECT amount FROM item WHERE id = $1', [number]);
    return amount;
  }));

const heldItems = (...numbers) => numbers.map((number) => cache.has('acme', `item ${number}`));

const changeItems = (...numbers) =>
  admin.query('UPDATE item SET amount = amount + 1 WHERE id = ANY ($1)', [numbers]);

const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

test('a change drops its own keys', async () => {
  for (const number of [1, 2, 3, 4]) await getItem(number);
  await cache.get(pool, 'acme', ['item/1', 'item/4'], 'both', () => 0);
  await cache.get(pool, 'acme', ['item'], 'all', () => 0);
  await changeItems(1, 2);
  await waitUntil(() => !heldItems(1)[0]);
  assert.deepEqual(heldItems(1, 2, 3, 4), [false, false, true, true]);
  assert.ok(!cache.has('acme', 'both'));
  assert.ok(!cache.has('acme', 'all'));
  loads = 0;
  assert.equal(await getItem(3), 0);
  assert.equal(loads, 0);
  assert.equal(await getItem(1), 1);
  assert.equal(loads, 1);
});

test('too many keys are all keys', async () => {
  await getItem(999);
  await changeItems(...range(1, 500));
  await waitUntil(() => !heldItems(999)[0]);
  await getItem(999);
  await admin.query(`SELECT cache_notify.invalidate('item')`);
  await waitUntil(() => !heldItems(999)[0]);
});

test('a late fill is refused by key', async () => {
  // Loads while these change, until that has been heard.
  const slow = (...changed) => async () => {
    await cache.get(pool, 'acme', ['item'], 'marker', () => 0);
    await changeItems(...changed);
    await waitUntil(() => !cache.has('acme', 'marker'));
    return 0;
  };
  await getItem(5, slow(5));
  await getItem(6, slow(7));
  assert.deepEqual(heldItems(5, 6), [false, true]);
  await getItem(9, slow(...range(100, 600)));
  assert.deepEqual(heldItems(9), [false]);
});

test('a result over all tenants goes with any tenant\'s change', async () => {
  const total = (load) => cache.get(pool, null, ['item'], 'total', load
    ?? (async (client) => Number((await client.query('SELECT sum(amount) FROM item')).rows[0].sum)));
  const before = await total();
  assert.ok(cache.has(null, 'total'));
  assert.equal(await total(() => assert.fail()), before);
  await cache.get(pool, null, ['item/1'], 'one', () => 1);
  await cache.get(pool, null, ['item/2'], 'two', () => 2);
  await changeItems(2);
  await waitUntil(() => !cache.has(null, 'total'));
  assert.equal(await total(), before + 1);
  assert.ok(cache.has(null, 'one'));
  assert.ok(!cache.has(null, 'two'));
  // A fill that is under way when the payload comes is not stored.
  await cache.get(pool, null, ['item'], 'late', async () => {
    await changeItems(3);
    await waitUntil(() => !cache.has(null, 'total'));
    return 0;
  });
  assert.ok(!cache.has(null, 'late'));
});

test('a heartbeat drops other keys only if no payload comes', async () => {
  await cache.close();
  cache = newCache({ channel: 'elsewhere', heartbeat: 50 });
  await waitUntil(() => cache.listening);
  await getItem(10);
  await getItem(11);
  await changeItems(11);
  await waitUntil(() => !heldItems(10)[0]);
  assert.deepEqual(heldItems(11), [false]);
  await cache.close();
  cache = newCache({ heartbeat: 1000 });
  await waitUntil(() => cache.listening);
  await getItem(10);
  for (const ends = performance.now() + 2500; performance.now() < ends;) {
    await getItem(11);
    await changeItems(11);
    await waitUntil(() => !heldItems(11)[0]);
  }
  assert.deepEqual(heldItems(10), [true]);
});

test('names of keys are escaped as the server does it', async () => {
  await admin.query(`
    CREATE TABLE odd (a text, b text);
    SELECT cache_notify.setup_table_invalidation('odd', 'o%d', keys => '{a,b}', fields => '{keys}')`);
  const { rows: [{ name }] } = await admin.query(
    `SELECT cache_notify.key_name('o%d', 'X/y', '50%') AS name`);
  const { rows: [{ other }] } = await admin.query(
    `SELECT cache_notify.key_name('o%d', 'X', 'y') AS other`);
  await cache.get(pool, 'acme', [name], 'odd', () => 0);
  await cache.get(pool, 'acme', [other], 'other', () => 0);
  await admin.query(`INSERT INTO odd VALUES ('X/y', '50%')`);
  await waitUntil(() => !cache.has('acme', 'odd'));
  assert.ok(cache.has('acme', 'other'));
});

test('names in another spelling are those of payloads', async () => {
  const customer = '550E8400-E29B-41D4-A716-446655440000';
  await admin.query(`
    CREATE TABLE account (id numeric, customer uuid, amount int);
    INSERT INTO account VALUES (1.0, '${customer}', 1), (2.0, '${customer}', 1);
    SELECT cache_notify.setup_table_invalidation('account', tenant_column => 'customer', keys => '{id}', fields => '{keys}')`);
  await cache.get(pool, customer, ['account/1.00'], 'one', () => 0);
  await cache.get(pool, customer, ['account/2'], 'two', () => 0);
  await admin.query('UPDATE account SET amount = 2 WHERE id = 1');
  await waitUntil(() => !cache.has(customer, 'one'));
  assert.ok(cache.has(customer, 'two'));
});

// --------------------------------------------------------------------- claims

const claiming = async (claim = 60_000) => {
  await cache.close();
  cache = newCache({ claim });
  await waitUntil(() => cache.listening);
};

// Of another process.
const claimElsewhere = async (client, name) => (await client.query(
  `SELECT cache_notify.claim_refresh($1, cache_notify.token('acme', 'price', 'rate'), '1 minute') AS claimed`,
  [JSON.stringify(['acme', name])])).rows[0].claimed;

test('of a herd one computes, the others get what was before', async () => {
  await claiming();
  const old = await get();
  const amount = await change();
  await waitUntil(() => !held());
  let release;
  const slow = async (client) => {
    await new Promise((resolve) => { release = resolve; });
    return load('acme')(client);
  };
  const before = loads;
  const herd = [...Array(64)].map(() => get('acme', { by: slow }));
  // All but the one that computes; the pool has ten clients.
  let done = 0;
  for (const one of herd) one.then((value) => { done++; return value; });
  await waitUntil(() => done === 63 && release);
  release();
  const values = await Promise.all(herd);
  assert.equal(loads - before, 1);
  assert.equal(values.filter((value) => value === old).length, 63);
  assert.equal(values.filter((value) => value.amount === amount).length, 1);
  assert.equal((await getLoading(0)).amount, amount);
});

test('who has nothing waits until the other has finished, failed or is gone', async () => {
  await claiming();
  const other = new Client();
  await other.connect();
  assert.ok(await claimElsewhere(other, 'price'));
  let done = false;
  const waiting = get().then(() => { done = true; });
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(!done);
  await other.end();
  await waiting;
  await change();
  await waitUntil(() => !held());
  await assert.rejects(get('acme', { by: async () => { throw new Error('no'); } }));
  assert.ok(await claimElsewhere(admin, 'price')); // it was given back
  await admin.query(`SELECT cache_notify.finish_refresh($1, cache_notify.token('acme', 'price', 'rate'))`,
    [JSON.stringify(['acme', 'price'])]);
});

test('what was before is served for so long only', async () => {
  await claiming(200);
  await get();
  const amount = await change();
  await waitUntil(() => !held());
  assert.ok(await claimElsewhere(admin, 'price'));
  setTimeout(() => admin.query(
    `SELECT cache_notify.finish_refresh($1, cache_notify.token('acme', 'price', 'rate'))`,
    [JSON.stringify(['acme', 'price'])]), 500);
  await waitUntil(async () => (await get()).amount === amount);
});
