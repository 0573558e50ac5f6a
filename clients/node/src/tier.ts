/**
 * The shared tier: results in Redis or Valkey, for processes that would otherwise each compute
 * what another one has.
 *
 * An entry's key contains the token that its result was computed under, and whoever reads it
 * has just got that token from the server. So a stale entry cannot be read, whatever is lost,
 * late or left behind; it goes by its time to live.
 */
import { createHash } from 'node:crypto'
import { jsonCodec } from './codec.js'
import type { Codec } from './codec.js'
import type { Log } from './listener.js'
import type { Metrics } from './metrics.js'
import { makeClient } from './redis-client.js'
import type { Client } from './redis-client.js'

/** The form of keys and values: doc/protocol.md. */
const FORM = '1'

/**
 * In the place of a result: whoever needs it must compute it. For so many ms after a
 * computation has failed; as long as an entry, where the result cannot be told to others.
 */
export const NOTHING = `${FORM} none\n`
export const FAILED_FOR = 1_000

/** ms without a question after the store did not answer: the first, the longest. */
const FIRST_REST = 500
const LAST_REST = 10_000

export interface TierOptions {
  /**
   * How its keys begin; change it when what your loaders return has another form than before.
   * Default 'cache_notify'.
   */
  prefix?: string
  /** ms after which an entry goes, at most. Default 3,600,000. */
  ttl?: number
  /** ms for one question. Default 250. */
  timeout?: number
  /**
   * ms for which one process lets another one compute a result that both lack, by
   * claim_refresh() of the server; 0: each computes its own. Default 10,000, at most 300,000.
   */
  wait?: number
  /** How results become text. By default JSON, which leaves those unshared that are not plain values. */
  codec?: Codec
}

/** Where a result is: its key, and what claims are made with. */
export interface Place {
  readonly key: string
  readonly digest: string
  readonly token: string
}

/** What lies in a place. ttl in ms. */
export interface Found {
  readonly value: unknown
  readonly ttl: number
}

/**
 * Entries in Redis or Valkey, shared by all processes with this url and prefix. Needs the
 * package redis: npm install redis. Losing the store costs hits and nothing else. Whoever can
 * write to it can plant results, so it must be as well protected as the database.
 *
 * url: redis:// or rediss://, or a socket, as its path or unix://. One object may be given to several caches.
 */
export class RedisTier {
  readonly prefix: string
  readonly ttl: number
  readonly timeout: number
  readonly wait: number
  readonly codec: Codec

  constructor(
    readonly url: string,
    options: TierOptions = {},
  ) {
    this.prefix = options.prefix ?? 'cache_notify'
    this.ttl = options.ttl ?? 3_600_000
    this.timeout = options.timeout ?? 250
    this.wait = options.wait ?? 10_000
    this.codec = options.codec ?? jsonCodec
    if (!(this.wait >= 0 && this.wait <= 300_000)) throw new RangeError('wait must be 0 to 300,000 ms')
    if (!(this.ttl > 0 && this.timeout > 0)) throw new RangeError('ttl and timeout must be positive')
  }

  /** Where the result of this name and token is. */
  place(name: string, token: string): Place {
    const digest = createHash('sha256').update(name).digest('hex')
    return { key: `${this.prefix}:${FORM}:${digest}:${token}`, digest, token }
  }
}

/** One cache's view of the tier: errors are counted here, and end here. */
export class Store {
  private client: Promise<Client> | undefined
  private restsUntil = 0
  private rest = FIRST_REST
  private readonly said = new Set<string>()

  constructor(
    readonly tier: RedisTier,
    private readonly metrics: Metrics,
    private readonly log: Log,
  ) {}

  /** What lies there; 'missing' if somebody may put something there, 'compute' if not. */
  async get(place: Place): Promise<Found | 'missing' | 'compute'> {
    const answer = await this.asked((client) =>
      client.multi().get(place.key).pTTL(place.key).execAsPipeline(),
    )
    return answer === undefined ? 'compute' : this.decoded(answer as unknown as [string | null, number])
  }

  /** Puts it there, if the store answers; replace: even if something lies there. ttl in ms. */
  async put(place: Place, data: string, ttl: number, replace = true): Promise<void> {
    await this.asked((client) =>
      client.set(place.key, data, { PX: Math.max(1, Math.floor(ttl)), ...(replace ? {} : { NX: true }) }),
    )
  }

  /** undefined if it cannot be told to others. */
  encoded(value: unknown): string | undefined {
    const { codec } = this.tier
    try {
      return `${FORM} ${codec.name}\n${codec.dumps(value)}`
    } catch (error) {
      this.metrics.count('tier', 'not_shareable')
      this.say(`not shared between processes: ${textOf(error)}`)
      return undefined
    }
  }

  async close(): Promise<void> {
    this.restsUntil = Infinity
    const client = await this.client?.catch(() => undefined)
    if (client?.isOpen === true) client.destroy()
  }

  private decoded([data, ttl]: [string | null, number]): Found | 'missing' | 'compute' {
    if (data === null || ttl <= 0) return 'missing'
    if (data === NOTHING) return 'compute'
    const { codec } = this.tier
    try {
      const head = `${FORM} ${codec.name}\n`
      if (!data.startsWith(head)) throw new Error(`it begins with ${JSON.stringify(data.slice(0, 40))}`)
      return { value: codec.loads(data.slice(head.length)), ttl }
    } catch (error) {
      this.metrics.count('tier', 'unreadable')
      this.say(`an entry of the shared tier cannot be read: ${textOf(error)}`)
      return 'missing'
    }
  }

  /** The answer to a question; undefined if the store does not give one. */
  private async asked<T>(ask: (client: Client) => Promise<T>): Promise<T | undefined> {
    if (performance.now() < this.restsUntil) return undefined
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${this.tier.timeout} ms`)), this.tier.timeout)
    })
    try {
      const answer = await Promise.race([this.connected().then(ask), late])
      this.rest = FIRST_REST
      return answer
    } catch (error) {
      this.failed(error)
      return undefined
    } finally {
      clearTimeout(timer)
    }
  }

  private connected(): Promise<Client> {
    if (this.client !== undefined) return this.client
    const client = this.connect(() => {
      // A newer one may have taken its place.
      if (this.client === client) this.client = undefined
    })
    // A failure of connecting is this question's error, and nobody's unhandled rejection.
    client.catch(() => undefined)
    this.client = client
    return client
  }

  private async connect(ended: () => void): Promise<Client> {
    const client = await makeClient(this.tier.url, this.tier.timeout)
    client.on('error', () => undefined)
    client.on('end', ended)
    await client.connect()
    return client
  }

  private failed(error: unknown): void {
    // Not each caller is to wait for a store that is gone.
    this.metrics.count('tier', 'error')
    this.restsUntil = Math.max(this.restsUntil, performance.now() + this.rest)
    this.rest = Math.min(2 * this.rest, LAST_REST)
    this.say(`the shared tier does not answer: ${textOf(error)}`)
    // What is still on its way over this connection is nobody's answer any more.
    const client = this.client
    this.client = undefined
    client?.then((connected) => connected.destroy()).catch(() => undefined)
  }

  private say(message: string): void {
    if (this.said.has(message) || this.said.size >= 100) return
    this.said.add(message)
    this.log.warn(message)
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
