// A reader of the checker with the Node.js package; ../foreign.py says what it is told and
// what it says.
import { AsyncResource } from 'node:async_hooks'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const PACKAGE = new URL('../../../clients/node/dist/esm/', import.meta.url)
const of = (file) => import(new URL(file, PACKAGE))
const { Cache } = await of('index.js')
const { Core } = await of('core.js')
const { Flights } = await of('flights.js')
const { Listener } = await of('listener.js')
const { entryName } = await of('request.js')
const pg = createRequire(PACKAGE)('pg')

const KINDS = ['item', 'row', 'rows', 'offer', 'both', 'whole', 'found', 'nested']

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n')
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

/** Replaces a method; change(original) gives the new one. */
function replace(owner, method, change) {
  const original = owner.prototype[method]
  if (original === undefined) throw new Error(`there is no ${owner.name}.${method}() any more`)
  owner.prototype[method] = change(original)
}

// ------------------------------------------------------------- rules taken out

const outside = new AsyncResource('outside')

// As protocols.py has them for Python.
const RULES = {
  notify_only: () => replace(Core, 'outdated', () => () => false),
  forgets_keys: () =>
    replace(Core, 'lacks', (lacks) => function (ticket, part) {
      return part.key === null && lacks.call(this, ticket, part)
    }),
  joins_anything() {
    replace(Flights, 'mayJoin', () => () => true)
    replace(Flights, 'mayUse', () => (flight) => flight.succeeded)
  },
  ignores_tenants: () =>
    replace(Core, 'dropIfOutdated', (drop) => function (name, tenant, domain, version) {
      const entry = this.entries.peek(name)
      if (tenant === null || entry?.parts.some((part) => part.tenant !== null)) {
        drop.call(this, name, tenant, domain, version)
      }
    }),
  query_first: () =>
    replace(Cache, 'get', (get) => async function (db, name, load, options) {
      if (options.fresh) return get.call(this, db, name, load, options)
      const held = this.inMemory(db, entryName(name, options.reads, options), options)
      if (held !== undefined) return held.value
      const early = await load(db)
      return get.call(this, db, name, () => early, options)
    }),
  nests_anything: () =>
    replace(Cache, 'get', (get) => function (db, name, load, options) {
      return get.call(this, db, name, (it) => outside.runInAsyncScope(load, null, it), options)
    }),
  ignores_silence: () =>
    replace(Listener, 'catchUp', (catchUp) => function (...how) {
      this.options.lease = 1e9
      return catchUp.apply(this, how)
    }),
}

// ------------------------------------------------------------------ what it has

let cache
let queries
let events = 0
let asked = 0
const slots = new Map()
const waiting = new Map()

function event(name, more) {
  events += 1
  say({ event: name, ...more })
}

/** Has the cache tell what it hears, and hear some of it late. */
function watch(lag) {
  replace(Core, 'hear', (hear) => function (change) {
    hear.call(this, change)
    if (change.domain === 'fence' && change.tenant !== null) event('fence', { slot: Number(change.tenant) })
  })
  let reconnected = false
  replace(Listener, 'listen', (listen) => async function () {
    // Everything acknowledged by now must be known once it has caught up.
    asked += 1
    say({ event: 'reconnecting', ask: asked })
    await new Promise((resolve) => waiting.set(asked, resolve))
    reconnected = true
    return listen.call(this)
  })
  replace(Listener, 'catchUp', (catchUp) => async function (...how) {
    await catchUp.apply(this, how)
    if (reconnected) event('caught_up')
    reconnected = false
  })
  replace(Listener, 'heard', (heard) => function (payload) {
    heard.call(this, payload)
    if (Math.random() >= lag) return
    const { stream } = this.client.connection
    stream.pause()
    setTimeout(() => stream.resume(), 1 + Math.random() * 49)
  })
}

const numbersOf = (rows) => Object.values(rows[0]).map(Number)

async function get(client, query, work, fresh) {
  let loaded = false
  const load = async (db) => {
    loaded = true
    const inner = query.inner === undefined ? [] : (await get(db, queries[query.inner], 0, false)).values
    const { rows } = await db.query(query.sql, query.cells)
    if (work > 0) await sleep(work)
    return [...inner, ...numbersOf(rows)]
  }
  const options = 'tenant' in query ? { tenant: query.tenant } : {}
  const values =
    query.reads === undefined
      ? numbersOf(await cache.query(client, query.sql, query.cells, options))
      : await cache.get(client, query.name, load, { reads: query.reads, fresh, ...options })
  return { values, loaded }
}

// -------------------------------------------------------------- what it is told

async function connect({ slot, connect }) {
  slots.get(slot)?.end().catch(() => undefined)
  const client = new pg.Client(connect)
  client.on('error', () => undefined)
  await client.connect()
  slots.set(slot, client)
  return {}
}

async function read({ slot, read: numbers, fresh = false, work }) {
  const got = []
  for (const [index, number] of numbers.entries()) {
    const since = events
    const { values, loaded } = await get(slots.get(slot), queries[number], work[index], fresh)
    got.push([number, since, loaded, values])
  }
  return { got }
}

/** Only what memory holds: in one go, for nothing of it waits. */
async function sweep({ slot, sweep: numbers }) {
  const got = []
  for (const number of numbers) {
    const query = queries[number]
    if (query.entry === undefined || cache.core.peek(query.entry) === undefined) continue
    const since = events
    const { values, loaded } = await get(slots.get(slot), query, 0, false)
    got.push([number, since, loaded, values])
  }
  return { got }
}

async function execute({ slot, sql, parameters }) {
  await slots.get(slot).query(sql, parameters)
  return {}
}

/** The connection is lost, the server is going down, coming up, or had to cancel, or the extension is not there. */
const isLoss = (error) =>
  /^(08|57|40001|25006|42883|3F000)/.test(error.code ?? '') ||
  ['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE'].includes(error.code) ||
  // The last: a function of the extension was dropped while it was called.
  /[Cc]onnection (terminated|ended)|not queryable|was closed|timeout|cache lookup failed/.test(error.message)

async function answer(told, act) {
  try {
    say({ id: told.id, ...(await act(told)) })
  } catch (error) {
    say({ id: told.id, [isLoss(error) ? 'lost' : 'failed']: `${error.code}: ${error.message}` })
  }
}

async function open(told) {
  queries = told.queries
  for (const query of queries) {
    if (query.reads !== undefined) query.entry = entryName(query.name, query.reads, query)
  }
  if (told.rule_off !== null) RULES[told.rule_off]()
  watch(told.lag)
  cache = new Cache({
    listen: told.listen,
    primary: told.primary,
    heartbeat: Math.min(told.heartbeat * 1000, 2 ** 31 - 1),
    lease: told.lease * 1000,
    log: { info: () => undefined, warn: () => undefined },
  })
  say({ event: 'ready', kinds: KINDS })
}

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line)
  if (told.do === 'open') await open(told)
  else if ('go' in told) waiting.get(told.go)()
  else if ('connect' in told) answer(told, connect)
  else if ('read' in told) answer(told, read)
  else if ('sweep' in told) answer(told, sweep)
  else answer(told, execute)
}
process.exit()
