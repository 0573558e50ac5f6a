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
 * same tenant apart; ['price'] are the domains that the query reads, or keys of
 * them: ['price/123']. A change of other keys leaves such a result alone if the
 * payloads tell the keys (setup_table_invalidation with keys and fields => '{keys}').
 *
 * What get() promises: it never returns a result that is older than what was
 * delivered to this process, and none at all from memory while deliveries do
 * not come in. With { fresh: true } it asks the server (one round trip, no
 * query) and never returns a result older than the moment of the call. Inside a
 * transaction, pass { transaction: true } and the transaction's client: then it
 * sees the transaction's own changes and its own snapshot.
 *
 * Without a tenant (null) a result may be made from the rows of all tenants.
 * Payloads of single tenants tell no version of the whole domain, so any of them
 * drops it, and refuses those that are being made.
 *
 * With new NearCache(…, { claim: 10_000 }) of all who miss the same result, in
 * whatever process, one at a time computes it; meanwhile the others get the one
 * before, for at most so many milliseconds after it was dropped, or wait.
 */

const { Client } = require('pg');

// One statement, one snapshot: the token and the versions belong together. The
// names come back as payloads tell them, whatever way they were written.
const VERSIONS = `
  SELECT cache_notify.token($1::text, VARIADIC $2::text[]),
         current_setting('transaction_isolation') = 'read committed' AS new_snapshots,
         tenant_id, domain, key, version, shared_version
  FROM cache_notify.near_versions($1::text, VARIADIC $2::text[])`;

/*
 * What an entry depends on, as text: a domain, or one key of it, for a tenant or
 * (null) in the changes that concern all tenants; the key is null for the domain.
 */
const partOf = (tenant, domain, key = null) => JSON.stringify([tenant, domain, key]);
const placeOf = (tenant, domain) => JSON.stringify([tenant, domain]);

// 'contract/123' -> { domain: 'contract', key: '123' }; 'contract' has no key.
function parseName(name) {
  const slash = name.startsWith('cache_notify/') ? -1 : name.indexOf('/');
  const domain = slash < 0 ? name : name.slice(0, slash);
  return {
    domain: name.startsWith('cache_notify/') ? name
      : domain.replace(/%2F|%25/gi, (escaped) => (escaped === '%25' ? '%' : '/')),
    key: slash < 0 ? null : name.slice(slash + 1),
  };
}

/*
 * The token (null if this transaction has changed one of the domains, or one is
 * not known), whether
 * each statement has a new snapshot, and by part the version of its domain. The
 * driver gives bigint as text; versions stay below 2^53.
 */
async function ask(client, tenant, names) {
  const { rows } = await client.query(VERSIONS, [tenant, names]);
  const versions = new Map();
  const whole = []; // without a tenant: the versions of the whole domains
  for (const { tenant_id, domain, key, version, shared_version } of rows) {
    if (tenant === null) whole.push(version === null ? null : Number(version));
    versions.set(partOf(tenant_id, domain, key), Number(version));
    versions.set(partOf(null, domain, key), Number(shared_version));
  }
  return { token: rows[0].token, newSnapshots: rows[0].new_snapshots, versions, whole };
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

// Milliseconds between looks whether somebody else has finished.
const CLAIM_POLL = 20;

class NearCache {
  #primary; #channel; #claim; #heartbeat; #lease; #maxEntries; #onError;
  #entries = new Map();     // entryKey -> { value, token, versions }
  #before = new Map();      // entryKey -> { value, until }: dropped not long ago, in this order
  #watching = new Map();    // placeOf -> key (or null) -> Set of entryKeys
  #whole = new Map();       // domain -> key (or null) -> Set of entryKeys: of all tenants
  #told = new Map();        // domain -> how often a tenant's change was delivered
  #heard = new Map();       // partOf -> highest version delivered
  #allKeys = new Map();     // placeOf -> the same, of all its keys
  #overdue = null;          // placeOf -> version not delivered yet
  #generation = 0;          // moves when these are forgotten
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
   * that. claim: see above; at most 5 minutes. onError is told when deliveries
   * are interrupted.
   */
  constructor(primary, { channel = 'cache_invalidation', heartbeat = 1000, lease = 5000,
    maxEntries = 100_000, claim = null, onError = console.error } = {}) {
    this.#primary = primary;
    this.#channel = channel;
    this.#heartbeat = heartbeat;
    this.#lease = lease;
    this.#maxEntries = maxEntries;
    this.#claim = claim;
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

    // One client for both, because two standbys need not agree.
    return withClient(pool, async (client) => {
      const claims = this.#claim !== null && !fresh && !transaction;
      for (;;) {
        const generation = this.#generation;
        const told = this.#timesTold(tenant, domains);
        let there = [];
        if (primary && tenant === null) {
          ({ whole: there } = await withClient(primary, (one) => ask(one, tenant, domains)));
        } else if (primary) {
          await this.#askFloor(primary, tenant, domains);
        }
        const { token, newSnapshots, versions, whole } = await ask(client, tenant, domains);
        const behind = there.some((version, i) => version === null || whole[i] < version);
        if (entry && entry.token === token) return entry.value;
        if (claims && !await this.#claimed(primary ?? client, key, token)) {
          const before = this.#before.get(key);
          if (before && this.listening && performance.now() < before.until) return before.value;
          await new Promise((resolve) => setTimeout(resolve, CLAIM_POLL));
          const filled = this.#entries.get(key);
          if (filled && this.listening) return filled.value;
          continue;
        }
        try {
          const filled = this.#entries.get(key);
          if (claims && filled?.token === token) return filled.value; // by who had the claim before
          // The versions are known; only now the query. The other way round, a
          // change in between would put the old result under the new version.
          const value = await load(client);
          // No token: made from uncommitted changes. An old snapshot: whatever it
          // lacks may have been delivered, and forgotten, before we began.
          // A standby that is behind lacks what was delivered as well.
          if (token !== null && !behind && (newSnapshots || !transaction)) {
            this.#store(key, { value, token, versions, whole: tenant === null }, generation, told);
          }
          return value;
        } finally {
          if (claims) await this.#finish(primary ?? client, key, token);
        }
      }
    });
  }

  // Whether nobody else is computing this. Only the primary knows.
  async #claimed(poolOrClient, key, token) {
    const { rows: [{ claimed }] } = await poolOrClient.query(
      'SELECT cache_notify.claim_refresh($1, $2, make_interval(secs => $3)) AS claimed',
      [key, token, this.#claim / 1000]);
    return claimed;
  }

  async #finish(poolOrClient, key, token) {
    await poolOrClient.query('SELECT cache_notify.finish_refresh($1, $2)', [key, token]);
  }

  // A standby may lag behind what was delivered before anybody asked for this
  // tenant. So the primary says where to start, once.
  async #askFloor(primary, tenant, domains) {
    if (domains.every((name) => {
      const { domain, key } = parseName(name);
      return this.#heard.has(partOf(tenant, domain, key));
    })) return;
    const { token, versions } = await withClient(primary, (client) => ask(client, tenant, domains));
    for (const [part, version] of versions) {
      const [of, domain, key] = JSON.parse(part);
      if (token === null) return; // not known, or not committed: nothing will be stored
      this.#hear(of, domain, version, key === null ? null : [key]);
    }
  }

  // The version below which nothing of this part may be stored.
  #floor(part) {
    const heard = this.#heard.get(part) ?? 0;
    const [tenant, domain, key] = JSON.parse(part);
    if (key === null) return heard;
    return Math.max(heard, this.#allKeys.get(placeOf(tenant, domain)) ?? 0);
  }

  // How often changes of single tenants were delivered; without a tenant only.
  #timesTold(tenant, domains) {
    if (tenant !== null) return [];
    return domains.map((name) => {
      const { domain } = parseName(name);
      return [domain, this.#told.get(domain) ?? 0];
    });
  }

  #store(key, entry, generation, told) {
    if (generation !== this.#generation) return; // what was delivered meanwhile is forgotten
    // Is it exactly known which tenant this is?
    const own = [...entry.versions.keys()].filter((part) => JSON.parse(part)[0] !== null).length;
    if (JSON.parse(key)[0] !== null && 2 * own !== entry.versions.size) return;
    for (const [domain, times] of told) {
      if ((this.#told.get(domain) ?? 0) !== times) return; // a tenant's change: is it in there?
    }
    for (const [part, version] of entry.versions) {
      if (version < this.#floor(part)) return; // late: its own drop is already past
    }
    this.#drop(key);
    if (this.#entries.size >= this.#maxEntries) this.#drop(this.#entries.keys().next().value);
    this.#entries.set(key, entry);
    this.#before.delete(key);
    for (const part of entry.versions.keys()) {
      this.#watchers(part, true).add(key);
      if (!entry.whole) continue;
      const [, domain, partKey] = JSON.parse(part);
      if (!this.#whole.has(domain)) this.#whole.set(domain, new Map());
      if (!this.#whole.get(domain).has(partKey)) this.#whole.get(domain).set(partKey, new Set());
      this.#whole.get(domain).get(partKey).add(key);
    }
  }

  // The entries that depend on a part.
  #watchers(part, create = false) {
    const [tenant, domain, key] = JSON.parse(part);
    const place = placeOf(tenant, domain);
    if (create && !this.#watching.has(place)) this.#watching.set(place, new Map());
    const keys = this.#watching.get(place);
    if (create && !keys.has(key)) keys.set(key, new Set());
    return keys?.get(key);
  }

  // --------------------------------------------------------------- forgetting

  /*
   * (tenant, domain) has reached this version, and since it was last heard of,
   * these keys have changed (null: any); a tenant of null: the shared one, which
   * concerns the entries of every tenant.
   */
  #hear(tenant, domain, version, keys = null) {
    if (this.#heard.size >= this.#maxEntries) {
      this.#generation++; // fills in flight might need them
      this.#heard.clear();
      this.#allKeys.clear();
    }
    const place = placeOf(tenant, domain);
    let changed = [null, ...(keys ?? [])];
    const news = changed.filter((key) => version > (this.#heard.get(partOf(tenant, domain, key)) ?? 0));
    for (const key of changed) {
      const part = partOf(tenant, domain, key);
      this.#heard.set(part, Math.max(version, this.#heard.get(part) ?? 0));
    }
    if (tenant !== null && (news.length > 0 || keys === null)) {
      this.#hearOfWhole(domain, keys === null ? null : news);
    }
    if (keys === null) {
      this.#allKeys.set(place, Math.max(version, this.#allKeys.get(place) ?? 0));
      changed = [...(this.#watching.get(place)?.keys() ?? [])];
    }
    for (const key of changed) {
      const part = partOf(tenant, domain, key);
      for (const entry of [...(this.#watchers(part) ?? [])]) {
        const { value, versions } = this.#entries.get(entry);
        if (versions.get(part) >= version) continue;
        this.#drop(entry);
        if (this.#claim !== null) this.#keep(entry, value);
      }
    }
  }

  // A tenant's rows with these keys (null: any) have changed: so have the results
  // over all tenants, by how much is not told.
  #hearOfWhole(domain, keys) {
    this.#told.set(domain, (this.#told.get(domain) ?? 0) + 1);
    const whole = this.#whole.get(domain);
    for (const key of keys ?? [...(whole?.keys() ?? [])]) {
      for (const entry of [...(whole?.get(key) ?? [])]) {
        const { value } = this.#entries.get(entry);
        this.#drop(entry);
        if (this.#claim !== null) this.#keep(entry, value);
      }
    }
  }

  // What was dropped, for those who may not compute it.
  #keep(key, value) {
    const now = performance.now();
    this.#before.delete(key); // so that the order is that of their ends
    this.#before.set(key, { value, until: now + this.#claim });
    for (const [oldest, { until }] of this.#before) {
      if (until > now && this.#before.size <= this.#maxEntries) break;
      this.#before.delete(oldest);
    }
  }

  #drop(key) {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    for (const part of entry.versions.keys()) {
      const [tenant, domain, partKey] = JSON.parse(part);
      if (entry.whole) this.#whole.get(domain).get(partKey).delete(key);
      const watchers = this.#watchers(part);
      watchers.delete(key);
      if (watchers.size > 0) continue;
      const place = placeOf(tenant, domain);
      this.#watching.get(place).delete(partKey);
      if (this.#watching.get(place).size === 0) this.#watching.delete(place);
    }
  }

  // Anything may have changed: forget all, refuse all fills in flight.
  #reset() {
    this.#generation++;
    this.#entries.clear();
    this.#before.clear();
    this.#watching.clear();
    this.#whole.clear();
    this.#told.clear();
    this.#heard.clear();
    this.#allKeys.clear();
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
      this.#overdue = null; // what we have not heard of is lost
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

  /*
   * Applies what has changed since the last time, heard of or not; then again
   * after every heartbeat. While we listen, a payload may be on its way that says
   * which keys have changed: it has until the next time to come.
   */
  async #catchUp(client) {
    const askedAt = performance.now();
    const { rows: [{ position }] } =
      await client.query('SELECT cache_notify.current_position() AS position');
    if (this.#position === null) {
      this.#reset(); // nobody listened while these fills began
      this.#overdue = new Map();
    } else {
      const { rows } = await client.query(
        'SELECT tenant_id, domain, version FROM cache_notify.changes_since($1)', [this.#position]);
      const overdue = this.#overdue;
      this.#overdue = new Map();
      for (const { tenant_id, domain, version } of rows) {
        const place = placeOf(tenant_id, domain);
        if (domain === null) {
          this.#reset();
        } else if (overdue === null) {
          this.#hear(tenant_id, domain, Number(version));
        } else if (Number(version) > (this.#heard.get(partOf(tenant_id, domain)) ?? 0)) {
          this.#hear(tenant_id, domain, Number(version), []);
          this.#overdue.set(place, Number(version));
        }
      }
      for (const [place, version] of overdue ?? []) this.#hear(...JSON.parse(place), version);
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
      const { tenant_id, domain, version, keys } = change;
      // Primary keys of several columns have no name.
      const named = Array.isArray(keys) && keys.every((key) => typeof key === 'string');
      this.#hear(tenant_id, domain, version, named ? keys : null);
      const place = placeOf(tenant_id, domain);
      if ((this.#overdue?.get(place) ?? Infinity) <= version) this.#overdue.delete(place);
    } else {
      this.#reset(); // {"reset": true}, or what we do not understand
    }
  }
}

module.exports = { NearCache };
