/**
 * Listens on the primary and tells a Core what it hears.
 *
 * The order of things is what makes it safe: first LISTEN, then a notification of our own
 * that must come back, then the question what was missed, and only then the lease that
 * lets entries be served. The lease is renewed by an answer to each heartbeat.
 */
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { ClientConfig, Notification } from 'pg'
import { historyOf } from './core.js'
import type { Core } from './core.js'
import { ConfigurationError, UnsupportedExtension } from './errors.js'
import { INTERNAL } from './heard.js'
import type { Metrics } from './metrics.js'
import { isVersion, parsePayload } from './payload.js'

/** Versions of the extension that this package speaks with. */
const SUPPORTED = /^1\./

/** Where the extension tells that views, functions and types were redefined. */
const DEFINITIONS = 'cache_notify_definition'

/** In ms: until our own notification must have come, and between attempts to connect. */
const PROBE_TIMEOUT = 5_000
const FIRST_DELAY = 100
const LAST_DELAY = 5_000
/** A connection that lasted so long was a good one: the next attempt is soon. */
const GOOD_CONNECTION = 1_000
const CONNECT_TIMEOUT = 5_000

/** Who may not read every tenant's changes is told so here, and not by an error. */
const CHECK = `
  SELECT (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'cache_notify') AS version,
         pg_catalog.pg_is_in_recovery() AS in_recovery`

/**
 * Where deliveries go, once the library is loaded by the first; and when the configuration was
 * read last.
 */
const POSITION = `
  SELECT cache_notify.current_position() AS position,
         pg_catalog.current_setting('cache_notify.delivery', true) AS delivery,
         pg_catalog.pg_conf_load_time()::text AS configured_at`

/** Lanes that send notifications. */
const LANES = new Set(['auto', 'commit', 'worker'])

const MAY_CATCH_UP = `
  SELECT pg_catalog.has_function_privilege('cache_notify.changes_since(text)', 'EXECUTE') AS may`

/** Where what somebody should read is written. */
export interface Log {
  info(message: string): void
  warn(message: string): void
}

export interface ListenerOptions {
  readonly channel: string
  readonly heartbeat: number
  readonly lease: number
  readonly log: Log
  /** What to do when a definition may have moved. */
  redefined(): void
}

/** What a listener tells: a core, or all that share it. */
export type Told = Pick<
  Core,
  | 'listening'
  | 'extendLease'
  | 'endLease'
  | 'learnHistory'
  | 'heardVersion'
  | 'hear'
  | 'reset'
  | 'listenAnew'
>

/** A listener, as a cache sees it. */
export interface Listening {
  readonly failure: Error | undefined
  close(): Promise<void>
  wait(ms: number): Promise<boolean>
}

export class Listener implements Listening {
  /** Why it does not listen, if it does not. */
  failure: Error | undefined
  protected closed = false
  private client: pg.Client | undefined
  protected wake: (() => void) | undefined
  /** what changed before it was asked for */
  private position: string | null = null
  /** what changed before it was told, with its keys */
  private settled: string | null = null
  /** (tenant, domain) -> version not delivered yet; null: ask for all */
  private overdue: Map<string, { tenant: string | null; domain: string; version: number }> | null = null
  private configuredAt: string | undefined
  private readonly said = new Set<string>()
  private readonly running: Promise<void>
  protected firstTry!: () => void
  private stop!: () => void
  private readonly closing: Promise<void>
  private readonly tried: Promise<void>

  constructor(
    private readonly config: ClientConfig,
    protected readonly core: Told,
    private readonly metrics: Pick<Metrics, 'count'>,
    protected readonly options: ListenerOptions,
  ) {
    this.tried = new Promise((resolve) => {
      this.firstTry = resolve
    })
    this.closing = new Promise((resolve) => {
      this.stop = resolve
    })
    this.running = Promise.resolve().then(() => this.run())
  }

  /** Stops listening. May be called at any moment, and again. */
  async close(): Promise<void> {
    this.closed = true
    this.core.endLease()
    this.stop()
    this.wake?.()
    // A connection that is being made, or hangs, is cut; nobody waits for it.
    this.cut()
    await this.running
    this.core.endLease()
  }

  protected cut(): void {
    this.destroy(this.client)
  }

  /** Waits until it listens or has failed once; whether it listens. */
  async wait(timeout: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeout)
    })
    await Promise.race([this.tried, late])
    clearTimeout(timer)
    return this.core.listening
  }

  private async run(): Promise<void> {
    let delay = FIRST_DELAY
    while (!this.closed) {
      const started = performance.now()
      try {
        // A connection that is cut while it is being made gives no answer at all.
        await Promise.race([this.listen(), this.closing])
      } catch (error) {
        if (this.failure === undefined && performance.now() - started > GOOD_CONNECTION) {
          delay = FIRST_DELAY
        }
        this.failed(error instanceof Error ? error : new Error(String(error)))
      }
      this.core.endLease()
      const client = this.client
      this.client = undefined
      this.destroy(client)
      await this.sleep(delay * (0.5 + Math.random()))
      delay = Math.min(2 * delay, LAST_DELAY)
    }
  }

  protected failed(error: Error): void {
    this.failure = error
    this.firstTry()
    if (this.closed) return
    this.metrics.count('listener_failures')
    if (error instanceof ConfigurationError) {
      this.say('warn', error.message)
    } else {
      this.options.log.warn(`not listening, nothing is served from memory: ${error.message}`)
    }
  }

  /** Says it once, not at each attempt. */
  private say(level: keyof Log, message: string): void {
    if (this.said.has(message)) return
    this.said.add(message)
    this.options.log[level](message)
  }

  protected async sleep(ms: number): Promise<void> {
    if (this.closed) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms)
      timer.unref()
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.wake = undefined
  }

  private makeClient(name: string): pg.Client {
    const client = new pg.Client({
      connectionTimeoutMillis: CONNECT_TIMEOUT,
      keepAlive: true,
      ...this.config,
      application_name: name,
      // What cannot be said in another encoding would end the connection.
      client_encoding: 'UTF8',
    } as ClientConfig)
    client.on('error', () => undefined) // queries fail by it; without this the process does
    return client
  }

  private destroy(client: pg.Client | undefined): void {
    if (client === undefined) return
    client.end().catch(() => undefined)
    ;(client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy()
  }

  protected async listen(): Promise<void> {
    const client = this.makeClient('cache_notify listener')
    this.client = client
    let broken: Error | undefined
    const failed = (error: Error): void => {
      broken ??= error
      // Once it is given up, nothing of it may cut the pause before the next attempt.
      if (this.client === client) this.wake?.()
    }
    client.on('error', failed)
    client.on('end', () => failed(new Error('the connection was closed')))
    await client.connect()
    ;(client as unknown as { connection: { stream: { unref?(): void } } }).connection.stream.unref?.()
    await this.checkServer(client)
    const probe = `cache_notify_${randomUUID().replaceAll('-', '')}`
    let proved = false
    client.on('notification', (notification: Notification) => {
      if (notification.channel === probe) {
        proved = true
        this.wake?.()
      } else {
        this.heard(notification.payload ?? '')
      }
    })
    for (const channel of [this.options.channel, DEFINITIONS]) {
      await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`)
    }
    await this.prove(client, probe, () => proved)
    this.overdue = null // what was sent while we did not listen is lost
    this.configuredAt = undefined
    this.options.redefined()
    this.core.listenAnew()
    const mayCatchUp = await this.mayCatchUp(client)
    while (!this.closed) {
      if (broken !== undefined) throw broken
      await this.catchUp(client, mayCatchUp)
      this.failure = undefined
      this.firstTry()
      await this.sleep(this.options.heartbeat)
    }
  }

  private async checkServer(client: pg.Client): Promise<void> {
    const { version, in_recovery: inRecovery } = (await client.query(CHECK)).rows[0] as {
      version: string | null
      in_recovery: boolean
    }
    if (version === null) {
      throw new UnsupportedExtension(
        'the extension cache_notify is not in this database: CREATE EXTENSION cache_notify',
      )
    }
    if (!SUPPORTED.test(version)) {
      throw new UnsupportedExtension(`the server has cache_notify ${version}; this package speaks with 1.x`)
    }
    if (inRecovery) {
      throw new ConfigurationError(
        'listen on the primary: this server is a standby, where nobody can LISTEN',
      )
    }
  }

  /**
   * A transaction pooler takes LISTEN, and swallows what should come of it, unless it
   * happens to come while the server connection is ours: so somebody else sends it.
   */
  private async prove(client: pg.Client, probe: string, proved: () => boolean): Promise<void> {
    await client.query(`LISTEN ${probe}`)
    const sender = this.makeClient('cache_notify probe')
    try {
      await sender.connect()
      await sender.query(`NOTIFY ${probe}`)
    } finally {
      this.destroy(sender)
    }
    const until = performance.now() + PROBE_TIMEOUT
    while (!proved() && !this.closed) {
      if (performance.now() >= until) {
        throw new ConfigurationError(
          'a notification sent over the listening connection did not come back: listen over ' +
            'a direct connection to PostgreSQL, not through a pooler in transaction mode',
        )
      }
      await this.sleep(50)
    }
    await client.query(`UNLISTEN ${probe}`)
  }

  private async mayCatchUp(client: pg.Client): Promise<boolean> {
    const may = (await client.query(MAY_CATCH_UP)).rows[0]?.may === true
    if (!may) {
      this.say(
        'info',
        'this role may not execute cache_notify.changes_since(text): after each lost ' +
          'connection the cache starts empty; GRANT EXECUTE to keep entries',
      )
    }
    return may
  }

  /**
   * Hears what has changed since the last time. What we listened for may still be on its
   * way, with the keys that it tells: it has until the next time.
   */
  private async catchUp(client: pg.Client, mayCatchUp: boolean): Promise<void> {
    const askedAt = performance.now()
    const question = await withTimeout(client.query(POSITION), this.options.lease)
    const asked = question.rows[0] as { position: string; delivery: string | null; configured_at: string }
    this.checkLanes(asked.delivery, asked.configured_at, mayCatchUp)
    const overdue = this.overdue
    this.overdue = new Map()
    // What was overdue when the connection was lost came to nobody.
    const since = overdue === null ? this.settled : this.position
    if (this.position === null || (!mayCatchUp && overdue === null)) {
      this.reset('began_to_listen')
    } else if (mayCatchUp) {
      const changes = await withTimeout(
        client.query('SELECT tenant_id, domain, version::text FROM cache_notify.changes_since($1)', [
          since,
        ]),
        this.options.lease,
      )
      for (const row of changes.rows as { tenant_id: string | null; domain: string | null; version: string }[]) {
        this.missed(row.tenant_id, row.domain, Number(row.version), overdue === null)
      }
      for (const change of (overdue ?? new Map()).values()) this.core.hear({ ...change, keys: null })
    }
    this.settled = this.overdue.size > 0 ? this.position : asked.position
    this.position = asked.position
    this.core.learnHistory(historyOf(asked.position))
    if (!this.closed) this.core.extendLease(askedAt + this.options.lease)
  }

  /** Not every lane sends notifications, and of definitions nothing else tells. */
  private checkLanes(setting: string | null, configuredAt: string, mayCatchUp: boolean): void {
    const lanes = (setting ?? 'auto').split(',').map((lane) => lane.trim().toLowerCase())
    if (!lanes.some((lane) => LANES.has(lane))) {
      throw new ConfigurationError(
        `cache_notify.delivery is '${String(setting)}': listeners are told of nothing; add worker to it`,
      )
    }
    if (this.configuredAt !== undefined && this.configuredAt !== configuredAt) {
      // It may have been another lane in between.
      if (!mayCatchUp) this.reset('reloaded')
      this.options.redefined()
      this.core.listenAnew()
    }
    this.configuredAt = configuredAt
  }

  private missed(tenant: string | null, domain: string | null, version: number, allKeys: boolean): void {
    if (domain === null || !isVersion(version)) {
      this.reset('new_history')
    } else if (allKeys) {
      this.core.hear({ tenant, domain, version, keys: null })
    } else if (version !== this.core.heardVersion(tenant, domain)) {
      this.core.hear({ tenant, domain, version, keys: [] })
      this.overdue?.set(JSON.stringify([tenant, domain]), { tenant, domain, version })
    }
  }

  /** Anything may have changed, definitions as well. */
  protected reset(reason: string): void {
    this.options.redefined()
    this.core.reset(reason)
  }

  protected heard(payload: string): void {
    const change = parsePayload(payload)
    if (change === null) {
      this.reset('payload')
      return
    }
    if (change.domain.startsWith(INTERNAL)) this.options.redefined()
    this.core.hear(change)
    const where = JSON.stringify([change.tenant, change.domain])
    const overdue = this.overdue?.get(where)
    if (overdue !== undefined && overdue.version <= change.version) this.overdue?.delete(where)
  }
}

/** A dead network gives no error: no answer is one. */
export async function withTimeout<T>(answer: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the server does not answer')), ms)
    timer.unref()
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
