/**
 * One listener for all caches of a process that listen to the same relay in the same way: one
 * connection, and each frame received and read once, however many caches there are.
 *
 * To the listener they are one core. They share what was heard (heard.ts), so that a change
 * is noted once, and costs only those more that hold something it concerns.
 */
import type { Core } from './core.js'
import { Heard } from './heard.js'
import type { Listener, ListenerOptions, Listening, Log, Told } from './listener.js'
import type { Change } from './payload.js'

interface Member {
  readonly core: Core
  readonly options: ListenerOptions
}

/** The cores that one listener tells, as one. */
export class Audience implements Told {
  readonly heard = new Heard()
  readonly metrics = {
    count: (event: string, reason?: string): void => {
      for (const { core } of this.members) core.metrics.count(event, reason)
    },
  }
  readonly log: Log = {
    info: (message) => this.say('info', message),
    warn: (message) => this.say('warn', message),
  }
  private members: readonly Member[] = []
  private leaseEnds = 0
  private history: string | undefined

  /**
   * Adds an empty core. What is heard from now on concerns whatever it will hold, so it has
   * the lease that there is.
   */
  add(core: Core, options: ListenerOptions): void {
    core.heard = this.heard
    this.members = [...this.members, { core, options }]
    core.learnHistory(this.history)
    core.extendLease(this.leaseEnds)
  }

  /** Whether none is left. */
  remove(core: Core): boolean {
    this.members = this.members.filter((member) => member.core !== core)
    core.endLease()
    this.heard.leave(core)
    return this.members.length === 0
  }

  redefined(): void {
    for (const { options } of this.members) options.redefined()
  }

  // ------------------------------------------------ what a listener tells a core

  get listening(): boolean {
    return performance.now() < this.leaseEnds
  }

  extendLease(until: number): void {
    this.leaseEnds = until
    for (const { core } of this.members) core.extendLease(until)
  }

  endLease(): void {
    this.extendLease(0)
  }

  learnHistory(history: string | undefined): void {
    this.history = history
    for (const { core } of this.members) core.learnHistory(history)
  }

  heardVersion(tenant: string | null, domain: string): number | undefined {
    return this.heard.version(tenant, domain)
  }

  hear(change: Change): void {
    // The first one notes it.
    const first = this.members[0]?.core
    first?.hear(change)
    for (const holder of this.heard.holders(change)) {
      if (holder !== first) holder.dropOutdated(change)
    }
  }

  reset(reason: string): void {
    for (const { core } of this.members) core.reset(reason)
  }

  listenAnew(): void {
    for (const { core } of this.members) core.listenAnew()
  }

  private say(level: keyof Log, message: string): void {
    for (const log of new Set(this.members.map(({ options }) => options.log))) log[level](message)
  }
}

/** A cache's share of a listener; to the cache, a listener. */
class Share implements Listening {
  private closed = false

  constructor(
    private readonly core: Core,
    private readonly shared: Shared,
    private readonly forget: () => void,
  ) {}

  /** Stops being told; the last one ends the listener. May be called again. */
  async close(): Promise<void> {
    const last = this.shared.audience.remove(this.core) && !this.closed
    this.closed = true
    if (!last) return
    this.forget()
    await this.shared.listener.close()
  }

  get failure(): Error | undefined {
    return this.shared.listener.failure
  }

  async wait(ms: number): Promise<boolean> {
    await this.shared.listener.wait(ms)
    return this.core.listening
  }
}

interface Shared {
  readonly audience: Audience
  readonly listener: Listener
}

const listeners = new Map<string, Shared>()

/** How many listeners are shared now: for tests. */
export const shared = (): number => listeners.size

/** The listener of this process, to which the core is added. */
export function share(
  url: string,
  core: Core,
  options: ListenerOptions,
  make: (audience: Audience, options: ListenerOptions) => Listener,
): Listening {
  const { channel, heartbeat, lease } = options
  const key = JSON.stringify([url, channel, heartbeat, lease])
  let found = listeners.get(key)
  if (found === undefined) {
    const audience = new Audience()
    const ours = { ...options, log: audience.log, redefined: () => audience.redefined() }
    audience.add(core, options)
    listeners.set(key, (found = { audience, listener: make(audience, ours) }))
  } else {
    found.audience.add(core, options)
  }
  const mine = found
  return new Share(core, mine, () => {
    if (listeners.get(key) === mine) listeners.delete(key)
  })
}
