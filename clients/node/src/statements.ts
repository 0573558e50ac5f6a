/** query(): the server finds out what a statement reads, and the cache remembers it. */
import type { Adapter } from './adapters.js'
import type { Log } from './listener.js'

/** Statements that are remembered. */
const MAX_STATEMENTS = 10_000

const DEPENDENCIES = `
  SELECT d.certainty, d.source, d.reason,
         CASE d.certainty WHEN 'definition' THEN d.domain
              ELSE cache_notify.key_name(d.domain) END AS name
  FROM cache_notify.domains_of($1::text) d`

/** The result may change without a change of a table. */
const UNCACHEABLE = new Set(['unwatched', 'opaque', 'volatile', 'session'])

interface Dependency {
  certainty: string
  source: string | null
  reason: string | null
  name: string | null
}

/** What statements read: names, none if the result cannot be cached. */
export class Statements {
  private readonly known = new Map<string, readonly string[]>()
  private generation = 0

  constructor(private readonly log: Log) {}

  /** The names, if they are remembered. */
  find(statement: string): readonly string[] | undefined {
    return this.known.get(statement)
  }

  /** Forgets all: a definition has moved. */
  forget(): void {
    this.generation += 1
    this.known.clear()
  }

  /** Asks the server, and remembers. */
  async analyse(adapter: Adapter, statement: string): Promise<readonly string[]> {
    const generation = this.generation
    const rows = (await adapter.run(DEPENDENCIES, [statement])) as unknown as Dependency[]
    const why = rows
      .filter((row) => UNCACHEABLE.has(row.certainty))
      .map((row) => `${row.source ?? 'an expression'}: ${row.reason ?? row.certainty}`)
    let names: string[] = []
    if (why.length === 0) {
      names = [...new Set(rows.flatMap((row) => (row.name === null ? [] : [row.name])))].sort()
      if (names.length === 0) why.push('it reads nothing that is watched')
    }
    if (why.length > 0) {
      const text = statement.replace(/\s+/g, ' ').slice(0, 200)
      this.log.warn(`not cached: ${text} (${[...new Set(why)].sort().join('; ')})`)
    }
    if (generation === this.generation) {
      if (this.known.size >= MAX_STATEMENTS) this.known.clear()
      this.known.set(statement, names)
    }
    return names
  }
}
