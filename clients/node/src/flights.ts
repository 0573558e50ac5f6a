/**
 * Single flight: of those who miss the same result at the same time, one computes it.
 *
 * A caller may take the result of a flight only if nothing was heard between the moment
 * the flight asked for its versions and the moment the caller came, that these versions
 * lack. Otherwise it would get a result older than what this process had heard before the
 * call.
 *
 * A loader may ask for other results, so flights wait for flights. One that would wait for
 * itself, in whatever roundabout way, computes its result by itself instead.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Core } from './core.js'
import type { Part, Ticket } from './heard.js'

/** Joined before the flight asked for its versions: they lack nothing heard by then. */
const BEFORE = -1

/** One computation that others may wait for. */
export class Flight {
  ticket: Ticket | null = null
  /** null: not known, or no proof */
  parts: readonly Part[] | null = null
  /** the same */
  token: string | null = null
  succeeded = false
  shareable = true
  value: unknown
  endedOutdated = false
  readonly waitsFor = new Set<Flight>()
  readonly over: Promise<void>
  end!: () => void

  constructor() {
    this.over = new Promise((resolve) => {
      this.end = resolve
    })
  }
}

export class Flights {
  private readonly flying = new Map<string, Flight>()
  /** The flights that the current context is computing, the innermost last. */
  private readonly mine = new AsyncLocalStorage<readonly Flight[]>()

  constructor(private readonly core: Core) {}

  /** A flight to wait for, with when it was joined; undefined: start one. */
  join(name: string): { flight: Flight; joinedAt: number } | undefined {
    const flight = this.flying.get(name)
    if (flight === undefined || !this.mayJoin(flight)) return undefined
    return { flight, joinedAt: flight.ticket === null ? BEFORE : this.core.ticket().sequence }
  }

  /** Waits until the flight is over. */
  async wait(flight: Flight): Promise<void> {
    const waiting = this.mine.getStore()?.at(-1)
    waiting?.waitsFor.add(flight)
    try {
      await flight.over
    } finally {
      waiting?.waitsFor.delete(flight)
    }
  }

  /** Flies: others may join until it is over. */
  async fly<T>(name: string, compute: (flight: Flight) => Promise<T>): Promise<T> {
    const flight = new Flight()
    this.flying.set(name, flight)
    try {
      const value = await this.mine.run([...(this.mine.getStore() ?? []), flight], () => compute(flight))
      flight.value = value
      flight.succeeded = true
      return value
    } finally {
      if (this.flying.get(name) === flight) this.flying.delete(name)
      if (flight.ticket !== null) flight.endedOutdated = this.core.outdated(flight.ticket, flight.parts)
      flight.end()
    }
  }

  /** Whether somebody who joined at this number may take the result. */
  mayUse(flight: Flight, joinedAt: number): boolean {
    if (!flight.succeeded || !flight.shareable || flight.ticket === null) return false
    if (joinedAt === BEFORE) return true
    // Without versions nothing tells whether it lacks what the caller had heard.
    if (flight.parts === null) return false
    return !flight.endedOutdated || joinedAt <= flight.ticket.sequence
  }

  /** Whether the current context computes another one than this. */
  nested(flight: Flight | undefined): boolean {
    return (this.mine.getStore() ?? []).some((mine) => mine !== flight)
  }

  private mayJoin(flight: Flight): boolean {
    const mine = this.mine.getStore() ?? []
    const seen = new Set<Flight>()
    const follow = [flight]
    for (let next = follow.pop(); next !== undefined; next = follow.pop()) {
      if (mine.includes(next)) return false
      if (!seen.has(next)) {
        seen.add(next)
        follow.push(...next.waitsFor)
      }
    }
    if (flight.ticket === null) return true
    return !this.core.outdated(flight.ticket, flight.parts)
  }
}
