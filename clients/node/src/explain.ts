/** What a cache did for one caller, and why: for pages of developers, logs and tests. */
import { AsyncLocalStorage } from 'node:async_hooks'

/** What happened within explain(). toString() says it in a line. */
export class Explanation {
  /** [event, reason] as in Metrics, in their order. */
  readonly events: [string, string][] = []

  /**
   * 'hit' if nothing was computed: in memory, in the shared tier, or by another caller for whom
   * this one waited. 'miss' if something was computed and can be kept, 'not cached' if it cannot.
   */
  get outcome(): 'hit' | 'miss' | 'not cached' {
    const names = this.events.map(([event]) => event)
    if (names.includes('refusals')) return 'not cached'
    return names.includes('misses') ? 'miss' : 'hit'
  }

  /** Why something was computed or not kept, or where it came from. */
  get why(): string {
    const told: string[] = []
    const found: string[] = []
    for (const [event, reason] of this.events) {
      if (event === 'why') told.push(reason)
      else if (['refusals', 'stale_serves'].includes(event) && !['', 'uncacheable_statement'].includes(reason)) {
        told.push(reason.replaceAll('_', ' '))
      }
      const where = FOUND[`${event} ${reason}`]
      if (where !== undefined) found.push(where)
    }
    return [...new Set([...told, ...found])].join('; ') || (this.outcome === 'hit' ? 'in memory' : '')
  }

  toString(): string {
    return this.why === '' ? this.outcome : `${this.outcome} (${this.why})`
  }
}

const FOUND: Record<string, string> = {
  'hits validated': 'the server said that it is current',
  'hits tier': 'another process had computed it',
  'joins ': 'another caller was computing it',
}

const current = new AsyncLocalStorage<Explanation>()
let asked = false

/**
 * Runs run(), and tells what every cache did for it:
 *
 *     const [rows, what] = await explain(() => cache.query(pool, 'SELECT …'))
 *     console.log(String(what))          // miss (price/1 of acme has changed)
 */
export async function explain<T>(run: () => Promise<T> | T): Promise<[T, Explanation]> {
  asked = true
  const explanation = new Explanation()
  return [await current.run(explanation, run), explanation]
}

/** Why entries were dropped is remembered once somebody has asked. */
export function remembering(): boolean {
  return asked
}

/** An event for the caller of this context. */
export function tell(event: string, reason: string): void {
  current.getStore()?.events.push([event, reason])
}
