/**
 * What was heard: for the fills in flight, which must not be kept if they lack it.
 *
 * Caches that share a listener share this memory, so that what is heard is noted once,
 * however many they are; it also knows which of them hold anything that a change concerns.
 */
import type { Change } from './payload.js'

/** The extension's own domains: that a view, a function or a type is as it was. */
export const INTERNAL = 'cache_notify/'

/** What was heard is forgotten beyond so many (tenant, domain, key). */
const MAX_HEARD = 100_000

/**
 * One thing that a result was made from, by the server's names. tenant null: of the whole
 * domain. key null: the domain, not one key of it.
 */
export interface Part {
  readonly tenant: string | null
  readonly domain: string
  readonly key: string | null
  readonly version: number
  readonly sharedVersion: number
}

/** When a fill began. */
export interface Ticket {
  readonly generation: number
  readonly sequence: number
}

export type Key = string | null

/** Who holds entries: told of changes that concern any of them. */
export interface Holder {
  dropOutdated(change: Change): void
}

interface Floor {
  version: number
  sequence: number
}

/** When something of a domain was last heard of any tenant. */
interface News {
  anyKey: number
  byKey: Map<Key, number>
}

/** Letter case in keys is ignored: coarser for some, wrong for none. */
export const fold = (key: Key): Key => (key === null ? null : key.toLowerCase())

export const isInternal = (part: Pick<Part, 'domain'>): boolean => part.domain.startsWith(INTERNAL)

/** The folded keys that a change names, and null. */
export const changedKeys = (change: Change): Key[] => [null, ...(change.keys ?? []).map(fold)]

export const place = (...parts: (string | null)[]): string => JSON.stringify(parts)

export class Heard {
  private readonly floors = new Map<string, Floor>()
  private readonly allKeys = new Map<string, Floor>()
  private readonly news = new Map<string, News>()
  /** domain -> tenant (null: whole) -> who holds anything of it */
  private readonly holding = new Map<string, Map<string | null, Set<Holder>>>()
  private sequence = 0
  private generation = 0

  ticket(): Ticket {
    return { generation: this.generation, sequence: this.sequence }
  }

  /** The version last heard of, undefined if it is not remembered. */
  version(tenant: string | null, domain: string): number | undefined {
    return this.floors.get(place(tenant, domain, null))?.version
  }

  note(change: Change): void {
    const { tenant, domain, version, keys } = change
    if (this.floors.size + this.allKeys.size >= MAX_HEARD) this.forget()
    this.sequence += 1
    const changed = changedKeys(change)
    for (const key of changed) this.remember(this.floors, place(tenant, domain, key), version)
    if (keys === null) this.remember(this.allKeys, place(tenant, domain), version)
    const news = getOrMake(this.news, domain, (): News => ({ anyKey: 0, byKey: new Map() }))
    if (keys === null || news.byKey.size >= MAX_HEARD) {
      news.anyKey = this.sequence
      news.byKey.clear()
    } else {
      for (const key of changed) news.byKey.set(key, this.sequence)
    }
  }

  /** From now on nothing is known of what was heard: the fills in flight are refused. */
  forget(): void {
    this.generation += 1
    this.sequence += 1
    this.floors.clear()
    this.allKeys.clear()
    this.news.clear()
  }

  forgottenSince(ticket: Ticket): boolean {
    return ticket.generation !== this.generation
  }

  silentSince(ticket: Ticket): boolean {
    return ticket.sequence === this.sequence
  }

  /** Whether something heard since the ticket says more than this part does. */
  lacks(ticket: Ticket, part: Part): boolean {
    if (this.beyond(ticket, null, part, part.sharedVersion)) return true
    if (part.tenant !== null && !isInternal(part)) {
      return this.beyond(ticket, part.tenant, part, part.version)
    }
    const news = this.news.get(part.domain)
    if (news === undefined) return false
    // Whichever key changes, null is noted with it.
    return Math.max(news.anyKey, news.byKey.get(fold(part.key)) ?? 0) > ticket.sequence
  }

  /** Somebody holds something of this tenant, or of the whole domain (null). */
  hold(tenant: string | null, domain: string, holder: Holder): void {
    const tenants = getOrMake(this.holding, domain, () => new Map<string | null, Set<Holder>>())
    getOrMake(tenants, tenant, () => new Set<Holder>()).add(holder)
  }

  holdNoMore(tenant: string | null, domain: string, holder: Holder): void {
    const tenants = this.holding.get(domain)
    const holders = tenants?.get(tenant)
    if (tenants === undefined || holders === undefined) return
    holders.delete(holder)
    if (holders.size === 0) tenants.delete(tenant)
    if (tenants.size === 0) this.holding.delete(domain)
  }

  /** Whom a change concerns. */
  holders({ tenant, domain }: Change): Holder[] {
    const tenants = this.holding.get(domain)
    if (tenants === undefined) return []
    const found = tenant === null ? [...tenants.values()] : [tenants.get(null), tenants.get(tenant)]
    return [...new Set(found.flatMap((holders) => [...(holders ?? [])]))]
  }

  /** Somebody is told nothing any more. */
  leave(holder: Holder): void {
    for (const [domain, tenants] of [...this.holding]) {
      for (const tenant of [...tenants.keys()]) this.holdNoMore(tenant, domain, holder)
    }
  }

  /** Of how many (tenant, domain) anybody holds anything: for tests. */
  get held(): number {
    return [...this.holding.values()].reduce((n, tenants) => n + tenants.size, 0)
  }

  /** Whether more than this version was heard since the ticket. */
  private beyond(ticket: Ticket, tenant: string | null, part: Part, version: number): boolean {
    const floors = [this.floors.get(place(tenant, part.domain, fold(part.key)))]
    if (part.key !== null) floors.push(this.allKeys.get(place(tenant, part.domain)))
    return floors.some(
      (floor) => floor !== undefined && floor.sequence > ticket.sequence && version < floor.version,
    )
  }

  private remember(floors: Map<string, Floor>, where: string, version: number): void {
    // The newest is what fills in flight lack. One with a higher version that was heard
    // before concerns older fills: theirs is the higher of both.
    const before = floors.get(where)
    const highest = before === undefined ? version : Math.max(version, before.version)
    floors.set(where, { version: highest, sequence: this.sequence })
  }
}

export function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = make()))
  return value
}
