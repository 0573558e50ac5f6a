/** query(): the server finds out what a statement reads, and the cache remembers it. */
import { LRUCache } from 'lru-cache'
import type { Adapter } from './adapters.js'
import type { Log } from './listener.js'

/** Statements that are remembered. */
const MAX_STATEMENTS = 10_000

/** What does it read? */
export const DEPENDENCIES = `
  SELECT d.certainty, d.source, d.reason,
         CASE d.certainty WHEN 'definition' THEN d.domain
              ELSE cache_notify.key_name(d.domain) END AS name
  FROM cache_notify.domains_of($1::text) d`

/** Whose changes are told. Of anything else the result may change without. */
const CACHEABLE = new Set(['exact', 'definition'])

interface Dependency {
  certainty: string
  source: string | null
  reason: string | null
  name: string | null
}

/** What a statement reads: names, none if its result cannot be cached. */
export interface Statement {
  /** Stands for the statement and its names, as long as this process lives. */
  readonly id: number
  readonly names: readonly string[]
  readonly whyNot: string
}

/** What statements read. */
export class Statements {
  private readonly known = new Map<string, Statement>()
  /** The same again, when a statement is looked at anew and reads what it did. */
  private readonly ids = new LRUCache<string, number>({ max: MAX_STATEMENTS })
  private lastId = 0
  private generation = 0

  constructor(private readonly log: Log) {}

  /** What is remembered of it. */
  find(statement: string): Statement | undefined {
    return this.known.get(statement)
  }

  /** Forgets all: a definition has moved. */
  forget(): void {
    this.generation += 1
    this.known.clear()
  }

  /** Asks the server, and remembers. */
  async analyse(adapter: Adapter, statement: string): Promise<Statement> {
    const generation = this.generation
    const rows = (await adapter.run(DEPENDENCIES, [statement])) as unknown as Dependency[]
    const why = rows
      .filter((row) => !CACHEABLE.has(row.certainty))
      .map((row) => `${row.source ?? 'an expression'}: ${row.reason ?? row.certainty}`)
    let names: string[] = []
    if (why.length === 0) {
      names = [...new Set(rows.flatMap((row) => (row.name === null ? [] : [row.name])))].sort()
      if (names.length === 0) why.push('it reads nothing that is watched')
    }
    const id = this.idOf(JSON.stringify([statement, names]))
    const found = { id, names, whyNot: [...new Set(why)].sort().join('; ') }
    if (found.whyNot !== '') {
      this.log.warn(`not cached: ${statement.replace(/\s+/g, ' ').slice(0, 200)} (${found.whyNot})`)
    }
    if (generation === this.generation) {
      if (this.known.size >= MAX_STATEMENTS) this.known.clear()
      this.known.set(statement, found)
    }
    return found
  }

  private idOf(what: string): number {
    let id = this.ids.get(what)
    if (id === undefined) this.ids.set(what, (id = this.lastId += 1))
    return id
  }
}
