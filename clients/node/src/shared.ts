/**
 * How processes share a result: the steps at the shared tier (see tier.ts).
 *
 * A result's place is known once the token is. If nothing lies there, claim_refresh() of the
 * server lets one process compute it, and the others look again from time to time. It is made
 * only outside the caller's transaction: nobody is to wait while he holds one.
 */
import type { Adapter } from './adapters.js'
import type { Entry } from './core.js'
import type { Metrics } from './metrics.js'
import { FAILED_FOR, NOTHING } from './tier.js'
import type { Found, Place, Store } from './tier.js'

const CLAIM =
  'SELECT cache_notify.claim_refresh($1::text, $2::text, $3::text::interval) AS claimed'
const FINISH = 'SELECT cache_notify.finish_refresh($1::text, $2::text)'

/**
 * ms between looks at the place, the first and the longest; between claims, as the one who
 * computes may be gone.
 */
const FIRST_LOOK = 5
const LAST_LOOK = 50
const CLAIM_AFTER = 500

/** What came of looking: a result, one that is good enough, or the duty to compute. */
export interface Look {
  readonly found?: Found
  readonly stale?: Entry
  readonly claimed?: boolean
}

/** One result's place in the tier, as one caller sees it. */
export class Sharing {
  constructor(
    private readonly store: Store,
    private readonly adapter: Adapter,
    private readonly place: Place,
    private readonly metrics: Metrics,
  ) {}

  /** Looks for a result, for as long as somebody else computes it and stale() has none. */
  async look(mayWait: boolean, stale: () => Entry | undefined): Promise<Look> {
    let got = await this.store.get(this.place)
    if (typeof got === 'object') return { found: got }
    if (got === 'compute' || !mayWait || this.adapter.inTransaction() !== false) return {}
    const until = performance.now() + this.store.tier.wait
    while (performance.now() < until) {
      const claimed = await this.claim()
      if (claimed === undefined) return {}
      if (claimed) return this.lookAgain()
      const goodEnough = stale()
      if (goodEnough !== undefined) return { stale: goodEnough }
      this.metrics.count('tier', 'waits')
      got = await this.wait(Math.min(until, performance.now() + CLAIM_AFTER))
      if (typeof got === 'object') return { found: got }
      if (got === 'compute') return {}
    }
    return {}
  }

  /**
   * After the computation: puts the result in its place, or says that nothing comes, and ends
   * the claim. kept: what may be kept, if it may.
   */
  async leave(look: Look, kept: Entry | undefined, now: number): Promise<void> {
    const claimed = look.claimed === true
    const data = kept === undefined ? undefined : this.store.encoded(kept.value)
    const ttl = kept === undefined ? FAILED_FOR : Math.min(kept.expires - now, this.store.tier.ttl)
    if (ttl > 0 && (data !== undefined || claimed)) {
      await this.store.put(this.place, data ?? NOTHING, ttl, data !== undefined)
    }
    if (claimed) await this.finish()
  }

  /** With the claim: somebody may have finished since we looked. */
  private async lookAgain(): Promise<Look> {
    const got = await this.store.get(this.place)
    if (typeof got !== 'object') return { claimed: true }
    await this.finish()
    return { found: got }
  }

  private async wait(until: number): Promise<Found | 'missing' | 'compute'> {
    for (let pause = FIRST_LOOK; performance.now() < until; pause = Math.min(2 * pause, LAST_LOOK)) {
      const ms = pause
      await new Promise((resolve) => setTimeout(resolve, ms))
      const got = await this.store.get(this.place)
      if (got !== 'missing') return got
    }
    return 'missing'
  }

  /** Whether this process is to compute it; undefined if nobody can say. */
  private async claim(): Promise<boolean | undefined> {
    const { digest, token } = this.place
    try {
      const rows = await this.adapter.run(CLAIM, [digest, token, `${this.store.tier.wait} milliseconds`])
      return rows[0]?.['claimed'] === true
    } catch {
      // The caller's query will say what is wrong.
      this.metrics.count('tier', 'claim_errors')
      return undefined
    }
  }

  private async finish(): Promise<void> {
    try {
      await this.adapter.run(FINISH, [this.place.digest, this.place.token])
    } catch {
      // The claim ends by its time; the loader's error is the caller's.
    }
  }
}
