// A database of its own for each test, on the server that PGHOST and the like lead to
// (tools/with-server starts one).
import pg from 'pg'
import { Cache } from 'cache-notify'

const SCHEMA = `
  CREATE EXTENSION cache_notify;
  CREATE TABLE price (id int PRIMARY KEY, tenant_id text, amount numeric);
  INSERT INTO price SELECT i, 'acme', 10 FROM generate_series(1, 3) i;
  INSERT INTO price VALUES (4, 'globex', 10);
  SELECT cache_notify.setup_table_invalidation('price', keys => '{id}', fields => '{keys}');
  CREATE TABLE disc (name text PRIMARY KEY, percent int);
  INSERT INTO disc VALUES ('50%', 1), ('a/b', 1);
  SELECT cache_notify.setup_table_invalidation('disc', keys => '{name}', fields => '{keys}');
  CREATE TABLE plain (id int PRIMARY KEY, n int);
  INSERT INTO plain VALUES (1, 1);`

export const SUM = "SELECT sum(amount)::int AS sum FROM price WHERE tenant_id = 'acme'"

export const quiet = { info: () => undefined, warn: () => undefined }

let number = 0

export async function connect(config) {
  const client = new pg.Client(config)
  client.on('error', () => undefined)
  await client.connect()
  return client
}

/** Runs play({ config, cache, pool, other }) with a database of its own. */
export async function scenario(play, { max = 10, ...options } = {}) {
  const database = `node_${process.pid}_${number++}`
  const admin = await connect({})
  await admin.query(`CREATE DATABASE ${database}`)
  const config = { database }
  const other = await connect(config)
  await other.query(SCHEMA)
  const pool = new pg.Pool({ ...config, max })
  pool.on('error', () => undefined)
  const cache = new Cache({ listen: config, heartbeat: 200, log: quiet, ...options })
  try {
    if (!(await cache.waitUntilListening())) throw cache.failure
    await play({ config, cache, pool, other, admin })
  } finally {
    await cache.close()
    await pool.end()
    await other.end()
    await admin.query(`DROP DATABASE ${database} WITH (FORCE)`)
    await admin.end()
  }
}

/** Waits for a condition; throws if it does not come. */
export async function until(condition, ms = 20_000) {
  const end = performance.now() + ms
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A loader that counts its calls. */
export function counted(statement = SUM, parameters = []) {
  const load = async (db) => {
    load.calls += 1
    const { rows } = await db.query(statement, parameters)
    return Object.values(rows[0] ?? {})[0]
  }
  load.calls = 0
  return load
}

/** Waits until the cache has heard something that was sent after all else. */
export async function delivered(cache, other) {
  const heard = () => cache.core.heardVersion(null, 'disc')
  const before = heard()
  await other.query('UPDATE disc SET percent = percent + 1')
  await until(() => heard() !== before)
}
