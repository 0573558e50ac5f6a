import type { ClientConfig } from 'pg'
import { adapterOf } from './adapters.js'
import type { Adapter } from './adapters.js'
import { ASK, answerOf, array } from './ask.js'
import type { Answer } from './ask.js'
import { Core } from './core.js'
import type { Entry } from './core.js'
import { tell } from './explain.js'
import type { Ticket } from './heard.js'
import { share } from './audience.js'
import { Flights } from './flights.js'
import type { Flight } from './flights.js'
import { Listener } from './listener.js'
import type { ListenerOptions, Listening, Log } from './listener.js'
import { Primary } from './primary.js'
import { RedisListener, isRedisUrl } from './redis-listener.js'
import { Metrics } from './metrics.js'
import { domainOf, readNames, tenantText } from './names.js'
import type { Name } from './names.js'
import { entryName, ownName, queryName, requestOf } from './request.js'
import type { Request } from './request.js'
import { asNew, load as runLoader, spoil, took } from './nesting.js'
import type { Loading } from './nesting.js'
import { nameText } from './codec.js'
import { Sharing } from './shared.js'
import { Statements } from './statements.js'
import { Store } from './tier.js'
import type { RedisTier } from './tier.js'

export interface CacheOptions {
  /**
   * The primary, over a direct connection: a connection string, or what pg.Client takes. Or
   * redis://, rediss:// or unix://, where cache-notify relay hands on what it hears.
   */
  listen: string | ClientConfig
  /**
   * Where to ask about what standbys say, if that is not listen. Without it, and with a
   * relay, results of standbys are not kept.
   */
  primary?: string | ClientConfig
  /** ms that an entry lives at most; Infinity: for ever. Default 300,000. */
  ttl?: number
  /** The channel of the payloads. Default 'cache_invalidation'. */
  channel?: string
  /** Beyond so many entries the least recently used go. Default 10,000. */
  maxEntries?: number
  /** Instead: beyond so many bytes, as sizeOf tells them (default: of the JSON). */
  maxBytes?: number
  sizeOf?: (value: unknown) => number
  /** ms between questions what has changed. Default 1,000. */
  heartbeat?: number
  /**
   * ms for which entries are served after the last answer: so much staler a result can
   * get when a network swallows everything. Default 5,000.
   */
  lease?: number
  /**
   * Makes the value that a caller gets from the one that is kept, such as
   * structuredClone. By default it is the same object, not to be changed.
   */
  copy?: <T>(value: T) => T
  /** Where processes share what they compute. */
  tier?: RedisTier
  /** Where warnings go. Default: console. */
  log?: Log
}

export interface HowToGet {
  /** ms that this entry lives at most. */
  ttl?: number
  /** Ask the server (one round trip), so that nothing older than this call is returned. */
  fresh?: boolean
  /** For so many ms after a result is outdated, return it while somebody computes a new one. */
  staleWhileRevalidate?: number
  /** For so many ms after a result is outdated, return it if the loader fails. */
  staleIfError?: number
}

export interface GetOptions extends HowToGet {
  /** What the loader reads: domains, or keys of them ('product/42', see key()). */
  reads: readonly string[]
  /** Whose rows it reads. Left out: any tenant's. undefined is an error. */
  tenant?: Name
}

export interface QueryOptions extends HowToGet {
  /** Whose rows the statement reads. Left out: any tenant's. undefined is an error. */
  tenant?: Name
}

type Load<T> = () => Promise<T> | T

/** A result that is being found anew, and what is known of it before its query runs. */
interface Filling<T> {
  readonly adapter: Adapter
  readonly request: Request
  readonly load: Load<T>
  readonly how: HowToGet
  readonly flight: Flight | undefined
  readonly ticket: Ticket
  readonly answer: Answer
  readonly primary: Answer | undefined
}

/** Objects that were seen to read from a standby. */
type Standbys = WeakSet<object>

/** What a cache stands on. A test may put its own in the place of these. */
export interface Ground {
  adapterOf(db: unknown): Adapter
  listen(options: CacheOptions, core: Core, how: ListenerOptions): Listening
}

const REAL: Ground = {
  adapterOf,
  listen({ listen }, core, how) {
    if (isRedisUrl(listen)) {
      return share(listen, core, how, (audience, ours) =>
        new RedisListener(listen, audience, audience.metrics, ours))
    }
    const config = typeof listen === 'string' ? { connectionString: listen } : listen
    return new Listener(config, core, core.metrics, how)
  },
}

/**
 * Results of queries, kept in this process, and dropped when the server says that what they
 * were made from has changed.
 */
export class Cache {
  readonly metrics = new Metrics()
  protected readonly core: Core
  private readonly flights: Flights
  private readonly listener: Listening
  private readonly adapterOf: (db: unknown) => Adapter
  private readonly statements: Statements
  private readonly log: Log
  private readonly primary: Primary | undefined
  private readonly ttl: number
  private readonly copy: <T>(value: T) => T
  private readonly store: Store | undefined
  private readonly standbys: Standbys = new WeakSet()
  private readonly said = new Set<string>()
  private off = 0
  private closed = false

  /** ground: only for what takes the place of a server in tests. */
  constructor(options: CacheOptions, ground: Ground = REAL) {
    const { heartbeat = 1_000, lease = 5_000 } = options
    if (lease <= heartbeat) {
      throw new RangeError('lease must be longer than heartbeat, or nothing is ever served')
    }
    this.log = options.log ?? { info: console.info, warn: console.warn }
    const primary = options.primary ?? (isRedisUrl(options.listen) ? undefined : options.listen)
    if (primary !== undefined) {
      const config = typeof primary === 'string' ? { connectionString: primary } : primary
      this.primary = new Primary(config, this.metrics, this.log)
    }
    this.ttl = options.ttl ?? 300_000
    this.copy = options.copy ?? ((value) => value)
    this.core = new Core(
      { maxEntries: options.maxEntries ?? 10_000, maxBytes: options.maxBytes, sizeOf: options.sizeOf },
      this.metrics,
    )
    this.flights = new Flights(this.core)
    this.statements = new Statements(this.log)
    this.store = options.tier && new Store(options.tier, this.metrics, this.log)
    const channel = options.channel ?? 'cache_invalidation'
    this.adapterOf = ground.adapterOf
    this.listener = ground.listen(options, this.core, {
      channel,
      heartbeat,
      lease,
      log: this.log,
      redefined: () => this.statements.forget(),
    })
  }

  /** Stops listening. From then on results are computed, and none is kept. */
  async close(): Promise<void> {
    this.closed = true
    await Promise.all([this.listener.close(), this.store?.close(), this.primary?.close()])
  }

  /** Whether deliveries come in, so that results are served from memory. */
  get listening(): boolean {
    return this.core.listening
  }

  /** Why the cache does not listen, and so serves nothing from memory. */
  get failure(): Error | undefined {
    return this.listener.failure
  }

  /** Waits until the cache may serve from memory, or has failed to; whether it may. */
  async waitUntilListening(ms = 10_000): Promise<boolean> {
    return this.listener.wait(ms)
  }

  /** How many entries there are. */
  get size(): number {
    return this.core.size
  }

  /** Drops every entry, and refuses the fills in flight. */
  forgetAll(): void {
    this.core.reset('forgotten')
  }

  /** Until run() is over everything is computed, and nothing kept: for tests. */
  async disabled<T>(run: () => Promise<T> | T): Promise<T> {
    this.off += 1
    try {
      return await run()
    } finally {
      this.off -= 1
    }
  }

  /**
   * The result of load(db), from memory if that is as good.
   *
   * db: where to read: a client, a transaction or a pool. name: tells results with the same
   * reads and tenant apart: anything that JSON can say. What load() throws passes through.
   */
  async get<DB, T>(db: DB, name: unknown, load: (db: DB) => Promise<T> | T, options: GetOptions): Promise<T> {
    const entry = entryName(name, options.reads, options)
    return this.result(db, entry, name, options.reads, options, () => load(db), options)
  }

  /**
   * A function that is cached by its arguments, of which the first is the database. reads
   * and tenant are made from the arguments.
   */
  cached<DB, A extends readonly unknown[], T>(
    load: (db: DB, ...args: A) => Promise<T> | T,
    options: HowToGet & {
      reads: readonly string[] | ((db: DB, ...args: A) => readonly string[])
      tenant?: Name | ((db: DB, ...args: A) => Name)
      /**
       * By which other processes know the function, if they share results. Left out: none
       * does, as other functions may have the same name.
       */
      name?: string
    },
  ): (db: DB, ...args: A) => Promise<T> {
    const { name } = options
    const own = name === undefined ? ownName() : ''
    return async (db, ...args) => {
      const reads = typeof options.reads === 'function' ? options.reads(db, ...args) : options.reads
      const whose: { tenant?: unknown } = {}
      if ('tenant' in options) {
        whose.tenant = typeof options.tenant === 'function' ? options.tenant(db, ...args) : options.tenant
      }
      const called = name === undefined ? undefined : [name, ...args]
      const entry = own + entryName(called ?? args, reads, whose)
      return this.result(db, entry, called, reads, whose, () => load(db, ...args), options)
    }
  }

  /**
   * The rows of a SELECT, as the driver gives them; the server finds out what it reads, once
   * for each statement and again when a definition has moved. What cannot be cached (now(),
   * tables that are not watched, what depends on the session) is run every time, and the log
   * says why, once.
   */
  async query<R = Record<string, unknown>>(
    db: unknown,
    statement: string,
    parameters: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<R[]> {
    if (typeof statement !== 'string') throw new TypeError('a statement must be a string')
    const adapter = this.adapterOf(db)
    const run = (): Promise<R[]> => adapter.query(statement, parameters) as Promise<R[]>
    if (this.isOff()) {
      took([], null)
      return run()
    }
    const known = this.statements.find(statement)
    if (known !== undefined && known.names.length > 0) {
      const entry = queryName(known.id, adapter.forms, parameters, options)
      const held = this.inMemory(adapter, entry, options)
      if (held !== undefined) return this.copy(held.value) as R[]
    }
    // Taken before what is remembered is looked at: a definition that moves from now on
    // keeps the result from being stored.
    const began = this.core.ticket()
    const { names, whyNot, id } =
      this.statements.find(statement) ?? (await this.statements.analyse(adapter, statement))
    if (names.length === 0) {
      tell('misses', '')
      this.metrics.count('refusals', 'uncacheable_statement')
      tell('why', whyNot)
      took([], null)
      return run()
    }
    const entry = queryName(id, adapter.forms, parameters, options)
    const called = ['query', statement, parameters, `node ${adapter.forms}`]
    return this.serve(db, requestOf(entry, called, names, options), run, options, began)
  }

  /**
   * Around writes: once it is over, nothing that they changed is served from this cache,
   * even if its delivery is still on its way. Commit within write(). changes: the domains or
   * keys, of tenant or of any; left out: everything in memory is dropped.
   */
  async writing<T>(
    write: () => Promise<T> | T,
    options: { changes?: readonly string[]; tenant?: Name } = {},
  ): Promise<T> {
    try {
      return await write()
    } finally {
      if (options.changes === undefined) {
        this.core.reset('own_write')
      } else {
        const tenant = 'tenant' in options ? tenantText(options.tenant) : null
        for (const name of readNames(options.changes)) this.core.hearOwn(tenant, domainOf(name))
      }
    }
  }

  private isOff(): boolean {
    return this.off > 0 || this.closed
  }

  /** A result from memory, at once, or from wherever it is to be had. */
  private result<T>(
    db: unknown,
    entry: string,
    called: unknown,
    reads: readonly string[],
    whose: { tenant?: unknown },
    load: Load<T>,
    how: HowToGet,
  ): Promise<T> | T {
    if (!this.isOff()) {
      const held = this.inMemory(this.adapterOf(db), entry, how)
      if (held !== undefined) return this.copy(held.value) as T
    }
    return this.serve(db, requestOf(entry, called, reads, whose), load, how)
  }

  /** The entry that may be served without asking anybody. */
  private inMemory(adapter: Adapter, name: string, how: HowToGet): Entry | undefined {
    if (how.fresh === true || adapter.inTransaction() !== false) return undefined
    const entry = this.core.find(name)
    if (entry === undefined || !asNew(entry.parts)) return undefined
    took(entry.parts, entry.token)
    this.metrics.hits += 1
    return entry
  }

  private async serve<T>(
    db: unknown,
    request: Request,
    load: Load<T>,
    how: HowToGet,
    began?: Ticket,
  ): Promise<T> {
    if (this.isOff()) {
      took([], null)
      return load()
    }
    const adapter = this.adapterOf(db)
    const inTransaction = adapter.inTransaction()
    if (how.fresh === true || inTransaction !== false) {
      return this.fill(db as object, adapter, request, load, how, undefined, began)
    }
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const joined = this.flights.join(request.entry)
      if (joined === undefined) {
        return this.flights.fly(request.entry, (flight) =>
          this.fill(db as object, adapter, request, load, how, flight, began),
        )
      }
      const stale = this.stale(request, how.staleWhileRevalidate, 'stale_while_revalidate')
      if (stale !== undefined) {
        spoil()
        return this.copy(stale.value) as T
      }
      await this.flights.wait(joined.flight)
      if (this.flights.mayUse(joined.flight, joined.joinedAt) && asNew(joined.flight.parts ?? [])) {
        this.metrics.count('joins')
        took(joined.flight.parts ?? [], joined.flight.token)
        return this.copy(joined.flight.value) as T
      }
    }
    return this.fill(db as object, adapter, request, load, how, undefined, began)
  }

  /** Finds a result anew, for the others who wait for this flight too, if there is one. */
  private async fill<T>(
    db: object,
    adapter: Adapter,
    request: Request,
    load: Load<T>,
    how: HowToGet,
    flight: Flight | undefined,
    /** When it was found out what the result is made from, if that was asked for. */
    began: Ticket | undefined,
  ): Promise<T> {
    const held = this.core.peek(request.entry)
    let ticket = began ?? this.core.ticket()
    if (flight !== undefined) flight.ticket = ticket
    let primary = this.standbys.has(db) ? await this.primary?.ask(request) : undefined
    let answer = await this.ask(adapter, request)
    if (answer.inRecovery && primary === undefined) {
      // What was heard may not be there yet: the primary says how far it must be.
      this.standbys.add(db)
      ticket = began ?? this.core.ticket()
      primary = await this.primary?.ask(request)
      answer = await this.ask(adapter, request)
    }
    if (flight !== undefined) {
      flight.ticket = ticket
      flight.parts = answer.token === null ? null : answer.parts
      flight.token = answer.token
    }
    this.core.learnSpelling(request.tenant, answer.parts)
    const filling: Filling<T> = { adapter, request, load, how, flight, ticket, answer, primary }
    if (held !== undefined && answer.token !== null && held.token === answer.token) {
      this.metrics.count('hits', 'validated')
      spoilIfOlder(answer, answer.inTransaction, undefined)
      took(answer.parts, refusalOf(filling) === undefined ? answer.token : null)
      return this.copy(held.value) as T
    }
    const name = this.store && nameText(request.called, request.tenant, request.names)
    if (this.store !== undefined && name === undefined) this.metrics.count('tier', 'no_name')
    if (this.store === undefined || name === undefined || refusalOf(filling) !== undefined) {
      return (await this.compute(filling)).value
    }
    const place = this.store.tier.place(name, answer.token as string)
    return this.fillShared(filling, new Sharing(this.store, adapter, place, this.metrics))
  }

  /** As fill(), where another process may have computed it. */
  private async fillShared<T>(filling: Filling<T>, sharing: Sharing): Promise<T> {
    const { request, how, flight, ticket, answer } = filling
    // Who is waited for within a flight may wait for that flight, in another process.
    const mayWait = !this.flights.nested(flight) && !answer.inRecovery
    const look = await sharing.look(mayWait, () =>
      this.stale(request, how.staleWhileRevalidate, 'stale_while_revalidate'),
    )
    if (look.stale !== undefined) {
      spoil()
      if (flight !== undefined) flight.shareable = false
      return this.copy(look.stale.value) as T
    }
    if (look.found !== undefined) {
      this.metrics.count('hits', 'tier')
      spoilIfOlder(answer, answer.inTransaction, undefined)
      took(answer.parts, answer.token)
      const entry = this.entryOf(look.found.value, answer, how, look.found.ttl)
      this.keep(request, entry, ticket)
      return this.copy(entry.value) as T
    }
    let kept: Entry | undefined
    try {
      const computed = await this.compute(filling)
      kept = computed.kept
      return computed.value
    } finally {
      await sharing.leave(look, kept, this.core.now())
    }
  }

  /** Runs the query, and keeps its result if it may. kept: what other processes may keep too. */
  private async compute<T>(filling: Filling<T>): Promise<{ value: T; kept?: Entry }> {
    const { adapter, request, load, how, flight, ticket, answer } = filling
    this.metrics.count('misses')
    tell('why', this.core.whyGone(request.entry))
    let value: T
    const loading: Loading = { parts: answer.parts, spoilt: false }
    try {
      // The versions are known; only now the query. The other way round, a change in between
      // would put the old result under the new version.
      value = await runLoader(loading, load)
    } catch (error) {
      const stale = this.stale(request, how.staleIfError, 'stale_if_error')
      took([], null)
      if (stale === undefined) throw error
      spoil()
      // Those who wait have not said that they take it.
      if (flight !== undefined) flight.shareable = false
      return { value: this.copy(stale.value) as T }
    }
    let refusal = refusalOf(filling) ?? (await this.hasWritten(filling))
    spoilIfOlder(answer, answer.inTransaction || adapter.inTransaction() === true, refusal)
    if (loading.spoilt) refusal ??= 'made_from_older'
    took(answer.parts, refusal === undefined ? answer.token : null)
    if (refusal !== undefined && flight !== undefined) flight.token = null
    if (refusal !== undefined) {
      this.refused(request, refusal)
      // It may lack what those who wait had heard.
      if (flight !== undefined && (answer.inRecovery || loading.spoilt)) flight.shareable = false
      return { value }
    }
    const kept = this.entryOf(value, answer, how)
    this.keep(request, kept, ticket)
    return { value: this.copy(value), kept }
  }

  /** The loader may have written something; a rollback would undo it. */
  private async hasWritten(filling: Filling<unknown>): Promise<string | undefined> {
    const { adapter, request, answer } = filling
    if (adapter.shared || adapter.inTransaction() === false) return undefined
    const again = await this.ask(adapter, request)
    return again.token !== answer.token || again.hasWritten ? 'transaction_has_written' : undefined
  }

  private keep(request: Request, entry: Entry, ticket: Ticket): void {
    if (this.core.store(request.entry, entry, ticket) || !this.core.isForeign(entry)) return
    this.say(
      'not kept: what was read is of another database than this cache listens to (or of one ' +
        'that is failing over): make a cache for each database',
    )
  }

  private say(message: string): void {
    if (this.said.has(message) || this.said.size >= 1000) return
    this.said.add(message)
    this.log.warn(message)
  }

  private refused(request: Request, reason: string): void {
    this.metrics.count('refusals', reason)
    if (reason !== 'unknown_domain') return
    this.say(
      `not cached: nothing feeds one of the domains ${request.names.join(', ')}; look at ` +
        'cache_notify.v_invalidation_status, or watch its table',
    )
  }

  private entryOf(value: unknown, answer: Answer, how: HowToGet, atMost = Infinity): Entry {
    return {
      value: this.copy(value),
      token: answer.token as string,
      parts: answer.parts,
      expires: this.core.now() + Math.min(how.ttl ?? this.ttl, atMost),
      keepWhenEnded: (how.staleWhileRevalidate ?? 0) > 0 || (how.staleIfError ?? 0) > 0,
      ended: 0,
    }
  }

  private stale(request: Request, ms: number | undefined, why: string): Entry | undefined {
    const entry = ms !== undefined && ms > 0 ? this.core.ended(request.entry) : undefined
    if (entry === undefined || this.core.now() >= entry.ended + (ms ?? 0)) return undefined
    this.metrics.count('stale_serves', why)
    return entry
  }

  private async ask(adapter: Adapter, request: Request): Promise<Answer> {
    return answerOf(await adapter.run(ASK, [request.tenant, array(request.names)]))
  }
}

/**
 * What the primary has just told is as new as what it told before. Other results are so if
 * their versions are, and if nobody else's rollback can undo them.
 */
function spoilIfOlder(answer: Answer, inTransaction: boolean, refusal: string | undefined): void {
  const written = refusal === 'transaction_has_written' || refusal === 'changed_by_transaction'
  const elsewhere = answer.inRecovery || (inTransaction && !answer.readCommitted)
  if (written || (elsewhere && !asNew(answer.parts))) spoil()
}

/** Why a result is used and not stored, as far as it is known without asking; undefined if not. */
function refusalOf({ adapter, answer, primary }: Filling<unknown>): string | undefined {
  if (answer.token === null) return answer.whyNot
  const within = answer.inTransaction || adapter.inTransaction() === true
  if (within && !answer.readCommitted) return 'old_snapshot'
  if (answer.hasWritten) return 'transaction_has_written'
  if (answer.inRecovery) {
    if (adapter.shared) return 'pool_of_standbys'
    if (primary === undefined || lags(answer, primary)) return 'lagging_standby'
  }
  return undefined
}

/** Whether one of the versions is lower than the primary says. */
function lags(answer: Answer, primary: Answer): boolean {
  if (primary.token === null) return true
  return answer.parts.some((part) => {
    const there = primary.parts.find(
      (other) => other.tenant === part.tenant && other.domain === part.domain && other.key === part.key,
    )
    return there === undefined || part.version < there.version || part.sharedVersion < there.sharedVersion
  })
}
