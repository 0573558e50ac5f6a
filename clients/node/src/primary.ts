/** What the primary says, to compare what a standby says with. */
import pg from 'pg'
import type { ClientConfig } from 'pg'
import { ASK, answerOf, array } from './ask.js'
import type { Answer } from './ask.js'
import { withTimeout } from './listener.js'
import type { Log } from './listener.js'
import type { Metrics } from './metrics.js'
import type { Request } from './request.js'

/** ms until it must answer; ms for which it is left alone if it does not, at first and at most. */
const TIMEOUT = 2_000
const FIRST_REST = 1_000
const LAST_REST = 30_000

export class Primary {
  private client: Promise<pg.Client> | undefined
  private restsUntil = 0
  private rest = FIRST_REST

  constructor(
    private readonly config: ClientConfig,
    private readonly metrics: Metrics,
    private readonly log: Log,
  ) {}

  /**
   * undefined if it does not answer: the standby can be read all the same, and nothing of it
   * is kept.
   */
  async ask(request: Request): Promise<Answer | undefined> {
    if (performance.now() < this.restsUntil) return undefined
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const client = (this.client ??= this.connect())
      try {
        const answer = await withTimeout(
          client.then((connected) => connected.query(ASK, [request.tenant, array(request.names)])),
          TIMEOUT,
        )
        this.rest = FIRST_REST
        return answerOf(answer.rows)
      } catch (error) {
        // And once more, over a new one.
        this.drop(client)
        if (attempt > 0) this.failed(error)
      }
    }
    return undefined
  }

  async close(): Promise<void> {
    this.restsUntil = Infinity
    const client = this.client
    this.client = undefined
    await (await client?.catch(() => undefined))?.end().catch(() => undefined)
  }

  private async connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionTimeoutMillis: TIMEOUT,
      application_name: 'cache_notify primary',
      ...this.config,
    })
    client.on('error', () => undefined) // queries fail by it; without this the process does
    await client.connect()
    ;(client as unknown as { connection: { stream: { unref?(): void } } }).connection.stream.unref?.()
    return client
  }

  private drop(client: Promise<pg.Client>): void {
    if (this.client === client) this.client = undefined
    client.then((connected) => connected.end()).catch(() => undefined)
  }

  private failed(error: unknown): void {
    this.metrics.count('primary_failures')
    this.restsUntil = Math.max(this.restsUntil, performance.now() + this.rest)
    this.rest = Math.min(2 * this.rest, LAST_REST)
    this.log.warn(
      'results of standbys are not kept: the primary does not answer: ' +
        (error instanceof Error ? error.message : String(error)),
    )
  }
}
