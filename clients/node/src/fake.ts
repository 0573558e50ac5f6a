/** A cache for tests of applications: the real one, over versions in memory. */
import type { Adapter } from './adapters.js'
import { ASK } from './ask.js'
import type { Row } from './ask.js'
import { Cache } from './cache.js'
import type { CacheOptions } from './cache.js'
import type { Listening } from './listener.js'
import { tenantText } from './names.js'
import type { Name } from './names.js'
import type { Change } from './payload.js'
import { DEPENDENCIES } from './statements.js'

/** Stands for all keys of a domain. */
const ALL_KEYS = '/'

/** What a server would know: how often each (tenant, domain, key) has changed. */
class Versions {
  private readonly changes = new Map<string, number>()

  constructor(
    private readonly domains: ReadonlySet<string> | undefined,
    private readonly readsOf: ((statement: string) => readonly string[]) | undefined,
  ) {}

  change(name: string, tenant: string | null): Change {
    const [domain, key] = split(name)
    for (const part of key === null ? [null, ALL_KEYS] : [null, key]) {
      const where = JSON.stringify([tenant, domain, part])
      this.changes.set(where, (this.changes.get(where) ?? 0) + 1)
    }
    const { version, shared } = this.stateOf(tenant, domain, null)
    return { tenant, domain, version: tenant === null ? shared : version, keys: key === null ? null : [key] }
  }

  answer(question: string, parameters: readonly (string | null)[]): Row[] {
    if (question === ASK) return this.ask(parameters[0] ?? null, String(parameters[1]))
    if (question === DEPENDENCIES) {
      const names = this.readsOf?.(String(parameters[0])) ?? []
      return names.map((name) => ({ certainty: 'exact', source: null, reason: null, name }))
    }
    throw new Error(`a fake cache does not know: ${question}`)
  }

  private ask(tenant: string | null, asked: string): Row[] {
    const names = asked.slice(2, -2).split('","').map((name) => name.replace(/\\([\\"])/g, '$1'))
    const rows: Row[] = []
    const token: unknown[] = []
    for (const name of names) {
      const [domain, key] = split(name)
      const { version, shared, state } = this.stateOf(tenant, domain, key)
      token.push([tenant, name, state])
      rows.push({
        tenant_id: tenant, domain, key, version: String(version), shared_version: String(shared),
        known: this.domains === undefined || this.domains.has(domain),
      })
    }
    const said = { token: JSON.stringify(token), read_committed: true }
    return rows.map((row) => ({ ...said, ...row }))
  }

  /** state: what a token of this key says. */
  private stateOf(tenant: string | null, domain: string, key: string | null) {
    const count = (part: string | null): number => {
      let sum = 0
      for (const [where, n] of this.changes) {
        const [whose, what, which] = JSON.parse(where) as (string | null)[]
        if (what === domain && which === part && (tenant === null || whose === null || whose === tenant)) sum += n
      }
      return sum
    }
    return {
      version: count(null),
      shared: this.changes.get(JSON.stringify([null, domain, null])) ?? 0,
      state: key === null ? count(null) : count(key) + count(ALL_KEYS),
    }
  }
}

function split(name: string): [string, string | null] {
  const slash = name.indexOf('/')
  return slash < 0 ? [name, null] : [name.slice(0, slash), name.slice(slash + 1)]
}

/** Of an object that nobody asks. query() calls it: db(statement, parameters). */
const fakeAdapter = (db: unknown, versions: Versions): Adapter => ({
  forms: 'fake',
  shared: true,
  inTransaction: () => false,
  transaction: (run) => run(db),
  run: async (question, parameters) => versions.answer(question, parameters),
  query: async (statement, parameters) =>
    (db as (statement: string, parameters: readonly unknown[]) => Promise<unknown[]>)(statement, parameters),
})

export interface FakeOptions extends Omit<CacheOptions, 'listen' | 'primary' | 'channel'> {
  /** Those that something feeds; left out: all. */
  domains?: readonly string[]
  /** What query() would find out of a statement. */
  readsOf?: (statement: string) => readonly string[]
}

/**
 * A Cache that needs no server: db may be anything, loaders get it as it is, and query() calls
 * db(statement, parameters). What it does is what Cache does, except that changes are what
 * change() tells.
 */
export class FakeCache extends Cache {
  private readonly versions: Versions

  constructor(options: FakeOptions = {}) {
    const versions = new Versions(options.domains && new Set(options.domains), options.readsOf)
    const listening: Listening = {
      failure: undefined,
      close: async () => undefined,
      wait: async () => true,
    }
    super({ ...options, listen: '' }, {
      adapterOf: (db) => fakeAdapter(db, versions),
      listen(_, core) {
        core.extendLease(Infinity)
        return listening
      },
    })
    this.versions = versions
  }

  /**
   * Somebody has committed a change of a domain, or of a key of it ('price/42'), and it was
   * delivered. tenant: whose; left out: everybody's.
   */
  change(name: string, tenant?: Name): void {
    this.core.hear(this.versions.change(name, tenant === undefined ? null : tenantText(tenant)))
  }
}
