import { tell } from './explain.js'

/** What the cache did: hits, misses, joins, stores, drops, resets, refusals by reason. */
export class Metrics {
  private readonly counts = new Map<string, Map<string, number>>()
  /** Hits in memory, which must cost next to nothing: counted apart. */
  hits = 0
  /** Called after each event but a hit in memory: must be quick and throw nothing. */
  onEvent: ((event: string, reason: string) => void) | undefined

  /** Counts an event. */
  count(event: string, reason = '', n = 1): void {
    tell(event, reason)
    let reasons = this.counts.get(event)
    if (reasons === undefined) this.counts.set(event, (reasons = new Map()))
    reasons.set(reason, (reasons.get(reason) ?? 0) + n)
    this.onEvent?.(event, reason)
  }

  /** All counters: 'hits', 'misses', 'refusals{unknown_domain}' and so on. */
  snapshot(): Record<string, number> {
    const all: Record<string, number> = {}
    for (const [event, reasons] of this.all()) {
      for (const [reason, n] of reasons) all[reason === '' ? event : `${event}{${reason}}`] = n
    }
    return all
  }

  /** The counters in the text format of Prometheus. */
  prometheus(): string {
    let out = ''
    const all = this.all()
    for (const event of [...all.keys()].sort()) {
      out += `# TYPE cache_notify_client_${event}_total counter\n`
      for (const [reason, n] of [...(all.get(event) ?? [])].sort()) {
        const label = reason === '' ? '' : `{reason="${reason}"}`
        out += `cache_notify_client_${event}_total${label} ${n}\n`
      }
    }
    return out
  }

  private all(): Map<string, Map<string, number>> {
    if (this.hits === 0) return this.counts
    return new Map([...this.counts, ['hits', new Map([...(this.counts.get('hits') ?? []), ['', this.hits]])]])
  }
}
