'use strict';

/*
 * A near cache for Node.js: results of queries, kept in the memory of this
 * process, and dropped when cache_notify delivers that what they were made from
 * has changed.
 *
 *   const cache = new NearCache({ host: 'primary', database: 'shop' });
 *   ...
 *   const prices = await cache.get(pool, 'acme', ['price'], 'all prices', loadPrices);
 *
 * loadPrices(client) runs the query; the name 'all prices' tells results of the
 * same tenant apart; ['price'] are the domains that the query reads.
 *
 * What get() promises: it never returns a result that is older than what was
 * delivered to this process, and none at all from memory while deliveries do
 * not come in. With { fresh: true } it asks the server (one round trip, no
 * query) and never returns a result older than the moment of the call. Inside a
 * transaction, pass { transaction: true } and the transaction's client: then it
 * sees the transaction's own changes and its own snapshot.
 */

const { Client } = require('pg');

// One statement, one snapshot: the token and the versions belong together.
const VERSIONS = `
  SELECT cache_notify.token($1::text, VARIADIC $2::text[]),
         current_setting('transaction_isolation') = 'read committed' AS new_snapshots,
         domain, version, shared_version
  FROM cache_notify.versions($1::text, VARIADIC $2::text[])`;

// What a version is of. A tenant of null stands for the shared version, which
// concerns every tenant.
const watchKey = (tenant, domain) => JSON.stringify([tenant, domain]);

/*
 * The token (null if this transaction has changed one of the domains), whether
 * each statement has a new snapshot, and the versions by watchKey. The driver
 * gives bigint as text; versions stay below 2^53.
 */
async function ask(client, tenant, domains) {
  const { rows } = await client.query(VERSIONS, [tenant, domains]);
  const versions = new Map();
  for (const row of rows) {
    versions.set(watchKey(tenant, row.domain), Number(row.version));
    versions.set(watchKey(null, row.domain), Number(row.shared_version));
  }
  return { token: rows[0].token, newSnapshots: rows[0].new_snapshots, versions };
}

// Runs work(client) with one client of a pool, or with the client given.
async function withClient(poolOrClient, work) {
  if (poolOrClient instanceof Client) return work(poolOrClient);
  const client = await poolOrClient.connect();
  try {
    return await work(client);
  } finally {
    client.release();
  }
}

class NearCache {
  #primary; #channel; #heartbeat; #lease; #maxEntries; #onError;
  #entries = new Map();     // entryKey -> { value, token, versions }
  #watching = new Map();    // watchKey -> Set of entryKeys
  #heard = new Map();       // watchKey -> highest version delivered
  #generation = 0;          // moves when that is forgotten
  #leaseEnds = 0;           // 0: not listening
  #position = null;         // changes before it need not be asked for
  #client = null;
  #timer = null;
  #closed = false;

  /*
   * Starts listening on the server that takes the writes (primary: its
   * connection settings), whatever server the results are read from.
   *
   * heartbeat: milliseconds between questions what has changed, which also
   * notice a dead connection. lease: entries are served for so many
   * milliseconds after the last answer; so much staler a result can get when
   * the network silently swallows everything. maxEntries: the oldest go beyond
   * that. onError is told when deliveries are interrupted.
   */
  constructor(primary, { channel = 'cache_invalidation', heartbeat = 1000, lease = 5000,
    maxEntries = 100_000, onError = console.error } = {}) {
    this.#primary = primary;
    this.#channel = channel;
    this.#heartbeat = heartbeat;
    this.#lease = lease;
    this.#maxEntries = maxEntries;
    this.#onError = onError;
    this.#listen();
  }

  get listening() {
    return performance.now() < this.#leaseEnds;
  }

  async close() {
    this.#closed = true;
    this.#leaseEnds = 0;
    clearTimeout(this.#timer);
    await this.#client.end().catch(() => {});
  }

  // ------------------------------------------------------------------ reading

  has(tenant, name) {
    return this.#entries.has(JSON.stringify([tenant, name]));
  }

  /*
   * The result of load(client), from memory if possible.
   *
   * pool: where to read (a pool or a client), a standby's allowed; then primary
   * is a pool or client of the primary, asked once for each tenant and domain.
   */
  async get(pool, tenant, domains, name, load,
    { fresh = false, transaction = false, primary = null } = {}) {
    const key = JSON.stringify([tenant, name]);
    const entry = this.#entries.get(key);
    if (entry && !fresh && !transaction && this.listening) return entry.value;

    const generation = this.#generation;
    if (primary) await this.#askFloor(primary, tenant, domains);
    // One client for both, because two standbys need not agree.
    return withClient(pool, async (client) => {
      const { token, newSnapshots, versions } = await ask(client, tenant, domains);
      if (entry && entry.token === token) return entry.value;

      // The versions are known; only now the query. The other way round, a
      // change in between would put the old result under the new version.
      const value = await load(client);
      // No token: made from uncommitted changes. An old snapshot: whatever it
      // lacks may have been delivered, and forgotten, before we began.
      if (token !== null && (newSnapshots || !transaction)) {
        this.#store(key, { value, token, versions }, generation);
      }
      return value;
    });
  }

  // A standby may lag behind what was delivered before anybody asked for this
  // tenant. So the primary says where to start, once.
  async #askFloor(primary, tenant, domains) {
    if (domains.every((domain) => this.#heard.has(watchKey(tenant, domain)))) return;
    const { versions } = await withClient(primary, (client) => ask(client, tenant, domains));
    for (const [watched, version] of versions) this.#hear(watched, version);
  }

  #store(key, entry, generation) {
    if (generation !== this.#generation) return; // what was delivered meanwhile is forgotten
    for (const [watched, version] of entry.versions) {
      if (version < (this.#heard.get(watched) ?? 0)) return; // late: its own drop is already past
    }
    this.#drop(key);
    if (this.#entries.size >= this.#maxEntries) this.#drop(this.#entries.keys().next().value);
    this.#entries.set(key, entry);
    for (const watched of entry.versions.keys()) {
      if (!this.#watching.has(watched)) this.#watching.set(watched, new Set());
      this.#watching.get(watched).add(key);
    }
  }

  // --------------------------------------------------------------- forgetting

  #hear(watched, version) {
    if (this.#heard.size >= this.#maxEntries) {
      this.#generation++; // fills in flight might need them
      this.#heard.clear();
    }
    this.#heard.set(watched, Math.max(version, this.#heard.get(watched) ?? 0));
    for (const key of [...(this.#watching.get(watched) ?? [])]) {
      if (this.#entries.get(key).versions.get(watched) < version) this.#drop(key);
    }
  }

  #drop(key) {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    for (const watched of entry.versions.keys()) {
      const keys = this.#watching.get(watched);
      keys.delete(key);
      if (keys.size === 0) this.#watching.delete(watched);
    }
  }

  // Anything may have changed: forget all, refuse all fills in flight.
  #reset() {
    this.#generation++;
    this.#entries.clear();
    this.#watching.clear();
    this.#heard.clear();
  }

  // ---------------------------------------------------------------- listening

  async #listen() {
    const client = new Client(this.#primary);
    this.#client = client;
    client.on('notification', ({ payload }) => this.#heardPayload(payload));
    client.on('error', (error) => this.#interrupted(client, error));
    try {
      await client.connect();
      // First LISTEN, then ask: a change in between is then told twice, not never.
      await client.query(`LISTEN ${client.escapeIdentifier(this.#channel)}`);
      await this.#catchUp(client);
    } catch (error) {
      this.#interrupted(client, error);
    }
  }

  #interrupted(client, error) {
    if (this.#closed || client !== this.#client) return; // known already
    this.#client = null;
    this.#leaseEnds = 0; // keep, but do not serve
    this.#onError('cache: deliveries interrupted:', error.message);
    client.end().catch(() => {});
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#listen(), 100);
  }

  // Applies what has changed since the last time, heard of or not; then again
  // after every heartbeat.
  async #catchUp(client) {
    const askedAt = performance.now();
    const { rows: [{ position }] } =
      await client.query('SELECT cache_notify.current_position() AS position');
    if (this.#position === null) {
      this.#reset(); // nobody listened while these fills began
    } else {
      const { rows } = await client.query(
        'SELECT tenant_id, domain, version FROM cache_notify.changes_since($1)', [this.#position]);
      for (const { tenant_id, domain, version } of rows) {
        if (domain === null) this.#reset();
        else this.#hear(watchKey(tenant_id, domain), Number(version));
      }
    }
    if (this.#closed || client !== this.#client) return;
    this.#position = position;
    this.#leaseEnds = askedAt + this.#lease;
    this.#timer = setTimeout(() => {
      this.#catchUp(client).catch((error) => this.#interrupted(client, error));
    }, this.#heartbeat);
  }

  #heardPayload(payload) {
    let change;
    try {
      change = JSON.parse(payload);
    } catch {
      change = null;
    }
    if (typeof change?.domain === 'string' && typeof change.version === 'number') {
      this.#hear(watchKey(change.tenant_id, change.domain), change.version);
    } else {
      this.#reset(); // {"reset": true}, or what we do not understand
    }
  }
}

module.exports = { NearCache };
