/**
 * Listens to a relay (cache-notify relay of the Python package), through Redis or Valkey,
 * and tells a Core what it hears.
 *
 * The order of things is that of a direct listener: first SUBSCRIBE, then the question how
 * far the relay has come, and what was missed is read from its stream (a gap is a reset);
 * and entries are served only once a beat is over that was begun after a question of ours.
 * What is where in Redis: clients/python/src/cache_notify/_relayed.py.
 */
import { historyOf } from './core.js'
import { ConfigurationError, UnsupportedExtension } from './errors.js'
import { Listener, withTimeout } from './listener.js'
import type { ListenerOptions, Told } from './listener.js'
import type { Metrics } from './metrics.js'
import { makeClient } from './redis-client.js'
import type { Client } from './redis-client.js'

const PROTOCOL = '1'
const ANEW = '{"relay": "anew"}'
const AWAY = '{"relay": "away"}'

/** What keys and channels begin with, unless the URL says ?name=... */
export const NAME = 'cache_notify'

/**
 * In ms: for what was published before an answer to come in as well; and between questions
 * as long as entries may not be served yet.
 */
const PATIENCE = 1_000
const IMPATIENT = 100

/** In ms: until a connection must be there. */
const CONNECT_TIMEOUT = 5_000

/** Frames that are read from the stream in one go, and at most. */
const CHUNK = 500
const MOST = 20_000

export const isRedisUrl = (listen: unknown): listen is string =>
  typeof listen === 'string' && /^(redis|rediss|unix):\/\//.test(listen)

interface State {
  readonly protocol: string
  readonly epoch: string
  readonly n: number
  readonly started: number
  readonly beat: number
  readonly position: string
}

interface Question {
  readonly askedAt: number
  /** Which beat had been begun by then. */
  readonly started: number
}

export class RedisListener extends Listener {
  private readonly stateKey: string
  private readonly changes: string
  private readonly server: string
  private clients: Client[] = []
  private inbox: string[] = []
  /** whose frames were heard, and the last of them */
  private epoch: string | null = null
  private last = 0
  private questions: Question[] = []
  private silentSince = 0
  private askNow = false

  constructor(url: string, core: Told, metrics: Pick<Metrics, 'count'>, options: ListenerOptions) {
    super({}, core, metrics, options)
    const [server, query] = url.split('?', 2) as [string, string | undefined]
    const settings = new URLSearchParams(query)
    const name = settings.get('name') ?? NAME
    settings.delete('name')
    this.server = settings.size > 0 ? `${server}?${settings.toString()}` : server
    this.stateKey = `${name}:relay`
    this.changes = `${name}:changes`
  }

  protected override cut(): void {
    for (const client of this.clients) if (client.isOpen) client.destroy()
  }

  protected override async listen(): Promise<void> {
    const [commands, subscriber] = [await makeClient(this.server, CONNECT_TIMEOUT), await makeClient(this.server, CONNECT_TIMEOUT)]
    this.clients = [commands, subscriber]
    this.inbox = []
    let broken: Error | undefined
    for (const client of this.clients) {
      const failed = (error?: Error): void => {
        broken ??= error ?? new Error('the connection to Redis was closed')
        if (this.clients.includes(client)) this.wake?.()
      }
      client.on('error', failed)
      client.on('end', () => failed())
    }
    try {
      await Promise.all(this.clients.map((client) => client.connect()))
      for (const client of this.clients) client.unref()
      const hear = (frame: string): void => {
        this.inbox.push(frame)
        this.wake?.()
      }
      await this.answer(subscriber.subscribe(this.changes, hear))
      this.questions = []
      this.silentSince = performance.now()
      let subscribedAnew = true
      while (!this.closed) {
        this.askNow = false
        const askedAt = performance.now()
        await this.follow(commands, await this.askState(commands), askedAt, subscribedAnew)
        subscribedAnew = false
        const { heartbeat, lease } = this.options
        const impatient = !this.core.listening && performance.now() < this.silentSince + lease
        const until = askedAt + (impatient ? Math.min(heartbeat, IMPATIENT) : heartbeat)
        await this.receive(commands, until, () => {
          if (broken !== undefined) throw broken
        })
      }
    } finally {
      this.core.endLease()
      this.cut()
      this.clients = []
    }
  }

  /** A dead network gives no error: no answer is one. */
  private async answer<T>(question: Promise<T>): Promise<T> {
    return withTimeout(question, Math.max(Math.min(this.options.lease, 30_000), 1_000))
  }

  private async askState(commands: Client): Promise<State | null> {
    const [protocol, epoch, position, ...numbers] = await this.answer(
      commands.sendCommand<(string | null)[]>(
        ['HMGET', this.stateKey, 'protocol', 'epoch', 'position', 'n', 'started', 'beat']),
    )
    if (protocol == null || epoch == null || numbers.includes(null)) return null
    const [n, started, beat] = numbers.map(Number) as [number, number, number]
    return { protocol, epoch, position: position ?? '', n, started, beat }
  }

  /** Hears all that had been published when the question was answered, and draws the conclusions. */
  private async follow(
    commands: Client,
    state: State | null,
    askedAt: number,
    subscribedAnew: boolean,
  ): Promise<void> {
    if (state === null) {
      this.core.endLease()
      this.epoch = null
    } else if (state.protocol !== PROTOCOL) {
      throw new UnsupportedExtension(
        `the relay speaks version ${state.protocol} of its protocol; this package speaks ${PROTOCOL}`,
      )
    } else {
      if (state.epoch !== this.epoch || state.n < this.last) {
        this.beginEpoch(state.epoch, state.n)
      } else if (state.n > this.last) {
        if (!subscribedAnew) {
          await this.receive(commands, performance.now() + PATIENCE, () => undefined, state.n)
        }
        if (state.epoch === this.epoch) await this.readStream(commands, state.n)
      }
      if (state.epoch === this.epoch) this.trust(state, askedAt)
    }
    this.judge()
  }

  /** A beat that was over, and begun after a question of ours, proves all from before it. */
  private trust(state: State, askedAt: number): void {
    let proved: Question | undefined
    while (this.questions[0] !== undefined && this.questions[0].started < state.beat) {
      proved = this.questions.shift()
    }
    // Of questions that saw the same beat begun, the last tells most.
    if (this.questions.at(-1)?.started === state.started) this.questions.pop()
    this.questions.push({ askedAt, started: state.started })
    if (proved === undefined) return
    this.silentSince = proved.askedAt
    this.core.learnHistory(historyOf(state.position) || undefined)
    if (!this.closed) this.core.extendLease(proved.askedAt + this.options.lease)
  }

  /** Says whether it listens. */
  private judge(): void {
    if (this.core.listening) {
      this.failure = undefined
      this.firstTry()
    } else if (
      this.failure === undefined &&
      performance.now() > this.silentSince + this.options.lease
    ) {
      this.failed(
        new Error(
          `no relay has proved itself under the name of ${this.stateKey}: is cache-notify relay running?`,
        ),
      )
    }
  }

  /** Hears what comes until then, or until frame upto has come. */
  private async receive(
    commands: Client,
    until: number,
    check: () => void,
    upto = Infinity,
  ): Promise<void> {
    for (;;) {
      check()
      for (let frame = this.inbox.shift(); frame !== undefined; frame = this.inbox.shift()) {
        await this.takeFrame(commands, frame)
      }
      const wait = until - performance.now()
      if (this.closed || this.askNow || this.last >= upto || wait <= 0) return
      await this.sleep(wait)
    }
  }

  private async takeFrame(commands: Client, frame: string): Promise<void> {
    const parts = /^(\S+) (\d{1,15}) ([^]*)$/.exec(frame)
    if (parts === null) {
      this.reset('payload')
      return
    }
    const [epoch, n, payloads] = [parts[1] as string, Number(parts[2]), parts[3] as string]
    if (epoch !== this.epoch) {
      this.beginEpoch(epoch, n)
      this.askNow = true
    } else if (n > this.last) {
      if (n > this.last + 1) await this.readStream(commands, n - 1)
      this.hearAll(payloads)
      this.last = n
    }
  }

  /** Hears the frames that did not come, if they are all still there. */
  private async readStream(commands: Client, upto: number): Promise<void> {
    while (this.last < upto && upto <= this.last + MOST) {
      const entries = await this.answer(
        commands.sendCommand<[string, string[]][]>(
          ['XRANGE', this.changes, `${this.last + 1}-0`, `${upto}-0`, 'COUNT', `${CHUNK}`]),
      )
      let gap = entries.length === 0
      for (const [id, list] of entries) {
        const fields = new Map<string, string>()
        for (let i = 0; i + 1 < list.length; i += 2) fields.set(list[i] as string, list[i + 1] as string)
        const payloads = fields.get('payloads')
        gap = id !== `${this.last + 1}-0` || fields.get('epoch') !== this.epoch || payloads === undefined
        if (gap) break
        this.hearAll(payloads as string)
        this.last += 1
      }
      if (gap) break
    }
    if (this.last < upto) {
      this.reset('relay_gap')
      this.last = upto
    }
  }

  private hearAll(payloads: string): void {
    for (const payload of payloads.split('\n')) {
      if (payload === ANEW) {
        this.core.listenAnew()
        this.options.redefined()
      } else if (payload === AWAY) {
        this.core.endLease()
        this.questions = []
        this.askNow = true
        this.silentSince = performance.now()
      } else {
        this.heard(payload)
      }
    }
  }

  /** Another numbering: what was not heard of the one before cannot be known. */
  private beginEpoch(epoch: string, n: number): void {
    this.core.endLease()
    this.reset(this.epoch === null ? 'began_to_listen' : 'relay_epoch')
    this.questions = []
    this.silentSince = performance.now()
    this.epoch = epoch
    this.last = n
  }
}
