/**
 * One small adapter for each kind of database object of an application, found by what the
 * object can do, never by instanceof: several copies of a driver do no harm.
 */
import type { Row } from './ask.js'

/** How to ask over one object of the application. */
export interface Adapter {
  /** What forms the rows of query(): rows of another one are another result. */
  readonly forms: string
  /** Whether others may use the object meanwhile (a pool). */
  readonly shared: boolean
  /** Whether a transaction is open that began before this call; null: not known. */
  inTransaction(): boolean | null
  /** The rows of one of our questions, with $1 and so on. */
  run(question: string, parameters: readonly (string | null)[]): Promise<readonly Row[]>
  /** The application's query, as its driver answers it. */
  query(statement: string, parameters: readonly unknown[]): Promise<unknown[]>
}

type Anything = any // eslint-disable-line @typescript-eslint/no-explicit-any

const has = (db: Anything, ...methods: string[]): boolean =>
  methods.every((method) => typeof db[method] === 'function')

/** pg's own clients say in each ReadyForQuery whether they are in a transaction. */
const statuses = new WeakMap<object, { status: string | null }>()

function statusOf(client: Anything): { status: string | null } {
  let told = statuses.get(client)
  if (told === undefined) {
    const newly: { status: string | null } = { status: null }
    client.connection.on('readyForQuery', (message: { status: string }) => {
      newly.status = message.status
    })
    // A connection that breaks while nobody asks anything over it would end the process. It
    // is an error of the next question.
    if (has(client, 'on')) client.on('error', () => undefined)
    statuses.set(client, newly)
    told = newly
  }
  return told
}

const rowsOf = (result: Anything): unknown[] => {
  const last = Array.isArray(result) && result.length > 0 && result[0]?.rows ? result.at(-1) : result
  return Array.isArray(last) ? last : (last?.rows ?? [])
}

/** pg: Pool, Client and what pool.connect() gives; or any object with query(sql, params). */
function queryable(db: Anything, shared: boolean, inTransaction: () => boolean | null): Adapter {
  return {
    forms: 'pg',
    shared,
    inTransaction,
    run: async (question, parameters) => rowsOf(await db.query(question, [...parameters])) as Row[],
    query: async (statement, parameters) => rowsOf(await db.query(statement, [...parameters])),
  }
}

/** postgres.js: sql, and the sql of begin(). */
function postgresJs(sql: Anything): Adapter {
  const within = has(sql, 'savepoint')
  return {
    forms: 'postgres',
    shared: !within,
    inTransaction: () => within,
    run: async (question, parameters) => [...(await sql.unsafe(question, parameters))] as Row[],
    query: async (statement, parameters) => [...(await sql.unsafe(statement, parameters))],
  }
}

/** Knex: the instance and its transactions. */
function knex(db: Anything): Adapter {
  const within = db.isTransaction === true
  const raw = async (statement: string, parameters: readonly unknown[]): Promise<unknown[]> => {
    // Knex has ? for parameters; our questions and the application's have $1.
    const order: unknown[] = []
    const text = statement.replace(/\?|\$(\d+)/g, (found, n: string | undefined) => {
      if (n === undefined) return '\\?'
      order.push(parameters[Number(n) - 1])
      return '?'
    })
    return rowsOf(await db.raw(text, order))
  }
  return {
    forms: 'knex',
    shared: !within,
    inTransaction: () => within,
    run: (question, parameters) => raw(question, parameters) as Promise<Row[]>,
    query: raw,
  }
}

/** Kysely: the instance and its transactions. */
function kysely(db: Anything): Adapter {
  const within = db.isTransaction === true
  const run = async (statement: string, parameters: readonly unknown[]): Promise<unknown[]> => {
    const query = {
      sql: statement,
      parameters: [...parameters],
      query: { kind: 'RawNode', sqlFragments: [statement], parameters: [] },
      queryId: { queryId: 'cache-notify' },
    }
    return rowsOf(await db.executeQuery(query))
  }
  return {
    forms: 'kysely',
    shared: !within,
    inTransaction: () => within,
    run: (question, parameters) => run(question, parameters) as Promise<Row[]>,
    query: run,
  }
}

/** Drizzle: the client below it, or its transaction's. */
function drizzle(db: Anything): Adapter {
  const session = db.session ?? db._?.session
  const client = session?.client ?? db.$client
  if (client === undefined) {
    throw new TypeError('this drizzle object has no client of pg or postgres.js')
  }
  const below = adapterOf(client)
  // Its transactions have rollback(); their session's client is the transaction's own.
  return has(db, 'rollback') ? { ...below, shared: false, inTransaction: () => true } : below
}

const found = new WeakMap<object, Adapter>()

/** The adapter of an object. TypeError for one that nobody knows. */
export function adapterOf(db: unknown): Adapter {
  if ((typeof db !== 'object' && typeof db !== 'function') || db === null) {
    throw new TypeError(`a database object is needed, not ${db === null ? 'null' : typeof db}`)
  }
  let adapter = found.get(db)
  if (adapter === undefined) found.set(db, (adapter = make(db)))
  return adapter
}

function make(db: Anything): Adapter {
  if (typeof db === 'function' && has(db, 'unsafe')) return postgresJs(db)
  if (has(db, 'raw') && 'client' in db && has(db, 'transaction')) return knex(db)
  if (has(db, 'executeQuery', 'selectFrom')) return kysely(db)
  if (has(db, 'select', 'execute', 'transaction')) return drizzle(db)
  if (has(db, 'query')) {
    if (has(db, 'connect') && 'totalCount' in db) return queryable(db, true, () => false)
    if (typeof db.connection?.on === 'function') {
      const told = statusOf(db)
      return queryable(db, false, () => (told.status === null ? null : told.status !== 'I'))
    }
    return queryable(db, false, () => null)
  }
  throw new TypeError(
    'this is no database object that the cache knows: pass one of pg, postgres.js, Knex, ' +
      'Drizzle or Kysely, or any object with query(sql, params)',
  )
}
