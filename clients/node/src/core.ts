/**
 * The state of a near cache, and the rules that keep it from serving what is stale.
 * Nothing here does I/O or waits.
 *
 * Time is told by a sequence number that moves with each thing heard. What is heard
 * concerns entries that are held and fills that are in flight; a fill that begins later
 * sees it in the database. That is why
 *
 * - a fill takes a ticket before it asks for versions, and is stored only if nothing
 *   heard since then says more than its versions;
 * - a version is compared with what was heard only if it was heard after the ticket, so
 *   that a payload with nonsense in it costs one refused fill and no more;
 * - what was heard may be forgotten at any time, if the fills in flight are refused: the
 *   generation.
 *
 * Entries of a whole domain cannot be compared with the version of one tenant. Any change
 * of the domain heard drops them, and refuses the fills in flight. The same goes for
 * definitions: which names a statement's result was made from was found out before the
 * versions were asked for, so what was heard since then counts, whatever its version.
 */
import { LRUCache } from 'lru-cache'
import { remembering } from './explain.js'
import { Heard, changedKeys, fold, getOrMake, isInternal, place } from './heard.js'
import type { Holder, Key, Part, Ticket } from './heard.js'
import type { Metrics } from './metrics.js'
import type { Change } from './payload.js'

/** Entries of which it is remembered why they were dropped. */
const MAX_GONE = 1_000

/** (tenant, domain) of which it is remembered what the server calls the tenant. */
const MAX_SPELLED = 10_000

export interface Entry {
  readonly value: unknown
  readonly token: string
  readonly parts: readonly Part[]
  /** in ms, as performance.now() */
  expires: number
  readonly keepWhenEnded: boolean
  ended: number
}

type Watching = Map<string, Map<string | null, Map<Key, Set<string>>>>

export interface Limits {
  maxEntries: number
  maxBytes?: number | undefined
  sizeOf?: ((value: unknown) => number) | undefined
}

function toldOf(reason: string, part: Part | undefined): string {
  if (part === undefined) return reason.replaceAll('_', ' ')
  const what = part.key === null ? part.domain : `${part.domain}/${part.key}`
  return part.tenant === null ? `${what} has changed` : `${what} of ${part.tenant} has changed`
}

/**
 * What a token or a position says of the history of the database that it is from: its
 * fingerprint, but for four bits.
 */
export const historyOf = (text: string): string => text.slice(2, 12)

export class Core implements Holder {
  /** Of this core, or of all that share a listener. */
  heard = new Heard()
  private readonly entries: LRUCache<string, Entry>
  private readonly endedEntries: LRUCache<string, Entry>
  /** Why entries were dropped, once explain() was called. */
  private readonly gone = new LRUCache<string, string>({ max: MAX_GONE })
  /** domain -> tenant (null: whole) -> key (null: all) -> names of entries */
  private readonly watching: Watching = new Map()
  /** What the server calls the tenants that callers name. */
  private readonly spelled = new LRUCache<string, { readonly tenant: string | null }>({ max: MAX_SPELLED })
  private leaseEnds = 0
  /** Whose deliveries come in, if that is known. */
  private history: string | undefined

  constructor(
    limits: Limits,
    readonly metrics: Metrics,
  ) {
    const evicted = (entry: Entry, name: string, reason: LRUCache.DisposeReason): void => {
      if (reason === 'evict') this.unwatch(name, entry)
    }
    const sizeOf = limits.sizeOf ?? ((value: unknown) => JSON.stringify(value)?.length ?? 1)
    this.entries =
      limits.maxBytes === undefined
        ? new LRUCache({ max: limits.maxEntries, dispose: evicted })
        : new LRUCache({
            maxSize: limits.maxBytes,
            sizeCalculation: (entry) => Math.max(1, sizeOf(entry.value)),
            dispose: evicted,
          })
    this.endedEntries = new LRUCache({ max: limits.maxEntries })
  }

  now(): number {
    return performance.now()
  }

  extendLease(until: number): void {
    this.leaseEnds = until
  }

  /** Keeps what is there, and serves none of it from memory. */
  endLease(): void {
    this.leaseEnds = 0
  }

  get listening(): boolean {
    return this.now() < this.leaseEnds
  }

  /**
   * Of which history (see historyOf()) deliveries come in. Results of another one, such as
   * those of another database, are not kept: nobody would tell of changes.
   */
  learnHistory(history: string | undefined): void {
    this.history = history
  }

  isForeign(entry: Entry): boolean {
    return this.history !== undefined && historyOf(entry.token) !== this.history
  }

  get size(): number {
    return this.entries.size
  }

  /** The entry to serve from memory, if there is one. */
  find(name: string): Entry | undefined {
    const entry = this.entries.get(name)
    if (entry === undefined) return undefined
    const now = this.now()
    if (now >= this.leaseEnds) return undefined
    if (now >= entry.expires) {
      this.drop(name, 'expired')
      return undefined
    }
    return entry
  }

  /** The entry, whether or not it may be served without asking: compare its token. */
  peek(name: string): Entry | undefined {
    const entry = this.entries.get(name)
    return entry !== undefined && this.now() < entry.expires ? entry : undefined
  }

  /** The entry that was dropped or has expired, to be served for a while. */
  ended(name: string): Entry | undefined {
    return this.endedEntries.get(name)
  }

  /** Taken before a fill asks for its versions. */
  ticket(): Ticket {
    return this.heard.ticket()
  }

  /**
   * Whether something heard since the ticket says more than these versions. Parts that
   * are not known yet (null) may lack anything heard.
   */
  outdated(ticket: Ticket, parts: readonly Part[] | null): boolean {
    if (this.heard.forgottenSince(ticket)) return true
    if (parts === null) return !this.heard.silentSince(ticket)
    return parts.some((part) => this.lacks(ticket, part))
  }

  /** Keeps the entry, unless that could serve something stale. */
  store(name: string, entry: Entry, ticket: Ticket): boolean {
    if (!this.listening) return this.refuse('not_listening')
    if (this.isForeign(entry)) return this.refuse('another_database')
    if (this.outdated(ticket, entry.parts)) return this.refuse('outdated')
    this.drop(name, 'replaced')
    this.endedEntries.delete(name)
    this.entries.set(name, entry)
    if (!this.entries.has(name)) return this.refuse('too_large')
    for (const part of entry.parts) {
      const tenants = getOrMake(this.watching, part.domain, () => new Map<Key, Map<Key, Set<string>>>())
      const keys = getOrMake(tenants, part.tenant, () => new Map<Key, Set<string>>())
      getOrMake(keys, fold(part.key), () => new Set<string>()).add(name)
      this.heard.hold(part.tenant, part.domain, this)
    }
    this.metrics.count('stores')
    return true
  }

  /** The version last heard of, undefined if it is not remembered. */
  heardVersion(tenant: string | null, domain: string): number | undefined {
    return this.heard.version(tenant, domain)
  }

  /** A change was delivered: drops what it outdates, and remembers it for fills in flight. */
  hear(change: Change): void {
    this.heard.note(change)
    this.dropOutdated(change)
  }

  /** Drops what a change outdates that is noted already. */
  dropOutdated(change: Change): void {
    const { tenant, domain, version, keys } = change
    const changed = changedKeys(change)
    for (const [watched, byKey] of [...(this.watching.get(domain) ?? [])]) {
      if (tenant !== null && watched !== null && watched !== tenant) continue
      for (const key of keys === null ? [...byKey.keys()] : changed) {
        for (const name of [...(byKey.get(key) ?? [])]) {
          this.dropIfOutdated(name, tenant, domain, version)
        }
      }
    }
  }

  /**
   * The application itself has changed something, and its delivery may still be on its way:
   * drops all that this may concern. tenant: as the application writes it; one that was never
   * asked for may be another's, spelled otherwise.
   */
  hearOwn(tenant: string | null, domain: string): void {
    const spelled = this.spelled.get(place(tenant, domain))?.tenant ?? null
    this.hear({ tenant: spelled, domain, version: Infinity, keys: null })
  }

  /** What the server calls a tenant. */
  learnSpelling(tenant: string | null, parts: readonly Part[]): void {
    for (const part of parts) this.spelled.set(place(tenant, part.domain), part)
  }

  /** Anything may have changed: drops everything, refuses the fills in flight. */
  reset(reason: string): void {
    for (const name of [...this.entries.keys()]) this.drop(name, reason)
    this.heard.forget()
    this.metrics.count('resets', reason)
  }

  /**
   * What was sent while nobody listened will be asked for, but for definitions: drops what
   * depends on them, and refuses the fills in flight.
   */
  listenAnew(): void {
    for (const [name, entry] of [...this.entries.entries()]) {
      if (entry.parts.some(isInternal)) this.drop(name, 'definitions_missed')
    }
    this.heard.forget()
  }

  private refuse(reason: string): boolean {
    this.metrics.count('refusals', reason)
    return false
  }

  private lacks(ticket: Ticket, part: Part): boolean {
    return this.heard.lacks(ticket, part)
  }

  private dropIfOutdated(name: string, tenant: string | null, domain: string, version: number): void {
    const entry = this.entries.peek(name)
    const isOutdated = (part: Part): boolean => {
      if (part.domain !== domain) return false
      if (isInternal(part)) return true
      if (tenant === null) return part.sharedVersion < version
      return part.tenant === null || (part.tenant === tenant && part.version < version)
    }
    const outdated = entry?.parts.find(isOutdated)
    if (outdated !== undefined) this.drop(name, 'changed', outdated)
  }

  /** Why an entry is not there, as far as that is remembered. */
  whyGone(name: string): string {
    return this.gone.get(name) ?? 'not there before'
  }

  private drop(name: string, reason: string, part?: Part): void {
    const entry = this.entries.peek(name)
    if (entry === undefined) return
    this.entries.delete(name)
    this.unwatch(name, entry)
    this.metrics.count('drops', reason)
    if (remembering() && reason !== 'replaced') this.gone.set(name, toldOf(reason, part))
    if (reason !== 'replaced' && entry.keepWhenEnded) {
      entry.ended = Math.min(this.now(), entry.expires)
      this.endedEntries.set(name, entry)
    }
  }

  private unwatch(name: string, entry: Entry): void {
    for (const part of entry.parts) {
      const tenants = this.watching.get(part.domain)
      const keys = tenants?.get(part.tenant)
      const names = keys?.get(fold(part.key))
      if (tenants === undefined || keys === undefined || names === undefined) continue
      names.delete(name)
      if (names.size === 0) keys.delete(fold(part.key))
      if (keys.size === 0) {
        tenants.delete(part.tenant)
        this.heard.holdNoMore(part.tenant, part.domain, this)
      }
      if (tenants.size === 0) this.watching.delete(part.domain)
    }
  }

  /** How many names of entries are watched: for tests, which see that none is left over. */
  get watched(): number {
    let n = 0
    for (const tenants of this.watching.values()) {
      for (const keys of tenants.values()) for (const names of keys.values()) n += names.size
    }
    return n
  }
}
