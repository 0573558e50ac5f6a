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
